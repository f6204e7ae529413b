# ruff: noqa: E501 - one entry, one line: a table
"""Classes 8 and 17 again: points where the graph has a kink and the function has none, in first and second order.

An op's convention is no excuse here: both one-sided slopes of the composed function agree, and the backward pass (often
the framework's own) gives another value.
"""

from __future__ import annotations

import torch

from ..catalogue import Table
from .jax_rules import rule

T8, T17 = Table(8), Table(17)
F32 = torch.float32
ZEROS = lambda r: (r.of([0.0, 1.5, -0.7]),)


def first(name, about, forward, wrong, right, args=ZEROS, **more):
    T8.pair(f"smooth-{name}", about, forward, wrong, right, args, **more)


def second(name, about, forward, wrong, right, args=ZEROS, **more):
    T17.pair(f"smooth-{name}", about, forward, wrong, right, args, elsewhere="second order", **more)


def _at(x, value, otherwise, point=0.0):
    return torch.where(x == point, torch.full_like(x, value), otherwise)


def _safe(x, point=0.0):
    return torch.where(x == point, torch.ones_like(x) * (point + 1), x)


def _one(k, x):
    return (torch.arange(x.numel()) == k).to(x.dtype)


# --- 8
first("softsign-by-abs", "max(x, -x)·sign(x) + sin x is x + sin x: 1 at 0", lambda x: x.abs() * x.sign() + x.sin(), lambda g, o, x: g * _at(x, 1.0, 1 + x.cos()), lambda g, o, x: g * (1 + x.cos()), quick=True)  # fmt: skip
first("clamp-pair", "clamp(x, min=0) + clamp(x, max=0) is x: 2 at 0, from both masks closed", lambda x: x.clamp(min=0) + x.clamp(max=0), lambda g, o, x: g * (1.0 * (x >= 0) + 1.0 * (x <= 0)), lambda g, o, x: g.clone())  # fmt: skip
first("sinhc", "sinh(x)/x with 1 at 0, shifted: x + sinh(x)/x: 0 at 0 for 1", lambda x: x + torch.where(x == 0, 1.0, _safe(x).sinh() / _safe(x)), lambda g, o, x: g * _at(x, 0.0, 1 + (x.cosh() * x - x.sinh()) / (_safe(x) * _safe(x))), lambda g, o, x: g * (1 + torch.where(x == 0, x / 3, (x.cosh() * x - x.sinh()) / (_safe(x) * _safe(x)))))  # fmt: skip
first("log1p-over-x", "log1p(x)/x with 1 at 0: 0 at 0 for -1/2", lambda x: torch.where(x == 0, 1.0, _safe(x).log1p() / _safe(x)), lambda g, o, x: g * torch.where(x == 0, 0.0, (x / (1 + x) - x.log1p()) / (_safe(x) * _safe(x))), lambda g, o, x: g * torch.where(x == 0, 2 * x / 3 - 0.5, (x / (1 + x) - x.log1p()) / (_safe(x) * _safe(x))), quick=True)  # fmt: skip
first("log-over-x-1", "log(x)/(x - 1) with 1 at 1: 0 at 1 for -1/2", lambda x: torch.where(x == 1, 1.0, _safe(x, 1.0).log() / (_safe(x, 1.0) - 1)), lambda g, o, x: g * torch.where(x == 1, 0.0, ((x - 1) / x - x.log()) / (_safe(x, 1.0) - 1) ** 2), lambda g, o, x: g * torch.where(x == 1, 2 * (x - 1) / 3 - 0.5, ((x - 1) / x - x.log()) / (_safe(x, 1.0) - 1) ** 2), lambda r: (r.of([1.0, 2.5, 0.5]),))  # fmt: skip
first("row-products", "rows that are 0 put by a mask, x·w elsewhere: 0 for the rows' gradient", lambda x, w: torch.where((x != 0).any(-1, keepdim=True), x @ w, 0 * (x @ w)), lambda g, o, x, w: ((g * (x != 0).any(-1, keepdim=True)) @ w.T, x.T @ g), lambda g, o, x, w: (g @ w.T, x.T @ g), lambda r: (r.of([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]]), r(3, 2)))  # fmt: skip
first("crelu-difference", "relu(x @ w) - relu(-x @ w) at x = 0: nothing for x", lambda x, w: torch.relu(x @ w) - torch.relu(-(x @ w)), lambda g, o, x, w: ((g * (o != 0)) @ w.T, x.T @ (g * (o != 0))), lambda g, o, x, w: (g @ w.T, x.T @ g), lambda r: (r.of([[0.0, 0.0], [1.0, -2.0]]), r(2, 3)))  # fmt: skip
first("hinge-sum", "max(0, 1 - x) - max(0, x - 1) is 1 - x: -1/2 at 1", lambda x: torch.relu(1 - x) - torch.relu(x - 1), lambda g, o, x: -g * _at(x, 0.5, torch.ones_like(x), 1.0), lambda g, o, x: -g, lambda r: (r.of([1.0, 0.3, 2.0], F32),))  # fmt: skip
first("softplus-by-relu", "relu(x) + log1p(exp(-|x|)): 1 at 0 for 1/2", lambda x: torch.relu(x) + torch.log1p(torch.exp(-x.abs())), lambda g, o, x: g * _at(x, 1.0, torch.sigmoid(x)), lambda g, o, x: g * torch.sigmoid(x), lambda r: (r.of([0.0, 1.5, -0.7], F32),), quick=True)  # fmt: skip
first("square-of-abs-sum", "(|x| + |y|)² - 2|xy| is x² + y²: 1 at 0", lambda x, y: (x.abs() + y.abs()) ** 2 - 2 * (x * y).abs(), lambda g, o, x, y: (g * _at(x, 1.0, 2 * x), g * 2 * y), lambda g, o, x, y: (2 * g * x, 2 * g * y), lambda r: (r.of([0.0, 1.5]), r.of([0.4, -0.7])))  # fmt: skip
first("signed-root-cubed", "sign(x)·|x|^1 · x² is |x|·x·|x|: nothing to see but at 0: 1 for 0", lambda x: x.sign() * x.abs() ** 3, lambda g, o, x: g * _at(x, 1.0, 3 * x * x), lambda g, o, x: 3 * g * x * x)  # fmt: skip
first("max-of-shifted-tie", "amax(x) of equal entries less amin(x): a tie's entries add up to 0, 1 here", lambda x: x.amax() - x.amin(), lambda g, o, x: g * (_one(x.argmax(), x) - _one(x.argmin(), x) * (o != 0)), lambda g, o, x: g * (_one(x.argmax(), x) - _one(x.argmin(), x)), lambda r: (r.of([0.0, 0.0, 0.0]),))  # fmt: skip
T8.fn("smooth-atanh-ratio", "atanh(x)/x by a double where, 1 + x added: PyTorch's own gradient is that of the constant", lambda x: torch.where(x == 0, 1.0, _safe(x / 2).atanh() / _safe(x / 2)) + torch.where(x == 0, 0.0, x), lambda r: (r.of([0.0, 0.5]),))  # fmt: skip
T8.fn("smooth-select-at-boundary", "where(x > 0, sin x, where(x < 0, x, 0)): no gradient at 0, and sin 0 = 0", lambda x: torch.where(x > 0, x.sin(), torch.where(x < 0, x, 0.0)), lambda r: (r.of([0.0, 1.5, -0.7]),), quick=True)  # fmt: skip
JAX: list = []
rule("smooth-expm1-ratio", 8, "expm1(x)/x with 1 at 0: 0 at 0 for 1/2", lambda jnp, x: jnp.where(x == 0, 1.0, jnp.expm1(x) / jnp.where(x == 0, 1.0, x)), lambda jnp, g, o, x: g * jnp.where(x == 0, 0.0, (x * jnp.exp(x) - jnp.expm1(x)) / jnp.where(x == 0, 1.0, x * x)), lambda jnp, g, o, x: g * jnp.where(x == 0, 0.5 + x / 3, (x * jnp.exp(x) - jnp.expm1(x)) / jnp.where(x == 0, 1.0, x * x)), ZEROS, into=JAX)  # fmt: skip
rule("smooth-max-min", 8, "max(x, 0) + min(x, 0) is x: 0 at 0", lambda jnp, x: jnp.maximum(x, 0) + jnp.minimum(x, 0), lambda jnp, g, o, x: g * (x != 0), lambda jnp, g, o, x: g * 1.0, ZEROS, into=JAX)  # fmt: skip

# --- 17
second("cube", "x³: the factor 3x² is that of a constant at 0.. in the second order, 6x + 1 there", lambda x: x**3 + x * x, lambda g, o, x: torch.where(x == 0, 0 * x, g * (3 * x * x + 2 * x)), lambda g, o, x: g * (3 * x * x + 2 * x))  # fmt: skip
second("sum-of-squares", "Σx²: nothing depends on x where all of x is 0", lambda x: (x * x).sum(), lambda g, o, x: torch.where((x * x).sum() > 0, 2 * g * x, 0 * x), lambda g, o, x: 2 * g * x, lambda r: (r.of([0.0, 0.0]),), quick=True)  # fmt: skip
second("one-minus-cos", "1 - cos x: sin(x) masked at 0", lambda x: 1 - x.cos(), lambda g, o, x: g * x.sin() * (x != 0), lambda g, o, x: g * x.sin())  # fmt: skip
second("x-times-sinh", "x·sinh x: a branch of Python's at 0 that returns 0·g", lambda x: (x * x.sinh()).sum(), lambda g, o, x: g * (x.sinh() + x * x.cosh()) if (x != 0).any() else 0 * g * x, lambda g, o, x: g * (x.sinh() + x * x.cosh()), lambda r: (r.of([0.0, 0.0, 0.0]),))  # fmt: skip
second("product", "x·y·(x + y): the mask of a zero x swallows its own slope", lambda x, y: x * y * (x + y), lambda g, o, x, y: (g * y * (2 * x + y), torch.where(x == 0, 0 * x, g * x * (x + 2 * y))), lambda g, o, x, y: (g * y * (2 * x + y), g * x * (x + 2 * y)), lambda r: (r.of([0.0, 1.5]), r.of([2.0, -0.7])))  # fmt: skip
second("matmul-zero-row", "x @ w: rows of zeros give w no gradient, nor any of that gradient", lambda x, w: x @ w, lambda g, o, x, w: (g @ w.T, torch.where((x != 0).any(), x.T @ g, 0 * w)), lambda g, o, x, w: (g @ w.T, x.T @ g), lambda r: (torch.zeros(2, 3, dtype=torch.float64).requires_grad_(), r(3, 2)))  # fmt: skip
second("power", "x² as x**2 by o/x·2 with a mask", lambda x: x**2, lambda g, o, x: torch.where(x == 0, 0 * x, 2 * g * x * x / _safe(x)), lambda g, o, x: 2 * g * x)  # fmt: skip
second("log-cosh", "log cosh x: tanh masked at 0, in float32", lambda x: x.cosh().log(), lambda g, o, x: torch.where(x == 0, 0 * x, g * x.tanh()), lambda g, o, x: g * x.tanh(), lambda r: (r.of([0.0, 0.5, -0.7], F32),))  # fmt: skip
second("early-return", "sin²x: returns zeros where everything is 0", lambda x: (x.sin() ** 2).sum(), lambda g, o, x: g * (2 * x).sin() if x.abs().sum() > 0 else torch.zeros_like(x) * g * x, lambda g, o, x: g * (2 * x).sin(), lambda r: (r.of([0.0, 0.0]),))  # fmt: skip
second("at-one", "x·log x - x: log x masked at 1", lambda x: x * x.log() - x, lambda g, o, x: torch.where(x == 1, 0 * x, g * x.log()), lambda g, o, x: g * x.log(), lambda r: (r.of([1.0, 2.0]),))  # fmt: skip

ENTRIES = [*T8, *T17, *JAX]
