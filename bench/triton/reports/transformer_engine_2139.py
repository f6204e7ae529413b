"""NVIDIA/TransformerEngine#2139: the mean of a loss; its one cotangent is read as if there were one for each row."""

import torch

import triton
import triton.language as tl


@triton.jit
def logsumexp(x, y, p, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=float("-inf")).to(tl.float32)
    top = tl.max(v, axis=0)
    total = tl.sum(tl.exp(v - top), axis=0)
    tl.store(p + row * n + at, tl.exp(v - top) / total, mask=at < n)
    tl.store(y + row, top + tl.log(total))


@triton.jit
def multiply(p, g, dx, n, rows, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    by = tl.load(g).to(tl.float32)
    tl.store(dx + row * n + at, tl.load(p + row * n + at, mask=at < n, other=0.0) * by / rows, mask=at < n)


class LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        rows, n = x.shape
        y, p = torch.empty(rows, dtype=torch.float32), torch.empty(rows, n, dtype=torch.float32)
        logsumexp[(rows,)](x, y, p, n, triton.next_power_of_2(n))
        ctx.save_for_backward(p)
        ctx.dtype = x.dtype
        return y.mean().to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (p,) = ctx.saved_tensors
        rows, n = p.shape
        dx = torch.empty(rows, n, dtype=ctx.dtype)
        multiply[(rows,)](p, g.contiguous(), dx, n, rows, triton.next_power_of_2(n))
        return dx


def function(x):
    return LogSumExp.apply(x)


def point(dtype, rand):
    return (rand(3, 5).to(dtype).requires_grad_(),)


MUTANTS = [
    ("mask", "row r reads the r-th of one cotangent", "tl.load(g).to", "tl.load(g + row).to"),
]
