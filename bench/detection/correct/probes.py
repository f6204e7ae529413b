# ruff: noqa: E501 - one entry, one line: a table
"""Right functions that are right where they are asked, and that our own probes ask elsewhere: halves, pairs, remainders, ties,
large means, unused outputs, values that leave the framework's sight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..catalogue import Table, function

ENTRIES = T = Table()
Rule = Callable[..., Any]


def ok(name: str, about: str, call: Rule, args: Rule, **more: Any) -> None:
    T.fn(f"asked-{name}", about, call, args, **more)


def by_rule(name: str, about: str, forward: Rule, backward: Rule, args: Rule, **more: Any) -> None:
    T.add(f"asked-{name}", about, function(forward, backward), args, **more)


# ---- a function of halves, pairs, thirds: it has no meaning at other lengths, and does not raise there -------------------


def _quarter_turn(x: Any) -> Any:
    a, b = x.chunk(2, -1)
    return torch.cat([-b, a], -1)


def _quarter_turn_back(g: Any) -> Any:
    a, b = g.chunk(2, -1)
    return torch.cat([b, -a], -1)


def _pairs(z: Any) -> Any:
    n = len(z) // 2
    return (z[:n] * z[n : 2 * n]).sum(-1).sin()


def _pairs_back(g: Any, o: Any, z: Any) -> Any:
    n = len(z) // 2
    a, b = z[:n], z[n : 2 * n]
    c = (g * (a * b).sum(-1).cos())[:, None]
    return torch.cat([c * b, c * a, torch.full_like(z[2 * n :], torch.nan)])


def _haar(x: Any) -> Any:
    n = x.shape[-1] // 2
    a, b = x[..., 0 : 2 * n : 2], x[..., 1 : 2 * n : 2]
    return torch.cat([a + b, a - b], -1)


def _haar_back(g: Any, o: Any, x: Any) -> Any:
    s, d = g.chunk(2, -1)
    found = torch.stack([s + d, s - d], -1).flatten(-2)
    return F.pad(found, (0, x.shape[-1] - found.shape[-1]), value=torch.nan)


def _thirds(x: Any) -> Any:
    n = x.shape[-1] // 3
    return torch.cat([x[..., 2 * n :] * 2, x[..., :n] * 3, x[..., n : 2 * n]], -1)


def _thirds_back(g: Any, o: Any, x: Any) -> Any:
    n = x.shape[-1] // 3
    return torch.cat([g[..., n : 2 * n] * 3, g[..., 2 * n :], g[..., :n] * 2], -1)


def _swap_rows(x: Any) -> Any:
    n = len(x) // 2
    return torch.cat([x[n:].exp(), x[:n].sin()])


def _swap_rows_back(g: Any, o: Any, x: Any) -> Any:
    n = len(x) // 2
    return torch.cat([g[n:] * x[:n].cos(), g[:n] * x[n:].exp()])


by_rule("quarter-turn", "rotary embedding by chunks of two", lambda x, c, s: x * c + _quarter_turn(x) * s, lambda g, o, x, c, s: (g * c + _quarter_turn_back(g * s), (g * x).sum(0), (g * _quarter_turn(x)).sum(0)), lambda r: (r(2, 6), r(6), r(6)), quick=True)  # fmt: skip
by_rule("views-of-a-batch", "a batch of two views of each sample: the odd row out is nobody's", _pairs, _pairs_back, lambda r: (r(4, 3),), quick=True)  # fmt: skip
by_rule("haar", "a step of the Haar wavelet: an odd column is dropped", _haar, _haar_back, lambda r: (r(3, 4),))
by_rule("thirds", "three equal parts change places", _thirds, _thirds_back, lambda r: (r(2, 6),))
by_rule(
    "swapped-halves-of-rows", "the halves of the rows change places", _swap_rows, _swap_rows_back, lambda r: (r(4, 2),)
)

# ---- equal entries, large means, what is 0 by cancellation ---------------------------------------------------------------

ok("batch-norm-at-large-mean", "batch norm of channels whose mean is a thousand deviations", lambda x: F.batch_norm(x, None, None, training=True), lambda r: (r.of(1000 + r.rng.uniform(0, 1, (5, 2, 3))),), quick=True)  # fmt: skip
ok("instance-norm-at-large-mean", "instance norm at a mean of 300", lambda x: F.instance_norm(x), lambda r: (r.of(300 + r.rng.uniform(0, 1, (2, 3, 6))),))  # fmt: skip
ok("one-number-norm", "a norm over one number: the weight's gradient is 0", lambda x, w: (x - x.mean(-1, keepdim=True)) * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) * w, lambda r: (r.of([[1e6], [-3.0]]), r.of([2.0])))  # fmt: skip

# ---- outputs that nobody uses, values out of sight --------------------------------------------------------------------------


class _Both(torch.autograd.Function):
    """tanh and cosh, whose cotangents are zeros where one is not used."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.tanh(), x.cosh()

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g / x.cosh() ** 2 + h * x.sinh()


def _in_numpy(forward: Rule, slope: Rule) -> Rule:
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.from_numpy(forward(x.detach().numpy()))

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * slope(ctx.saved_tensors[0])

    return Hidden.apply


ok("unused-second-output", "the output that is not used overflows long before the other", lambda x: _Both.apply(x)[0], lambda r: (r.of([-0.5, 1.5, 0.25]),), quick=True)  # fmt: skip
T.add("asked-coarse-in-numpy", "(x + 2^30) - 2^30 in NumPy: stands still where x moves by a millionth", lambda: _in_numpy(lambda x: (x + 2.0**30) - 2.0**30, torch.ones_like), lambda r: (r(3),))  # fmt: skip
T.add("asked-stairs-in-numpy", "(x + 2^54) - 2^54 in NumPy: its steps are as wide as x", lambda: _in_numpy(lambda x: (x + 2.0**54) - 2.0**54, torch.ones_like), lambda r: (r(3),))  # fmt: skip
T.add("asked-fast-wave-in-numpy", "a wave of wavelength 1e-5, in NumPy", lambda: _in_numpy(lambda x: _numpy_sin(x), lambda x: 6e5 * (6e5 * x).cos()), lambda r: (r.pos(2),))  # fmt: skip


def _numpy_sin(x: Any) -> Any:
    import numpy as np

    return np.sin(x.dtype.type(6e5) * x)
