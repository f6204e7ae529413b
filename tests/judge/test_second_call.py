"""What one more call says of a wrong gradient, and when it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import Outcome, Verdict, check
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")

X = torch.tensor([0.3, -0.7, 1.1, 1.9, 0.4, -1.2], dtype=torch.float64, requires_grad=True)


def said(verdict: Verdict) -> str:
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    return str(verdict.facts.get("hypothesis", {}).get("name", ""))


def test_noise_that_is_drawn_anew() -> None:
    # One seed of sixty draws the same mask again: then a law finds it, and says so in other words.
    torch.manual_seed(1)

    def noisy(x: Any) -> Any:
        return x * (torch.rand(x.shape, dtype=x.dtype) < 0.5)

    verdict = judge(custom(noisy, lambda g, x: g * (torch.rand(x.shape, dtype=x.dtype) < 0.5)), X)
    assert said(verdict) == "drawn anew"
    assert "in another call at the same point" in verdict.message


def test_a_state_that_calls_leave_behind() -> None:
    calls: list[None] = []

    def back(g: Any, x: Any) -> Any:
        calls.append(None)
        return g * torch.cos(x) * (1 + len(calls))

    assert said(judge(custom(torch.sin, back), X)) == "drawn anew"


def test_what_the_first_call_saved() -> None:
    kept: dict[str, Any] = {}

    def back(g: Any, x: Any) -> Any:
        slope = kept.setdefault("slope", torch.cos(x).detach().clone())
        return g * slope if slope.shape == x.shape else g * torch.cos(x)

    verdict = check(custom(torch.sin, back), X, order=1)
    assert said(verdict) == "of an earlier call", verdict.text()
    assert "what an earlier call has saved" in verdict.message


WRONG = {
    "a wrong formula": lambda g, x: g * torch.cos(x) * x,
    "a factor": lambda g, x: g * torch.cos(x) * 2,
    "a straight-through estimator": lambda g, x: g,
    "zeros": lambda g, x: 0 * g,
}


@pytest.mark.parametrize("name", WRONG)
def test_silent_where_another_is_true(name: str) -> None:
    assert said(judge(custom(torch.sin, WRONG[name]), X)) not in ("drawn anew", "of an earlier call")


def test_silent_about_noise_that_is_kept() -> None:
    """Dropout whose mask is saved is right; with a wrong factor it is wrong alike in every call."""

    class Dropout(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            mask = torch.rand(x.shape, dtype=x.dtype) < 0.5
            ctx.save_for_backward(mask)
            return x * mask * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0]

    assert said(judge(Dropout.apply, X)) != "drawn anew"


def test_masked_entries() -> None:
    """0 where x is 1 or more: entries that do not lie together."""
    x = torch.tensor([0.3, 1.9, -0.7, 1.1, 0.4, 1.3, 0.9, 1.2, -0.3, 0.6, 1.4, 0.2, 0.7, 1.7, -0.1, 0.5] * 2)
    x = (x + torch.arange(32) / 1024).requires_grad_()
    verdict = judge(custom(torch.sin, lambda g, x: torch.where(x > 1, 0.0, g * torch.cos(x))), x)
    assert said(verdict) == "masked", verdict.text()
    assert "args[0] is at least 1.1" in verdict.message
    assert verdict.facts["departure"]["repair"] == "with g * cos(…) alone"


@pytest.mark.parametrize("wrong", [lambda g, x: torch.where(x > 1, 0.1, g * torch.cos(x)), lambda g, x: g * (x < 1)])
def test_masked_is_silent_where_the_others_are_wrong_or_those_are_not_0(wrong: Any) -> None:
    assert said(judge(custom(torch.sin, wrong), X)) != "masked"
