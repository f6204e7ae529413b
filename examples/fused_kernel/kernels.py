"""A fused op with a hand-written backward, right and wrong: what `pytest --gradverify examples/fused_kernel` judges."""

from __future__ import annotations

from typing import Any

import torch


class Fused(torch.autograd.Function):
    """softplus(x) * y in one pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, y)
        return torch.nn.functional.softplus(x, threshold=100.0) * y

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = ctx.saved_tensors
        return g * y * torch.sigmoid(x), g * torch.nn.functional.softplus(x, threshold=100.0)


class Hasty(Fused):
    """The same forward; its backward keeps the derivative in half precision, as one does to save memory."""

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = ctx.saved_tensors
        slope = torch.sigmoid(x).half().to(x.dtype)
        return g * y * slope, g * torch.nn.functional.softplus(x, threshold=100.0)


def fused(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return Fused.apply(x, y)  # type: ignore[no-any-return, no-untyped-call]


def hasty(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return Hasty.apply(x, y)  # type: ignore[no-any-return, no-untyped-call]
