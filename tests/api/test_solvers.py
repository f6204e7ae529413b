"""Iterations that stop at a tolerance: their rule is of the limit, their graph ends a step before it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

import gradverify
from gradverify import Outcome, Reason

check = partial(gradverify.check, effort="quick")


def solver(
    step: Callable[[Any, Any], Any], slope: Callable[[Any, Any], Any], tolerance: float, factor: float = 1.0
) -> Any:
    """x with x = step(x, a), by iteration; `slope` is dx/da there by the implicit function theorem, times `factor`."""

    class Fixed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: torch.Tensor) -> torch.Tensor:
            x = torch.ones_like(a)
            while True:
                new = step(x, a)
                done = bool((new - x).abs().max() < tolerance)
                x = new
                if done:
                    break
            ctx.save_for_backward(a, x)
            return x

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
            a, x = ctx.saved_tensors
            return g * slope(x, a) * factor

    return Fixed.apply


def a(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


COSINE = (
    lambda x, a: torch.cos(a * x),
    lambda x, a: -torch.sin(a * x) * x / (1 + torch.sin(a * x) * a),
)
ROOT = (lambda x, a: 0.5 * (x + a / x), lambda x, a: 0.5 / x)
KEPLER = (lambda x, a: a + 0.4 * torch.sin(x), lambda x, a: 1 / (1 - 0.4 * torch.cos(x)))
CASES = [
    pytest.param(*COSINE, 1e-6, a(0.7, 1.1), id="cosine"),
    pytest.param(*ROOT, 1e-2, a(2.0, 2.5), id="square root"),
    pytest.param(*KEPLER, 1e-5, a(0.8), id="Kepler's equation"),
]


@pytest.mark.parametrize(("step", "slope", "tolerance", "at"), CASES)
def test_the_solvers_tolerance_is_nobodys_fault(step: Any, slope: Any, tolerance: float, at: torch.Tensor) -> None:
    v = check(solver(step, slope, tolerance), at)
    assert (v.outcome, v.reason) == (Outcome.INCONCLUSIVE, Reason.ORACLE)
    assert "the rule is off by" in v.message


@pytest.mark.parametrize(("step", "slope", "tolerance", "at"), CASES)
def test_a_wrong_rule_fails(step: Any, slope: Any, tolerance: float, at: torch.Tensor) -> None:
    assert check(solver(step, slope, tolerance, 1.02), at).outcome is Outcome.FAIL


def test_converged_to_the_last_digit_passes() -> None:
    """By Newton's method; where an iteration converges linearly, its derivative is still some roundings behind."""
    assert check(solver(*ROOT, 1e-15), a(2.0, 2.5)).outcome is Outcome.PASS


class Once(torch.autograd.Function):
    """sin, after one decision on values, with a backward pass that is off by a part in a hundred thousand."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        if bool(x.max() > 100):
            x = x * 1.0
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return g * torch.cos(x) * (1 + 1e-5)


def test_one_decision_is_no_loop() -> None:
    assert check(Once.apply, a(0.3, 1.2)).outcome is Outcome.FAIL


def test_a_loop_outside_of_a_rule_is_followed() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        while bool((x * x).sum() > 0.5):
            x = x * 0.7
        return Once.apply(x)

    assert check(f, a(0.9, 1.2)).outcome is Outcome.FAIL


def test_lobpcg() -> None:
    def largest(a: torch.Tensor) -> torch.Tensor:
        return torch.lobpcg((a + a.mT) / 2, k=1, X=torch.eye(6, 1, dtype=a.dtype))[0]

    torch.manual_seed(0)
    matrix = torch.rand(6, 6, dtype=torch.float64)
    matrix = (matrix @ matrix.mT / 10).requires_grad_()
    v = check(largest, matrix)
    assert v.outcome is Outcome.PASS or v.reason is Reason.ORACLE
