"""ByteDance-Seed/Triton-distributed#180: swiglu's backward pass stores the gradient of every row in row 0."""

import torch

import triton
import triton.language as tl


@triton.jit
def swiglu(a, b, c, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    row = tl.program_id(0)
    u = tl.load(a + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    v = tl.load(b + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    tl.store(c + row * n + at, u * tl.sigmoid(u) * v, mask=at < n)


@triton.jit
def swiglu_backward(a, b, g, da, db, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    row = tl.program_id(0)
    da += row * n
    db += row * n
    u = tl.load(a + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    v = tl.load(b + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    d = tl.load(g + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    s = tl.sigmoid(u)
    tl.store(da + at, d * v * s * (1 + u * (1 - s)), mask=at < n)
    tl.store(db + at, d * u * s, mask=at < n)


class SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        a, b = a.contiguous(), b.contiguous()
        rows, n = a.shape
        c = torch.empty(rows, n, dtype=a.dtype)
        swiglu[(rows,)](a, b, c, n, triton.next_power_of_2(n))
        ctx.save_for_backward(a, b)
        return c

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        rows, n = a.shape
        da, db = torch.empty(rows, n, dtype=a.dtype), torch.empty(rows, n, dtype=a.dtype)
        swiglu_backward[(rows,)](a, b, g.contiguous(), da, db, n, triton.next_power_of_2(n))
        return da, db


def function(a, b):
    return SwiGlu.apply(a, b)


def point(dtype, rand):
    return rand(3, 5).to(dtype).requires_grad_(), rand(3, 5).to(dtype).requires_grad_()


MUTANTS = [
    ("race", "the pointers of the results are not moved to the row", "    da += row * n\n    db += row * n\n", ""),
]
