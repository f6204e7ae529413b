# ruff: noqa: E501 - one entry, one line: a table
"""Attention by blocks of keys, with an online softmax."""

from __future__ import annotations

import math

import torch

from ..catalogue import Kernels, up

KERNELS = Kernels()
BLOCK = 8


def blocks(n):
    return [slice(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK)]


def causal(rows, keys, strict=False):
    i, j = torch.arange(rows)[:, None], torch.arange(keys.start, keys.stop)
    return i > j if strict else i >= j


def online(q, k, v, scale, mask=None):
    """The output of each query and its log-sum-exp, block after block of keys."""
    top = torch.full((*q.shape[:-1], 1), -1e30, dtype=q.dtype)
    total, out = torch.zeros_like(top), torch.zeros_like(q)
    for b in blocks(k.shape[-2]):
        s = q @ k[..., b, :].transpose(-1, -2) * scale
        if mask is not None:
            s = torch.where(mask(b), s, -1e30)
        peak = torch.maximum(top, s.amax(-1, keepdim=True))
        p, shrink = (s - peak).exp(), (top - peak).exp()
        total, out, top = total * shrink + p.sum(-1, keepdim=True), out * shrink + p @ v[..., b, :], peak
    return out / total, top + total.log()


def flash_backward(run, q, k, v, lse, delta, g, scale, mask=None, probability="", score="", accumulator=""):
    """The three gradients, block after block of keys."""
    dq = torch.zeros_like(q)
    dk, dv = [], []
    for b in blocks(k.shape[-2]):
        s = q @ k[..., b, :].transpose(-1, -2) * scale
        p = (s - lse).exp()
        if mask is not None:
            p = torch.where(mask(b), p, 0.0)
        p = run.narrow(probability, p) if probability else p
        dp = g @ v[..., b, :].transpose(-1, -2)
        ds = p * (dp - delta)
        ds = run.narrow(score, ds) if score else ds
        dq = run.add(accumulator, dq, ds @ k[..., b, :] * scale) if accumulator else dq + ds @ k[..., b, :] * scale
        dk.append(ds.transpose(-1, -2) @ q * scale)
        dv.append(p.transpose(-1, -2) @ g)
    return dq, torch.cat(dk, -2), torch.cat(dv, -2)


@KERNELS.add(
    "attention", "FlashAttention-2, Triton tutorial 06-fused-attention", lambda r: (r(16, 8), r(30, 8), r(30, 8)),
    {
        "lse": "the log-sum-exp is saved in 16 bits",
        "delta": "delta is made of the 16-bit output and stored in 16 bits",
        "dq": "dq is added up over the blocks in 16 bits",
    },
    {"scale": "a scale of 0.3535 for 1/√8 in the backward pass's gradients", "delta-short": "delta is short by 1e-3"},
)  # fmt: skip
class Attention:
    @staticmethod
    def forward(run, q, k, v):
        out, lse = online(up(q), up(k), up(v), 1 / math.sqrt(8))
        return run.down(out), (run.narrow("delta", out), run.narrow("lse", lse))

    @staticmethod
    def backward(run, args, saved, g):
        (q, k, v), (out, lse) = (tuple(map(up, args)), saved)
        delta = run.narrow("delta", (up(g) * out).sum(-1, keepdim=True)) * run.of("delta-short", 0.999, 1.0)
        scale = 1 / math.sqrt(8)
        dq, dk, dv = flash_backward(run, q, k, v, lse, delta, up(g), scale, accumulator="dq")
        factor = run.of("scale", 0.3535, scale) / scale
        return run.down(dq * factor), run.down(dk * factor), run.down(dv)


@KERNELS.add(
    "causal-attention", "FlashAttention-2, causal", lambda r: (r.of(2 * r.rng.standard_normal((24, 8))), r(24, 8), r(24, 8)),
    {
        "probability": "p is stored in 16 bits before dv and ds",
        "score": "ds is stored in 16 bits before dq and dk",
        "lse": "the log-sum-exp is saved in 16 bits",
    },
    {"diagonal": "the mask of the last block excludes the diagonal", "fill": "p is masked by a score of -10 in the backward pass"},
)  # fmt: skip
class CausalAttention:
    @staticmethod
    def forward(run, q, k, v):
        out, lse = online(up(q), up(k), up(v), 1 / math.sqrt(8), lambda b: causal(q.shape[0], b))
        return run.down(out), (out, run.narrow("lse", lse))

    @staticmethod
    def backward(run, args, saved, g):
        (q, k, v), (out, lse) = (tuple(map(up, args)), saved)
        delta = (up(g) * out).sum(-1, keepdim=True)
        n = q.shape[0]

        def mask(b):
            return causal(n, b, strict=run.has("diagonal") and b.stop == n)

        dq, dk, dv = flash_backward(
            run, q, k, v, lse, delta, up(g), 1 / math.sqrt(8), mask, probability="probability", score="score"
        )
        if run.has("fill"):
            leak = torch.where(causal(n, slice(0, n)), 0.0, (-10.0 - lse).exp())
            dv = dv + leak.T @ up(g)
        return run.down(dq), run.down(dk), run.down(dv)


@KERNELS.add(
    "grouped-query-attention", "FlashAttention-2, GQA: dk and dv are added up over the heads of a group",
    lambda r: (r(8, 6, 4), r(2, 9, 4), r(2, 9, 4)),
    {
        "heads": "dk is added up over the heads of a group in 16 bits",
        "delta": "delta is stored in 16 bits",
        "expanded": "dk and dv of each head are stored in 16 bits before they are added up",
    },
    {"last-head": "dv lacks 1e-3 of the last head of a group", "scale": "a scale of 0.499 for 1/2 in dk"},
)  # fmt: skip
class GroupedQueryAttention:
    @staticmethod
    def forward(run, q, k, v):
        out, lse = online(up(q), up(k).repeat_interleave(4, 0), up(v).repeat_interleave(4, 0), 0.5)
        return run.down(out), (out, lse)

    @staticmethod
    def backward(run, args, saved, g):
        (q, k, v), (out, lse) = (tuple(map(up, args)), saved)
        delta = run.narrow("delta", (up(g) * out).sum(-1, keepdim=True))
        wide_k, wide_v = k.repeat_interleave(4, 0), v.repeat_interleave(4, 0)
        dq, dk, dv = flash_backward(run, q, wide_k, wide_v, lse, delta, up(g), 0.5)
        dk = run.narrow("expanded", dk * (run.of("scale", 0.499, 0.5) / 0.5)).reshape(2, 4, 9, 4).transpose(0, 1)
        dv = run.narrow("expanded", dv).reshape(2, 4, 9, 4).transpose(0, 1)
        if run.has("last-head"):
            dv = torch.cat([dv[:3], dv[3:] * 0.999])
        return run.down(dq), run.down(run.rows("heads", dk)), run.down(dv.sum(0))
