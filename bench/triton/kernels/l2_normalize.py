"""x / max(|x|, eps) of rows, after FLA's l2norm."""

import torch

import triton
import triton.language as tl


@triton.jit
def normalize(x, y, inverse, n, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    r = 1.0 / tl.sqrt(tl.sum(v * v) + eps)
    tl.store(inverse + row, r)
    tl.store(y + row * n + at, v * r, mask=at < n)


@triton.jit
def normalize_backward(x, g, inverse, dx, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    d = tl.load(g + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    r = tl.load(inverse + row)
    tl.store(dx + row * n + at, d * r - tl.sum(d * v) * v * (r * r * r), mask=at < n)


class Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        y, inverse = torch.empty_like(x), torch.empty(x.shape[0])
        normalize[(x.shape[0],)](x, y, inverse, x.shape[1], 1e-6, triton.next_power_of_2(x.shape[1]))
        ctx.save_for_backward(x, inverse)
        return y

    @staticmethod
    def backward(ctx, g):
        x, inverse = ctx.saved_tensors
        g = g.contiguous()
        dx = torch.empty_like(x)
        normalize_backward[(x.shape[0],)](x, g, inverse, dx, x.shape[1], triton.next_power_of_2(x.shape[1]))
        return dx


def function(x):
    return Normalize.apply(x)


def point(dtype, rand):
    return (rand(3, 5).to(dtype).requires_grad_(),)


MUTANTS = [
    ("term", "r to the second power", "(r * r * r)", "(r * r)"),
    ("sign", "d r + …", "d * r - tl.sum", "d * r + tl.sum"),
    ("term", "the inner product is left out", "d * r - tl.sum(d * v) * v * (r * r * r)", "d * r"),
    ("mask", "dx is stored without a mask", "v * (r * r * r), mask=at < n)", "v * (r * r * r))"),
]
