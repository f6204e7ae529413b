"""From observation, truth and budget to a verdict: the honesty rules in the order in which they apply."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import SpecError, Unsupported
from ..core.verdict import FailKind, Outcome, Reason, Verdict
from ..core.wording import point_of
from ..frameworks.base import Framework, Observation, Programs
from ..frameworks.reused import Reused
from ..frameworks.watching import unwatched
from ..namespaces.dtypes import COMPLEX, FORMATS, is_float, to_float64
from ..namespaces.run import forward
from ..ops.complex.lowering import is_complex
from ..oracle.balls import BALLS
from ..oracle.estimate import Estimate, from_balls
from ..oracle.precision import working
from ..oracle.truth import LADDER, Truth
from . import complex_case as pairs
from .allowed import (
    Solved,
    as_lossy_as,
    as_precise_as,
    is_right_to_its_arithmetic,
    rounded_once,
    with_size_at_zeros,
    with_size_of_sides,
)
from .branches import Branches, branch_by_branch
from .compare import Compared, compare
from .drawing import draw
from .exact import BackwardPass, Exact, evaluate_backward, off_beyond
from .excuses import Lower
from .findings import Answer, Finding, Manner, compare_all, fail, inconclusive
from .formulas import check_formats, check_formula, check_narrow, check_stability
from .lawful import check_laws
from .laws import Extent, Trial
from .named import describe, reason_of_refusal, resolve_function
from .programs import with_programs
from .reference import Reference, reference, truth_of
from .values import check_values
from .wording import output_label


@unwatched()
@np.errstate(all="ignore")
def decide(
    case: Case,
    subject: Framework,
    *,
    function: Callable[..., Any] | None = None,
    custom: bool = True,
    exact: bool | BackwardPass = False,
    extent: Extent = Extent.ALL,
    seed: int = 0,
    earlier: Case | None = None,
    lower: Lower | None = None,
    explained: bool = True,
    solver: Solved | None = None,
    programs: Programs | None = None,
) -> Verdict:
    """The verdict on one case, without a culprit.

    With `exact` the backward pass is evaluated in exact arithmetic as well (`judge.exact`); a BackwardPass has its trace, or
    gets it.

    `function`, over the subject's arrays, is held against the case's graph as its definition; without one it is the
    function that the case names, or the graph run on the subject. Where `custom` is false, `function` has no
    derivatives but the subject's own, so that a declared weakness of the subject may explain what it loses. `extent` says
    which of the default laws are asked. `earlier` is a case of other shapes that the function was asked before: it may have
    kept something. At second order the case is a derivative of `lower`, whose ops tell which weaknesses these are. Where
    `explained` is false nothing is looked for that a wrong gradient would come of. `solver` says how precise the function
    is, where it is one. `programs`, where they are found to agree with the function's own call, answer the laws; where they
    were before, they answer all, and a FAIL or WEAK is asked of the function itself.

    A function that cannot be imported is a FAIL (raised); what this raises is a defect of gradverify.
    """
    start = time.perf_counter()
    backward = BackwardPass() if exact is True else exact or None
    manner = Manner(custom, backward, extent, seed, earlier, lower, explained, solver, programs)
    try:
        agreed = programs is not None and bool(programs.agree)
        finding = _judge(case, Reused(subject, programs) if programs and agreed else subject, function, manner)
        if agreed and finding.outcome in (Outcome.FAIL, Outcome.WEAK):
            finding = _judge(case, subject, function, replace(manner, programs=None))
    except SpecError as e:
        finding = fail(FailKind.RAISED, e.message)
    return Verdict(
        outcome=finding.outcome,
        case=case.name,
        subject=subject.name,
        dtype=pairs.dtype_name(case) if case.dtype in COMPLEX else case.dtype,
        kind=finding.kind,
        reason=finding.reason,
        message=finding.message,
        comparisons=finding.comparisons,
        graph=case.graph.text(),
        source=str(case.source),
        point=point_of(case.values),
        seconds=time.perf_counter() - start,
        notes=finding.notes,
        known=finding.known,
        formula=finding.formula,
        facts=finding.facts,
        forward=draw(case, seed) if finding.outcome in DRAWN else None,
        backward=finding.backward,
    )


DRAWN = (Outcome.FAIL, Outcome.KNOWN, Outcome.WEAK)
"""Outcomes whose graphs reports draw."""


def _judge(case: Case, subject: Framework, own: Callable[..., Any] | None, manner: Manner) -> Finding:
    why_not = subject.unavailable()
    if why_not:
        return inconclusive(Reason.UNAVAILABLE, why_not)
    if case.dtype not in subject.dtypes:
        return inconclusive(Reason.SUBJECT, f"{subject.name} does not compute in {case.dtype}")
    if not case.wrt:
        return inconclusive(Reason.SUBJECT, "no floating-point input is differentiated: there is no gradient to judge")
    if is_complex(case.graph):
        own = own or (resolve_function(case, subject) if case.function else None)
        try:
            real = pairs.real_case(case)
        except Unsupported as e:
            return inconclusive(Reason.NO_RULE, str(e))
        manner = replace(manner, custom=manner.custom and own is not None)
        try:
            return _judge(real, subject, pairs.to_function_of_parts(case, subject, own), manner)
        except Unsupported as e:
            return inconclusive(Reason.SUBJECT, str(e))
    custom, seed = manner.custom, manner.seed
    try:
        function = own or (
            resolve_function(case, subject) if case.function else subject.function(case.graph, case.dtype)
        )
        seen = subject.run_vjp(function, case.values, case.wrt, case.cotangent)
    except Unsupported as e:
        return inconclusive(Reason.SUBJECT, str(e))
    if isinstance(seen.raised, Unsupported | NotImplementedError):
        return inconclusive(reason_of_refusal(seen), f"{subject.name}, {seen.stage}: {describe(seen.raised)}")
    try:
        true = truth_of(case, seed=seed)
    except Unsupported as e:
        return inconclusive(Reason.NO_KERNEL, f"the oracle has no kernel for it: {e}")
    without = point_without_value(true.outputs)
    outside = without and inconclusive(*without)
    if seen.raised is not None:
        if outside and case.expect != "raises":
            return outside
        return fail(FailKind.RAISED, f"{subject.name} raised in the {seen.stage} pass: {describe(seen.raised)}")
    if outside:
        return outside
    misshapen = _check_structure(case, seen, true)
    if misshapen:
        return misshapen
    passed = manner.exact
    backward = evaluate_backward(case, subject, function, seen, true, seed, passed) if passed else None
    if backward and backward.faults:
        return fail(FailKind.LAW, f"the backward pass: {'; '.join(backward.faults)}")
    ref = reference(case, seed=seed, once=rounded_once(case, backward) if backward else frozenset())
    beyond = cache(lambda: backward is not None and off_beyond(backward, seed))
    if backward and is_right_to_its_arithmetic(backward, beyond, own is not None and custom):
        ref = with_size_at_zeros(case, ref)
    if ref.truth.low:
        ref = with_size_of_sides(case, ref, seen)
    claimed = _check_claims(case, ref)
    if claimed:
        return claimed
    if manner.solver:
        ref = as_precise_as(manner.solver, ref)
    compared = compare_all(case, seen, ref)
    notes: list[str] = []
    flipped = _find_flipped(case, seen, ref, compared, seed)
    if flipped:
        compared = compare_all(case, seen, flipped.reference)
        notes.append(_flipped_note(case, flipped))
    again = lambda values: subject.run_vjp(function, values, case.wrt, case.cotangent)
    custom = own is not None and custom
    answer = Answer(
        case, seen, ref, flipped, compared, seed, backward, again if custom else None, lower=manner.lower,
        explained=manner.explained, is_off_beyond=beyond,
    )  # fmt: skip
    if own:
        answer = replace(answer, unhooked=lambda: _run_without_hooks(case, subject, function))
    earlier = manner.earlier
    if custom and earlier is not None:
        call = lambda: subject.run_vjp(function, earlier.values, earlier.wrt, earlier.cotangent)
        answer = replace(answer, earlier=(earlier, call))
    closest = flipped.reference if flipped else ref
    allowed = dict(closest.budget.gradients)
    if solver := manner.solver:
        allowed = {n: solver.widen(b, closest.truth.gradients[n], solver.calls) for n, b in allowed.items()}
    trial = Trial(subject, function, case, seen, allowed, notes)
    trial = with_programs(trial, manner.programs, closest.budget.outputs)
    weighed = (
        check_values(answer, None if custom else subject)
        or check_formula(answer, None if custom else subject)
        or check_formats(answer)
        or (check_narrow(answer, subject, function) if custom else None)
    )
    if weighed and weighed.outcome is Outcome.WEAK and custom:  # a law may be broken by more than the lost digits
        lossy = trial.under(as_lossy_as(seen, closest, allowed))
        broken = check_laws(lossy, closest, manner, None)
        weighed = broken if broken and broken.outcome is Outcome.FAIL else weighed
    found = (
        weighed
        or check_laws(trial, closest, manner, None if custom else subject)
        or check_stability(answer)
        or _pass(ref.truth, compared, notes)
    )
    return _add_backward(found, backward, seed) if backward else found


def _add_backward(finding: Finding, exact: Exact, seed: int) -> Finding:
    """The finding; with what is known of the backward pass, drawn where something is wrong."""
    wrong = finding.facts.get("departure", {}).get("node")
    drawing = draw(exact.asked, seed, wrong, lower=True) if exact.asked and finding.outcome in DRAWN else None
    return replace(finding, formula=exact.formula, backward=drawing)


def _run_without_hooks(case: Case, subject: Framework, function: Any) -> tuple[Observation, list[str]]:
    with subject.without_hooks() as left:
        return subject.run_vjp(function, case.values, case.wrt, case.cotangent), left


def point_without_value(values: Sequence[Estimate]) -> tuple[Reason, str] | None:
    """Why nothing is judged where the definition has no value at the point, or none within the doubles; else None."""
    for e in values:
        if np.isnan(e.hi).any():
            return Reason.DOMAIN, "the definition has no finite value at this point"
        if np.isinf(e.hi).any():
            return Reason.RANGE, "the value of the definition lies beyond the doubles"
    return None


def _check_structure(case: Case, seen: Observation, truth: Truth) -> Finding | None:
    """The finding where a shape, dtype, device or None is wrong."""
    problems = []
    if len(seen.outputs) != len(truth.outputs):
        problems.append(f"{len(seen.outputs)} outputs, the definition has {len(truth.outputs)}")
    for i, (out, want) in enumerate(zip(seen.outputs, truth.outputs)):
        problems += _mismatch(output_label(i, case.graph), out, want.shape, case.output_dtype(i))
    for name in case.wrt:
        g = seen.gradients.get(name)
        if g is None:
            if (truth.gradients[name].hi != 0).any():
                problems.append(f"no gradient for {name} (None), and the true one is not zero")
            continue
        problems += _mismatch(f"d{name}", g, truth.gradients[name].shape, case.dtype_of(name))
    problems += [f"{label} is on {device}" for label, device in seen.devices.items()]
    return fail(FailKind.STRUCTURE, "; ".join(problems)) if problems else None


def _mismatch(label: str, got: np.ndarray, shape: tuple[int, ...], dtype: str) -> list[str]:
    if tuple(got.shape) != tuple(shape):
        return [f"{label} has shape {tuple(got.shape)}, not {tuple(shape)}"]
    if str(got.dtype) != dtype:
        return [f"{label} has dtype {got.dtype}, not {dtype}"]
    return []


def _find_flipped(
    case: Case, seen: Observation, ref: Reference, compared: list[Compared], seed: int
) -> Branches | None:
    """Alternative branches within rounding; None unless some entry fails on the exact branch."""
    if not ref.budget.branches or ref.truth.kinks or not any(c.failing.any() for c in compared):
        return None
    return branch_by_branch(case, seen, ref, seed=seed)


def _flipped_note(case: Case, flipped: Branches) -> str:
    many = sum(flipped.elsewhere.values())
    where = ", ".join(flipped.elsewhere) or "none"
    return (
        f"decided branch by branch: {many} entr{'y' if many == 1 else 'ies'} ({where}) on another branch than the exact "
        f"one, which rounding in {case.dtype} may take"
    )


def _check_claims(case: Case, ref: Reference) -> Finding | None:
    """The finding where an author's claimed gradient, evaluated in balls, is not the oracle's.

    A claim may contain literals that are only as good as a double, so it has the budget of the case's dtype.
    """
    for name, claim in case.claims.items():
        with working(LADDER[0]):
            values = {n: BALLS.asarray(to_float64(v)) if is_float(v) else v
                      for n, v in case.values.items() if n in claim.inputs}  # fmt: skip
            for i, g in enumerate(case.cotangent):  # `g`, or `g0`, `g1`, … for several outputs
                label = "g" if len(case.cotangent) == 1 else f"g{i}"
                if label in claim.inputs and label not in values:
                    values[label] = BALLS.asarray(to_float64(g))
            claimed = from_balls(BALLS.asarray(forward(BALLS, claim, values, case.dtype)[claim.outputs[0]]))
        want = ref.truth.gradients[name]
        try:
            got = np.broadcast_to(claimed.hi, want.shape)
        except ValueError:
            return fail(FailKind.CLAIM, f"the claimed gradient of {name} has shape {claimed.shape}, not {want.shape}")
        c = compare(f"claim for d{name}", got, want, ref.budget.gradients[name], FORMATS[case.dtype],
                    ref.truth.low.get(name), ref.truth.high.get(name))  # fmt: skip
        if c.failing.any():
            return fail(FailKind.CLAIM, f"the claimed gradient of {name} is not the gradient", c.comparison)
    return None


def _pass(truth: Truth, compared: list[Compared], notes: list[str]) -> Finding:
    comparisons = tuple(c.comparison for c in compared)
    if truth.kinks:
        smooth = bool(truth.smooth) and all((truth.low[n] == truth.high[n]).all() for n in truth.low)
        notes.append(
            f"the point lies on a kink of {', '.join(sorted(set(truth.kinks)))}: "
            + ("the function has none there, and the answer is its derivative" if smooth else
               "the answer is one of the one-sided derivatives, between them, or the declared convention")
        )  # fmt: skip
    if truth.suspects:
        notes.append(truth.suspects)
    return Finding(Outcome.PASS, comparisons=comparisons, notes=tuple(notes))
