"""Judging a Python function: at the given point, then by the probes around it, for what one fixed call would hide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ..core.activity import doing
from ..core.case import Case
from ..core.errors import BadInput, Unsupported
from ..core.graph import Apply
from ..core.verdict import FailKind, Outcome, Reason, Verdict
from ..frameworks.base import Framework, Programs
from ..frameworks.recognise import asking
from ..frameworks.registry import of_functions
from ..frameworks.watching import unwatched
from ..judge.allowed import Solved
from ..judge.decide import decide
from ..judge.exact import BackwardPass
from ..judge.excuses import Lower
from ..judge.laws import Extent
from ..judge.orders import Below, by_definition, definition_of
from ..trace import Traced
from ..trace.drawing import kept
from . import branches as branches  # declares its probe
from . import same_point as same_point  # declares its probes
from . import variations as variations  # declares its probes
from .batches import why_no_batch, why_no_index, why_no_parts
from .black_box import Opaque
from .branches import COMPARISONS
from .calls import Calls
from .complex_adapter import label_whole, to_native
from .keeping import kept_process
from .launches import launches_kernels, launches_of, note_atomics  # declares its probe
from .opaque import judge_opaque
from .probes import Given, OtherArguments, OtherCase, OtherFunction, OtherQuestion, Probe, Resize, Variant, probes
from .question import PASSES, Effort, Point, Question
from .replay import is_final, replay
from .reproduce import source, spec_of
from .solvers import find_solver
from .trace_case import (
    UNDIFFERENTIATED,
    Flawed,
    arguments_of,
    cotangent_at,
    trace_case,
    trace_without_graph,
    wanted_inputs,
)


@unwatched()
@kept()
@np.errstate(all="ignore")  # what overflows on purpose, with us, is no news of the user's
def judge_question(q: Question, effort: Effort, first_asked: str = "") -> Verdict:
    """The verdict at the given point, or the first FAIL found around it; `first_asked` is the key of a probe.

    Raises BadInput for what cannot be judged because of the call itself.
    """
    with doing(q.name), kept_process(q.fn):
        return _judge(q if q.calls else replace(q, calls=Calls.of(effort)), effort, first_asked)


def _judge(q: Question, effort: Effort, first_asked: str) -> Verdict:
    """The verdict at the given point, then around it."""
    backward = BackwardPass()
    q = replace(q, programs=Programs(sparing=effort == "quick"))
    with doing(q.given.name), asking() as asks:
        first, traced, case = judge_point(q, q.given, backward=backward)
        given = Given(q, first, traced, case, effort, asks(), backward=backward)
    walk = _Walk(given, first_asked)
    if first.outcome is not Outcome.FAIL and not (first.reason and first.reason.is_unsupported):
        for verdict, found_with in walk.verdicts():
            if verdict.outcome is Outcome.WEAK and not (verdict.formula and verdict.formula.right is False):
                continue  # digits that are lost at a point that we chose are lost by nobody
            if verdict.outcome.has_kind or verdict.outcome is Outcome.WEAK:
                facts = {**verdict.facts, "tried": walk.tried}
                message = f"{verdict.message} (found with {found_with})"
                verdict = replace(verdict, message=message, facts=facts, coverage=given.found.coverage)
            if verdict.outcome is Outcome.FAIL:
                return verdict
            if verdict.outcome is not Outcome.PASS and first.outcome is Outcome.PASS:  # a FAIL may come yet
                first = verdict
    facts = {**first.facts, "tried": walk.tried, "skipped": walk.skipped}
    return replace(
        first, notes=(*first.notes, *walk.notes, *note_atomics(given)), facts=facts, coverage=given.found.coverage
    )


class _Walk:
    """One walk through the registry of probes: what was tried, and what was skipped with the reason."""

    def __init__(self, given: Given, first_asked: str = "") -> None:
        self.given, self.first_asked = given, first_asked
        self.tried = [given.question.given.name]
        self.skipped: list[str] = []
        self.notes: list[str] = []
        self.answered: set[str] = set()

    def verdicts(self) -> Iterator[tuple[Verdict, str]]:
        """Yield the verdicts that decide, and the probe that found each."""
        for probe in sorted(probes(), key=lambda probe: probe.key != self.first_asked):
            if probe.is_asked(self.given):
                yield from self._ask(probe)

    def _ask(self, probe: Probe) -> Iterator[tuple[Verdict, str]]:
        try:
            for variant in probe.make(self.given):
                if not probe.is_affordable(self.given, variant):
                    continue
                label = variant.label.replace("{}", probe.name) or probe.name
                with doing(label), variant.within():
                    verdict, why_not = self._judge(probe, variant, label)
                if verdict is None:
                    self._skip(probe, label, why_not)
                    continue
                self.tried.append(label)
                self.answered.add(probe.key)
                if isinstance(variant, OtherQuestion) and variant.question.derived:
                    verdict = after_first_order(self.given.verdict, verdict)
                yield verdict, label
        except (BadInput, Unsupported) as e:  # there is nothing to ask
            self._skip(probe, probe.name, str(e))

    def _skip(self, probe: Probe, label: str, why: str) -> None:
        self.skipped.append(f"{label}: {why}")
        if probe.noted:
            self.notes.append(f"{label}: {why} (it was not judged)")

    def _judge(self, probe: Probe, variant: Variant, label: str) -> tuple[Verdict | None, str]:
        """The verdict, or None and the reason why none decides.

        An exception at a point we chose is not a FAIL, unless the function owes an answer there.
        """
        try:
            with of_functions(self.given.traced.framework).trying():
                verdict = _judge_variant(self.given, probe, variant, label)
        except (BadInput, Unsupported) as e:
            return None, str(e)
        why = verdict.message or str(verdict.reason)
        if verdict.outcome is Outcome.INCONCLUSIVE:
            return None, why
        if verdict.kind is FailKind.RAISED and not probe.is_owed(self.given, self.answered):
            return None, why
        kind = FailKind.PRECISION if verdict.outcome is Outcome.WEAK else verdict.kind
        if kind is not None and not probe.counts(kind, self.given):
            return None, why
        return verdict, ""


def after_first_order(first: Verdict, verdict: Verdict, order: int = 2) -> Verdict:
    """The verdict on a derivative; all but a PASS say first what the first order is.

    A FAIL says what to do where that is enough.
    """
    if verdict.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE):
        return verdict
    message = f"order 1 {first.outcome}; order {order} {verdict.outcome}: {verdict.message}"
    return replace(verdict, message=f"{message}. {ONCE}" if verdict.outcome is Outcome.FAIL else message)


ONCE = "If it is meant to be differentiated once, mark backward once_differentiable, or pass order=1"


def _judge_variant(given: Given, probe: Probe, variant: Variant, label: str) -> Verdict:
    """The verdict on one variant of a probe. Raises BadInput and Unsupported."""
    q = given.question
    match variant:
        case OtherArguments():
            _refuse_out_of_bounds(given, variant.args)
            # A batch may make the graph larger by its square, as attention does.
            most = None if probe.most is None else max(probe.most, 2 * given.entries)
            salt = variant.label.replace("{}", probe.key) or probe.key
            point = Point(variant.args, label, most=most, salt=salt, extent=probe.extent_for(given), earlier=given.case)
            replayed = _judge_replayed(given, point)
            if replayed is not None:
                return replayed
            verdict, traced, there = judge_point(q, point, given.is_opaque)
            if verdict.outcome is Outcome.FAIL:
                _refuse_integers_left_behind(given, verdict, traced)
            if verdict.outcome is Outcome.FAIL and variant.resize is not None:
                _refuse_unequal_lengths(given, verdict, traced, variant.resize)
                _refuse_other_sizes(given, there, variant.resize)
            return verdict
        case OtherFunction():
            point = replace(q.given, extent=probe.extent_for(given))
            return judge_point(replace(q, fn=variant.fn, programs=Programs()), point, given.is_opaque)[0]
        case OtherCase():
            other = replace(variant.case, name=f"{q.name}, {label}")
            traced = variant.traced or given.traced
            exact = given.backward if variant.exact and _has_formula(q, traced) else False
            if variant.earlier is not None:  # what that call left behind, a program would not see
                q = replace(q, programs=Programs(agree=False))
            asked = partial(judge_case, q, traced, other, extent=probe.extent_for(given), earlier=variant.earlier)
            # What depends on the call before is another answer by the second time.
            final = exact or not _has_formula(q, traced) or variant.earlier is not None
            verdict = asked(exact=exact, explained=bool(final))
            if verdict.kind in IN_VALUES and not final:
                verdict = _with_formula(asked, verdict)
            if verdict.kind is FailKind.RAISED and given.case is not None and set(other.wrt) < set(given.case.wrt):
                _refuse_where_forward_raises(q, traced, other)
            return verdict
        case OtherQuestion():
            return judge_question(replace(variant.question, calls=q.calls), "quick")
    raise TypeError(
        f"the probe {probe.name!r} makes a {type(variant).__name__}, which is no Variant that can be judged"
    )


def _with_formula(asked: Callable[..., Verdict], first: Verdict) -> Verdict:
    """A FAIL by values alone, asked again with the formula: a right one that loses digits is WEAK, or fine.

    `first` stands where the function, asked once more in the same way, does not fail any more.
    """
    verdict = asked(exact=BackwardPass())
    if verdict.outcome is not Outcome.PASS:
        return verdict
    return verdict if asked(exact=False).outcome is Outcome.FAIL else first


def _judge_replayed(given: Given, point: Point) -> Verdict | None:
    """The verdict at a point by the trace of the given one; None where that does not decide."""
    replayed = replay(given, point)
    if replayed is None:
        return None
    case, own, backward = replayed
    verdict = judge_case(
        given.question, own, case, exact=backward, extent=point.extent, earlier=point.earlier, explained=False
    )
    return verdict if is_final(verdict) else None


def _refuse_out_of_bounds(given: Given, args: tuple[Any, ...]) -> None:
    """Raise Unsupported where a value lies outside of what the function is about."""
    bounds = iter(given.question.bounds)

    def look(x: np.ndarray) -> None:
        within = next(bounds, None)
        if within is not None and x.size and x.dtype.kind == "f" and (x.min() < within[0] or x.max() > within[1]):
            raise Unsupported("a value lies outside of the stated domain")

    if given.question.bounds:
        of_functions(given.traced.framework).replace(look, args)


def _refuse_integers_left_behind(given: Given, verdict: Verdict, there: Traced) -> None:
    """Raise Unsupported where kernels go wrong in memory, and an axis of another length belies the integers that they got.

    A table that lost its last rows has none for the indices that point there; segments that end with the last of 8 rows
    leave the 9th to nobody.
    """
    if verdict.kind is not FailKind.LAW or not launches_kernels(given):
        return
    launches = launches_of(given)
    before = {a.name: a.shape for a in given.traced.arguments}
    for a in there.arguments:
        shape = before.get(a.name, ())
        was = given.traced.values.get(a.name)
        if was is not None and _are_offsets(was) and not np.array_equal(was, there.values[a.name]):
            raise Unsupported(f"{a.name} may say where segments begin and end: with other integers it does not")
        for n, m in zip(shape, a.shape) if len(shape) == len(a.shape) else ():
            if m <= launches.largest < n:
                raise Unsupported(f"the integer {launches.largest} may be no index any more of an axis of length {m}")
            if n != m and n in launches.totals:
                raise Unsupported(f"the integers of an array may say that the axis is of length {n}, not {m}")


def _are_offsets(values: np.ndarray) -> bool:
    """Is this an array of integers that rises from 0?"""
    if values.dtype.kind not in "iu" or values.ndim != 1 or values.size < 2:
        return False
    return bool(values[0] == 0 and (np.diff(values) >= 0).all())


def _refuse_unequal_lengths(given: Given, verdict: Verdict, there: Traced, resize: Resize) -> None:
    """Raise Unsupported where a kernel goes wrong in memory, and an array has kept the length that others left.

    A kernel without a check takes two lengths for one: rows that are longer than their weight are no input of it.
    """
    if not there.faults and not (verdict.kind is FailKind.LAW and launches_kernels(given)):
        return
    half = _half_elsewhere(given.traced, resize)
    if half:
        raise Unsupported(f"a length of {half} may be half of one of {2 * half}: {verdict.message}")
    kept = {a.name: a.shape for a in given.traced.arguments if a.role != "captured"}
    if any(a.shape.count(resize.old) and a.shape == kept.get(a.name) for a in there.arguments):
        raise Unsupported(f"the function takes its arguments for equally long: {verdict.message}")


def _half_elsewhere(traced: Traced, resize: Resize) -> int:
    """The length that one array of numbers has and another has twice, where one of them changes; 0 where none is.

    The angles of a rotary embedding have half as many columns as what is turned, and a kernel does not ask.
    """
    shapes = [a.shape for a in traced.arguments if a.kind == "float"]
    for half in {resize.old, resize.old // 2 if resize.old % 2 == 0 else 0} - {0, 1}:
        alone = any(half in s and 2 * half not in s for s in shapes)
        if alone and any(2 * half in s for s in shapes):
            return half
    return 0


def _refuse_other_sizes(given: Given, there: Case | None, resize: Resize) -> None:
    """Raise Unsupported where the function at another size is not the one at the given size."""
    if given.case is None or there is None:
        return
    why_not = why_no_batch(given.case, there) or why_no_index(given.case, resize.old, resize.new)
    if not why_not and resize.new % resize.old:
        try:
            doubled, _ = trace_case(given.question, Point(resize.doubled(), "twice as long"))
        except (BadInput, Unsupported):
            return
        why_not = why_no_parts(given.case.graph, doubled.graph, resize.old, resize.new)
    if why_not:
        raise Unsupported(why_not)


def _refuse_where_forward_raises(q: Question, traced: Traced, case: Case) -> None:
    """Raise Unsupported where the forward pass itself needs an argument that requires grad.

    A function that differentiates with respect to its argument (a gradient penalty) is no function of a constant.
    """
    subject, function = to_native(_subject_of(traced, q.device), traced)
    with q.limit_time(PASSES):
        seen = subject.run_vjp(function, case.values, case.wrt, case.cotangent)
    if seen.raised is not None and seen.stage == "forward":
        raise Unsupported(f"the function runs only where its other arguments require grad: {seen.raised}")


def judge_point(
    q: Question, point: Point, is_opaque: bool = False, backward: BackwardPass | None = None
) -> tuple[Verdict, Traced, Case | None]:
    """The verdict at one point, the trace, and the case; `backward` gets the trace of the backward pass.

    The case is None where the function cannot be traced, or where its run is evidence enough. `is_opaque` says that it
    cannot be traced elsewhere: a graph that agrees here by chance would be none of the function.
    """

    def judge(fix_detached: bool) -> tuple[Verdict, Traced, Case | None]:
        try:
            if is_opaque:
                opaque = judge_without_definition(q, point, "it is opaque at the given point", is_opaque=True)
                if opaque is not None:
                    return (*opaque, None)
            return _judge_once(q, point, fix_detached, backward or BackwardPass())
        except Flawed as e:
            return _fail_flawed(q, point, e), e.traced, None

    verdict, traced, case = judge_detached_both_ways(q, judge)
    return replace(verdict, source=verdict.source or str(source(q))), traced, case


def _judge_once(
    q: Question, point: Point, fix_detached: bool, backward: BackwardPass
) -> tuple[Verdict, Traced, Case | None]:
    try:
        case, own = trace_case(q, point, fix_detached=fix_detached)
    except Unsupported as e:
        opaque = None if q.reference or q.surrogate else judge_without_definition(q, point, str(e))
        if opaque is None:
            raise
        return (*opaque, None)
    backward.forward = own
    exact = backward if _has_formula(q, own) else False
    verdict = judge_case(q, own, case, exact=exact, extent=point.extent, earlier=point.earlier)
    if verdict.kind in IN_VALUES and q.below is not None and case.graph is own.graph:
        below = q.below.at(point.args)  # before anybody reads FAIL: by the forward definition at this very point
        if below is not None:
            q = replace(q, below=below)
            case = by_definition(below, arguments_of(own), case, seed=q.seed)
            verdict = judge_case(q, own, case, exact=exact, extent=point.extent, earlier=point.earlier)
    if verdict.kind is FailKind.WRONG and own.custom and case.graph is own.graph and _decides(case):
        found = _second_opinion(q, own, case)
        if found is not None:  # then the graph is no definition, here and at the points around
            return found, replace(own, graph=None), None
    if verdict.outcome is Outcome.PASS and q.below is not None and case.graph is own.graph and own.graph is not None:
        verdict = _weigh_formula_below(q, q.below, own, case, verdict)
    return verdict, own, case


IN_VALUES = (FailKind.WRONG, FailKind.PRECISION, FailKind.NON_FINITE)


def _has_formula(q: Question, own: Traced) -> bool:
    """Is the gradient meant to be the definition's to the last digit?"""
    return q.surrogate is None and not own.converges


def _weigh_formula_below(q: Question, below: Below, own: Traced, case: Case, verdict: Verdict) -> Verdict:
    """The verdict on a derivative that is right by the trace of the order below.

    KNOWN or WEAK where that is a formula (1 - sigmoid) whose derivative loses digits that the definition's has.
    """
    try:
        other = definition_of(below, arguments_of(own), case, seed=q.seed)
        if other is None or case.mixed is not None or own.native is not None:
            return verdict
        subject, function = to_native(_subject_of(own, q.device), own)
        with q.limit_time(PASSES):
            found = decide(
                other, subject, function=function, custom=own.custom or below.custom, seed=q.seed,
                lower=_lower(q, own, case),
            )  # fmt: skip
    except Unsupported:
        return verdict
    if found.outcome is Outcome.KNOWN:
        return replace(found, case=verdict.case, notes=verdict.notes, formula=verdict.formula)
    if found.outcome is not Outcome.FAIL or found.kind not in (FailKind.PRECISION, FailKind.WRONG):
        return verdict
    message = f"right by the formula of the order below, which loses digits that need not be lost: {found.message}"
    return replace(verdict, outcome=Outcome.WEAK, message=message, comparisons=found.comparisons)


AGREES = 2.0**-9
"""Differences that are this close to every entry contradict a graph that is off by more than the digits of bfloat16, half of
which it is: one of the two slopes is not that of the function."""


def _decides(case: Case) -> bool:
    """Does the graph compare values? Then its pieces may be steeper than the function is across them."""
    return any(n.op in COMPARISONS for n in case.graph.nodes if isinstance(n, Apply))


def _second_opinion(q: Question, own: Traced, case: Case) -> Verdict | None:
    """PASS where the function's own differences have the gradient that the graph has not; else None.

    A bisection, or a table, is made of pieces as short as its rounding, and the slope of a piece is nobody's gradient.
    """
    subject = _subject_of(own, q.device)
    if case.mixed is not None or own.native is not None or any(a.part for a in own.arguments):
        return None
    free = {a.name: own.values[a.name] for a in own.arguments if a.role != "captured"}
    box = Opaque(subject, own.function, free, case.wrt, case.cotangent, case.dtype, case.updated)
    with q.limit_time(PASSES):
        found = judge_opaque(case.name, box, own.notes, seed=q.seed, naming=False)  # a FAIL is the graph's to explain
    sure = all(not c.unresolved and not c.power > AGREES for c in found.comparisons)
    if found.outcome is not Outcome.PASS or not sure or all(math.isnan(c.power) for c in found.comparisons):
        return None
    note = "the graph takes decisions between pieces as short as rounding, whose slope is not that of the function"
    return replace(found, notes=(*own.notes, note, *found.notes[-1:]))


def judge_case(
    q: Question,
    own: Traced,
    case: Case,
    *,
    exact: bool | BackwardPass = False,
    extent: Extent = Extent.ALL,
    earlier: Case | None = None,
    explained: bool = True,
) -> Verdict:
    """The verdict on a case of the traced function; with `exact` on the formula of its backward pass as well.

    `extent` says which laws are asked, `earlier` what the function was asked before, `explained` whether it is looked for
    what a wrong gradient comes of.
    """
    subject, function = to_native(_subject_of(own, q.device), own)
    solver = Solved(own.stops_at, FIRST_DIGIT) if own.converges else None
    with q.limit_time(PASSES):
        verdict = decide(
            case, subject, function=function, custom=own.custom, exact=exact, extent=extent, seed=q.seed, earlier=earlier,
            lower=_lower(q, own, case), explained=explained, solver=solver, programs=q.programs,
        )  # fmt: skip
    verdict = label_whole(verdict, own)
    if own.converges:
        verdict = _weigh_convergence(verdict)
    notes = (*verdict.notes, *own.notes)
    spec = spec_of(q, own, case, subject.name) if verdict.outcome.has_kind else ""
    return replace(verdict, notes=tuple(dict.fromkeys(notes)), spec=spec)


def _lower(q: Question, own: Traced, case: Case) -> Lower | None:
    """The definition below a derivative, for the forms of its framework; None where there is none, or a user's rule."""
    below, names = q.below, arguments_of(own)
    if below is None or below.custom:
        return None
    return Lower(below.case.graph, lambda table: definition_of(below, names, case, seed=q.seed, table=table))


FIRST_DIGIT = 0.1
"""What a solver that is asked twice may differ by, of the largest entry: one that has found no digit has solved nothing."""


def _weigh_convergence(verdict: Verdict) -> Verdict:
    """The verdict on a series, or a solver: its own definition to its last step, while its rule is of what it converges to.

    Where the two part in the last digits, that is its tolerance, and nobody's fault.
    """
    apart = _largest_gap(verdict)
    if verdict.outcome is not Outcome.FAIL or verdict.kind is not FailKind.PRECISION:
        return verdict
    gap = "" if apart is None else f" (the rule is off by {apart:.1e} from where it stops)"
    message = f"the definition stops once it has converged, and is no more precise than that{gap}: {verdict.message}"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, kind=None, reason=Reason.ORACLE, message=message)


def _largest_gap(verdict: Verdict) -> float | None:
    """The relative error of the worst failing entry of any array; None where no entry fails."""
    worst = [c.worst for c in verdict.comparisons if c.failing and c.worst is not None]
    gaps = [w.error / abs(float(w.want)) for w in worst if float(w.want)]
    return max(gaps, default=None)


def judge_without_definition(
    q: Question, point: Point, why: str, is_opaque: bool = False, judge: Callable[..., Verdict] = judge_opaque
) -> tuple[Verdict, Traced] | None:
    """The verdict on an untraceable function, from its differences; None where not even those can be had.

    What has a graph here is none of these, but where it was opaque at the given point (`is_opaque`).
    """
    own = trace_without_graph(q, point)
    if own.graph is not None and not is_opaque:
        return None
    own = replace(own, graph=None)
    outputs = [o for o in own.outputs if o.position is not None]
    subject = _subject_of(own, q.device)
    dtypes = {a.dtype for a in own.arguments if a.kind == "float"} | {o.dtype for o in outputs}
    if not outputs or own.dtype not in subject.dtypes or len(dtypes) > 1:
        return None
    wrt = wanted_inputs(q, own)
    cotangent = cotangent_at(q, own, point, [o.shape for o in outputs], (own.dtype,) * len(outputs))
    box = Opaque(
        subject, own.function, own.values, wrt, cotangent, own.dtype, own.updated - set(wrt), calls=q.calls or Calls()
    )
    judge = partial(judge, seed=q.seed, elsewhere=is_opaque)
    with q.limit_time(PASSES):
        found = judge(q.title(point), box, reasons := (f"it cannot be traced: {why}",))
        if found.outcome is Outcome.FAIL and found.kind in (FailKind.WRONG, FailKind.PRECISION):
            solver = find_solver(box.run)
            if solver is not None:
                box = replace(box, precision=solver.precision)
                found = judge(q.title(point), box, (*reasons, str(solver)))
    return found, own


def _subject_of(traced: Traced, device: str | None) -> Framework:
    return of_functions(traced.framework, device)


def _fail_flawed(q: Question, point: Point, e: Flawed) -> Verdict:
    own = e.traced
    graph = own.graph.text() if own.graph else ""
    return Verdict(
        Outcome.FAIL, q.title(point), _subject_of(own, q.device).name, own.dtype, e.kind, message=e.message, graph=graph,
        notes=own.notes,
    )  # fmt: skip


# ---- detached values ------------------------------------------------------------------------------------------------

Findings = TypeVar("Findings", bound=tuple[Any, ...])


def judge_detached_both_ways(q: Question, judge: Callable[[bool], Findings]) -> Findings:
    """(verdict, trace, ...) of `judge(fix_detached)`: with what the function detaches followed, then held fixed.

    What is right when it is followed through passes, detached or not (the maximum in a softmax). What is wrong then and
    right with it held fixed passes where that was meant (the verdict's fact `held` says so), and fails as DETACHED where
    nobody said that it was.
    """
    followed = judge(False)
    verdict, traced = followed[:2]
    if not verdict.outcome.has_kind or not traced.detaches or q.surrogate is not None:
        return followed
    if traced.graph is None:  # compared with differences, which hold nothing fixed
        return (_withdraw(verdict) if q.stop_gradients else verdict, *followed[1:])  # type: ignore[return-value]
    fixed = judge(True)
    right = fixed[0].outcome not in (Outcome.INCONCLUSIVE, Outcome.FAIL)
    if right and q.stop_gradients:
        return (replace(fixed[0], facts={**fixed[0].facts, "held": True}), *fixed[1:])  # type: ignore[return-value]
    return (_fail_detached(q, verdict, traced), *followed[1:]) if right else followed  # type: ignore[return-value]


def _withdraw(verdict: Verdict) -> Verdict:
    message = f"what the function detaches cannot be held fixed, since it cannot be traced; {verdict.message}"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, kind=None, reason=Reason.UNTRACED, message=message)


def _fail_detached(q: Question, verdict: Verdict, traced: Traced) -> Verdict:
    where = f" at {', '.join(traced.detach_sites)}" if traced.detach_sites else ""
    if q.derived:
        meant = UNDIFFERENTIATED
    else:
        meant = "where it is meant, stop_gradients=True says so, or surrogate_of= whose gradient it is"
    message = (
        f"the gradient is right only if what is detached{where} is held fixed; as the gradient of the whole function, "
        f"{verdict.message} ({meant})"
    )
    facts = {**verdict.facts, "detached": list(traced.detach_sites)}
    return replace(verdict, kind=FailKind.DETACHED, message=message, culprit=None, facts=facts)
