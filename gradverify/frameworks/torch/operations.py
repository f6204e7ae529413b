"""The operations of a call, forward and backward, as something to compare: is it the same call but for its dtype?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ...core.errors import JUDGED
from .arrays import from_numpy
from .tracer import pulled

OWN = "own"
"""What stands for the dtype of the arguments."""

FEW = 16
"""Arrays of up to so many entries are compared by their values, where no operation of the call made them."""


def operations(
    function: Callable[..., Any],
    values: Mapping[str, np.ndarray],
    wrt: tuple[str, ...],
    cotangent: tuple[np.ndarray, ...],
) -> tuple[Any, ...] | None:
    """The ATen calls of a VJP in order: which, of which arrays, with which numbers, and what shapes they give.

    The arguments' own dtype is left out, so that calls in two dtypes compare equal where they do the same. None where that
    cannot be said: of arguments of several dtypes, of operators beside ATen's, and of what raises.
    """
    floats = {v.dtype for v in (*values.values(), *cotangent) if v.dtype.kind == "f"}
    if len(floats) != 1 or not floats <= {np.dtype(np.float32), np.dtype(np.float64)}:
        return None
    leaves = [from_numpy(v).requires_grad_(n in wrt) for n, v in values.items()]
    arrays = [*leaves, *map(from_numpy, cotangent)]
    listing = _Listing(arrays)
    try:
        with listing:
            pulled(function, list(values), wrt)(*arrays)
    except JUDGED:
        return None
    return None if listing.unlike else tuple(listing.found)


class _Listing(TorchDispatchMode):
    """Notes each ATen call. Arrays are numbered as they come, by their memory.

    `unlike` says that there was one of which two cannot be compared. To raise would be to change what the function does.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self, given: list[torch.Tensor]) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.unlike = False
        self.numbers: dict[int, int] = {}
        self.kept: list[Any] = []
        self.dtype = next(t.dtype for t in given if t.is_floating_point())
        for t in given:
            self.number(t)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not isinstance(func, torch._ops.OpOverload) or func.namespace != "aten":
            self.unlike = True
            return func(*args, **(kwargs or {}))
        said = self.said((args, kwargs or {}), True)
        out = func(*args, **(kwargs or {}))
        self.found.append((id(func), said, self.said(out, False)))
        return out

    def number(self, t: torch.Tensor) -> int:
        memory = t.untyped_storage()
        key = memory._cdata
        if key not in self.numbers:
            self.kept.append(memory)  # so that no address is used twice
            self.numbers[key] = len(self.numbers)
        return self.numbers[key]

    def said(self, x: Any, taken: bool) -> Any:
        """What is compared of an argument, or of a result."""
        if isinstance(x, torch.Tensor):
            return self.tensor(x, taken)
        if isinstance(x, tuple | list):
            return tuple([self.said(v, taken) for v in x])
        if isinstance(x, dict):
            return tuple([(k, self.said(v, taken)) for k, v in x.items()])
        if isinstance(x, torch.dtype):
            return OWN if x is self.dtype else x
        return type(x), x

    def tensor(self, t: torch.Tensor, taken: bool) -> Any:
        if t.layout is not torch.strided or t.is_complex():
            self.unlike = True
            return None
        known = t.untyped_storage()._cdata in self.numbers
        if taken and not known and t.numel() <= FEW and not t.requires_grad:
            # Made by nothing that was seen: a number, or what the function closes over.
            return tuple(t.shape), tuple(t.detach().reshape(-1).tolist())
        other = t.is_floating_point() and t.dtype is not self.dtype  # a cast, or another precision in between
        self.unlike |= other or (taken and not known)
        return self.number(t), None if t.is_floating_point() else t.dtype, t.storage_offset(), t.shape, t.stride()
