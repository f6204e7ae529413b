"""x times int8 weights with a scale for each column, after LLM.int8's and GPTQ's kernels; gradients for x and the scales."""

import torch

import triton
import triton.language as tl


@triton.jit
def product(x, w, s, y, M, N, K, TILE: tl.constexpr):
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    acc = tl.zeros((TILE, TILE), dtype=tl.float32)
    for start in range(0, K, TILE):
        k = start + tl.arange(0, TILE)
        left = tl.load(x + rows[:, None] * K + k[None, :], mask=(rows[:, None] < M) & (k[None, :] < K), other=0.0)
        right = tl.load(w + k[:, None] * N + columns[None, :], mask=(k[:, None] < K) & (columns[None, :] < N), other=0)
        acc += tl.dot(left.to(tl.float32), right.to(tl.float32))
    scale = tl.load(s + columns, mask=columns < N, other=0.0).to(tl.float32)
    at = y + rows[:, None] * N + columns[None, :]
    tl.store(at, (acc * scale[None, :]).to(y.dtype.element_ty), mask=(rows[:, None] < M) & (columns[None, :] < N))


@triton.jit
def product_dx(g, w, s, dx, M, N, K, TILE: tl.constexpr):
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    k = tl.program_id(1) * TILE + tl.arange(0, TILE)
    acc = tl.zeros((TILE, TILE), dtype=tl.float32)
    for start in range(0, N, TILE):
        n = start + tl.arange(0, TILE)
        left = tl.load(g + rows[:, None] * N + n[None, :], mask=(rows[:, None] < M) & (n[None, :] < N), other=0.0)
        scale = tl.load(s + n, mask=n < N, other=0.0).to(tl.float32)
        right = tl.load(w + k[None, :] * N + n[:, None], mask=(k[None, :] < K) & (n[:, None] < N), other=0)
        acc += tl.dot(left.to(tl.float32) * scale[None, :], right.to(tl.float32))
    at = dx + rows[:, None] * K + k[None, :]
    tl.store(at, acc.to(dx.dtype.element_ty), mask=(rows[:, None] < M) & (k[None, :] < K))


@triton.jit
def product_ds(g, x, w, ds, M, N, K, TILE: tl.constexpr):
    n = tl.program_id(0)
    total = 0.0
    for start in range(0, M, TILE):
        rows = start + tl.arange(0, TILE)
        d = tl.load(g + rows * N + n, mask=rows < M, other=0.0).to(tl.float32)
        for k in range(0, K):
            u = tl.load(x + rows * K + k, mask=rows < M, other=0.0).to(tl.float32)
            total += tl.sum(d * u) * tl.load(w + k * N + n).to(tl.float32)
    tl.store(ds + n, total.to(ds.dtype.element_ty))


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, s, w):
        x, s = x.contiguous(), s.contiguous()
        (M, K), N = x.shape, w.shape[1]
        y = torch.empty(M, N, dtype=x.dtype)
        product[(triton.cdiv(M, 4), triton.cdiv(N, 4))](x, w, s, y, M, N, K, 4)
        ctx.save_for_backward(x, s, w)
        return y

    @staticmethod
    def backward(ctx, g):
        x, s, w = ctx.saved_tensors
        g = g.contiguous()
        (M, K), N = x.shape, w.shape[1]
        dx, ds = torch.empty_like(x), torch.empty_like(s)
        product_dx[(triton.cdiv(M, 4), triton.cdiv(K, 4))](g, w, s, dx, M, N, K, 4)
        product_ds[(N,)](g, x, w, ds, M, N, K, 4)
        return dx, ds, None


def function(x, s, w):
    return Product.apply(x, s, w)


def point(dtype, rand):
    w = (rand(6, 3) * 30).to(torch.int8)
    return rand(5, 6).to(dtype).requires_grad_(), rand(3).to(dtype).requires_grad_(), w


MUTANTS = [
    ("term", "dx without the scales", "left.to(tl.float32) * scale[None, :]", "left.to(tl.float32)"),
    (
        "stale",
        "dx of the last tile alone",
        "acc += tl.dot(left.to(tl.float32) * scale",
        "acc = tl.dot(left.to(tl.float32) * scale",
    ),
    (
        "stride",
        "w is read transposed",
        "tl.load(w + k[None, :] * N + n[:, None]",
        "tl.load(w + k[None, :] + n[:, None] * K",
    ),
    (
        "tail",
        "the last tile of rows is left out of ds",
        "for start in range(0, M, TILE)",
        "for start in range(0, M - TILE, TILE)",
    ),
    ("mask", "the scales are read without a mask", "tl.load(s + n, mask=n < N, other=0.0)", "tl.load(s + n)"),
    (
        "accumulator",
        "ds is added up in float16",
        "total.to(ds.dtype.element_ty)",
        "total.to(tl.float16).to(ds.dtype.element_ty)",
    ),
]
