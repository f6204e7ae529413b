"""Functions with wrong backward passes that a script can import."""

from __future__ import annotations

import torch


class Rule(torch.autograd.Function):
    """Something of x, with g * factor for a gradient."""

    @staticmethod
    def forward(ctx, x, factor=2.0):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return ctx.factor * g * x.cos(), None


class Product(torch.autograd.Function):
    """A product; its rules are below."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y


class Half(Product):
    """A product whose second gradient is computed in half precision."""

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * y, (g.half() * x.half()).to(x.dtype)


class Missing(Product):
    """A product without the gradient of its first factor."""

    @staticmethod
    def backward(ctx, g):
        x, _ = ctx.saved_tensors
        return None, g * x


class Infinite(torch.autograd.Function):
    """A square root. Its gradient divides by x, which may be zero."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x + 1).sqrt()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g / x * x / (x + 1).sqrt() / 2


class Raises(torch.autograd.Function):
    """A backward pass that is not there."""

    @staticmethod
    def forward(ctx, x):
        return x.exp()

    @staticmethod
    def backward(ctx, g):
        raise RuntimeError("not today")


def straight_through(x):
    """A value that is detached where nobody says that it is meant."""
    return x.sin() + (x * x).detach()


def two_outputs(x, y):
    """Two outputs, the second one of a wrong rule."""
    return x * y, Rule.apply(x, 3.0)
