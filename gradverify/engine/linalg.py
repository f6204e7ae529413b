"""`torch.linalg`."""

from __future__ import annotations

from typing import Any

from .api.call import run
from .api.linalg import cholesky, det, matrix_power, solve, solve_triangular
from .api.linalg import inverse as inv
from .api.reduction import norm as _norm
from .api.reduction import vector_norm
from .tensor import Tensor

__all__ = [
    "cholesky",
    "cross",
    "det",
    "inv",
    "matrix_power",
    "norm",
    "solve",
    "solve_triangular",
    "vecdot",
    "vector_norm",
]


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The vector norm; matrix norms other than Frobenius' are not here."""
    return _norm(A, 2.0 if ord is None else ord, dim, keepdim, dtype)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    return run("cross", input, other, axis=dim)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    return run("vecdot", x, y, axis=dim)
