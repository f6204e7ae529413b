"""A function whose backward pass was written by hand, beside it and not in an `autograd.Function`: C, Numba, raw kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ...trace.value import HandWrittenFunction


def differentiable(function: HandWrittenFunction, names: tuple[str, ...]) -> Callable[..., Any]:
    """The function as one that autograd differentiates. What it returns may be any array that DLPack takes."""

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arrays: torch.Tensor) -> Any:
            ctx.save_for_backward(*arrays)
            outputs = tuple(_tensor(o, arrays[0]) for o in function.pull(*(a.detach() for a in arrays))[0])
            return outputs if len(outputs) > 1 else outputs[0]

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
            arrays = ctx.saved_tensors
            _, back = function.pull(*(a.detach() for a in arrays))
            found = back(cotangents)
            return tuple(None if found[n] is None else _tensor(found[n], a) for n, a in zip(names, arrays))

    def call(*arrays: torch.Tensor) -> Any:
        return ByHand.apply(*arrays)

    return call


def _tensor(x: Any, like: torch.Tensor) -> torch.Tensor:
    if isinstance(x, torch.Tensor):
        return x
    if hasattr(x, "__dlpack__"):
        return torch.from_dlpack(x).to(like.device)
    return torch.as_tensor(x, dtype=like.dtype, device=like.device)
