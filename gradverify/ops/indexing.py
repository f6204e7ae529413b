"""Indexing, gather and scatter, and their adjoints.

An index is a tuple of ints, None (a new axis), "..." and (start, stop, step) triples; see `namespaces.base`.
Index arrays hold 0 to n - 1: what a negative or too large one means, frameworks do not agree on.
"""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ShapeError
from ..core.interval import Interval
from ..core.op import OpSpec, Param, Shape
from .shape import with_zero
from .shapes import normal_axis, without

Index = tuple[Any, ...]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_slice(entry: Any) -> bool:
    return isinstance(entry, tuple) and len(entry) == 3 and all(v is None or _is_int(v) for v in entry)


def indexed(shape: Shape, index: Index, **_: Any) -> Shape:
    """The shape of x[index] (Array API standard, "Indexing"; the ellipsis may be left out)."""
    if not isinstance(index, tuple):
        raise ShapeError(f"index {index!r} must be a tuple of ints, None, '...' and (start, stop, step) triples")
    used = sum(entry is not None and entry != "..." for entry in index)
    ellipses = sum(entry == "..." for entry in index)
    if ellipses > 1:
        raise ShapeError(f"index {index!r} has more than one '...'")
    if used > len(shape):
        raise ShapeError(f"index {index!r} names {used} axes of an array of shape {shape}")
    out: list[int] = []
    sizes = iter(shape)
    rest = len(shape) - used
    for entry in index if ellipses else (*index, "..."):
        if entry is None:
            out.append(1)
        elif entry == "...":
            out += [next(sizes) for _ in range(rest)]
        elif _is_slice(entry):
            if entry[2] == 0:
                raise ShapeError(f"index {index!r} has a step of 0")
            out.append(len(range(*slice(*entry).indices(next(sizes)))))
        elif _is_int(entry):
            size = next(sizes)
            if not -size <= entry < size:
                raise ShapeError(f"index {entry} is out of range for size {size}, in {index!r} of shape {shape}")
        else:
            raise ShapeError(f"index {index!r}: {entry!r} is neither an int, None, '...' nor (start, stop, step)")
    return tuple(out)


def _embedded(old: Shape, index: Index, shape: Shape, **_: Any) -> Shape:
    if any(n < 0 for n in shape):
        raise ShapeError(f"shape {shape} has a negative size")
    if indexed(shape, index) != old:
        raise ShapeError(f"shapes {old} and {shape}: index {index!r} selects {indexed(shape, index)}")
    return shape


def _taken(shape: Shape, indices: Shape, axis: int = 0, **_: Any) -> Shape:
    at = normal_axis(axis, len(shape))
    if shape[at] == 0 and 0 not in indices:
        raise ShapeError(f"shape {shape} has nothing along axis {axis} that indices of shape {indices} could take")
    return (*shape[:at], *indices, *shape[at + 1 :])


def _index_added(shape: Shape, indices: Shape, updates: Shape, axis: int = 0, **_: Any) -> Shape:
    if updates != _taken(shape, indices, axis):
        raise ShapeError(f"updates of shape {updates} for shape {shape} with indices of shape {indices}"
                         f" along axis {axis}: shape {_taken(shape, indices, axis)} is needed")  # fmt: skip
    return shape


def _gathered(shape: Shape, indices: Shape, axis: int = -1, **_: Any) -> Shape:
    at = normal_axis(axis, len(shape))
    if len(shape) != len(indices) or without(shape, at) != without(indices, at):
        raise ShapeError(f"shapes {shape} and {indices} of array and indices differ in more than axis {axis}")
    if shape[at] == 0 and 0 not in indices:
        raise ShapeError(f"shape {shape} has nothing along axis {axis} that indices of shape {indices} could take")
    return indices


def _scattered(shape: Shape, indices: Shape, updates: Shape, axis: int = -1, **_: Any) -> Shape:
    _gathered(shape, indices, axis)
    if updates != indices:
        raise ShapeError(f"shapes {indices} and {updates} of indices and updates differ")
    return shape


def _added(x: Interval, updates: Interval, most: int) -> Interval:
    """Each entry receives between none and `most` of the updates."""
    return x + updates.scaled(most).hull(Interval.point(0.0))


AXIS0 = {"axis": Param("axis", default=0)}
AXIS = {"axis": Param("axis", default=-1)}

DECLARATIONS: tuple[OpSpec, ...] = (
    OpSpec(
        name="getitem", doc="x[index] with ints, None, '...' and slices", example="x[0, ::2]",
        define=lambda xp, x, index: xp.getitem(x, index),
        vjp=(lambda xp, g, out, x, index: xp.embed(g, index, xp.shape(x)),),
        image=lambda x, **_: x,
        shape=indexed, params={"index": Param("index")}, primitive=True, ulps=0,
    ),
    OpSpec(
        name="embed", doc="zeros of `shape` with x placed at [index]: the adjoint of getitem",
        example="embed(x, index=((0, 2, 1),), shape=(5,))",
        define=lambda xp, x, index, shape: xp.embed(x, index, shape),
        vjp=(lambda xp, g, out, x, index, shape: xp.getitem(g, index),),
        image=with_zero,
        shape=_embedded, params={"index": Param("index"), "shape": Param("shape")}, primitive=True, ulps=0,
    ),
    OpSpec(
        name="take", doc="entries along an axis, by integer indices of any shape (an embedding lookup)",
        example="take(x, i, axis=0)", aliases=("index_select", "embedding"),
        arity=2, arguments=("float", "int"),
        define=lambda xp, x, indices, axis=0: xp.take(x, indices, axis),
        vjp=(lambda xp, g, out, x, indices, axis=0: xp.index_add(xp.zeros_like(x), indices, g, axis), None),
        image=lambda x, _, **__: x,
        shape=_taken, params=AXIS0, primitive=True, ulps=0,
    ),
    OpSpec(
        name="index_add", doc="x with updates added at integer indices along an axis: the adjoint of take",
        example="index_add(x, i, u, axis=0)",
        arity=3, arguments=("float", "int", "float"),
        define=lambda xp, x, indices, updates, axis=0: xp.index_add(x, indices, updates, axis),
        vjp=(lambda xp, g, out, x, indices, updates, axis=0: g, None,
             lambda xp, g, out, x, indices, updates, axis=0: xp.take(g, indices, axis)),
        image=lambda x, _, u, shapes, **__: _added(x, u, math.prod(shapes[1])),
        shape=_index_added, params=AXIS0, primitive=True,
    ),
    OpSpec(
        name="take_along_axis", doc="one entry per index, along an axis", example="take_along_axis(x, i, axis=-1)",
        aliases=("gather",),
        arity=2, arguments=("float", "int"),
        define=lambda xp, x, indices, axis=-1: xp.take_along_axis(x, indices, axis),
        vjp=(lambda xp, g, out, x, indices, axis=-1: xp.scatter_add(xp.zeros_like(x), indices, g, axis), None),
        image=lambda x, _, **__: x,
        shape=_gathered, params=AXIS, primitive=True, ulps=0,
    ),
    OpSpec(
        name="scatter_add", doc="x with one update added per index, along an axis: the adjoint of take_along_axis",
        example="scatter_add(x, i, u, axis=-1)",
        arity=3, arguments=("float", "int", "float"),
        define=lambda xp, x, indices, updates, axis=-1: xp.scatter_add(x, indices, updates, axis),
        vjp=(lambda xp, g, out, x, indices, updates, axis=-1: g, None,
             lambda xp, g, out, x, indices, updates, axis=-1: xp.take_along_axis(g, indices, axis)),
        image=lambda x, _, u, shapes, axis=-1, **__: _added(x, u, shapes[1][axis]),
        shape=_scattered, params=AXIS, primitive=True,
    ),
)  # fmt: skip
