"""x + alpha y, after Triton's tutorial 1 (vector add)."""

import torch

import triton
import triton.language as tl

BLOCK = 4


@triton.jit
def add(x, y, out, alpha, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    a = tl.load(x + at, mask=mask).to(tl.float32)
    b = tl.load(y + at, mask=mask).to(tl.float32)
    tl.store(out + at, a + alpha * b, mask=mask)


@triton.jit
def add_backward(g, dx, dy, alpha, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    d = tl.load(g + at, mask=mask).to(tl.float32)
    tl.store(dx + at, d, mask=mask)
    tl.store(dy + at, alpha * d, mask=mask)


class Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y, alpha):
        x, y = x.contiguous(), y.contiguous()
        out = torch.empty_like(x)
        ctx.alpha = alpha
        add[(triton.cdiv(x.numel(), BLOCK),)](x, y, out, alpha, x.numel(), BLOCK)
        return out

    @staticmethod
    def backward(ctx, g):
        g = g.contiguous()
        dx, dy = torch.empty_like(g), torch.empty_like(g)
        add_backward[(triton.cdiv(g.numel(), BLOCK),)](g, dx, dy, ctx.alpha, g.numel(), BLOCK)
        return dx, dy, None


def function(x, y):
    return Add.apply(x, y, 0.75)


def point(dtype, rand):
    return rand(3, 5).to(dtype).requires_grad_(), rand(3, 5).to(dtype).requires_grad_()


MUTANTS = [
    (
        "tail",
        "the last tile is not launched in backward",
        "add_backward[(triton.cdiv(g.numel(), BLOCK),)]",
        "add_backward[(g.numel() // BLOCK,)]",
    ),
    ("mask", "the cotangent is read without a mask", "tl.load(g + at, mask=mask)", "tl.load(g + at)"),
    ("mask", "dy is stored without a mask", "tl.store(dy + at, alpha * d, mask=mask)", "tl.store(dy + at, alpha * d)"),
    ("term", "alpha is forgotten in dy", "tl.store(dy + at, alpha * d", "tl.store(dy + at, d"),
    ("stride", "the cotangent's strides are not looked at", "g = g.contiguous()", "g = g"),
]
