"""What a function may change beside its outputs, and what its keywords may be called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gradverify.api import check  # noqa: E402
from gradverify.core.verdict import FailKind, Outcome  # noqa: E402

X = torch.tensor([[0.3, -1.2, 2.0], [1.1, 0.4, -0.7]], dtype=torch.float64, requires_grad=True)
MEAN = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)


def in_sight(x: Any, mean: Any) -> Any:
    out = (x - mean) ** 2
    mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
    return out


def under_no_grad(x: Any, mean: Any) -> Any:
    out = (x - mean.clone()).sin()
    with torch.no_grad():
        mean.copy_(x.mean(0))
    return out


def by_an_operator(x: Any, mean: Any) -> Any:
    return torch.nn.functional.batch_norm(x, mean, torch.ones_like(mean), training=True)


def through_data(x: Any, mean: Any) -> Any:
    out = (x - mean.clone()) ** 2
    mean.data.copy_(x.detach().mean(0))
    return out


def through_numpy(x: Any, mean: Any) -> Any:
    out = (x - mean.clone()) ** 2
    mean.numpy()[:] = 7.0
    return out


class InBackward(torch.autograd.Function):
    """Its backward pass writes to an argument that is not differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Any, mean: Any) -> Any:
        ctx.x, ctx.mean = x, mean
        return x * mean

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        d = g * ctx.mean
        ctx.mean.add_(1)
        return d, None


@pytest.mark.parametrize("fn", [in_sight, under_no_grad, by_an_operator])
def test_a_running_statistic_may_be_updated_in_sight(fn: Callable[..., Any]) -> None:
    mean = MEAN.clone()
    verdict = check(fn, X, mean, effort="quick")
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert any("writes to its argument mean" in n for n in verdict.notes)
    assert torch.equal(mean, MEAN)  # the caller's is not touched


@pytest.mark.parametrize("fn", [through_data, through_numpy, InBackward.apply])
def test_what_changes_unseen_or_in_the_backward_pass_fails(fn: Callable[..., Any]) -> None:
    verdict = check(fn, X, MEAN, effort="quick")
    assert verdict.kind is FailKind.LAW, verdict.text()
    assert "purity" in verdict.message


def test_a_complex_statistic() -> None:
    def fn(x: Any, mean: Any) -> Any:
        out = x * mean.clone()
        mean.add_(1j)
        return torch.view_as_real(out)

    assert check(fn, X, MEAN + 0j, effort="quick").outcome is Outcome.PASS


@pytest.mark.parametrize("name", ["fn", "options", "args", "kwargs", "seed", "framework", "self"])
def test_keywords_may_have_any_name(name: str) -> None:
    def fn(x: Any, /, **given: float) -> Any:
        return (x * given[name]).sin()

    assert check(fn, X, kwargs={name: 2.0}, effort="quick").outcome is Outcome.PASS
