"""Declared formulas at second order: the derivative of a form's text explains what its framework loses, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradverify import check
from gradverify.core.case import Case
from gradverify.core.outcome import FailKind, Outcome
from gradverify.core.verdict import Verdict
from gradverify.frameworks.base import Framework
from gradverify.frameworks.registry import find
from gradverify.judge.decide import decide
from gradverify.judge.excuses import Lower
from gradverify.judge.second_order import pulled, second_order
from gradverify.run.runner import judge_case, judge_second_order
from tests.helpers import case_of, custom

torch = pytest.importorskip("torch")

LOST = {
    "tanh": ("tanh(x)", "[6.0, -5.5, 0.3]", "float32"),
    "sigmoid": ("sigmoid(x)", "[14.0, 11.0, 0.3]", "float32"),
    "gelu": ("gelu(x)", "[-4.5, -5.0, 1.0]", "float32"),
    "expm1": ("expm1(x)", "[-14.0, -12.0, 0.5]", "float32"),
    "lgamma": ("lgamma(x)", "[2.5, 3.5]", "float64"),
    "digamma": ("digamma(x)", "[2.5, 3.5]", "float64"),
    "silu": ("silu(x)", "[18.0, 20.0, -0.3]", "float32"),
    "mish": ("mish(x)", "[12.0, 9.0, -0.3]", "float32"),
    "log_sigmoid": ("log_sigmoid(x)", "[12.0, 14.0, -0.3]", "float32"),
    "det": ("det(x)", "[[1.0, 2.0], [2.0, 4.01]]", "float32"),
    "cumulative_prod": ("cumulative_prod(x, axis=-1)", "[0.7, 1e-3, 3.0, 0.9]", "float32"),
}


def case_at(expr: str, x: str, dtype: str) -> Case:
    return case_of(expr, dtype, f"{{x: {x}}}")


def lower_of(case: Case) -> Lower:
    return Lower(case.graph, lambda table: second_order(case, 0, table))


def scaled(case: Case, factor: float) -> Verdict:
    """The verdict on PyTorch's second order, of which every gradient has this factor."""
    torch = find("torch", "cpu")
    second = second_order(case, 0)
    run = pulled(case, second, torch)

    def wrong(*arrays: Any) -> Any:
        found = run(*arrays)
        return tuple(a * factor for a in found) if isinstance(found, tuple) else found * factor

    return decide(second, torch, function=wrong, custom=False, lower=lower_of(case))


@pytest.mark.parametrize("op", LOST)
def test_a_loss_that_is_known_at_first_order_is_known_at_second(op: str) -> None:
    verdict = judge_second_order(case_at(*LOST[op]), "torch")
    assert verdict.outcome is Outcome.KNOWN, verdict.text()
    assert op in verdict.known


@pytest.mark.parametrize("op", LOST)
def test_a_wrong_second_order_is_not_excused(op: str) -> None:
    assert scaled(case_at(*LOST[op]), 1.01).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("expr", "x"),
    [
        ("tanh(x)*sigmoid(x)", "[9.0, 5.0]"),
        ("sum(silu(3*x)*x)", "[-7.0, 1.0]"),
        ("gelu(x)*tanh(x)", "[-5.0, 4.0]"),
    ],
)
def test_in_compositions(expr: str, x: str) -> None:
    verdict = judge_second_order(case_at(expr, x, "float32"), "torch")
    assert verdict.outcome in (Outcome.KNOWN, Outcome.PASS), verdict.text()


def test_zeros_at_a_singular_matrix_are_no_loss_of_digits() -> None:
    """Its determinant is 0 and its cofactors are not: PyTorch's zeros stay what they are."""
    verdict = judge_case(case_at("det(x)", "[[1.0, 2.0], [2.0, 4.0]]", "float64"), "torch")
    assert (verdict.outcome, verdict.kind) == (Outcome.FAIL, FailKind.WRONG)


def test_an_ill_conditioned_determinant_loses_digits_by_the_solve() -> None:
    verdict = judge_case(case_at("det(x)", "[[1.0, 2.0], [2.0, 4.0001]]", "float32"), "torch")
    assert verdict.outcome in (Outcome.KNOWN, Outcome.PASS), verdict.text()


# Second derivatives that are 0 because terms cancel, next to a `where`: rounding leaves an ulp of those terms.
CANCELLING = [
    ("softmax(minimum(x, 2.0), axis=-1)", "[[-1.0, -1.0], [1.0, -1.0]]"),
    ("sum(log_softmax(where(x > 5, 5*x, x), axis=-1)*x)", "[[1.0, 1.0, 1.0]]"),
    ("softmax(abs(x), axis=-1)", "[[0.5, -0.5], [3.0, 3.0]]"),
]


@pytest.mark.parametrize(("expr", "x"), CANCELLING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("subject", ["torch", "engine"])
def test_what_cancels_to_0_is_not_0_by_structure(expr: str, x: str, dtype: str, subject: str) -> None:
    verdict = judge_second_order(case_at(expr, x, dtype), subject)
    assert verdict.outcome is Outcome.PASS, verdict.text()


@pytest.mark.parametrize("expr", ["x**2.5", "x**y", "logsumexp(x*y, axis=-1)"])
def test_rules_that_ask_what_is_finite_have_a_second_order(expr: str) -> None:
    case = case_of(expr, "float64", "{x: [1.5, 0.5], y: [0.5, 2.0]}" if "y" in expr else "{x: [1.5, 0.5]}")
    assert judge_second_order(case, "torch").outcome is Outcome.PASS
    assert scaled(case, 1 + 1e-6).outcome is Outcome.FAIL


def test_a_subject_without_forms_is_not_excused() -> None:
    """The engine declares none: PyTorch's second order under its name is a FAIL."""
    case = case_at(*LOST["tanh"])
    torch, engine = find("torch", "cpu"), find("engine", "cpu")
    second = second_order(case, 0)
    answer = torch.run_vjp(pulled(case, second, torch), second.values, second.wrt, second.cotangent)

    class Theirs(type(engine)):  # type: ignore[misc]
        def run_vjp(self, function: Any, *args: Any, **how: Any) -> Any:
            return replace(
                answer, gradients={n: None if g is None else np.array(g) for n, g in answer.gradients.items()}
            )

    theirs: Framework = Theirs()
    verdict = decide(
        second,
        theirs,
        function=pulled(case, second, engine),
        custom=False,
        lower=lower_of(case),
    )
    assert verdict.outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("name", "at"), [("silu", 40.410841513445845), ("silu", 25.0), ("mish", 18.0), ("logsigmoid", 24.0), ("tanh", 12.0)]
)
def test_in_check_the_trace_of_the_first_order_excuses_no_formula(name: str, at: float) -> None:
    """pytorch#195682: silu's second derivative is 0 on its positive tail."""
    import torch

    import gradverify

    x = torch.tensor([at, 1.0], dtype=torch.float64, requires_grad=True)
    f = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    assert gradverify.check(f, x, order=2, effort="quick").outcome is Outcome.KNOWN
    assert (
        gradverify.check(f, torch.tensor([0.3, 1.0], requires_grad=True), order=2, effort="quick").outcome
        is Outcome.PASS
    )


def test_in_check_a_users_formula_that_cancels_when_it_is_differentiated_is_weak() -> None:
    import torch

    import gradverify
    from tests.helpers import custom

    def rule(g: Any, x: Any) -> Any:
        s = torch.sigmoid(x)
        return g * s * (1 + x * (1 - s))

    x = torch.tensor([30.0, 1.0], dtype=torch.float64, requires_grad=True)
    verdict = gradverify.check(custom(torch.nn.functional.silu, rule), x, order=2, effort="quick")
    assert verdict.outcome is Outcome.WEAK, verdict.text()
    assert "which loses digits that need not be lost" in verdict.message


@pytest.mark.parametrize(
    ("x", "y"), [("[1.25, 0.5]", "[0.0, 0.0]"), ("[3.0, 1.0]", "[0.0, 2.0]"), ("[1e-3, 1e3]", "[0.0, -1.0]")]
)
def test_pow_at_an_exponent_of_0_has_a_mixed_second_derivative(x: str, y: str) -> None:
    """d/dy of y·x**(y-1) is 1/x at y = 0. PyTorch differentiates its branch for y == 0 as a constant."""
    case = case_of("x**y", "float64", f"{{x: {x}, y: {y}}}")
    assert judge_second_order(case, "engine").outcome is Outcome.PASS
    assert judge_second_order(case, "torch").outcome is Outcome.FAIL


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("y", [0.0, 1.0, 2.0])
def test_pow_at_a_base_of_0(y: float) -> None:
    import gradverify.engine as engine

    x = engine.tensor([0.0, 2.0], requires_grad=True)
    p = engine.tensor([y, y], requires_grad=True)
    (slope,) = engine.autograd.grad((x**p).sum(), [x], create_graph=True)
    assert slope.tolist() == [float(y == 1.0), y * 2.0 ** (y - 1)]
    second = engine.autograd.grad(slope.sum(), [x])[0].tolist()
    assert second == [2.0 * (y == 2.0), y * (y - 1) * 2.0 ** (y - 2)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("effort", ["quick", "normal"])
def test_a_double_backward_that_rounds_every_step(dtype: Any, effort: Any) -> None:
    """The second derivative of gelu has a root at √2, where 2φ - x²φ cancels: torch computes its terms in 16 bits."""
    x = torch.tensor([1.4141, -1.4141, 1.4131, 0.3], dtype=dtype, requires_grad=True)
    verdict = check(torch.nn.functional.gelu, x, order=2, effort=effort)
    assert verdict.outcome is Outcome.KNOWN, verdict.text()


def test_a_root_that_another_point_alone_comes_near() -> None:
    """The batch that is probed comes near √2: its definition is traced there, as it is at the given point."""
    x = torch.linspace(-3, 3, 7, dtype=torch.float16, requires_grad=True)
    verdict = check(torch.nn.functional.gelu, x, order=2)
    assert verdict.outcome is Outcome.KNOWN, verdict.text()


def test_a_wrong_double_backward_at_another_point() -> None:
    """Right at the given point, where the slope is drawn for x < 2, and 1 % off beyond."""

    slope = custom(lambda x: 3 * x * x, lambda g, x: g * 6 * x * torch.where(x < 2, 1.0, 1.01))
    cube = custom(lambda x: x**3, lambda g, x: slope(x) * g)
    x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    with pytest.raises(AssertionError):
        check(cube, x, order=2)
