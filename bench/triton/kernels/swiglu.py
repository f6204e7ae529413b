"""silu(a) b, after Liger's SwiGLU, which writes its gradients over its inputs; here they have memory of their own."""

import torch

import triton
import triton.language as tl


@triton.jit
def swiglu(a, b, c, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    u = tl.load(a + row * n + at, mask=mask, other=0.0).to(tl.float32)
    v = tl.load(b + row * n + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(c + row * n + at, u * tl.sigmoid(u) * v, mask=mask)


@triton.jit
def swiglu_backward(a, b, g, da, db, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    u = tl.load(a + row * n + at, mask=mask, other=0.0).to(tl.float32)
    v = tl.load(b + row * n + at, mask=mask, other=0.0).to(tl.float32)
    d = tl.load(g + row * n + at, mask=mask, other=0.0).to(tl.float32)
    s = tl.sigmoid(u)
    f = u * s
    tl.store(db + row * n + at, d * f, mask=mask)
    tl.store(da + row * n + at, d * v * (f * (1.0 - s) + s), mask=mask)


class Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        a, b = a.contiguous(), b.contiguous()
        rows, n = a.shape
        c = torch.empty_like(a)
        swiglu[(rows,)](a, b, c, n, triton.next_power_of_2(n))
        ctx.save_for_backward(a, b)
        return c

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        g = g.contiguous()
        rows, n = a.shape
        da, db = torch.empty_like(a), torch.empty_like(b)
        swiglu_backward[(rows,)](a, b, g, da, db, n, triton.next_power_of_2(n))
        return da, db


def function(a, b):
    return Swiglu.apply(a, b)


def point(dtype, rand):
    return rand(3, 5).to(dtype).requires_grad_(), rand(3, 5).to(dtype).requires_grad_()


MUTANTS = [
    ("term", "s is left out of da", "(f * (1.0 - s) + s)", "(f * (1.0 - s))"),
    ("sign", "the wrong sign in da", "(f * (1.0 - s) + s)", "(s - f * (1.0 - s))"),
    ("term", "db without its sigmoid", "tl.store(db + row * n + at, d * f", "tl.store(db + row * n + at, d * u"),
    (
        "stride",
        "b is read with a row too many",
        "v = tl.load(b + row * n + at, mask=mask, other=0.0).to(tl.float32)\n    d",
        "v = tl.load(b + row * BLOCK + at, mask=mask, other=0.0).to(tl.float32)\n    d",
    ),
    ("accumulator", "f is rounded to float16", "f = u * s\n", "f = (u * s).to(tl.float16).to(tl.float32)\n"),
]
