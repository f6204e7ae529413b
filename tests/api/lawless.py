"""Functions whose gradients are right where they are asked once, and break a law; a script can import them."""

from __future__ import annotations

from typing import Any

import torch


class Lawless(torch.autograd.Function):
    """A sine; its rules are below."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sin()


class Clipped(Lawless):
    """Its cotangent is cut where it is large."""

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g.clamp(-1e3, 1e3) * ctx.saved_tensors[0].cos()


class Flushed(Lawless):
    """Its cotangent is 0 where it is small."""

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return torch.where(g.abs() < 1e-6, torch.zeros_like(g), g) * ctx.saved_tensors[0].cos()


class Tired(Lawless):
    """Every backward pass but the first loses a little."""

    runs = 0

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        Tired.runs += 1
        return g * ctx.saved_tensors[0].cos() * (1.0 if Tired.runs % 2 else 0.99)
