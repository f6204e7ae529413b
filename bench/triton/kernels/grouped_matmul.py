"""One matrix product for each group of rows (a mixture of experts), after Triton's tutorial 8 and MegaBlocks."""

import torch

import triton
import triton.language as tl


@triton.jit
def grouped(x, w, y, starts, N, K, swk, swn, TILE: tl.constexpr):
    group = tl.program_id(0)
    first = tl.load(starts + group)
    last = tl.load(starts + group + 1)
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    for row in range(first, last, TILE):
        rows = row + tl.arange(0, TILE)
        acc = tl.zeros((TILE, TILE), dtype=tl.float32)
        for start in range(0, K, TILE):
            k = start + tl.arange(0, TILE)
            left = tl.load(
                x + rows[:, None] * K + k[None, :], mask=(rows[:, None] < last) & (k[None, :] < K), other=0.0
            )
            right = tl.load(
                w + group * N * K + k[:, None] * swk + columns[None, :] * swn,
                mask=(k[:, None] < K) & (columns[None, :] < N),
                other=0.0,
            )
            acc = tl.dot(left, right, acc)
        at = y + rows[:, None] * N + columns[None, :]
        tl.store(at, acc.to(y.dtype.element_ty), mask=(rows[:, None] < last) & (columns[None, :] < N))


@triton.jit
def grouped_weight(x, g, dw, starts, N, K, TILE: tl.constexpr):
    group = tl.program_id(0)
    first = tl.load(starts + group)
    last = tl.load(starts + group + 1)
    k = tl.program_id(1) * TILE + tl.arange(0, TILE)
    columns = tl.arange(0, TILE)
    acc = tl.zeros((TILE, TILE), dtype=tl.float32)
    for row in range(first, last, TILE):
        rows = row + tl.arange(0, TILE)
        left = tl.load(x + rows[None, :] * K + k[:, None], mask=(rows[None, :] < last) & (k[:, None] < K), other=0.0)
        right = tl.load(
            g + rows[:, None] * N + columns[None, :], mask=(rows[:, None] < last) & (columns[None, :] < N), other=0.0
        )
        acc += tl.dot(left, right)
    at = dw + group * K * N + k[:, None] * N + columns[None, :]
    tl.store(at, acc.to(dw.dtype.element_ty), mask=(k[:, None] < K) & (columns[None, :] < N))


class Grouped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, starts):
        x, w = x.contiguous(), w.contiguous()
        groups, K, N = w.shape
        y = torch.empty(x.shape[0], N, dtype=x.dtype)
        grouped[(groups, triton.cdiv(N, 4))](x, w, y, starts, N, K, N, 1, 4)
        ctx.save_for_backward(x, w, starts)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w, starts = ctx.saved_tensors
        g = g.contiguous()
        groups, K, N = w.shape
        dx, dw = torch.empty_like(x), torch.empty_like(w)
        grouped[(groups, triton.cdiv(K, 4))](g, w, dx, starts, K, N, 1, N, 4)
        grouped_weight[(groups, triton.cdiv(K, 4))](x, g, dw, starts, N, K, 4)
        return dx, dw, None


def function(x, w, starts):
    return Grouped.apply(x, w, starts)


def point(dtype, rand):
    return rand(8, 5).to(dtype).requires_grad_(), rand(2, 5, 3).to(dtype).requires_grad_(), torch.tensor([0, 5, 8])


MUTANTS = [
    ("stride", "the weight is not transposed for dx", "starts, K, N, 1, N, 4)", "starts, K, N, K, 1, 4)"),
    (
        "mask",
        "rows of the next group are read and written",
        "mask=(rows[:, None] < last) & (columns[None, :] < N))\n\n\n@triton.jit\ndef grouped_weight",
        "mask=columns[None, :] < N)\n\n\n@triton.jit\ndef grouped_weight",
    ),
    (
        "mask",
        "dw takes a row of the next group",
        "last = tl.load(starts + group + 1)\n    k =",
        "last = tl.load(starts + group + 1) + 1\n    k =",
    ),
    ("stale", "dw has the last tile of rows alone", "acc += tl.dot(left, right)", "acc = tl.dot(left, right)"),
    (
        "tail",
        "the last tile of K is not launched for dw",
        "grouped_weight[(groups, triton.cdiv(K, 4))]",
        "grouped_weight[(groups, K // 4)]",
    ),
]
