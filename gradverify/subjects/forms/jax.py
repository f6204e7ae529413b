"""JAX's formulas that lose digits (as of 0.10)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..base import Form
from .shared import digamma, gelu_tanh, gelu_tanh_vjp, softsign_vjp


def _gelu(xp: Any, x: Any, approximate: str = "none") -> Any:
    return gelu_tanh(xp, x) if approximate == "tanh" else 0.5 * x * xp.erfc(-x / xp.sqrt2)


def _gelu_vjp(xp: Any, g: Any, out: Any, x: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        return gelu_tanh_vjp(xp, g, x)
    return g * (0.5 * xp.erfc(-x / xp.sqrt2) + x * xp.exp(-0.5 * x * x) / xp.sqrt(2.0 * xp.pi))


# Lanczos' approximation with g = 7 and nine terms (P. Godfrey, 2001), as XLA has it.
LANCZOS = (
    676.520368121885098567009190444019, -1259.13921672240287047156078755283, 771.3234287776530788486528258894,
    -176.61502916214059906584551354, 12.507343278686904814458936853, -0.13857109526572011689554707,
    9.984369578019570859563e-6, 1.50563273514931155834e-7,
)  # fmt: skip


def _lgamma(xp: Any, x: Any) -> Any:
    """Terms of size 1 cancel next to the roots at 1 and 2."""
    z = x - 1.0
    total = 0.99999999999980993227684700473478 + xp.zeros_like(x)
    for k, c in enumerate(LANCZOS):
        total = total + c / (z + (k + 1.0))
    t = z + 7.5
    return 0.5 * xp.log(2.0 * xp.pi) + (z + 0.5) * xp.log(t) - t + xp.log(total)


def _by_expm1(scale: float, alpha: float, slope: float = 1.0) -> Any:
    """The rule of scale * alpha * expm1(slope * x) where x is negative: expm1's own is out + 1."""

    def vjp(xp: Any, g: Any, x: Any) -> Any:
        below = g * (scale * alpha * slope) * (xp.expm1(xp.minimum(x, 0.0) * slope) + 1.0)
        return xp.where(xp.greater(x, 0.0), g * scale, below)

    return vjp


EXPM1 = "expm1's rule, out + 1, cancels in the negative tail (jax#39794)"
SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)

FORMS: Mapping[str, Form] = MappingProxyType({
    "tanh": Form("1 - out cancels where tanh saturates; XLA's float32 tanh is 1 from 7.9 on",
                 vjp=(lambda xp, g, out, x: (g + g * out) * (1.0 - out),)),
    "sigmoid": Form("1 - out cancels where sigmoid saturates (jax#40342)",
                    vjp=(lambda xp, g, out, x: g * out * (1.0 - out),)),
    "gelu": Form("1 + tanh cancels in the negative tail of the tanh approximation", define=_gelu, vjp=(_gelu_vjp,)),
    "expm1": Form(EXPM1, vjp=(lambda xp, g, out, x: g * (out + 1.0),)),
    "elu": Form(EXPM1, vjp=(lambda xp, g, out, x, alpha=1.0: _by_expm1(1.0, alpha)(xp, g, x),)),
    "celu": Form(EXPM1, vjp=(lambda xp, g, out, x, alpha=1.0: _by_expm1(1.0, alpha, 1 / alpha)(xp, g, x),)),
    "selu": Form(EXPM1, vjp=(lambda xp, g, out, x: _by_expm1(*SELU)(xp, g, x),)),
    "softsign": Form("the two terms of the quotient rule cancel far out", vjp=(softsign_vjp,)),
    "logaddexp": Form("exp(x - out) inherits the rounding of a large out",
                      vjp=(lambda xp, g, out, x, y: g * xp.exp(x - out), lambda xp, g, out, x, y: g * xp.exp(y - out))),
    "erfinv": Form("XLA's w = -log1p(-x*x) rounds x*x next to 1",
                   define=lambda xp, x: xp.sign(x) * xp.erfinv(xp.sqrt(x * x))),
    "digamma": Form("an absolute error of an ulp of 1 next to the root", define=digamma),
    "lgamma": Form("an absolute error of an ulp of 1 next to the roots, of its gradient as well",
                   define=_lgamma, vjp=(lambda xp, g, out, x: g * digamma(xp, x),)),
})  # fmt: skip
"""Op name -> the formula."""
