"""A call of PyTorch in another dtype."""

from __future__ import annotations

import copy
import functools
from typing import Any

from ...namespaces.dtypes import complex_name
from ..base import Call


def cast(call: Call, dtype: str) -> Call:
    """The call with its tensors, and a copy of its modules, in `dtype`."""
    import torch
    from torch.utils import _pytree

    def one(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
            return x
        new = getattr(torch, complex_name(dtype) if x.is_complex() else dtype)
        return x if x.dtype == new else x.detach().to(new).requires_grad_(x.requires_grad)

    def function(fn: Any) -> Any:
        if isinstance(fn, functools.partial):
            return functools.partial(function(fn.func), *_pytree.tree_map(one, fn.args), **tree(fn.keywords))
        if isinstance(fn, torch.nn.Module):
            return copy.deepcopy(fn).to(getattr(torch, dtype))
        owner = getattr(fn, "__self__", None)
        return getattr(function(owner), fn.__name__) if isinstance(owner, torch.nn.Module) else fn

    def tree(x: Any) -> Any:
        return _pytree.tree_map(one, x)

    return Call(function(call.fn), tree(call.args), tree(dict(call.kwargs)))
