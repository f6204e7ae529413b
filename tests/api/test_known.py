"""A framework's own formulas that lose digits: true, said, and no fault of the function's."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import WrongGradient, assert_gradients, check
from gradverify.core.verdict import Outcome

torch = pytest.importorskip("torch")


def saturated() -> Any:
    return torch.tensor([0.5, -9.0, 12.0], dtype=torch.float64, requires_grad=True)


class Tanh(torch.autograd.Function):
    """PyTorch's own formula, as somebody's own rule."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        out = x.tanh()
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        return g * (1 - ctx.saved_tensors[0] ** 2)


def test_a_weakness_of_the_framework_is_said_and_let_through() -> None:
    verdict = check(torch.tanh, saturated())
    assert verdict.outcome is Outcome.KNOWN
    assert verdict.kind is not None
    assert "cancels where tanh saturates" in verdict.known
    assert verdict
    assert assert_gradients(torch.tanh, saturated()).known == verdict.known


def test_a_right_function_is_true_though_its_framework_loses_digits() -> None:
    """2 * x doubles what tanh loses; it is no fault of the user's."""
    x = saturated()
    assert check(lambda x: torch.tanh(2 * x), x)


def test_the_same_formula_as_a_rule_of_the_users_is_theirs() -> None:
    with pytest.raises(WrongGradient) as caught:
        assert_gradients(Tanh.apply, saturated())
    assert caught.value.verdict.outcome is Outcome.FAIL


def test_a_known_weakness_hides_no_other_fault() -> None:
    def f(x: Any) -> Any:
        y = x.tanh()
        if y.requires_grad:
            y.register_hook(lambda g: g * (1.5 if x.shape[0] > 3 else 1.0))  # wrong for more than three rows only
        return y

    verdict = check(f, saturated())
    assert verdict.outcome is Outcome.FAIL
    assert "found with" in verdict.message
