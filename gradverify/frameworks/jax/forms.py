"""JAX's formulas that lose digits (as of 0.10)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ...core.op import Array, Vocabulary
from ..base import Form
from ..forms import digamma, gelu_tanh, gelu_tanh_vjp, softsign_vjp


def _gelu(xp: Vocabulary, x: Array, approximate: str = "none") -> Array:
    return gelu_tanh(xp, x) if approximate == "tanh" else 0.5 * x * xp.erfc(-x / xp.sqrt2)


def _gelu_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return gelu_tanh_vjp(xp, g, x)
    return g * (0.5 * xp.erfc(-x / xp.sqrt2) + x * xp.exp(-0.5 * x * x) / xp.sqrt(2.0 * xp.pi))


# Lanczos' approximation with g = 7 and nine terms (P. Godfrey, 2001), as XLA has it.
LANCZOS = (
    676.520368121885098567009190444019, -1259.13921672240287047156078755283, 771.3234287776530788486528258894,
    -176.61502916214059906584551354, 12.507343278686904814458936853, -0.13857109526572011689554707,
    9.984369578019570859563e-6, 1.50563273514931155834e-7,
)  # fmt: skip


def _lgamma(xp: Vocabulary, x: Array) -> Array:
    """Terms of size 1 cancel next to the roots at 1 and 2."""
    z = x - 1.0
    total = 0.99999999999980993227684700473478 + xp.zeros_like(x)
    for k, c in enumerate(LANCZOS):
        total = total + c / (z + (k + 1.0))
    t = z + 7.5
    return 0.5 * xp.log(2.0 * xp.pi) + (z + 0.5) * xp.log(t) - t + xp.log(total)


# log(1 + x) = x - x²/2 + x³·P(x)/Q(x) (S. Moshier, Cephes, 1984), made for 1/√2 - 1 <= x <= √2 - 1.
LOG1P_P = (
    4.5270000862445199635215e-5, 4.9854102823193375972212e-1, 6.5787325942061044846969, 2.9911919328553073277375e1,
    6.0949667980987787057556e1, 5.7112963590585538103336e1, 2.0039553499201281259648e1,
)  # fmt: skip
LOG1P_Q = (
    1.0, 1.5062909083469192043167e1, 8.3047565967967209469434e1, 2.2176239823732856465394e2,
    3.0909872225312059774938e2, 2.1642788614495947685003e2, 6.0118660497603843919306e1,
)  # fmt: skip


def _log1p(xp: Vocabulary, x: Array) -> Array:
    """Return log1p as XLA computes it: by Cephes's fraction wherever |x| < √2 - 1, though it is not good near -0.414."""
    p, q = LOG1P_P[0] + xp.zeros_like(x), LOG1P_Q[0] + xp.zeros_like(x)
    for a, b in zip(LOG1P_P[1:], LOG1P_Q[1:]):
        p, q = p * x + a, q * x + b
    near = xp.less(xp.abs(x), 0.41421356237309504)
    small = xp.where(near, x, 0.0)
    fraction = small + (-0.5 * small * small + small * (small * small * p / q))
    return xp.where(near, fraction, xp.log(1.0 + x))


def _by_expm1(scale: float, alpha: float, slope: float = 1.0) -> Any:
    """The rule of scale * alpha * expm1(slope * x) where x is negative: expm1's own is out + 1."""

    def vjp(xp: Vocabulary, g: Array, x: Array) -> Array:
        below = g * (scale * alpha * slope) * (xp.expm1(xp.minimum(x, 0.0) * slope) + 1.0)
        return xp.where(xp.greater(x, 0.0), g * scale, below)

    return vjp


def _over_root(xp: Vocabulary, g: Array, x: Array, axis: int, v: Array, slope: Any) -> Array:
    """The rule of x * rsqrt(v), where dv = slope * d(x*x) summed along the axis. rsqrt's own has the power -3/2, which
    overflows in float16 from v = 6e-4 down; and x*x, which v consists of, underflows."""
    root = 1.0 / xp.sqrt(v)
    dv = xp.sum(g * x, axis=axis, keepdims=True) * (-0.5 * (root / v))
    return g * root + 2.0 * x * (slope * dv)


def _rms_norm_vjp(xp: Vocabulary, i: int, g: Array, out: Array, x: Array, w: Array, eps: float = 1e-5) -> Array:
    v = xp.mean(x * x, axis=-1, keepdims=True) + eps
    return xp.sum_to(g * x / xp.sqrt(v), xp.shape(w)) if i else _over_root(xp, g * w, x, -1, v, 1.0 / xp.shape(x)[-1])


def _square(xp: Vocabulary, x: Array, axis: int, eps: float) -> tuple[Any, Any]:
    """max(x·x, eps²) and its slope."""
    s = xp.sum(x * x, axis=axis, keepdims=True)
    above = xp.where(xp.greater(s, eps * eps), xp.ones_like(s), xp.zeros_like(s))
    return xp.maximum(s, eps * eps), above


def _normalize(xp: Vocabulary, x: Array, axis: int = -1, eps: float = 1e-12) -> Array:
    return x / xp.sqrt(_square(xp, x, axis, eps)[0])


def _normalize_vjp(xp: Vocabulary, g: Array, x: Array, axis: int = -1, eps: float = 1e-12) -> Array:
    return _over_root(xp, g, x, axis, *_square(xp, x, axis, eps))


def _cosine_vjp(xp: Vocabulary, g: Array, a: Array, b: Array, axis: int, eps: float) -> Array:
    return _normalize_vjp(xp, xp.expand_dims(g, axis) * _normalize(xp, b, axis, eps), a, axis, eps)


def _erfcx(xp: Vocabulary, x: Array) -> Array:
    """exp(x*x) * erfc(x) up to the root of the largest number's logarithm, 26.6; in float32, 9.4. Its error is that of a
    square in an exponent."""
    inside = xp.where(xp.less(x, 26.7), x, 0.0)
    return xp.erfcx(x) * xp.exp(xp.square(inside) - xp.square(inside))


def _log_ndtr(xp: Vocabulary, x: Array) -> Array:
    """Three terms of the asymptotic series up to -20 (float32: -10), log(ndtr(x)) up to 8 (5), -ndtr(-x) beyond."""
    low, high = xp.less(x, -20.0), xp.greater(x, 8.0)
    y = xp.where(low, x, -20.0)
    z = 1.0 / (y * y)
    tail = -0.5 * (y * y) - xp.log(-y) - 0.5 * xp.log(2.0 * xp.pi) + xp.log(1.0 - z * (1.0 - z * (3.0 - 15.0 * z)))
    return xp.where(low, tail, xp.where(high, -0.5 * xp.erfc(x / xp.sqrt2), _log_of_ndtr(xp, xp.where(low, 0.0, x))))


def _log_of_ndtr(xp: Vocabulary, x: Array) -> Array:
    return xp.log(0.5 * xp.erfc(-x / xp.sqrt2))


EXPM1 = "expm1's rule, out + 1, cancels in the negative tail (jax#39794)"
SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)

RSQRT = "squares of small numbers underflow in float16, and lax.rsqrt's rule, -rsqrt(v)/2v, overflows there"

PARTIAL_SUMS = (
    "sums in 16 bits: XLA rounds partial sums of lax.reduce_sum, by which gradients of broadcast arguments are added up, "
    "to the dtype (on the CPU; jnp.sum goes through float32)"
)

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
    "log1p": Form("XLA's fraction for small x is used down to -0.414, but good to -0.293 only: up to 126 ulp of a double",
                  define=_log1p),
    "atanh": Form("half of log1p(x) - log1p(-x), as log1p", define=lambda xp, x: 0.5 * (_log1p(xp, x) - _log1p(xp, -x))),
    "xlog1py": Form("as log1p", define=lambda xp, x, y: x * _log1p(xp, y),
                    vjp=(lambda xp, g, out, x, y: g * _log1p(xp, y), lambda xp, g, out, x, y: g * x / (1.0 + y))),
    "softsign": Form("the two terms of the quotient rule cancel far out", vjp=(softsign_vjp,)),
    "logaddexp": Form("exp(x - out) inherits the rounding of a large out",
                      vjp=(lambda xp, g, out, x, y: g * xp.exp(x - out), lambda xp, g, out, x, y: g * xp.exp(y - out))),
    "erfinv": Form("XLA's w = -log1p(-x*x) rounds x*x next to 1",
                   define=lambda xp, x: xp.sign(x) * xp.erfinv(xp.sqrt(x * x))),
    "erfcx": Form("x*x rounds in the exponent of exp(x*x)·erfc(x); 2 x out - 2/√π, its rule, cancels in the positive tail",
                  define=_erfcx, vjp=(lambda xp, g, out, x: g * (2.0 * x * out - 2.0 / xp.pi**0.5),)),
    "log_ndtr": Form("three terms of a series up to -20, and the logarithm of a number next to 1 for positive x; its "
                     "rule, an exponential of what cancels, keeps no digit of either", define=_log_ndtr,
                     vjp=(lambda xp, g, out, x: g * xp.exp((-0.5 * (x * x) - 0.5 * xp.log(2.0 * xp.pi)) - out),)),
    "rms_norm": Form(RSQRT, vjp=_rms_norm_vjp),
    "normalize": Form(RSQRT, define=_normalize,
                      vjp=(lambda xp, g, out, x, axis=-1, eps=1e-12: _normalize_vjp(xp, g, x, axis, eps),)),
    "cosine_similarity": Form(RSQRT, define=lambda xp, a, b, axis=-1, eps=1e-8: xp.sum(
                                  _normalize(xp, a, axis, eps) * _normalize(xp, b, axis, eps), axis=axis),
                              vjp=(lambda xp, g, out, a, b, axis=-1, eps=1e-8: _cosine_vjp(xp, g, a, b, axis, eps),
                                   lambda xp, g, out, a, b, axis=-1, eps=1e-8: _cosine_vjp(xp, g, b, a, axis, eps))),
    "digamma": Form("an absolute error of an ulp of 1 next to the root; zeta(2, x), its derivative, has x**-2, which "
                    "underflows for large x", define=digamma,
                    vjp=(lambda xp, g, out, x: g * xp.polygamma(x, n=1) * ((x * x) * (1.0 / (x * x))),)),
    "hypot": Form("the rule of the quotient in it has the square of the denominator, which overflows",
                  vjp=(lambda xp, g, out, x, y: g * (x * out / (out * out)),
                       lambda xp, g, out, x, y: g * (y * out / (out * out)))),
    "atan2": Form("x*x + y*y overflows",
                  vjp=(lambda xp, g, out, y, x: g * (x / (x * x + y * y)),
                       lambda xp, g, out, y, x: -g * (y / (x * x + y * y)))),
    "lgamma": Form("an absolute error of an ulp of 1 next to the roots, of its gradient as well",
                   define=_lgamma, vjp=(lambda xp, g, out, x: g * digamma(xp, x),)),
})  # fmt: skip
"""Op name -> the formula."""
