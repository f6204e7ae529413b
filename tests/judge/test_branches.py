"""What rounding may turn is decided branch by branch, on subjects that round, and on faults that no branch excuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradverify.core.case import Case
from gradverify.core.verdict import FailKind, Outcome, Reason, Verdict
from gradverify.frameworks.base import Framework, Observation
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.frameworks.registry import find
from gradverify.judge.branches import GROUPS, _others, branch_by_branch
from gradverify.judge.budget import follow_branch, sample_branches
from gradverify.judge.decide import decide
from gradverify.judge.reference import reference
from gradverify.namespaces.dtypes import FORMATS
from gradverify.spec.from_expression import expression_case

EXPRESSIONS = {
    "a maximum": "sum(max(x @ w, axis=1) * y)",
    "a sort": "sort(x @ w, axis=-1) * z",
    "a rounding": "x @ w * round(x @ w)",
}


def near(expression: str, seed: int, dtype: str) -> Case:
    """Two columns of x @ w are nearly equal, and one entry is nearly 2.5: to within a rounding of the dtype."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(3, 6)), rng.normal(size=(6, 4))
    w[:, 1] = w[:, 0] + FORMATS[dtype].roundoff * rng.normal(size=6)
    x[0] += w[:, 2] * (2.5 - x[0] @ w[:, 2]) / (w[:, 2] @ w[:, 2])
    values = {"x": x, "w": w, "y": rng.normal(size=3), "z": rng.normal(size=(3, 4))}
    used = {n: v for n, v in values.items() if n in EXPRESSIONS[expression]}
    return expression_case(EXPRESSIONS[expression], used, dtype)


def branched(verdict: Verdict) -> bool:
    return any(n.startswith("decided branch by branch") for n in verdict.notes)


@pytest.mark.parametrize("name", ["engine", "torch", "jax"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("expression", list(EXPRESSIONS))
def test_either_branch_is_right(expression: str, dtype: str, name: str) -> None:
    subject = find(name)
    if subject.unavailable():
        pytest.skip(subject.unavailable())
    seeds = range(2 if name == "jax" else 8)  # it compiles each of them
    verdicts = [decide(near(expression, seed, dtype), subject) for seed in seeds]
    assert not any(v.outcome is Outcome.FAIL or v.reason is Reason.BRANCH for v in verdicts), verdicts
    assert any(v.outcome is Outcome.PASS for v in verdicts)


def test_some_of_those_lie_on_another_branch_than_the_exact_one() -> None:
    """Without which the test above would show nothing."""
    for expression in EXPRESSIONS:
        assert any(branched(decide(near(expression, seed, "bfloat16"), EngineFramework())) for seed in range(60))


class Spoilt(EngineFramework):
    def __init__(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self.change = change

    def run_vjp(self, function: object, values: object, wrt: object, cotangent: object) -> Observation:
        seen = super().run_vjp(function, values, wrt, cotangent)  # type: ignore[arg-type]
        return Observation(seen.outputs, {n: self.change(g) if n == "w" else g for n, g in seen.gradients.items()})


def turning(dtype: str = "bfloat16") -> Case:
    return next(c for s in range(99) if branched(decide(c := near("a maximum", s, dtype), EngineFramework())))


@pytest.mark.parametrize("factor", [-1.0, 0.25, 2.0])
def test_what_is_right_on_no_branch_fails(factor: float) -> None:
    """All branches were looked at, so that a turned decision is no way out. (A share of 1/2 each would be right: that is a
    tie's gradient.)"""

    def other(g: np.ndarray) -> np.ndarray:
        return (g * g.dtype.type(factor)).astype(g.dtype)

    verdict = decide(turning(), Spoilt(other))
    assert (verdict.outcome, verdict.kind) == (Outcome.FAIL, FailKind.WRONG), verdict


def test_between_two_branches_lies_the_gradient_of_a_tie() -> None:
    def shared(g: np.ndarray) -> np.ndarray:
        """The two columns that tie share what they have together."""
        g = g.copy()
        g[:, :2] = ((g[:, 0] + g[:, 1]) / g.dtype.type(2))[:, None]
        return g

    expression = "max(x @ w)"
    rng = np.random.default_rng(3)
    w = rng.uniform(1, 2, (6, 2))
    w[:, 1] = w[:, 0] * (1 + 2.0**-12)
    case = expression_case(expression, {"x": rng.uniform(1, 2, (1, 6)), "w": w}, "bfloat16")
    verdict = decide(case, Spoilt(shared))
    assert verdict.outcome is Outcome.PASS, verdict


def test_doubles_follow_no_branch_of_doubles() -> None:
    case = near("a maximum", 0, "float64")
    subject: Framework = EngineFramework()
    seen = subject.run_vjp(subject.function(case.graph, case.dtype), case.values, case.wrt, case.cotangent)
    assert branch_by_branch(case, seen, reference(case)) is None


def test_the_branch_that_is_exact_is_what_the_oracle_says() -> None:
    case = near("a sort", 1, "bfloat16")
    exact, _ = sample_branches(case, 1, 0)
    outputs, gradients = follow_branch(case, exact)
    true = reference(case).truth
    np.testing.assert_allclose(outputs[0], true.outputs[0].hi, rtol=1e-12)
    for n, g in gradients.items():
        np.testing.assert_allclose(g, true.gradients[n].hi, rtol=1e-12, atol=1e-13)


def test_decisions_that_turn_together_are_one() -> None:
    exact = [np.array([True, False, True]), np.array([3, 1]), np.array([True, True])]
    both = [np.array([False, False, True]), np.array([3, 1]), np.array([False, True])]
    index = [exact[0], np.array([1, 3]), exact[2]]
    others, every = _others(exact, [exact, both, index, both])
    assert every
    assert len(others) == 3
    seen = {tuple(tuple(d.tolist()) for d in o) for o in others}
    assert tuple(tuple(d.tolist()) for d in both) in seen
    assert ((False, False, True), (1, 3), (False, True)) in seen


def test_of_many_groups_the_branches_that_were_taken_are_looked_at() -> None:
    n = GROUPS + 1
    exact = [np.zeros(n, dtype=bool)]
    reruns = [[np.eye(n, dtype=bool)[k]] for k in range(n)] + [exact]
    others, every = _others(exact, reruns)
    assert not every
    assert sorted(o[0].tolist() for o in others) == sorted(np.eye(n, dtype=bool).tolist())


def test_a_decision_with_several_other_outcomes_is_not_enumerated() -> None:
    exact = [np.array([0])]
    others, every = _others(exact, [[np.array([1])], [np.array([2])], exact])
    assert not every
    assert len(others) == 2


def test_nothing_turns() -> None:
    exact = [np.array([True])]
    assert _others(exact, [exact, exact]) == ([], False)
