"""Comparisons of whole tensors, and `any` and `all`."""

from __future__ import annotations

import numpy as np

from ..tensor import Tensor, wrap
from .call import Dim, axis_of, raw_of

__all__ = [
    "all", "allclose", "any", "equal", "isclose",
]  # fmt: skip


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    return wrap(np.isclose(input._data, raw_of(other), rtol, atol, equal_nan))


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    return bool(np.allclose(input._data, raw_of(other), rtol, atol, equal_nan))


def equal(input: Tensor, other: Tensor) -> bool:
    """Same shape and same values, as one bool (the elementwise comparison is `eq`)."""
    return input._data.shape == other._data.shape and bool((input._data == other._data).all())


def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return wrap(np.any(input._data, axis=axis_of(dim), keepdims=keepdim))


def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return wrap(np.all(input._data, axis=axis_of(dim), keepdims=keepdim))
