"""fla-org/flash-linear-attention#1142: rows beyond the end of the last chunk read their scales all the same."""

import torch

import triton
import triton.language as tl


@triton.jit
def decayed(x, c, y, T, BT: tl.constexpr):
    at = tl.program_id(0) * BT + tl.arange(0, BT)
    last = tl.minimum(tl.program_id(0) * BT + BT, T) - 1
    v = tl.load(x + at, mask=at < T, other=0.0).to(tl.float32)
    decay = tl.load(c + at, mask=at < T, other=0.0).to(tl.float32)
    end = tl.load(c + last).to(tl.float32)
    tl.store(y + at, v * tl.exp(end - decay), mask=at < T)


@triton.jit
def decayed_backward(x, c, g, dx, dc, T, BT: tl.constexpr):
    at = tl.program_id(0) * BT + tl.arange(0, BT)
    last = tl.minimum(tl.program_id(0) * BT + BT, T) - 1
    v = tl.load(x + at, mask=at < T, other=0.0).to(tl.float32)
    decay = tl.load(c + at, mask=at < T, other=0.0).to(tl.float32)
    end = tl.load(c + last).to(tl.float32)  # the end
    d = tl.load(g + at, mask=at < T, other=0.0).to(tl.float32) * tl.exp(end - decay)
    tl.store(dx + at, d, mask=at < T)
    whole = tl.sum(d * v, axis=0)
    tl.store(dc + at, tl.where(at == last, whole - d * v, -d * v), mask=at < T)


class Decayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, c):
        x, c = x.contiguous(), c.contiguous()
        y = torch.empty(len(x), dtype=x.dtype)
        decayed[(triton.cdiv(len(x), 4),)](x, c, y, len(x), 4)
        ctx.save_for_backward(x, c)
        return y

    @staticmethod
    def backward(ctx, g):
        x, c = ctx.saved_tensors
        dx, dc = torch.empty(len(x), dtype=x.dtype), torch.empty(len(x), dtype=x.dtype)
        decayed_backward[(triton.cdiv(len(x), 4),)](x, c, g.contiguous(), dx, dc, len(x), 4)
        return dx, dc


def function(x, c):
    return Decayed.apply(x, c)


def point(dtype, rand):
    return rand(6).to(dtype).requires_grad_(), rand(6).to(dtype).requires_grad_()


MUTANTS = [
    (
        "mask",
        "the backward pass reads the decay without a mask",
        "    end = tl.load(c + last).to(tl.float32)  # the end",
        "    decay = tl.load(c + at).to(tl.float32)\n    end = tl.load(c + last).to(tl.float32)",
    ),
]
