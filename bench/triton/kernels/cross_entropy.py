"""Cross entropy over a vocabulary in tiles, with ignored targets, after Unsloth's and Liger's."""

import torch

import triton
import triton.language as tl

BLOCK = 4


@triton.jit
def cross_entropy(x, target, loss, lse, n, ignored, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    t = tl.load(target + row)
    m = float("-inf")
    s = 0.0
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        v = tl.load(x + row * n + at, mask=at < n, other=float("-inf")).to(tl.float32)
        new = tl.maximum(m, tl.max(v))
        s = s * tl.exp(m - new) + tl.sum(tl.exp(v - new))
        m = new
    z = m + tl.log(s)
    tl.store(lse + row, z)
    if t != ignored:
        tl.store(loss + row, z - tl.load(x + row * n + t).to(tl.float32))
    else:
        tl.store(loss + row, 0.0)


@triton.jit
def cross_entropy_backward(x, target, g, lse, dx, n, ignored, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    t = tl.load(target + row)
    d = tl.load(g + row)
    z = tl.load(lse + row)
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        v = tl.load(x + row * n + at, mask=at < n, other=float("-inf")).to(tl.float32)
        p = tl.exp(v - z)
        p = tl.where(at == t, p - 1.0, p)
        p = tl.where(t == ignored, 0.0, p)
        tl.store(dx + row * n + at, d * p, mask=at < n)


class CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, target, ignored):
        x = x.contiguous()
        rows, n = x.shape
        loss, lse = torch.empty(rows), torch.empty(rows)
        cross_entropy[(rows,)](x, target, loss, lse, n, ignored, BLOCK)
        ctx.save_for_backward(x, target, lse)
        ctx.ignored = ignored
        return loss

    @staticmethod
    def backward(ctx, g):
        x, target, lse = ctx.saved_tensors
        rows, n = x.shape
        dx = torch.empty_like(x)
        g = g.contiguous()
        cross_entropy_backward[(rows,)](x, target, g, lse, dx, n, ctx.ignored, BLOCK)
        return dx, None, None


def function(x, target):
    return CrossEntropy.apply(x, target, -100)


def point(dtype, rand):
    return rand(4, 7).to(dtype).requires_grad_(), torch.tensor([2, 6, -100, 0])


MUTANTS = [
    ("term", "1 is not subtracted at the target", "tl.where(at == t, p - 1.0, p)", "p"),
    ("mask", "ignored rows get a gradient", "p = tl.where(t == ignored, 0.0, p)", "p = p"),
    (
        "tail",
        "the last tile is left out of dx",
        "    for start in range(0, n, BLOCK):\n        at = start + tl.arange(0, BLOCK)\n"
        '        v = tl.load(x + row * n + at, mask=at < n, other=float("-inf")).to(tl.float32)\n        p',
        "    for start in range(0, n - BLOCK, BLOCK):\n        at = start + tl.arange(0, BLOCK)\n"
        '        v = tl.load(x + row * n + at, mask=at < n, other=float("-inf")).to(tl.float32)\n        p',
    ),
    ("stale", "the sum is not rescaled for the new maximum", "s = s * tl.exp(m - new) + ", "s = s + "),
    ("term", "the target is one off", "at == t, p - 1.0", "at == t + 1, p - 1.0"),
    ("stride", "the cotangent is taken for one number", "g = g.contiguous()", "g = g"),
]
