"""unslothai/unsloth#10617: RMS norm indexes its new dX with the stride of the rows of dY."""

import torch

import triton
import triton.language as tl


@triton.jit
def rms_norm(x, w, y, r, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    rstd = 1 / tl.sqrt(tl.sum(v * v, axis=0) / n + 1e-6)
    tl.store(r + row, rstd)
    tl.store(y + row * n + at, v * rstd * tl.load(w + at, mask=at < n, other=0.0), mask=at < n)


@triton.jit
def rms_norm_backward(x, w, r, g, dx, parts, g_stride, rows, n, PER: tl.constexpr, BLOCK: tl.constexpr):
    first = tl.program_id(0) * PER
    at = tl.arange(0, BLOCK)
    if first < rows:
        dw = tl.zeros((BLOCK,), dtype=tl.float32)
        weight = tl.load(w + at, mask=at < n, other=0.0).to(tl.float32)
        for k in range(PER):
            row = first + k
            inside = (at < n) & (row < rows)
            rstd = tl.load(r + row, mask=row < rows, other=0.0)
            v = tl.load(x + row * n + at, mask=inside, other=0.0).to(tl.float32) * rstd
            d = tl.load(g + row * g_stride + at, mask=inside, other=0.0).to(tl.float32)
            dw += d * v
            d = d * weight
            tl.store(dx + row * n + at, rstd * (d - v * tl.sum(d * v, axis=0) / n), mask=inside)
        tl.store(parts + tl.program_id(0) * n + at, dw, mask=at < n)


class RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        x, w = x.contiguous(), w.contiguous()
        rows, n = x.shape
        y, r = torch.empty(rows, n, dtype=x.dtype), torch.empty(rows, dtype=torch.float32)
        rms_norm[(rows,)](x, w, y, r, n, triton.next_power_of_2(n))
        ctx.save_for_backward(x, w, r)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w, r = ctx.saved_tensors
        rows, n = x.shape
        g = g if g.stride(-1) == 1 else g.contiguous()
        dx = torch.empty(rows, n, dtype=x.dtype)
        parts = torch.zeros(4, n, dtype=torch.float32)
        args = x, w, r, g, dx, parts, g.stride(0), rows, n
        rms_norm_backward[(4,)](*args, triton.cdiv(rows, 4), triton.next_power_of_2(n))
        return dx, parts.sum(0).to(w.dtype)


def function(x, w):
    return RmsNorm.apply(x, w)


def point(dtype, rand):
    return rand(3, 6).to(dtype).requires_grad_(), rand(6).to(dtype).requires_grad_()


MUTANTS = [
    (
        "stride",
        "dx is written with the cotangent's stride",
        "tl.store(dx + row * n + at",
        "tl.store(dx + row * g_stride + at",
    ),
]
