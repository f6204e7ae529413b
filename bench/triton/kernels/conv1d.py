"""A causal convolution along time for each channel, after causal-conv1d."""

import torch

import triton
import triton.language as tl


@triton.jit
def conv(x, w, y, T, K, C, BLOCK: tl.constexpr):
    t = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < C
    acc = tl.zeros([BLOCK], dtype=tl.float32)
    for k in range(0, K):
        u = tl.load(x + (t - k) * C + at, mask=mask & (t - k >= 0), other=0.0).to(tl.float32)
        acc += u * tl.load(w + k * C + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(y + t * C + at, acc, mask=mask)


@triton.jit
def conv_backward(x, w, g, dx, dw, T, K, C, BLOCK: tl.constexpr):
    t = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < C
    acc = tl.zeros([BLOCK], dtype=tl.float32)
    here = tl.load(g + t * C + at, mask=mask, other=0.0).to(tl.float32)
    for k in range(0, K):
        d = tl.load(g + (t + k) * C + at, mask=mask & (t + k < T), other=0.0).to(tl.float32)
        acc += d * tl.load(w + k * C + at, mask=mask, other=0.0).to(tl.float32)
        u = tl.load(x + (t - k) * C + at, mask=mask & (t - k >= 0), other=0.0).to(tl.float32)
        tl.atomic_add(dw + k * C + at, here * u, mask=mask)
    tl.store(dx + t * C + at, acc, mask=mask)


class Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        x, w = x.contiguous(), w.contiguous()
        (T, C), K = x.shape, w.shape[0]
        y = torch.empty_like(x)
        conv[(T,)](x, w, y, T, K, C, triton.next_power_of_2(C))
        ctx.save_for_backward(x, w)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        g = g.contiguous()
        (T, C), K = x.shape, w.shape[0]
        dx, dw = torch.empty_like(x), torch.zeros(K, C)
        conv_backward[(T,)](x, w, g, dx, dw, T, K, C, triton.next_power_of_2(C))
        return dx, dw.to(w.dtype)


def function(x, w):
    return Conv.apply(x, w)


def point(dtype, rand):
    return rand(5, 3).to(dtype).requires_grad_(), rand(3, 3).to(dtype).requires_grad_()


MUTANTS = [
    (
        "causal",
        "dx looks back, as the forward pass does",
        "tl.load(g + (t + k) * C + at, mask=mask & (t + k < T)",
        "tl.load(g + (t - k) * C + at, mask=mask & (t - k >= 0)",
    ),
    ("causal", "dx leaves the last step out", "mask & (t + k < T)", "mask & (t + k < T - 1)"),
    ("mask", "the cotangent beyond the last step is read", "mask & (t + k < T)", "mask"),
    (
        "atomic",
        "dw is added without an atomic",
        "tl.atomic_add(dw + k * C + at, here * u, mask=mask)",
        "tl.store(dw + k * C + at, tl.load(dw + k * C + at, mask=mask) + here * u, mask=mask)",
    ),
    (
        "term",
        "the first tap is left out of dx",
        "acc += d * tl.load(w + k * C",
        "acc += (k > 0) * d * tl.load(w + k * C",
    ),
]
