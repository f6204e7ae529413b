"""MLX."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..catalogue import Reports

REPORTS = T = Reports()
M = "ml-explore/mlx#"


def _radius(v: Any, safe: bool) -> Any:
    import mlx.core as mx

    s = v[..., 0] * v[..., 0] + v[..., 1] * v[..., 1]
    if not safe:
        return mx.maximum(mx.sqrt(s), mx.array(1e-10))
    ok = s > 1e-20
    return mx.where(ok, mx.sqrt(mx.where(ok, s, mx.ones_like(s))), mx.full(s.shape, 1e-10))


def _points(r: Any) -> tuple[Any, ...]:
    import mlx.core as mx

    return (mx.array([[0.0, 0.0], [3.0, 4.0]]),)


T.fn(
    M + "3668",
    10,
    "maximum(sqrt(x² + y²), eps) at the origin: NaN through the branch that is not taken",
    lambda v: _radius(v, False),
    lambda v: _radius(v, True),
    _points,
    framework="mlx",
    live=True,
)
T.pair(
    M + "4444",
    12,
    "a strided slice that selects one row: its cotangent goes to every row of the span",
    lambda x: x[:2:2],
    lambda g, o, x: torch.cat([g, g, torch.zeros_like(x[2:])]),
    lambda g, o, x: torch.cat([g, torch.zeros_like(x[1:])]),
    lambda r: (r(2, 3),),
)


def _top(g: Any, x: Any, at: Any) -> Any:
    return torch.zeros_like(x).scatter(-1, at, g)


T.pair(
    M + "1428",
    16,
    "topk: the cotangent goes to fixed places, not to the entries that were selected",
    lambda x: x.sort(-1)[0][..., -2:],
    lambda g, o, x: _top(g, x, torch.tensor([2, 3]).expand(x.shape[0], 2)),
    lambda g, o, x: _top(g, x, x.sort(-1)[1][..., -2:]),
    lambda r: (r.of([[1.0, 2.0, 6.0, 4.0, 5.0], [9.0, 5.0, 6.0, 7.0, 8.0]]),),
)


def _conv(x: Any, w: Any) -> Any:
    return np.array([x[k : k + len(w)] @ w for k in range(0, len(x) - len(w) + 1, 2)])


def _conv_gradient(g: Any, x: Any, w: Any, taps: int) -> Any:
    dx, dw = np.zeros_like(x), np.zeros(taps)
    for k, d in enumerate(g):
        dx[2 * k : 2 * k + len(w)] += d * w
        seen = x[2 * k : 2 * k + taps]
        dw[: len(seen)] += d * seen
    return dx, dw


T.numpy_pair(
    M + "2184",
    24,
    "convolution with stride 2 over a length that it does not divide: the kernel's gradient has a tap too many",
    _conv,
    lambda g, x, w: _conv_gradient(g, x, w, len(w) + (len(x) - len(w)) % 2),
    lambda g, x, w: _conv_gradient(g, x, w, len(w)),
    lambda r: (r(5), r(2)),
)


def _flipped(x: Any, w: Any) -> Any:
    return x.unfold(0, len(w), 1) @ w.flip(0)


def _flipped_gradient(g: Any, x: Any, w: Any, back: bool) -> Any:
    dx = torch.zeros_like(x)
    for k in range(len(g)):
        dx = dx + torch.nn.functional.pad(g[k] * w.flip(0), (k, len(x) - len(w) - k))
    dw = g @ x.unfold(0, len(w), 1)
    return dx, dw.flip(0) if back else dw


T.pair(
    M + "1827",
    2,
    "convolution with flip=True: the kernel's gradient is not flipped back",
    _flipped,
    lambda g, o, x, w: _flipped_gradient(g, x, w, False),
    lambda g, o, x, w: _flipped_gradient(g, x, w, True),
    lambda r: (r(6), r(3)),
)
