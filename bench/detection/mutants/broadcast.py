# ruff: noqa: E501 - one entry, one line: a table
"""Class 1: a broadcast's reduction is missing or over the wrong axis."""

from __future__ import annotations

import torch

from ..catalogue import Table

ENTRIES = T = Table(1)

T.pair("mul-square-wrong-axis", "x (3,3) * y (1,3): the gradient of y is summed over columns, and has the right shape",
       lambda x, y: x * y, lambda g, o, x, y: (g * y, (g * x).sum(1).reshape(1, 3)),
       lambda g, o, x, y: (g * y, (g * x).sum(0, keepdim=True)), lambda r: (r(3, 3), r(1, 3)), source="pytorch#1787", quick=True)  # fmt: skip
T.pair("bias-mean", "x + b: the gradient of b is the mean over the batch, not the sum",
       lambda x, b: x + b, lambda g, o, x, b: (g, g.mean(0)), lambda g, o, x, b: (g, g.sum(0)),
       lambda r: (r(3, 4), r(4)), source="mlx#610", quick=True)  # fmt: skip
T.pair("bias-first-row", "x + b: the gradient of b is that of the first sample",
       lambda x, b: x + b, lambda g, o, x, b: (g, g[0]), lambda g, o, x, b: (g, g.sum(0)), lambda r: (r(3, 4), r(4)))  # fmt: skip
T.pair("scale-0d-mean", "x * s with a 0-d s: mean instead of sum",
       lambda x, s: x * s, lambda g, o, x, s: (g * s, (g * x).mean()), lambda g, o, x, s: (g * s, (g * x).sum()),
       lambda r: (r(3, 4), r()))  # fmt: skip
T.pair("gate-one-column", "a gate of shape (B,T,1): only the first channel of the sum",
       lambda x, w: x * w, lambda g, o, x, w: (g * w, (g * x)[..., :1]),
       lambda g, o, x, w: (g * w, (g * x).sum(-1, keepdim=True)), lambda r: (r(2, 3, 4), r(2, 3, 1)))  # fmt: skip
T.pair("where-scalar-unmasked", "where(m, x, s): the gradient of s sums the other branch too",
       lambda x, s: torch.where(x > 0, x, s), lambda g, o, x, s: (g * (x > 0), g.sum()),
       lambda g, o, x, s: (g * (x > 0), (g * (x <= 0)).sum()), lambda r: (r(3, 4), r()))  # fmt: skip
T.pair("div-sums-first", "x / y: reduces g and x before it multiplies them",
       lambda x, y: x / y, lambda g, o, x, y: (g / y, -(g.sum(0) * x.sum(0)) / y**2),
       lambda g, o, x, y: (g / y, -(g * x).sum(0) / y**2), lambda r: (r(3, 4), r.pos(4)))  # fmt: skip
T.pair("shared-weight-first-batch", "batched x @ w with a shared w: only the first batch counts",
       lambda x, w: x @ w, lambda g, o, x, w: (g @ w.T, x[0].T @ g[0]),
       lambda g, o, x, w: (g @ w.T, torch.einsum("bij,bik->jk", x, g)), lambda r: (r(2, 3, 4), r(4, 3)), source="pytorch PR188843")  # fmt: skip
T.pair("expand-wrong-dimension", "expand (4,1) to (4,4): summed over the dimension that was there",
       lambda x: x.expand(4, 4).clone(), lambda g, o, x: g.sum(0).reshape(4, 1), lambda g, o, x: g.sum(1, keepdim=True),
       lambda r: (r(4, 1),))  # fmt: skip
T.pair("layer-norm-gain-one-axis", "layer norm of (B,T,C): the gain's gradient is summed over B, averaged over T",
       lambda x, w: torch.nn.functional.layer_norm(x, x.shape[-1:]) * w,
       lambda g, o, x, w: (torch.zeros_like(x), (g * torch.nn.functional.layer_norm(x, x.shape[-1:])).sum(0).mean(0)),
       None, lambda r: (r(2, 3, 4).detach(), r(4)))  # fmt: skip
T.pair("outer-swapped", "outer sum of two vectors of equal length: the two reductions are swapped",
       lambda x, y: x[:, None] + y[None, :], lambda g, o, x, y: (g.sum(0), g.sum(1)), lambda g, o, x, y: (g.sum(1), g.sum(0)),
       lambda r: (r(3), r(3)))  # fmt: skip
T.pair("reduce-only-leading", "x (2,3,4) * y (3,1): leading axis reduced, the trailing one filled with its first entry",
       lambda x, y: x * y, lambda g, o, x, y: (g * y, (g * x).sum(0)[:, :1]),
       lambda g, o, x, y: (g * y, (g * x).sum((0, 2))[:, None]), lambda r: (r(2, 3, 4), r(3, 1)))  # fmt: skip
