"""RMS norm with atomics for the weight, after Unsloth's and Liger's."""

import torch

import triton
import triton.language as tl


@triton.jit
def rms_norm(x, w, y, rstd, n, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + row * n + at, mask=mask, other=0.0).to(tl.float32)
    k = tl.load(w + at, mask=mask, other=0.0).to(tl.float32)
    r = tl.rsqrt(tl.sum(v * v, axis=0) / n + eps)
    tl.store(rstd + row, r)
    tl.store(y + row * n + at, v * r * k, mask=mask)


@triton.jit
def rms_norm_backward(x, w, g, rstd, dx, dw, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + row * n + at, mask=mask, other=0.0).to(tl.float32)
    k = tl.load(w + at, mask=mask, other=0.0).to(tl.float32)
    d = tl.load(g + row * n + at, mask=mask, other=0.0).to(tl.float32)
    r = tl.load(rstd + row)
    h = k * d
    tl.store(dx + row * n + at, r * (h - v * (r * r * tl.sum(h * v, axis=0) / n)), mask=mask)
    tl.atomic_add(dw + at, d * v * r, mask=mask)


class RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        x, w = x.contiguous(), w.contiguous()
        rows, n = x.shape
        y, rstd = torch.empty_like(x), torch.empty(rows)
        rms_norm[(rows,)](x, w, y, rstd, n, 1e-6, triton.next_power_of_2(n))
        ctx.save_for_backward(x, w, rstd)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w, rstd = ctx.saved_tensors
        g = g.contiguous()
        rows, n = x.shape
        dx, dw = torch.empty_like(x), torch.zeros(n)
        rms_norm_backward[(rows,)](x, w, g, rstd, dx, dw, n, triton.next_power_of_2(n))
        return dx, dw.to(w.dtype)


def function(x, w):
    return RmsNorm.apply(x, w)


def point(dtype, rand):
    return rand(4, 6).to(dtype).requires_grad_(), rand(6).to(dtype).requires_grad_()


MUTANTS = [
    (
        "atomic",
        "dw is added without an atomic",
        "tl.atomic_add(dw + at, d * v * r, mask=mask)",
        "tl.store(dw + at, tl.load(dw + at, mask=mask, other=0.0) + d * v * r, mask=mask)",
    ),
    (
        "race",
        "dw is stored by each row",
        "tl.atomic_add(dw + at, d * v * r, mask=mask)",
        "tl.store(dw + at, d * v * r, mask=mask)",
    ),
    ("stale", "dw is not zeroed", "torch.zeros(n)", "torch.empty(n)"),
    ("term", "the inner product lacks the weight", "tl.sum(h * v, axis=0)", "tl.sum(d * v, axis=0)"),
    ("term", "rstd to the first power", "(r * r * tl.sum", "(r * tl.sum"),
    ("sign", "h + in place of h -", "r * (h - v", "r * (h + v"),
    (
        "mask",
        "dw is added without a mask",
        "tl.atomic_add(dw + at, d * v * r, mask=mask)",
        "tl.atomic_add(dw + at, d * v * r)",
    ),
]
