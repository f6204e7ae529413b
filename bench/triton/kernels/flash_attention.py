"""Causal attention by the online softmax, after Triton's tutorial 6 and FlashAttention 2; exp in place of exp2."""

import torch

import triton
import triton.language as tl

TILE = 4


@triton.jit
def attend(q, k, v, o, lse, T, D, scale, TILE: tl.constexpr, DIM: tl.constexpr):
    head = tl.program_id(1) * T * D
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    d = tl.arange(0, DIM)
    inside = (rows[:, None] < T) & (d[None, :] < D)
    left = tl.load(q + head + rows[:, None] * D + d[None, :], mask=inside, other=0.0)
    m = tl.full([TILE], float("-inf"), dtype=tl.float32)
    s = tl.zeros([TILE], dtype=tl.float32)
    acc = tl.zeros([TILE, DIM], dtype=tl.float32)
    for start in range(0, (tl.program_id(0) + 1) * TILE, TILE):
        cols = start + tl.arange(0, TILE)
        there = (cols[:, None] < T) & (d[None, :] < D)
        key = tl.load(k + head + cols[:, None] * D + d[None, :], mask=there, other=0.0)
        value = tl.load(v + head + cols[:, None] * D + d[None, :], mask=there, other=0.0)
        score = tl.dot(left, tl.trans(key)) * scale
        score = tl.where(rows[:, None] >= cols[None, :], score, float("-inf"))
        new = tl.maximum(m, tl.max(score, 1))
        p = tl.exp(score - new[:, None])
        alpha = tl.exp(m - new)
        s = s * alpha + tl.sum(p, 1)
        acc = acc * alpha[:, None] + tl.dot(p, value.to(tl.float32))
        m = new
    acc = acc / s[:, None]
    tl.store(o + head + rows[:, None] * D + d[None, :], acc.to(o.dtype.element_ty), mask=inside)
    tl.store(lse + tl.program_id(1) * T + rows, m + tl.log(s), mask=rows < T)


@triton.jit
def attend_delta(o, g, delta, T, D, TILE: tl.constexpr, DIM: tl.constexpr):
    head = tl.program_id(1) * T * D
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    d = tl.arange(0, DIM)
    inside = (rows[:, None] < T) & (d[None, :] < D)
    out = tl.load(o + head + rows[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
    do = tl.load(g + head + rows[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
    tl.store(delta + tl.program_id(1) * T + rows, tl.sum(out * do, 1), mask=rows < T)


@triton.jit
def attend_backward(q, k, v, g, lse, delta, dq, dk, dv, T, D, scale, TILE: tl.constexpr, DIM: tl.constexpr):
    head = tl.program_id(1) * T * D
    cols = tl.program_id(0) * TILE + tl.arange(0, TILE)
    d = tl.arange(0, DIM)
    there = (cols[:, None] < T) & (d[None, :] < D)
    key = tl.load(k + head + cols[:, None] * D + d[None, :], mask=there, other=0.0).to(tl.float32)
    value = tl.load(v + head + cols[:, None] * D + d[None, :], mask=there, other=0.0).to(tl.float32)
    total_k = tl.zeros([TILE, DIM], dtype=tl.float32)
    total_v = tl.zeros([TILE, DIM], dtype=tl.float32)
    for start in range(tl.program_id(0) * TILE, T, TILE):
        rows = start + tl.arange(0, TILE)
        inside = (rows[:, None] < T) & (d[None, :] < D)
        query = tl.load(q + head + rows[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
        do = tl.load(g + head + rows[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
        z = tl.load(lse + tl.program_id(1) * T + rows, mask=rows < T, other=0.0)
        inner = tl.load(delta + tl.program_id(1) * T + rows, mask=rows < T, other=0.0)
        p = tl.exp(tl.dot(query, tl.trans(key)) * scale - z[:, None])
        p = tl.where((rows[:, None] >= cols[None, :]) & (rows[:, None] < T), p, 0.0)
        total_v += tl.dot(tl.trans(p), do)
        dp = tl.dot(do, tl.trans(value))
        ds = p * (dp - inner[:, None]) * scale
        total_k += tl.dot(tl.trans(ds), query)
        tl.atomic_add(dq + head + rows[:, None] * D + d[None, :], tl.dot(ds, key), mask=inside)
    tl.store(dk + head + cols[:, None] * D + d[None, :], total_k.to(dk.dtype.element_ty), mask=there)
    tl.store(dv + head + cols[:, None] * D + d[None, :], total_v.to(dv.dtype.element_ty), mask=there)


class Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        H, T, D = q.shape
        o, lse = torch.empty(H, T, D), torch.empty(H, T)
        attend[(triton.cdiv(T, TILE), H)](q, k, v, o, lse, T, D, 0.5, TILE, triton.next_power_of_2(D))
        ctx.save_for_backward(q, k, v, o, lse)
        return o.to(q.dtype)

    @staticmethod
    def backward(ctx, g):
        q, k, v, o, lse = ctx.saved_tensors
        g = g.contiguous()
        H, T, D = q.shape
        DIM = triton.next_power_of_2(D)
        delta = torch.empty(H, T)
        dq, dk, dv = torch.zeros(H, T, D), torch.empty_like(k), torch.empty_like(v)
        grid = (triton.cdiv(T, TILE), H)
        attend_delta[grid](o, g, delta, T, D, TILE, DIM)
        attend_backward[grid](q, k, v, g, lse, delta, dq, dk, dv, T, D, 0.5, TILE, DIM)
        return dq.to(q.dtype), dk, dv


def function(q, k, v):
    return Attention.apply(q, k, v)


def point(dtype, rand):
    return tuple(rand(2, 7, 3).to(dtype).requires_grad_() for _ in range(3))


MUTANTS = [
    (
        "causal",
        "backward leaves the diagonal out",
        "(rows[:, None] >= cols[None, :]) & (rows[:, None] < T)",
        "(rows[:, None] > cols[None, :]) & (rows[:, None] < T)",
    ),
    (
        "causal",
        "backward attends one ahead",
        "(rows[:, None] >= cols[None, :]) & (rows[:, None] < T)",
        "(rows[:, None] + 1 >= cols[None, :]) & (rows[:, None] < T)",
    ),
    ("term", "delta is left out", "p * (dp - inner[:, None]) * scale", "p * dp * scale"),
    ("sign", "delta has the wrong sign", "(dp - inner[:, None])", "(dp + inner[:, None])"),
    ("term", "the scale is left out of ds", "p * (dp - inner[:, None]) * scale", "p * (dp - inner[:, None])"),
    (
        "atomic",
        "dq is added without an atomic",
        "tl.atomic_add(dq + head + rows[:, None] * D + d[None, :], tl.dot(ds, key), mask=inside)",
        "tl.store(dq + head + rows[:, None] * D + d[None, :], tl.load(dq + head + rows[:, None] * D + d[None, :], "
        "mask=inside, other=0.0) + tl.dot(ds, key), mask=inside)",
    ),
    (
        "stale",
        "the accumulator is not rescaled for the new maximum",
        "acc = acc * alpha[:, None] + tl.dot",
        "acc = acc + tl.dot",
    ),
    ("stale", "dk has the last tile alone", "total_k += tl.dot", "total_k = tl.dot"),
    (
        "tail",
        "backward starts a tile too late",
        "range(tl.program_id(0) * TILE, T, TILE)",
        "range(tl.program_id(0) * TILE + TILE, T, TILE)",
    ),
    (
        "stride",
        "delta of the first head for all",
        "tl.load(delta + tl.program_id(1) * T + rows",
        "tl.load(delta + rows",
    ),
    (
        "accumulator",
        "p is rounded to float16",
        "total_v += tl.dot(tl.trans(p), do)",
        "total_v += tl.dot(tl.trans(p.to(tl.float16).to(tl.float32)), do)",
    ),
]
