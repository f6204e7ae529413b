"""Primitives that NumPy computes to the last bit, so that no value of a trace is compiled for: each costs XLA some 50 ms.

They move entries, compare them or take one of them, and round nothing. Subnormal numbers, which XLA may take for zeros, are
left to it, and so is whatever is not in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def _broadcast(x: np.ndarray, *, shape: tuple[int, ...], broadcast_dimensions: Sequence[int], **_: Any) -> np.ndarray:
    sizes = [1] * len(shape)
    for axis, n in zip(broadcast_dimensions, x.shape):
        sizes[axis] = n
    return np.array(np.broadcast_to(x.reshape(sizes), shape))


def _select(which: np.ndarray, *cases: np.ndarray, **_: Any) -> np.ndarray | None:
    if which.dtype != bool or len(cases) != 2:
        return None
    return np.where(which, cases[1], cases[0])


def _convert(x: np.ndarray, *, new_dtype: Any, **_: Any) -> np.ndarray | None:
    new = np.dtype(new_dtype)
    exact = np.can_cast(x.dtype, new, "safe") and x.dtype.kind in "biuf" and new.kind in "biuf"
    return x.astype(new) if exact else None


def _along(reduce: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def reduced(x: np.ndarray, *, axes: Sequence[int], **_: Any) -> np.ndarray:
        return np.asarray(reduce(x, axis=tuple(axes)))

    return reduced


def _plainly(f: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda *xs, **_: np.asarray(f(*xs))


TABLE: Mapping[str, Callable[..., np.ndarray | None]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": lambda x, *, new_sizes, dimensions=None, **_: x.reshape(new_sizes) if dimensions is None else None,
    "squeeze": lambda x, *, dimensions, **_: np.squeeze(x, tuple(dimensions)),
    "transpose": lambda x, *, permutation, **_: np.array(np.transpose(x, permutation)),
    "select_n": _select,
    "convert_element_type": _convert,
    "stop_gradient": lambda x, **_: x,
    "max": _plainly(np.maximum),
    "min": _plainly(np.minimum),
    "reduce_max": _along(np.max),
    "reduce_min": _along(np.min),
    "eq": _plainly(np.equal),
    "ne": _plainly(np.not_equal),
    "lt": _plainly(np.less),
    "le": _plainly(np.less_equal),
    "gt": _plainly(np.greater),
    "ge": _plainly(np.greater_equal),
    "is_finite": _plainly(np.isfinite),
    "not": lambda x, **_: ~x,
    "and": _plainly(np.bitwise_and),
    "or": _plainly(np.bitwise_or),
}


def by_numpy(name: str, params: Mapping[str, Any], operands: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """The result of a primitive with one; None where it is left to JAX."""
    compute = TABLE.get(name)
    if compute is None or 0 in shape:
        return None
    arrays = []
    for x in operands:
        if not hasattr(x, "dtype") or getattr(x.dtype, "kind", "O") not in "biuf":
            return None
        plain = np.asarray(x)
        if plain.size == 0 or (plain.dtype.kind == "f" and _has_subnormals(plain)):
            return None
        arrays.append(plain)
    found = compute(*arrays, **params)
    return found if found is not None and found.shape == shape else None


def _has_subnormals(x: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        size = np.abs(x)
        return bool(((size > 0) & (size < np.finfo(x.dtype).tiny)).any())
