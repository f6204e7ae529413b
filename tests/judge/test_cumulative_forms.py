"""PyTorch's logcumsumexp goes through log|g| - out, which loses digits beside a large out: known, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

import gradverify as gv
from gradverify.core.outcome import Outcome

torch = pytest.importorskip("torch")

SPREAD = [-700.0, 5.0, 3.0, 800.0]


def verdict(f: Any, x: Any, dtype: str = "float64", **options: Any) -> gv.Verdict:
    return gv.check(f, torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True), effort="quick", **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("x", "axis"), [
    (SPREAD, 0), ([[-700.3, 1.0], [5.7, 2.0], [801.1, 3.0]], 0), ([[[-910.7, 2.0, 1.3, 0.5, 650.0]]], -1),
])  # fmt: skip
def test_beside_a_large_value_the_loss_is_known(x: Any, axis: int, dtype: str) -> None:
    found = verdict(lambda t: torch.logcumsumexp(t, axis), x, dtype)
    assert found.outcome is Outcome.KNOWN, found.text()
    assert found.known.startswith("cumulative_logsumexp")


@pytest.mark.parametrize("x", [[0.3, 2.0, -1.0], [1e4, 1e4, 1e4 - 1]])
def test_where_nothing_is_lost_it_passes(x: list[float]) -> None:
    assert verdict(lambda t: torch.logcumsumexp(t, 0), x).outcome is Outcome.PASS
    # Forward mode divides by the sum and 1e-13 (docs/findings.md), whatever is lost.
    assert verdict(lambda t: torch.logcumsumexp(t, 0), x, modes=("fwd",)).outcome is Outcome.FAIL


class Off(torch.autograd.Function):
    """Wrong by 1e-6 of itself: no digit of it is lost to the exponents."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        out = torch.logcumsumexp(x, 0)
        ctx.save_for_backward(x, out)
        return out

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, out = ctx.saved_tensors
        weights = torch.exp(x[:, None] - out) * torch.ones(len(x), len(x), dtype=x.dtype).triu()
        return weights @ g * (1 + 1e-6)


@pytest.mark.parametrize("x", [SPREAD, [0.3, 2.0, -1.0]])
def test_a_wrong_rule_is_not_excused(x: list[float]) -> None:
    assert verdict(Off.apply, x).outcome is Outcome.FAIL
