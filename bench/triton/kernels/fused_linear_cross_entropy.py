"""Cross entropy of x W by chunks of rows, whose gradients are computed in the forward pass, after Liger's."""

import torch

import triton
import triton.language as tl

CHUNK = 2


@triton.jit
def loss_and_gradient(logits, target, loss, scale, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(logits + row * n + at, mask=mask, other=float("-inf"))
    m = tl.max(v, axis=0)
    e = tl.exp(v - m)
    s = tl.sum(e, axis=0)
    t = tl.load(target + row)
    x = tl.load(logits + row * n + t)
    tl.store(loss + row, (m + tl.log(s) - x) * scale)
    p = e / s
    tl.debug_barrier()
    tl.store(logits + row * n + at, tl.where(at == t, p - 1.0, p) * scale, mask=mask)


@triton.jit
def scaled(x, by, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    tl.store(x + at, v * tl.load(by), mask=at < n)


class FusedLinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, target):
        rows = x.shape[0]
        n = w.shape[1]
        dx, dw = torch.zeros(x.shape), torch.zeros(w.shape)
        loss = torch.zeros(rows)
        for start in range(0, rows, CHUNK):
            part = x[start : start + CHUNK].float()
            logits = (part @ w.float()).contiguous()
            count = part.shape[0]
            loss_and_gradient[(count,)](
                logits,
                target[start : start + CHUNK],
                loss[start : start + CHUNK],
                1.0 / rows,
                n,
                triton.next_power_of_2(n),
            )
            dx[start : start + CHUNK] = logits @ w.float().T
            dw += part.T @ logits
        ctx.save_for_backward(dx, dw)
        ctx.dtypes = x.dtype, w.dtype
        return loss.sum()

    @staticmethod
    def backward(ctx, g):
        dx, dw = (t.clone() for t in ctx.saved_tensors)
        scaled[(triton.cdiv(dx.numel(), 8),)](dx, g, dx.numel(), 8)
        scaled[(triton.cdiv(dw.numel(), 8),)](dw, g, dw.numel(), 8)
        return dx.to(ctx.dtypes[0]), dw.to(ctx.dtypes[1]), None


def function(x, w, target):
    return FusedLinearCrossEntropy.apply(x, w, target)


def point(dtype, rand):
    return rand(3, 4).to(dtype).requires_grad_(), rand(4, 5).to(dtype).requires_grad_(), torch.tensor([1, 4, 2])


MUTANTS = [
    ("term", "1 is not subtracted at the target", "tl.where(at == t, p - 1.0, p) * scale", "p * scale"),
    (
        "term",
        "the gradient is not scaled by the rows",
        "tl.where(at == t, p - 1.0, p) * scale",
        "tl.where(at == t, p - 1.0, p)",
    ),
    ("stale", "dw of the last chunk alone", "dw += part.T @ logits", "dw = part.T @ logits"),
    ("stride", "dx of each chunk goes to the first rows", "dx[start : start + CHUNK] = logits", "dx[:count] = logits"),
    (
        "term",
        "the cotangent is not multiplied into dw",
        "scaled[(triton.cdiv(dw.numel(), 8),)](dw, g, dw.numel(), 8)",
        "pass",
    ),
    (
        "tail",
        "the last tile of dw is not scaled",
        "scaled[(triton.cdiv(dw.numel(), 8),)](dw",
        "scaled[(dw.numel() // 8,)](dw",
    ),
    (
        "mask",
        "the gradient is stored without a mask",
        "tl.where(at == t, p - 1.0, p) * scale, mask=mask)",
        "tl.where(at == t, p - 1.0, p) * scale)",
    ),
]
