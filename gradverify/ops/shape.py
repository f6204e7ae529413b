"""Ops that move data without computing: every one is exact (ulps = 0)."""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ShapeError
from ..core.interval import Interval
from ..core.op import VARIADIC, Array, OpSpec, Param, Shape, Vocabulary
from .shapes import Axis, inverse_permutation, matrix, normal_axes, normal_axis

ZERO = Interval.point(0.0)


# ---- shape rules ----------------------------------------------------------------------------------------------------


def _reshaped(old: Shape, shape: Shape, **_: Any) -> Shape:
    """The new shape; at most one -1 stands for the remaining size."""
    size, known = math.prod(old), math.prod(n for n in shape if n != -1)
    if any(n < -1 for n in shape) or shape.count(-1) > 1:
        raise ShapeError(f"shape {old} into {shape}: sizes must be at least 0, and only one may be -1")
    if -1 in shape:
        if known == 0 or size % known:
            raise ShapeError(f"shape {old} into {shape}: {size} elements do not decide the size left open")
        return tuple(size // known if n == -1 else n for n in shape)
    if size != known:
        raise ShapeError(f"shapes {old} and {shape} have {size} and {known} elements")
    return shape


def _permuted(shape: Shape, axes: tuple[int, ...], **_: Any) -> Shape:
    return tuple(shape[a] for a in _permutation(axes, len(shape)))


def _permutation(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    out = normal_axes(axes, ndim)
    if len(out) != ndim:
        raise ShapeError(f"axes {axes} is not a permutation of {ndim} axes")
    return out


def _moving(ndim: int, source: int, destination: int) -> tuple[int, ...]:
    """The permutation that moves one axis."""
    source, destination = normal_axis(source, ndim, "source"), normal_axis(destination, ndim, "destination")
    rest = [i for i in range(ndim) if i != source]
    return (*rest[:destination], source, *rest[destination:])


def _expanded(shape: Shape, axis: int = 0, **_: Any) -> Shape:
    at = normal_axis(axis, len(shape) + 1)
    return (*shape[:at], 1, *shape[at:])


def _squeezed(shape: Shape, axis: Axis = None, **_: Any) -> Shape:
    if axis is None:
        return tuple(n for n in shape if n != 1)
    axes = normal_axes(axis, len(shape))
    for a in axes:
        if shape[a] != 1:
            raise ShapeError(f"shape {shape} has size {shape[a]} along axis {a}: only ones can be squeezed")
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _broadcast_to(old: Shape, shape: Shape, **_: Any) -> Shape:
    lead = len(shape) - len(old)
    if lead < 0 or any(n < 0 for n in shape) or any(a not in (1, b) for a, b in zip(old, shape[lead:])):
        raise ShapeError(f"shape {old} does not broadcast to {shape}")
    return shape


def _concatenated(*shapes: Shape, axis: int = 0, **_: Any) -> Shape:
    first = shapes[0]
    at = normal_axis(axis, len(first))
    for s in shapes:
        if len(s) != len(first) or s[:at] + s[at + 1 :] != first[:at] + first[at + 1 :]:
            raise ShapeError(f"shapes {first} and {s} differ in more than axis {axis}")
    return (*first[:at], sum(s[at] for s in shapes), *first[at + 1 :])


def _stacked(*shapes: Shape, axis: int = 0, **_: Any) -> Shape:
    if len(set(shapes)) > 1:
        raise ShapeError("shapes " + " and ".join(map(str, dict.fromkeys(shapes))) + " differ")
    at = normal_axis(axis, len(shapes[0]) + 1)
    return (*shapes[0][:at], len(shapes), *shapes[0][at:])


def _along_axes(shape: Shape, axis: Axis = None, **_: Any) -> Shape:
    normal_axes(axis, len(shape))
    return shape


def _repeated(shape: Shape, repeats: int, axis: int = -1, **_: Any) -> Shape:
    at = normal_axis(axis, len(shape))
    return (*shape[:at], shape[at] * repeats, *shape[at + 1 :])


def _tiled(shape: Shape, repetitions: tuple[int, ...], **_: Any) -> Shape:
    if any(r < 0 for r in repetitions):
        raise ShapeError(f"repetitions {repetitions} of shape {shape}: a negative count")
    shape, repetitions = _aligned(shape, repetitions)
    return tuple(n * r for n, r in zip(shape, repetitions))


def _aligned(shape: Shape, repetitions: tuple[int, ...]) -> tuple[Shape, tuple[int, ...]]:
    """Both with the same number of axes: ones in front of the shorter."""
    ndim = max(len(shape), len(repetitions))
    return (1,) * (ndim - len(shape)) + shape, (1,) * (ndim - len(repetitions)) + repetitions


def _padded(shape: Shape, pads: tuple[tuple[int, int], ...], **_: Any) -> Shape:
    if len(pads) != len(shape):
        raise ShapeError(f"{len(pads)} pairs of pads for shape {shape}: one pair per axis is needed")
    if any(p < 0 for pair in pads for p in pair):
        raise ShapeError(f"pads {pads} for shape {shape}: a negative pad")
    return tuple(b + n + a for (b, a), n in zip(pads, shape))


# ---- texts ----------------------------------------------------------------------------------------------------------


def _concat_vjp(xp: Vocabulary, i: int, g: Array, out: Array, *args: Any, axis: int = 0) -> Array:
    at = normal_axis(axis, len(xp.shape(args[0])))
    start = sum(xp.shape(a)[at] for a in args[:i])
    return xp.getitem(g, ((None, None, 1),) * at + ((start, start + xp.shape(args[i])[at], 1),))


def _stack_vjp(xp: Vocabulary, i: int, g: Array, out: Array, *args: Any, axis: int = 0) -> Array:
    return xp.getitem(g, ((None, None, 1),) * normal_axis(axis, len(xp.shape(out))) + (i,))


def _repeat(xp: Vocabulary, x: Array, repeats: int, axis: int = -1) -> Array:
    shape = xp.shape(x)
    at = normal_axis(axis, len(shape)) + 1
    wide = xp.broadcast_to(xp.expand_dims(x, at), (*shape[:at], repeats, *shape[at:]))
    return xp.reshape(wide, _repeated(shape, repeats, axis))


def _tile(xp: Vocabulary, x: Array, repetitions: tuple[int, ...]) -> Array:
    shape, times = _aligned(xp.shape(x), repetitions)
    ones = tuple(m for n in shape for m in (1, n))
    wide = tuple(m for n, r in zip(shape, times) for m in (r, n))
    return xp.reshape(xp.broadcast_to(xp.reshape(x, ones), wide), _tiled(shape, times))


def _pad_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, pads: tuple[tuple[int, int], ...]) -> Array:
    return xp.getitem(g, tuple((b, b + n, 1) for (b, _), n in zip(pads, xp.shape(x))))


def _diagonal_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    *batch, rows, columns = xp.shape(x)
    k = min(rows, columns)
    return xp.pad(xp.diag_embed(g), ((0, 0),) * len(batch) + ((0, rows - k), (0, columns - k)))


def _diag_embed(xp: Vocabulary, x: Array) -> Array:
    """Each entry along a row, of which tril and triu leave the diagonal: a selection, so that inf stays off it."""
    shape = xp.shape(x)
    return xp.triu(xp.tril(xp.broadcast_to(xp.expand_dims(x, -1), (*shape, shape[-1]))))


def _diag_embedded(shape: Shape, **_: Any) -> Shape:
    if not shape:
        raise ShapeError("shape () is not that of a vector")
    return (*shape, shape[-1])


def hulls(*intervals: Interval, **_: Any) -> Interval:
    out = intervals[0]
    for i in intervals[1:]:
        out = out.hull(i)
    return out


def with_zero(x: Interval, **_: Any) -> Interval:
    return x.hull(ZERO)


K = {"k": Param("int", default=0, lo=-64, hi=64)}


def _moved(name: str, **fields: Any) -> OpSpec:
    """An op that keeps the set of values."""
    standard: dict[str, Any] = {"image": lambda x, **_: x, "primitive": True, "ulps": 0}
    return OpSpec(name=name, **(standard | fields))


DECLARATIONS: tuple[OpSpec, ...] = (
    _moved(
        "reshape", doc="the same entries in another shape, in C order; one size may be -1",
        example="reshape(x, shape=(2, 6))",
        define=lambda xp, x, shape: xp.reshape(x, shape),
        vjp=(lambda xp, g, out, x, shape: xp.reshape(g, xp.shape(x)),),
        shape=_reshaped, params={"shape": Param("shape")},
    ),
    _moved(
        "permute_dims", doc="the axes in another order", example="permute_dims(x, axes=(1, 0))",
        define=lambda xp, x, axes: xp.permute_dims(x, axes),
        vjp=(lambda xp, g, out, x, axes: xp.permute_dims(g, inverse_permutation(normal_axes(axes, len(axes)))),),
        shape=_permuted, params={"axes": Param("perm")}, aliases=("transpose", "permute"),
    ),
    _moved(
        "matrix_transpose", doc="the last two axes swapped", example="matrix_transpose(x)", aliases=("mT",),
        define=lambda xp, x: xp.matrix_transpose(x),
        vjp=(lambda xp, g, out, x: xp.matrix_transpose(g),),
        shape=lambda s, **_: (*matrix(s)[:-2], s[-1], s[-2]),
    ),
    _moved(
        "moveaxis", doc="one axis moved to another place", example="moveaxis(x, source=0, destination=-1)",
        define=lambda xp, x, source, destination:
            xp.permute_dims(x, _moving(len(xp.shape(x)), source, destination)),
        vjp=(lambda xp, g, out, x, source, destination: xp.moveaxis(g, destination, source),),
        shape=lambda s, source, destination, **_: _permuted(s, _moving(len(s), source, destination)),
        params={"source": Param("axis"), "destination": Param("axis")}, primitive=False,
    ),
    _moved(
        "expand_dims", doc="a new axis of size 1 before `axis`; -1 is after the last",
        example="expand_dims(x, axis=0)", aliases=("unsqueeze",),
        define=lambda xp, x, axis=0: xp.expand_dims(x, axis),
        vjp=(lambda xp, g, out, x, axis=0: xp.reshape(g, xp.shape(x)),),
        shape=_expanded, params={"axis": Param("axis", default=0)},
    ),
    _moved(
        "squeeze", doc="without the named axes, or all axes, of size 1", example="squeeze(x, axis=0)",
        define=lambda xp, x, axis=None: xp.squeeze(x, axis),
        vjp=(lambda xp, g, out, x, axis=None: xp.reshape(g, xp.shape(x)),),
        shape=_squeezed, params={"axis": Param("axes", default=None, optional=True)},
    ),
    _moved(
        "broadcast_to", doc="stretched to a larger shape", example="broadcast_to(x, shape=(3, 4))",
        aliases=("expand",),
        define=lambda xp, x, shape: xp.broadcast_to(x, shape),
        vjp=(lambda xp, g, out, x, shape: xp.sum_to(g, xp.shape(x)),),
        shape=_broadcast_to, params={"shape": Param("shape")},
    ),
    _moved(
        "concat", doc="joined along an axis that exists", example="concat(x, y, axis=0)", aliases=("cat",),
        arity=VARIADIC,
        define=lambda xp, *args, axis=0: xp.concat(args, axis=axis),
        vjp=_concat_vjp, image=hulls,
        shape=_concatenated, params={"axis": Param("axis", default=0)},
    ),
    _moved(
        "stack", doc="joined along a new axis", example="stack(x, y, axis=0)", arity=VARIADIC,
        define=lambda xp, *args, axis=0: xp.stack(args, axis=axis),
        vjp=_stack_vjp, image=hulls,
        shape=_stacked, params={"axis": Param("axis", default=0)},
    ),
    _moved(
        "flip", doc="reversed along axes", example="flip(x, axis=0)",
        define=lambda xp, x, axis=None: xp.flip(x, axis=axis),
        vjp=(lambda xp, g, out, x, axis=None: xp.flip(g, axis=axis),),
        shape=_along_axes, params={"axis": Param("axes", default=None, optional=True)},
    ),
    _moved(
        "roll", doc="shifted along an axis, what falls off comes back; over the flattened array for axis=None",
        example="roll(x, shift=1, axis=0)",
        define=lambda xp, x, shift, axis=None: xp.roll(x, shift, axis),
        vjp=(lambda xp, g, out, x, shift, axis=None: xp.roll(g, -shift, axis),),
        shape=_along_axes,
        params={"shift": Param("int", lo=-64, hi=64), "axis": Param("axis", default=None, optional=True)},
    ),
    _moved(
        "repeat", doc="each entry `repeats` times along an axis", example="repeat(x, repeats=2, axis=0)",
        aliases=("repeat_interleave",), define=_repeat,
        shape=_repeated, params={"repeats": Param("int", lo=0, hi=64), "axis": Param("axis", default=-1)},
        primitive=False,
    ),
    _moved(
        "tile", doc="copies side by side, `repetitions` per axis", example="tile(x, repetitions=(2, 1))",
        define=_tile,
        shape=_tiled, params={"repetitions": Param("ints")}, primitive=False,
    ),
    _moved(
        "pad", doc="zeros before and after, one pair per axis", example="pad(x, pads=((1, 0), (0, 2)))",
        define=lambda xp, x, pads: xp.pad(x, pads),
        vjp=(_pad_vjp,), image=with_zero,
        shape=_padded, params={"pads": Param("pads")},
    ),
    _moved(
        "tril", doc="zeros above the k-th diagonal of the last two axes", example="tril(x, k=0)",
        define=lambda xp, x, k=0: xp.tril(x, k),
        vjp=(lambda xp, g, out, x, k=0: xp.tril(g, k),), image=with_zero,
        shape=matrix, params=K,
    ),
    _moved(
        "triu", doc="zeros below the k-th diagonal of the last two axes", example="triu(x, k=1)",
        define=lambda xp, x, k=0: xp.triu(x, k),
        vjp=(lambda xp, g, out, x, k=0: xp.triu(g, k),), image=with_zero,
        shape=matrix, params=K,
    ),
    _moved(
        "diagonal", doc="the diagonal of the last two axes", example="diagonal(x)",
        define=lambda xp, x: xp.diagonal(x),
        vjp=(_diagonal_vjp,),
        shape=lambda s, **_: (*matrix(s)[:-2], min(s[-2:])),
    ),
    _moved(
        "diag_embed", doc="the last axis as the diagonal of a square matrix (PyTorch's name)",
        example="diag_embed(x)",
        define=_diag_embed,
        vjp=(lambda xp, g, out, x: xp.diagonal(g),), image=with_zero,
        shape=_diag_embedded, primitive=False,
    ),
)  # fmt: skip
