"""Classes 1, 2, 3, 7, 15 and 16 again: one mistake each of a kind that can be named from the gradient alone."""

from __future__ import annotations

import math

import torch

from ..catalogue import Table

T1, T2, T3, T7, T15, T16 = (Table(k) for k in (1, 2, 3, 7, 15, 16))
INDEX = torch.tensor([1, 3, 3, 0, 1, 3])


def _group(x):
    """Group norm of (B, G, C/G) over the last axis."""
    d = x - x.mean(-1, keepdim=True)
    return d * ((d * d).mean(-1, keepdim=True) + 1e-3).rsqrt()


def _group_back(g, o, x, mean=1.0, variance=1.0):
    r = (x.var(-1, keepdim=True, correction=0) + 1e-3).rsqrt()
    return r * (g - mean * g.mean(-1, keepdim=True) - variance * o * (g * o).mean(-1, keepdim=True))


def _narrow(a):
    return a.bfloat16().to(a.dtype)


T1.pair(
    "mistake-bias-root-n",
    "x·s + b: the bias's gradient is divided by √n",
    lambda x, b: torch.tanh(x) + b,
    lambda g, o, x, b: (g * (1 - x.tanh() ** 2), g.sum(0) / math.sqrt(5)),
    lambda g, o, x, b: (g * (1 - x.tanh() ** 2), g.sum(0)),
    lambda r: (r(5, 2), r(2)),
)
T1.pair(
    "mistake-last-row",
    "x·w: only the last row reaches w",
    lambda x, w: x.sin() * w,
    lambda g, o, x, w: (g * w * x.cos(), (g * x.sin())[-1]),
    lambda g, o, x, w: (g * w * x.cos(), (g * x.sin()).sum(0)),
    lambda r: (r(4, 3), r(3)),
)
T2.pair(
    "mistake-group-norm-no-mean",
    "group norm: nothing comes back through the mean",
    _group,
    lambda g, o, x: _group_back(g, o, x, mean=0.0),
    _group_back,
    lambda r: (r(2, 3, 4),),
)
T2.pair(
    "mistake-group-norm-variance-sign",
    "group norm: the variance's term is added",
    _group,
    lambda g, o, x: _group_back(g, o, x, variance=-1.0),
    _group_back,
    lambda r: (r(2, 2, 5),),
)
T2.pair(
    "mistake-log2",
    "log2 x: 1/x without 1/ln 2",
    lambda x: x.log2(),
    lambda g, o, x: g / x,
    lambda g, o, x: g / (x * math.log(2)),
    lambda r: (r.pos(6),),
)
T2.pair(
    "mistake-gelu-mask-term",
    "x·Φ(x): the density's term is missing",
    lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    lambda g, o, x: g * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    lambda g, o, x: g * (0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)),
    lambda r: (r(6),),
)
T2.pair(
    "mistake-bilinear-transposed",
    "xᵀAy: the gradient of a square A transposed",
    lambda x, a, y: x @ a @ y,
    lambda g, o, x, a, y: (g * (a @ y), g * torch.outer(y, x), g * (x @ a)),
    lambda g, o, x, a, y: (g * (a @ y), g * torch.outer(x, y), g * (x @ a)),
    lambda r: (r(3), r(3, 3), r(3)),
)
T2.pair(
    "mistake-sinh-read-at-result",
    "sin(sinh x): sinh's derivative at its result",
    lambda x: x.sinh().sin(),
    lambda g, o, x: g * x.sinh().cos() * x.sinh().cosh(),
    lambda g, o, x: g * x.sinh().cos() * x.cosh(),
    lambda r: (r.unit(5),),
)
T3.pair(
    "mistake-g-mean-of-loss",
    "exp x - x: the cotangent's mean for each entry",
    lambda x: x.exp() - x,
    lambda g, o, x: g.mean() * (x.exp() - 1),
    lambda g, o, x: g * (x.exp() - 1),
    lambda r: (r(3, 2),),
)
T3.pair(
    "mistake-g-positive",
    "x·atan x: negative cotangents count as 0",
    lambda x: x * x.atan(),
    lambda g, o, x: g.clamp(min=0) * (x.atan() + x / (1 + x * x)),
    lambda g, o, x: g * (x.atan() + x / (1 + x * x)),
    lambda r: (r(7),),
)
T7.pair(
    "mistake-cube-conjugate",
    "z³: 3·z²·g without the conjugate",
    lambda z: z * z * z,
    lambda g, o, z: 3 * g * z * z,
    lambda g, o, z: 3 * g * (z * z).conj(),
    lambda r: (torch.complex(r(3).detach(), r(3).detach()).requires_grad_(),),
)
T15.pair(
    "mistake-saved-bfloat16",
    "x·cos x: x is saved in bfloat16",
    lambda x: x * x.cos(),
    lambda g, o, x: g * (_narrow(x).cos() - _narrow(x) * _narrow(x).sin()),
    lambda g, o, x: g * (x.cos() - x * x.sin()),
    lambda r: (r(5),),
    none_in=frozenset({"bfloat16"}),
)
T16.pair(
    "mistake-last-index-wins",
    "table[index] with repeats: the last write stays",
    lambda t: t[INDEX].sin(),
    lambda g, o, t: torch.zeros_like(t).index_put((INDEX,), g * t[INDEX].cos()),
    lambda g, o, t: torch.zeros_like(t).index_put((INDEX,), g * t[INDEX].cos(), accumulate=True),
    lambda r: (r(4, 2),),
)

ENTRIES = [*T1, *T2, *T3, *T7, *T15, *T16]
