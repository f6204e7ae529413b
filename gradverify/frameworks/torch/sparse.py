"""Sparse tensors of PyTorch: a function of them as the function of their stored values that it is.

The judged function builds the sparse tensors anew from its values and gives dense results; what it is held against is the
same function of the dense tensors, if it takes those (else differences of it). So the gradient is that with respect to the
entries that are stored, which `gradcheck(masked=True)` compares and which both readings of an unstored zero have in common.
Stored duplicates (uncoalesced) add up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import Unsupported
from ..base import Call


@dataclass(frozen=True)
class _Pattern:
    """Where the values of one sparse tensor are: its layout, its indices, its size, the shape of its values."""

    layout: Any
    indices: tuple[Any, ...]
    size: Any
    stored: Any
    coalesced: bool

    def fit(self, values: Any) -> None:
        """PyTorch takes any number of values and reads beyond their end."""
        if values.shape != self.stored:
            raise ValueError(f"values of shape {list(values.shape)} for stored ones of {list(self.stored)}")

    def sparse(self, values: Any) -> Any:
        import torch

        self.fit(values)
        if self.layout is torch.sparse_coo:
            return torch.sparse_coo_tensor(self.indices[0], values, self.size, is_coalesced=self.coalesced)
        compressed, plain = self.indices
        return torch.sparse_compressed_tensor(compressed, plain, values, self.size, layout=self.layout)

    def dense(self, values: Any) -> Any:
        import torch

        self.fit(values)
        rows, columns = self.coordinates()
        where = (rows, columns) if columns is not None else tuple(rows)
        return torch.zeros(self.size, dtype=values.dtype, device=values.device).index_put(
            where, values, accumulate=True
        )

    def coordinates(self) -> tuple[Any, Any]:
        """The indices of each stored entry: all of them (COO), or rows and columns, of the shape of the values."""
        import torch

        if self.layout is torch.sparse_coo:
            return self.indices[0], None
        compressed, plain = self.indices
        along = torch.repeat_interleave(torch.arange(len(compressed) - 1, device=plain.device), compressed.diff())
        rows, columns = (along, plain) if self.layout in (torch.sparse_csr, torch.sparse_bsr) else (plain, along)
        if len(self.stored) == 1:
            return rows, columns
        _, high, wide = self.stored  # blocks
        within = lambda n: torch.arange(n, device=plain.device)
        rows = rows[:, None, None] * high + within(high)[:, None]
        columns = columns[:, None, None] * wide + within(wide)
        return torch.broadcast_to(rows, self.stored), torch.broadcast_to(columns, self.stored)


def is_sparse(x: Any) -> bool:
    """Is it a tensor of PyTorch in another layout than strided?"""
    import torch

    return isinstance(x, torch.Tensor) and x.layout is not torch.strided


def over_entries(call: Call) -> tuple[Call, Callable[..., Any]]:
    """Return the call over dense tensors, and its definition: the same function, which takes dense tensors as they are.

    The judged function builds each sparse tensor from the entries that are stored at the point, and the gradient that it
    gives is that of every entry: 0 where its backward pass stores nothing.
    """
    from torch.utils import _pytree

    leaves, structure = _pytree.tree_flatten((call.args, dict(call.kwargs)))
    leaves = [_coalesced(x) if is_sparse(x) else x for x in leaves]
    patterns = [_pattern(x) if is_sparse(x) else None for x in leaves]
    dense = [x.detach().to_dense().requires_grad_(x.requires_grad) if p else x for x, p in zip(leaves, patterns)]
    args, kwargs = _pytree.tree_unflatten(dense, structure)

    @functools.wraps(call.fn)
    def picked(*args: Any, **kwargs: Any) -> Any:
        given = _pytree.tree_leaves((args, kwargs))
        given = [x if p is None else _picked()(x, p) for x, p in zip(given, patterns)]
        args, kwargs = _pytree.tree_unflatten(given, structure)
        return call.fn(*args, **kwargs)

    return Call(picked, args, kwargs), call.fn


def _coalesced(x: Any) -> Any:
    import torch

    return x.detach().coalesce().requires_grad_(x.requires_grad) if x.layout is torch.sparse_coo else x


@functools.cache
def _picked() -> Callable[..., Any]:
    """The sparse tensor of those entries of a dense one that a pattern stores; its cotangent is taken whole."""
    import torch

    class Picked(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, dense: Any, pattern: _Pattern) -> Any:
            ctx.set_materialize_grads(False)  # PyTorch makes no zeros in blocks
            rows, columns = pattern.coordinates()
            return pattern.sparse(dense[(rows, columns) if columns is not None else tuple(rows)])

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g.to_dense() if is_sparse(g) else g, None

    return Picked.apply


def over_mkldnn(call: Call) -> Call | None:
    """The call with ordinary tensors in place of those of MKLDNN; None where there are none."""
    import torch
    from torch.utils import _pytree

    leaves, structure = _pytree.tree_flatten((call.args, dict(call.kwargs)))
    of_mkldnn = [isinstance(x, torch.Tensor) and x.layout is torch._mkldnn for x in leaves]  # type: ignore[attr-defined]
    if not any(of_mkldnn):
        return None
    dense = [x.detach().to_dense().requires_grad_(x.requires_grad) if m else x for x, m in zip(leaves, of_mkldnn)]
    args, kwargs = _pytree.tree_unflatten(dense, structure)

    @functools.wraps(call.fn)
    def converted(*args: Any, **kwargs: Any) -> Any:
        given = _pytree.tree_leaves((args, kwargs))
        args, kwargs = _pytree.tree_unflatten([x.to_mkldnn() if m else x for x, m in zip(given, of_mkldnn)], structure)
        return call.fn(*args, **kwargs)

    return Call(converted, args, kwargs)


def over_values(call: Call) -> tuple[Call, Callable[..., Any]] | None:
    """The call with the stored values in place of its sparse tensors, and the same function of the dense ones; None where
    no argument is sparse. Raises Unsupported for batches of compressed tensors, and for entries that are arrays."""
    from torch.utils import _pytree

    patterns, structure = _patterns(call.args, call.kwargs)
    if not any(patterns):
        return None
    leaves = _pytree.tree_leaves((call.args, dict(call.kwargs)))
    values = [x if p is None else _values(x) for x, p in zip(leaves, patterns)]
    args, kwargs = _pytree.tree_unflatten(values, structure)
    sparse = Call(_over(call.fn, patterns, structure, _Pattern.sparse), args, kwargs)
    return sparse, _over(call.fn, patterns, structure, _Pattern.dense)


def over_dense(fn: Callable[..., Any], like: Call) -> Callable[..., Any]:
    """Return `fn` as a function of dense tensors: the stored values of the sparse arguments of `like`."""
    return _over(fn, *_patterns(like.args, like.kwargs), _Pattern.dense)


def _patterns(args: Any, kwargs: Any) -> tuple[list[_Pattern | None], Any]:
    from torch.utils import _pytree

    leaves, structure = _pytree.tree_flatten((args, dict(kwargs)))
    return [_pattern(x) if is_sparse(x) else None for x in leaves], structure


def _over(
    fn: Callable[..., Any], patterns: list[_Pattern | None], structure: Any, build: Callable[[_Pattern, Any], Any]
) -> Callable[..., Any]:
    from torch.utils import _pytree

    @functools.wraps(fn)
    def over(*args: Any, **kwargs: Any) -> Any:
        found: Sequence[Any] = _pytree.tree_leaves((args, kwargs))
        built = [x if p is None else build(p, x) for x, p in zip(found, patterns)]
        args, kwargs = _pytree.tree_unflatten(built, structure)
        return _densified(fn(*args, **kwargs))

    return over


def of_dense_result(call: Call) -> Call | None:
    """The call with a dense result; None where it is dense as it is, or the function raises."""
    from torch.utils import _pytree

    try:
        result = call.fn(*call.args, **call.kwargs)
    except Exception:
        return None
    if not any(map(is_sparse, _pytree.tree_leaves(result))):
        return None

    @functools.wraps(call.fn)
    def dense(*args: Any, **kwargs: Any) -> Any:
        return _densified(call.fn(*args, **kwargs))

    return call._replace(fn=dense)


def _densified(result: Any) -> Any:
    from torch.utils import _pytree

    return _pytree.tree_map(lambda x: x.to_dense() if is_sparse(x) else x, result)


def _values(x: Any) -> Any:
    values = x.detach()._values() if x.is_sparse else x.detach().values()
    return values.clone().requires_grad_(x.requires_grad)


def _pattern(x: Any) -> _Pattern:
    import torch

    x = x.detach()
    if x.layout is torch.sparse_coo:
        return _Pattern(x.layout, (x._indices(),), x.shape, x._values().shape, x.is_coalesced())
    by_rows = x.layout in (torch.sparse_csr, torch.sparse_bsr)
    compressed = by_rows or x.layout in (torch.sparse_csc, torch.sparse_bsc)
    in_blocks = x.layout in (torch.sparse_bsr, torch.sparse_bsc)
    if not compressed or x.ndim > 2 or x.values().ndim != (3 if in_blocks else 1):
        what = f"a tensor of layout {x.layout} and shape {list(x.shape)}"
        raise Unsupported(f"{what} (COO is judged, and matrices of CSR, CSC, BSR and BSC)")
    both = (x.crow_indices(), x.col_indices()) if by_rows else (x.ccol_indices(), x.row_indices())
    return _Pattern(x.layout, both, x.shape, x.values().shape, True)
