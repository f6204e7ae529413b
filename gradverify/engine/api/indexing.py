"""Reading by index: slices, arrays of indices, masks."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .call import normal_dim, run, run_as
from .elementwise import mul
from .shape import reshape

__all__ = [
    "gather", "index_add", "index_select", "masked_fill", "masked_select", "nonzero", "scatter_add",
    "take_along_dim", "where",
]  # fmt: skip


def entries_of(index: Any) -> tuple[Any, ...]:
    """The index per dim. A list that holds lists, tensors or slices is a tuple of indices, as in NumPy before 1.23."""
    if isinstance(index, tuple):
        return tuple(index)
    nested = isinstance(index, list) and len(index) < 32 and builtins.any(
        e is None or e is Ellipsis or isinstance(e, list | tuple | slice | Tensor | np.ndarray) for e in index
    )  # fmt: skip
    return tuple(index) if nested else (index,)


def to_basic_index(index: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The index as the op `getitem` takes it (ints, slices, None, ...); None if it holds arrays."""
    out: list[Any] = []
    for entry in index:
        if entry is Ellipsis:
            out.append("...")
        elif isinstance(entry, slice):
            if entry.step is not None and int(entry.step) <= 0:
                raise ValueError("step must be greater than zero")
            out.append(tuple(None if v is None else int(v) for v in (entry.start, entry.stop, entry.step)))
        elif entry is None:
            out.append(None)
        elif isinstance(entry, bool | np.bool_ | np.ndarray | Sequence) and not isinstance(entry, str):
            return None
        elif isinstance(entry, Tensor):
            if entry._data.ndim or entry._data.dtype.kind not in "iu":
                return None
            out.append(int(entry._data))
        elif hasattr(entry, "__index__"):
            out.append(entry.__index__())
        else:
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
                f"(got {type(entry).__name__})"
            )
    return tuple(out)


def to_native_index(index: tuple[Any, ...]) -> tuple[Any, ...]:
    def one(entry: Any) -> Any:
        if isinstance(entry, Tensor):
            if entry._data.dtype.kind == "f":
                raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
            return entry._array()
        return np.asarray(entry, None if len(entry) else np.int64) if isinstance(entry, Sequence) else entry

    return tuple(one(e) for e in index)


def _index_node(index: tuple[Any, ...]) -> str:
    """The node of a basic index. PyTorch takes it apart entry by entry; the last entry names the node."""
    for entry in reversed(index):
        if isinstance(entry, int):
            return "SelectBackward0"
        if entry is None:
            return "UnsqueezeBackward0"
        if isinstance(entry, tuple) and entry != (None, None, None):
            return "SliceBackward0"
    return "AliasBackward0" if "..." in index or not index else "SliceBackward0"


def getitem(input: Tensor, index: Any) -> Tensor:
    entries = entries_of(index)
    plain = to_basic_index(entries)
    try:
        if plain is not None:
            check_index(plain, input._data.shape)
            return run_as(_index_node(plain), "getitem", input, index=plain)
        return run_as("IndexBackward0", "index", input, at=to_native_index(entries))
    except IndexError:
        raise
    except RuntimeError as error:
        raise IndexError(str(error)) from None


def check_index(index: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    used = [e for e in index if e is not None and e != "..."]
    if len(used) > len(shape):
        if not shape:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a "
                "0-dim tensor to a number"
            )
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    dim = 0
    for k, e in enumerate(index):
        if e == "...":
            dim = len(shape) - builtins.sum(x is not None for x in index[k + 1 :])
        elif isinstance(e, int):
            if not -shape[dim] <= e < shape[dim]:
                raise IndexError(f"index {e} is out of bounds for dimension {dim} with size {shape[dim]}")
            dim += 1
        elif e is not None:
            dim += 1


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    if input is None:
        return nonzero(condition, as_tuple=True)
    return run("where", condition, input, other)


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    at = normal_dim(dim, input._data.ndim)
    n = input._data.shape[at] if input._data.ndim else 1
    if index._data.size and not 0 <= index._data.min() <= index._data.max() < n:
        raise IndexError("index out of range in self")
    return run("take", input, index, axis=at)


def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    at = normal_dim(dim, input._data.ndim)
    if not input._data.ndim * index._data.ndim and input._data.ndim + index._data.ndim <= 1:
        # PyTorch takes a 0-d tensor for one of a single entry here.
        row = gather(reshape(input, 1) if not input._data.ndim else input, 0, wrap(index._array().reshape(-1)))
        return reshape(row, index._data.shape)
    if input._data.ndim != index._data.ndim:
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    n = input._data.shape[at] if input._data.ndim else 1
    bad = index._data[(index._data < 0) | (index._data >= n)]
    if bad.size:
        raise RuntimeError(f"index {int(bad.flat[0])} is out of bounds for dimension {at} with size {n}")
    # PyTorch lets the index be smaller than the input on the other dims.
    if builtins.any(n < m for d, (n, m) in enumerate(zip(index._data.shape, input._data.shape)) if d != at):
        cut = tuple((None, None, None) if d == at else (0, n, None) for d, n in enumerate(index._data.shape))
        input = run("getitem", input, index=cut)
    return run("take_along_axis", input, index, axis=at)


def take_along_dim(input: Tensor, indices: Tensor, dim: int) -> Tensor:
    return run("take_along_axis", input, indices, axis=dim)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    if src._data.shape != index._data.shape:
        src = run("getitem", src, index=tuple((0, n, None) for n in index._data.shape))
    return run("scatter_add", input, index, src, axis=normal_dim(dim, input._data.ndim))


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    return run("index_add", input, index, source if alpha == 1 else mul(source, alpha), axis=dim)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    return run_as("MaskedFillBackward0", "where", mask, value, input)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    return run_as("MaskedSelectBackward0", "index", input, at=(mask._array(),))


def nonzero(input: Tensor, as_tuple: bool = False) -> Any:
    found = np.nonzero(input._array())
    return tuple(map(wrap, found)) if as_tuple else wrap(np.stack(found, -1) if found else np.zeros((1, 0), np.int64))
