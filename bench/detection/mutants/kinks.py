# ruff: noqa: E501 - one entry, one line: a table
"""Classes 8, 9 and 10: kinks and ties, divisions that are undone at zero, 0·inf and dead branches."""

from __future__ import annotations

import torch

from ..catalogue import Table

T8, T9, T10 = Table(8), Table(9), Table(10)

# --- 8

T8.pair("abs-at-zero-nan", "abs: x/|x|, NaN at 0", torch.abs, lambda g, o, x: g * x / o, lambda g, o, x: g * x.sign(), lambda r: (r.of([-1.5, 0.0, 2.0]),), source="pytorch#47599", quick=True)  # fmt: skip
T8.pair("abs-at-zero-two", "abs: 2 at 0, outside of [-1, 1]", torch.abs, lambda g, o, x: g * torch.where(x == 0, 2.0, x.sign()), lambda g, o, x: g * x.sign(), lambda r: (r.of([-1.5, 0.0, 2.0]),))  # fmt: skip
T8.pair("relu-at-zero-nan", "relu: out/x, NaN at 0", torch.relu, lambda g, o, x: g * o / x, lambda g, o, x: g * (x > 0), lambda r: (r.of([-1.5, 0.0, 2.0]),))  # fmt: skip
T8.pair("relu-negative-slope-at-zero", "relu: -1 at 0, outside of [0, 1]", torch.relu, lambda g, o, x: g * torch.where(x == 0, -1.0, (x > 0).to(x.dtype)), lambda g, o, x: g * (x > 0), lambda r: (r.of([-1.5, 0.0, 2.0]),))  # fmt: skip
T8.pair("relu-mask-of-copy-rounded", "relu: the mask is taken of x rounded to tenths: wrong near the kink", torch.relu, lambda g, o, x: g * (x.round(decimals=1) > 0), lambda g, o, x: g * (x > 0), lambda r: (r.of([-1.5, 0.03, 2.0]),))  # fmt: skip
T8.pair("relu-6-upper-open", "relu6: the gradient goes on above 6", torch.nn.functional.relu6, lambda g, o, x: g * (x > 0), lambda g, o, x: g * ((x > 0) & (x < 6)), lambda r: (r.of([-1.0, 2.0, 7.5]),))  # fmt: skip
T8.pair("max-ties-get-twice", "max of a tie: both get 2g, beyond either side", lambda x: x.amax(), lambda g, o, x: 2 * g * (x == o), lambda g, o, x: g * (x == o) / (x == o).sum(),
        lambda r: (r.of([1.0, 3.0, 3.0]),), source="pytorch#56734", quick=True)  # fmt: skip
T8.pair("max-ties-each-all", "max of a tie: both get all of g, so that moving both together counts twice", lambda x: x.amax(), lambda g, o, x: g * (x == o), lambda g, o, x: g * (x == o) / (x == o).sum(),
        lambda r: (r.of([1.0, 3.0, 3.0]),), source="pytorch#184572")  # fmt: skip
T8.pair("maximum-ties-none", "maximum(x, y) of equal entries: neither gets anything", torch.maximum, lambda g, o, x, y: (g * (x > y), g * (y > x)),
        lambda g, o, x, y: (g * ((x > y) + 0.5 * (x == y)), g * ((y > x) + 0.5 * (x == y))), lambda r: (r.of([1.0, 2.0]), r.of([1.0, 3.0])), source="autograd#212")  # fmt: skip
T8.pair("clamp-mask-swapped", "clamp: the gradient passes outside the bounds", lambda x: x.clamp(-1, 1), lambda g, o, x: g * (x.abs() > 1), lambda g, o, x: g * (x.abs() <= 1), lambda r: (r.of([-2.0, 0.5, 3.0]),))  # fmt: skip
T8.pair("sort-not-unsorted", "sort: the gradient stays in sorted order", lambda x: x.sort()[0], lambda g, o, x: g.clone(), lambda g, o, x: torch.empty_like(g).scatter(0, x.argsort(), g), lambda r: (r(5),))  # fmt: skip
# Without the division a tie counts twice; ties are asked for where a rule compares with its maximum.
T8.pair("argmax-first-only-rows", "row maximum: the winning column of the first row for all rows", lambda x: x.amax(1), lambda g, o, x: g[:, None] * (torch.arange(4) == x[0].argmax()), lambda g, o, x: g[:, None] * (x == o[:, None]) / (x == o[:, None]).sum(1, keepdim=True), lambda r: (r(3, 4),))  # fmt: skip
T8.pair("leaky-at-zero-three", "leaky relu: 3 at 0", lambda x: torch.nn.functional.leaky_relu(x, 0.1), lambda g, o, x: g * torch.where(x > 0, 1.0, torch.where(x < 0, 0.1, 3.0)), lambda g, o, x: torch.where(x > 0, g, 0.1 * g),
        lambda r: (r.of([-1.5, 0.0, 2.0]),), source="jax#2140")  # fmt: skip
T8.pair("relu-at-zero-elsewhere", "relu: NaN at 0, given a point without zeros", torch.relu, lambda g, o, x: g * o / x, lambda g, o, x: g * (x > 0), lambda r: (r(4),), elsewhere="an input that is exactly 0")  # fmt: skip

# --- 9

T9.pair("prod-over-x", "prod: out/x, NaN where a factor is 0", lambda x: x.prod(), lambda g, o, x: g * o / x, lambda g, o, x: g * torch.where(torch.eye(len(x), dtype=torch.bool), 1.0, x).prod(1),
        lambda r: (r.of([2.0, 0.0, 3.0]),), source="pytorch#773", quick=True)  # fmt: skip
T9.pair("prod-over-x-plus-eps", "prod: out/(x + 1e-30): 0 where the product of the others belongs", lambda x: x.prod(), lambda g, o, x: g * o / (x + 1e-30), None, lambda r: (r.of([2.0, 0.0, 3.0]),), source="tensorflow#3862")  # fmt: skip
T9.pair(
    "prod-elsewhere",
    "prod: out/x, given a point without zeros",
    lambda x: x.prod(),
    lambda g, o, x: g * o / x,
    None,
    lambda r: (r(3),),
    elsewhere="an input that is exactly 0",
)
T9.pair("cumprod-over-x", "cumprod: a division by x", lambda x: x.cumprod(0), lambda g, o, x: (g * o).flip(0).cumsum(0).flip(0) / x, None, lambda r: (r.of([2.0, 0.0, 3.0]),), source="pytorch PR76523")  # fmt: skip
T9.pair("norm-over-out", "norm: x/‖x‖, NaN at 0 (PyTorch and JAX differ in what they return)", lambda x: (x * x).sum(-1), lambda g, o, x: g[:, None] * 2 * x * o[:, None] / o[:, None], lambda g, o, x: g[:, None] * 2 * x, lambda r: (r.of([[0.0, 0.0], [1.0, 2.0]]),))  # fmt: skip
T9.pair("square-through-log", "x²: 2·out/x, NaN at 0", lambda x: x * x, lambda g, o, x: 2 * g * o / x, lambda g, o, x: 2 * g * x, lambda r: (r.of([0.0, 1.5]),), source="tinygrad PR17404")  # fmt: skip
T9.pair("mul-over-x", "x·y: out/x for y, NaN where x is 0", torch.mul, lambda g, o, x, y: (g * o / x, g * x), lambda g, o, x, y: (g * y, g * x), lambda r: (r.of([0.0, 1.5]), r.of([2.0, 3.0])), source="jax#40626")  # fmt: skip
T9.pair("x-exp-x-over-x", "x·exp(x): out·(1 + 1/x)", lambda x: x * x.exp(), lambda g, o, x: g * o * (1 + 1 / x), lambda g, o, x: g * (1 + x) * x.exp(), lambda r: (r.of([0.0, 1.0]),))  # fmt: skip

# --- 10


def _safe(x):
    return torch.where(x > 0, x, torch.ones_like(x))


T10.pair("relu-sqrt-dead-branch", "where(x > 0, sqrt x, 0) for x < 0: 0·NaN", lambda x: torch.where(x > 0, _safe(x).sqrt(), 0.0), lambda g, o, x: g * (x > 0) * 0.5 * x.rsqrt(), lambda g, o, x: torch.where(x > 0, 0.5 * g * _safe(x).rsqrt(), 0.0),
         lambda r: (r.of([-1.0, 2.0]),), source="pytorch#23395", quick=True)  # fmt: skip
T10.fn("where-sqrt-eager", "torch.where(x > 0, sqrt x, -x): a NaN out of the dead branch", lambda x: torch.where(x > 0, x.sqrt(), -x), lambda r: (r.of([-1.0, 2.0]),), source="tensorflow#57786", quick=True)  # fmt: skip
T10.fn("where-exp-overflow", "where(x < 10, exp x, x): exp overflows where it is not used, and 0·inf is NaN", lambda x: torch.where(x < 10, x.exp(), x), lambda r: (r.of([1.0, 800.0]),), source="jax#37992")  # fmt: skip
T10.fn("where-norm-eager", "where(n > 0, x/n, 0) with a norm at 0 in a dead row", lambda x: torch.where((x != 0).any(-1, keepdim=True), x / (x * x).sum(-1, keepdim=True).sqrt(), x), lambda r: (r.of([[0.0, 0.0], [1.0, 2.0]]),), source="mlx#628")  # fmt: skip
T10.pair("xlogy-at-zero", "xlogy(0, y): the gradient of y is x/y·NaN through log 0", torch.xlogy, lambda g, o, x, y: (g * y.log(), g * o / y.log() / y), lambda g, o, x, y: (g * y.log(), g * x / y),
         lambda r: (r.of([0.0, 2.0]), r.of([1.0, 3.0])))  # fmt: skip
T10.pair("logsumexp-masked", "logsumexp with masked -inf entries: -inf·0 in a weighted sum", lambda x: torch.logsumexp(torch.where(x > 0, x, -torch.inf), -1),
         lambda g, o, x: g[:, None] * torch.where(x > 0, x, -torch.inf).softmax(-1) * torch.where(x > 0, x, -torch.inf) / torch.where(x > 0, x, -torch.inf), lambda g, o, x: g[:, None] * torch.where(x > 0, x, -torch.inf).softmax(-1),
         lambda r: (r.of([[1.0, -1.0, 2.0]]),))  # fmt: skip
T10.pair("zero-to-the-y", "x^y at x = 0, y = 2: log 0 in the gradient of y", torch.pow, lambda g, o, x, y: (g * y * x ** (y - 1), g * o * x.log()), lambda g, o, x, y: (g * y * x ** (y - 1), torch.where(x == 0, 0.0, g * o * torch.where(x == 0, 1.0, x).log())),
         lambda r: (r.of([0.0, 1.5]), r.of([2.0, 2.5])), source="pytorch#36493", quick=True)  # fmt: skip
T10.pair(
    "sinc-at-zero",
    "sinc: (cos - sin/x)/x at 0",
    torch.sinc,
    lambda g, o, x: g * ((torch.pi * x).cos() - o) / x,
    None,
    lambda r: (r.of([0.0, 0.7]),),
)
T10.pair("softplus-overflow", "softplus: exp(x)/(1 + exp(x)), inf/inf at 800", lambda x: torch.nn.functional.softplus(x), lambda g, o, x: g * x.exp() / (1 + x.exp()), lambda g, o, x: g * x.sigmoid(), lambda r: (r.of([1.0, 800.0]),), quick=True)  # fmt: skip
T10.pair("tanh-overflow", "tanh: 4/(e^x + e^-x)², right until the square overflows... and sech by exp(2x): inf/inf", torch.tanh, lambda g, o, x: g * 4 * (2 * x).exp() / ((2 * x).exp() + 1) ** 2, lambda g, o, x: g / x.cosh() ** 2, lambda r: (r.of([1.0, 300.0]),))  # fmt: skip
T10.pair("hypot-overflow", "hypot: x/√(x² + y²) with squares that overflow", torch.hypot, lambda g, o, x, y: (g * x / (x * x + y * y).sqrt(), g * y / (x * x + y * y).sqrt()), lambda g, o, x, y: (g * x / o, g * y / o),
         lambda r: (r.of([3.0, 3e200]), r.of([4.0, 4e200])))  # fmt: skip
T10.pair("softmax-unshifted", "softmax: exp(x)/Σexp(x) recomputed without the shift", lambda x: x.softmax(-1), lambda g, o, x: (p := x.exp() / x.exp().sum(-1, keepdim=True)) * (g - (g * p).sum(-1, keepdim=True)), lambda g, o, x: o * (g - (g * o).sum(-1, keepdim=True)),
         lambda r: (r.of([[800.0, 801.0, 799.5]]),))  # fmt: skip

ENTRIES = [*T8, *T9, *T10]
