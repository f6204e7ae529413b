"""Matrix product in tiles, after Triton's tutorial 3; both gradients by the same kernel over strides."""

import torch

import triton
import triton.language as tl


@triton.jit
def matmul(a, b, c, M, N, K, sam, sak, sbk, sbn, TILE: tl.constexpr):
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    acc = tl.zeros((TILE, TILE), dtype=tl.float32)
    for start in range(0, K, TILE):
        k = start + tl.arange(0, TILE)
        left = tl.load(
            a + rows[:, None] * sam + k[None, :] * sak, mask=(rows[:, None] < M) & (k[None, :] < K), other=0.0
        )
        right = tl.load(
            b + k[:, None] * sbk + columns[None, :] * sbn, mask=(k[:, None] < K) & (columns[None, :] < N), other=0.0
        )
        acc = tl.dot(left, right, acc)
    at = c + rows[:, None] * N + columns[None, :]
    tl.store(at, acc.to(c.dtype.element_ty), mask=(rows[:, None] < M) & (columns[None, :] < N))


def product(a, b, tile=4):
    (M, K), N = a.shape, b.shape[1]
    c = torch.empty(M, N, dtype=a.dtype)
    grid = (triton.cdiv(M, tile), triton.cdiv(N, tile))
    matmul[grid](a, b, c, M, N, K, a.stride(0), a.stride(1), b.stride(0), b.stride(1), tile)
    return c


class Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return product(a, b)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        da = product(g, b.T)
        db = product(a.T, g)
        return da, db


def function(a, b):
    return Matmul.apply(a, b)


def point(dtype, rand):
    return rand(5, 6).to(dtype).requires_grad_(), rand(6, 3).to(dtype).requires_grad_()


MUTANTS = [
    (
        "stale",
        "the accumulator starts anew in each tile",
        "acc = tl.dot(left, right, acc)",
        "acc = tl.dot(left, right)",
    ),
    (
        "tail",
        "the last tile of K is left out",
        "for start in range(0, K, TILE)",
        "for start in range(0, K - TILE, TILE)",
    ),
    (
        "other",
        "the tail of K is read as ones",
        "acc = tl.dot(left, right, acc)",
        "acc = tl.dot(tl.where(k[None, :] < K, left, 1.0).to(left.dtype), "
        "tl.where(k[:, None] < K, right, 1.0).to(left.dtype), acc)",
    ),
    (
        "mask",
        "the tail of K is not masked",
        "mask=(rows[:, None] < M) & (k[None, :] < K), other=0.0",
        "mask=rows[:, None] < M, other=0.0",
    ),
    ("stride", "b's strides are swapped in da", "da = product(g, b.T)", "da = product(g, b.T.reshape(b.shape).T)"),
    (
        "accumulator",
        "the accumulator is float16",
        "acc = tl.dot(left, right, acc)",
        "acc = tl.dot(left, right, acc).to(tl.float16).to(tl.float32)",
    ),
    ("term", "db with a that is not transposed", "db = product(a.T, g)", "db = product(a.flip(0).T, g)"),
    (
        "race",
        "all columns of tiles are one",
        "columns = tl.program_id(1) * TILE + tl.arange(0, TILE)",
        "columns = tl.arange(0, TILE)",
    ),
]
