"""Branches of a backward pass that no value takes are asked all the same, on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import FailKind, Outcome, check
from tests.helpers import custom

torch = pytest.importorskip("torch")
F = torch.nn.functional

X = torch.tensor([0.5, 1.5, -0.3, 0.8], dtype=torch.float64, requires_grad=True)


def tanh(back: Any) -> Any:
    return custom(torch.tanh, back)


def slope(x: Any) -> Any:
    return 1 / torch.cosh(x) ** 2


HIDDEN = {
    "a threshold": tanh(lambda g, x: torch.where(x < -3, 0.0, g * slope(x))),
    "a threshold of a product": tanh(lambda g, x: torch.where(x * x > 17, 0.5, 1.0) * g * slope(x)),
    "one value": tanh(lambda g, x: torch.where(x == 1, 0.0, g * slope(x))),
    "a clamp": custom(torch.exp, lambda g, x: g * torch.exp(x.clamp(max=5))),
    "a relu of what never is negative": custom(torch.exp, lambda g, x: g * torch.exp(torch.relu(x + 7) - 7)),
    "a branch in Python": tanh(lambda g, x: 0 * g if x.numel() and x.max() > 88 else g * slope(x)),
    "the smaller of two": custom(torch.exp, lambda g, x: g * torch.minimum(torch.exp(x), 40 + x)),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_a_branch_hides_is_found(name: str) -> None:
    verdict = check(HIDDEN[name], X)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert "turns)" in verdict.message, verdict.message


def test_the_message_names_the_point_and_the_branch() -> None:
    assert "args[0] < -3.0 turns" in check(HIDDEN["a threshold"], X).message


RIGHT = {
    "leaky": custom(lambda x: F.leaky_relu(x, 0.1), lambda g, x: torch.where(x > 0, g, 0.1 * g)),
    "a Huber loss": custom(
        lambda x: torch.where(x.abs() < 4, x * x / 2, 4 * (x.abs() - 2)), lambda g, x: g * x.clamp(-4, 4)
    ),
    "a clamp and its mask": custom(lambda x: x.clamp(-9, 9), lambda g, x: g * ((x >= -9) & (x <= 9))),
    "softplus in two pieces": custom(
        lambda x: F.softplus(x, threshold=1e9),
        lambda g, x: g * torch.where(x > 0, 1 / (1 + (-x).exp()), x.exp() / (1 + x.exp())),
    ),
    "a branch in Python for the empty": tanh(lambda g, x: g * slope(x) if x.numel() else g),
    "a maximum against itself": custom(lambda x: x * x, lambda g, x: g * 2 * torch.maximum(x, x - 30)),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_one_passes_on_all_of_its_branches(name: str) -> None:
    verdict = check(RIGHT[name], X)
    assert verdict.outcome is Outcome.PASS, verdict.text()


def test_what_cannot_be_taken_is_said() -> None:
    """x² is not negative anywhere."""
    verdict = check(tanh(lambda g, x: torch.where(x * x < -1, 0.0, g * slope(x))), X)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert any("not taken: square(" in n or ("not taken: " in n and "< -1.0" in n) for n in verdict.notes), (
        verdict.notes
    )


def test_quick_stays_at_the_given_point() -> None:
    assert check(HIDDEN["a threshold"], X, effort="quick").outcome is Outcome.PASS


def test_in_bfloat16() -> None:
    verdict = check(HIDDEN["a threshold"], X.detach().bfloat16().requires_grad_())
    assert verdict.kind is FailKind.WRONG, verdict.text()
