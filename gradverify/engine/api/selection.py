"""Entries picked by their order: max, min, sort, topk, median. Only what was picked gets a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .call import normal_dim, require_order, run, run_as
from .conversion import clone

__all__ = [
    "argsort", "max", "median", "min", "nanmedian", "sort", "topk",
]  # fmt: skip


class Pair(tuple):
    """(values, indices), by name too."""

    def __new__(cls, values: Tensor, indices: Tensor, kind: str = "max") -> Pair:
        out = tuple.__new__(cls, (values, indices))
        out.kind = kind
        return out

    kind: str
    values = property(lambda self: self[0])
    indices = property(lambda self: self[1])

    def __repr__(self) -> str:
        return f"torch.return_types.{self.kind}(\nvalues={self[0]!r},\nindices={self[1]!r})"


def pick_entries(node: str, input: Tensor, indices: Any, dim: int, keepdim: bool, kind: str) -> Pair:
    """Entries chosen by index along a dim: only the chosen one gets the gradient."""
    if not input._data.ndim:
        return Pair(run_as(node, "reshape", input, shape=()), wrap(np.asarray(indices)), kind)
    at = wrap(np.expand_dims(indices, dim))
    values = run_as(node, "take_along_axis", input, at, axis=dim)
    if keepdim:
        return Pair(values, at, kind)
    shape = tuple(n for k, n in enumerate(input._data.shape) if k != dim % input._data.ndim)
    return Pair(run_as(node, "reshape", values, shape=shape), wrap(np.asarray(indices)), kind)


def pick_value(node: str, input: Tensor, at: int) -> Tensor:
    """One entry of all. Those equal to it (if it is NaN: the NaNs) share its gradient, as PyTorch has it."""
    return run_as(node, "pick_value", input, at=at)


def _make_extreme(name: str, op: str) -> Any:
    pick = "argmax" if op == "max" else "argmin"

    def extreme(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if isinstance(dim, Tensor) or other is not None:
            return run(f"{op}imum", input, dim if other is None else other)
        if dim is None:
            return _of_all(input)
        require_order(f"{op} along a dim", input)
        at = normal_dim(dim, input._data.ndim)
        if not input._data.ndim:
            return pick_entries(f"{op.capitalize()}Backward0", input, np.int64(0), 0, keepdim, op)
        return pick_entries(
            f"{op.capitalize()}Backward0", input, getattr(np, pick)(input._data, axis=at), at, keepdim, op
        )

    def _of_all(input: Tensor) -> Tensor:
        out = run(op, input)
        if out._data != out._data:  # NaN is no extreme, but it is what comes out
            return pick_value(f"{op.capitalize()}Backward1", input, int(np.argmax(np.isnan(input._data))))
        return out

    extreme.__name__ = extreme.__qualname__ = name
    extreme.__doc__ = f"The {name} of all; of each row along `dim` with its index; or of two tensors, entry by entry."
    return extreme


max = _make_extreme("max", "max")


min = _make_extreme("min", "min")


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Pair:
    order = argsort(input, dim, descending)
    if not input._data.ndim:
        return Pair(clone(input), order, "sort")
    return Pair(run_as("SortBackward0", "take_along_axis", input, order, axis=dim), order, "sort")


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    require_order("argsort", input)
    if not input._data.ndim:
        return wrap(np.int64(0))
    data = input._data
    if not descending:
        return wrap(np.argsort(data, axis=dim, kind="stable"))
    # Descending and stable: sort the reversed array, and count from the other end.
    backwards = np.argsort(np.flip(data, dim), axis=dim, kind="stable")
    return wrap(np.flip(data.shape[dim] - 1 - backwards, dim).copy())


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Pair:
    require_order("topk", input)
    order = argsort(input, dim, descending=largest)._data
    chosen = wrap(np.take(order, np.arange(k), axis=dim))
    return Pair(run_as("TopkBackward0", "take_along_axis", input, chosen, axis=dim), chosen, "topk")


def _middle(x: np.ndarray, axis: int) -> np.ndarray:
    """The index of the lower median along an axis; of the first NaN where there is one."""
    middle = np.take(np.argsort(x, axis=axis, kind="stable"), (x.shape[axis] - 1) // 2, axis=axis)
    unordered = np.isnan(x) if x.dtype.kind == "f" else np.zeros_like(x, bool)
    return np.where(unordered.any(axis=axis), unordered.argmax(axis=axis), middle)


def _middle_of_numbers(x: np.ndarray, axis: int) -> np.ndarray:
    """The index of the lower median of the numbers along an axis; where all are NaN, that of the first."""
    count = (
        (~np.isnan(x)).sum(axis=axis, keepdims=True) if x.dtype.kind == "f" else np.full((1,) * x.ndim, x.shape[axis])
    )
    order = np.argsort(x, axis=axis, kind="stable")  # NaN come last
    place = np.broadcast_to(np.maximum(count - 1, 0) // 2, tuple(1 if k == axis else n for k, n in enumerate(x.shape)))
    return np.take_along_axis(order, place, axis).squeeze(axis)


def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of what is not NaN, as PyTorch's."""
    require_order("nanmedian", input)
    if dim is None:
        return pick_value("NanmedianBackward0", input, int(_middle_of_numbers(input._array().ravel(), 0)))
    dim = normal_dim(dim, input._data.ndim)
    middle = _middle_of_numbers(np.atleast_1d(input._data), dim)
    return pick_entries("NanmedianBackward1", input, middle, dim, keepdim, "nanmedian")


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median, as PyTorch's."""
    require_order("median", input)
    if dim is None:
        return pick_value("MedianBackward0", input, int(_middle(input._array().ravel(), 0)))
    dim = normal_dim(dim, input._data.ndim)
    middle = _middle(np.atleast_1d(input._data), dim)
    return pick_entries("MedianBackward1", input, middle, dim, keepdim, "median")
