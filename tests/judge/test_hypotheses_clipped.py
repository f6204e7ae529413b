"""A gradient that is clipped, which one entry may show; and gradients that another mistake makes wrong in one entry."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import Outcome, check
from tests.helpers import custom

torch = pytest.importorskip("torch")

FOUR = torch.tensor([0.5, -1.5, 0.3, 1.2], dtype=torch.float64, requires_grad=True)
MANY = torch.linspace(-2, 2, 40, dtype=torch.float64).requires_grad_()


def explained(change: Any, x: Any) -> tuple[str, str]:
    verdict = check(custom(torch.sin, lambda g, x: change(g * x.cos())), x, effort="quick")
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    found = verdict.facts.get("hypothesis", {})
    return found.get("name", ""), found.get("text", "")


@pytest.mark.parametrize(
    ("limits", "x", "says"),
    [
        ({"max": 0.7}, FOUR, "at most 0.7"),
        ({"min": -0.7}, FOUR, "at least -0.7"),
        ({"min": -0.7, "max": 0.7}, FOUR, "[-0.7, 0.7]"),
        ({"min": 0.25}, FOUR, "at least 0.25"),
        ({"max": 0.9321}, MANY, "at most 0.9321"),
        ({"min": -0.9321, "max": 0.9321}, MANY, "[-0.9321, 0.9321]"),
    ],
)
def test_bounds_are_named(limits: dict[str, float], x: Any, says: str) -> None:
    name, text = explained(lambda d: d.clamp(**limits), x)
    assert name == "clipped"
    assert text.startswith(f"dargs[0] is the right gradient, clipped to {says}")


def _one_off(d: Any) -> Any:
    other = d.clone()
    other[int(d.argmax())] *= 0.77
    return other


@pytest.mark.parametrize(
    "change", [_one_off, lambda d: 0.7 * d, lambda d: torch.where(d > 0.7, 0.0, d), lambda d: d.clamp(max=0.7) + 0.01]
)
def test_what_is_wrong_by_another_mistake_is_not_clipped(change: Any) -> None:
    assert explained(change, FOUR)[0] != "clipped"
