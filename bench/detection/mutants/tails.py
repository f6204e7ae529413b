# ruff: noqa: E501 - one entry, one line: a table
"""Class 11: formulas that cancel in the tail, where the gradient is small but well determined by the input."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..catalogue import Table

ENTRIES = T = Table(11)

T.pair("sigmoid-at-30", "sigmoid: o·(1 - o) at 30", torch.sigmoid, lambda g, o, x: g * o * (1 - o), lambda g, o, x: g * o * (-x).sigmoid(), lambda r: (r.of([-3.0, 30.0]),), source="jax#40342", quick=True)  # fmt: skip
T.pair("sigmoid-at-40", "sigmoid: o·(1 - o) is 0 at 40", torch.sigmoid, lambda g, o, x: g * o * (1 - o), lambda g, o, x: g * o * (-x).sigmoid(), lambda r: (r.of([40.0]),), source="jax#40342")  # fmt: skip
T.pair(
    "sigmoid-elsewhere",
    "sigmoid: o·(1 - o), given a moderate point",
    torch.sigmoid,
    lambda g, o, x: g * o * (1 - o),
    None,
    lambda r: (r(3),),
    elsewhere="an input in the tail",
)
T.pair("tanh-at-15", "tanh: 1 - o² at 15", torch.tanh, lambda g, o, x: g * (1 - o * o), lambda g, o, x: g / x.cosh() ** 2, lambda r: (r.of([0.5, 15.0]),), quick=True)  # fmt: skip
T.pair("tanh-at-25", "tanh: 1 - o² is 0 at 25", torch.tanh, lambda g, o, x: g * (1 - o * o), lambda g, o, x: g / x.cosh() ** 2, lambda r: (r.of([25.0]),))  # fmt: skip
T.pair("expm1-at-minus-30", "expm1: o + 1 at -30", torch.expm1, lambda g, o, x: g * (o + 1), lambda g, o, x: g * x.exp(), lambda r: (r.of([-30.0, 1.0]),), source="jax#39794", quick=True)  # fmt: skip
T.pair("softplus-from-output", "softplus: 1 - exp(-out) at -30", F.softplus, lambda g, o, x: g * (1 - (-o).exp()), lambda g, o, x: torch.where(x > 20, g, g * x.sigmoid()), lambda r: (r.of([-30.0, 1.0]),))  # fmt: skip
T.pair("logsigmoid-at-30", "logsigmoid: 1 - sigmoid(x) at 30", F.logsigmoid, lambda g, o, x: g * (1 - x.sigmoid()), lambda g, o, x: g * (-x).sigmoid(), lambda r: (r.of([-1.0, 30.0]),))  # fmt: skip
T.pair("gelu-cdf-at-minus-6", "gelu: ½(1 + erf) at -6", lambda x: 0.5 * x * torch.special.erfc(-x / math.sqrt(2)), lambda g, o, x: g * (0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * (-x * x / 2).exp() / math.sqrt(2 * math.pi)),
       lambda g, o, x: g * (0.5 * torch.erfc(-x / math.sqrt(2)) + x * (-x * x / 2).exp() / math.sqrt(2 * math.pi)), lambda r: (r.of([-6.0, 1.0]),))  # fmt: skip
T.pair("one-minus-cos", "1 - cos x, whose gradient at 1e-8 is taken as √(1 - (1 - out)²)", lambda x: 2 * (x / 2).sin() ** 2, lambda g, o, x: g * (1 - (1 - o) ** 2).sqrt(), lambda g, o, x: g * x.sin(), lambda r: (r.of([1e-6, 1.0]),))  # fmt: skip
T.pair("acosh-near-one", "acosh: 1/√(x² - 1) near 1", torch.acosh, lambda g, o, x: g * (x * x - 1).rsqrt(), lambda g, o, x: g * torch.rsqrt((x - 1) * (x + 1)), lambda r: (r.of([1 + 1e-9, 2.0]),))  # fmt: skip
T.pair("asin-near-one", "asin: 1/√(1 - x²) near 1", torch.asin, lambda g, o, x: g * (1 - x * x).rsqrt(), lambda g, o, x: g * torch.rsqrt((1 - x) * (1 + x)), lambda r: (r.of([1 - 1e-9, 0.5]),))  # fmt: skip
T.pair("difference-of-squares", "(x - y)(x + y): 2x by (out + y²)/x·2, at 1e8", lambda x, y: (x - y) * (x + y), lambda g, o, x, y: (2 * g * x, -2 * g * (x * x - o).clamp(min=0).sqrt()), lambda g, o, x, y: (2 * g * x, -2 * g * y),
       lambda r: (r.of([1e8, 2.0]), r.of([1.0, 1.0])))  # fmt: skip
T.pair("variance-raw-moments", "variance at mean 1e6: x - m, with m from sums of squares in float32", lambda x: ((x - x.mean()) ** 2).mean(), lambda g, o, x: g * 2 * ((x * x) / x - x.float().mean().to(x.dtype)) / x.numel(), lambda g, o, x: 2 * g * (x - x.mean()) / x.numel(),
       lambda r: (r(6).detach().add(1e6).requires_grad_(),))  # fmt: skip
T.pair("log-softmax-through-p", "cross entropy of a confident row: (p - 1) for -Σ of the others", lambda x: x.log_softmax(-1)[..., 0], lambda g, o, x: g[:, None] * torch.cat([1 - x.softmax(-1)[:, :1], -x.softmax(-1)[:, 1:]], -1),
       lambda g, o, x: g[:, None] * torch.cat([x.softmax(-1)[:, 1:].sum(-1, keepdim=True), -x.softmax(-1)[:, 1:]], -1), lambda r: (r.of([[30.0, -1.0, -2.0]]),))  # fmt: skip
T.pair("erfc-from-erf", "erfc·exp(x²) at 6: through 1 - erf", lambda x: torch.special.erfcx(x), lambda g, o, x: g * (2 * x * (x * x).exp() * (1 - torch.erf(x)) - 2 / math.sqrt(math.pi)), None, lambda r: (r.of([5.0]),))  # fmt: skip
T.pair("logaddexp-unshifted", "logaddexp: exp(x - out) is fine; 1 - exp(y - out) for it is not", torch.logaddexp, lambda g, o, x, y: (g * (1 - (y - o).exp()), g * (y - o).exp()), lambda g, o, x, y: (g * (x - y).sigmoid(), g * (y - x).sigmoid()),
       lambda r: (r.of([-30.0, 1.0]), r.of([1.0, 0.5])))  # fmt: skip

ENTRIES = T
