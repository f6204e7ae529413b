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


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize(("f", "x"), [
    (lambda t: torch.logcumsumexp(t, 0), [[0.3, 2.0, -1.0, 0.7], [1.2, -0.4, 3.1, 0.9], [2.2, -1.6, 0.1, 1.9]]),
    (lambda t: torch.logcumsumexp(t * t, -1), [[0.3, 2.0, -1.0, 0.7, 1.9, -1.3]]),
    (lambda t: torch.logcumsumexp(t, 0), [[0.3, 2.0, -1.7, 11.2]]),
    (lambda t: torch.logcumsumexp(t.sum(), 0), [0.3, 2.0, 11.2]),
    (lambda t: torch.logcumsumexp(t.exp(), 0).sum(-1), [[0.3, 2.0], [-1.0, 0.7], [1.9, -1.3], [0.4, 0.4]]),
])  # fmt: skip
def test_its_rounding_for_a_far_cotangent_breaks_no_law(f: Any, x: Any, dtype: str) -> None:
    """log|g| of 2^20 times the cotangent has four digits less to the right of the point, in bfloat16 none."""
    found = verdict(f, x, dtype)
    assert found.outcome in (Outcome.PASS, Outcome.KNOWN), found.text()


class Clipped(Off):
    """PyTorch's backward pass, of a clipped cotangent."""

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, _ = ctx.saved_tensors
        with torch.enable_grad():
            t = x.detach().requires_grad_()
            return torch.autograd.grad(torch.logcumsumexp(t, 0), t, g.clamp(-100, 100))[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_a_clipped_cotangent_breaks_one(dtype: str) -> None:
    assert verdict(Clipped.apply, [0.3, 2.0, -1.0], dtype).outcome is Outcome.FAIL
