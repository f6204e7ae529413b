"""NumPy's ufuncs and functions in the words of the op table.

`UFUNCS` has them by name (`add`, `add.reduce`; SciPy's special functions are ufuncs too), `FUNCTIONS` by the function
object. A mapping is a function (xp, *args, **kwargs) with NumPy's own signature, where arrays are `Value`s and `xp` is a
`Tracer`; it returns the Value of the result, or a tuple. Integer results are concrete and need no entry (see `base`).

`MOVES` only move entries: what they do is found by applying them to the numbers 0 to n - 1. `MOVES_OR_ZERO` fill with
zeros besides. `WRITES` write to an argument. `ASKS` look at shapes and dtypes alone, or answer with a Python value. A
function that is in none of these and is itself written in Python is followed into its parts.

Semantics are those of NumPy's reference (2.4), kinks included; defaults of arguments are NumPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...trace.decompositions import (
    Map,
    along,
    at,
    backward_stable,
    cbrt,
    copysign,
    direct,
    eigen,
    entering,
    floor_divide,
    fmod,
    frexp,
    heaviside,
    least_squares,
    log_ndtr,
    logical_xor,
    ndtri,
    orthogonalised,
    padded,
    pi,
    singular,
    where,
)
from ...trace.value import Complex, Outputs, Value

if TYPE_CHECKING:
    from .tracer import NumpyTracer

UFUNCS: dict[str, Map] = {}
FUNCTIONS: dict[Any, Map] = {}
ufunc = entering(UFUNCS)


def named(names: str) -> Iterable[Any]:
    """NumPy's functions of these names, as far as this version has them."""
    for name in names.split():
        found: Any = np
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None:
            yield found


def function(*names: str) -> Callable[[Map], Map]:
    def enter(f: Map) -> Map:
        for found in named(" ".join(names)):
            FUNCTIONS[found] = f
        return f

    return enter


# ---- elementwise ufuncs ---------------------------------------------------------------------------------------------

for _entry in (
    "absolute=abs fabs=abs negative sign square sqrt reciprocal exp exp2 expm1 log log1p log2 log10 sin cos tan sinh cosh "
    "tanh arcsin=asin arccos=acos arctan=atan arcsinh=asinh arccosh=acosh arctanh=atanh floor ceil trunc rint=round "
    "logical_not invert=logical_not bitwise_invert=logical_not add subtract multiply divide true_divide=divide maximum "
    "minimum fmax=maximum fmin=minimum arctan2=atan2 hypot logaddexp logaddexp2 remainder equal not_equal less less_equal "
    "greater greater_equal logical_and logical_or bitwise_and=logical_and bitwise_or=logical_or "
    # scipy.special
    "erf erfc erfinv expit=sigmoid log_expit=log_sigmoid gammaln=lgamma psi=digamma xlogy xlog1py ndtr entr"
).split():
    _name, _, _op = _entry.partition("=")
    UFUNCS[_name] = direct(_op or _name)


ufunc("floor_divide")(floor_divide)
ufunc("fmod")(fmod)
ufunc("frexp")(frexp)
ufunc("cbrt")(cbrt)
ufunc("copysign")(copysign)
ufunc("heaviside")(heaviside)
ufunc("logical_xor bitwise_xor")(logical_xor)
ufunc("log_ndtr")(log_ndtr)
ufunc("ndtri")(ndtri)


@ufunc("positive")
def same(xp: NumpyTracer, x: Value) -> Value:
    return x


@ufunc("conjugate")
def conjugate(xp: NumpyTracer, z: Value) -> Value:
    return xp.conj(z) if z.kind == "complex" else z


@function("imag")
def imag(xp: NumpyTracer, x: Value) -> Value:
    """Of a real array: zeros (the parts of a complex one are read from it)."""
    return xp.concrete(np.zeros(x.shape))


@function("angle")
def angle(xp: NumpyTracer, z: Value, deg: bool = False) -> Value:
    found = xp.angle(z) if z.kind == "complex" else xp.atan2(0.0, z)
    return found * (180.0 / math.pi) if deg else found


@ufunc("power float_power")
def power(xp: NumpyTracer, x: Value, y: Value | float) -> Value:
    if isinstance(y, Value) and y.array is not None and not y.live and y.array.size == 1 and y.kind != "bool":
        y = y.array.item() if y.ndim == 0 else y
    if isinstance(y, Value):
        return xp.pow(x, y)
    known = {2: "square", 0.5: "sqrt", -1: "reciprocal", -0.5: "rsqrt"}
    return xp.call(known[y], x) if y in known else x if y == 1 else xp.pow(x, y)


@ufunc("divmod")
def divmod_(xp: NumpyTracer, x: Value, y: Value) -> Outputs:
    return floor_divide(xp, x, y), xp.remainder(x, y)


@ufunc("modf")
def modf(xp: NumpyTracer, x: Value) -> Outputs:
    whole = xp.trunc(x)
    return x - whole, whole


@ufunc("ldexp")
def ldexp(xp: NumpyTracer, x: Value, exponent: Any) -> Value:
    return xp.multiply(x, xp.exp2(exponent) if isinstance(exponent, Value) else 2.0**exponent)


@ufunc("deg2rad radians")
def radians(xp: NumpyTracer, x: Value) -> Value:
    return x * (pi(xp) / 180.0)


@ufunc("rad2deg degrees")
def degrees(xp: NumpyTracer, x: Value) -> Value:
    return x * (180.0 / pi(xp))


@ufunc("isnan isinf isfinite")
def never(xp: NumpyTracer, x: Value) -> Value:
    return xp.concrete(np.asarray(xp.outs[0]))


@ufunc("signbit")
def signbit(xp: NumpyTracer, x: Value) -> Value:
    return xp.less(x, 0.0)


@ufunc("clip")
def clip_ufunc(xp: NumpyTracer, x: Value, low: Any, high: Any) -> Value:
    return clip(xp, x, low, high)


@ufunc("logit")
def logit(xp: NumpyTracer, x: Value) -> Value:
    return xp.logit(x)


@ufunc("gamma")
def gamma(xp: NumpyTracer, x: Value) -> Value:
    xp.require(bool((xp.read(0) > 0).all()), "the gamma function of numbers that are not positive")
    return xp.exp(xp.lgamma(x))


@ufunc("betaln")
def betaln(xp: NumpyTracer, a: Value, b: Value) -> Value:
    return xp.lgamma(a) + xp.lgamma(b) - xp.lgamma(xp.add(a, b))


# ---- methods of ufuncs ----------------------------------------------------------------------------------------------


def _reduce(op: str, start: Any) -> Map:
    def call(
        xp: NumpyTracer, x: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: Any = False,
        initial: Any = None, where: Any = True,
    ) -> Any:  # fmt: skip
        return reduced(xp, op, x, axis, keepdims, initial, where, start)

    return call


for _ufunc, _op, _start in (
    ("add", "sum", 0.0), ("multiply", "prod", 1.0), ("maximum", "max", -math.inf), ("minimum", "min", math.inf),
    ("fmax", "max", -math.inf), ("fmin", "min", math.inf), ("logical_and", "all", True), ("logical_or", "any", False),
    ("bitwise_and", "all", True), ("bitwise_or", "any", False), ("logaddexp", "logsumexp", -math.inf),
):  # fmt: skip
    UFUNCS[f"{_ufunc}.reduce"] = _reduce(_op, _start)


def reduced(
    xp: NumpyTracer, op: str, x: Any, axis: Any, keepdims: Any, initial: Any = None, where: Any = True, start: Any = None,
    **params: Any,
) -> Any:  # fmt: skip
    """With NumPy's `initial`, which takes part, and `where`, which leaves entries out; `start` is the neutral element."""
    keepdims = bool(keepdims) if keepdims is not np._NoValue else False
    if where is not True and where is not np._NoValue:
        x = xp.where(where, x, start) if x.kind == "float" else xp.logical_and(where, x)
    if axis is None:
        axis = None
    elif isinstance(axis, tuple):
        axis = tuple(int(a) for a in axis)
        if not axis:
            return x
    else:
        axis = int(axis)
    if x.ndim == 0:
        out = x
    else:
        out = xp.call(op, x, axis=axis, keepdims=keepdims, **params)
    if initial is None or initial is np._NoValue or (not isinstance(initial, Value) and initial == start):
        return out
    join = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"}
    xp.require(op in join, f"{op} with an initial value")
    return xp.call(join[op], out, initial)


@ufunc("add.accumulate")
def add_accumulate(xp: NumpyTracer, x: Value, axis: int = 0) -> Value:
    return xp.cumulative_sum(x, axis=int(axis))


@ufunc("multiply.accumulate")
def multiply_accumulate(xp: NumpyTracer, x: Value, axis: int = 0) -> Value:
    return xp.cumulative_prod(x, axis=int(axis))


@ufunc("maximum.accumulate minimum.accumulate")
def running(xp: NumpyTracer, x: Value, axis: int = 0) -> Value:
    """Where the running extreme stands is found at the point; the first of several."""
    found, given, n = np.asarray(xp.outs[0]), xp.read(0), x.shape[axis]
    hit = np.moveaxis(given, axis, -1)[..., None, :] == np.moveaxis(found, axis, -1)[..., :, None]
    where = np.moveaxis(np.argmax(hit & np.tri(n, dtype=bool), axis=-1), -1, axis)
    return xp.take_along_axis(x, xp.concrete(where), axis=int(axis))


def _outer(op: Map) -> Map:
    def call(xp: NumpyTracer, x: Value, y: Value) -> Value:
        if isinstance(x, Value) and isinstance(y, Value):
            x = xp.shaped(x, x.shape + (1,) * y.ndim)
        return op(xp, x, y)

    return call


_OUTER = "add subtract multiply divide power maximum minimum hypot arctan2 less less_equal greater greater_equal equal"
for _name in _OUTER.split():
    UFUNCS[f"{_name}.outer"] = _outer(UFUNCS[_name])


# ---- reductions -----------------------------------------------------------------------------------------------------

NO: Any = np._NoValue


def _total(op: str, start: Any) -> Map:
    def call(
        xp: NumpyTracer, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NO, initial: Any = NO,
        where: Any = True,
    ) -> Any:  # fmt: skip
        return reduced(xp, op, a, axis, keepdims, initial, where, start)

    return call


def _extreme(op: str, start: Any) -> Map:
    def call(
        xp: NumpyTracer,
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: Any = NO,
        initial: Any = NO,
        where: Any = True,
    ) -> Any:
        if isinstance(a, Complex) and initial is NO and where is True:
            return _complex_extreme(xp, op, a, axis, keepdims, start)
        return reduced(xp, op, a, axis, keepdims, initial, where, start)

    return call


def _complex_extreme(xp: NumpyTracer, op: str, z: Complex, axis: Any, keepdims: Any, start: float) -> Value:
    """By the real part, and by the imaginary part among those of one real part."""
    first = xp.equal(z.re, reduced(xp, op, z.re, axis, True))
    imag = xp.where(first, z.im, start)
    return Complex(xp, reduced(xp, op, z.re, axis, keepdims), reduced(xp, op, imag, axis, keepdims))


def _truth(op: str, start: Any) -> Map:
    def call(
        xp: NumpyTracer, a: Value, axis: Any = None, out: Any = None, keepdims: Any = NO, *, where: Any = True
    ) -> Value:
        a = xp.not_equal(a, 0.0) if a.kind == "float" else a
        return reduced(xp, op, a, axis, keepdims, NO, where, start)

    return call


for _names, _make, _op, _start in (
    ("sum", _total, "sum", 0.0), ("prod", _total, "prod", 1.0), ("max amax", _extreme, "max", -math.inf),
    ("min amin", _extreme, "min", math.inf), ("all", _truth, "all", True), ("any", _truth, "any", False),
):  # fmt: skip
    for _f in named(_names):
        FUNCTIONS[_f] = _make(_op, _start)


@function("mean")
def mean(
    xp: NumpyTracer,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = NO,
    *,
    where: Any = True,
) -> Any:
    xp.require(where is True, "np.mean with where=")
    return reduced(xp, "mean", floating(xp, a), axis, keepdims)


def floating(xp: NumpyTracer, x: Value | float) -> Value | float:
    return xp.as_kind(x, "float") if isinstance(x, Value) and x.kind == "bool" else x


@function("average")
def average(
    xp: NumpyTracer, a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = NO
) -> Any:
    xp.require(not returned, "np.average with returned=True")
    if weights is None:
        return reduced(xp, "mean", a, axis, keepdims)
    if weights.shape != a.shape:
        shape = [1] * a.ndim
        shape[int(axis)] = weights.shape[0]
        weights = xp.spread(xp.shaped(weights, shape), a.shape)
    total = reduced(xp, "sum", a * weights, axis, keepdims)
    return total / reduced(xp, "sum", weights, axis, keepdims)


def _moments(op: str) -> Map:
    def call(
        xp: NumpyTracer, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = NO, *,
        where: Any = True, mean: Any = NO, correction: Any = NO,
    ) -> Any:  # fmt: skip
        xp.require(where is True and mean is NO, f"np.{op} with where= or mean=")
        return reduced(xp, op, a, axis, keepdims, correction=float(ddof if correction is NO else correction))

    return call


FUNCTIONS[np.var], FUNCTIONS[np.std] = _moments("var"), _moments("std")


@function("cumsum")
def cumsum(xp: NumpyTracer, a: Value, axis: Any = None, dtype: Any = None, out: Any = None) -> Value:
    return xp.cumulative_sum(xp.flat(a), axis=0) if axis is None else xp.cumulative_sum(a, axis=int(axis))


@function("cumprod")
def cumprod(xp: NumpyTracer, a: Value, axis: Any = None, dtype: Any = None, out: Any = None) -> Value:
    return xp.cumulative_prod(xp.flat(a), axis=0) if axis is None else xp.cumulative_prod(a, axis=int(axis))


@function("cumulative_sum")
def cumulative_sum(
    xp: NumpyTracer, x: Any, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: Any = False
) -> Any:
    xp.require(not include_initial, "np.cumulative_sum with include_initial")
    return cumsum(xp, x, 0 if axis is None else axis)


@function("ptp")
def ptp(xp: NumpyTracer, a: Value, axis: Any = None, out: Any = None, keepdims: Any = NO) -> Value:
    return reduced(xp, "max", a, axis, keepdims) - reduced(xp, "min", a, axis, keepdims)


@function("sort")
def sort(xp: NumpyTracer, a: Value, axis: Any = -1, kind: Any = None, order: Any = None, **_: Any) -> Value:
    return xp.sort(xp.flat(a), axis=0) if axis is None else xp.sort(a, axis=int(axis))


@function("partition")
def partition(xp: NumpyTracer, a: Value, kth: Any, axis: Any = -1, *_: Any, **__: Any) -> Value:
    """Which entries stand where is what NumPy does at the point."""
    xp.note("np.partition: the order is that at the point")
    where = np.argpartition(xp.read(0), _concrete(kth), axis=axis)
    return xp.take_along_axis(a, xp.concrete(where), axis=int(axis))


@function("median")
def median(
    xp: NumpyTracer, a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False
) -> Any:
    return quantile(xp, a, 0.5, axis, keepdims=keepdims)


@function("percentile")
def percentile(xp: NumpyTracer, a: Value, q: Value | float, axis: Any = None, *rest: Any, **more: Any) -> Value:
    xp.require(not isinstance(q, Value), "np.percentile for several percentages, or one that depends on the input")
    return quantile(xp, a, q / 100.0, axis, *rest, **more)


@function("quantile")
def quantile(
    xp: NumpyTracer, a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: Any = False, **_: Any,
) -> Any:  # fmt: skip
    """Of the sorted entries, a line between the two neighbours."""
    xp.require(method == "linear" and not isinstance(q, Value), "np.quantile of several, or by another method")
    shape = a.shape
    if axis is None:
        a, axis = xp.flat(a), 0
    xp.require(not isinstance(axis, tuple), "np.quantile over several axes")
    n = a.shape[axis]
    low = min(math.floor(q * (n - 1)), max(n - 2, 0))
    share = q * (n - 1) - low
    ordered = xp.sort(a, axis=int(axis))
    out = at(xp, ordered, axis, low)
    if share:
        upper = at(xp, ordered, axis, low + 1)
        out = (out + upper) * 0.5 if share == 0.5 else out + (upper - out) * share
    if keepdims and keepdims is not NO:
        out = xp.shaped(
            out, [1 if k == axis % len(shape) or len(a.shape) != len(shape) else m for k, m in enumerate(shape)]
        )
    return out


# ---- choices --------------------------------------------------------------------------------------------------------


@function("where")
def where_(xp: NumpyTracer, condition: Any, x: Any = None, y: Any = None) -> Value:
    xp.require(x is not None, "np.where of one argument")
    return where(xp, condition, x, y)


@function("clip")
def clip(
    xp: NumpyTracer, a: Value, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None, **_: Any
) -> Value:
    low, high = (min if a_min is None or a_min is NO else a_min), (max if a_max is None or a_max is NO else a_max)
    low, high = (None if v is NO else v for v in (low, high))
    if not any(isinstance(v, Value) for v in (low, high)):
        if low is not None and high is not None and low > high:  # documented: then everything is a_max
            return xp.spread(xp.concrete(np.float64(high)), a.shape)
        return xp.clip(a, **{k: float(v) for k, v in (("min", low), ("max", high)) if v is not None})
    a = a if low is None else xp.maximum(a, low)
    return a if high is None else xp.minimum(a, high)


@function("round", "around")
def rounded_to(xp: NumpyTracer, a: Value, decimals: int = 0, *_: Any, **__: Any) -> Value:
    if not decimals:
        return xp.round(a)
    return xp.round(a * 10.0**decimals) / 10.0**decimals


@function("nan_to_num")
def nan_to_num(xp: NumpyTracer, x: Value, *_: Any, **__: Any) -> Value:
    xp.require(bool(np.isfinite(xp.read(0)).all()), "nan_to_num of values that are not finite")
    return x


@function("select")
def select(xp: NumpyTracer, condlist: Any, choicelist: Any, default: Any = 0) -> Value:
    out = default
    for mask, choice in list(zip(condlist, choicelist))[::-1]:
        out = xp.where(mask, choice, out)
    return out


@function("interp")
def interp(
    xp: NumpyTracer, x: Value | float, xs: Any, ys: Any, left: Any = None, right: Any = None, period: Any = None
) -> Value:
    """A line between the two neighbours that are found at the point; outside, the end values."""
    xp.require(period is None and left is None and right is None, "np.interp with left, right or period")
    x = x if isinstance(x, Value) else xp.concrete(np.float64(x))
    knots, given = xp.read(1), xp.read(0)
    k = np.clip(np.searchsorted(knots, given, side="right") - 1, 0, len(knots) - 2)
    x0, x1, y0, y1 = (xp.picked(v, i) for v in (xs, ys) for i in (k, k + 1))
    line = y0 + (x - x0) / (x1 - x0) * (y1 - y0)
    first, last = (xp.picked(v, np.asarray(i)) for v in (ys,) for i in (0, len(knots) - 1))
    line = xp.where(xp.less(x, xp.picked(xs, np.asarray(0))), first, line)
    return xp.where(xp.greater(x, xp.picked(xs, np.asarray(len(knots) - 1))), last, line)


# ---- joining --------------------------------------------------------------------------------------------------------


def joined(xp: NumpyTracer, op: str, xs: Any, axis: int) -> Value:
    xs = [x if isinstance(x, Value) else xp.concrete(np.asarray(x)) for x in xs]
    if not all(x.kind == "bool" for x in xs):
        xs = [xp.as_kind(x, "float") if x.kind != "float" else x for x in xs]
    return xp.call(op, xs, axis=axis)


@function("concatenate concat")
def concatenate(xp: NumpyTracer, arrays: Any, axis: Any = 0, *_: Any, **__: Any) -> Value:
    if axis is None:
        return joined(xp, "concat", [xp.flat(x) for x in arrays], 0)
    return joined(xp, "concat", arrays, int(axis))


@function("stack")
def stack(xp: NumpyTracer, arrays: Any, axis: Any = 0, *_: Any, **__: Any) -> Value:
    return joined(xp, "stack", arrays, int(axis))


# ---- products -------------------------------------------------------------------------------------------------------


@ufunc("matmul")
def matmul(xp: NumpyTracer, a: Value, b: Value) -> Value:
    return xp.matmul(a, b)


@ufunc("vecdot")
def vecdot(xp: NumpyTracer, a: Value, b: Value, axis: int = -1) -> Value:
    return xp.sum(a * b, axis=axis)


@ufunc("matvec")
def matvec(xp: NumpyTracer, a: Value, b: Value) -> Value:
    return xp.squeeze(xp.matmul(a, xp.expand_dims(b, axis=-1)), axis=-1)


@ufunc("vecmat")
def vecmat(xp: NumpyTracer, a: Value, b: Value) -> Value:
    return xp.squeeze(xp.matmul(xp.expand_dims(a, axis=-2), b), axis=-2)


@function("dot")
def dot(xp: NumpyTracer, a: Value, b: Value, out: Any = None) -> Value:
    a, b = (v if isinstance(v, Value) else xp.concrete(np.float64(v)) for v in (a, b))
    if not a.ndim or not b.ndim:
        return a * b
    if b.ndim <= 2:
        return xp.matmul(a, b)
    return tensordot(xp, a, b, ([a.ndim - 1], [b.ndim - 2]))


@function("vdot")
def vdot(xp: NumpyTracer, a: Value, b: Value) -> Value:
    return xp.sum(xp.flat(a) * xp.flat(b))


@function("kron")
def kron(xp: NumpyTracer, a: Value, b: Value) -> Value:
    a, b = (xp.shaped(v, (1,) * (max(a.ndim, b.ndim) - v.ndim) + v.shape) for v in (a, b))
    wide = [
        xp.shaped(v, tuple(n for m in v.shape for n in ((m, 1) if first else (1, m)))) for v, first in ((a, 1), (b, 0))
    ]
    return xp.shaped(wide[0] * wide[1], tuple(m * n for m, n in zip(a.shape, b.shape)))


@function("inner")
def inner(xp: NumpyTracer, a: Value, b: Value) -> Value:
    if not a.ndim or not b.ndim:
        return a * b
    return tensordot(xp, a, b, ([a.ndim - 1], [b.ndim - 1]))


@function("outer linalg.outer")
def outer(xp: NumpyTracer, a: Value, b: Value, out: Any = None) -> Value:
    return xp.outer(xp.flat(a), xp.flat(b))


@function("tensordot linalg.tensordot")
def tensordot(xp: NumpyTracer, a: Value, b: Value, axes: Any = 2) -> Value:
    if isinstance(axes, int):
        axes = (list(range(a.ndim - axes, a.ndim)), list(range(axes)))
    left, right = ([int(k) for k in np.atleast_1d(np.asarray(v))] for v in axes)
    names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    first = list(names[: a.ndim])
    second = list(names[a.ndim : a.ndim + b.ndim])
    for i, j in zip(left, right):
        second[j] = first[i]
    gone = {first[i] for i in left}
    out = [c for c in first if c not in gone] + [c for c in second if c not in gone]
    return xp.einsum(f"{''.join(first)},{''.join(second)}->{''.join(out)}", a, b)


@function("einsum")
def einsum(xp: NumpyTracer, subscripts: Any, *operands: Any, **_: Any) -> Value:
    if not isinstance(subscripts, str):
        subscripts, operands = from_lists(subscripts, operands)
    text = subscripts.replace(" ", "")
    if "..." in text:
        text = spelled_out(text, [x.ndim for x in operands])
    if "->" not in text:
        letters = text.replace(",", "")
        text += "->" + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    return xp.einsum(text, *operands)


def from_lists(first: Value, rest: tuple[Any, ...]) -> tuple[str, tuple[Value, ...]]:
    """np.einsum(x, [0, 1], y, [1, 2], [0, 2]) as its subscripts and operands."""
    given = (first, *rest)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    spell = lambda axes: "".join("..." if k is Ellipsis else letters[int(k)] for k in axes)
    count = len(given) // 2
    text = ",".join(spell(given[2 * k + 1]) for k in range(count))
    return text + (f"->{spell(given[-1])}" if len(given) % 2 else ""), tuple(given[2 * k] for k in range(count))


def spelled_out(text: str, ranks: list[int]) -> str:
    """Ellipses as letters of their own; axes that the ellipses share are counted from the right."""
    inputs, arrow, output = text.partition("->")
    free = [c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in text]
    terms = inputs.split(",")
    counts = [n - len(t.replace("...", "")) if "..." in t else 0 for t, n in zip(terms, ranks)]
    most = max(counts)
    names = "".join(free[:most])
    new = [t.replace("...", names[most - c :] if c else "") for t, c in zip(terms, counts)]
    if arrow:
        return ",".join(new) + "->" + output.replace("...", names)
    letters = inputs.replace(",", "").replace("...", "")
    return ",".join(new) + "->" + names + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))


@function("cross linalg.cross")
def cross(
    xp: NumpyTracer, a: Value, b: Value, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Value:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = (xp.moved_axis(v, k, v.ndim - 1) for v, k in ((a, axisa), (b, axisb)))
    sizes = a.shape[-1], b.shape[-1]
    if sizes == (3, 3):
        out = xp.cross(a, b, axis=-1)
    else:
        entry: Any = lambda v, k: along(xp, v, v.ndim - 1, k, k + 1) if k < v.shape[-1] else None
        (a0, a1, a2), (b0, b1, b2) = ([entry(v, k) for k in range(3)] for v in (a, b))
        third = a0 * b1 - a1 * b0
        if sizes == (2, 2):
            return xp.squeeze(third, axis=-1)
        first, second = (a1 * b2, -(a0 * b2)) if a2 is None else (-(a2 * b1), a2 * b0)
        out = xp.concat([first, second, third], axis=-1)
    return xp.moved_axis(out, out.ndim - 1, axisc)


@function("convolve")
def convolve(xp: NumpyTracer, a: Value, v: Value, mode: str = "full") -> Value:
    """Every product a[i]·v[j], added at i + j."""
    if v.shape[0] > a.shape[0]:
        a, v = v, a
    m, n = a.shape[0], v.shape[0]
    spots = np.add.outer(np.arange(m), np.arange(n))
    whole = xp.accumulated(xp.concrete(np.zeros(m + n - 1)), spots, xp.outer(a, v))
    first, count = {"full": (0, m + n - 1), "same": ((n - 1) // 2, m), "valid": (n - 1, m - n + 1)}[mode]
    return along(xp, whole, 0, first, first + count)


@function("correlate")
def correlate(xp: NumpyTracer, a: Value, v: Value, mode: str = "valid") -> Value:
    swapped = v.shape[0] > a.shape[0]
    out = convolve(xp, a, xp.flip(v, axis=0), "full")
    m, n = max(a.shape[0], v.shape[0]), min(a.shape[0], v.shape[0])
    first, count = {
        "full": (0, m + n - 1),
        "same": (n // 2 if swapped else (n - 1) // 2, m),
        "valid": (n - 1, m - n + 1),
    }[mode]
    return along(xp, out, 0, first, first + count)


# ---- Fourier transforms ---------------------------------------------------------------------------------------------


def transform_of_one(name: str) -> Map:
    """np.fft.fft and its like, along one axis."""

    def transform(xp: NumpyTracer, a: Value, n: Any = None, axis: int = -1, norm: Any = None) -> Value:
        return xp.call(name, a, n=None if n is None else int(n), axis=int(axis) % a.ndim, norm=norm)

    return transform


def transform_of_several(name: str, of_two: bool) -> Map:
    """np.fft.fftn and its like, along several axes."""

    def transform(
        xp: NumpyTracer, a: Value, s: Any = None, axes: Any = (-2, -1) if of_two else None, norm: Any = None
    ) -> Value:
        sizes = None if s is None else tuple(int(n) for n in s)
        along = None if axes is None else tuple(int(k) % a.ndim for k in axes)
        return xp.call(name, a, s=sizes, axes=along, norm=norm)

    return transform


def shifting(name: str) -> Map:
    """np.fft.fftshift or ifftshift."""

    def shift(xp: NumpyTracer, x: Value, axes: Any = None) -> Value:
        over = range(x.ndim) if axes is None else np.atleast_1d(np.asarray(axes)).tolist()
        return xp.call(name, x, axes=tuple(int(k) % x.ndim for k in over))

    return shift


for _name in "fft ifft rfft irfft".split():
    function(f"fft.{_name}")(transform_of_one(_name))
    function(f"fft.{_name}n")(transform_of_several(f"{_name}n", of_two=False))
    function(f"fft.{_name}2")(transform_of_several(f"{_name}n", of_two=True))
for _name in ("fftshift", "ifftshift"):
    function(f"fft.{_name}")(shifting(_name))


@function("trace linalg.trace")
def trace(
    xp: NumpyTracer, a: Value, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Value:
    spots = np.arange(math.prod(a.shape)).reshape(a.shape).diagonal(offset, axis1, axis2)
    return xp.sum(xp.picked(a, spots), axis=-1)


@function("bincount")
def bincount(xp: NumpyTracer, x: Value, weights: Any = None, minlength: int = 0) -> Value:
    bins = xp.read(0).astype(np.int64)
    return xp.accumulated(xp.concrete(np.zeros(np.asarray(xp.outs[0]).shape)), bins, weights)


# ---- linear algebra -------------------------------------------------------------------------------------------------

swap: Map = lambda xp, x: xp.matrix_transpose(x)


@function("linalg.inv")
def inv(xp: NumpyTracer, a: Value) -> Value:
    return xp.inv(a)


@function("linalg.det")
def det(xp: NumpyTracer, a: Value) -> Value:
    return xp.det(a)


@function("linalg.slogdet")
def slogdet(xp: NumpyTracer, a: Value) -> Outputs:
    return xp.concrete(np.asarray(xp.outs[0])), xp.logabsdet(a)


@function("linalg.solve")
def solve(xp: NumpyTracer, a: Value, b: Value) -> Value:
    """A vector is one only where it has one axis (NumPy 2)."""
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and np.lib.NumpyVersion(np.__version__) < "2.0.0")
    if not vector:
        return xp.solve(a, b)
    return xp.squeeze(xp.solve(a, xp.expand_dims(b, axis=-1)), axis=-1)


@function("linalg.cholesky")
def cholesky(xp: NumpyTracer, a: Value, *, upper: bool = False) -> Value:
    """Of a matrix that is taken as symmetric, NumPy reads one triangle."""
    given = xp.read(0)
    xp.require(
        np.array_equal(given, np.swapaxes(given, -1, -2)), "the Cholesky factor of a matrix that is not symmetric"
    )
    below = xp.tril(a, k=-1) if not upper else swap(xp, xp.triu(a, k=1))
    diagonal = xp.where(xp.concrete(np.broadcast_to(np.eye(a.shape[-1], dtype=bool), a.shape).copy()), a, 0.0)
    factor = xp.cholesky(below + swap(xp, below) + diagonal)
    return swap(xp, factor) if upper else factor


@function("linalg.norm")
def norm(xp: NumpyTracer, x: Value, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Value:
    plain = (axis is None and (ord is None or (x.ndim == 1))) or isinstance(axis, int)
    if plain and axis is None and ord is None:
        x = xp.flat(x) if not keepdims else x
        return xp.vector_norm(x, axis=None, keepdims=bool(keepdims))
    pair = tuple(range(x.ndim)) if axis is None else (axis if isinstance(axis, tuple) else (int(axis),))
    if len(pair) == 1:
        if ord in (None, 1, 2) or (isinstance(ord, int | float) and 1 <= ord < math.inf):
            return xp.vector_norm(x, axis=pair[0], keepdims=bool(keepdims), ord=2.0 if ord is None else float(ord))
        xp.require(ord in (math.inf, -math.inf), f"np.linalg.norm of order {ord}")
        return xp.call("max" if ord > 0 else "min", xp.abs(x), axis=pair[0], keepdims=bool(keepdims))
    if ord in (None, "fro"):
        return xp.vector_norm(x, axis=pair, keepdims=bool(keepdims))
    xp.require(ord in (1, math.inf) and not keepdims, f"np.linalg.norm of matrices of order {ord!r}")
    rows, columns = (p % x.ndim for p in pair)
    first, second = (rows, columns) if ord == 1 else (columns, rows)
    sums = xp.sum(xp.abs(x), axis=first)
    return xp.max(sums, axis=second - (second > first))


@function("linalg.vector_norm")
def vector_norm(xp: NumpyTracer, x: Value, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Value:
    xp.require(isinstance(ord, int | float) and 1 <= ord < math.inf, f"np.linalg.vector_norm of order {ord}")
    return xp.vector_norm(x, axis=axis, keepdims=keepdims, ord=float(ord))


@function("linalg.matrix_power")
def matrix_power(xp: NumpyTracer, a: Value, n: int) -> Value:
    if n == 0:
        return xp.concrete(np.asarray(xp.outs[0]))
    return xp.matrix_power(a if n > 0 else xp.inv(a), n=abs(int(n)))


@function("linalg.eigh")
def eigh(xp: NumpyTracer, a: Value, UPLO: str = "L") -> Outputs:
    return eigen(xp, backward_stable(xp, mirrored(xp, a, UPLO), xp.read(0)), np.asarray(xp.outs[1]))


@function("linalg.eigvalsh")
def eigvalsh(xp: NumpyTracer, a: Value, UPLO: Any = "L") -> Value:
    return eigen(xp, mirrored(xp, a, UPLO), np.linalg.eigh(xp.read(0), UPLO)[1])[0]


def mirrored(xp: NumpyTracer, a: Value, uplo: str) -> Value:
    """The symmetric matrix of which one triangle is read."""
    half = xp.tril(a, k=-1) if uplo.upper() == "L" else swap(xp, xp.triu(a, k=1))
    eye = np.broadcast_to(np.eye(a.shape[-1], dtype=bool), a.shape).copy()
    return half + swap(xp, half) + xp.where(xp.concrete(eye), a, 0.0)


@function("linalg.svd")
def svd(
    xp: NumpyTracer, a: Value, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Value | Outputs:
    m, n = a.shape[-2:]
    xp.require(not hermitian and (not (full_matrices and compute_uv) or m == n),
               "all singular vectors of a matrix that is not square: some are arbitrary")  # fmt: skip
    u, _, vt = np.linalg.svd(xp.read(0), full_matrices=False) if not compute_uv else map(np.asarray, xp.outs)
    left, values, right = singular(xp, backward_stable(xp, a, xp.read(0)), u, np.swapaxes(vt, -1, -2))
    return (left, values, swap(xp, right)) if compute_uv else values


@function("linalg.qr")
def qr(xp: NumpyTracer, a: Value, mode: str = "reduced") -> Outputs:
    m, n = a.shape[-2:]
    xp.require(mode == "reduced" or (mode == "complete" and m <= n), f"np.linalg.qr in mode {mode!r}")
    r = np.asarray(xp.outs[1])
    return orthogonalised(xp, a, np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0))


@function("linalg.lstsq")
def lstsq(xp: NumpyTracer, a: Value, b: Value, rcond: Any = None) -> Outputs:
    xp.require(bool(np.linalg.matrix_rank(xp.read(0)) == min(a.shape)), "least squares for a matrix without full rank")
    if b.ndim == 2:
        return least_squares(xp, a, b), None, None, None
    return xp.squeeze(least_squares(xp, a, xp.expand_dims(b, axis=-1)), axis=-1), None, None, None


@function("linalg.pinv")
def pinv(xp: NumpyTracer, a: Value, *_: Any, **__: Any) -> Value:
    m = a.shape[-2]
    full = bool((np.linalg.matrix_rank(xp.read(0)) == min(a.shape[-2:])).all())
    xp.require(full, "the pseudo-inverse of a matrix without full rank")
    a = backward_stable(xp, a, xp.read(0))  # LAPACK's SVD
    return least_squares(xp, a, xp.spread(xp.concrete(np.eye(m)), (*a.shape[:-2], m, m)))


# ---- moving entries -------------------------------------------------------------------------------------------------

MOVES = frozenset(named(
    "reshape ravel transpose swapaxes moveaxis rollaxis squeeze expand_dims broadcast_to flip fliplr flipud rot90 roll "
    "repeat tile take take_along_axis diagonal delete resize permute_dims matrix_transpose copy "
    "linalg.diagonal linalg.matrix_transpose lib.stride_tricks.sliding_window_view real"
))  # fmt: skip

MOVES_OR_ZERO = frozenset(named("diag diagflat tril triu"))


def moved(xp: NumpyTracer, func: Any, x: Value, args: tuple[Any, ...], kwargs: Any, zeros: bool) -> Value:
    """The entries of x where `func` puts them."""
    if func in (np.tril, np.triu) and x.ndim >= 2:
        return xp.call(func.__name__, x, k=int(args[0] if args else kwargs.get("k", 0)))
    numbers = np.arange(math.prod(x.shape)).reshape(x.shape)
    spots = np.asarray(func(numbers + 1 if zeros else numbers, *args, **kwargs))
    if zeros:
        flat = xp.concat([xp.as_kind(xp.flat(x), "float"), xp.concrete(np.zeros(1))], axis=0)
        return xp.picked(flat, np.where(spots == 0, numbers.size, spots - 1))
    if spots.size == numbers.size and np.array_equal(spots.ravel(), numbers.ravel()):
        return xp.shaped(x, spots.shape)
    if spots.ndim == x.ndim == 2 and np.array_equal(spots, numbers.T):
        return xp.matrix_transpose(x)
    return xp.picked(x, spots)


@function("compress")
def compress(xp: NumpyTracer, condition: Any, a: Value, axis: Any = None, out: Any = None) -> Value:
    spots = np.arange(math.prod(a.shape)).reshape(a.shape)
    return xp.picked(a, np.compress(xp.read(0), spots, axis))


@function("extract")
def extract(xp: NumpyTracer, condition: Any, arr: Any) -> Value:
    return xp.picked(arr, np.flatnonzero(xp.read(0)))


@function("pad")
def pad(xp: NumpyTracer, x: Value, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Value:
    widths = _concrete(pad_width)
    if mode != "constant":
        xp.require(mode in ("edge", "reflect", "symmetric", "wrap") and not kwargs, f"np.pad in mode {mode!r}")
        return xp.picked(x, np.pad(np.arange(math.prod(x.shape)).reshape(x.shape), widths, mode))
    pairs = [(int(b), int(a)) for b, a in np.broadcast_to(np.asarray(widths), (x.ndim, 2))]
    value = kwargs.get("constant_values", 0)
    xp.require(not isinstance(value, tuple | list), "np.pad with several constants")
    return padded(xp, x, pairs, value)


def _concrete(tree: Any) -> Any:
    if isinstance(tree, Value):
        return tree.array
    return type(tree)(map(_concrete, tree)) if isinstance(tree, tuple | list) else tree


# ---- writing --------------------------------------------------------------------------------------------------------


def copyto(xp: NumpyTracer, dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    if where is True:
        dst[...] = src
    else:
        np.positive(src, out=dst, where=where)


def put(xp: NumpyTracer, a: Any, ind: Any, v: Any, mode: Any = "raise") -> None:
    spots = np.asarray(ind).ravel()
    v = np.resize(v, spots.shape) if np.size(v) != 1 else v
    a[np.unravel_index(spots if mode == "raise" else spots % a.size, a.shape)] = v


def putmask(xp: NumpyTracer, a: Any, mask: Any, values: Any) -> None:
    if np.ndim(values) and np.shape(values) != np.shape(a):
        raise TypeError("np.putmask with values of another shape is not recorded")
    np.positive(values, out=a, where=mask)


def fill_diagonal(xp: NumpyTracer, a: Any, val: Any, wrap: bool = False) -> None:
    n = min(a.shape)
    if wrap or a.ndim != 2:
        raise TypeError("np.fill_diagonal is recorded for matrices, without wrap")
    a[np.arange(n), np.arange(n)] = val


WRITES: dict[Any, Map] = {np.copyto: copyto, np.put: put, np.putmask: putmask, np.fill_diagonal: fill_diagonal}

ASKS = frozenset(named(
    "shape ndim size zeros_like ones_like empty_like result_type can_cast iscomplexobj isrealobj may_share_memory "
    "shares_memory array_equal array_equiv allclose array_repr array_str array2string min_scalar_type common_type argmax "
    "argmin argsort argpartition searchsorted nonzero flatnonzero argwhere count_nonzero digitize unique lexsort "
    "linalg.matrix_rank"
))  # fmt: skip


@function("full_like")
def full_like(xp: NumpyTracer, a: Value, fill_value: Any, *_: Any, **__: Any) -> Value:
    value = fill_value if isinstance(fill_value, Value) else xp.concrete(np.float64(fill_value))
    return xp.spread(value, np.asarray(xp.outs[0]).shape)


def known() -> set[Any]:
    """Every function of NumPy in the tables."""
    return {*FUNCTIONS, *MOVES, *MOVES_OR_ZERO, *WRITES}


def mapped() -> tuple[str, ...]:
    """The names of everything in the tables."""
    return tuple(sorted({*UFUNCS, *(f.__name__ for f in known())}))
