"""An embedding: rows gathered, and added up by atomics in the backward pass, after Liger's."""

import torch

import triton
import triton.language as tl


@triton.jit
def gather(table, ids, out, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    source = tl.load(ids + row)
    tl.store(out + row * n + at, tl.load(table + source * n + at, mask=at < n, other=0.0), mask=at < n)


@triton.jit
def scatter(g, ids, table, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    target = tl.load(ids + row)
    d = tl.load(g + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    tl.atomic_add(table + target * n + at, d, mask=at < n)


class Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, ids):
        table = table.contiguous()
        n = table.shape[1]
        out = torch.empty(ids.numel(), n, dtype=table.dtype)
        gather[(ids.numel(),)](table, ids, out, n, triton.next_power_of_2(n))
        ctx.save_for_backward(ids)
        ctx.shape, ctx.dtype = table.shape, table.dtype
        return out

    @staticmethod
    def backward(ctx, g):
        (ids,) = ctx.saved_tensors
        g = g.contiguous()
        n = g.shape[1]
        table = torch.zeros(ctx.shape)
        scatter[(ids.numel(),)](g, ids, table, n, triton.next_power_of_2(n))
        return table.to(ctx.dtype), None


def function(table, ids):
    return Embedding.apply(table * table, ids)


def point(dtype, rand):
    return rand(4, 5).to(dtype).requires_grad_(), torch.tensor([1, 3, 1, 0, 1])


MUTANTS = [
    (
        "atomic",
        "rows are stored, not added",
        "tl.atomic_add(table + target * n + at, d, mask=at < n)",
        "tl.store(table + target * n + at, d, mask=at < n)",
    ),
    ("stale", "the table is not zeroed", "torch.zeros(ctx.shape)", "torch.empty(ctx.shape)"),
    ("tail", "the last id is left out", "scatter[(ids.numel(),)]", "scatter[(ids.numel() - 1,)]"),
    ("stride", "rows are taken by their number", "target = tl.load(ids + row)", "target = row % 4"),
]
