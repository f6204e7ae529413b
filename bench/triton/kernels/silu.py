"""silu, after the unary kernels of FlagGems and Unsloth."""

import torch

import triton
import triton.language as tl

BLOCK = 8


@triton.jit
def silu(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(y + at, v * tl.sigmoid(v), mask=mask)


@triton.jit
def silu_backward(x, g, dx, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    d = tl.load(g + at, mask=mask, other=0.0).to(tl.float32)
    s = tl.sigmoid(v)
    tl.store(dx + at, d * s * (1.0 + v * (1.0 - s)), mask=mask)


class Silu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        ctx.save_for_backward(x)
        silu[(triton.cdiv(x.numel(), BLOCK),)](x, y, x.numel(), BLOCK)
        return y

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        g = g.contiguous()
        dx = torch.empty_like(x)
        silu_backward[(triton.cdiv(x.numel(), BLOCK),)](x, g, dx, x.numel(), BLOCK)
        return dx


def function(x):
    return Silu.apply(x)


def point(dtype, rand):
    return (rand(3, 5).to(dtype).requires_grad_(),)


MUTANTS = [
    ("sign", "1 + s in place of 1 - s", "v * (1.0 - s)", "v * (1.0 + s)"),
    ("term", "the derivative of the sigmoid is left out", "d * s * (1.0 + v * (1.0 - s))", "d * s"),
    (
        "tail",
        "the mask ends one entry early",
        "mask = at < n\n    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)\n    d",
        "mask = at < n - 1\n    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)\n    d",
    ),
    (
        "accumulator",
        "the sigmoid is rounded to bfloat16",
        "s = tl.sigmoid(v)",
        "s = tl.sigmoid(v).to(tl.bfloat16).to(tl.float32)",
    ),
    ("stride", "the cotangent's strides are not looked at", "g = g.contiguous()", "g = g"),
]
