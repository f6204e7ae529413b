"""Smooth points with a kink in the graph, and orders from the forward definition: right and wrong answers of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import gradverify  # noqa: E402
from gradverify.core.outcome import FailKind, Outcome  # noqa: E402

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


def _norm(value: Any, slope: Any) -> Any:
    class Norm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            out = value(x)
            ctx.save_for_backward(x, out)
            return out

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, out = ctx.saved_tensors
            return slope(g.unsqueeze(-1), x, out.unsqueeze(-1))

    return Norm.apply


def _zero_at_zero(g: Any, x: Any, out: Any) -> Any:
    return torch.where(out == 0, 0.0, g * x / out)


NORMS = {
    "squares and a root": lambda x: (x * x).sum(-1).sqrt(),
    "powers": lambda x: (x**2).sum(-1) ** 0.5,
    "pairs": lambda x: (x[..., 0] * x[..., 0] + x[..., 1] * x[..., 1]).sqrt(),
    "a product with its own": lambda x: torch.einsum("...i,...i->...", x, x).sqrt(),
}
AT_ZERO = ((0.0, 0.0), (3.0, 4.0))


@pytest.mark.parametrize("of", NORMS)
def test_a_norm_by_a_root_has_slopes_to_each_side_of_zero(of: str) -> None:
    x = torch.tensor(AT_ZERO, dtype=torch.float64)
    v = gradverify.check(_norm(NORMS[of], _zero_at_zero), x, order=1, effort="quick")
    assert v.outcome is Outcome.PASS, v.message
    one_side = _norm(NORMS[of], lambda g, x, out: torch.where(out == 0, g, g * x / out))
    assert gradverify.check(one_side, x, order=1, effort="quick").outcome is Outcome.PASS
    three = _norm(NORMS[of], lambda g, x, out: torch.where(out == 0, 3 * g, g * x / out))
    v = gradverify.check(three, x, order=1, effort="quick")
    assert (v.outcome, v.kind) == (Outcome.FAIL, FailKind.WRONG)
    assert " to " in v.comparisons[-1].worst.want


@pytest.mark.parametrize("of", NORMS)
def test_nan_at_the_kink_of_a_root_stays_undecided(of: str) -> None:
    v = gradverify.check(NORMS[of], torch.tensor(AT_ZERO, dtype=torch.float64), order=1, effort="quick")
    assert v.outcome is Outcome.INCONCLUSIVE
