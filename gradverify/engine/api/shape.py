"""The same entries in another shape or order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..tensor import Tensor, wrap
from .call import Dim, normal_dim, run, run_as, sizes_of
from .conversion import clone

__all__ = [
    "broadcast_tensors", "broadcast_to", "diag", "diagonal", "flatten", "flip", "meshgrid", "movedim", "permute",
    "repeat_interleave", "reshape", "roll", "squeeze", "t", "tile", "transpose", "tril", "triu", "unflatten",
    "unsqueeze",
]  # fmt: skip


def reshape(input: Tensor, *shape: Any) -> Tensor:
    sizes = sizes_of(shape)
    name = "ViewBackward0" if input._array().flags.c_contiguous else "UnsafeViewBackward0"
    return _reshape_as_node(name, input, sizes)


def _reshape_as_node(name: str, input: Tensor, sizes: tuple[int, ...]) -> Tensor:
    size = input._data.size
    known = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if (known != size) if -1 not in sizes else (known == 0 or size % known):
        raise RuntimeError(f"shape '{list(sizes)}' is invalid for input of size {size}")
    if -1 in sizes:
        sizes = tuple(size // known if n == -1 else n for n in sizes)
    return run_as(name, "reshape", input, shape=sizes)


def view(input: Tensor, *size: Any) -> Tensor:
    if len(size) == 1 and isinstance(size[0], dtypes.dtype):
        return wrap(input._array().view(size[0].numpy))
    sizes = sizes_of(size)
    out = _reshape_as_node("ViewBackward0", input, sizes)
    if out._view is None and input._data.size and not np.may_share_memory(out._data, input._array()):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return out


def view_as(input: Tensor, other: Tensor) -> Tensor:
    return view(input, other.shape)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    return reshape(input, other.shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    if not input._data.ndim:
        return reshape(input, 1)
    a, b = normal_dim(start_dim, input._data.ndim), normal_dim(end_dim, input._data.ndim)
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if a == b:
        return input
    shape = input._data.shape
    return reshape(input, (*shape[:a], math.prod(shape[a : b + 1]), *shape[b + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    at = normal_dim(dim, input._data.ndim)
    shape = input._data.shape
    known = math.prod(n for n in sizes if n != -1)
    full = tuple(shape[at] // known if n == -1 else n for n in sizes)
    return view(input, (*shape[:at], *full, *shape[at + 1 :]))


def permute(input: Tensor, *dims: Any) -> Tensor:
    order = sizes_of(dims)
    if len(order) != input._data.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {input._data.ndim} is not equal to len(dims) = {len(order)}"
        )
    order = tuple(normal_dim(d, input._data.ndim) for d in order)
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return run("permute_dims", input, axes=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    n = input._data.ndim
    order = list(range(n))
    a, b = normal_dim(dim0, n), normal_dim(dim1, n)
    if n:
        order[a], order[b] = order[b], order[a]
    return run_as("TransposeBackward0", "permute_dims", input, axes=tuple(order))


def t(input: Tensor) -> Tensor:
    if input._data.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input._data.ndim}D")
    return run_as("TBackward0", "permute_dims", input, axes=tuple(reversed(range(input._data.ndim))))


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    n = input._data.ndim
    a, b = (([normal_dim(d, n) for d in ([x] if isinstance(x, int) else x)]) for x in (source, destination))
    rest = [d for d in range(n) if d not in a]
    for to, d in sorted(zip(b, a)):
        rest.insert(to, d)
    return permute(input, tuple(rest))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    return run("expand_dims", input, axis=normal_dim(dim, input._data.ndim + 1))


def squeeze(input: Tensor, dim: Dim = None) -> Tensor:
    shape = input._data.shape
    if dim is None:
        return run_as("SqueezeBackward0", "squeeze", input)
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    # PyTorch leaves a dim of another size alone.
    axes = tuple(d for d in (normal_dim(d, input._data.ndim) for d in dims) if shape and shape[d] == 1)
    return run_as("SqueezeBackward1" if isinstance(dim, int) else "SqueezeBackward2", "squeeze", input, axis=axes)


def expand(input: Tensor, *size: Any) -> Tensor:
    want = sizes_of(size)
    have = input._data.shape
    lead = len(want) - len(have)
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.{input.dtype.tensor_type}{{{list(have)}}}, size={list(want)}): the number of sizes provided "
            f"({len(want)}) must be greater or equal to the number of dimensions in the tensor ({len(have)})"
        )
    full = tuple(have[k - lead] if n == -1 else n for k, n in enumerate(want))
    for k, n in enumerate(full):
        if k >= lead and have[k - lead] not in (1, n):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have[k - lead]}) at non-singleton "
                f"dimension {k}.  Target sizes: {list(want)}.  Tensor sizes: {list(have)}"
            )
    if full == have:  # NumPy's broadcast views cannot be written to; this one can
        return run_as("ExpandBackward0", "reshape", input, shape=full)
    return run("broadcast_to", input, shape=full)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    return expand(input, other.shape)


def broadcast_to(input: Tensor, *size: Any) -> Tensor:
    return expand(input, *size)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    shape = np.broadcast_shapes(*(x._data.shape for x in tensors))
    return tuple(x if x._data.shape == shape else expand(x, shape) for x in tensors)


def flip(input: Tensor, *dims: Any) -> Tensor:
    return run("flip", input, axis=sizes_of(dims))


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    if isinstance(shifts, list | tuple):
        for s, d in zip(shifts, dims):
            input = run("roll", input, shift=s, axis=d)
        return input
    return run("roll", input, shift=shifts, axis=dims[0] if isinstance(dims, list | tuple) else dims)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    return run("tril", input, k=diagonal)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    return run("triu", input, k=diagonal)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    n = input._data.ndim
    a, b = normal_dim(dim1, n), normal_dim(dim2, n)
    order = (*(d for d in range(n) if d not in (a, b)), a, b)
    x = input if order == tuple(range(n)) else permute(input, order)
    if offset:
        rows, columns = (
            ((-offset, None, None), (None, None, None)) if offset < 0 else ((None,) * 3, (offset, None, None))
        )
        x = run("getitem", x, index=("...", rows, columns))
    return run("diagonal", x)


_diagonal = diagonal  # `diag` has a parameter of that name


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrix with this diagonal, or the diagonal of a matrix (a copy)."""
    if input._data.ndim == 1:
        out = run("diag_embed", input)
        k = diagonal
        return run("pad", out, pads=((0, k), (k, 0)) if k > 0 else ((-k, 0), (0, -k))) if k else out
    if input._data.ndim == 2:
        if diagonal:
            return clone(_diagonal(input, diagonal))
        out = run_as("DiagonalBackward0_copy", "diagonal", input)  # PyTorch's name for the op that copies
        out._view, out._version_cell, out._data = None, None, np.array(out._data)
        return out
    raise RuntimeError("diag: Supports 1D or 2D tensors")


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    return run("tile", input, repetitions=sizes_of(repeats))


def tile(input: Tensor, *dims: Any) -> Tensor:
    return run("tile", input, repetitions=sizes_of(dims))


def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    x = flatten(input) if dim is None else input
    return run("repeat", x, repeats=int(repeats), axis=0 if dim is None else normal_dim(dim, x._data.ndim))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = tuple(tensors[0])
    n = len(tensors)
    shape = tuple(x._data.size for x in tensors)
    grids = []
    for k, x in enumerate(tensors):
        grids.append(expand(reshape(x, tuple(-1 if j == k else 1 for j in range(n))), shape))
    return tuple(transpose(g, 0, 1) for g in grids) if indexing == "xy" else tuple(grids)
