"""Cumulative sums of rows by tl.cumsum, and from behind for the backward pass, after FlagGems'."""

import torch

import triton
import triton.language as tl


@triton.jit
def cumsum(x, y, n, REVERSE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + row * n + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(y + row * n + at, tl.cumsum(v, axis=0, reverse=REVERSE), mask=mask)


class Cumsum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        cumsum[(x.shape[0],)](x, y, x.shape[1], False, triton.next_power_of_2(x.shape[1]))
        return y

    @staticmethod
    def backward(ctx, g):
        g = g.contiguous()
        dx = torch.empty_like(g)
        cumsum[(g.shape[0],)](g, dx, g.shape[1], True, triton.next_power_of_2(g.shape[1]))
        return dx


def function(x):
    return Cumsum.apply(x * x)


def point(dtype, rand):
    return (rand(3, 6).to(dtype).requires_grad_(),)


MUTANTS = [
    ("sign", "backward sums from the front", "g.shape[1], True,", "g.shape[1], False,"),
    ("stride", "the cotangent's strides are not looked at", "g = g.contiguous()", "g = g"),
    ("tail", "backward leaves the last row out", "cumsum[(g.shape[0],)]", "cumsum[(g.shape[0] - 1,)]"),
    ("other", "padding is 1, and counts from behind", "other=0.0", "other=1.0"),
]
