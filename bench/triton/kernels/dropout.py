"""Dropout by a seed that is kept, and no mask, after Triton's tutorial 4."""

import torch

import triton
import triton.language as tl

BLOCK = 8


@triton.jit
def dropout(x, y, n, p, scale, seed, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    keep = tl.rand(seed, at) > p
    tl.store(y + at, tl.where(keep, v * scale, 0.0), mask=mask)


class Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p, seed):
        x = x.contiguous()
        y = torch.empty_like(x)
        ctx.p, ctx.seed = p, seed
        dropout[(triton.cdiv(x.numel(), BLOCK),)](x, y, x.numel(), p, 1.0 / (1.0 - p), seed, BLOCK)
        return y

    @staticmethod
    def backward(ctx, g):
        g = g.contiguous()
        p, seed = ctx.p, ctx.seed
        dx = torch.empty_like(g)
        dropout[(triton.cdiv(g.numel(), BLOCK),)](g, dx, g.numel(), p, 1.0 / (1.0 - p), seed, BLOCK)
        return dx, None, None


def function(x):
    return Dropout.apply(x, 0.5, 123)


def point(dtype, rand):
    return (rand(4, 5).to(dtype).requires_grad_(),)


MUTANTS = [
    ("constant", "backward draws from another seed", "p, seed = ctx.p, ctx.seed", "p, seed = ctx.p, ctx.seed + 1"),
    (
        "term",
        "backward does not scale",
        "(g, dx, g.numel(), p, 1.0 / (1.0 - p), seed",
        "(g, dx, g.numel(), p, 1.0, seed",
    ),
    (
        "constant",
        "backward drops with 1 - p of another p",
        "p, seed = ctx.p, ctx.seed",
        "p, seed = ctx.p * 0.5, ctx.seed",
    ),
    (
        "tail",
        "the last tile is not launched in backward",
        "dropout[(triton.cdiv(g.numel(), BLOCK),)](g",
        "dropout[(g.numel() // BLOCK,)](g",
    ),
]
