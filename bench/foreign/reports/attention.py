"""Attention and linear attention: flash-linear-attention, flash-attention, the Triton tutorial, and others."""

from __future__ import annotations

from typing import Any

import torch

from ..catalogue import Reports, right_gradient

REPORTS = T = Reports()


def _conv(x: Any, w: Any, h: Any) -> Any:
    """A causal convolution of width 4 that goes on from the state h: the outputs, then the state at the end."""
    all_ = torch.cat([h, x])
    return torch.cat([all_[1:].unfold(0, 4, 1) @ w, all_[len(x) :]])


def _conv_gradient(g: Any, x: Any, w: Any, h: Any, good: bool) -> Any:
    n = len(x)
    all_, gy, gh = torch.cat([h, x]), g[:n], g[n:]
    d = torch.zeros_like(all_)
    for t in range(n):
        d = d + torch.nn.functional.pad(gy[t] * w, (t + 1, n - 1 - t))
    if good:
        d = d + torch.cat([torch.zeros_like(x), gh])
    else:  # the slot of token t is counted from the first token that stays, and that is clamped at 0
        first = max(0, n - 3)
        late = [gh[t - first + 1] if 0 < t - first + 1 < 4 else gh[0] * 0 for t in range(n)]
        if n >= 4:
            late[n - 4] = gh[0]
        d = d + torch.cat([torch.zeros_like(h), torch.stack(late)])
    return d[4:], gy @ all_[1:].unfold(0, 4, 1), d[:4]


T.pair(
    "fla-org/flash-linear-attention#1140",
    14,
    "causal_conv1d of fewer tokens than its width: the final state's cotangent is shifted, and stops short",
    _conv,
    lambda g, o, x, w, h: _conv_gradient(g, x, w, h, False),
    lambda g, o, x, w, h: _conv_gradient(g, x, w, h, True),
    lambda r: (r(2), r(4), r(4)),
)


def _gated(q: Any, k: Any, v: Any, decay: Any) -> Any:
    """Linear attention with a scalar decay."""
    c = decay.cumsum(0)
    return ((q @ k.T) * (c[:, None] - c[None]).tril().exp()).tril() @ v


def _without_decay(g: Any, q: Any, k: Any, v: Any, decay: Any) -> Any:
    dq, dk, _, dd = right_gradient(_gated)(g, None, q, k, v, decay)
    return dq, dk, (q @ k.T).tril().T @ g, dd


T.pair(
    "fla-org/flash-linear-attention#6",
    25,
    "simple GLA: the gradient of the values is without the decay",
    _gated,
    lambda g, o, q, k, v, d: _without_decay(g, q, k, v, d),
    right_gradient(_gated),
    lambda r: (r(4, 3), r(4, 3), r(4, 2), r.of([-0.1, -0.5, -0.3, -0.7])),
)  # fmt: skip


def _decayed(x: Any, gates: Any) -> Any:
    return x * gates.exp()[:, None]


T.pair(
    "fla-org/flash-linear-attention#1115",
    25,
    "KDA: the backward pass loads the first head's decay for every head",
    _decayed,
    lambda g, o, x, c: (g * c[0].exp(), (g * o).sum(-1)),
    lambda g, o, x, c: (g * c.exp()[:, None], (g * o).sum(-1)),
    lambda r: (r(3, 4), r(3)),
)


def _ragged(q: Any, k: Any, v: Any) -> Any:
    """Causal attention aligned at the end: with more queries than keys the first rows see nothing, and give 0."""
    return _ragged_weights(q, k) @ v


def _ragged_scores(q: Any, k: Any) -> tuple[Any, Any]:
    seen = torch.arange(len(k))[None] <= torch.arange(len(q))[:, None] + len(k) - len(q)
    return q @ k.T, seen


def _ragged_weights(q: Any, k: Any) -> Any:
    s, seen = _ragged_scores(q, k)
    e = torch.where(seen, s, torch.zeros_like(s)).exp() * seen
    total = e.sum(-1, keepdim=True)
    return e / torch.where(total > 0, total, torch.ones_like(total))


def _ragged_gradient(g: Any, q: Any, k: Any, v: Any, good: bool) -> Any:
    p = _ragged_weights(q, k)
    dp = g @ v.T
    ds = p * (dp - (p * dp).sum(-1, keepdim=True))
    dq = ds @ k
    if not good:  # exp(s - lse) with both -inf
        s, seen = _ragged_scores(q, k)
        lse = s.masked_fill(~seen, -torch.inf).logsumexp(-1)
        dq = dq + torch.where(lse == -torch.inf, torch.nan, 0.0)[:, None].to(dq.dtype)
    return dq, ds.T @ q, p.T @ g


T.pair(
    "Dao-AILab/flash-attention#443",
    10,
    "causal attention with more queries than keys: dq is NaN in rows that see no key",
    _ragged,
    lambda g, o, q, k, v: _ragged_gradient(g, q, k, v, False),
    lambda g, o, q, k, v: _ragged_gradient(g, q, k, v, True),
    lambda r: (r(4, 3), r(2, 3), r(2, 3)),
)


def _attend(q: Any, k: Any, v: Any) -> Any:
    return (q @ k.T).softmax(-1) @ v


def _attend_gradient(g: Any, q: Any, k: Any, v: Any, keep: Any = 1.0) -> Any:
    p = (q @ k.T).softmax(-1)
    dp = g @ v.T
    ds = p * (dp - (p * dp).sum(-1, keepdim=True)) * keep
    return ds @ k, ds.T @ q, (p * keep).T @ g


def _misaligned(dv: Any) -> Any:
    """Columns are stored in tiles of four; a last tile that is no whole one is shifted by a column."""
    whole = dv.shape[1] // 4 * 4
    return torch.cat([dv[:, :whole], dv[:, whole:].roll(1, -1)], -1)


T.pair(
    "Dao-AILab/flash-attention#2552",
    14,
    "MLA shapes: dv is stored in tiles made for dk, whose columns do not divide those of dv",
    _attend,
    lambda g, o, q, k, v: (*_attend_gradient(g, q, k, v)[:2], _misaligned(_attend_gradient(g, q, k, v)[2])),
    lambda g, o, q, k, v: _attend_gradient(g, q, k, v),
    lambda r: (r(3, 8), r(3, 8), r(3, 6)),
)


def _halves(q: Any, k: Any) -> Any:
    """Blocks of two: which a loop that starts at the diagonal visits."""
    return (torch.arange(len(q))[:, None] // 2 >= torch.arange(len(k))[None] // 2).to(q.dtype)


T.pair(
    "triton-lang/triton#5660",
    25,
    "the tutorial's attention without a causal mask: the backward loops start at the diagonal all the same",
    _attend,
    lambda g, o, q, k, v: _attend_gradient(g, q, k, v, _halves(q, k)),
    lambda g, o, q, k, v: _attend_gradient(g, q, k, v),
    lambda r: (r(4, 3), r(4, 3), r(4, 2)),
)


def _heads(q: Any, k: Any) -> Any:
    """Scores of six query heads with two key heads, interleaved."""
    return q @ k[torch.arange(6) % 2].mT


def _heads_gradient(g: Any, q: Any, k: Any, divisor: int) -> Any:
    dk = torch.zeros_like(k)
    for h in range(6):
        if h % divisor < len(k):  # the others are stored outside
            dk = dk + torch.eye(2, dtype=k.dtype)[h % divisor][:, None, None] * (g[h].mT @ q[h])
    return g @ k[torch.arange(6) % 2], dk


T.pair(
    "XunhaoLai/native-sparse-attention-triton#27",
    25,
    "interleaved grouped-query attention: dk divides head numbers by the queries in a group, not by the key heads",
    _heads,
    lambda g, o, q, k: _heads_gradient(g, q, k, 3),
    lambda g, o, q, k: _heads_gradient(g, q, k, 2),
    lambda r: (r(6, 3, 2), r(2, 3, 2)),
)


def _delta(k: Any, w: Any, u: Any) -> Any:
    """The state of an ungated delta rule after its chunks: h + kᵀ(u - w h)."""
    h = torch.zeros(k.shape[-1], u.shape[-1], dtype=k.dtype)
    for kk, ww, uu in zip(k, w, u):
        h = h + kk.T @ (uu - ww @ h)
    return h


def _delta_gradient(g: Any, k: Any, w: Any, u: Any, good: bool) -> Any:
    states = [torch.zeros(k.shape[-1], u.shape[-1], dtype=k.dtype)]
    for kk, ww, uu in zip(k, w, u):
        states.append(states[-1] + kk.T @ (uu - ww @ states[-1]))
    dk, dw, du = [], [], []
    for kk, ww, uu, h in reversed(list(zip(k, w, u, states))):
        d = kk @ g
        dk.append((uu - ww @ h) @ g.T)
        dw.append(-d @ h.T)
        du.append(d)
        g = g - ww.T @ d if good else g
    return tuple(torch.stack(d[::-1]) if d else torch.zeros_like(a) for d, a in ((dk, k), (dw, w), (du, u)))


T.pair(
    "tile-ai/TileOPs#632",
    25,
    "delta rule: the state's cotangent is carried back unchanged, where it takes I - wᵀk",
    _delta,
    lambda g, o, k, w, u: _delta_gradient(g, k, w, u, False),
    lambda g, o, k, w, u: _delta_gradient(g, k, w, u, True),
    lambda r: (r(3, 2, 3), r(3, 2, 3), r(3, 2, 2)),
)


def _coarse(t: Any) -> Any:
    return t.to(torch.bfloat16).to(t.dtype)


T.pair(
    "QwenLM/FlashQLA#28",
    15,
    "gated delta rule: dg is a difference of sums that were stored in bfloat16",
    lambda a: (a.cumsum(-1)).exp().sum(-1),
    lambda g, o, a: g[:, None] * _coarse(a.cumsum(-1).exp()).flip(-1).cumsum(-1).flip(-1),
    lambda g, o, a: g[:, None] * a.cumsum(-1).exp().flip(-1).cumsum(-1).flip(-1),
    lambda r: (r.of(-r.rng.uniform(0.2, 2, (3, 4)), torch.float32),),
)


def _rotate(x: Any) -> Any:
    a, b = x.chunk(2, -1)
    return torch.cat([-b, a], -1)


def _unrotate(x: Any) -> Any:
    a, b = x.chunk(2, -1)
    return torch.cat([b, -a], -1)


T.pair(
    "PaddlePaddle/Paddle#74716",
    25,
    "rotary embedding: rotate(g)·sin for rotate(g·sin), which differ where the halves of sin do",
    lambda x, cos, sin: x * cos + _rotate(x) * sin,
    lambda g, o, x, cos, sin: (g * cos + _unrotate(g) * sin, (g * x).sum(0), (g * _rotate(x)).sum(0)),
    lambda g, o, x, cos, sin: (g * cos + _unrotate(g * sin), (g * x).sum(0), (g * _rotate(x)).sum(0)),
    lambda r: (r(3, 4), r(4), r(4)),
)
T.fn(
    "huggingface/candle#3568",
    21,
    "the fused rotary embedding has no backward pass: its input gets no gradient through it",
    lambda x: x + _rotate(x).detach(),
    lambda x: x + _rotate(x),
    lambda r: (r(3, 4),),
)
