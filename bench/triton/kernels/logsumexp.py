"""log(sum(exp(x))) of rows, by a scan that the user combines, and a block pointer; after FlagGems'."""

import torch

import triton
import triton.language as tl


@triton.jit
def combine(m, s, n, t):
    new = tl.maximum(m, n)
    return new, s * tl.exp(m - new) + t * tl.exp(n - new)


@triton.jit
def logsumexp(x, y, rows, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.make_block_ptr(x, (rows, n), (n, 1), (row, 0), (1, BLOCK), (1, 0))
    v = tl.load(at, boundary_check=(1,), padding_option="zero").to(tl.float32)
    v = tl.where(tl.arange(0, BLOCK)[None, :] < n, v, float("-inf"))
    m, s = tl.reduce((v, tl.where(v > float("-inf"), 1.0, 0.0)), 1, combine)
    tl.store(y + row + tl.arange(0, 1), m + tl.log(s))


@triton.jit
def logsumexp_backward(x, y, g, dx, rows, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.make_block_ptr(x, (rows, n), (n, 1), (row, 0), (1, BLOCK), (1, 0))
    to = tl.make_block_ptr(dx, (rows, n), (n, 1), (row, 0), (1, BLOCK), (1, 0))
    v = tl.load(at, boundary_check=(1,), padding_option="zero").to(tl.float32)
    d = tl.load(g + row).to(tl.float32)
    out = d * tl.exp(v - tl.load(y + row))
    tl.store(to, out.to(dx.dtype.element_ty), boundary_check=(1,))


class Logsumexp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        rows, n = x.shape
        y = torch.empty(rows)
        logsumexp[(rows,)](x, y, rows, n, triton.next_power_of_2(n))
        ctx.save_for_backward(x, y)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        g = g.contiguous()
        rows, n = x.shape
        dx = torch.empty_like(x)
        logsumexp_backward[(rows,)](x, y, g, dx, rows, n, triton.next_power_of_2(n))
        return dx


def function(x):
    return Logsumexp.apply(x)


def point(dtype, rand):
    return (rand(3, 5).to(dtype).requires_grad_(),)


MUTANTS = [
    (
        "mask",
        "the block is stored without a boundary check",
        "tl.store(to, out.to(dx.dtype.element_ty), boundary_check=(1,))",
        "tl.store(to, out.to(dx.dtype.element_ty))",
    ),
    ("sign", "exp(y - v)", "tl.exp(v - tl.load(y + row))", "tl.exp(tl.load(y + row) - v)"),
    ("term", "the cotangent of the first row for all", "d = tl.load(g + row)", "d = tl.load(g)"),
    ("stale", "the smaller sum is not rescaled", "s * tl.exp(m - new) + t", "s + t"),
]
