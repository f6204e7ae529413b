"""Shape rules that several ops share. Each takes shapes, returns a shape, and raises ShapeError with both in view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.errors import ShapeError
from ..core.op import Param, Shape

Axis = int | tuple[int, ...] | None

AXES = Param("axes", default=None, optional=True)
KEEPDIMS = Param("bool", default=False)


def same(shape: Shape, **_: Any) -> Shape:
    """Elementwise on one array."""
    return shape


def broadcast(*shapes: Shape, **_: Any) -> Shape:
    """NumPy's broadcasting (Array API standard, "Broadcasting")."""
    out: list[int] = []
    for i in range(-max((len(s) for s in shapes), default=0), 0):
        sizes = {s[i] for s in shapes if len(s) >= -i} - {1}
        if len(sizes) > 1:
            raise ShapeError("shapes " + " and ".join(map(str, shapes)) + " do not broadcast")
        out.append(sizes.pop() if sizes else 1)
    return tuple(out)


def normal_axis(axis: int, ndim: int, what: str = "axis") -> int:
    if not -ndim <= axis < ndim:
        raise ShapeError(f"{what} {axis} is out of range for an array of {ndim} dimension{'s' * (ndim != 1)}")
    return axis % ndim


def normal_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """All axes for None; distinct, in [0, ndim)."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(normal_axis(a, ndim) for a in (axis if isinstance(axis, tuple) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis {axis} names an axis twice")
    return axes


def reduced(shape: Shape, axis: Axis = None, keepdims: bool = False, **_: Any) -> Shape:
    """A reduction over `axis`."""
    axes = normal_axes(axis, len(shape))
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def reduced_nonempty(shape: Shape, axis: Axis = None, keepdims: bool = False, **_: Any) -> Shape:
    """A reduction that has no value for no elements."""
    if count(shape, axis) == 0:
        raise ShapeError(f"shape {shape} has no elements along axis {axis}, and of none there is no value")
    return reduced(shape, axis, keepdims)


def kept(shape: Shape, axis: Axis = None) -> Shape:
    """The reduced shape with the reduced axes kept as ones: what broadcasts back against `shape`."""
    return reduced(shape, axis, keepdims=True)


def count(shape: Shape, axis: Axis = None) -> int:
    """How many entries a reduction over `axis` takes together."""
    return math.prod(shape[a] for a in normal_axes(axis, len(shape)))


def along(shape: Shape, axis: int = -1, **_: Any) -> Shape:
    """One axis is named, the shape stays: cumulative ops, softmax."""
    normal_axis(axis, len(shape))
    return shape


def without(shape: Shape, axis: int) -> Shape:
    """The shape less one (non-negative) axis."""
    return shape[:axis] + shape[axis + 1 :]


def matrix(shape: Shape, **_: Any) -> Shape:
    """A matrix, or a stack of them."""
    if len(shape) < 2:
        raise ShapeError(f"shape {shape} is not that of a matrix: at least two dimensions are needed")
    return shape


def square(shape: Shape, **_: Any) -> Shape:
    """A square matrix, or a stack of them."""
    matrix(shape)
    if shape[-1] != shape[-2]:
        raise ShapeError(f"shape {shape} is not that of a square matrix: {shape[-2]} rows, {shape[-1]} columns")
    return shape


def inverse_permutation(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))
