"""How a function of PyTorch runs an op of the table: its parameters, dims and sizes put into the table's terms."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from ..dispatch import apply, cast
from ..rules import rule
from ..tensor import Tensor
from ..wirtinger import refusal

Dim = int | Sequence[int] | None


def run(op: str, *args: Any, **params: Any) -> Tensor:
    """An op of the table on tensors; parameters by keyword, the op's defaults filled in."""
    r = rule(op)
    return apply(r, args, r.params | params if r.params else params)


def run_as(node_name: str, op: str, *args: Any, **params: Any) -> Tensor:
    """The same, where PyTorch calls the backward node something else here."""
    r = rule(op, node_name)
    return apply(r, args, r.params | params if r.params else params)


def axis_of(dim: Dim) -> Any:
    return tuple(dim) if isinstance(dim, list | tuple) else dim


def axes_or_all(dim: Dim) -> Any:
    """PyTorch takes dim=() as all."""
    return None if isinstance(dim, list | tuple) and not dim else axis_of(dim)


def normal_dim(dim: int, ndim: int) -> int:
    n = builtins.max(ndim, 1)
    if not isinstance(dim, int):
        raise TypeError(f"dim must be an int, not {type(dim).__name__}")
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n


def sizes_of(sizes: Any) -> tuple[int, ...]:
    """`f(2, 3)`, `f((2, 3))` and `f(torch.Size([2, 3]))` alike."""
    if len(sizes) == 1 and isinstance(sizes[0], list | tuple):
        sizes = sizes[0]
    return tuple(int(n) for n in sizes)


def to_dtype(x: Tensor, dtype: Any) -> Tensor:
    return x if dtype is None or x._data.dtype == dtype.numpy else cast(x, dtype.numpy)


def raw_of(x: Any) -> Any:
    return x._data if isinstance(x, Tensor) else x


def require_order(name: str, *tensors: Any) -> None:
    """Complex numbers have no order; NumPy would take one all the same."""
    for x in tensors:
        if isinstance(x, Tensor) and x._data.dtype.kind == "c":
            raise refusal(name, x._data.dtype)
