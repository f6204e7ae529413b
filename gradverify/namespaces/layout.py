"""How arrays lie in memory, and arrays that lie like others: expanded axes, gaps, any order of axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_SPREAD, SPARE = 4, 4096
"""A view keeps its layout in a copy where that takes at most so many times its own bytes, and so many more: a page."""


def core(x: np.ndarray) -> np.ndarray:
    """The writeable view: of an expanded axis (stride 0), whose entries share memory, one entry."""
    return x[tuple(slice(0, 1) if s == 0 and n > 1 else slice(None) for s, n in zip(x.strides, x.shape))]


def copy_layout(x: np.ndarray) -> np.ndarray:
    """A copy with the same strides, negative ones included; an expanded axis stays expanded (and not writeable).
    Contiguous instead where `x` is a slice of something much larger, or a field of a record."""
    own = core(x)
    if not own.size or not own.ndim:
        return np.array(x)
    low, high = np.lib.array_utils.byte_bounds(own)
    unit = own.itemsize
    if high - low > MOST_SPREAD * own.nbytes + SPARE or any(s % unit for s in (high - low, *own.strides)):
        return np.array(x)
    memory = np.zeros((high - low) // unit, dtype=own.dtype)
    start = own.__array_interface__["data"][0] - low
    new: np.ndarray = np.ndarray(own.shape, own.dtype, memory, start, own.strides)
    new[...] = own
    return new if own.shape == x.shape else np.broadcast_to(new, x.shape)


def laid_out(value: np.ndarray, strides: Sequence[int]) -> np.ndarray:
    """A copy of the values with these strides, in entries; unchanged where a stride is negative.

    Entries that share memory must be equal.
    """
    if not value.size or min(strides, default=0) < 0:
        return value
    memory = np.zeros(1 + sum((n - 1) * s for n, s in zip(value.shape, strides)), dtype=value.dtype)
    view = np.lib.stride_tricks.as_strided(memory, value.shape, [s * value.itemsize for s in strides])
    view[...] = value
    return view


def strides_of(x: np.ndarray) -> tuple[int, ...] | None:
    """The strides in entries; None where it is contiguous, runs backwards, or is a slice of something much larger."""
    if x.flags.c_contiguous or not x.size or min(x.strides) < 0 or any(s % x.itemsize for s in x.strides):
        return None
    strides = tuple(s // x.itemsize for s in x.strides)
    span = 1 + sum((n - 1) * s for n, s in zip(x.shape, strides))
    return strides if span <= MOST_SPREAD * x.size + SPARE // x.itemsize else None


def strided_indices(shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> np.ndarray:
    """The index in memory of each entry, as an int64 array of that shape; strides and offset are in entries."""
    where = np.full(shape, offset, dtype=np.int64)
    for axis, (n, s) in enumerate(zip(shape, strides)):
        where += (np.arange(n) * s).reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return where
