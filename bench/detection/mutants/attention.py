# ruff: noqa: E501 - one entry, one line: a table
"""Class 25: attention. The forward is the plain one; the backward passes are those of fused kernels, with their mistakes."""

from __future__ import annotations

import torch

from ..catalogue import Table

ENTRIES = T = Table(25)
INF = float("inf")


def logits(q, k, causal=False, scale=None, window=None, cap=None):
    s = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if cap:
        s = cap * torch.tanh(s / cap)
    i, j = torch.arange(s.shape[-2])[:, None], torch.arange(s.shape[-1])[None]
    if causal:
        s = torch.where(j <= i, s, -INF)
    if window:
        s = torch.where((i - j).abs() < window, s, -INF)
    return s


def attend(q, k, v, **how):
    return torch.softmax(logits(q, k, **how), -1) @ v


def grads(g, q, k, v, p=None, delta=None, scale=None, ds=None, **how):
    """dq, dk, dv by the formulas of flash attention; every part can be replaced."""
    c = q.shape[-1] ** -0.5 if scale is None else scale
    p = torch.softmax(logits(q, k, **how), -1) if p is None else p
    dp = g @ v.transpose(-1, -2)
    d = ((p * dp).sum(-1, keepdim=True)) if delta is None else delta
    s = p * (dp - d)
    s = s if ds is None else ds(s)
    return c * s @ k, c * s.transpose(-1, -2) @ q, p.transpose(-1, -2) @ g


def _qkv(r):
    return r(4, 3), r(4, 3), r(4, 3)


def att(name, about, wrong, args=_qkv, mended=True, how=None, **more):
    how = how or {}
    T.pair(name, about, lambda q, k, v: attend(q, k, v, **how), wrong, (lambda g, o, q, k, v: grads(g, q, k, v, **how)) if mended else None, args, **more)  # fmt: skip


att("no-scale", "1/√d is left out of dq and dk", lambda g, o, q, k, v: grads(g, q, k, v, scale=1.0), quick=True)
att("no-delta", "the row sum Σp·dp is left out", lambda g, o, q, k, v: grads(g, q, k, v, delta=0.0))
att(
    "delta-of-neighbour",
    "the row sum of the next row",
    lambda g, o, q, k, v: grads(g, q, k, v, delta=(g * o).sum(-1, keepdim=True).roll(1, 0)),
)
att(
    "delta-rounded-bf16",
    "the row sum in bfloat16",
    lambda g, o, q, k, v: grads(g, q, k, v, delta=(g * o).sum(-1, keepdim=True).bfloat16().to(q.dtype)),
)
att("causal-off-by-one", "causal: the backward pass recomputes with the diagonal masked", lambda g, o, q, k, v: grads(g, q, k, v, p=torch.nan_to_num(torch.softmax(torch.where(torch.arange(4)[None] < torch.arange(4)[:, None], logits(q, k), -INF), -1))),
    how={"causal": True}, source="flash-attention#2623", quick=True)  # fmt: skip
att(
    "causal-not-in-backward",
    "causal: recomputed without the mask",
    lambda g, o, q, k, v: grads(g, q, k, v),
    how={"causal": True},
)
att(
    "causal-mask-on-ds-only",
    "causal: p recomputed without the mask, ds masked afterwards",
    lambda g, o, q, k, v: grads(g, q, k, v, ds=torch.tril),
    how={"causal": True},
)
att(
    "window-one-wider",
    "a sliding window: one wider in the backward pass",
    lambda g, o, q, k, v: grads(g, q, k, v, window=3),
    how={"window": 2},
)
att(
    "softcap-no-derivative",
    "soft-capped logits: the cap's derivative is left out",
    lambda g, o, q, k, v: grads(g, q, k, v, cap=2.0),
    mended=False,
    how={"cap": 2.0},
)
att("unshifted-exp", "p recomputed as exp(s)/Σexp(s) without the maximum: Gaussian inputs do not show it", lambda g, o, q, k, v: grads(g, q, k, v, p=logits(q, k).exp() / logits(q, k).exp().sum(-1, keepdim=True)),
    lambda r: (r.of(800 * torch.eye(3)[[0, 1, 2, 0]].numpy()), r.of(2 * torch.eye(3)[[0, 1, 2, 1]].numpy()), r(4, 3)), source="flash-attention#2623")  # fmt: skip
att(
    "unshifted-exp-elsewhere",
    "the same, at Gaussian inputs",
    lambda g, o, q, k, v: grads(g, q, k, v, p=logits(q, k).exp() / logits(q, k).exp().sum(-1, keepdim=True)),
    mended=False,
    elsewhere="large logits",
)
att("large-logits-clipped", "logits above 10 are clipped when recomputed", lambda g, o, q, k, v: grads(g, q, k, v, p=torch.softmax(logits(q, k).clamp(max=10), -1)), lambda r: (r.of(r(4, 3).detach().numpy() * 12), r.of(r(4, 3).detach().numpy() * 4), r(4, 3)),
    source="TransformerEngine#3216")  # fmt: skip
att(
    "probabilities-saved-in-half",
    "p is saved in float16",
    lambda g, o, q, k, v: grads(g, q, k, v, p=torch.softmax(logits(q, k), -1).half().to(q.dtype)),
)
att(
    "dv-from-transposed-p",
    "dv uses p, not its transpose (square)",
    lambda g, o, q, k, v: (*grads(g, q, k, v)[:2], torch.softmax(logits(q, k), -1) @ g),
)
att(
    "dq-and-dk-swapped",
    "dq and dk swapped",
    lambda g, o, q, k, v: (*reversed(grads(g, q, k, v)[:2]), grads(g, q, k, v)[2]),
)
att(
    "last-key-block-dropped",
    "tiles of two keys: the tail of five is dropped from dk and dv",
    lambda g, o, q, k, v: _tail_dropped(grads(g, q, k, v)),
    lambda r: (r(4, 3), r(5, 3), r(5, 3)),
)
att("small-p-flushed", "p below 1e-3 is flushed to zero", lambda g, o, q, k, v: grads(g, q, k, v, p=(lambda p: torch.where(p < 1e-3, 0.0, p))(torch.softmax(logits(q, k), -1))),
    lambda r: (r.of(r(4, 3).detach().numpy() * 3), r.of(r(4, 3).detach().numpy() * 3), r(4, 3)))  # fmt: skip


def _tail_dropped(d):
    dq, dk, dv = d
    keep = (torch.arange(dk.shape[0]) < dk.shape[0] // 2 * 2)[:, None]
    return dq, dk * keep, dv * keep


def _gqa(q, k, v):
    """Four query heads on two key heads: (H,T,D) on (H/2,T,D)."""
    return attend(q, k.repeat_interleave(2, 0), v.repeat_interleave(2, 0))


def _gqa_grads(g, q, k, v, fold):
    dq, dk, dv = grads(g, q, k.repeat_interleave(2, 0), v.repeat_interleave(2, 0))
    return dq, fold(dk), fold(dv)


T.pair("gqa-last-head", "grouped queries: dk and dv of the last query head of the group only", _gqa, lambda g, o, q, k, v: _gqa_grads(g, q, k, v, lambda t: t[1::2]), lambda g, o, q, k, v: _gqa_grads(g, q, k, v, lambda t: t.unflatten(0, (-1, 2)).sum(1)),
       lambda r: (r(4, 3, 2), r(2, 3, 2), r(2, 3, 2)), quick=True)  # fmt: skip
T.pair("gqa-interleaved", "grouped queries: heads h and h+2 are folded, not 2h and 2h+1", _gqa, lambda g, o, q, k, v: _gqa_grads(g, q, k, v, lambda t: t[:2] + t[2:]), None, lambda r: (r(4, 3, 2), r(2, 3, 2), r(2, 3, 2)))  # fmt: skip


def _biased(q, k, v, b):
    return torch.softmax(logits(q, k) + b, -1) @ v


T.pair("bias-not-summed", "a bias of shape (T): its gradient is that of the last query", _biased, lambda g, o, q, k, v, b: (None, None, None, _ds(g, q, k, v, b)[-1]), lambda g, o, q, k, v, b: (None, None, None, _ds(g, q, k, v, b).sum(0)),
       lambda r: (r(4, 3).detach(), r(4, 3).detach(), r(4, 3).detach(), r(4)))  # fmt: skip


def _ds(g, q, k, v, b):
    p = torch.softmax(logits(q, k) + b, -1)
    dp = g @ v.T
    return p * (dp - (p * dp).sum(-1, keepdim=True))
