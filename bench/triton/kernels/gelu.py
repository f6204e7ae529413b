"""gelu by tanh, after xFormers' and Liger's GEGLU."""

import torch

import triton
import triton.language as tl

BLOCK = 8


@triton.jit
def tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def gelu(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    t = tanh(0.7978845608028654 * (v + 0.044715 * (v * v * v)))
    tl.store(y + at, 0.5 * v * (1.0 + t), mask=mask)


@triton.jit
def gelu_backward(x, g, dx, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    d = tl.load(g + at, mask=mask, other=0.0).to(tl.float32)
    t = tanh(0.7978845608028654 * (v + 0.044715 * (v * v * v)))
    inner = 0.7978845608028654 * (1.0 + 0.044715 * (3.0 * v * v))
    tl.store(dx + at, d * (0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * inner), mask=mask)


class Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        ctx.save_for_backward(x)
        gelu[(triton.cdiv(x.numel(), BLOCK),)](x, y, x.numel(), BLOCK)
        return y

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        g = g.contiguous()
        dx = torch.empty_like(x)
        gelu_backward[(triton.cdiv(x.numel(), BLOCK),)](x, g, dx, x.numel(), BLOCK)
        return dx


def function(x):
    return Gelu.apply(x)


def point(dtype, rand):
    return (rand(3, 5).to(dtype).requires_grad_(),)


MUTANTS = [
    ("term", "the 3 of the cube's derivative is left out", "(3.0 * v * v)", "(v * v)"),
    ("sign", "1 + t² in place of 1 - t²", "(1.0 - t * t)", "(1.0 + t * t)"),
    ("constant", "0.044715 is mistyped in the derivative", "0.044715 * (3.0", "0.047715 * (3.0"),
    (
        "other",
        "the cotangent is read with the mask of the first tile",
        "d = tl.load(g + at, mask=mask, other=0.0)",
        "d = tl.load(g + at, mask=at < BLOCK, other=0.0)",
    ),
]
