"""Reductions over axes, cumulative ops and sorting.

Every text takes `axis` as an int, a tuple of ints or None (all), as the Array API standard has it.
"""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ShapeError
from ..core.interval import Interval
from ..core.op import Array, OpSpec, Param, Shape, Vocabulary
from .shapes import AXES, KEEPDIMS, Axis, along, count, kept, normal_axes, reduced, reduced_nonempty

REDUCTION = {"axis": AXES, "keepdims": KEEPDIMS}
ALONG = {"axis": Param("axis", default=-1)}


# ---- texts that several VJPs share ----------------------------------------------------------------------------------


def spread(xp: Vocabulary, g: Array, x: Array, axis: Axis) -> Array:
    """The cotangent of a reduction of `x` over `axis`, given to every entry that was reduced: the adjoint of sum."""
    shape = xp.shape(x)
    return xp.broadcast_to(xp.reshape(g, kept(shape, axis)), shape)


def _order(shape: Shape, axis: Axis) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the axes that stay, the axes that are reduced)."""
    axes = normal_axes(axis, len(shape))
    return tuple(i for i in range(len(shape)) if i not in axes), axes


def merged(xp: Vocabulary, x: Array, axis: Axis) -> Array:
    """`x` with the axes in `axis` moved to the end and flattened into one: shape (what stays, count)."""
    shape = xp.shape(x)
    stay, axes = _order(shape, axis)
    flat = (*(shape[i] for i in stay), count(shape, axis))
    return xp.reshape(xp.permute_dims(x, stay + axes), flat)


def unmerged(xp: Vocabulary, y: Array, shape: Shape, axis: Axis) -> Array:
    """The inverse of `merged` for an array of `shape`."""
    stay, axes = _order(shape, axis)
    order = stay + axes
    back = tuple(order.index(i) for i in range(len(shape)))
    return xp.permute_dims(xp.reshape(y, tuple(shape[i] for i in order)), back)


def deviations(xp: Vocabulary, x: Array, axis: Axis) -> Array:
    return x - xp.mean(x, axis=axis, keepdims=True)


def _ordered(xp: Vocabulary, x: Array, axis: Axis) -> Array:
    flat = merged(xp, x, axis)
    return xp.take_along_axis(flat, xp.argsort(flat, axis=-1), -1)


def gaps(xp: Vocabulary, x: Any, axis: Axis, which: tuple[int | None, int | None] = (None, None)) -> Any:
    """Differences of neighbours in sorted order, last axis; empty where only one entry is reduced.

    `which` selects: (-1, None) the gap below the largest, (0, 1) the gap above the smallest. Zero on a tie.
    """
    ordered = _ordered(xp, x, axis)
    steps = xp.getitem(ordered, ("...", (1, None, 1))) - xp.getitem(ordered, ("...", (None, -1, 1)))
    return xp.getitem(steps, ("...", (*which, 1)))


def shared_among(xp: Vocabulary, g: Array, chosen: Any, x: Array, axis: Axis) -> Array:
    """`g` divided evenly among the entries of `x` that the mask `chosen` marks, zero elsewhere."""
    n = xp.sum(xp.where(chosen, xp.ones_like(x), xp.zeros_like(x)), axis=axis, keepdims=True)
    share = xp.reshape(g, kept(xp.shape(x), axis)) / n
    # None is chosen where the largest of a row is a NaN: then 0/0, not a silent zero.
    others = xp.where(xp.equal(n, 0.0), 0.0 * share, xp.zeros_like(x))
    return xp.where(chosen, share, others)


def before(xp: Vocabulary, x: Array) -> Array:
    """Along the last axis, the product of all entries that stand before: 1, x0, x0 x1, ..."""
    shape = xp.shape(x)
    one = xp.ones((*shape[:-1], 1), like=x)
    return xp.cumulative_prod(xp.concat([one, xp.getitem(x, ("...", (None, -1, 1)))], axis=-1), axis=-1)


def shifted(xp: Vocabulary, x: Array, k: int) -> Array:
    """Along the last axis, entry i+k at i, zeros past the end."""
    keep = [(0, 0)] * (len(xp.shape(x)) - 1)
    return xp.pad(xp.getitem(x, ("...", (k, None, 1))), (*keep, (0, k)))


# ---- VJPs -----------------------------------------------------------------------------------------------------------


def _extreme_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    return shared_among(xp, g, xp.equal(x, xp.reshape(out, kept(xp.shape(x), axis))), x, axis)


def _prod_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """Each entry's cotangent is the product of the others: of those before it and those after it. No division."""
    flat, shape = merged(xp, x, axis), xp.shape(x)
    if 0 in shape:
        return xp.zeros_like(x)
    after = xp.flip(before(xp, xp.flip(flat, axis=-1)), axis=-1)
    return spread(xp, g, x, axis) * unmerged(xp, before(xp, flat) * after, shape, axis)


def _cumulative_prod_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: int = -1) -> Array:
    """dx_i = (x_0 ... x_{i-1}) S_i with S_i = g_i + x_{i+1} S_{i+1}: right at zeros, since nothing is divided.

    The recurrence is solved by recursive doubling (Kogge & Stone, IEEE Trans. Comp. C-22 (1973) 786): after the step
    of width w, s_i holds the terms i .. i+w-1 and a_i the product of the w factors after i.
    """
    shape = xp.shape(x)
    if 0 in shape:
        return xp.zeros_like(x)
    flat, s = merged(xp, x, axis), merged(xp, g, axis)
    a = shifted(xp, flat, 1)
    width = 1
    while width < xp.shape(flat)[-1]:
        s = s + a * shifted(xp, s, width)
        a = a * shifted(xp, a, width)
        width *= 2
    return unmerged(xp, before(xp, flat) * s, shape, axis)


def _std(xp: Vocabulary, x: Array, axis: Axis = None, keepdims: bool = False, correction: float = 0.0) -> Array:
    """The standard deviation from the scaled norm: squares of the deviations would over- or underflow."""
    norm = xp.vector_norm(deviations(xp, x, axis), axis=axis, keepdims=keepdims)
    return norm / xp.sqrt(xp.full_like(norm, count(xp.shape(x), axis) - correction))


def _std_vjp(
    xp: Vocabulary, g: Array, out: Array, x: Array, axis: Axis = None, keepdims: bool = False, correction: float = 0.0
) -> Array:
    """(x - mean) / ((n - correction) std), with both factors of order one: deviations over std first."""
    shape = xp.shape(x)
    std = xp.reshape(out, kept(shape, axis))
    flat = xp.equal(std, 0)
    unit = deviations(xp, x, axis) / xp.where(flat, xp.ones_like(std), std)
    return spread(xp, g, x, axis) * xp.where(flat, xp.zeros_like(x), unit) / (count(shape, axis) - correction)


def _logsumexp(xp: Vocabulary, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """Shifted by the maximum, which cancels; where that is infinite, not shifted at all, since inf - inf is NaN."""
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    out = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else xp.reshape(out, reduced(xp.shape(x), axis))


def _logsumexp_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """g softmax(x), from x and not from exp(x - out): the rounding of a large `out` would cost log2|out| bits."""
    weights = xp.softmax(merged(xp, x, axis), axis=-1)
    return spread(xp, g, x, axis) * unmerged(xp, weights, xp.shape(x), axis)


def _vector_norm(xp: Vocabulary, x: Array, axis: Axis = None, keepdims: bool = False, ord: float = 2.0) -> Array:
    """Scaled by the largest entry, so that no power over- or underflows."""
    size = xp.abs(x)
    if count(xp.shape(x), axis) == 0 or ord == 1:
        return xp.sum(size, axis=axis, keepdims=keepdims)
    if ord == math.inf:
        return xp.max(size, axis=axis, keepdims=keepdims)
    top = xp.max(size, axis=axis, keepdims=True)
    top = xp.where(xp.equal(top, 0), xp.ones_like(top), top)
    if ord == 2:
        out = top * xp.sqrt(xp.sum(xp.square(size / top), axis=axis, keepdims=True))
    else:
        power = xp.full_like(top, ord)  # an array, so that 1 / ord has as many digits as the rest
        out = top * xp.pow(xp.sum(xp.pow(size / top, power), axis=axis, keepdims=True), 1 / power)
    return out if keepdims else xp.reshape(out, reduced(xp.shape(x), axis))


def _vector_norm_vjp(
    xp: Vocabulary, g: Array, out: Array, x: Array, axis: Axis = None, keepdims: bool = False, ord: float = 2.0
) -> Array:
    """sign(x) (|x| / norm)^(ord - 1): ratios in [0, 1]; zero where the norm is."""
    if ord == 1:
        return spread(xp, g, x, axis) * xp.sign(x)
    if count(xp.shape(x), axis) == 0:
        return xp.zeros_like(x)
    norm = xp.reshape(out, kept(xp.shape(x), axis))
    if ord == math.inf:
        return xp.sign(x) * shared_among(xp, g, xp.equal(xp.abs(x), norm), x, axis)
    ratio = x / xp.where(xp.equal(norm, 0), xp.ones_like(norm), norm)
    if ord != 2:
        ratio = xp.sign(x) * xp.pow(xp.abs(ratio), xp.full_like(norm, ord) - 1)
    return spread(xp, g, x, axis) * ratio


def _vector_norm_kinks(xp: Vocabulary, x: Array, axis: Axis = None, keepdims: bool = False, ord: float = 2.0) -> Array:
    """Even powers are smooth but for the origin; others at no zero entry; the maximum at no tie, nor at the origin."""
    if ord == math.inf and count(xp.shape(x), axis) > 1:
        return gaps(xp, xp.abs(x), axis, (-1, None))
    return xp.vector_norm(x, axis=axis, ord=ord) if ord % 2 == 0 else xp.abs(x)


def _sorting(xp: Vocabulary, x: Array, axis: int, descending: bool) -> Array:
    return xp.argsort(-x if descending else x, axis=axis)


# ---- shapes and images ----------------------------------------------------------------------------------------------


def _dispersion_shape(
    shape: Shape, axis: Axis = None, keepdims: bool = False, correction: float = 0.0, **_: Any
) -> Shape:
    n = count(shape, axis)
    if not n > correction:
        raise ShapeError(f"shape {shape} has {n} elements along axis {axis}: correction {correction} leaves none")
    return reduced(shape, axis, keepdims)


def _reduced_one(shape: Shape, axis: int | None = None, keepdims: bool = False, **_: Any) -> Shape:
    return reduced_nonempty(shape, axis, keepdims)


def total(x: Interval, n: int) -> Interval:
    """The sum of n values from `x`."""
    return x.scaled(n) if n else Interval.point(0.0)


def product(x: Interval, n: int) -> Interval:
    """The product of n values from `x`, by squaring: the factors are independent, so no bound is lost."""
    if n < 2:
        return x if n else Interval.point(1.0)
    half = product(x, n // 2)
    return half * half * x if n % 2 else half * half


def _powers(x: Interval, n: int) -> Interval:
    """The products of 1 to n values from `x`: the first and the last bound them, unless signs alternate."""
    wide = x if x.lo >= 0 else Interval(-x.magnitude, x.magnitude)
    return wide.hull(product(wide, n))


def _deviation(x: Interval, shape: Shape, axis: Axis, correction: float) -> Interval:
    """Popoviciu's inequality: at most half of the range; times sqrt(n / (n - correction))."""
    n = count(shape, axis)
    return Interval(0.0, x.hi / 2 - x.lo / 2).scaled(math.sqrt(n / (n - correction))).widened()


def _squared(x: Interval) -> Interval:
    return x * x


def _norms(x: Interval, shape: Shape, axis: Axis, ord: float) -> Interval:
    n = count(shape, axis)
    return abs(x).scaled(n ** (1 / ord)).widened() if n else Interval.point(0.0)


CORRECTION = {**REDUCTION, "correction": Param("float", default=0.0, lo=0.0)}
ORD = {**REDUCTION, "ord": Param("float", default=2.0, lo=1.0)}
PICK = {"axis": Param("axis", default=None, optional=True), "keepdims": KEEPDIMS}
SORT = {**ALONG, "descending": Param("bool", default=False)}


DECLARATIONS: tuple[OpSpec, ...] = (
    OpSpec(
        name="sum", doc="the sum over axes; of no elements, 0", example="sum(x, axis=0)",
        define=lambda xp, x, axis=None, keepdims=False: xp.sum(x, axis=axis, keepdims=keepdims),
        vjp=(lambda xp, g, out, x, axis=None, keepdims=False: spread(xp, g, x, axis),),
        image=lambda x, shapes, axis=None, **_: total(x, count(shapes[0], axis)),
        shape=reduced, params=REDUCTION, primitive=True,
    ),
    OpSpec(
        name="mean", doc="the arithmetic mean over axes", example="mean(x, axis=-1, keepdims=True)",
        define=lambda xp, x, axis=None, keepdims=False:
            xp.sum(x, axis=axis, keepdims=keepdims) / count(xp.shape(x), axis),
        vjp=(lambda xp, g, out, x, axis=None, keepdims=False: spread(xp, g / count(xp.shape(x), axis), x, axis),),
        image=lambda x, **_: x.widened(),
        shape=reduced_nonempty, params=REDUCTION, ulps=1,
    ),
    OpSpec(
        name="prod", doc="the product over axes; of no elements, 1", example="prod(x, axis=0)",
        define=lambda xp, x, axis=None, keepdims=False: xp.prod(x, axis=axis, keepdims=keepdims),
        vjp=(_prod_vjp,),
        image=lambda x, shapes, axis=None, **_: product(x, count(shapes[0], axis)),
        shape=reduced, params=REDUCTION, primitive=True,
    ),
    OpSpec(
        name="max", example="max(x, axis=1)", aliases=("amax",),
        doc="the largest over axes; entries that tie share the cotangent evenly (PyTorch's amax, JAX)",
        define=lambda xp, x, axis=None, keepdims=False: xp.max(x, axis=axis, keepdims=keepdims),
        vjp=(_extreme_vjp,),
        kinks=lambda xp, x, axis=None, keepdims=False: gaps(xp, x, axis, (-1, None)),
        image=lambda x, **_: x,
        shape=reduced_nonempty, params=REDUCTION, primitive=True, ulps=0,
    ),
    OpSpec(
        name="min", example="min(x, axis=1)", aliases=("amin",),
        doc="the smallest over axes; entries that tie share the cotangent evenly (PyTorch's amin, JAX)",
        define=lambda xp, x, axis=None, keepdims=False: xp.min(x, axis=axis, keepdims=keepdims),
        vjp=(_extreme_vjp,),
        kinks=lambda xp, x, axis=None, keepdims=False: gaps(xp, x, axis, (0, 1)),
        image=lambda x, **_: x,
        shape=reduced_nonempty, params=REDUCTION, primitive=True, ulps=0,
    ),
    OpSpec(
        name="var", example="var(x, axis=0, correction=1)",
        doc="the variance over axes, in two passes; divides by n - correction",
        define=lambda xp, x, axis=None, keepdims=False, correction=0.0:
            xp.sum(xp.square(deviations(xp, x, axis)), axis=axis, keepdims=keepdims)
            / (count(xp.shape(x), axis) - correction),
        vjp=(lambda xp, g, out, x, axis=None, keepdims=False, correction=0.0:
             spread(xp, g, x, axis) * deviations(xp, x, axis) * 2 / (count(xp.shape(x), axis) - correction),),
        image=lambda x, shapes, axis=None, correction=0.0, **_: _squared(_deviation(x, shapes[0], axis, correction)),
        shape=_dispersion_shape, params=CORRECTION, ulps=2,
    ),
    OpSpec(
        name="std", example="std(x, axis=0, correction=1)",
        doc="the standard deviation over axes; divides by n - correction; gradient 0 where it is 0 (as PyTorch)",
        define=_std,
        vjp=(_std_vjp,),
        kinks=lambda xp, x, axis=None, keepdims=False, correction=0.0: xp.std(x, axis=axis, correction=correction),
        image=lambda x, shapes, axis=None, correction=0.0, **_: _deviation(x, shapes[0], axis, correction),
        shape=_dispersion_shape, params=CORRECTION, ulps=2,
    ),
    OpSpec(
        name="logsumexp", doc="log(sum(exp(x))) over axes, without overflow", example="logsumexp(x, axis=-1)",
        define=_logsumexp,
        vjp=(_logsumexp_vjp,),
        image=lambda x, shapes, axis=None, **_:
            Interval(x.lo, x.hi + math.log(count(shapes[0], axis) or 1)).widened(),
        shape=reduced_nonempty, params=REDUCTION, ulps=2,
    ),
    OpSpec(
        name="vector_norm", example="vector_norm(x, axis=-1, ord=1)", aliases=("norm",),
        doc="the p-norm over axes, p = ord >= 1 or inf; gradient 0 at the origin; entries that tie for ord=inf share",
        define=_vector_norm,
        vjp=(_vector_norm_vjp,),
        kinks=_vector_norm_kinks,
        image=lambda x, shapes, axis=None, ord=2.0, **_: _norms(x, shapes[0], axis, ord),
        shape=lambda s, axis=None, keepdims=False, ord=2.0, **_:
            (reduced_nonempty if ord == math.inf else reduced)(s, axis, keepdims),
        params=ORD, ulps=3,
    ),
    OpSpec(
        name="any", doc="is any entry true?", example="any(x > 0, axis=0)",
        define=lambda xp, x, axis=None, keepdims=False: xp.any(x, axis=axis, keepdims=keepdims),
        image=lambda *_, **__: Interval(0.0, 1.0),
        shape=reduced, params=REDUCTION, primitive=True, ulps=0, arguments=("bool",), result="bool",
    ),
    OpSpec(
        name="all", doc="is every entry true?", example="all(x > 0)",
        define=lambda xp, x, axis=None, keepdims=False: xp.all(x, axis=axis, keepdims=keepdims),
        image=lambda *_, **__: Interval(0.0, 1.0),
        shape=reduced, params=REDUCTION, primitive=True, ulps=0, arguments=("bool",), result="bool",
    ),
    OpSpec(
        name="argmax", doc="the index of the largest, the first of several; into the flattened array for axis=None",
        example="argmax(x, axis=-1)",
        define=lambda xp, x, axis=None, keepdims=False: xp.argmax(x, axis=axis, keepdims=keepdims),
        kinks=lambda xp, x, axis=None, keepdims=False: gaps(xp, x, axis, (-1, None)),
        image=lambda x, shapes, axis=None, **_: Interval(0.0, max(count(shapes[0], axis) - 1, 0)),
        shape=_reduced_one, params=PICK, primitive=True, ulps=0, result="int",
    ),
    OpSpec(
        name="argmin", doc="the index of the smallest, the first of several; into the flattened array for axis=None",
        example="argmin(x, axis=-1)",
        define=lambda xp, x, axis=None, keepdims=False: xp.argmin(x, axis=axis, keepdims=keepdims),
        kinks=lambda xp, x, axis=None, keepdims=False: gaps(xp, x, axis, (0, 1)),
        image=lambda x, shapes, axis=None, **_: Interval(0.0, max(count(shapes[0], axis) - 1, 0)),
        shape=_reduced_one, params=PICK, primitive=True, ulps=0, result="int",
    ),
    OpSpec(
        name="argsort", doc="the indices that sort, ascending and stable", example="argsort(x, axis=-1)",
        define=lambda xp, x, axis=-1: xp.argsort(x, axis=axis),
        kinks=lambda xp, x, axis=-1: gaps(xp, x, axis),
        image=lambda x, shapes, axis=-1, **_: Interval(0.0, max(count(shapes[0], axis) - 1, 0)),
        shape=along, params=ALONG, primitive=True, ulps=0, result="int",
    ),
    OpSpec(
        name="sort", doc="the entries in order; each cotangent goes back to where its entry came from, ties in order",
        example="sort(x, axis=-1)",
        define=lambda xp, x, axis=-1, descending=False:
            xp.take_along_axis(x, _sorting(xp, x, axis, descending), axis),
        vjp=(lambda xp, g, out, x, axis=-1, descending=False:
             xp.scatter_add(xp.zeros_like(x), _sorting(xp, x, axis, descending), g, axis),),
        kinks=lambda xp, x, axis=-1, descending=False: gaps(xp, x, axis),
        image=lambda x, **_: x,
        shape=along, params=SORT, ulps=0,
    ),
    OpSpec(
        name="cumulative_sum", doc="running sums along an axis", example="cumulative_sum(x, axis=0)",
        aliases=("cumsum",),
        define=lambda xp, x, axis=-1: xp.cumulative_sum(x, axis=axis),
        vjp=(lambda xp, g, out, x, axis=-1: xp.flip(xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis), axis=axis),),
        image=lambda x, shapes, axis=-1, **_: x.hull(total(x, max(count(shapes[0], axis), 1))),
        shape=along, params=ALONG, primitive=True,
    ),
    OpSpec(
        name="cumulative_prod", doc="running products along an axis; right at zeros", aliases=("cumprod",),
        example="cumulative_prod(x, axis=0)",
        define=lambda xp, x, axis=-1: xp.cumulative_prod(x, axis=axis),
        vjp=(_cumulative_prod_vjp,),
        image=lambda x, shapes, axis=-1, **_: _powers(x, max(count(shapes[0], axis), 1)),
        shape=along, params=ALONG, primitive=True,
    ),
)  # fmt: skip
