"""From observation, truth and budget to a verdict: the honesty rules in the order in which they apply."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, cast

import numpy as np

from ..core.case import Case
from ..core.errors import JUDGED, SpecError, Undefined, Unsupported, clipped
from ..core.graph import Apply
from ..core.imports import imported, parsed
from ..core.verdict import Comparison, Drawing, FailKind, Formula, Outcome, Reason, Verdict
from ..core.wording import point_of
from ..frameworks.base import Framework, Observation, Programs
from ..frameworks.reused import Reused
from ..frameworks.watching import unwatched
from ..namespaces.dtypes import COMPLEX, FORMATS, is_float, rounded, to_float64
from ..namespaces.run import forward
from ..ops.complex.lowering import is_complex
from ..oracle.balls import BALLS
from ..oracle.estimate import Estimate, from_balls
from ..oracle.precision import working
from ..oracle.second import dissent
from ..oracle.truth import LADDER, Truth
from . import complex_case as pairs
from .branches import Branches, branch_by_branch
from .budget import RERUNS, SAFETY, Budget, several_casts
from .compare import Compared, compare, hopeless
from .departure import find_departure
from .drawing import draw
from .exact import BackwardPass, Exact, evaluate_backward, off_beyond, ran
from .excuses import BudgetOf, Lower, budgets_by_forms, find_excuse
from .hypotheses import Explanation, explain
from .hypotheses.second_call import Again, drawn_anew, hook_active, of_an_earlier_call, of_an_earlier_shape
from .intermediates import find_narrow_intermediate
from .laws import Extent, Trial
from .laws import registry as laws
from .narrow import find_narrow, find_narrow_sum
from .programs import with_programs
from .reference import Reference, allowance, in_doubles, reference, truth_of
from .replay import Narrow
from .roundings import may_round
from .stability import find_unstable
from .wording import output_label

LOST_DIGITS = 2.0**-8
"""An answer within this of the truth has the digits of bfloat16 at least, the coarsest format that gradients are
computed in: it is called imprecise rather than wrong."""


@dataclass(frozen=True, eq=False)
class _Finding:
    """The result of a step that ends the judgement; a step that does not returns None."""

    outcome: Outcome
    kind: FailKind | None = None
    reason: Reason | None = None
    message: str = ""
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()
    known: str = ""
    formula: Formula | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    backward: Drawing | None = None


@dataclass(frozen=True, eq=False)
class _Answer:
    """A subject's answer to a case, with its reference and the comparisons.

    ref       truth and budget on the exact branch
    flipped   the branches that rounding may take, if they were followed; `compared` is then on the closest one
    compared  every output and every gradient
    seed      of the nudges
    exact     the backward pass in exact arithmetic, if that was asked for
    again     another call of the subject, where its backward pass is a user's
    unhooked  another call, without the hooks that it registers, and which these are; where the function is a user's
    earlier   a case that the same function was asked before, and that call once more
    lower     the function whose derivative the case is, at second order
    explained  is it asked what a wrong gradient would come of?
    is_off_beyond  is the formula off by more than its own arithmetic resolves? Asked only once, as it takes reruns
    """

    case: Case
    seen: Observation
    ref: Reference
    flipped: Branches | None
    compared: list[Compared]
    seed: int
    exact: Exact | None = None
    again: Again | None = None
    unhooked: Callable[[], tuple[Observation, list[str]]] | None = None
    earlier: tuple[Case, Callable[[], object]] | None = None
    lower: Lower | None = None
    explained: bool = True
    is_off_beyond: Callable[[], bool] = lambda: False

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        return tuple(c.comparison for c in self.compared)


def fail(kind: FailKind, message: str, *comparisons: Comparison) -> _Finding:
    return _Finding(Outcome.FAIL, kind, None, message, comparisons)


def inconclusive(reason: Reason, message: str = "", *comparisons: Comparison) -> _Finding:
    return _Finding(Outcome.INCONCLUSIVE, None, reason, message, comparisons)


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
    manner = _Manner(custom, backward, extent, seed, earlier, lower, explained, solver, programs)
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


@dataclass(frozen=True)
class Solved:
    """How precise a function is that ends once it has converged, as shares of the largest entry of an array.

    values  how far what it ends with, and the gradient there, may be from those of what it converges to
    calls   how far those of another call may be
    """

    values: float
    calls: float

    def widen(self, allowed: np.ndarray, true: Estimate, share: float) -> np.ndarray:
        return np.asarray(allowed + share * float(np.max(np.abs(true.resolved), initial=0.0)))


DRAWN = (Outcome.FAIL, Outcome.KNOWN, Outcome.WEAK)
"""Outcomes whose graphs reports draw."""


@dataclass(frozen=True, eq=False)
class _Manner:
    """How a case is judged: the options of `decide`."""

    custom: bool
    exact: BackwardPass | None
    extent: Extent
    seed: int
    earlier: Case | None
    lower: Lower | None
    explained: bool
    solver: Solved | None
    programs: Programs | None = None


def _judge(case: Case, subject: Framework, own: Callable[..., Any] | None, manner: _Manner) -> _Finding:
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
        return inconclusive(reason_of_refusal(seen), f"{subject.name}, {seen.stage}: {_describe(seen.raised)}")
    try:
        true = truth_of(case, seed=seed)
    except Unsupported as e:
        return inconclusive(Reason.NO_KERNEL, f"the oracle has no kernel for it: {e}")
    without = point_without_value(true.outputs)
    outside = without and inconclusive(*without)
    if seen.raised is not None:
        if outside and case.expect != "raises":
            return outside
        return fail(FailKind.RAISED, f"{subject.name} raised in the {seen.stage} pass: {_describe(seen.raised)}")
    if outside:
        return outside
    misshapen = _check_structure(case, seen, true)
    if misshapen:
        return misshapen
    passed = manner.exact
    backward = evaluate_backward(case, subject, function, seen, true, seed, passed) if passed else None
    if backward and backward.faults:
        return fail(FailKind.LAW, f"the backward pass: {'; '.join(backward.faults)}")
    ref = reference(case, seed=seed, once=_rounded_once(case, backward) if backward else frozenset())
    beyond = cache(lambda: backward is not None and off_beyond(backward, seed))
    if backward and _is_right_to_its_arithmetic(backward, beyond, own is not None and custom):
        ref = _with_size_at_zeros(case, ref)
    if ref.truth.low:
        ref = _with_size_of_sides(case, ref, seen)
    claimed = _check_claims(case, ref)
    if claimed:
        return claimed
    if manner.solver:
        ref = _as_precise_as(manner.solver, ref)
    compared = _compare_all(case, seen, ref)
    notes: list[str] = []
    flipped = _find_flipped(case, seen, ref, compared, seed)
    if flipped:
        compared = _compare_all(case, seen, flipped.reference)
        notes.append(_flipped_note(case, flipped))
    again = lambda values: subject.run_vjp(function, values, case.wrt, case.cotangent)
    custom = own is not None and custom
    answer = _Answer(
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
        _check_values(answer, None if custom else subject)
        or _check_formula(answer, None if custom else subject)
        or _check_formats(answer)
        or (_check_narrow(answer, subject, function) if custom else None)
    )
    if weighed and weighed.outcome is Outcome.WEAK and custom:  # a law may be broken by more than the lost digits
        broken = _check_laws(
            replace(trial, budget=_as_lossy_as(seen, closest, allowed)), closest, manner, None if custom else subject
        )
        weighed = broken if broken and broken.outcome is Outcome.FAIL else weighed
    found = (
        weighed
        or _check_laws(trial, closest, manner, None if custom else subject)
        or _check_stability(answer)
        or _pass(ref.truth, compared, notes)
    )
    return _add_backward(found, backward, seed) if backward else found


def _as_lossy_as(seen: Observation, ref: Reference, allowed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What two runs may differ by, each of which loses as many digits as the one that was seen: twice its largest error."""
    lossy = {}
    for name, budget_ in allowed.items():
        got, true = seen.gradients[name], ref.truth.gradients[name].hi
        off = np.abs(to_float64(got) - true) if got is not None else np.zeros(true.shape)
        lossy[name] = budget_ + 2 * np.max(off[np.isfinite(off)], initial=0.0)
    return lossy


def _add_backward(finding: _Finding, exact: Exact, seed: int) -> _Finding:
    """The finding; with what is known of the backward pass, drawn where something is wrong."""
    wrong = finding.facts.get("departure", {}).get("node")
    drawing = draw(exact.asked, seed, wrong, lower=True) if exact.asked and finding.outcome in DRAWN else None
    return replace(finding, formula=exact.formula, backward=drawing)


def _as_precise_as(solver: Solved, ref: Reference) -> Reference:
    """The reference with a budget for where the solver stops."""
    outputs = tuple(solver.widen(b, e, solver.values) for b, e in zip(ref.budget.outputs, ref.truth.outputs))
    gradients = {n: solver.widen(b, ref.truth.gradients[n], solver.values) for n, b in ref.budget.gradients.items()}
    return replace(ref, budget=replace(ref.budget, outputs=outputs, gradients=gradients))


def _run_without_hooks(case: Case, subject: Framework, function: Any) -> tuple[Observation, list[str]]:
    with subject.without_hooks() as left:
        return subject.run_vjp(function, case.values, case.wrt, case.cotangent), left


def reason_of_refusal(seen: Observation) -> Reason:
    """NO_RULE where the subject lacks the backward pass alone, SUBJECT for all other refusals.

    JAX and HIPS autograd look for a rule while the forward pass runs: what they lack then is laid to the subject.
    """
    lacks_rule = seen.stage == "backward" and not isinstance(seen.raised, Undefined)
    return Reason.NO_RULE if lacks_rule else Reason.SUBJECT


def _describe(e: BaseException) -> str:
    text = str(e).strip().splitlines()
    return f"{type(e).__name__}: {clipped(text[0])}" if text else type(e).__name__


def resolve_function(case: Case, subject: Framework) -> Callable[..., Any]:
    """The function that `call: package.module:name` names, over the case's inputs; with the backward pass of `vjp`.

    Raises SpecError for what cannot be imported, and Unsupported where the subject takes no backward pass by hand."""
    assert case.function is not None
    try:
        named = parsed(case.function)
    except ValueError as e:
        raise _spec_error(case, f"call: {e}") from e
    found = _imported(case, "call", named.function)
    names = tuple(case.graph.inputs)
    if case.vjp is None:
        return named.over(found, names)
    arguments: Callable[..., Any] = named.over(lambda *args, **kwargs: (args, kwargs), names)
    return subject.with_vjp(found, _imported(case, "vjp", case.vjp), arguments, names)


def _imported(case: Case, key: str, name: str) -> Callable[..., Any]:
    try:
        found: Any = imported(name, case.source.file)
    except JUDGED as e:  # a module runs code of any kind
        raise _spec_error(case, f"{key}: {name!r} cannot be imported: {_describe(e)}") from e
    if not callable(found):
        raise _spec_error(case, f"{key}: {name!r} is no function but a {type(found).__name__}")
    return cast("Callable[..., Any]", found)


def _spec_error(case: Case, message: str) -> SpecError:
    """The error at the line of the spec that the case is of."""
    return SpecError(message, file=case.source.file or "<case>", line=case.source.line or 1)


def point_without_value(values: Sequence[Estimate]) -> tuple[Reason, str] | None:
    """Why nothing is judged where the definition has no value at the point, or none within the doubles; else None."""
    for e in values:
        if np.isnan(e.hi).any():
            return Reason.DOMAIN, "the definition has no finite value at this point"
        if np.isinf(e.hi).any():
            return Reason.RANGE, "the value of the definition lies beyond the doubles"
    return None


def _check_structure(case: Case, seen: Observation, truth: Truth) -> _Finding | None:
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


def _rounded_once(case: Case, backward: Exact) -> frozenset[str]:
    """The inputs without the excuse that each cast of them rounds its cotangent: where the backward pass rounds once.

    Cotangents of several casts are rounded and added up in 16 bits by a framework's engine; a rule that is written by hand
    adds them up in the wider dtype.
    """
    several = several_casts(case)
    return backward.rounded_once & several if several else several


def _is_right_to_its_arithmetic(exact: Exact, beyond: Callable[[], bool], custom: bool) -> bool:
    """Is the formula right, or one that users wrote, and off by less than its own arithmetic resolves?

    One of a framework's own may be a declared weakness, which is more to say than that it is off.
    """
    if exact.formula.right is False and custom:
        return not beyond()
    return bool(exact.formula.right)


def _with_size_at_zeros(case: Case, ref: Reference) -> Reference:
    """The reference for a formula that is right to its arithmetic: where the truth is 0 an entry has the array's size.

    There is no digit of it to lose. A right formula may reach that 0 by a difference of terms of the array's size, and
    leaves SAFETY roundings of them, as it does of a result (`budget`): in the coarsest arithmetic of the function, which may
    cast its arguments. What is less than the smallest normal number of it is flushed to zero, and as good as 0.
    """
    allowed = {}
    for n, b in ref.budget.gradients.items():
        hi = ref.truth.gradients[n].hi
        formats = [FORMATS[d] for d in {case.dtype, case.dtype_of(n), *case.formats.values()} if d in FORMATS]
        size = SAFETY * max(f.arithmetic for f in formats) * np.max(np.abs(hi), initial=0.0, where=np.isfinite(hi))
        allowed[n] = np.where(np.abs(hi) < max(f.tiny for f in formats), np.maximum(b, size), b)
    return replace(ref, budget=replace(ref.budget, gradients=allowed))


def _with_size_of_sides(case: Case, ref: Reference, seen: Observation) -> Reference:
    """The reference for answers at a kink whose convention has no value, as √(x² + y²) at 0: its slopes to each side have.

    Rounding that passes through the kink has no bound there; that of a rule with a value of its own leaves SAFETY roundings
    of the slopes. An answer that is not finite stays undecided.
    """
    allowed = dict(ref.budget.gradients)
    for n, low in ref.truth.low.items():
        got = seen.gradients.get(n)
        with np.errstate(invalid="ignore"):
            size = np.maximum(np.abs(low), np.abs(ref.truth.high[n]))
        known = (
            ~np.isfinite(allowed[n]) & np.isfinite(size) & (np.isfinite(to_float64(got)) if got is not None else True)
        )
        allowed[n] = np.where(known, SAFETY * FORMATS[case.dtype_of(n)].arithmetic * size, allowed[n])
    return replace(ref, budget=replace(ref.budget, gradients=allowed))


def _compare_all(case: Case, seen: Observation, ref: Reference) -> list[Compared]:
    """Compare every output and every gradient with its truth and budget."""
    fmt, truth, budget = FORMATS[case.dtype], ref.truth, ref.budget
    found = [
        compare(output_label(i, case.graph), got, want, allowed, fmt)
        for i, (got, want, allowed) in enumerate(zip(seen.outputs, truth.outputs, budget.outputs))
    ]
    for name in case.wrt:
        want = truth.gradients[name]
        got = seen.gradients.get(name)
        if got is None:
            got = np.zeros(want.shape)
        found.append(
            compare(f"d{name}", got, want, budget.gradients[name], fmt, truth.low.get(name), truth.high.get(name))
        )
    return found


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


def _check_values(answer: _Answer, subject: Framework | None) -> _Finding | None:
    """The finding about the numbers; declared weaknesses of `subject`, if given, may excuse them."""
    case, seen, ref, compared, seed = answer.case, answer.seen, answer.ref, answer.compared, answer.seed
    comparisons = answer.comparisons
    if any(c.failing.any() for c in compared):
        finding = _judge_failing(answer)
        if finding.outcome is not Outcome.FAIL:
            return finding
        doubt = dissent(case.graph, case.values, case.cotangent, case.literal_dtype, ref.truth, seed=seed)
        if doubt:
            return inconclusive(Reason.ORACLE, f"the oracle's two libraries disagree: {doubt}", *comparisons)
        right_under = lambda allowed: _right_under(allowed, case, seen, ref)
        known = find_excuse(case, subject, ref, right_under, lower=answer.lower, seed=seed) if subject else ""
        if not known:
            weighed = _weigh_lost_digits(_note_stagnation(finding, answer), answer)
            return _add_hypothesis(weighed, answer) if weighed.outcome is Outcome.FAIL else weighed
        lost = finding.kind is FailKind.WRONG
        return replace(finding, outcome=Outcome.KNOWN, known=known, kind=FailKind.PRECISION if lost else finding.kind)
    if not all(c.passing.all() for c in compared):
        return _judge_undecided(ref, comparisons)
    if _hopeless(case, ref):
        proven = answer.exact is not None and answer.exact.formula.right
        return (_check_stability(answer) if proven else None) or inconclusive(Reason.CONDITION, "", *comparisons)
    return _check_along(seen, ref, comparisons)


def _check_formula(answer: _Answer, subject: Framework | None) -> _Finding | None:
    """The finding where the values are within budget, and the formula that they come from is another one.

    Where `subject` is given the formula is its own, and one that it declares as a weakness is known.
    """
    case, exact = answer.case, answer.exact
    if exact is None or exact.formula.right is not False or not ran(exact, answer.seen, answer.seed):
        return None
    worst = exact.formula.worst
    assert worst is not None
    off = (
        f"in exact arithmetic {worst.where} comes to {worst.got} where the true value is {worst.want} "
        f"({exact.formula.error:.2g} relative)"
    )
    if answer.is_off_beyond():
        hidden = "" if case.dtype == exact.resolution else f"; rounding in {case.dtype} hides it"
        message = f"the formula of the backward pass is wrong: {off}{hidden}"
        return _add_hypothesis(fail(FailKind.WRONG, message, *answer.comparisons), answer)
    declared = {n.op for n in case.graph.nodes if isinstance(n, Apply)} & set(subject.forms) if subject else set()
    if subject and declared:
        known = "; ".join(f"{op}: {subject.forms[op].reason}" for op in sorted(declared))
        return _Finding(Outcome.KNOWN, FailKind.PRECISION, message=off, comparisons=answer.comparisons, known=known)
    message = (
        f"the formula of the backward pass is off by less than its own arithmetic ({exact.resolution}) resolves: {off}"
    )
    return _Finding(Outcome.WEAK, message=message, comparisons=answer.comparisons)


def _check_formats(answer: _Answer) -> _Finding | None:
    """The finding where a right formula passes through a format coarser than any that the function has.

    Values within budget may hide it: of bfloat16, with 8 bits, next to float16, whose budget excuses three of its 11.
    """
    exact, case = answer.exact, answer.case
    coarser = _coarser_formats(exact, case) if exact is not None and exact.formula.right else []
    if not coarser or exact is None or not ran(exact, answer.seen, answer.seed):
        return None
    message = f"the formula is right, and values of the backward pass are rounded to {' and '.join(coarser)}"
    message += ", coarser than any of the function's: digits are lost that need not be lost"
    return _Finding(Outcome.WEAK, message=message, comparisons=answer.comparisons)


def _check_narrow(answer: _Answer, subject: Framework, function: Any) -> _Finding | None:
    """WEAK where a right formula adds up in 16 bits, or rounds an intermediate to 16 bits, and that costs an entry digits.

    The budget does not ask for it: it excuses eight roundings of the result, as it cannot know how often a right
    implementation rounds. Here the backward pass is known, and so is what a wider accumulator would give.
    """
    exact = answer.exact
    if exact is None or not exact.formula.right:
        return None
    case = answer.case
    narrow = find_narrow_sum(case, exact, answer.seen, answer.ref)
    if narrow is None and answer.flipped is None:
        call = lambda g: subject.run_vjp(function, case.values, case.wrt, g)
        narrow = find_narrow_intermediate(case, exact, call, answer.seed)
    if narrow is None or not ran(exact, answer.seen, answer.seed):
        return None
    message = f"the formula is right, and digits are lost that need not be lost. {narrow}"
    return _Finding(Outcome.WEAK, message=message, comparisons=answer.comparisons, facts={"narrow": asdict(narrow)})


def _coarser_formats(exact: Exact, case: Case) -> list[str]:
    """The formats of the backward pass with fewer digits than all those that the definition computes in.

    One that holds masks alone does not count: no digit is lost there.
    """
    coarsest = max(FORMATS[d].roundoff for d in {case.dtype, *case.formats.values()})
    coarser = [d for d in exact.formats if FORMATS[d].roundoff > coarsest]
    return sorted(d for d in coarser if exact.asked is None or may_round(exact.asked, d))


def _check_stability(answer: _Answer) -> _Finding | None:
    """The finding where the budget excuses what the definition loses, and its problem does not."""
    if answer.exact is None:
        return None
    unstable = find_unstable(answer.case, answer.ref.truth, answer.ref.budget, answer.seen.outputs, answer.seed)
    if unstable is None:
        return None
    left = "is right to what that leaves" if unstable.of[1:] in answer.case.wrt else "is right"
    message = f"{unstable}; the gradient {left}"
    return _Finding(Outcome.WEAK, message=message, comparisons=answer.comparisons)


def _weigh_lost_digits(finding: _Finding, answer: _Answer) -> _Finding:
    """A FAIL of values; where the formula is right and its own rounding explains them, digits are lost and nothing else.

    A formula that is off by less than its arithmetic resolves counts as right, but for what it is off by.

    WEAK where every failing entry keeps half of the digits of the dtype that the definition computes in (an error of √u,
    relative to the gradient's largest entry), else FAIL (precision); so is a backward pass in a narrower dtype than that.
    """
    exact, case = answer.exact, answer.case
    if exact is None or finding.kind not in (FailKind.WRONG, FailKind.PRECISION):
        return finding
    if not _is_right_to_its_arithmetic(exact, answer.is_off_beyond, answer.again is not None):
        wrong = _check_formula(answer, None) if finding.kind is FailKind.PRECISION else None
        return replace(wrong, message=f"{wrong.message}; {finding.message}") if wrong and wrong.kind else finding
    if _output_fails(answer):
        return finding
    narrow = find_narrow(case, exact, answer.seen, answer.ref, answer.compared)
    weighed = _weigh_rounding(finding, answer, exact, narrow)
    return _add_narrow(weighed, narrow) if narrow else weighed


def _add_narrow(finding: _Finding, narrow: Narrow) -> _Finding:
    facts = {**finding.facts, "narrow": asdict(narrow)}
    return replace(finding, message=f"{finding.message}. {narrow}", facts=facts)


def _weigh_rounding(finding: _Finding, answer: _Answer, exact: Exact, narrow: Narrow | None) -> _Finding:
    """The finding about a right formula; `narrow`: a step of it whose rounding, replayed, explains the error.

    WEAK as well, whatever it costs, where the step has an excuse: the backward pass is computed from the definition's 16-bit
    output, or multiplies matrices of 16 bits. That is a choice of what is saved and on what is run.
    """
    case = answer.case
    own = {n: allowed + exact.error.get(n, 0.0) for n, allowed in exact.rounding(answer.seed).items()}
    computed = [FORMATS[d].roundoff for d in {case.dtype, *case.formats.values()}]
    half = math.sqrt(min(computed))
    weak = True
    excused = narrow is not None and bool(narrow.excuse)
    for c in answer.compared:
        if not c.failing.any():
            continue
        name = c.comparison.of[1:]
        want, got = answer.ref.truth.gradients[name], answer.seen.gradients[name]
        if got is None or name not in own:
            return finding
        if (exact.error.get(name, np.zeros(want.shape)) > answer.ref.budget.gradients[name])[c.failing].any():
            return finding  # the formula alone fails, without any rounding
        if not np.isfinite(want.hi[c.failing]).all():  # at a kink: the formula has been held against no value there
            return finding
        with np.errstate(all="ignore"):
            error = want.error_of(got)[c.failing]
            largest = np.max(np.abs(want.hi), initial=0.0)
            stored = FORMATS[case.dtype_of(name)].roundoff * np.abs(want.hi)[c.failing]
            if narrow is None and (error > own[name][c.failing]).any():
                return finding
            weak &= excused or bool((error - stored <= half * largest).all())
    narrower = _coarser_formats(exact, case)
    if narrower:
        message = f"the formula is right, and computed in {' and '.join(narrower)}: {finding.message}"
        return replace(finding, kind=FailKind.PRECISION, message=message)
    lost = math.log10(max(c.comparison.share for c in answer.compared if c.failing.any()))
    right = "is right" if exact.formula.right else f"is right to its own arithmetic ({exact.resolution})"
    digits = f"the formula {right}, and loses about {max(lost, 0.1):.1f} digits that need not be lost"
    message = f"{digits}: {finding.message}"
    if weak:
        return _Finding(Outcome.WEAK, message=message, comparisons=finding.comparisons)
    return replace(finding, kind=FailKind.PRECISION, message=message)


def _check_along(seen: Observation, ref: Reference, comparisons: tuple[Comparison, ...]) -> _Finding | None:
    """The finding at a kink where entries are defensible one by one, but not together.

    Together they must predict the slopes along the directions that keep the tie.
    """
    for along in ref.truth.along:
        predicted = allowed = rounding = 0.0
        for name, u in along.direction.items():
            got = seen.gradients.get(name)
            terms = np.zeros(u.shape) if got is None else to_float64(got) * u
            # Where the entry does not move its budget does not count, infinite or not.
            allowed += float(np.sum(np.where(u == 0, 0.0, ref.budget.gradients[name]) * np.abs(u)))
            predicted += float(np.sum(terms))
            # Of a sum of n products in doubles: n + 1 roundings (Higham 2002, eq. 3.5).
            rounding += (u.size + 1) * 2.0**-53 * float(np.sum(np.abs(terms)))
        if abs(predicted - along.slope) - along.bound - rounding <= allowed or not math.isfinite(allowed):
            continue
        return fail(
            FailKind.WRONG,
            f"each entry is defensible at the kink of {', '.join(sorted(set(ref.truth.kinks)))}, all together are not: "
            f"along a direction that keeps the tie they predict a slope of {predicted:.6g}, the function's is "
            f"{along.slope:.6g}",
            *comparisons,
        )
    return None


def _right_under(allowed: Budget, case: Case, seen: Observation, ref: Reference) -> bool:
    """Would no entry fail under this budget?"""
    return not any(c.failing.any() for c in _compare_all(case, seen, Reference(ref.truth, allowed)))


def _hopeless(case: Case, ref: Reference) -> bool:
    return any(
        hopeless(ref.truth.gradients[n], ref.budget.gradients[n], FORMATS[case.dtype_of(n)].underflow)
        for n in case.wrt
        if n not in ref.truth.low
    )


def _judge_failing(answer: _Answer) -> _Finding:
    """The finding about entries that fail: a FAIL, or INCONCLUSIVE where a kink or a branch may explain them."""
    case, seen, ref, flipped, compared = answer.case, answer.seen, answer.ref, answer.flipped, answer.compared
    comparisons = answer.comparisons
    truth = flipped.reference.truth if flipped else ref.truth
    if truth.kinks and _only_where_no_side_exists(compared, case, truth):
        return inconclusive(Reason.KINK, f"at the kink of {', '.join(truth.kinks)}", *comparisons)
    looked = flipped is not None and flipped.every
    if ref.budget.branches and not truth.kinks and not looked and _right_on_another(case, seen, ref, answer.seed):
        return inconclusive(Reason.BRANCH, "", *comparisons)
    bad = max((c for c in compared if c.failing.any()), key=lambda c: c.comparison.share)
    worst = bad.comparison.worst
    assert worst is not None
    if any(c.non_finite.any() for c in compared):
        return fail(
            FailKind.NON_FINITE, f"{worst.where} is {worst.got} where the true value is {worst.want}", *comparisons
        )
    return fail(*_how_wrong(bad, case, seen, truth), *comparisons)


def _note_stagnation(finding: _Finding, answer: _Answer) -> _Finding:
    """The finding; with a note where accumulating sums in the 16-bit dtype explains the failing entries."""
    case, seen, ref = answer.case, answer.seen, answer.ref
    if not FORMATS[case.dtype].stores or finding.kind is FailKind.NON_FINITE:
        return finding
    if not _right_under(allowance(case, ref.truth, seed=answer.seed, stepwise=True), case, seen, ref):
        return finding
    share = max(c.comparison.share for c in answer.compared if c.failing.any())
    lost = f"about {math.log10(share):.1f} digits are lost, no more than by accumulating sums in {case.dtype}"
    return replace(finding, kind=FailKind.PRECISION, message=f"{finding.message}: {lost}")


def _add_hypothesis(finding: _Finding, answer: _Answer) -> _Finding:
    """The finding; with a sentence, and a fact, where a hypothesis predicts the wrong gradients."""
    if not answer.explained or finding.kind not in (FailKind.WRONG, FailKind.PRECISION):
        return finding
    if _output_fails(answer):
        return finding
    from_calls = _explain_by_calls(answer)
    if from_calls is not None:
        return _with_hypothesis(finding, from_calls)
    if answer.again is not None and _stands_still(answer):
        return _with_hypothesis(finding, Explanation("a function that stands still", STANDS_STILL))
    asked = answer
    if answer.exact is not None and answer.exact.formula.right is False:
        finding = _add_departure(finding, answer.case, answer.exact)
        if "hypothesis" in finding.facts:
            return finding
        answer = _in_doubles(answer, answer.exact)
    ref = answer.flipped.reference if answer.flipped else answer.ref
    found = explain(answer.case, answer.seen, ref, answer.compared, seed=answer.seed)
    if found is None and asked.again and finding.facts.get("departure", {}).get("reads_array", True):
        found = of_an_earlier_call(asked.case, asked.seen, asked.ref, asked.again, asked.seed)
    return finding if found is None else _with_hypothesis(finding, found)


STANDS_STILL = (
    "The function stands still around the point, as a step does: its gradient is 0 in every entry. Where the backward pass "
    "is meant for another function, say which: check(..., surrogate_of=...)"
)


def _stands_still(answer: _Answer) -> bool:
    """Is the true gradient 0 in every entry of every input, as far as the oracle sees?"""
    gradients = [answer.ref.truth.gradients[n] for n in answer.case.wrt]
    return not answer.ref.truth.kinks and not any(e.resolved.any() for e in gradients)


def _explain_by_calls(answer: _Answer) -> Explanation | None:
    """What further calls say: one without hooks, one after a call of other shapes, one more at the same point."""
    found = None
    if answer.unhooked is not None:
        other, left = answer.unhooked()
        fine = other.raised is None and not any(c.failing.any() for c in _compare_all(answer.case, other, answer.ref))
        found = hook_active(answer.seen, left, fine)
    if found is None and answer.again is not None and answer.earlier is not None:
        earlier, call = answer.earlier
        found = of_an_earlier_shape(answer.case, earlier, answer.seen, answer.ref, answer.again, call)
    if found is None and answer.again is not None:
        found = drawn_anew(answer.case, answer.seen, answer.ref, answer.again)
    return found


def _with_hypothesis(finding: _Finding, found: Explanation) -> _Finding:
    facts = {**finding.facts, "hypothesis": found.to_dict()}
    return replace(finding, message=f"{finding.message}. {found.text}", facts=facts)


def _add_departure(finding: _Finding, case: Case, exact: Exact) -> _Finding:
    """The finding; with the step of the backward pass that is wrong, where one repair makes the gradients right."""
    departure = None if "departure" in finding.facts else find_departure(case, exact)
    if departure is None:
        return finding
    facts = {**finding.facts, "departure": asdict(departure)}
    if departure.overwritten:
        facts["hypothesis"] = Explanation("saved tensor written to", str(departure)).to_dict()
    return replace(finding, message=f"{finding.message}. {departure}", facts=facts)


def _output_fails(answer: _Answer) -> bool:
    return any(c.failing.any() and not c.comparison.of.startswith("d") for c in answer.compared)


def _in_doubles(answer: _Answer, exact: Exact) -> _Answer:
    """The answer that the backward pass would give in exact arithmetic, to the case in doubles: no rounding blurs it."""
    case = in_doubles(answer.case)
    ref = reference(case, seed=answer.seed)
    seen = replace(
        answer.seen,
        outputs=tuple(e.hi for e in ref.truth.outputs),
        gradients={**answer.seen.gradients, **exact.values},
    )
    return replace(
        answer, case=case, ref=ref, flipped=None, seen=seen, compared=_compare_all(case, seen, ref), exact=None
    )


def _right_on_another(case: Case, seen: Observation, ref: Reference, seed: int) -> bool:
    """Would the answer be right on some branch, where these are too many to follow one by one?"""
    loose = allowance(case, ref.truth, seed=seed, reruns=4 * RERUNS, loose=True)
    return _right_under(loose, case, seen, ref)


def _only_where_no_side_exists(compared: list[Compared], case: Case, truth: Truth) -> bool:
    """Do all failures lie in entries without any one-sided derivative, where no answer can be wrong?"""
    for c in compared:
        name = c.comparison.of[1:]
        if name in truth.low:
            if (c.failing & ~np.isnan(truth.low[name])).any():
                return False
        elif c.failing.any() and not (c.comparison.of.startswith("d") and truth.method == "one-sided"):
            return False
    return True


MANY = 1000.0
"""Budgets from which on a message states the budget: its size beside the error's says more than a large multiple."""


def _how_wrong(bad: Compared, case: Case, seen: Observation, truth: Truth) -> tuple[FailKind, str]:
    """The kind of error (wrong, or digits lost), and a sentence that describes it."""
    of, worst = bad.comparison.of, bad.comparison.worst
    assert worst is not None
    want, got = _arrays(of, case, seen, truth)
    with np.errstate(all="ignore"):
        relative = ((got.astype(np.float64) - want.hi) - want.lo)[bad.failing] / want.hi[bad.failing]
    size = abs(float(want.hi[worst.index]))
    share = bad.comparison.share
    head = f"{worst.where} is off by {worst.error:.2g}"
    if size and math.isfinite(size):
        head += f" ({worst.error / size:.2g} relative)"
    if share < MANY:
        head += f", {share:.2g} times what rounding in {case.dtype} excuses"
    else:
        head += f", where rounding in {case.dtype} excuses {worst.budget:.1g}"
    constant = relative.size >= 4 and np.isfinite(relative).all() and np.std(relative) < 0.01 * abs(np.mean(relative))
    if constant:
        return (
            FailKind.WRONG,
            head + f"; every failing entry of {of} is off by the same factor, {_factor(float(np.mean(relative)))}",
        )
    if np.isfinite(relative).all() and (np.abs(relative) < LOST_DIGITS).all():
        lost = math.log10(bad.comparison.share) if bad.comparison.share > 1 else 0.0
        return FailKind.PRECISION, head + f": the leading digits are right, about {lost:.1f} digits are lost"
    return FailKind.WRONG, head


def _factor(relative: float) -> str:
    """One and a relative error, with three digits of the error: "2.5", "1.00000123"."""
    if abs(relative) >= 1:
        return f"{1 + relative:.3g}"
    return repr(round(1 + relative, 2 - math.floor(math.log10(abs(relative)))))


def _arrays(of: str, case: Case, seen: Observation, truth: Truth) -> tuple[Estimate, np.ndarray]:
    if of.startswith("out"):
        i = int(of[3:] or 0)
        return truth.outputs[i], seen.outputs[i]
    got = seen.gradients.get(of[1:])
    want = truth.gradients[of[1:]]
    return want, np.zeros(want.shape) if got is None else got


def _judge_undecided(ref: Reference, comparisons: tuple[Comparison, ...]) -> _Finding:
    if ref.truth.kinks:
        return inconclusive(Reason.KINK, f"at the kink of {', '.join(ref.truth.kinks)}", *comparisons)
    allowed = [*ref.budget.outputs, *ref.budget.gradients.values()]
    if any(not np.isfinite(a).all() for a in allowed):
        return inconclusive(Reason.RANGE, "", *comparisons)
    return inconclusive(Reason.ORACLE, ref.truth.suspects, *comparisons)


def _check_claims(case: Case, ref: Reference) -> _Finding | None:
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


def _check_laws(trial: Trial, ref: Reference, manner: _Manner, subject: Framework | None) -> _Finding | None:
    """The finding about the laws; declared weaknesses of `subject`, if given, may excuse what they lose."""
    case = trial.case
    if changed := laws.changed_inputs(case, trial.first):
        return fail(FailKind.LAW, f"purity is broken: {', '.join(changed)} changed during the call")
    names = laws.names_for(trial, manner.extent)
    try:
        broken = laws.find_broken(trial, names)
    except Unsupported as e:
        return inconclusive(Reason.SUBJECT, f"the gradient is right; of the laws that were asked for, {e}")
    if broken is not None and ref.budget.branches:
        # Another layout sums in another order, and may end on the other side of a comparison: either side is admitted.
        loose = allowance(case, ref.truth, reruns=4 * RERUNS, loose=True)
        broken = laws.find_broken(trial.under(loose.gradients), names)
    if broken is None:
        return None
    name, what = broken
    if FORMATS[case.dtype].huge < 2.0**17 and _leaves_range(case, ref, -2.0):
        return inconclusive(Reason.RANGE, f"{name} asks about a cotangent of which an intermediate overflows")
    message = f"{name} is broken ({laws.find(name).doc}): {what}"
    known = _find_excuse_of_laws(trial, ref, manner, subject, names) if subject else ""
    return _Finding(Outcome.KNOWN, FailKind.LAW, message=message, known=known) if known else fail(FailKind.LAW, message)


def _find_excuse_of_laws(
    trial: Trial, ref: Reference, manner: _Manner, subject: Framework, names: Sequence[str]
) -> str:
    """The reason of declared forms under whose rounding none of the laws is broken, or "".

    A form may round otherwise for another cotangent: log|g| does, which 2^20 times the cotangent makes larger.
    """
    for reasons, budget_of in budgets_by_forms(trial.case, subject, ref, lower=manner.lower, seed=manner.seed):

        def budgets(cotangent: Sequence[np.ndarray], budget_of: BudgetOf = budget_of) -> Mapping[str, np.ndarray]:
            return budget_of(cotangent).gradients

        try:
            broken = laws.find_broken(trial.under(budgets(trial.case.cotangent), budgets), names)
        except Unsupported:
            broken = None  # none is, and one cannot be asked here
        if broken is None:
            return reasons
    return ""


def _leaves_range(case: Case, ref: Reference, factor: float) -> bool:
    """Does some intermediate of the VJP overflow for `factor` times the cotangent?

    In float16, which ends at 65504, a law that scales may ask for this; the ranges of the other formats leave room for
    any factor.
    """
    scaled = replace(case, cotangent=tuple(rounded(to_float64(g) * factor, str(g.dtype)) for g in case.cotangent))
    return any(not np.isfinite(a).all() for a in allowance(scaled, ref.truth).gradients.values())


def _pass(truth: Truth, compared: list[Compared], notes: list[str]) -> _Finding:
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
    return _Finding(Outcome.PASS, comparisons=comparisons, notes=tuple(notes))
