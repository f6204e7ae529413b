"""Tensors put together and taken apart along a dim."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from .. import dtypes
from ..dispatch import cast, under_one_node
from ..tensor import Creation, Tensor
from .call import normal_dim, run, run_as
from .shape import reshape

__all__ = [
    "cat", "chunk", "hstack", "narrow", "select", "split", "stack", "unbind", "vstack",
]  # fmt: skip


def _nonempty(tensors: Any) -> list[Tensor]:
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("expected a non-empty list of Tensors")
    return tensors


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    parts = _nonempty(tensors)
    if builtins.any(x._data.ndim == 0 for x in parts):
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    kept = [x for x in parts if x._data.shape != (0,)] or parts[:1]  # PyTorch skips the legacy empty tensor
    to = dtypes.result_type([x._data for x in kept])
    kept = [x if x._data.dtype == to else cast(x, to) for x in kept]
    return run("concat", *kept, axis=normal_dim(dim, kept[0]._data.ndim))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    parts = _nonempty(tensors)
    for k, x in enumerate(parts):
        if x._data.shape != parts[0]._data.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(parts[0].shape)} at entry 0 and "
                f"{list(x.shape)} at entry {k}"
            )
    to = dtypes.result_type([x._data for x in parts])
    parts = [x if x._data.dtype == to else cast(x, to) for x in parts]
    return run("stack", *parts, axis=normal_dim(dim, parts[0]._data.ndim + 1))


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    parts = [x if x._data.ndim else reshape(x, 1) for x in tensors]
    return cat(parts, 0 if parts[0]._data.ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    return cat([x if x._data.ndim > 1 else reshape(x, 1, -1) for x in tensors], 0)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    at = normal_dim(dim, input._data.ndim)
    lead = ((None, None, None),) * at
    if not input._data.ndim:
        _ = input.grad_fn  # a view that must not be used any more says so first
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    node = "UnbindBackward0"
    parts = [run_as(node, "getitem", input, index=(*lead, k)) for k in range(input._data.shape[at])]
    return under_one_node(node, _forbid_writes(parts))


def _forbid_writes(parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Views that one call made together: none of them may be written to while recording."""
    for k, part in enumerate(parts):
        if part._view is not None and part._view.forbidden is None:
            part._view.forbidden, part._view.output = Creation.MULTIPLE_VIEWS, k
    return tuple(parts)


def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    if not input._data.ndim:
        _ = input.grad_fn
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    at = normal_dim(dim, input._data.ndim)
    n = input._data.shape[at]
    sizes = split_size_or_sections
    node = "SplitBackward0" if isinstance(sizes, int) else "SplitWithSizesBackward0"
    if isinstance(sizes, int):
        sizes = [builtins.min(sizes, n - k) for k in range(0, n, sizes)] or [0]
    if builtins.sum(sizes) != n:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {at}), but got "
            f"split_sizes={list(sizes)}"
        )
    lead, parts, start = ((None, None, None),) * at, [], 0
    for size in sizes:
        parts.append(run_as(node, "getitem", input, index=(*lead, (start, start + size, 1))))
        start += size
    return under_one_node(node, _forbid_writes(parts))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    if not input._data.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    n = input._data.shape[normal_dim(dim, input._data.ndim)]
    if not n:  # as many as asked for, of nothing each
        return split(input, [0] * chunks, dim)
    return split(input, builtins.max(-(-n // chunks), 1), dim)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    at = normal_dim(dim, input._data.ndim)
    lead = ((None, None, None),) * at
    return run_as("SliceBackward0", "getitem", input, index=(*lead, (start, start + length, 1)))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    at = normal_dim(dim, input._data.ndim)
    return run_as("SelectBackward0", "getitem", input, index=(*((None, None, None),) * at, index))
