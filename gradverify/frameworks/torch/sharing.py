"""One tensor in the place of two."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any


def shared(
    fn: Callable[..., Any], args: tuple[Any, ...], fits: Callable[[Any, Any], bool]
) -> Callable[..., Any] | None:
    """The function with one tensor for two of `args` of one shape and dtype whose values fit; None where none do."""
    import torch
    from torch.utils import _pytree

    leaves, structure = _pytree.tree_flatten(args)
    floats = [k for k, t in enumerate(leaves) if isinstance(t, torch.Tensor) and t.is_floating_point() and t.numel()]

    def alike(a: Any, b: Any) -> bool:
        # What is not differentiated (a target) has no gradient to add to that of the other.
        return a.shape == b.shape and a.dtype == b.dtype and a.requires_grad == b.requires_grad and fits(a, b)

    pair = next(((i, j) for i in floats for j in floats if i != j and alike(leaves[i], leaves[j])), None)
    if pair is None:
        return None

    @wraps(fn)
    def over(*args: Any, **kwargs: Any) -> Any:
        found = _pytree.tree_leaves(args)
        found[pair[1]] = found[pair[0]]
        return fn(*_pytree.tree_unflatten(found, structure), **kwargs)

    return over
