"""Layer norm with partial sums for the weights, after Triton's tutorial 5."""

import torch

import triton
import triton.language as tl

GROUPS = 2


@triton.jit
def layer_norm(x, w, b, y, mean, rstd, n, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(x + row * n + at, mask=mask, other=0.0).to(tl.float32)
    m = tl.sum(v, axis=0) / n
    centred = tl.where(mask, v - m, 0.0)
    r = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / n + eps)
    tl.store(mean + row, m)
    tl.store(rstd + row, r)
    scale = tl.load(w + at, mask=mask, other=0.0).to(tl.float32)
    shift = tl.load(b + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(y + row * n + at, centred * r * scale + shift, mask=mask)


@triton.jit
def layer_norm_backward(x, w, g, mean, rstd, dx, dw, db, rows, n, GROUPS: tl.constexpr, BLOCK: tl.constexpr):
    group = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    scale = tl.load(w + at, mask=mask, other=0.0).to(tl.float32)
    total_w = tl.zeros([BLOCK], dtype=tl.float32)
    total_b = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(group, rows, GROUPS):
        v = tl.load(x + row * n + at, mask=mask, other=0.0).to(tl.float32)
        d = tl.load(g + row * n + at, mask=mask, other=0.0).to(tl.float32)
        m = tl.load(mean + row)
        r = tl.load(rstd + row)
        h = tl.where(mask, (v - m) * r, 0.0)
        wd = scale * d
        c1 = tl.sum(h * wd, axis=0) / n
        c2 = tl.sum(wd, axis=0) / n
        tl.store(dx + row * n + at, (wd - (h * c1 + c2)) * r, mask=mask)
        total_w += d * h
        total_b += d
    tl.store(dw + group * n + at, total_w, mask=mask)
    tl.store(db + group * n + at, total_b, mask=mask)


class LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, b):
        x, w, b = x.contiguous(), w.contiguous(), b.contiguous()
        rows, n = x.shape
        y = torch.empty_like(x)
        mean, rstd = torch.empty(rows), torch.empty(rows)
        layer_norm[(rows,)](x, w, b, y, mean, rstd, n, 1e-5, triton.next_power_of_2(n))
        ctx.save_for_backward(x, w, mean, rstd)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w, mean, rstd = ctx.saved_tensors
        g = g.contiguous()
        rows, n = x.shape
        dx = torch.empty_like(x)
        dw, db = torch.empty(GROUPS, n), torch.empty(GROUPS, n)
        layer_norm_backward[(GROUPS,)](x, w, g, mean, rstd, dx, dw, db, rows, n, GROUPS, triton.next_power_of_2(n))
        return dx, dw.sum(0).to(w.dtype), db.sum(0).to(w.dtype)


def function(x, w, b):
    return LayerNorm.apply(x, w, b)


def point(dtype, rand):
    return rand(5, 6).to(dtype).requires_grad_(), rand(6).to(dtype).requires_grad_(), rand(6).to(dtype).requires_grad_()


MUTANTS = [
    ("mask", "padding counts in the variance", "centred = tl.where(mask, v - m, 0.0)", "centred = v - m"),
    ("term", "c2 is left out", "(wd - (h * c1 + c2)) * r", "(wd - h * c1) * r"),
    ("sign", "c1 has the wrong sign", "(wd - (h * c1 + c2)) * r", "(wd - (c2 - h * c1)) * r"),
    ("stale", "the total of the weight starts anew in each row", "total_w += d * h", "total_w = d * h"),
    ("race", "all groups write one row of partial sums", "tl.store(dw + group * n + at", "tl.store(dw + at"),
    (
        "tail",
        "the last row is left out",
        "for row in range(group, rows, GROUPS)",
        "for row in range(group, rows - 1, GROUPS)",
    ),
    ("term", "rstd is left out of dx", "(wd - (h * c1 + c2)) * r", "wd - (h * c1 + c2)"),
]
