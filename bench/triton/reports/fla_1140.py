"""fla-org/flash-linear-attention#1140: a causal convolution of too few tokens; the last state's cotangent is shifted."""

import torch

import triton
import triton.language as tl


@triton.jit
def conv(x, h, w, y, T, W: tl.constexpr, BLOCK: tl.constexpr):
    t = tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), dtype=tl.float32)
    for k in tl.static_range(W):
        at = t + 1 + k - W  # in x; before it, in h
        v = tl.load(x + at, mask=(at >= 0) & (t < T), other=0.0).to(tl.float32)
        v += tl.load(h + at + W, mask=(at < 0) & (t < T), other=0.0).to(tl.float32)
        acc += v * tl.load(w + k).to(tl.float32)
    tl.store(y + t, acc, mask=t < T)
    s = tl.arange(0, W)
    last = tl.load(x + T - W + s, mask=T - W + s >= 0, other=0.0).to(tl.float32)
    last += tl.load(h + s + T, mask=s + T < W, other=0.0).to(tl.float32)
    tl.store(y + T + s, last)


@triton.jit
def conv_backward(g, w, dx, dh, T, W: tl.constexpr, BLOCK: tl.constexpr):
    t = tl.arange(0, BLOCK)
    slot = t + W - T
    acc = tl.load(g + T + slot, mask=(slot >= 0) & (slot < W) & (t < T), other=0.0).to(tl.float32)
    s = tl.arange(0, W)
    state = tl.load(g + s, mask=s >= T, other=0.0).to(tl.float32)  # g + T + (s - T)
    for k in tl.static_range(W):
        weight = tl.load(w + k).to(tl.float32)
        at = t + W - 1 - k
        acc += weight * tl.load(g + at, mask=at < T, other=0.0).to(tl.float32)
        of = s - 1 - k
        state += weight * tl.load(g + of, mask=(of >= 0) & (of < T), other=0.0).to(tl.float32)
    tl.store(dx + t, acc, mask=t < T)
    tl.store(dh + s, state)


class Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h, w):
        x, h, w = x.contiguous(), h.contiguous(), w.contiguous()
        y = torch.empty(len(x) + 4, dtype=x.dtype)
        conv[(1,)](x, h, w, y, len(x), 4, triton.next_power_of_2(len(x)))
        ctx.save_for_backward(w)
        ctx.tokens = len(x)
        return y

    @staticmethod
    def backward(ctx, g):
        (w,) = ctx.saved_tensors
        dx, dh = torch.empty(ctx.tokens, dtype=g.dtype), torch.empty(4, dtype=g.dtype)
        conv_backward[(1,)](g.contiguous(), w, dx, dh, ctx.tokens, 4, triton.next_power_of_2(ctx.tokens))
        return dx, dh, None


def function(x, h, w):
    return Conv.apply(x, h, w)


def point(dtype, rand):
    return rand(2).to(dtype).requires_grad_(), rand(4).to(dtype).requires_grad_(), rand(4).to(dtype)


MUTANTS = [
    (
        "index",
        "the slot is counted from a first token that is clamped at 0",
        "slot = t + W - T",
        "slot = t - tl.maximum(T - (W - 1), 0) + 1",
    ),
    (
        "term",
        "what of the first state is left at the end gets no gradient",
        "tl.load(g + s, mask=s >= T, other=0.0)",
        "tl.load(g + s, mask=s < 0, other=0.0)",
    ),
]
