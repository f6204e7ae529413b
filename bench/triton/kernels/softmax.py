"""Softmax of rows, after Triton's tutorial 2 (fused softmax)."""

import torch

import triton
import triton.language as tl


@triton.jit
def softmax(x, y, out, stride, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + row * stride + at, mask=mask, other=float("-inf")).to(tl.float32)
    e = tl.exp(v - tl.max(v, axis=0))
    tl.store(y + row * n + at, e / tl.sum(e, axis=0), mask=mask)
    tl.store(out + row * n + at, e / tl.sum(e, axis=0), mask=mask)


@triton.jit
def softmax_backward(y, g, dx, stride, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    p = tl.load(y + row * n + at, mask=mask, other=0.0).to(tl.float32)
    d = tl.load(g + row * stride + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(dx + row * n + at, p * (d - tl.sum(p * d, axis=0)), mask=mask)


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x if x.stride(-1) == 1 else x.contiguous()
        rows, n = x.shape
        y = torch.empty(rows, n, dtype=torch.float32)
        out = torch.empty(rows, n, dtype=x.dtype)
        softmax[(rows,)](x, y, out, x.stride(0), n, triton.next_power_of_2(n))
        ctx.save_for_backward(y)
        ctx.dtype = x.dtype
        return out

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        g = g if g.stride(-1) == 1 else g.contiguous()
        rows, n = y.shape
        dx = torch.empty(rows, n, dtype=ctx.dtype)
        softmax_backward[(rows,)](y, g, dx, g.stride(0), n, triton.next_power_of_2(n))
        return dx


def function(x):
    return Softmax.apply(x)


def point(dtype, rand):
    return (rand(3, 6).to(dtype).requires_grad_(),)


MUTANTS = [
    (
        "other",
        "padding is 1 in backward, and counts",
        "p = tl.load(y + row * n + at, mask=mask, other=0.0).to(tl.float32)\n"
        "    d = tl.load(g + row * stride + at, mask=mask, other=0.0)",
        "p = tl.load(y + row * n + at, mask=mask, other=1.0).to(tl.float32)\n"
        "    d = tl.load(g + row * stride + at, mask=mask, other=1.0)",
    ),
    ("term", "the inner product is left out", "p * (d - tl.sum(p * d, axis=0))", "p * d"),
    ("sign", "the inner product has the wrong sign", "(d - tl.sum(p * d, axis=0))", "(d + tl.sum(p * d, axis=0))"),
    ("term", "the sum of d in place of that of p d", "tl.sum(p * d, axis=0)", "tl.sum(d, axis=0)"),
    (
        "stride",
        "the cotangent is read with the stride of y",
        "tl.load(g + row * stride + at",
        "tl.load(g + row * n + at",
    ),
    (
        "mask",
        "the cotangent is read without a mask",
        "tl.load(g + row * stride + at, mask=mask, other=0.0)",
        "tl.load(g + row * stride + at)",
    ),
]
