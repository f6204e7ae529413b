"""Shape rules that several ops share. Each takes shapes, returns a shape, and raises ShapeError with both in view."""

from __future__ import annotations

from typing import Any

from ..core.errors import ShapeError
from ..core.op import Shape


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


def normal_axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """All axes for None; distinct, in [0, ndim)."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(normal_axis(a, ndim) for a in (axis if isinstance(axis, tuple) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis {axis} names an axis twice")
    return axes


def reduced(shape: Shape, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, **_: Any) -> Shape:
    """A reduction over `axis`."""
    axes = normal_axes(axis, len(shape))
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def count(shape: Shape, axis: int | tuple[int, ...] | None = None) -> int:
    """How many entries a reduction over `axis` takes together."""
    n = 1
    for a in normal_axes(axis, len(shape)):
        n *= shape[a]
    return n
