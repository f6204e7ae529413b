"""Branches that no single comparison with a literal turns: a fault behind each is found, and its right twin passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradverify import Outcome, check
from gradverify.checker.branches import DECISIONS, ENDS
from gradverify.checker.turning import STAIRS
from gradverify.ops import OPS
from tests.helpers import custom

torch = pytest.importorskip("torch")
F = torch.nn.functional

W = torch.tensor([1.0, 2.0, 0.5, 1.5, 0.8, 1.2], dtype=torch.float64)
X = torch.tensor([0.5, -0.4, 0.3, 0.8, -0.9, 0.1], dtype=torch.float64, requires_grad=True)
"""The weights keep other lengths away."""


def sine(x: Any) -> Any:
    return (x * W).sin()


def wrong_where(condition: Callable[[Any], Any]) -> Callable[..., Any]:
    return custom(sine, lambda g, x: g * (x * W).cos() * W * torch.where(condition(x), 0.5, 1.0))


def right_where(condition: Callable[[Any], Any]) -> Callable[..., Any]:
    """The same decision, with one slope on both sides."""
    return custom(sine, lambda g, x: torch.where(condition(x), g * 2 * 0.5, g) * (x * W).cos() * W)


CONDITIONS: dict[str, Callable[[Any], Any]] = {
    # all entries together
    "a small variance": lambda x: x.var(correction=1) < 1e-4,
    "a large norm of a part": lambda x: x[:3].norm() > 30,
    "a small norm": lambda x: x.norm() < 1e-3,
    "nearly opposite": lambda x: F.cosine_similarity(x, W, 0) < -0.99,
    "all are large": lambda x: x.min() > 2,
    "a large median": lambda x: x.median() > 3,
    # several decisions together
    "two entries": lambda x: (x[:1] > 2) & (x[1:2] > 2),
    "one of each sign": lambda x: (x[2:3] > 2) & (x[3:4] < -2),
    "neither inside": lambda x: ~((x[4:5] > -2) | (x[5:6] > -2)),
    "three entries, of which one is taken": lambda x: (x[:1] > 0) & (x[1:2] > 2) & (x[2:3] > 2),
    # stairs
    "a quarter": lambda x: torch.round(x / 4) == 2,
    "a bin": lambda x: torch.floor(x * 2) == 3,
    "an exponent": lambda x: torch.ceil(torch.log2(x.abs() + 1)) == 3,
    # casts to integers
    "an odd number": lambda x: (x / 2).long() % 2 == 1,
    "an index": lambda x: torch.tensor([False] * 4 + [True, False])[(3 * x).int().clamp(0, 5).long()],
    "a short": lambda x: x.to(torch.int16) == -2,
    # ops of pieces
    "a leaky slope": lambda x: F.leaky_relu(x - 7, 0.5) > 0,
    "a cap": lambda x: F.relu6(x) == 6,
    "an exponential unit": lambda x: F.elu(x + 9) < 0,
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_fault_behind_it_is_found(name: str) -> None:
    verdict = check(wrong_where(CONDITIONS[name]), X)
    assert verdict.outcome is Outcome.FAIL, verdict.text()


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_right_one_passes(name: str) -> None:
    verdict = check(right_where(CONDITIONS[name]), X)
    assert verdict.outcome is Outcome.PASS, verdict.text()


def largest(share: bool) -> Callable[..., Any]:
    def back(g: Any, x: Any) -> Any:
        mask = (x == x.max()).to(x.dtype)
        return g * mask / (mask.sum() if share else 1)

    return custom(lambda x: x.max(), back)


def pool(share: bool) -> Callable[..., Any]:
    def back(g: Any, x: Any) -> Any:
        top = (x == x.amax(1, keepdim=True)).to(x.dtype)
        return g[:, None] * (top / top.sum(1, keepdim=True) if share else top)

    return custom(lambda x: x.amax(1), back)


def span(share: bool) -> Callable[..., Any]:
    def part(mask: Any) -> Any:
        return mask / (mask.sum() if share else 1)

    def back(g: Any, x: Any) -> Any:
        return g * (part((x == x.max()).to(x.dtype)) - part((x == x.min()).to(x.dtype)))

    return custom(lambda x: x.max() - x.min(), back)


@pytest.mark.parametrize("make", [largest, pool, span])
def test_entries_of_a_tie_share_the_gradient(make: Callable[[bool], Callable[..., Any]]) -> None:
    x = X if make is not pool else torch.stack([X, 2 * X.roll(1)]).detach().requires_grad_()
    verdict = check(make(False), x)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert check(make(True), x).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("slope", "turn"),
    [
        (lambda x: torch.where(x < -9, 1.0, 1 - torch.sigmoid(x)), -9.0),
        (lambda x: torch.where(torch.sigmoid(x) < 1e-4, 1.0, 1 - torch.sigmoid(x)), -9.21),
        (lambda x: torch.where(x.exp() < 1e-4, 1.0, 1 - torch.sigmoid(x)), -9.21),
    ],
)
def test_a_branch_is_asked_just_past_its_turn(slope: Callable[[Any], Any], turn: float) -> None:
    """There the error is largest; where Newton's method lands it has died away."""
    verdict = check(custom(F.logsigmoid, lambda g, x: g * slope(x)), X)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    asked = verdict.message.split(" = ")[-1].split(",")[0]
    assert 1.1 * turn < float(asked) < turn


def test_numpy_by_hand() -> None:
    verdict = check(np.sin, X.detach().numpy(), vjp=lambda g, x: g * np.cos(x) * np.where(np.floor(x) == 3, 0.5, 1.0))
    assert verdict.outcome is Outcome.FAIL, verdict.text()


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    fn = jax.custom_vjp(lambda x: jnp.sin(x))
    fn.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x) * jnp.where(jnp.linalg.norm(x) > 40, 0.5, 1.0),))
    with jax.enable_x64(True):
        verdict = check(fn, jnp.array(X.detach().numpy()))
    assert verdict.outcome is Outcome.FAIL, verdict.text()


def test_every_op_of_pieces_has_its_ends() -> None:
    """Those of one argument; a root and its like have an end of their domain there."""
    of_domain = {"sqrt", "asin", "acos", "acosh"}
    of_one = {
        n for n, o in OPS.items() if o.kinks is not None and o.arity == 1 and not o.params.keys() & {"axis", "axes"}
    }
    pieces = of_one - of_domain - DECISIONS - STAIRS - {"clip"}
    assert {n for n in pieces if "kernel" not in OPS[n].params} <= ENDS.keys()


@pytest.mark.parametrize("keep", [
    lambda s: s > -3.4028234663852886e38,
    lambda s: s.abs() < 3e38,
    lambda s: (s < 2e38) & (s > -2e38),
], ids=["a mask's number", "a size", "two decisions"])  # fmt: skip
def test_no_branch_is_asked_where_a_cast_leaves_its_range(keep: Callable[[Any], Any]) -> None:
    """The arguments are float64, the function computes in float32: beyond 3.4e38 it has no value.

    There x - x, which is 0 elsewhere, is NaN, in the backward pass alone.
    """
    forward = lambda x: torch.exp(-x.abs())
    backward = lambda g, x: g * torch.where(keep(0.1 * x), -torch.exp(-x.abs()) * x.sign(), 0.0) + (x - x)
    f = custom(forward, backward)
    x = torch.tensor([0.3, -1.7, 2.0], dtype=torch.float64)
    verdict = check(lambda t: f(t.float()), x, order=1)
    assert verdict.outcome is Outcome.PASS, verdict.message
