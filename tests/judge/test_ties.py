"""The budget at equal entries, at one number, and where a formula as published is rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify import check
from gradverify.core.outcome import Outcome
from gradverify.core.verdict import FailKind
from gradverify.judge.budget import Conditions, budget
from gradverify.judge.reference import reference
from gradverify.spec.from_expression import expression_case

torch = pytest.importorskip("torch")
F = torch.nn.functional


def custom(forward: Any, backward: Any) -> Any:
    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            out = forward(x)
            ctx.save_for_backward(x, out)
            return out

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(g, *ctx.saved_tensors)

    return Custom.apply


def tensor(values: Any, dtype: Any = None) -> Any:
    return torch.tensor(values, dtype=dtype or torch.float64, requires_grad=True)


@pytest.mark.parametrize("row", [[1000.0] * 5, [1234.5] * 3, [1e4, 1e4], [555.5, 555.5, 554.5]], ids=str)
def test_equal_entries_have_the_budget_of_entries_next_to_each_other(row: list[float]) -> None:
    by_output = custom(lambda x: x.logsumexp(-1), lambda g, x, out: g[..., None] * torch.exp(x - out[..., None]))
    assert check(by_output, tensor([row]), effort="quick")
    off = custom(
        lambda x: x.logsumexp(-1), lambda g, x, out: g[..., None] * torch.exp(x - out[..., None]) * (1 + 1e-10)
    )
    assert check(off, tensor([row]), effort="quick").outcome is Outcome.FAIL


@pytest.mark.parametrize("expression", ["maximum(x, y)", "exp(1e12 * (x - y))", "y * tanh(1e12 * (x - y))"])
def test_what_a_tie_makes_special_stays_so(expression: str) -> None:
    """The budget is that of equal moves: next to the tie the gradient is another."""
    found = reference(expression_case(expression, {"x": [2.0, 3.0], "y": [2.0, 3.0]}))
    size = np.max(np.abs(found.truth.gradients["x"].hi))
    assert np.max(found.budget.gradients["x"]) < 1e-12 * size


def test_entries_that_move_apart_scatter_more_than_those_that_move_alike() -> None:
    case = expression_case("logsumexp(x)", {"x": [1000.0, 1000.0, 1000.0]})
    truth = reference(case).truth
    exact = {"x": truth.gradients["x"].hi}
    allowed = budget(case, tuple(o.hi for o in truth.outputs), exact, Conditions())
    assert (allowed.gradients["x"] > 100 * 2.0**-53).all()  # 1000 times the roundoff of a third
    assert (allowed.gradients["x"] < 1e5 * 2.0**-53).all()


NORMS = {
    "batch": lambda x: F.batch_norm(x, None, None, training=True),
    "instance": F.instance_norm,
    "by hand": lambda x: (x - x.mean((0, 2), keepdim=True)) * torch.rsqrt(x.var((0, 2), keepdim=True) + 1e-5),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("mean", [0.0, 100.0, -5000.0])
def test_a_constant_cotangent_through_a_norm_at_a_large_mean(name: str, mean: float) -> None:
    """The true gradient is 0; what is left of it is the rounding of the mean, times z."""
    rng = np.random.default_rng(3)
    x = tensor(mean + rng.uniform(0, 1, (4, 3, 5)))
    assert check(NORMS[name], x, cotangent=np.ones((4, 3, 5)))


def test_a_batch_norm_that_forgets_a_term_still_fails() -> None:
    def backward(g: Any, x: Any, out: Any) -> Any:
        return (g - g.mean((0, 2), keepdim=True)) * torch.rsqrt(x.var((0, 2), unbiased=False, keepdim=True) + 1e-5)

    rng = np.random.default_rng(4)
    x = tensor(100 + rng.uniform(0, 1, (4, 3, 5)))
    assert check(custom(NORMS["batch"], backward), x, effort="quick").kind is FailKind.WRONG


def test_the_mean_of_one_number_is_exact() -> None:
    """The output does not depend on the weight; PyTorch's layer_norm says 7 (pytorch/pytorch#188372), a known form of it."""
    x, w = tensor([1e6], torch.float32), tensor([2.0], torch.float32)

    def norm(x: Any, w: Any) -> Any:
        d = x - x.mean(-1, keepdim=True)
        return d * torch.rsqrt((d * d).mean(-1, keepdim=True) + 1e-5) * w

    assert check(norm, x, w).outcome is Outcome.PASS
    known = check(lambda x, w: F.layer_norm(x, (1,), w), x, w)
    assert (known.outcome, "188372" in known.known) == (Outcome.KNOWN, True)
    wide = tensor([[1.0, 2.0, 4.0]], torch.float32)
    assert check(lambda x: F.layer_norm(x, (3,)), wide).outcome is Outcome.PASS
