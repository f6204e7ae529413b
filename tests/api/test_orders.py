"""One recursion over orders and modes: what it yields, and what `check` says where an order cannot be had."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify
from gradverify import Outcome, Reason, Unsupported, check
from gradverify.checker.compositions import judge_orders
from gradverify.checker.question import Question
from tests.helpers import custom

torch = pytest.importorskip("torch")

X = torch.tensor([0.4, -1.1, 0.7], dtype=torch.float64)
A = np.array([0.4, -1.1, 0.7])


def test_one_judgement_per_composition() -> None:
    found = list(judge_orders(Question(torch.sin, (X,)), 2, ("rev", "fwd"), "quick"))
    assert [j.modes for j in found] == [
        ("rev",), ("fwd",), ("rev", "rev"), ("fwd", "rev"), ("rev", "fwd"), ("fwd", "fwd"),
    ]  # fmt: skip
    assert [j.name for j in found][-2:] == ["order 2, rev over fwd", "order 2, fwd over fwd"]
    assert all(j.verdict and j.error is None for j in found)


def test_what_cannot_be_derived_is_one_judgement_each_and_the_rest_goes_on() -> None:
    def derive(q: Question, mode: str, below: Any) -> Question:
        raise Unsupported("no derivative of a derivative")

    found = list(judge_orders(Question(torch.sin, (X,)), 2, ("rev", "fwd"), "quick", derive=derive))
    assert [j.order for j in found] == [1, 2, 2, 1, 2, 2]
    assert all((j.verdict is None) == (j.order == 2) for j in found)
    assert {str(j.error) for j in found if j.order == 2} == {"no derivative of a derivative"}


def test_the_first_order_is_kept_where_the_second_cannot_be_had() -> None:
    given: dict[str, Any] = {"vjp": lambda g, x: g * np.cos(x), "effort": "quick"}
    first = gradverify.check(np.sin, A, **given)
    verdict = gradverify.check(np.sin, A, order=2, **given)
    assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, Reason.NO_RULE)
    assert (verdict.case, verdict.subject, verdict.dtype) == (first.case, "numpy", "float64")
    assert verdict.comparisons == first.comparisons
    assert verdict.graph == first.graph
    assert (
        "order 2, rev over rev is not judged: a backward pass of NumPy cannot be differentiated in turn"
        in verdict.notes
    )
    assert verdict.facts["judged"] == ["order 1, rev"]


def test_a_failure_of_the_first_order_is_said_whether_or_not_there_is_a_second() -> None:
    verdict = gradverify.check(np.sin, A, vjp=lambda g, x: g, order=2, effort="quick")
    assert verdict.outcome is Outcome.FAIL


def test_a_mode_that_cannot_be_had_leaves_the_other_one() -> None:
    verdict = gradverify.check(np.sin, A, vjp=lambda g, x: g * np.cos(x), modes=("fwd", "rev"), effort="quick")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.dtype == "float64"
    assert "order 1, fwd cannot be judged: NumPy has no forward mode" in verdict.message
    assert verdict.facts["judged"] == ["order 1, rev"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_another_formula_under_create_graph_is_reported_in_every_dtype(dtype: str) -> None:
    """1 % too much where a graph is wanted: 16 bits excuse it of the values, and of the formula nothing does."""
    wrong = custom(torch.sin, lambda g, x: g * x.cos() * (1.01 if torch.is_grad_enabled() else 1.0))
    x = torch.tensor([0.5, -0.7, 1.2, 0.1], dtype=getattr(torch, dtype), requires_grad=True)
    assert check(wrong, x).outcome in (Outcome.FAIL, Outcome.WEAK)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("fn", [torch.tanh, torch.nn.functional.silu, torch.nn.functional.softplus])
def test_the_second_order_of_right_functions_passes_in_narrow_dtypes(fn: Any, dtype: str) -> None:
    x = torch.tensor([0.5, -0.7, 1.2, 0.1], dtype=getattr(torch, dtype), requires_grad=True)
    assert check(fn, x, order=2).outcome in (Outcome.PASS, Outcome.INCONCLUSIVE)
