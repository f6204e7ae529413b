"""JAX's formulas that lose digits (as of 0.10)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..base import Form
from .shared import digamma, gelu_tanh, gelu_tanh_vjp


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


FORMS: Mapping[str, Form] = MappingProxyType({
    "tanh": Form("1 - out cancels where tanh saturates; XLA's float32 tanh is 1 from 7.9 on",
                 vjp=(lambda xp, g, out, x: (g + g * out) * (1.0 - out),)),
    "sigmoid": Form("1 - out cancels where sigmoid saturates (jax#40342)",
                    vjp=(lambda xp, g, out, x: g * out * (1.0 - out),)),
    "gelu": Form("1 + tanh cancels in the negative tail of the tanh approximation", define=_gelu, vjp=(_gelu_vjp,)),
    "digamma": Form("an absolute error of an ulp of 1 next to the root", define=digamma),
    "lgamma": Form("an absolute error of an ulp of 1 next to the roots, of its gradient as well",
                   define=_lgamma, vjp=(lambda xp, g, out, x: g * digamma(xp, x),)),
})  # fmt: skip
"""Op name -> the formula."""
