"""Smooth points with a kink in the graph, and orders from the forward definition: right and wrong answers of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import gradverify  # noqa: E402

F32, F64 = torch.float32, torch.float64


def at(*values: float, dtype: Any = F64) -> Any:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def rule(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.save_for_backward(*args)
            return forward(*args)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(g, *ctx.saved_tensors)

    return Rule.apply


def logits(x: Any) -> Any:
    return torch.relu(x) - 0.3 * x + torch.log1p(torch.exp(-x.abs()))


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(("slope", "status"), [(0.5, "PASS"), (0.0, "FAIL"), (1.0, "FAIL"), (0.25, "FAIL")])
def test_only_the_slope_of_the_loss_is_right_where_its_terms_have_kinks(dtype: Any, slope: float, status: str) -> None:
    wrong = lambda g, x: g * (torch.where(x == 0, slope, torch.sigmoid(x)) - 0.3)
    verdict = gradverify.check(rule(logits, wrong), at(0, 1.5, -0.7, dtype=dtype), effort="quick")
    assert verdict.outcome.name == status, verdict.message


@pytest.mark.parametrize("convention", [0.0, 0.5, 1.0])
def test_conventions_hold_where_the_function_has_a_kink(convention: float) -> None:
    slope = lambda g, x: g * torch.where(x == 0, convention, (x > 0).to(x.dtype))
    assert gradverify.check(rule(torch.relu, slope), at(0, 1.5, -0.7), effort="quick")


@pytest.mark.parametrize("x", [(0.0, 0.0, 0.0, 0.0, 0.0), (2.0, 2.0, 2.0)])
def test_the_median_of_equal_entries_is_any_of_them(x: tuple[float, ...]) -> None:
    assert gradverify.check(lambda x: x.median(), at(*x), effort="quick")


def test_a_tie_that_only_moves_as_a_whole_adds_up() -> None:
    ones = torch.ones(1, 2, dtype=F64)
    farthest = lambda a: torch.cdist(a, ones, p=float("inf"))
    twice = gradverify.check(farthest, at(0, 0).detach()[None].requires_grad_(), effort="quick")
    assert not twice
    assert "all together are not" in twice.message


def test_the_second_order_of_a_branch_in_python_is_that_of_the_function() -> None:
    """The backward pass returns the right zeros at 0, by a branch that a trace cannot see beyond."""
    branch = lambda g, x: 2 * g * x if (x != 0).any() else 0 * g * x
    square = lambda x: (x * x).sum()
    assert not gradverify.check(rule(square, branch), at(0, 0), order=2, effort="quick")
    assert gradverify.check(rule(square, lambda g, x: 2 * g * x), at(0, 0), order=2, effort="quick")


def test_forward_over_forward_is_held_against_the_definition() -> None:
    def products(x: Any) -> Any:
        return torch.cumprod(torch.stack((x, x - 1, x + 2, 3 * x)), 0).sum()

    x = torch.tensor(1.0, dtype=F64, requires_grad=True)
    verdict = gradverify.check(products, x, order=2, modes=("fwd",), effort="quick")
    a = torch.autograd.functional.hessian(products, x.detach())  # by reverse mode: right
    b = torch.func.jvp(lambda x: torch.func.jvp(products, (x,), (x * 0 + 1,))[1], (x.detach(),), (x.detach(),))[1]
    assert (verdict.outcome.name == "FAIL") == (abs(float(a - b)) > 1e-9)
