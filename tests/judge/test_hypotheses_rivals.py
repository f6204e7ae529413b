# ruff: noqa: E501 - one mistake, one line: a table
"""Each kind of mistake beside one that looks like it: the first is named so in every dtype, and the second never is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from gradverify import Outcome
from tests.helpers import custom, judge
from tests.judge.test_hypotheses import normal, normed, normed_back

SIN = lambda x: x.sin()
PLUS = lambda x: x.exp() + x
SLOPE = lambda x: x.exp() + 1
X, M34, S33 = normal(7), normal(3, 4), normal(3, 3)
PAIR = normal(7), normal(7, seed=1)
DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Kind:
    """A kind of mistake by its reported name, and other mistakes that look like it. Each is a wrong backward pass."""

    name: str
    forward: Callable[..., Any]
    args: tuple[Any, ...]
    wrong: Callable[..., Any]
    rivals: dict[str, Callable[..., Any]]
    dtypes: tuple[str, ...] = tuple(DTYPES)


# fmt: off
KINDS = [
    Kind("cotangent ignored", PLUS, (X,), lambda g, x: SLOPE(x), {
        "ignored, and the sign is flipped": lambda g, x: -SLOPE(x),
        "ignored but in one entry": lambda g, x: torch.cat([SLOPE(x)[:-1], (g * SLOPE(x))[-1:]]),
        "another formula without it": lambda g, x: x.exp() + 1.3,
    }),
    Kind("cotangent's sign", PLUS, (X,), lambda g, x: g.sign() * SLOPE(x), {
        "of the slope": lambda g, x: g * (x.exp() + 1).sign(),
        "and half of it": lambda g, x: 0.5 * g.sign() * SLOPE(x),
        "smoothed": lambda g, x: g.tanh() * SLOPE(x),
    }),
    Kind("cotangent's mean", PLUS, (X,), lambda g, x: g.mean() * SLOPE(x), {
        "of the others": lambda g, x: (g.sum() - g) / 6 * SLOPE(x),
        "of the squares": lambda g, x: (g * g).mean() * SLOPE(x),
        "of the sizes": lambda g, x: g.abs().mean() * SLOPE(x),
    }),
    Kind("cotangent's first entry", PLUS, (X,), lambda g, x: g[0] * SLOPE(x), {
        "the last": lambda g, x: g[-1] * SLOPE(x),
        "the second": lambda g, x: g[1] * SLOPE(x),
        "the largest": lambda g, x: g.max() * SLOPE(x),
    }),
    Kind("swapped arguments", lambda x, y: x.sin() * y, PAIR, lambda g, x, y: (g * x.sin(), g * x.cos() * y), {
        "and the signs": lambda g, x, y: (-g * x.sin(), -g * x.cos() * y),
        "read at each other": lambda g, x, y: (g * y.cos() * x, g * y.sin()),
        "their product": lambda g, x, y: (g * x.cos() * y * x.sin(),) * 2,
    }),
    Kind("transposed", lambda x: x @ x.exp(), (S33,), lambda g, x: (g @ x.exp().T + (x.T @ g) * x.exp()).T, {
        "rows reversed": lambda g, x: (g @ x.exp().T + (x.T @ g) * x.exp()).flip(0),
        "one term of it": lambda g, x: (g @ x.exp().T).T + (x.T @ g) * x.exp(),
        "its symmetric part": lambda g, x: (lambda d: (d + d.T) / 2)(g @ x.exp().T + (x.T @ g) * x.exp()),
    }),
    Kind("factor", SIN, (X,), lambda g, x: 2 * g * x.cos() / 7, {
        "another in the last entry": lambda g, x: torch.cat([2 * g[:-1] * x[:-1].cos() / 7, g[-1:] * x[-1:].cos() / 3]),
        "of the argument": lambda g, x: g * (2 * x / 7).cos(),
        "and an offset": lambda g, x: 2 * g * x.cos() / 7 + 0.25,
    }),
    Kind("reduction", lambda x, b: x * b.exp(), (S33, normal(3)), lambda g, x, b: (g * b.exp(), (g * x * b.exp()).sum(-1)), {
        "a maximum for the sum": lambda g, x, b: (g * b.exp(), (g * x * b.exp()).amax(0)),
        "a middle slice": lambda g, x, b: (g * b.exp(), (g * x * b.exp())[1]),
        "of the sizes": lambda g, x, b: (g * b.exp(), (g * x * b.exp()).abs().sum(0)),
    }),
    Kind("formula", lambda x: x.softmax(-1), (M34,), lambda g, x: (lambda y: y * (g - (g * y).mean(-1, keepdim=True)))(x.softmax(-1)), {
        "a mean by one less": lambda g, x: (lambda y: y * (g - (g * y).sum(-1, keepdim=True) / 2.7))(x.softmax(-1)),
        "over the other axis": lambda g, x: (lambda y: y * (g - (g * y).mean(0)))(x.softmax(-1)),
        "of the largest": lambda g, x: (lambda y: y * (g - (g * y).amax(-1, keepdim=True)))(x.softmax(-1)),
    }),
    Kind("missing term", normed, (M34,), lambda g, x: normed_back(g, x, 0, 1), {
        "half of it": lambda g, x: normed_back(g, x, 0.5, 1),
        "of one row": lambda g, x: torch.cat([normed_back(g[:1], x[:1], 0, 1), normed_back(g[1:], x[1:], 1.5, 1)]),
        "another in its place": lambda g, x: normed_back(g, x, 0, 1) + 0.1 * x.tanh(),
    }),
    Kind("narrower dtype", lambda x: x.exp() * x, (X,), lambda g, x: (g.float() * x.float().exp() * (1 + x.float())).double(), {
        "as much off, and no number of it": lambda g, x: g * x.exp() * (1 + x) * (1 + 6e-8 * (1e3 * x).sin()),
        "rounded to eighths": lambda g, x: (g * x.exp() * (1 + x) * 8).round() / 8,
        "a table of four digits": lambda g, x: g * (x.exp() * 1e4).round() / 1e4 * (1 + x),
    }, ("float64",)),
]
# fmt: on

MISTAKES = [(k, d) for k in KINDS for d in k.dtypes]
RIVALS = [(k, r, d) for k in KINDS for r in k.rivals for d in k.dtypes]


def said(kind: Kind, wrong: Callable[..., Any], dtype: str) -> tuple[str, ...]:
    """The names of the hypotheses that a verdict has."""
    args = [a.detach().to(DTYPES[dtype]).requires_grad_() for a in kind.args]
    verdict = judge(custom(kind.forward, wrong), *args)
    assert verdict.outcome in (Outcome.FAIL, Outcome.WEAK), verdict.text()
    found = verdict.facts.get("hypothesis", {"name": "", "others": []})
    return found["name"], *found["others"]


@pytest.mark.parametrize(("kind", "dtype"), MISTAKES, ids=[f"{k.name}-{d}" for k, d in MISTAKES])
def test_the_mistake_is_named(kind: Kind, dtype: str) -> None:
    assert said(kind, kind.wrong, dtype)[0] == kind.name


@pytest.mark.parametrize(("kind", "rival", "dtype"), RIVALS, ids=[f"{k.name}: {r}-{d}" for k, r, d in RIVALS])
def test_what_looks_like_it_is_not(kind: Kind, rival: str, dtype: str) -> None:
    assert kind.name not in said(kind, kind.rivals[rival], dtype)
