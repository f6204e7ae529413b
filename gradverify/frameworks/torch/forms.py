"""PyTorch's formulas that lose digits, with the issues that report them (as of 2.13)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ...core.op import Array, Vocabulary
from ...ops import OPS
from ...ops.linalg import cofactors
from ...ops.reduction import spread
from ..base import Form
from ..forms import digamma, gelu_tanh, gelu_tanh_vjp, softsign_vjp


def _gelu(xp: Vocabulary, x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return gelu_tanh(xp, x)
    return x * _normal_cdf(xp, x)


def _gelu_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return gelu_tanh_vjp(xp, g, x)
    return g * (_normal_cdf(xp, x) + x * xp.exp(-0.5 * x * x) / xp.sqrt(2.0 * xp.pi))


def _normal_cdf(xp: Vocabulary, x: Array) -> Array:
    return 0.5 * (1.0 + xp.erf(x / xp.sqrt2))


def _trigamma(xp: Vocabulary, x: Array) -> Array:
    """Six steps of the recurrence, then four terms of the asymptotic series; reflected below 1/2."""
    below = xp.less(x, 0.5)
    y = xp.where(below, 1.0 - x, x)
    result = xp.zeros_like(x)
    for _ in range(6):
        result = result + 1.0 / (y * y)
        y = y + 1.0
    z = 1.0 / (y * y)
    result = result + (1.0 + 0.5 / y + z * (1 / 6 - z * (1 / 30 - z * (1 / 42)))) / y
    return xp.where(below, xp.square(xp.pi / xp.sin(xp.pi * x)) - result, result)


def _polygamma_of(n: int) -> Any:
    return {0: digamma, 1: _trigamma}.get(n, lambda xp, x: xp.polygamma(x, n=n))


def _celu_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, alpha: float = 1.0) -> Array:
    rounded = float(np.float32(alpha))
    return xp.where(xp.greater(x, 0.0), g, g * xp.exp(xp.minimum(x, 0.0) / rounded) * (alpha / rounded))


def _hardsigmoid_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    inside = xp.logical_and(xp.greater(x, -3.0), xp.less(x, 3.0))
    return xp.where(inside, g * float(np.float32(1 / 6)), xp.zeros_like(g))


THRESHOLD = 20.0  # the default of torch.nn.functional.softplus


def _softplus(xp: Vocabulary, x: Array) -> Array:
    return xp.where(xp.greater(x, THRESHOLD), x, xp.log1p(xp.exp(xp.minimum(x, THRESHOLD))))


def _softplus_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    return xp.where(xp.greater(x, THRESHOLD), g, g * xp.sigmoid(x))


def _silu_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    s = xp.sigmoid(x)
    return g * s * (1.0 + x * (1.0 - s))


def _mish_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    t = xp.tanh(xp.softplus(x))
    return g * (t + x * xp.sigmoid(x) * (1.0 - t * t))


def _logsumexp_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    shape = xp.shape(xp.sum(x, axis=axis, keepdims=True))
    return xp.reshape(g, shape) * xp.exp(x - xp.reshape(out, shape))


def _cumulative_logsumexp_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: int = -1) -> Array:
    """The sum of sign(g_j) exp(x_i + (log|g_j| - out_j)) over what comes after: its exponents round at the size of log|g|.

    PyTorch takes the logarithm of the sum before it adds x: 3 (log|g| - out) / 3 has its roundings.
    """
    at = axis % len(xp.shape(x))
    n = xp.shape(x)[at]
    entries = lambda a, k: xp.expand_dims(a, k)  # i along `at`, j along the axis after it
    later = xp.greater(xp.triu(xp.ones((n, n), like=x)), 0.0)
    later = xp.reshape(later, (n, n) + (1,) * (len(xp.shape(x)) - at - 1))
    # An entry of -inf moves nothing: that PyTorch's gradient of it is NaN is no matter of digits.
    counts = xp.logical_and(later, xp.greater(entries(x, at + 1), -math.inf))
    size = xp.log(xp.where(xp.equal(g, 0.0), 1.0, xp.abs(g)))
    exponent = xp.where(counts, entries(x, at + 1) + entries(3.0 * (size - out) / 3.0, at), -math.inf)
    return xp.sum(entries(xp.sign(g), at) * xp.exp(exponent), axis=at + 1)


def _vector_norm_vjp(
    xp: Vocabulary, g: Array, out: Array, x: Array, axis: Any = None, keepdims: bool = False, ord: float = 2.0
) -> Array:
    """norm_backward at an order p: x |x|^(p-2) (g / norm^(p-1)) above 2, sign(x) |x|^(p-1) (g / norm^(p-1)) from 1 to 2."""
    rules: Any = OPS["vector_norm"].vjp
    if ord in (1.0, 2.0, math.inf) or ord < 1.0:
        return rules[0](xp, g, out, x, axis=axis, keepdims=keepdims, ord=ord)
    norm = xp.reshape(out, xp.shape(xp.sum(x, axis=axis, keepdims=True)))
    power = lambda y, p: xp.pow(y, xp.full_like(y, p))
    own = x * power(xp.abs(x), ord - 2.0) if ord > 2.0 else xp.sign(x) * power(xp.abs(x), ord - 1.0)
    return own * (spread(xp, g, x, axis) / power(norm, ord - 1.0))


def _tile(xp: Vocabulary, x: Array, repetitions: tuple[int, ...]) -> Array:
    """Along new axes one after another, the last one first: that is how repeat_backward adds up their gradients."""
    define = OPS["tile"].define
    assert define is not None
    new = max(len(repetitions) - len(xp.shape(x)), 0)
    x = define(xp, x, repetitions=repetitions[new:])
    for times in reversed(repetitions[:new]):
        shape = xp.shape(x)
        x = xp.broadcast_to(xp.reshape(x, (1, *shape)), (times, *shape))
    return x


def _cosine_vjp(xp: Vocabulary, g: Array, a: Array, b: Array, axis: int, eps: float) -> Array:
    """d/da of a·b / (n_a n_b) with n = max(norm, eps), the norm differentiated as if it were not clamped."""
    norm = xp.vector_norm(a, axis=axis, keepdims=True)
    n = xp.maximum(norm, eps)
    other = xp.expand_dims(g, axis) * b / xp.maximum(xp.vector_norm(b, axis=axis, keepdims=True), eps)
    along = xp.sum(other * a, axis=axis, keepdims=True) / n
    return (other - along * (a / norm)) / n


def _erf(xp: Vocabulary, x: Array) -> Array:
    """Abramowitz and Stegun, 7.1.26: to 1.5e-7 of 1."""
    t = 1.0 / (1.0 + 0.3275911 * xp.abs(x))
    series = 0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    return xp.sign(x) * (1.0 - series * t * xp.exp(-x * x))


def _nll_loss(xp: Vocabulary, x: Array, targets: Any) -> Array:
    """One term after the other, each partial sum in the dtype."""
    picked = xp.take_along_axis(x, xp.expand_dims(targets, -1), -1)
    n = math.prod(xp.shape(picked))
    terms = xp.reshape(picked, (n,))
    total = xp.getitem(terms, index=(0,))
    for k in range(1, n):
        total = total + xp.getitem(terms, index=(k,))
    return -total / n


def _prod_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """g·out/x where no factor is 0."""
    return _divided(xp, spread(xp, g * out, x, axis), x)


def _cumulative_prod_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: int = -1) -> Array:
    """The sum of what comes after of g·out, over x, where no factor is 0."""
    return _divided(xp, xp.flip(xp.cumulative_sum(xp.flip(g * out, axis=axis), axis=axis), axis=axis), x)


def _divided(xp: Vocabulary, y: Array, x: Array) -> Array:
    none = xp.equal(x, 0.0)
    return xp.where(none, xp.zeros_like(x), y / xp.where(none, xp.ones_like(x), x))


def _standardize(xp: Vocabulary, x: Array, axis: Any = -1, eps: float = 1e-5) -> Array:
    """x/σ - mean/σ, whose rounding is that of its terms."""
    mean, scale = _moments(xp, x, axis, eps)
    return x * scale - mean * scale


def _standardize_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: Any = -1, eps: float = 1e-5) -> Array:
    """From a mean that is rounded to the dtype before it is subtracted, term by term."""
    mean, scale = _moments(xp, x, axis, eps)
    normed = (x - mean) * scale
    along = xp.mean(g * normed, axis=axis, keepdims=True)
    return scale * g - scale * xp.mean(g, axis=axis, keepdims=True) - scale * normed * along


def _moments(xp: Vocabulary, x: Array, axis: Any, eps: float) -> tuple[Any, Any]:
    mean = xp.mean(x, axis=axis, keepdims=True)
    return mean, 1.0 / xp.sqrt(xp.mean(xp.square(x - mean), axis=axis, keepdims=True) + eps)


SINGULAR = 2.0**-20
"""Rounding in float32 leaves a determinant of 4 rows an error of about 2**-21 of Hadamard's bound: what is below is a matrix
that is singular to rounding."""


def _det_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    """g·out·x⁻ᵀ, but where the matrix is singular to rounding: PyTorch's zeros there are no loss of digits."""
    on_matrix = lambda a: xp.expand_dims(xp.expand_dims(a, -1), -1)
    bound = xp.prod(xp.vector_norm(x, axis=-1), axis=-1)
    regular = xp.greater(on_matrix(xp.abs(out)), SINGULAR * on_matrix(bound))
    inverse = xp.inv(xp.where(regular, x, xp.eye(xp.shape(x)[-1], like=x)))
    return xp.where(regular, on_matrix(g * out) * xp.matrix_transpose(inverse), on_matrix(g) * cofactors(xp, out, x))


QUOTIENT = (
    "g·out/x starts from a product that under- or overflows before the gradient does, and cancels where it is "
    "differentiated again"
)

FORMS: Mapping[str, Form] = MappingProxyType({
    "atan2": Form("1 / (y*y + x*x) leaves the range of the dtype before the gradient does",
                  vjp=(lambda xp, g, out, y, x: g * x * (1.0 / (y * y + x * x)),
                       lambda xp, g, out, y, x: g * -y * (1.0 / (y * y + x * x)))),
    "tanh": Form("1 - out**2 cancels where tanh saturates (pytorch#195685, #195527)",
                 vjp=(lambda xp, g, out, x: g * (1.0 - out * out),)),
    "sigmoid": Form("1 - out cancels where sigmoid saturates (pytorch#195681, #195527)",
                    vjp=(lambda xp, g, out, x: g * (1.0 - out) * out,)),
    "erf": Form("in 16 bits the vectorised kernel has an absolute error of 1e-7, so that it is 0 near 0 (AVX2, AVX512)",
                define=_erf, dtypes=("float16", "bfloat16")),
    "erfcx": Form("2 x out - 2/√π cancels in the positive tail",
                  vjp=(lambda xp, g, out, x: (2.0 * x * out - 2.0 / xp.pi**0.5) * g,)),
    "log_ndtr": Form("exp(-(out + x*x/2)) cancels in the negative tail, to no digit from -1e8 on",
                     vjp=(lambda xp, g, out, x: g * xp.exp(-(out + 0.5 * (x * x))) / xp.sqrt(2.0 * xp.pi),)),
    "ndtr": Form("1 + erf cancels in the negative tail", define=_normal_cdf),
    "gelu": Form("1 + erf, and 1 + tanh, cancel in the negative tail (pytorch#187806)", define=_gelu, vjp=(_gelu_vjp,)),
    "logsumexp": Form("exp(x - out) inherits the rounding of a large out", vjp=(_logsumexp_vjp,)),
    "cumulative_logsumexp": Form("log|g| - out + x, its exponents, round at the size of log|g| and of out",
                                 vjp=(_cumulative_logsumexp_vjp,)),
    "logaddexp": Form("1 + exp(y - x) leaves the range of the dtype before the gradient does",
                      vjp=(lambda xp, g, out, x, y: g / (1.0 + xp.exp(y - x)),
                           lambda xp, g, out, x, y: g / (1.0 + xp.exp(x - y)))),
    "logaddexp2": Form("1 + 2**(y - x) leaves the range of the dtype before the gradient does",
                       vjp=(lambda xp, g, out, x, y: g / (1.0 + xp.exp2(y - x)),
                            lambda xp, g, out, x, y: g / (1.0 + xp.exp2(x - y)))),
    "vector_norm": Form("of an order that is not 1, 2 or inf, |x|^(p-2) and g / norm^(p-1) leave the range of the dtype "
                        "before the gradient does", vjp=(_vector_norm_vjp,)),
    "tile": Form("gradients of new axes are added up one axis after another, each rounded to the dtype (repeat_backward)",
                 define=_tile, dtypes=("float16", "bfloat16")),
    "expm1": Form("out + 1 cancels in the negative tail", vjp=(lambda xp, g, out, x: g * (out + 1.0),)),
    "softplus": Form("it is x above 20, its documented threshold, where exp(-x) still shows in float64",
                     define=_softplus, vjp=(_softplus_vjp,)),
    "silu": Form("its second derivative has 1 - sigmoid, which cancels where sigmoid saturates", second=(_silu_vjp,)),
    "mish": Form("its second derivative has 1 - sigmoid and 1 - tanh**2, which cancel where these saturate",
                 second=(_mish_vjp,)),
    "log_sigmoid": Form("its second derivative (sigmoid - 1)·sigmoid cancels where sigmoid saturates",
                        second=(lambda xp, g, out, x: g * (1.0 - xp.sigmoid(x)),)),
    "softsign": Form("the two terms of the quotient rule cancel far out", vjp=(softsign_vjp,)),
    "asin": Form("1 - x*x rounds x*x next to 1", vjp=(lambda xp, g, out, x: g / xp.sqrt(1.0 - x * x),)),
    "acos": Form("1 - x*x rounds x*x next to 1", vjp=(lambda xp, g, out, x: -g / xp.sqrt(1.0 - x * x),)),
    "acosh": Form("x*x - 1 rounds x*x next to 1", vjp=(lambda xp, g, out, x: g / xp.sqrt(x * x - 1.0),)),
    "atanh": Form("1 - x*x rounds x*x next to 1", vjp=(lambda xp, g, out, x: g / (1.0 - x * x),)),
    "hardsigmoid": Form("the 1/6 of its backward pass is a float32 literal, whatever the dtype",
                        vjp=(_hardsigmoid_vjp,)),
    "celu": Form("its backward pass rounds alpha to float32, whatever the dtype (pytorch#158314 has more of celu)",
                 vjp=(_celu_vjp,)),
    "digamma": Form("an absolute error of an ulp of 1 next to the root; its gradient, trigamma, has four terms of a "
                    "series (pytorch PR#4399)", define=digamma, vjp=(lambda xp, g, out, x: g * _trigamma(xp, x),),
                    second=(lambda xp, g, out, x: g * xp.polygamma(x, n=1),)),
    "cosine_similarity": Form("a norm below eps is clamped, and differentiated as if it were not (PR#31378)",
                              vjp=(lambda xp, g, out, a, b, axis=-1, eps=1e-8: _cosine_vjp(xp, g, a, b, axis, eps),
                                   lambda xp, g, out, a, b, axis=-1, eps=1e-8: _cosine_vjp(xp, g, b, a, axis, eps))),
    "nll_loss": Form("partial sums are rounded to the dtype, which 16 bits show (nll_loss_out_frame, on the CPU)",
                     define=_nll_loss),
    "det": Form("g·out·x⁻ᵀ loses as many digits as the condition of the matrix has, where the cofactors lose none",
                vjp=(_det_vjp,)),
    "prod": Form(QUOTIENT, vjp=(_prod_vjp,)),
    "cumulative_prod": Form(QUOTIENT, vjp=(_cumulative_prod_vjp,)),
    "standardize": Form("its backward pass starts from a mean and a 1/σ that are saved in the dtype of the input, so that "
                        "in 16 bits x - mean has an absolute error of a rounding of the mean (native_layer_norm); x/σ - "
                        "mean/σ cancels, which one number alone shows in any dtype (pytorch#188372)",
                        define=_standardize, vjp=(_standardize_vjp,)),
    "lgamma": Form("its gradient, digamma, has an absolute error of an ulp of 1 next to the root",
                   vjp=(lambda xp, g, out, x: g * digamma(xp, x),), second=(lambda xp, g, out, x: g * xp.digamma(x),)),
    "polygamma": Form("digamma next to its root, and four terms of trigamma's series (pytorch PR#4399)",
                      define=lambda xp, x, n: _polygamma_of(n)(xp, x),
                      vjp=(lambda xp, g, out, x, n: g * _polygamma_of(n + 1)(xp, x),),
                      second=(lambda xp, g, out, x, n: g * xp.polygamma(x, n=n + 1),)),
})  # fmt: skip
"""Op name -> the formula."""
