"""Every mutant is caught from cases that nobody chose for it, and what is reported is small."""

from __future__ import annotations

from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck

from gradverify.core.case import Case
from gradverify.core.verdict import Outcome, Verdict
from gradverify.frameworks import Framework
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.frameworks.torch.adapter import TorchFramework
from gradverify.ops import OPS
from gradverify.run.runner import Settings, judge_case
from gradverify.strategies import cases

from .conjugates import CONJUGATES
from .declared import DECLARED
from .functions import FUNCTIONS
from .harness import COMPANIONS, applies, engine_with, natural_cases, subject_with
from .mutant import Mutant

pytest.importorskip("torch")

MUTANTS = (*DECLARED, *FUNCTIONS, *CONJUGATES)
QUICK, FULL = Settings(shrink=False), Settings(shrink=True)

REPORTED = (Outcome.FAIL, Outcome.WEAK)
"""A formula that is right and loses digits is WEAK where half of them are left."""

LARGEST_SHRUNK = 4
"""Ops in what a failure is reduced to."""


def fails(case: Case, subject: Framework) -> bool:
    """Is it news? PyTorch's own weaknesses must not stand in for the mutant's."""
    return judge_case(case, subject, QUICK).outcome in REPORTED


def caught(mutant: Mutant, subject: Framework) -> Case | None:
    return next((case for case in natural_cases(mutant.op, dtype=mutant.dtype) if fails(case, subject)), None)


def shrunk(mutant: Mutant, subject: Framework, case: Case, verdict: Verdict) -> int:
    """How many ops are left: of the culprit alone, or, where every op is right alone, of Hypothesis's smallest graph."""
    if verdict.culprit is not None:
        return sum(line.startswith("%") for line in verdict.culprit.reduced.splitlines())
    if case.graph.ops <= LARGEST_SHRUNK:
        return case.graph.ops
    smallest = hypothesis.find(
        cases(dtypes=(mutant.dtype,), ops=(mutant.op, *COMPANIONS), max_ops=5, kinks=True),
        lambda case: applies(case.graph, mutant.op) and fails(case, subject),
        settings=hypothesis.settings(
            max_examples=1500, derandomize=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    return smallest.graph.ops


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_is_caught_and_shrinks(mutant: Mutant) -> None:
    subject, injected = subject_with(mutant)
    with injected:
        case = caught(mutant, subject)
        assert case is not None, f"{mutant.name} ({mutant.description}) survived"
        verdict = judge_case(case, subject, FULL)
        assert verdict.outcome in REPORTED, "caught once, and not when judged again"
        if verdict.culprit is not None:
            alone = verdict.culprit.op
            assert alone == mutant.op or _made_of(alone, mutant.op), f"{alone} is blamed for {mutant.op}:\n{verdict}"
        assert shrunk(mutant, subject, case, verdict) <= LARGEST_SHRUNK


def _made_of(composite: str, op: str) -> bool:
    """Does the definition of `composite` use `op`? Then it is rightly blamed: the user wrote no smaller one."""
    assert OPS[composite].composite
    return any(applies(case.graph, op) for case in natural_cases(composite, random=0) if applies(case.graph, composite))


def test_the_set_is_as_large_and_as_fine_as_promised() -> None:
    assert len(MUTANTS) >= 40
    classes = Counter(m.bug for m in MUTANTS)
    assert set(range(1, 12)) <= set(classes)
    assert min(m.size for m in DECLARED if m.size) == 1e-12
    assert min(m.size for m in FUNCTIONS if m.size) == 1e-12
    assert min(m.size for m in CONJUGATES if m.size) == 1e-12
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("op", sorted({m.op for m in MUTANTS}))
def test_the_right_rules_get_no_fail(op: str) -> None:
    """The controls: the same cases, the same subjects, nothing mutated."""
    seen = Counter()
    for subject in (EngineFramework(), TorchFramework()):
        for case in natural_cases(op, random=20):
            verdict = judge_case(case, subject, QUICK)
            assert verdict.outcome is not Outcome.FAIL, str(verdict)
            seen[verdict.outcome] += 1
    assert seen[Outcome.PASS] > 0


@pytest.mark.parametrize("op", sorted({m.op for m in CONJUGATES}))
def test_the_right_complex_rules_get_no_fail(op: str) -> None:
    """The controls of class 7."""
    seen = Counter()
    for subject in (EngineFramework(), TorchFramework()):
        for case in natural_cases(op, random=20, dtype="complex128"):
            verdict = judge_case(case, subject, QUICK)
            assert verdict.outcome is not Outcome.FAIL, str(verdict)
            seen[verdict.outcome] += 1
    assert seen[Outcome.PASS] > 0


def test_a_right_function_in_place_of_an_op_passes() -> None:
    """What the torch mutants are built with is not itself what fails."""
    from .functions import function

    right = function(lambda x: x.exp(), lambda g, out, x: g * out)()
    subject = TorchFramework(table={"exp": right})
    verdicts = [judge_case(case, subject, QUICK) for case in natural_cases("exp", random=20)]
    assert not [str(v) for v in verdicts if v.outcome is Outcome.FAIL]
    assert any(v.outcome is Outcome.PASS for v in verdicts)


def test_injection_ends_with_its_context() -> None:
    """And it reaches the engine only: the table that the oracle reads is never touched."""
    mutant = next(m for m in DECLARED if m.name == "sin-sign")
    case = next(iter(natural_cases("sin")))
    before = OPS["sin"].vjp
    with engine_with(mutant):
        assert judge_case(case, EngineFramework(), QUICK).outcome is Outcome.FAIL
        assert OPS["sin"].vjp is before
    assert judge_case(case, EngineFramework(), QUICK).outcome is Outcome.PASS


@pytest.mark.parametrize("mutant", DECLARED, ids=str)
def test_a_declared_mutant_changes_some_gradient(mutant: Mutant) -> None:
    """Without the judge: the gradients differ, in some bit or in shape, from those of the right engine."""
    engine = EngineFramework()

    def gradients(case: Case) -> list[tuple[tuple[int, ...], bytes]] | str:
        function = engine.function(case.graph, case.dtype)
        seen = [engine.run_vjp(function, case.values, case.wrt, case.cotangent) for _ in range(2)]
        arrays = [g for s in seen for g in s.gradients.values() if g is not None]
        return [(g.shape, g.tobytes()) for g in arrays] if not seen[0].raised else "raised"

    with np.errstate(all="ignore"):
        for case in natural_cases(mutant.op):
            right = gradients(case)
            with engine_with(mutant):
                wrong = gradients(case)
            if wrong != right:
                return
    pytest.fail(f"{mutant.name} is the right rule on every case")
