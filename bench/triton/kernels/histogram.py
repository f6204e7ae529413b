"""A weighted histogram by atomics, and a gather for its backward pass."""

import torch

import triton
import triton.language as tl

BLOCK = 4


@triton.jit
def histogram(w, bins, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(w + at, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(bins + at, mask=mask, other=0)
    tl.atomic_add(out + b, v * v, mask=mask)


@triton.jit
def histogram_backward(w, bins, g, dw, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    v = tl.load(w + at, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(bins + at, mask=mask, other=0)
    tl.store(dw + at, 2.0 * v * tl.load(g + b, mask=mask, other=0.0), mask=mask)


class Histogram(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, bins, count):
        w = w.contiguous()
        out = torch.zeros(count)
        histogram[(triton.cdiv(w.numel(), BLOCK),)](w, bins, out, w.numel(), BLOCK)
        ctx.save_for_backward(w, bins)
        return out

    @staticmethod
    def backward(ctx, g):
        w, bins = ctx.saved_tensors
        g = g.contiguous()
        dw = torch.empty_like(w)
        histogram_backward[(triton.cdiv(w.numel(), BLOCK),)](w, bins, g, dw, w.numel(), BLOCK)
        return dw, None, None


def function(w, bins):
    return Histogram.apply(w, bins, 4)


def point(dtype, rand):
    return rand(10).to(dtype).requires_grad_(), torch.tensor([0, 2, 2, 3, 0, 1, 2, 2, 3, 0])


MUTANTS = [
    (
        "atomic",
        "forward adds without an atomic",
        "tl.atomic_add(out + b, v * v, mask=mask)",
        "tl.store(out + b, tl.load(out + b, mask=mask, other=0.0) + v * v, mask=mask)",
    ),
    ("stale", "the histogram is not zeroed", "torch.zeros(count)", "torch.empty(count)"),
    ("term", "the 2 is left out", "2.0 * v * tl.load", "v * tl.load"),
    ("term", "the bin of the entry before", "tl.load(g + b, mask=mask", "tl.load(g + tl.maximum(b - 1, 0), mask=mask"),
    (
        "mask",
        "padding goes to bin 0 of the cotangent",
        "tl.store(dw + at, 2.0 * v * tl.load(g + b, mask=mask, other=0.0), mask=mask)",
        "tl.store(dw + at, 2.0 * v * tl.load(g + b, mask=mask, other=0.0))",
    ),
]
