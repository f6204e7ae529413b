"""Sixteen bits: who adds up in them, or rounds to the wrong ones; and a formula for another approximation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..catalogue import Reports

REPORTS = T = Reports()
ROWS = torch.arange(2048) % 2


def _embedding_gradient(g: Any, w: Any, safe: bool) -> Any:
    if safe:
        return torch.zeros(w.shape).index_add(0, ROWS, g.float()).to(w.dtype)
    found = torch.zeros_like(w)
    for pair in g.reshape(-1, 2, w.shape[-1]):  # both rows of the table occur in each pair
        found = found + pair
    return found


T.pair(
    "apache/mxnet#17703",
    15,
    "embedding in float16: the gradients of equal indices are added up in float16",
    lambda w: w[ROWS],
    lambda g, o, w: _embedding_gradient(g, w, False),
    lambda g, o, w: _embedding_gradient(g, w, True),
    lambda r: (r(2, 1, dtype=torch.float16),),
    once=True,
)


def _chunked(g: Any, x: Any, safe: bool) -> Any:
    """The weight's gradient, a chunk of four rows after the other."""
    found = torch.zeros(g.shape[-1], x.shape[-1], dtype=torch.float32 if safe else g.dtype)
    for k in range(0, len(x), 4):
        found = found + (g[k : k + 4].float().T @ x[k : k + 4].float()).to(found.dtype)
    return found.to(x.dtype)


T.pair(
    "linkedin/Liger-Kernel#830",
    15,
    "fused linear cross entropy in bfloat16: the weight's gradient is accumulated in bfloat16, chunk by chunk",
    lambda x, w: x @ w.T,
    lambda g, o, x, w: (g @ w, _chunked(g, x, False)),
    lambda g, o, x, w: (g @ w, _chunked(g, x, True)),
    lambda r: (r.pos(256, 2, dtype=torch.bfloat16), r(3, 2, dtype=torch.bfloat16)),
    once=True,
)


def _row_sums(g: Any, x: Any, through: Any) -> Any:
    return (g.float() * x.float()).to(through).float().sum(0).to(x.dtype)


T.pair(
    "linkedin/Liger-Kernel#1253",
    15,
    "group_norm in float16: the parts of the weight's gradient are rounded to bfloat16",
    lambda x, w: x * w,
    lambda g, o, x, w: (g * w, _row_sums(g, x, torch.bfloat16)),
    lambda g, o, x, w: (g * w, _row_sums(g, x, torch.float32)),
    lambda r: (r(3, 4, dtype=torch.float16), r(4, dtype=torch.float16)),
    once=True,
)


def _quick_gelu_gradient(g: Any, x: Any) -> Any:
    s = torch.sigmoid(1.702 * x)
    return g * (s + 1.702 * x * s * (1 - s))


def _tanh_gelu_gradient(g: Any, x: Any) -> Any:
    c = 0.7978845608028654
    t = torch.tanh(c * (x + 0.044715 * x**3))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2))


T.pair(
    "harvard-edge/cs249r_book#1399",
    2,
    "gelu by sigmoid(1.702 x) with the derivative of the approximation by tanh",
    lambda x: x * torch.sigmoid(1.702 * x),
    lambda g, o, x: _tanh_gelu_gradient(g, x),
    lambda g, o, x: _quick_gelu_gradient(g, x),
    lambda r: (r(3, 4),),
)
T.fn(
    "pytorch/pytorch#195682",
    11,
    "silu: the second derivative is 0 on the positive tail",
    F.silu,
    lambda x: x / (1 + torch.exp(-x)),
    lambda r: (r.of([40.410841513445845, 1.0]),),
    options={"order": 2},
    live=True,
)
