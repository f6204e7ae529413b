"""PyTorch's ATen overloads in the words of the op table.

`MAPPED` is the table: overload name (`add.Tensor`; `relu` stands for `relu.default`) → a function
(xp, *args, **kwargs) with the overload's own signature, where tensors are `Value`s and `xp` is a `Tracer`. It returns
the Value of the output, or a tuple for several; None in a tuple is an output without a counterpart (an LU factor, a
saved statistic), which raises only if it is used. `xp.outs` holds what PyTorch itself returned.

In-place overloads (`add_.Tensor`) are not listed: they are their functional namesakes, written back. Integer outputs
are not either: they are concrete (see `base`). Views without an entry are recorded by where their entries lie.

Semantics are those of PyTorch's documentation (torch 2.13), kinks and thresholds included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import Undefined, Unsupported
from ...namespaces.layout import strided_indices
from ...ops import OPS
from ...ops.complex.rules import MINORS_UP_TO
from ...trace.base import CONVENTION
from ...trace.decompositions import (
    LARGEST_FACTOR,
    Map,
    adjoint,
    affine,
    along,
    at,
    backward_stable,
    copysign,
    correlation,
    direct,
    eigen,
    eliminated,
    entering,
    floor_divide,
    fmod,
    frexp,
    heaviside,
    least_squares,
    log_ndtr,
    logical_xor,
    low_rank_inverse,
    matrix_exponential,
    ndtri,
    orthogonalised,
    padded,
    scalar,
    singular,
    times,
    where,
)
from ...trace.series import bessel_i, hurwitz_zeta, lower_gamma, upper_gamma
from ...trace.value import Outputs, Value

if TYPE_CHECKING:
    from .tracer import TorchTracer

MAPPED: dict[str, Map] = {}
maps = entering(MAPPED)


def same(names: str) -> None:
    """Overloads `name` or `name=table_name` of one tensor that the table knows as they are."""
    for entry in names.split():
        aten, _, op = entry.partition("=")
        MAPPED[aten] = direct(op or aten)


def both(names: str, overloads: str) -> None:
    """Overloads of two arguments, each a tensor or a number."""
    for entry in names.split():
        aten, _, op = entry.partition("=")
        for overload in overloads.split():
            MAPPED[aten if overload == "default" else f"{aten}.{overload}"] = direct(op or aten)


# ---- elementwise ----------------------------------------------------------------------------------------------------

same(
    "abs neg=negative sign sgn=sign reciprocal rsqrt sqrt exp exp2 expm1 log log1p log2 log10 sin cos tan asin "
    "acos atan sinh cosh tanh asinh acosh atanh floor ceil trunc round relu hardsigmoid hardswish sigmoid silu mish "
    "erf erfc erfinv lgamma digamma special_entr=entr logical_not bitwise_not=logical_not"
)
both("mul=multiply", "Tensor Scalar")
both("eq=equal ne=not_equal lt=less le=less_equal gt=greater ge=greater_equal", "Tensor Scalar")
both("atan2 hypot logaddexp logaddexp2 maximum minimum fmax=maximum fmin=minimum logical_and logical_or", "default")
both("bitwise_and=logical_and bitwise_or=logical_or", "Tensor")
both("xlogy", "Tensor Scalar_Other Scalar_Self")
both("special_xlog1py=xlog1py", "default other_scalar self_scalar")
both("pow", "Tensor_Tensor Scalar")
both("remainder", "Tensor Scalar Scalar_Tensor")
both("clamp_min=maximum clamp_max=minimum", "default Tensor")
maps("floor_divide floor_divide.Scalar")(floor_divide)
maps("fmod.Tensor fmod.Scalar")(fmod)
maps("frexp.Tensor")(frexp)
maps("copysign.Tensor copysign.Scalar")(copysign)
maps("heaviside")(heaviside)
maps("logical_xor bitwise_xor.Tensor")(logical_xor)
maps("special_log_ndtr")(log_ndtr)
maps("special_ndtri")(ndtri)


@maps("add.Tensor add.Scalar")
def add(xp: TorchTracer, x: Value, y: Value, alpha: Any = 1) -> Value:
    return xp.add(x, times(y, alpha))


@maps("sub.Tensor sub.Scalar")
def sub(xp: TorchTracer, x: Value, y: Value, alpha: Any = 1) -> Value:
    return xp.subtract(x, times(y, alpha))


@maps("rsub.Tensor rsub.Scalar")
def rsub(xp: TorchTracer, x: Value, y: Value, alpha: Any = 1) -> Value:
    return xp.subtract(y, times(x, alpha))


@maps("div.Tensor div.Scalar div.Tensor_mode div.Scalar_mode")
def div(xp: TorchTracer, x: Value, y: Value, rounding_mode: str | None = None) -> Value:
    out = xp.divide(x, y)
    return {None: lambda: out, "floor": lambda: xp.floor(out), "trunc": lambda: xp.trunc(out)}[rounding_mode]()


@maps("round.decimals")
def round_decimals(xp: TorchTracer, x: Value, decimals: int = 0) -> Value:
    return xp.round(x * 10.0**decimals) / 10.0**decimals


@maps("ldexp.Tensor")
def ldexp(xp: TorchTracer, x: Value, exponent: Any) -> Value:
    return x * xp.exp2(exponent)


same("angle conj_physical=conj _conj_physical=conj")
both("complex polar", "default")


@maps("frac")
def frac(xp: TorchTracer, x: Value) -> Value:
    return x - xp.trunc(x)


@maps("pow.Tensor_Scalar")
def pow_scalar(xp: TorchTracer, x: Value, y: float) -> Value:
    known = {2: "square", 0.5: "sqrt", -1: "reciprocal", -0.5: "rsqrt"}
    return xp.call(known[y], x) if y in known else x if y == 1 else xp.pow(x, y)


@maps("clamp")
def clamp(xp: TorchTracer, x: Value, min: Any = None, max: Any = None) -> Value:
    if min is not None and max is not None and min > max:  # documented: then everything is max
        return xp.spread(xp.concrete(np.float64(max)), x.shape)
    bounds = {k: float(v) for k, v in (("min", min), ("max", max)) if v is not None}
    return xp.clip(x, **bounds)


@maps("clamp.Tensor")
def clamp_tensor(xp: TorchTracer, x: Value, min: Any = None, max: Any = None) -> Value:
    x = x if min is None else xp.maximum(x, min)
    return x if max is None else xp.minimum(x, max)


maps("where.self")(where)


@maps("lerp.Scalar lerp.Tensor")
def lerp(xp: TorchTracer, x: Value, y: Value, w: Value) -> Value:
    return xp.lerp(x, y, w)


@maps("addcmul")
def addcmul(xp: TorchTracer, x: Value, y: Value, z: Value, value: Any = 1) -> Value:
    return x + times(y * z, value) if isinstance(value, complex) else xp.addcmul(x, y, z, value=float(value))


@maps("addcdiv")
def addcdiv(xp: TorchTracer, x: Value, y: Value, z: Value, value: Any = 1) -> Value:
    return x + times(xp.divide(y, z), value)


@maps("isnan isinf")
def never(xp: TorchTracer, x: Value) -> Value:
    return xp.concrete(xp.outs[0])


@maps("nan_to_num")
def nan_to_num(xp: TorchTracer, x: Value, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Value:
    xp.require(bool(np.isfinite(xp.read(0)).all()), "nan_to_num of values that are not finite")
    return x


@maps("polygamma")
def polygamma(xp: TorchTracer, n: int, x: Value) -> Value:
    return xp.digamma(x) if n == 0 else xp.polygamma(x, n=n)


@maps("special_erfcx")
def erfcx(xp: TorchTracer, x: Value) -> Value:
    return xp.erfcx(x)


for _aten, _order in {"i0": 0, "special_i0e": 0, "special_i1": 1, "special_i1e": 1}.items():
    if _aten.endswith("e"):
        MAPPED[_aten] = lambda xp, x, order=_order: bessel_i(xp, order, x, xp.read(0))
    else:
        MAPPED[_aten] = lambda xp, x, order=_order: xp.bessel_i(x, n=order)


@maps("igamma")
def igamma(xp: TorchTracer, a: Value, x: Value) -> Value:
    return lower_gamma(xp, a, x, (xp.read(0), xp.read(1)))


@maps("igammac")
def igammac(xp: TorchTracer, a: Value, x: Value) -> Value:
    return upper_gamma(xp, a, x, (xp.read(0), xp.read(1)))


@maps("special_zeta special_zeta.self_scalar special_zeta.other_scalar")
def zeta(xp: TorchTracer, s: Any, q: Value | float) -> Value:
    at_s = xp.read(0) if isinstance(s, Value) else np.asarray(s)
    at_q = xp.read(-1) if isinstance(q, Value) else np.asarray(q)
    xp.require(bool((at_s > 1).all() and (at_q > 0).all()), "zeta outside s > 1, q > 0")
    return hurwitz_zeta(xp, s, q)


@maps("sinc")
def sinc(xp: TorchTracer, x: Value) -> Value:
    return xp.sinc(x)


@maps("logit")
def logit(xp: TorchTracer, x: Value, eps: float | None = None) -> Value:
    return xp.logit(x if eps is None else xp.clip(x, min=float(eps), max=1.0 - eps))


# ---- activations ----------------------------------------------------------------------------------------------------


@maps("leaky_relu")
def leaky_relu(xp: TorchTracer, x: Value, negative_slope: Any = 0.01) -> Value:
    return xp.leaky_relu(x, negative_slope=float(negative_slope))


@maps("_prelu_kernel")
def prelu(xp: TorchTracer, x: Value, w: Value) -> Value:
    return xp.where(xp.greater(x, 0.0), x, w * x)


@maps("hardtanh")
def hardtanh(xp: TorchTracer, x: Value, min_val: Any = -1, max_val: Any = 1) -> Value:
    if (min_val, max_val) == (0, 6):
        return xp.relu6(x)
    return xp.hardtanh(x) if (min_val, max_val) == (-1, 1) else xp.clip(x, min=float(min_val), max=float(max_val))


@maps("hardshrink")
def hardshrink(xp: TorchTracer, x: Value, lambd: Any = 0.5) -> Value:
    return xp.where(xp.greater(xp.abs(x), lambd), x, 0.0)


@maps("softshrink")
def softshrink(xp: TorchTracer, x: Value, lambd: Any = 0.5) -> Value:
    return xp.where(xp.greater(x, lambd), x - lambd, xp.where(xp.less(x, -lambd), x + lambd, 0.0))


@maps("threshold")
def threshold(xp: TorchTracer, x: Value, threshold: Any, value: Any) -> Value:
    return xp.where(xp.greater(x, threshold), x, value)


@maps("log_sigmoid_forward")
def log_sigmoid(xp: TorchTracer, x: Value) -> Outputs:
    return xp.log_sigmoid(x), None


@maps("softplus")
def softplus(xp: TorchTracer, x: Value, beta: Any = 1, threshold: Any = 20) -> Value:
    """Documented to be linear beyond the threshold; the smooth one where no entry lies there."""
    smooth = times(xp.softplus(times(x, beta)), 1 / beta)
    if float(np.max(xp.read(0), initial=-math.inf)) * beta < threshold:
        return smooth
    return xp.where(xp.greater(times(x, beta), threshold), x, smooth)


@maps("gelu")
def gelu(xp: TorchTracer, x: Value, approximate: str = "none") -> Value:
    return xp.gelu(x, approximate=approximate)


@maps("elu")
def elu(xp: TorchTracer, x: Value, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Value:
    if input_scale == 1:
        return times(xp.elu(x, alpha=float(alpha)), scale)
    negative = times(xp.expm1(xp.minimum(x, 0.0) * input_scale), alpha)
    return times(xp.where(xp.greater(x, 0.0), x, negative), scale)


@maps("celu")
def celu(xp: TorchTracer, x: Value, alpha: Any = 1.0) -> Value:
    return xp.celu(x, alpha=float(alpha))


@maps("glu")
def glu(xp: TorchTracer, x: Value, dim: int = -1) -> Value:
    half = x.shape[dim] // 2
    return along(xp, x, dim, 0, half) * xp.sigmoid(along(xp, x, dim, half, 2 * half))


@maps("normal.Tensor_Tensor normal.Tensor_float normal.float_Tensor")
def normal(xp: TorchTracer, mean: Any, std: Any = 1.0, **_: Any) -> Value:
    """mean + std z, for the z of this draw."""
    at_mean, at_std = (xp.read(k) if isinstance(v, Value) else v for k, v in enumerate((mean, std)))
    with np.errstate(all="ignore"):
        z = np.where(np.asarray(at_std) != 0, (xp.outs[0] - at_mean) / at_std, 0.0)
    return mean + std * xp.concrete(z)


@maps("native_dropout")
def native_dropout(xp: TorchTracer, x: Value, p: float, train: bool | None) -> Outputs:
    if train is False or p == 0:
        return x, xp.concrete(xp.outs[1])
    scale = 1.0 / (1.0 - p) if p < 1 else 0.0
    return x * xp.concrete(xp.outs[1].astype(np.float64) * scale), xp.concrete(xp.outs[1])


# ---- reductions -----------------------------------------------------------------------------------------------------


def axes_of(dim: Any) -> Any:
    """PyTorch's `dim`: None and [] mean all."""
    if dim is None or (isinstance(dim, Sequence) and len(dim) == 0):
        return None
    return tuple(dim) if isinstance(dim, Sequence) else dim


def reduce(xp: TorchTracer, op: str, x: Value, dim: Any = None, keepdim: bool = False, **params: Any) -> Value:
    axis = axes_of(dim)
    if x.ndim == 0:  # PyTorch lets dim be 0 or -1 there
        return xp.call(op, xp.shaped(x, (1,)), axis=0, **params)
    return xp.call(op, x, axis=axis, keepdims=keepdim, **params)


def on_axis(xp: TorchTracer, op: str, x: Value, dim: int, **params: Any) -> Value:
    if x.ndim == 0:
        return xp.shaped(xp.call(op, xp.shaped(x, (1,)), axis=0, **params), ())
    return xp.call(op, x, axis=dim, **params)


for _aten, _op in {"sum": "sum", "mean": "mean", "prod": "prod"}.items():
    MAPPED[_aten] = lambda xp, x, dtype=None, op=_op: reduce(xp, op, x)
    _dim = f"{_aten}.dim_int" if _aten == "prod" else f"{_aten}.dim_IntList" if _aten == "sum" else f"{_aten}.dim"
    MAPPED[_dim] = lambda xp, x, dim, keepdim=False, dtype=None, op=_op: reduce(xp, op, x, dim, keepdim)
for _aten, _op in {"amax": "max", "amin": "min"}.items():
    MAPPED[_aten] = lambda xp, x, dim=None, keepdim=False, op=_op: reduce(xp, op, x, dim, keepdim)
for _aten in ("max", "min"):
    MAPPED[_aten] = lambda xp, x, op=_aten: reduce(xp, op, x)
    MAPPED[f"{_aten}.dim"] = lambda xp, x, dim, keepdim=False, op=_aten: (reduce(xp, op, x, dim, keepdim), None)
for _aten in ("any", "all"):
    MAPPED[_aten] = lambda xp, x, op=_aten: reduce(xp, op, x)
    MAPPED[f"{_aten}.dim"] = MAPPED[f"{_aten}.dims"] = lambda xp, x, dim=None, keepdim=False, op=_aten: reduce(
        xp, op, x, dim, keepdim
    )
for _aten in ("softmax", "log_softmax"):
    MAPPED[f"_{_aten}"] = lambda xp, x, dim, half_to_float, op=_aten: on_axis(xp, op, x, dim)


@maps("aminmax")
def aminmax(xp: TorchTracer, x: Value, dim: Any = None, keepdim: bool = False) -> Outputs:
    return reduce(xp, "min", x, dim, keepdim), reduce(xp, "max", x, dim, keepdim)


@maps("logsumexp")
def logsumexp(xp: TorchTracer, x: Value, dim: Any, keepdim: bool = False) -> Value:
    return reduce(xp, "logsumexp", x, dim, keepdim)


@maps("_safe_softmax")
def safe_softmax(xp: TorchTracer, x: Value, dim: int, dtype: Any = None) -> Value:
    """Rows that are all masked (-inf) give zeros."""
    empty = np.all(np.isneginf(xp.read(0)), axis=dim, keepdims=True)
    if not empty.any():
        return on_axis(xp, "softmax", x, dim)
    mask = xp.concrete(np.broadcast_to(empty, x.shape))
    return xp.where(mask, 0.0, on_axis(xp, "softmax", xp.where(mask, 0.0, x), dim))


def moment(op: str, mean: bool) -> Map:
    def call(xp: TorchTracer, x: Value, dim: Any = None, correction: Any = 1, keepdim: bool = False) -> Value | Outputs:
        out = reduce(xp, op, x, dim, keepdim, correction=float(1 if correction is None else correction))
        return (out, reduce(xp, "mean", x, dim, keepdim)) if mean else out

    return call


for _aten in ("var", "std"):
    MAPPED[f"{_aten}.correction"] = moment(_aten, False)
    MAPPED[f"{_aten}_mean.correction"] = moment(_aten, True)


@maps("linalg_vector_norm")
def vector_norm(
    xp: TorchTracer, x: Value, ord: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Value:
    if ord >= 1:
        return reduce(xp, "vector_norm", x, dim, keepdim, ord=float(ord))
    if ord == -math.inf:
        return reduce(xp, "min", xp.abs(x), dim, keepdim)
    if ord == 0:
        return reduce(xp, "sum", xp.where(xp.not_equal(x, 0.0), 1.0, 0.0), dim, keepdim)
    return xp.pow(reduce(xp, "sum", xp.pow(xp.abs(x), ord), dim, keepdim), 1 / ord)


@maps("norm.Scalar")
def norm_all(xp: TorchTracer, x: Value, p: Any = 2) -> Value:
    return vector_norm(xp, x, p)


@maps("norm.ScalarOpt_dim")
def norm_dim(xp: TorchTracer, x: Value, p: Any, dim: Any, keepdim: bool = False) -> Value:
    return vector_norm(xp, x, 2 if p is None else p, dim, keepdim)


@maps("cumsum")
def cumsum(xp: TorchTracer, x: Value, dim: int, dtype: Any = None) -> Value:
    return on_axis(xp, "cumulative_sum", x, dim)


@maps("cumprod")
def cumprod(xp: TorchTracer, x: Value, dim: int, dtype: Any = None) -> Value:
    return on_axis(xp, "cumulative_prod", x, dim)


@maps("logcumsumexp")
def logcumsumexp(xp: TorchTracer, x: Value, dim: int) -> Value:
    """Of complex numbers log(cumsum(exp(x - top))) + top; any numbers `top` along the axis give this function."""
    if not x.ndim:
        return xp.reshape(logcumsumexp(xp, xp.reshape(x, (1,)), 0), ())
    if not x.shape[dim] or (x.kind == "complex" and x.shape[dim] == 1):
        return x
    if x.kind != "complex":
        return on_axis(xp, "cumulative_logsumexp", x, dim)
    largest = np.max(xp.read(0).real, axis=dim, keepdims=True)
    principal = np.log(np.cumsum(np.exp(xp.read(0) - largest), axis=dim)).imag
    turns = np.round((xp.outs[0].imag - principal) / (2 * math.pi))  # PyTorch's logarithms are not the principal ones
    top = xp.concrete(np.broadcast_to(largest, x.shape).copy())
    sums = xp.log(on_axis(xp, "cumulative_sum", xp.exp(x - top), dim)) + top
    return sums + xp.concrete(2j * math.pi * turns) if turns.any() else sums


@maps("cummax cummin")
def cummax(xp: TorchTracer, x: Value, dim: int) -> Outputs:
    return (xp.take_along_axis(x, xp.concrete(xp.outs[1]), axis=dim) if x.ndim else x), None


@maps("sort sort.stable")
def sort(xp: TorchTracer, x: Value, dim: int = -1, descending: bool = False, **_: Any) -> Outputs:
    """`stable=` comes by name or not at all: it does not change the values."""
    return on_axis(xp, "sort", x, dim, descending=descending), None


@maps("topk")
def topk(xp: TorchTracer, x: Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Outputs:
    if x.ndim == 0:
        return x, None
    if not sorted:
        return xp.take_along_axis(x, xp.concrete(xp.outs[1]), axis=dim), None
    return along(xp, xp.sort(x, axis=dim, descending=largest), dim, 0, k), None


@maps("nanmedian")
def nanmedian(xp: TorchTracer, x: Value) -> Value:
    spots = np.flatnonzero(xp.read(0).ravel() == xp.outs[0])
    xp.require(spots.size > 0, "nanmedian of nothing but NaN")
    return xp.picked(x, spots[0])


@maps("nanmedian.dim mode")
def by_its_index(xp: TorchTracer, x: Value, dim: int = -1, keepdim: bool = False) -> Outputs:
    if x.ndim == 0:
        return x, None
    where = xp.outs[1] if keepdim else np.expand_dims(xp.outs[1], dim % x.ndim)
    return xp.shaped(xp.take_along_axis(x, xp.concrete(where), axis=dim), xp.outs[0].shape), None


@maps("median")
def median(xp: TorchTracer, x: Value) -> Value:
    """The lower of two middle entries."""
    n = int(np.prod(x.shape))
    return at(xp, xp.sort(xp.flat(x), axis=0), 0, (n - 1) // 2)


@maps("median.dim")
def median_dim(xp: TorchTracer, x: Value, dim: int, keepdim: bool = False) -> Value:
    return kthvalue(xp, x, (x.shape[dim] - 1) // 2 + 1 if x.ndim else 1, dim, keepdim)


@maps("kthvalue")
def kthvalue(xp: TorchTracer, x: Value, k: int, dim: int = -1, keepdim: bool = False) -> Outputs:
    if x.ndim == 0:
        return x, None
    axis = dim % x.ndim
    # Which of several equal ones it is, is PyTorch's choice.
    chosen = xp.outs[1] if keepdim else np.expand_dims(xp.outs[1], axis)
    out = xp.take_along_axis(x, xp.concrete(chosen), axis=axis)
    return (out if keepdim else xp.squeeze(out, axis=axis)), None


# ---- shape ----------------------------------------------------------------------------------------------------------


@maps("view _unsafe_view _reshape_alias")
def view(xp: TorchTracer, x: Value, size: Any, *_: Any) -> Value:
    return xp.shaped(x, xp.outs[0].shape)


@maps("squeeze squeeze.dim squeeze.dims unsqueeze")
def reshaped(xp: TorchTracer, x: Value, *_: Any) -> Value:
    return xp.shaped(x, xp.outs[0].shape)


@maps("alias detach clone lift lift_fresh lift_fresh_copy")
def identity(xp: TorchTracer, x: Value, memory_format: Any = None) -> Value:
    return x


@maps("_to_copy")
def to_copy(xp: TorchTracer, x: Value, dtype: Any = None, **_: Any) -> Value:
    """The identity, rounded where digits are lost. Into a real dtype goes the real part."""
    x = xp.cast(x)
    x = x if xp.out_dtypes[0].is_complex else xp.real(x)
    return xp.where(x, 1.0, 0.0) if x.kind == "bool" else x


@maps("copy")
def copy(xp: TorchTracer, x: Value, source: Any, non_blocking: bool = False) -> Value:
    source = xp.cast(source)
    return xp.spread(source if xp.out_dtypes[0].is_complex else xp.real(source), x.shape)


@maps("fill.Tensor")
def fill(xp: TorchTracer, x: Value, value: Any) -> Value:
    return xp.spread(value, x.shape)


@maps("permute")
def permute(xp: TorchTracer, x: Value, dims: Any) -> Value:
    return xp.permute_dims(x, axes=tuple(dims))


@maps("transpose.int")
def transpose(xp: TorchTracer, x: Value, a: int, b: int) -> Value:
    order = list(range(x.ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return xp.permute_dims(x, axes=tuple(order))


@maps("t")
def t(xp: TorchTracer, x: Value) -> Value:
    return xp.permute_dims(x, axes=tuple(range(x.ndim))[::-1])


@maps("expand")
def expand(xp: TorchTracer, x: Value, size: Any, implicit: bool = False) -> Value:
    return xp.spread(x, xp.outs[0].shape)


@maps("select.int")
def select(xp: TorchTracer, x: Value, dim: int, index: Any) -> Value:
    return at(xp, x, dim, int(index))


@maps("slice.Tensor")
def slice_(xp: TorchTracer, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    n = x.shape[dim]
    first, last, _ = slice(start, end).indices(n)
    return x if (first, last, step) == (0, n, 1) else along(xp, x, dim, first, max(first, last), step)


@maps("split.Tensor split_with_sizes unsafe_split.Tensor unsafe_split_with_sizes")
def split(xp: TorchTracer, x: Value, sizes: Any, dim: int = 0) -> Outputs:
    ends = np.cumsum([out.shape[dim] for out in xp.outs])
    return tuple(along(xp, x, dim, int(e - out.shape[dim]), int(e)) for e, out in zip(ends, xp.outs))


@maps("unbind.int")
def unbind(xp: TorchTracer, x: Value, dim: int = 0) -> Outputs:
    return tuple(at(xp, x, dim, k) for k in range(x.shape[dim]))


@maps("cat")
def cat(xp: TorchTracer, xs: Any, dim: int = 0) -> Value:
    kept = [x for x in xs if x.shape != (0,) or xp.outs[0].ndim == 1]  # legacy: any (0,) is skipped
    return joined(xp, "concat", kept, dim)


@maps("stack")
def stack(xp: TorchTracer, xs: Any, dim: int = 0) -> Value:
    return joined(xp, "stack", xs, dim)


def joined(xp: TorchTracer, op: str, xs: Any, dim: int) -> Value:
    if any(x.kind == "bool" for x in xs) and not all(x.kind == "bool" for x in xs):
        xs = [xp.where(x, 1.0, 0.0) if x.kind == "bool" else x for x in xs]
    return xp.call(op, list(xs), axis=dim)


@maps("flip")
def flip(xp: TorchTracer, x: Value, dims: Any) -> Value:
    return xp.flip(x, axis=tuple(dims)) if len(dims) else x


@maps("roll")
def roll(xp: TorchTracer, x: Value, shifts: Any, dims: Any = ()) -> Value:
    shifts = [shifts] if isinstance(shifts, int) else list(shifts)
    dims = [dims] if isinstance(dims, int) else list(dims)
    if not dims:
        return xp.roll(x, shift=shifts[0])
    for shift, dim in zip(shifts, dims):
        x = xp.roll(x, shift=shift, axis=dim)
    return x


@maps("repeat")
def repeat(xp: TorchTracer, x: Value, repeats: Any) -> Value:
    x = xp.shaped(x, (1,) * (len(repeats) - x.ndim) + x.shape)
    return (
        xp.tile(x, repetitions=tuple(repeats)) if 0 not in repeats else by_index(xp, x, lambda at: at.repeat(repeats))
    )


@maps("constant_pad_nd")
def constant_pad(xp: TorchTracer, x: Value, pad: Any, value: Any = 0) -> Value:
    pairs = [(int(pad[2 * i]), int(pad[2 * i + 1])) for i in range(len(pad) // 2)][::-1]
    return padded(xp, x, [(0, 0)] * (x.ndim - len(pairs)) + pairs, value)


def by_index(xp: TorchTracer, x: Value, op: Callable[[Any], Any]) -> Value:
    """An op that only moves entries, whatever it is: it is shown where it puts the numbers 0 to n - 1."""
    return xp.picked(x, xp.moved(op, x.shape))


for _aten in ("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d"):
    MAPPED[_aten] = lambda xp, x, padding, name=_aten: by_index(xp, x, lambda at: xp.aten(name)(at, padding))
MAPPED["replication_pad3d"] = lambda xp, x, padding: by_index(
    xp, x, lambda at: xp.aten("replication_pad3d")(at, padding)
)
for _aten in ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"):
    MAPPED[_aten] = lambda xp, x, n, name=_aten: by_index(xp, x, lambda at: xp.aten(name)(at, n))
MAPPED["rot90"] = lambda xp, x, k=1, dims=(0, 1): by_index(xp, x, lambda at: xp.aten("rot90")(at, k, list(dims)))
MAPPED["unfold_copy"] = lambda xp, x, *args: by_index(xp, x, lambda at: xp.aten("unfold_copy")(at, *args))


@maps("tril")
def tril(xp: TorchTracer, x: Value, diagonal: int = 0) -> Value:
    return xp.tril(x, k=diagonal)


@maps("triu")
def triu(xp: TorchTracer, x: Value, diagonal: int = 0) -> Value:
    return xp.triu(x, k=diagonal)


@maps("diagonal")
def diagonal(xp: TorchTracer, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    if offset == 0 and {dim1 % x.ndim, dim2 % x.ndim} == {x.ndim - 2, x.ndim - 1}:
        return xp.diagonal(x)
    return by_index(xp, x, lambda at: at.diagonal(offset, dim1, dim2))


@maps("diag_embed")
def diag_embed(xp: TorchTracer, x: Value, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Value:
    if (offset, dim1, dim2) == (0, -2, -1):
        return xp.diag_embed(x)
    zero = xp.concrete(np.zeros(xp.outs[0].shape))
    where = xp.moved(lambda at: at.diagonal(offset, dim1, dim2), xp.outs[0].shape)
    return xp.placed(zero, where, x)


# ---- indexing -------------------------------------------------------------------------------------------------------


def number(x: Value) -> np.ndarray:
    """The integers of an index: concrete by construction."""
    if x.array is None:
        raise Unsupported("an index that is computed as a mask of floating-point values")
    return x.array


def selection(xp: TorchTracer, indices: Any) -> tuple[Any, ...]:
    """What stands in at[...]: None is a whole axis here."""
    return tuple(slice(None) if i is None else i for i in xp.native(indices))


@maps("index.Tensor _unsafe_index.Tensor")
def index(xp: TorchTracer, x: Value, indices: Any) -> Value:
    return xp.picked(x, xp.moved(lambda at: at[selection(xp, indices)], x.shape))


@maps("index_select")
def index_select(xp: TorchTracer, x: Value, dim: int, index: Any) -> Value:
    if x.ndim == 0:
        return x
    return xp.take(x, counted(xp, index, x.shape[dim]), axis=dim)


def counted(xp: TorchTracer, index: Any, n: int) -> Value:
    """Indices from 0 up, as the table wants them; given integer inputs stay inputs."""
    given = number(index)
    return xp.concrete(np.where(given < 0, given + n, given)) if (given < 0).any() else index


@maps("gather")
def gather(xp: TorchTracer, x: Value, dim: int, index: Any, sparse_grad: bool = False) -> Value:
    shape = number(index).shape
    others = [a for i, a in enumerate(x.shape) if i != dim % max(x.ndim, 1)]
    if x.ndim and len(shape) == x.ndim and others == [a for i, a in enumerate(shape) if i != dim % x.ndim]:
        return xp.take_along_axis(x, counted(xp, index, x.shape[dim]), axis=dim)
    return xp.picked(x, xp.moved(lambda at: at.gather(dim, *xp.native([index])), x.shape))


@maps("take")
def take(xp: TorchTracer, x: Value, index: Any) -> Value:
    return xp.take(xp.flat(x), counted(xp, index, int(np.prod(x.shape))), axis=0)


@maps("embedding")
def embedding(xp: TorchTracer, weight: Any, indices: Any, padding_idx: int = -1, *_: Any) -> Value:
    """`padding_idx` only changes the gradient: that row is never updated, by contract."""
    if padding_idx >= 0 and (number(indices) == padding_idx).any():
        xp.note(CONVENTION)
        keep = np.arange(weight.shape[0])[:, None] != padding_idx
        row = xp.concrete(np.broadcast_to(xp.read(0)[padding_idx], weight.shape).copy())
        weight = xp.where(xp.concrete(np.broadcast_to(keep, weight.shape).copy()), weight, row)
    return xp.take(weight, indices, axis=0)


@maps("masked_select")
def masked_select(xp: TorchTracer, x: Value, mask: Any) -> Value:
    kept = xp.read(1).astype(bool)
    shape = np.broadcast_shapes(x.shape, kept.shape)
    where = np.broadcast_to(np.arange(int(np.prod(x.shape))).reshape(x.shape), shape)
    return xp.picked(x, where[np.broadcast_to(kept, shape)])


@maps("masked_fill.Scalar masked_fill.Tensor")
def masked_fill(xp: TorchTracer, x: Value, mask: Any, value: Any) -> Value:
    out = where(xp, mask, scalar(xp, value), x)
    return xp.spread(out, xp.outs[0].shape)


@maps("masked_scatter")
def masked_scatter(xp: TorchTracer, x: Value, mask: Any, source: Any) -> Value:
    x = xp.spread(x, xp.outs[0].shape)
    spots = np.flatnonzero(np.broadcast_to(xp.read(1).astype(bool), x.shape))
    return xp.placed(x, spots, xp.picked(source, np.arange(spots.size)))


@maps("put")
def put(xp: TorchTracer, x: Value, index: Any, source: Any, accumulate: bool = False) -> Value:
    where = number(counted(xp, index, int(np.prod(x.shape))))
    return (xp.accumulated if accumulate else once)(x, where, xp.shaped(source, where.shape))


def once(x: Any, where: np.ndarray, values: Any) -> Any:
    """`values` in place of the entries at `where`. Documented for `index_put_`, `index_copy_`, `scatter_` and `put_`: at
    repeated indices the result, and the gradient, are undefined."""
    if isinstance(values, Value) and values.live and np.unique(where).size < where.size:
        raise Undefined("several values are written to one place: PyTorch leaves undefined which one stays")
    return x.tracer.placed(x, where, values)


@maps("index_put _unsafe_index_put")
def index_put(xp: TorchTracer, x: Value, indices: Any, values: Any, accumulate: bool = False, *_: Any) -> Value:
    where = xp.moved(lambda at: at[selection(xp, indices)], x.shape)
    return (xp.accumulated if accumulate else once)(x, where, values)


def along_index(xp: TorchTracer, shape: Any, dim: int, index: Any) -> np.ndarray:
    """Flat positions of the entries that scatter touches."""
    return (
        xp.moved(lambda at: at.gather(dim, *xp.native([index])), shape) if len(shape) else np.zeros(1, dtype=np.int64)
    )


@maps("scatter.src scatter.value")
def scatter(xp: TorchTracer, x: Value, dim: int, index: Any, src: Value | float) -> Value:
    where = along_index(xp, x.shape, dim, index)
    return once(x, where, cropped(xp, src, where.shape) if isinstance(src, Value) else src)


@maps("scatter_add")
def scatter_add(xp: TorchTracer, x: Value, dim: int, index: Any, src: Value) -> Value:
    where = along_index(xp, x.shape, dim, index)
    return xp.accumulated(x, where, cropped(xp, src, where.shape))


@maps("scatter_reduce.two")
def scatter_reduce(
    xp: TorchTracer, x: Value, dim: int, index: Any, src: Value, reduce: str, include_self: bool = True
) -> Value:
    where = along_index(xp, x.shape, dim, index)
    return gathered_in(xp, x, where, cropped(xp, src, where.shape), reduce, include_self)


@maps("index_reduce")
def index_reduce(
    xp: TorchTracer, x: Value, dim: int, index: Any, src: Value, reduce: str, include_self: bool = True
) -> Value:
    where = xp.moved(lambda at: at.index_select(dim, xp.native([index])[0].reshape(-1)), x.shape)
    return gathered_in(xp, x, where, xp.shaped(src, where.shape), reduce, include_self)


def gathered_in(xp: TorchTracer, x: Value, where: np.ndarray, src: Value, reduce: str, include_self: bool) -> Value:
    """Every entry of `x` with the entries of `src` that `where` sends there, reduced; its own among them or not."""
    if reduce in ("prod", "amax", "amin"):
        return grouped(xp, x, where, src, {"prod": "prod", "amax": "max", "amin": "min"}[reduce], include_self)
    base = x if include_self else xp.placed(x, where, 0.0)
    total = xp.accumulated(base, where, src)
    if reduce == "sum":
        return total
    touched = np.bincount(where.ravel(), minlength=int(np.prod(x.shape))).reshape(x.shape)
    return total / xp.concrete(np.maximum(touched + include_self, 1).astype(np.float64))


def grouped(xp: TorchTracer, x: Value, where: np.ndarray, src: Value, op: str, include_self: bool) -> Value:
    """A row for each entry of `x`: itself and what comes to it, filled up with what changes nothing."""
    target = where.ravel()
    counts = np.bincount(target, minlength=int(np.prod(x.shape)))
    place = np.zeros((counts.size, int(counts.max(initial=0)) + 1), dtype=np.int64)
    used = np.zeros(place.shape, dtype=bool)
    place[:, 0], used[:, 0] = np.arange(counts.size), (counts == 0) | include_self
    order = np.argsort(target, kind="stable")
    column = 1 + np.arange(target.size) - np.repeat(np.cumsum(counts) - counts, counts)
    place[target[order], column], used[target[order], column] = counts.size + order, True
    both = xp.concat([xp.flat(x), xp.flat(src)], axis=0)
    beyond = 1.0 + float(np.max(np.abs(xp.outs[0]), initial=0.0))  # never a row's largest, or its smallest, entry
    neutral = {"prod": 1.0, "max": -beyond, "min": beyond}[op]
    rows = xp.where(xp.concrete(used), xp.take(both, xp.concrete(place), axis=0), neutral)
    return xp.shaped(xp.call(op, rows, axis=1), x.shape)


def cropped(xp: TorchTracer, src: Value, shape: Any) -> Value:
    """scatter reads only so much of its source as the index has."""
    if src.shape == tuple(shape):
        return src
    return xp.getitem(src, index=tuple((0, n, 1) for n in shape)) if src.ndim else xp.spread(src, shape)


@maps("index_add")
def index_add(xp: TorchTracer, x: Value, dim: int, index: Any, source: Any, alpha: Any = 1) -> Value:
    where = xp.moved(lambda at: at.index_select(dim, xp.native([index])[0].reshape(-1)), x.shape)
    return xp.accumulated(x, where, times(xp.shaped(source, where.shape), alpha))


@maps("index_copy")
def index_copy(xp: TorchTracer, x: Value, dim: int, index: Any, source: Any) -> Value:
    where = xp.moved(lambda at: at.index_select(dim, xp.native([index])[0].reshape(-1)), x.shape)
    return once(x, where, xp.shaped(source, where.shape))


@maps("index_fill.int_Scalar index_fill.int_Tensor")
def index_fill(xp: TorchTracer, x: Value, dim: int, index: Any, value: Any) -> Value:
    where = xp.moved(lambda at: at.index_select(dim, xp.native([index])[0].reshape(-1)), x.shape)
    return xp.placed(x, where, value)


@maps("select_scatter")
def select_scatter(xp: TorchTracer, x: Value, src: Value, dim: int, index: int) -> Value:
    return xp.placed(x, xp.moved(lambda at: at.select(dim, index), x.shape), src)


@maps("slice_scatter")
def slice_scatter(
    xp: TorchTracer, x: Value, src: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    return xp.placed(x, xp.moved(lambda at: xp.aten("slice.Tensor")(at, dim, start, end, step), x.shape), src)


@maps("diagonal_scatter")
def diagonal_scatter(xp: TorchTracer, x: Value, src: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    return xp.placed(x, xp.moved(lambda at: at.diagonal(offset, dim1, dim2), x.shape), src)


@maps("as_strided_scatter")
def as_strided_scatter(
    xp: TorchTracer, x: Value, src: Value, size: Any, stride: Any, storage_offset: int | None = None
) -> Value:
    xp.require(not xp.storage_offset(0), "as_strided_scatter into a part of a storage")
    return once(x, strided_indices(size, stride, storage_offset or 0), src)


# ---- linear algebra -------------------------------------------------------------------------------------------------


@maps("mm bmm mv dot")
def matmul(xp: TorchTracer, a: Value, b: Value) -> Value:
    return xp.matmul(a, b)


@maps("vdot")
def vdot(xp: TorchTracer, a: Value, b: Value) -> Value:
    """The first vector conjugated, where it is complex."""
    return xp.matmul(xp.conj(a), b)


@maps("addmm addmv addr _sparse_addmm")
def addmm(xp: TorchTracer, c: Value, a: Value, b: Value, beta: Any = 1, alpha: Any = 1) -> Value:
    product = xp.outer(a, b) if a.ndim == b.ndim == 1 else xp.matmul(a, b)
    return times(product, alpha) if beta == 0 else xp.add(times(c, beta), times(product, alpha))


@maps("baddbmm")
def baddbmm(xp: TorchTracer, c: Value, a: Value, b: Value, beta: Any = 1, alpha: Any = 1) -> Value:
    return addmm(xp, c, a, b, beta, alpha)


@maps("addbmm")
def addbmm(xp: TorchTracer, c: Value, a: Value, b: Value, beta: Any = 1, alpha: Any = 1) -> Value:
    return addmm_sum(xp, c, xp.sum(xp.matmul(a, b), axis=0), beta, alpha)


def addmm_sum(xp: TorchTracer, c: Value, product: Any, beta: Any, alpha: Any) -> Value:
    return times(product, alpha) if beta == 0 else xp.add(times(c, beta), times(product, alpha))


@maps("trace")
def trace(xp: TorchTracer, x: Value) -> Value:
    return xp.trace(x)


@maps("linalg_cross")
def cross(xp: TorchTracer, a: Value, b: Value, dim: int = -1) -> Value:
    shape = xp.outs[0].shape
    return xp.cross(xp.spread(a, shape), xp.spread(b, shape), axis=dim)


@maps("_linalg_det")
def det(xp: TorchTracer, a: Value) -> Outputs:
    if a.kind != "complex" or a.shape[-1] <= MINORS_UP_TO:
        return xp.det(a), None, None
    pivots = xp.outs[2]
    odd = (pivots != np.arange(1, pivots.shape[-1] + 1)).sum(axis=-1) % 2
    diagonal = xp.diagonal(eliminated(xp, in_pivot_order(xp, a, pivots)))
    return xp.prod(diagonal, axis=-1) * xp.concrete(1.0 - 2.0 * odd), None, None


@maps("_linalg_slogdet")
def slogdet(xp: TorchTracer, a: Value) -> Outputs:
    return xp.sign(det(xp, a)[0]), xp.logabsdet(a), None, None


@maps("linalg_inv_ex")
def inv_ex(xp: TorchTracer, a: Value, check_errors: bool = False) -> Outputs:
    return xp.inv(a), None


@maps("_linalg_solve_ex")
def solve_ex(xp: TorchTracer, a: Value, b: Value, left: bool = True, check_errors: bool = False) -> Outputs:
    swap = xp.matrix_transpose
    vectors = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    b = xp.expand_dims(b, axis=-1) if vectors else b
    x = xp.solve(a, b) if left else swap(xp.solve(swap(a), swap(b)))
    return (xp.squeeze(x, axis=-1) if vectors else x), None, None, None


@maps("linalg_cholesky_ex")
def cholesky_ex(xp: TorchTracer, a: Value, upper: bool = False, check_errors: bool = False) -> Outputs:
    return cholesky(xp, a, upper), None


@maps("cholesky")
def cholesky(xp: TorchTracer, a: Value, upper: bool = False) -> Value:
    """Of a symmetric matrix, of which PyTorch reads one triangle and spreads the gradient over both."""
    factor = xp.cholesky(a)
    return adjoint(xp, factor) if upper else factor


@maps("linalg_solve_triangular")
def solve_triangular(
    xp: TorchTracer, a: Value, b: Value, upper: bool, left: bool = True, unitriangular: bool = False
) -> Value:
    if left:
        return xp.solve_triangular(a, b, upper=upper, unit_diagonal=unitriangular)
    swap = xp.matrix_transpose
    return swap(xp.solve_triangular(swap(a), swap(b), upper=not upper, unit_diagonal=unitriangular))


@maps("triangular_solve")
def triangular_solve(
    xp: TorchTracer, b: Any, a: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    used = xp.matrix_transpose(a) if transpose else a
    return xp.solve_triangular(used, b, upper=upper != transpose, unit_diagonal=unitriangular), a


@maps("cholesky_solve _cholesky_solve_helper")
def cholesky_solve(xp: TorchTracer, b: Value, factor: Any, upper: bool = False) -> Value:
    lower = adjoint(xp, factor) if upper else factor
    half = xp.solve_triangular(lower, b, upper=False)
    return xp.solve_triangular(adjoint(xp, lower), half, upper=True)


@maps("cholesky_inverse")
def cholesky_inverse(xp: TorchTracer, factor: Any, upper: bool = False) -> Value:
    return cholesky_solve(xp, xp.concrete(np.eye(factor.shape[-1])), factor, upper)


@maps("linalg_qr")
def qr(xp: TorchTracer, a: Value, mode: str = "reduced") -> Outputs:
    m, n = a.shape[-2:]
    xp.require(
        mode != "complete" or m <= n, "the complete QR factors of a tall matrix, of which some columns are arbitrary"
    )
    diagonal = np.diagonal(xp.outs[1], axis1=-2, axis2=-1)
    q, r = orthogonalised(xp, a, np.where(diagonal < 0, -1.0, 1.0))
    return (None if mode == "r" else q), r


def in_pivot_order(xp: TorchTracer, a: Value, pivots: np.ndarray, back: bool = False) -> Value:
    """The rows of `a` after LAPACK's successive exchanges, which count from 1: integers, and as such concrete."""
    order = np.broadcast_to(np.arange(a.shape[-2]), (*a.shape[:-2], a.shape[-2])).copy()
    for at_ in np.ndindex(*pivots.shape[:-1]):
        for i, p in enumerate(pivots[at_]):
            order[at_][[i, p - 1]] = order[at_][[p - 1, i]]
    order = np.argsort(order, axis=-1) if back else order
    spots = np.arange(int(np.prod(a.shape))).reshape(a.shape)
    return xp.picked(a, np.take_along_axis(spots, order[..., None], axis=-2))


@maps("linalg_lu_factor_ex")
def lu_factor(xp: TorchTracer, a: Value, pivot: bool = True, check_errors: bool = False) -> Outputs:
    return eliminated(xp, in_pivot_order(xp, a, xp.outs[1]) if pivot else a), None, None


def unpacked(xp: TorchTracer, lu: Value) -> tuple[Any, Any]:
    """L with its unit diagonal, and U."""
    m, n = lu.shape[-2:]
    k = min(m, n)
    whole = ((None, None, 1),) * (lu.ndim - 2)
    left = xp.getitem(lu, index=(*whole, (0, m, 1), (0, k, 1)))
    right = xp.getitem(lu, index=(*whole, (0, k, 1), (0, n, 1)))
    return xp.tril(left, k=-1) + xp.concrete(np.eye(m, k)), xp.triu(right)


@maps("linalg_lu")
def lu(xp: TorchTracer, a: Value, pivot: bool = True) -> Outputs:
    rows = xp.matmul(xp.concrete(np.swapaxes(xp.outs[0], -1, -2).astype(np.float64)), a) if pivot else a
    return (xp.concrete(xp.outs[0]) if pivot else None), *unpacked(xp, eliminated(xp, rows))


@maps("lu_unpack")
def lu_unpack(xp: TorchTracer, lu: Value, pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Outputs:
    return xp.concrete(xp.outs[0]), *(unpacked(xp, lu) if unpack_data else (None, None))


@maps("linalg_lu_solve")
def lu_solve(xp: TorchTracer, lu: Value, pivots: Any, b: Value, left: bool = True, adjoint: bool = False) -> Value:
    """With P A = L U in pivot order; from the right it is the transposed system from the left. The adjoint system is the
    conjugate of the transposed one."""
    if adjoint and "complex" in (lu.kind, b.kind):
        return xp.conj(solved(xp, lu, number(pivots), xp.conj(b), left, adjoint))
    return solved(xp, lu, number(pivots), b, left, adjoint)


def solved(xp: TorchTracer, lu: Value, pivots: np.ndarray, b: Value, left: bool, adjoint: bool) -> Value:
    swap = xp.matrix_transpose
    if not left:
        return swap(lu_system(xp, lu, pivots, swap(b), swap_shape(xp.outs[0].shape), not adjoint))
    return lu_system(xp, lu, pivots, b, xp.outs[0].shape, adjoint)


def swap_shape(shape: Any) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2])


def lu_system(xp: TorchTracer, lu: Value, pivots: np.ndarray, b: Value, shape: Any, transposed: bool) -> Value:
    swap = xp.matrix_transpose
    b = xp.spread(b, shape)
    pivots = np.broadcast_to(pivots, (*shape[:-2], lu.shape[-1]))
    if not transposed:
        rows = in_pivot_order(xp, b, pivots)
        return xp.solve_triangular(lu, xp.solve_triangular(lu, rows, upper=False, unit_diagonal=True), upper=True)
    rows = xp.solve_triangular(swap(lu), b, upper=False)
    return in_pivot_order(xp, xp.solve_triangular(swap(lu), rows, upper=True, unit_diagonal=True), pivots, back=True)


@maps("_linalg_eigh")
def eigh(xp: TorchTracer, a: Value, UPLO: str = "L", compute_v: bool = True) -> Outputs:
    """PyTorch reads one triangle of a symmetric matrix and spreads the gradient over both: the symmetric part."""
    symmetric = (a + adjoint(xp, a)) * 0.5
    given = xp.outs[1] if compute_v else np.linalg.eigh(xp.read(0), "U" if UPLO.upper() == "U" else "L")[1]
    values, vectors = eigen(xp, backward_stable(xp, symmetric, xp.read(0)), given)
    return values, (vectors if compute_v else None)


@maps("linalg_householder_product")
def householder_product(xp: TorchTracer, v: Value, tau: Any) -> Value:
    """The first columns of (I - tau_1 v_1 v_1^T) ... (I - tau_k v_k v_k^T), the v_i below a diagonal of ones."""
    (m, n), k = v.shape[-2:], tau.shape[-1]
    xp.require(k <= LARGEST_FACTOR, f"a product of more than {LARGEST_FACTOR} reflections")
    lead = ((None, None, 1),) * (v.ndim - 1)
    unit = xp.tril(v, k=-1) + xp.concrete(np.broadcast_to(np.eye(m, n), v.shape).copy())
    out = xp.concrete(np.broadcast_to(np.eye(m, n), v.shape).copy())
    for i in reversed(range(k)):
        column = xp.getitem(unit, index=(*lead, (i, i + 1, 1)))
        factor = xp.expand_dims(xp.getitem(tau, index=(*lead[1:], (i, i + 1, 1))), axis=-1)
        out = out - factor * xp.matmul(column, xp.matmul(xp.matrix_transpose(column), out))
    return out


@maps("_linalg_svd")
def svd(xp: TorchTracer, a: Value, full_matrices: bool = False, compute_uv: bool = True, driver: Any = None) -> Outputs:
    m, n = a.shape[-2:]
    xp.require(
        not (full_matrices and compute_uv) or m == n,
        "all singular vectors of a matrix that is not square: some are arbitrary",
    )
    if compute_uv:
        u, _, vt = xp.outs
    else:
        u, _, vt = np.linalg.svd(xp.read(0), full_matrices=False)
    left, values, right = singular(xp, backward_stable(xp, a, xp.read(0)), u, np.conj(np.swapaxes(vt, -1, -2)))
    return (left, values, adjoint(xp, right)) if compute_uv else (None, values, None)


@maps("linalg_pinv.atol_rtol_tensor")
def pinv(xp: TorchTracer, a: Value, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Value:
    """Singular values up to the larger of `atol` and `rtol` times the largest one are taken for 0."""
    m, n = a.shape[-2:]
    sizes = np.linalg.svd(xp.read(0), compute_uv=False)
    wanted = [None if t is None else xp.tensors[id(t)].detach().cpu().double().numpy() for t in (atol, rtol)]
    floor = 0.0 if wanted[0] is None else wanted[0][..., None]
    if wanted[1] is not None:
        floor = np.maximum(floor, wanted[1][..., None] * sizes[..., :1])
    kept = sizes > np.maximum(floor, max(m, n) * np.finfo(sizes.dtype).eps * sizes[..., :1])
    if not kept.all():
        xp.require(bool((sizes > floor).sum() == kept.sum()), "the pseudo-inverse of a matrix without full rank")
        return truncated_inverse(xp, a, kept, hermitian)
    return least_squares(xp, a, xp.spread(xp.concrete(np.eye(m)), (*a.shape[:-2], m, m)))


def truncated_inverse(xp: TorchTracer, a: Value, kept: np.ndarray, hermitian: bool) -> Value:
    """The pseudo-inverse by the `kept` singular values, which are in descending order."""
    given = xp.read(0)
    stable = backward_stable(xp, a, given)
    if not hermitian:
        u, _, vt = np.linalg.svd(given, full_matrices=False)
        return low_rank_inverse(xp, *singular(xp, stable, u, np.conj(np.swapaxes(vt, -1, -2))), kept)
    of, columns = np.linalg.eigh(given)
    rank = np.argsort(np.argsort(-np.abs(of), axis=-1), axis=-1)
    values, vectors = eigen(xp, (stable + adjoint(xp, stable)) * 0.5, columns)
    return low_rank_inverse(xp, vectors, values, vectors, np.take_along_axis(kept, rank, axis=-1))


@maps("linalg_lstsq")
def lstsq(xp: TorchTracer, a: Value, b: Value, rcond: Any = None, *, driver: Any = None) -> Outputs:
    m, n = a.shape[-2:]
    xp.require(
        bool((np.linalg.matrix_rank(xp.read(0)) == min(m, n)).all()), "least squares for a matrix without full rank"
    )
    x = least_squares(xp, a, b)
    residuals = xp.later(lambda: xp.sum(xp.square(xp.matmul(a, x) - b), axis=-2))
    return x, (residuals if xp.outs[1].size else None), None, None


@maps("linalg_matrix_exp")
def matrix_exp(xp: TorchTracer, a: Value) -> Value:
    return matrix_exponential(xp, a, float(np.abs(xp.read(0)).sum(axis=-1).max(initial=0.0)))


@maps("_trilinear")
def trilinear(
    xp: TorchTracer, a: Any, b: Any, c: Any, expand1: Any, expand2: Any, expand3: Any, sumdim: Any, unroll_dim: int = 1
) -> Any:
    """The sum over `sumdim` of the product of three arrays, each with new axes."""
    product = None
    for x, axes in ((a, expand1), (b, expand2), (c, expand3)):
        for axis in sorted(axes):
            x = xp.expand_dims(x, axis=axis)
        product = x if product is None else product * x
    return xp.sum(product, axis=tuple(sumdim))


@maps("_euclidean_dist")
def euclidean_dist(xp: TorchTracer, a: Value, b: Value) -> Value:
    return cdist(xp, a, b, 2.0, None)


@maps("_cdist_forward")
def cdist(xp: TorchTracer, a: Value, b: Value, p: float, compute_mode: Any) -> Value:
    difference = xp.expand_dims(a, axis=-2) - xp.expand_dims(b, axis=-3)
    return vector_norm(xp, difference, p, [-1])


@maps("_pdist_forward")
def pdist(xp: TorchTracer, x: Value, p: float = 2.0) -> Value:
    i, j = np.triu_indices(x.shape[0], 1)
    rows = lambda at: xp.take(x, xp.concrete(at), axis=0)
    return vector_norm(xp, rows(i) - rows(j), p, [-1])


# ---- networks -------------------------------------------------------------------------------------------------------


def pair(v: Any) -> tuple[int, ...]:
    v = [v] if isinstance(v, int) else list(v)
    return tuple(int(n) for n in (v * 2 if len(v) == 1 else v))


def several(v: Any, n: int) -> list[int]:
    v = [v] if isinstance(v, int) else [int(k) for k in v]
    return v * n if len(v) == 1 else v


@maps("convolution _convolution convolution_overrideable")
def convolution(
    xp: TorchTracer, x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, output_padding: Any,
    groups: int, *_: Any,
) -> Any:  # fmt: skip
    n = w.ndim - 2
    stride, padding, dilation = several(stride, n), several(padding, n), several(dilation, n)
    unbatched = x.ndim == n + 1
    x = xp.expand_dims(x, axis=0) if unbatched else x
    if transposed:
        x, w, padding = upsampled(xp, x, w, stride, padding, dilation, several(output_padding, n), groups)
        stride = [1] * n
    pads = [max(p, 0) for p in padding]
    out = correlation(xp, x, w, stride, pads, dilation, groups)
    if b is not None:
        out = out + xp.reshape(b, shape=(-1,) + (1,) * n)
    return xp.squeeze(out, axis=0) if unbatched else out


def upsampled(
    xp: TorchTracer, x: Any, w: Any, stride: Any, padding: Any, dilation: Any, output_padding: Any, groups: int
) -> tuple[Any, Any, list[int]]:
    """Return the operands of a transposed convolution as a correlation: x with zeros between, the kernel flipped.

    Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4."""
    n = w.ndim - 2
    inner, outer, *kernel = w.shape
    sizes = [(m - 1) * s + 1 for m, s in zip(x.shape[2:], stride)]
    everything = ((None, None, 1),) * 2
    x = xp.embed(x, index=everything + tuple((None, None, s) for s in stride), shape=(*x.shape[:2], *sizes))
    before = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding)]
    pads = [v for p, extra in zip(before[::-1], output_padding[::-1]) for v in (p, p + extra)]
    x = constant_pad(xp, x, pads)
    w = xp.reshape(w, shape=(groups, inner // groups, outer, *kernel))
    w = xp.permute_dims(w, axes=(0, 2, 1, *range(3, 3 + n)))
    w = xp.flip(xp.reshape(w, shape=(groups * outer, inner // groups, *kernel)), axis=tuple(range(2, 2 + n)))
    return x, w, [0] * n


def channelled(xp: TorchTracer, v: Value, ndim: int) -> Value:
    """A vector over channels, to broadcast over (batch, channels, ...)."""
    return xp.reshape(v, shape=(1, -1) + (1,) * (ndim - 2))


def moments(xp: TorchTracer, x: Value, axes: tuple[int, ...], eps: float) -> tuple[Any, Any]:
    """The mean and 1 / sqrt(var + eps), with the axes kept: what normalisations save for their backward. Recorded only
    if something uses it."""
    mean = lambda: xp.mean(x, axis=axes, keepdims=True)
    return xp.later(mean), xp.later(lambda: xp.rsqrt(xp.mean(xp.square(x - mean()), axis=axes, keepdims=True) + eps))


def admits_eps(eps: float) -> bool:
    """Do the table's normalisations take it? Theirs is not 0, and is no more than 1."""
    param = OPS["standardize"].params["eps"]
    assert param.lo is not None
    assert param.hi is not None
    return param.lo <= eps <= param.hi


def standardized(xp: TorchTracer, x: Value, axes: tuple[int, ...], eps: float) -> Value:
    if len(axes) == 1 and x.shape[axes[0]] and admits_eps(eps):
        return xp.standardize(x, axis=axes[0], eps=float(eps))
    centred = x - xp.mean(x, axis=axes, keepdims=True)
    return centred / xp.sqrt(xp.mean(xp.square(centred), axis=axes, keepdims=True) + eps)


@maps("native_batch_norm _native_batch_norm_legit _batch_norm_with_update cudnn_batch_norm miopen_batch_norm")
def batch_norm(xp: TorchTracer, x: Value, w: Value | None, b: Value | None, mean: Any, var: Any, *rest: Any) -> Outputs:
    """`rest` is (training, momentum, eps), or without the flag for the overload that always updates."""
    training = rest[0] if isinstance(rest[0], bool) else True
    eps = float(rest[-1])
    if training:
        # What it does to the running statistics has no part in the outputs.
        ones, zeros = xp.concrete(np.ones(x.shape[1])), xp.concrete(np.zeros(x.shape[1]))
        out = xp.batch_norm(x, ones if w is None else w, zeros if b is None else b, eps=eps)
        saved = moments(xp, x, (0, *range(2, x.ndim)), eps)
        return (out, *(xp.later(partial(xp.flat, v)) for v in saved), *(None,) * (len(xp.outs) - 3))
    centred = x - channelled(xp, mean, x.ndim)
    out = centred / xp.sqrt(channelled(xp, var, x.ndim) + eps)
    wide = [None if v is None else channelled(xp, v, x.ndim) for v in (w, b)]
    return (affine(xp, out, *wide), *(None,) * (len(xp.outs) - 1))


@maps("_native_batch_norm_legit_no_training")
def batch_norm_inference(
    xp: TorchTracer, x: Value, w: Value, b: Value, mean: Any, var: Any, momentum: float, eps: float
) -> Value:
    return batch_norm(xp, x, w, b, mean, var, False, momentum, eps)


@maps("_native_batch_norm_legit.no_stats")
def batch_norm_stateless(
    xp: TorchTracer, x: Value, w: Value, b: Value, training: bool, momentum: float, eps: float
) -> Value:
    return batch_norm(xp, x, w, b, None, None, True, momentum, eps)


@maps("native_layer_norm")
def layer_norm(xp: TorchTracer, x: Value, shape: Any, w: Value | None, b: Value | None, eps: float) -> Outputs:
    axes = tuple(range(-len(shape), 0))
    if len(shape) == 1 and w is not None and b is not None and admits_eps(eps):
        out = xp.layer_norm(x, w, b, eps=float(eps))
    else:
        out = affine(xp, standardized(xp, x, axes, eps), w, b)
    return out, *moments(xp, x, axes, eps)


@maps("native_group_norm")
def group_norm(
    xp: TorchTracer, x: Value, w: Value, b: Value, n: int, c: int, hw: int, group: int, eps: float
) -> Outputs:
    groups = xp.reshape(x, shape=(n, group, c // group * hw))
    out = xp.shaped(standardized(xp, groups, (-1,), eps), x.shape)
    wide = [None if v is None else channelled(xp, v, x.ndim) for v in (w, b)]
    saved = moments(xp, groups, (-1,), eps)
    return affine(xp, out, *wide), *(xp.later(partial(xp.shaped, v, (n, group))) for v in saved)


@maps("_fused_rms_norm")
def rms_norm(xp: TorchTracer, x: Value, shape: Any, w: Value, eps: Any) -> Outputs:
    eps = float(xp.eps() if eps is None else eps)
    axes = tuple(range(-len(shape), 0))
    squares = xp.mean(xp.square(x), axis=axes, keepdims=True) + eps
    return affine(xp, x / xp.sqrt(squares), w, None), xp.later(lambda: xp.rsqrt(squares))


@maps("rrelu_with_noise")
def rrelu(
    xp: TorchTracer, x: Value, noise: Any, lower: Any = 0.125, upper: Any = 1 / 3, training: bool = False, *_: Any
) -> Value:
    """In training the noise, drawn here, holds the slope of every entry."""
    if not training:
        return xp.leaky_relu(x, negative_slope=(lower + upper) / 2)
    return xp.where(xp.greater(x, 0.0), x, x * noise)


@maps("_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention")
def flash_attention(
    xp: TorchTracer, q: Any, k: Any, v: Any, dropout_p: float = 0.0, is_causal: bool = False, *_: Any, attn_mask: Any = None,
    scale: float | None = None, **__: Any,
) -> Any:  # fmt: skip
    if dropout_p:
        raise Unsupported("attention with dropout inside one kernel: its mask cannot be seen")
    scores = xp.matmul(q, xp.matrix_transpose(k)) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        scores = xp.where(xp.concrete(np.tril(np.ones(scores.shape[-2:], dtype=bool))), scores, -math.inf)
    if attn_mask is not None:
        scores = xp.where(attn_mask, scores, -math.inf) if attn_mask.kind == "bool" else scores + attn_mask
    return (xp.matmul(xp.softmax(scores, axis=-1), v), *(None,) * (len(xp.outs) - 1))


@maps("max_pool2d_with_indices")
def max_pool2d(
    xp: TorchTracer, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    out = xp.outs[0].shape
    image = xp.shaped(x, (1,) * (4 - x.ndim) + x.shape)
    kernel, padding, dilation = pair(kernel), pair(padding), pair(dilation)
    stride = pair(stride) if isinstance(stride, int) or len(stride) else kernel
    if ceil_mode:
        return xp.picked(x, flat_plane(xp.outs[1], x.shape)), None
    return xp.shaped(xp.max_pool2d(image, kernel=kernel, stride=stride, padding=padding, dilation=dilation), out), None


def flat_plane(indices: np.ndarray, shape: Any, ndim: int = 2) -> np.ndarray:
    """Pooling indices count within one image plane; here they count from the start of the array."""
    plane = int(np.prod(shape[-ndim:]))
    lead = indices.shape[:-ndim]
    return indices + plane * np.arange(int(np.prod(lead))).reshape(*lead, *(1,) * ndim)


@maps("max_pool3d_with_indices adaptive_max_pool3d fractional_max_pool3d")
def max_pool3d(xp: TorchTracer, x: Value, *_: Any) -> Outputs:
    return xp.picked(x, flat_plane(xp.outs[1], x.shape, 3)), None


@maps("adaptive_max_pool2d fractional_max_pool2d")
def adaptive_max_pool2d(xp: TorchTracer, x: Value, *_: Any) -> Outputs:
    return xp.picked(x, flat_plane(xp.outs[1], x.shape)), None


@maps("max_unpool2d")
def max_unpool2d(xp: TorchTracer, x: Value, indices: Any, size: Any) -> Value:
    zero = xp.concrete(np.zeros(xp.outs[0].shape))
    return once(zero, flat_plane(number(indices), xp.outs[0].shape), x)


LARGEST_MAP = 1 << 20
"""Entries of the matrix of a linear map: 8 MB."""


def linear_map(xp: TorchTracer, x: Value, axes: int, op: Callable[[Any], Any], terms: float = 0.0) -> Value:
    """A linear op on the last axes as a matrix: the op, in double, of each unit vector. Its entries are weights that
    PyTorch itself computes in floating point; `terms` is the size of what cancels in them, if anything does: the
    rounding of a sum with that is then part of the definition, and of what it excuses."""
    lead, plane = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    out = xp.outs[0].shape
    n, m = int(np.prod(plane)), int(np.prod(out[x.ndim - axes :]))
    xp.require(n * m <= LARGEST_MAP, f"a linear map of {n} by {m} entries, more than {LARGEST_MAP}")
    matrix = op(xp.units(n).reshape(n, 1, *plane)).reshape(n, m).numpy()
    linear = xp.concrete(matrix.astype(np.result_type(xp.read(0), np.float32)))
    weights = xp.where(xp.concrete(matrix != 0), (linear + terms) - terms, 0.0) if terms else linear
    rows = xp.matmul(xp.reshape(x, shape=(int(np.prod(lead)), n)), weights)
    return xp.reshape(rows, shape=out)


@maps("avg_pool3d _adaptive_avg_pool3d")
def avg_pool3d(xp: TorchTracer, x: Value, *options: Any) -> Value:
    return linear_map(xp, x, 3, lambda t: xp.func(t, *options))


@maps("_upsample_bilinear2d_aa _upsample_bicubic2d_aa")
def upsample_antialiased(xp: TorchTracer, x: Value, *options: Any) -> Value:
    return linear_map(xp, x, 2, lambda t: xp.func(t, *options))


@maps("upsample_bicubic2d")
def upsample_bicubic(xp: TorchTracer, x: Value, *options: Any) -> Value:
    """The weights are cubics like ((A t - 5A) t + 8A) t - 4A, A = -0.75 (Keys 1981): terms of 6 cancel."""
    return linear_map(xp, x, 2, lambda t: xp.func(t, *options), terms=6.0)


@maps("_embedding_bag")
def embedding_bag(
    xp: TorchTracer, weight: Any, indices: Any, offsets: Any, scale_grad_by_freq: bool = False, mode: int = 0,
    sparse: bool = False, per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: int = -1,
) -> Any:  # fmt: skip
    """Sums or means of rows; mode 2, the maximum, is not mapped."""
    xp.require(mode in (0, 1), "aten._embedding_bag with mode='max'")
    given, starts = number(indices), number(offsets)
    bag = np.searchsorted(starts[: xp.outs[0].shape[0]], np.arange(given.size), side="right") - 1
    kept = given != padding_idx
    rows = xp.take(weight, xp.concrete(given[kept]), axis=0)
    if per_sample_weights is not None:
        rows = rows * xp.expand_dims(xp.picked(per_sample_weights, np.flatnonzero(kept)), axis=-1)
    zero = xp.concrete(np.zeros(xp.outs[0].shape))
    total = xp.index_add(zero, xp.concrete(bag[kept]), rows, axis=0)
    if mode == 1:
        counts = np.bincount(bag[kept], minlength=zero.shape[0]).astype(np.float64)
        total = total / xp.concrete(np.maximum(counts, 1.0)[:, None])
    return total, None, None, None


@maps("avg_pool2d")
def avg_pool2d(
    xp: TorchTracer, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    out = xp.outs[0].shape
    image = xp.shaped(x, (1,) * (4 - x.ndim) + x.shape)
    kernel, padding = pair(kernel), pair(padding)
    stride = pair(stride) if isinstance(stride, int) or len(stride) else kernel
    if ceil_mode:
        options = (list(stride), list(padding), True, count_include_pad, divisor_override)
        return linear_map(xp, x, 2, lambda t: xp.aten("avg_pool2d")(t, list(kernel), *options))
    pooled = xp.avg_pool2d(image, kernel=kernel, stride=stride, padding=padding)
    if divisor_override is not None:
        pooled = pooled * (kernel[0] * kernel[1] / divisor_override)
    elif any(padding) and not count_include_pad:
        inside = np.pad(np.ones(image.shape[2:]), [(p, p) for p in padding])
        views = np.lib.stride_tricks.sliding_window_view(inside, kernel)[:: stride[0], :: stride[1]]
        pooled = pooled * xp.concrete(kernel[0] * kernel[1] / views.sum(axis=(-2, -1)))
    return xp.shaped(pooled, out)


@maps("_adaptive_avg_pool2d")
def adaptive_avg_pool2d(xp: TorchTracer, x: Value, size: Any) -> Value:
    image = xp.shaped(x, (1,) * (4 - x.ndim) + x.shape)
    return xp.shaped(xp.adaptive_avg_pool2d(image, size=tuple(size)), xp.outs[0].shape)


# ---- Fourier transforms ---------------------------------------------------------------------------------------------------


def by_size(xp: TorchTracer, z: Value, n: int, normalization: int) -> Value:
    """ATen's `fft_norm_mode`: 0 none, 1 by the root of the size, 2 by the size."""
    return z if normalization == 0 else z / xp.sqrt(float(n)) if normalization == 1 else z / float(n)


@maps("_fft_c2c")
def fft_c2c(xp: TorchTracer, z: Value, dim: Any, normalization: int, forward: bool) -> Value:
    n = int(np.prod([z.shape[d] for d in dim]))
    for d in dim:
        z = xp.dft(z, axis=d, inverse=not forward)
    return by_size(xp, z, n, normalization)


@maps("_fft_r2c")
def fft_r2c(xp: TorchTracer, x: Value, dim: Any, normalization: int, onesided: bool) -> Value:
    """One-sided: the first half of the last dim's entries; the others are their conjugates."""
    z = fft_c2c(xp, x, dim, normalization, True)
    return along(xp, z, dim[-1], 0, x.shape[dim[-1]] // 2 + 1) if onesided else z


@maps("_fft_c2r")
def fft_c2r(xp: TorchTracer, z: Value, dim: Any, normalization: int, last_dim_size: int) -> Value:
    n = int(np.prod([z.shape[d] for d in dim[:-1]])) * last_dim_size
    z = fft_c2c(xp, z, dim[:-1], 0, False)
    return by_size(xp, xp.irfft(z, n=last_dim_size, axis=dim[-1], norm="forward"), n, normalization)


# ---- losses ---------------------------------------------------------------------------------------------------------


def averaged(xp: TorchTracer, loss: Any, reduction: int) -> Value:
    """0 none, 1 mean, 2 sum (ATen's `Reduction`)."""
    return {0: lambda: loss, 1: lambda: xp.mean(loss), 2: lambda: xp.sum(loss)}[reduction]()


@maps("mse_loss")
def mse_loss(xp: TorchTracer, x: Value, y: Value, reduction: int = 1) -> Value:
    return averaged(xp, xp.square(x - y), reduction)


@maps("smooth_l1_loss")
def smooth_l1_loss(xp: TorchTracer, x: Value, y: Value, reduction: int = 1, beta: float = 1.0) -> Value:
    d = xp.abs(x - y)
    if beta == 0:
        return averaged(xp, d, reduction)
    return averaged(xp, xp.where(xp.less(d, beta), xp.square(d) * (0.5 / beta), d - 0.5 * beta), reduction)


@maps("huber_loss")
def huber_loss(xp: TorchTracer, x: Value, y: Value, reduction: int = 1, delta: float = 1.0) -> Value:
    d = xp.abs(x - y)
    return averaged(xp, xp.where(xp.less_equal(d, delta), xp.square(d) * 0.5, (d - 0.5 * delta) * delta), reduction)


@maps("soft_margin_loss")
def soft_margin_loss(xp: TorchTracer, x: Value, y: Value, reduction: int = 1) -> Value:
    return averaged(xp, xp.softplus(xp.negative(x * y)), reduction)


@maps("binary_cross_entropy")
def binary_cross_entropy(xp: TorchTracer, x: Value, y: Value, weight: Any = None, reduction: int = 1) -> Value:
    """Documented: the logarithms are kept above -100."""
    logs = [xp.maximum(v, -100.0) for v in (xp.log(x), xp.log1p(xp.negative(x)))]
    loss = xp.negative(y * logs[0] + (1.0 - y) * logs[1])
    return averaged(xp, loss if weight is None else loss * weight, reduction)


@maps("binary_cross_entropy_with_logits")
def bce_with_logits(
    xp: TorchTracer, x: Value, y: Value, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Value:
    positive = xp.softplus(xp.negative(x))
    positive = positive if pos_weight is None else positive * pos_weight
    loss = y * positive + (1.0 - y) * xp.softplus(x)
    return averaged(xp, loss if weight is None else loss * weight, reduction)


@maps("nll_loss_forward nll_loss2d_forward")
def nll_loss(xp: TorchTracer, x: Value, target: Value, weight: Any, reduction: int, ignore_index: int) -> Outputs:
    classes = number(target)
    axis = 0 if x.ndim == 1 else 1
    counted = classes != ignore_index
    safe = np.where(counted, classes, 0)
    columns = xp.concrete(np.expand_dims(safe, axis))
    picked = xp.negative(xp.squeeze(xp.take_along_axis(x, columns, axis=axis), axis=axis))
    share: Any = xp.concrete(counted.astype(np.float64)) if not counted.all() else None
    if weight is not None:
        rows = xp.take(weight, xp.concrete(safe), axis=0)
        share = rows if share is None else rows * share
    loss = picked if share is None else picked * share
    total: Any = lambda: float(counted.size) if share is None else xp.sum(share)
    if reduction != 1:
        return (loss if reduction == 0 else xp.sum(loss)), xp.later(lambda: xp.spread(total(), ()))
    return xp.divide(xp.sum(loss), total()), xp.later(lambda: xp.spread(total(), ()))


# ---- backward -------------------------------------------------------------------------------------------------------
# What PyTorch's decompositions of these come to (torch._decomp.decompositions) where nothing is cast. They stand in most
# backward passes, and to run a decomposition in sight of the tracer takes ten times as long as to write it down.

PULLED: dict[str, Map] = {}
"""Overloads of arguments that all are in float32, or all in float64; as in MAPPED."""

pulls = entering(PULLED)


@pulls("tanh_backward")
def tanh_backward(xp: TorchTracer, g: Value, y: Value) -> Value:
    return g * (1.0 - y * y)


@pulls("sigmoid_backward")
def sigmoid_backward(xp: TorchTracer, g: Value, y: Value) -> Value:
    return g * (y * (1.0 - y))


@pulls("threshold_backward")
def threshold_backward(xp: TorchTracer, g: Value, x: Value, threshold: Any) -> Value:
    return xp.where(xp.less_equal(x, threshold), 0.0, g)


@pulls("_softmax_backward_data")
def softmax_backward(xp: TorchTracer, g: Value, y: Value, dim: int, dtype: Any) -> Value:
    gy = g * y
    return gy - y * reduce(xp, "sum", gy, [dim], True)


@pulls("_log_softmax_backward_data")
def log_softmax_backward(xp: TorchTracer, g: Value, y: Value, dim: int, dtype: Any) -> Value:
    return g - xp.exp(y) * reduce(xp, "sum", g, [dim], True)


def mapped() -> tuple[str, ...]:
    """Every overload in the table, by its full name."""
    return tuple(sorted(f"aten.{n}" if "." in n else f"aten.{n}.default" for n in MAPPED))
