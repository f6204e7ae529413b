"""Memory as PyTorch shows it: `as_strided`, storages, and in-place ops that change the layout of a tensor.

The one idea: a tensor's storage is the array that owns its memory, laid out flat; sizes, strides and an offset say which of
its entries a view has. An in-place op of the layout (`t_`, `unsqueeze_`) makes the tensor a view of what it was; views of it
that were made before go back by the old sizes and strides (`View.path`).
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..dispatch import ViewStep, apply
from ..local_ops import flat_memory, strides_of
from ..rules import rule
from ..tensor import Tensor, move_history, wrap
from ..views import check_writable
from .call import normal_dim, sizes_of
from .shape import squeeze, t, transpose, unsqueeze

__all__ = ["as_strided", "empty_strided"]


def offset_of(x: np.ndarray) -> int:
    """Where the first entry lies in the memory of the array that owns it, in entries."""
    start = flat_memory(x).__array_interface__["data"][0]
    return (x.__array_interface__["data"][0] - start) // builtins.max(x.itemsize, 1)


def positions(size: Sequence[int], stride: Sequence[int], offset: int) -> np.ndarray:
    """The place in memory of each entry, in the order of rows."""
    out = np.full((), offset, np.int64)
    for n, s in zip(size, stride):
        out = out[..., None] + np.arange(n) * s
    return out.reshape(-1)


def _step(data: np.ndarray, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> dict[str, Any]:
    """The parameters of the op `as_strided` on an array: the geometry, and which entries of the input it reaches."""
    own = positions(data.shape, strides_of(data), offset_of(data))
    slots, slot = np.unique(own, return_inverse=True)
    taken = positions(size, stride, offset)
    at = np.searchsorted(slots, taken)
    reached = np.flatnonzero(slots[np.minimum(at, slots.size - 1)] == taken) if slots.size else at[:0]
    return {
        "size": size, "stride": stride, "offset": offset, "slots": int(slots.size), "at": at[reached],
        "reached": None if reached.size == taken.size else reached, "slot": slot,
    }  # fmt: skip


def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """The entries of the tensor's storage at these strides. Raises RuntimeError where they lie outside of it."""
    data = input._array()
    shape, steps = sizes_of((size,)), tuple(int(s) for s in stride)
    if len(shape) != len(steps):
        raise RuntimeError("mismatch in length of strides and shape")
    offset = offset_of(data) if storage_offset is None else int(storage_offset)
    need = 0 if 0 in shape else offset + 1 + builtins.sum((n - 1) * s for n, s in zip(shape, steps))
    have = flat_memory(data).size
    if need > have or offset < 0 or (need and builtins.any(s < 0 for s in steps)):
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(steps)}, storage offset {offset}, and itemsize "
            f"{data.itemsize} requiring a storage size of {need * data.itemsize} are out of bounds for storage of size "
            f"{have * data.itemsize}"
        )
    return apply(rule("as_strided"), (input,), _step(data, shape, steps, offset))


def empty_strided(size: Sequence[int], stride: Sequence[int], *, dtype: Any = None, device: Any = None,
                  requires_grad: bool = False) -> Tensor:  # fmt: skip
    kind = dtypes.default_numpy() if dtype is None else dtype.numpy
    n = 0 if 0 in size else 1 + builtins.sum((k - 1) * s for k, s in zip(size, stride))
    memory = np.zeros(n, kind)
    strides = tuple(s * memory.itemsize for s in stride)
    return wrap(np.ndarray(tuple(size), kind, memory, 0, strides)).requires_grad_(requires_grad)


class Storage:
    """The memory of a tensor, flat: what `x.storage()` and `x.untyped_storage()` give."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory

    def __len__(self) -> int:
        return self.memory.size

    size = __len__

    def __getitem__(self, k: int) -> Any:
        return self.memory[k].item()

    def data_ptr(self) -> int:
        return self.memory.__array_interface__["data"][0]

    def nbytes(self) -> int:
        return self.memory.nbytes

    def tolist(self) -> Any:
        return self.memory.tolist()


def storage(input: Tensor) -> Storage:
    return Storage(flat_memory(input._array()))


def untyped_storage(input: Tensor) -> Storage:
    return Storage(flat_memory(input._array()).view(np.uint8))


def storage_offset(input: Tensor) -> int:
    return offset_of(input._array())


def set_(input: Tensor, source: Tensor) -> Tensor:
    """The tensor gets the memory of another one. What was recorded of it before belongs to the old one."""
    check_writable(input)
    input._data = source._array()
    input._accumulator = None
    input._cell()[0] += 1
    return input


def resize_(input: Tensor, *sizes: Any) -> Tensor:
    """Other sizes over the same storage, which grows where it has to. New entries are not initialised."""
    shape = sizes_of(sizes)
    if input.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    data = input._array()
    if shape == data.shape:
        return input
    memory, start, n = flat_memory(data), offset_of(data), math.prod(shape)
    if start + n > memory.size:
        grown = np.zeros(start + n, data.dtype)
        grown[: memory.size] = memory
        memory = grown
    input._data = memory[start : start + n].reshape(shape)
    input._cell()[0] += 1
    return input


def resize_as_(input: Tensor, other: Tensor) -> Tensor:
    return resize_(input, other.shape)


def _as_step(x: np.ndarray, to: np.ndarray) -> ViewStep:
    """The step from one view of some memory to another."""
    return ViewStep(rule("as_strided"), _step(x, to.shape, strides_of(to), offset_of(to)))


def _relaid(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The in-place form of a view: the tensor itself gets the layout."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_writable(self)
        old = self._array()
        new = function(self, *args, **kwargs)
        self._data = new._array()
        if self._view is not None:
            steps = self._view.path() + (_as_step(old, self._data),) if new._view is None else new._view.steps
            self._view.steps, self._view.layouts = steps, len(self._view.base._undo)
            self._view.version = -1  # to be derived anew, unless the op was recorded
            if new._edge is not None and new._view is not None:
                move_history(self, new._edge, True)
                self._view.version = self._cell()[0] + 1
        else:
            self._undo = (_as_step(self._data, old), *self._undo)
            if new._edge is not None:
                move_history(self, new._edge, True)
        self._cell()[0] += 1
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name[:-1]}`: the tensor itself gets the layout."
    return method


def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    return transpose(input, normal_dim(dim0, input._data.ndim), dim1)


_LAYOUTS: dict[str, Any] = {
    "as_strided": as_strided, "transpose": transpose, "swapdims": transpose, "swapaxes": transpose, "t": t,
    "squeeze": squeeze, "unsqueeze": unsqueeze,
}  # fmt: skip

METHODS: dict[str, Any] = {
    "set_": set_, "resize_": resize_, "resize_as_": resize_as_, "storage": storage, "untyped_storage": untyped_storage,
    "storage_offset": storage_offset, "swapdims": swapdims,
}  # fmt: skip
METHODS.update({f"{name}_": _relaid(f"{name}_", f) for name, f in _LAYOUTS.items()})
