"""What is held against differences makes no more forward calls than its effort states, and says how it looked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify.checker.calls import CALLS
from gradverify.judge.exact import APPROXIMATED
from tests.helpers import custom

torch = pytest.importorskip("torch")

BESIDE = 40
"""Calls that are no differences: traces, runs of the backward pass, laws; some four at each of some ten points."""


class Counted:
    """A forward pass out of the tracer's sight, which counts its calls."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward, self.calls = forward, 0

    def __call__(self, *tensors: Any) -> Any:
        self.calls += 1
        arrays = [t.detach().double().numpy() for t in tensors]
        found = self.forward(*arrays)
        to_tensor = lambda o: torch.from_numpy(np.asarray(o)).to(tensors[0].dtype)
        return tuple(map(to_tensor, found)) if isinstance(found, tuple) else to_tensor(found)


def line(n: int, dtype: Any = None) -> Any:
    return torch.linspace(0.3, 1.2, n, dtype=dtype or torch.float64, requires_grad=True)


SINE = lambda g, x: g * torch.cos(x)


@pytest.mark.parametrize("effort", ["quick", "normal"])
@pytest.mark.parametrize("n", [1, 35, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_right_one_takes_no_more_calls_than_its_effort_states(dtype: Any, n: int, effort: Any) -> None:
    f = Counted(np.sin)
    verdict = gv.check(custom(f, SINE), line(n, dtype), effort=effort)
    assert verdict.outcome is gv.Outcome.PASS, verdict.text()
    assert f.calls <= CALLS[effort] + BESIDE
    facts = verdict.facts
    assert (facts["most_calls"], facts["entries"]) == (CALLS[effort], n)
    assert 0 < facts["calls"] <= f.calls
    said = verdict.text().replace("\n", " ")
    assert f"{facts['calls']:,} forward calls of at most {CALLS[effort]:,}" in said
    assert f"{facts['alone']} of {n:,} entries by themselves" in said


WRONG = {
    "sign": lambda g, x: -g * torch.cos(x),
    "factor": lambda g, x: 1.5 * g * torch.cos(x),
    "one entry": lambda g, x: torch.where(
        torch.arange(x.numel()) == x.numel() // 2, 2 * g * torch.cos(x), g * torch.cos(x)
    ),
    "none": lambda g, x: 0 * g,
    "cotangent": lambda g, x: torch.cos(x),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("n", [1, 35, 1000])
def test_a_wrong_one_is_caught_by_as_many(n: int, name: str) -> None:
    f = Counted(np.sin)
    verdict = gv.check(custom(f, WRONG[name]), line(n), effort="quick")
    assert verdict.outcome is gv.Outcome.FAIL, verdict.text()
    assert f.calls <= CALLS["quick"] + BESIDE


@pytest.mark.parametrize("n", [35, 400])
def test_the_wrong_entry_is_named_however_many_there_are(n: int) -> None:
    verdict = gv.check(custom(Counted(np.sin), WRONG["one entry"]), line(n), effort="quick")
    [c] = [c for c in verdict.comparisons if c.failing]
    assert (c.failing, c.worst.index) == (1, (n // 2,))


def test_several_outputs_and_the_second_order() -> None:
    f = Counted(lambda x, y: (np.sin(x) * y, np.exp(x).sum()))

    def backward(gs: Any, x: Any, y: Any) -> Any:
        return gs[0] * torch.cos(x) * y + gs[1] * torch.exp(x), gs[0] * torch.sin(x)

    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            ctx.save_for_backward(x, y)
            return f(x, y)

        @staticmethod
        def backward(ctx: Any, *gs: Any) -> Any:
            return backward(gs, *ctx.saved_tensors)

    verdict = gv.check(Both.apply, line(5), line(5), effort="normal", order=2)
    assert verdict.outcome is gv.Outcome.PASS, verdict.text()
    assert f.calls <= 2 * (CALLS["normal"] + BESIDE)


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_small_entries_are_seen_in_a_direction_of_their_own(factor: float) -> None:
    """1,000 entries whose slopes go down to 1e-12 of the largest: no random direction of all shows them."""
    size = np.logspace(0, -12, 1000)
    slope = torch.from_numpy(np.where(size < 1e-9, factor, 1.0) * size)
    backward = lambda g, x: slope * g * torch.cos(x)
    verdict = gv.check(custom(Counted(lambda x: size * np.sin(x)), backward), line(1000), effort="quick")
    assert verdict.outcome is (gv.Outcome.PASS if factor == 1 else gv.Outcome.FAIL), verdict.text()
    assert factor != 1 or verdict.facts["groups"]


def test_what_no_look_shows_is_said() -> None:
    """In float32 beside a value of 1e4 a slope of 1e-6 is nothing: it is counted, and no power is claimed for it."""
    size = np.where(np.arange(200) < 190, 1.0, 1e-9)
    backward = lambda g, x: g * torch.from_numpy(size).float() * torch.cos(x)
    verdict = gv.check(
        custom(Counted(lambda x: (size * np.sin(x)).sum()), backward), line(200, torch.float32), effort="quick"
    )
    assert verdict.outcome is gv.Outcome.PASS, verdict.text()
    [c] = [c for c in verdict.comparisons if c.of.startswith("d")]
    assert c.unresolved >= 5
    assert "float64" in verdict.text()
    assert verdict.power > APPROXIMATED
