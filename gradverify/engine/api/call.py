"""How a function of PyTorch runs an op of the table: its parameters, dims and sizes put into the table's terms."""

from __future__ import annotations

import builtins
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..dispatch import apply, cast
from ..rules import rule
from ..tensor import Tensor
from ..wirtinger import refusal

Dim = int | Sequence[int] | None

NUMPYS_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def with_other_keywords(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with keywords that PyTorch's take: `axis` for `dim`, `keepdims` for `keepdim`, `dims=` for `*dims`."""
    known = inspect.signature(function).parameters
    renamed = {numpys: own for numpys, own in NUMPYS_NAMES.items() if own in known and numpys not in known}
    starred = next((name for name, p in known.items() if p.kind is p.VAR_POSITIONAL), None)
    if not renamed and starred is None:
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {renamed.get(name, name): value for name, value in kwargs.items()}
            if starred in kwargs:
                args = (*args, kwargs.pop(starred))
        return function(*args, **kwargs)

    return call


def run(op: str, *args: Any, **params: Any) -> Tensor:
    """Run an op of the table on tensors, its parameters given by keyword."""
    r = rule(op)
    return apply(r, args, r.params | params if r.params else params)


def run_as(node_name: str, op: str, *args: Any, **params: Any) -> Tensor:
    """`run`, for a function whose backward node has another name in PyTorch."""
    r = rule(op, node_name)
    return apply(r, args, r.params | params if r.params else params)


def axis_of(dim: Dim) -> Any:
    """The table's axis: an int, a tuple or None."""
    return tuple(dim) if isinstance(dim, list | tuple) else dim


def axes_or_all(x: Tensor, dim: Dim) -> Any:
    """The axis of `dim`; None (all) also for dim=(), as in PyTorch, and for the one dim, 0 or -1, of a 0-d tensor.

    Raises IndexError for another dim of that.
    """
    axes = None if isinstance(dim, list | tuple) and not dim else axis_of(dim)
    if axes is None or x._data.ndim:
        return axes
    for d in axes if isinstance(axes, tuple) else (axes,):
        normal_dim(d, 0)
    return None


def normal_dim(dim: int, ndim: int) -> int:
    """`dim` counted from the front. Raises IndexError as PyTorch does."""
    n = builtins.max(ndim, 1)
    if not isinstance(dim, int):
        raise TypeError(f"dim must be an int, not {type(dim).__name__}")
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n


def sizes_of(sizes: Any) -> tuple[int, ...]:
    """The sizes in `f(2, 3)`, `f((2, 3))` or `f(torch.Size([2, 3]))`."""
    if len(sizes) == 1 and isinstance(sizes[0], list | tuple):
        sizes = sizes[0]
    return tuple(int(n) for n in sizes)


def to_dtype(x: Tensor, dtype: Any) -> Tensor:
    """`x` in another dtype; as it is where that is None."""
    return x if dtype is None or x._data.dtype == dtype.numpy else cast(x, dtype.numpy)


def raw_of(x: Any) -> Any:
    """The array of a tensor; anything else as it is."""
    return x._data if isinstance(x, Tensor) else x


def require_order(name: str, *tensors: Any) -> None:
    """Raise PyTorch's error for complex tensors, which have no order. NumPy would order them."""
    for x in tensors:
        if isinstance(x, Tensor) and x._data.dtype.kind == "c":
            raise refusal(name, x._data.dtype)
