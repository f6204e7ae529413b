"""From a recorded call to a judgement, in this order: the recorded cotangent, drawn ones, what differences of the function
say to a FAIL, what the rule may be meant for, and the second order. Only what was recorded gates."""

from __future__ import annotations

import contextlib
import inspect
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checker.black_box import Opaque
from ..checker.branches import sides_taken
from ..checker.compositions import judge_orders
from ..checker.driver import judge_point, judge_without_definition
from ..checker.opaque import judge_even, judge_opaque, judge_symmetric, stair_of
from ..checker.question import Point, Question
from ..checker.symmetric import is_symmetric, triangles_read
from ..core.case import Case
from ..core.errors import BadInput, GradverifyError, Unsupported
from ..core.graph import Apply
from ..core.limits import TimeLimit, time_limit
from ..core.outcome import FailKind, Outcome, Reason, reason_of
from ..core.verdict import Verdict
from ..frameworks.base import values_of
from ..frameworks.registry import of_functions
from ..frameworks.watching import Sample
from ..judge.reference import reference
from ..namespaces.dtypes import FORMATS
from ..trace import Traced
from .intent import CLOSE, Intent, drawn, natural, recognise

UNDECIDED = 1e-2
"""A PASS that would have caught nothing smaller is none: a wrong factor of a term hides below a percent of the gradient, and
the entries of a gradient that is wrong by less are right to the two digits that plots are read to."""

LIMIT = 10.0
"""Seconds for one recorded call, where nobody says another limit."""


Sides = Mapping[str, tuple[str, frozenset[bool]]]


@dataclass(frozen=True, eq=False)
class Judged:
    """The judgement of one recorded call.

    verdict   on what was recorded: it gates
    intent    what the rule may be meant for, where it is not the gradient; None: nothing that is recognised
    looks     what was found beyond what was recorded: it does not gate
    notes     what is to be said besides
    probed    were all probes asked around the record?
    sides     each decision of the backward pass by its op and line: its text, and the sides that the recorded call takes;
              None where the backward pass has no graph
    """

    sample: Sample
    verdict: Verdict
    intent: Intent | None = None
    looks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    probed: bool = False
    sides: Sides | None = None
    seconds: float = 0.0


def judge(sample: Sample, *, seed: int = 0, limit: float = LIMIT) -> Judged:
    """The judgement of a recorded call, in about `limit` seconds."""
    start = time.perf_counter()
    question = question_of(sample, seed, limit)
    found = _recorded(sample, question, limit)
    verdict, notes = found.verdict, list(found.notes)
    if sample.create_graph and verdict.outcome is Outcome.PASS and not sample.by_identity:
        second = _second_order(question)
        if second is not None and second.outcome is Outcome.FAIL:
            message = f"the second derivative, which the suite asks for (create_graph=True): {second.message}"
            verdict = replace(second, message=message)
        elif second is not None:
            notes.append(f"second order, which the suite asks for: {second.outcome}")
    if sample.pulled == 0:
        notes.append("the suite never ran its backward pass: the cotangent is drawn")
    return replace(found, verdict=verdict, notes=tuple(notes), seconds=time.perf_counter() - start)


def judge_against(sample: Sample, other: Callable[..., Any], *, seed: int = 0, limit: float = LIMIT) -> Verdict:
    """The verdict on the rule as the gradient of another function, at the recorded call."""
    return _at(
        replace(question_of(sample, seed, limit), surrogate=other),
        Point(sample.args, cotangent=sample.cotangent()),
        limit,
    )[0]


def question_of(sample: Sample, seed: int, limit: float) -> Question:
    return Question(
        sample.function, sample.args, cotangent=sample.cotangent(), seed=seed, time_limit=limit, above=False,
        framework=sample.definition.framework,
    )  # fmt: skip


def _recorded(sample: Sample, q: Question, limit: float) -> Judged:
    """The judgement at the recorded point: the recorded cotangents, then a drawn one."""
    first, traced, case = _at(q, q.given, limit)
    sides = _sides(q, traced, case)
    looks: list[str] = []
    if _breaks_law(first):
        looks.append(first.message)
        first = replace(first, outcome=Outcome.PASS, kind=None, message="")
    for k in range(1, len(sample.cotangents)):
        if first.outcome in RIGHT:
            other = _at(q, Point(q.args, "another recorded cotangent", cotangent=sample.cotangent(k)), limit)
            if other[0].outcome is Outcome.FAIL and not _breaks_law(other[0]):
                first, traced, case = other
    if q.cotangent is not None and first.outcome in RIGHT:
        # One is a random combination of all rows of the Jacobian.
        drawn, *_ = _at(q, Point(q.args, "a drawn cotangent", salt="drawn"), limit)
        if drawn.outcome is Outcome.FAIL and drawn.kind in CONTRADICTED:
            looks.append(
                f"right for the cotangent that arrived, and wrong for others: a gauge, or a projection ({drawn.message})"
            )
    intent: Intent | None = None
    notes: list[str] = []
    if first.outcome is Outcome.FAIL and traced is not None:
        first, intent, notes = _reconsidered(sample, q, first, traced, case)
    elif first.kind is FailKind.WRONG:
        intent = _intent_without_graph(q, first)
    elif first.reason is Reason.ORACLE and traced is not None:
        first = _along_symmetric_changes(q, first) or first
        if first.outcome is Outcome.INCONCLUSIVE and traced.graph is None and _is_stair(sample, q, limit):
            intent = Intent("surrogate", STAIR, None, True)
            first = replace(first, outcome=Outcome.SURROGATE, reason=None, message=STAIR)
    if _is_coarse(first):
        first, more = _in_float64(sample, first, q.seed, limit)
        looks += more
    return _judged(Judged(sample, first, intent, tuple(looks), tuple(notes), sides=sides))


RIGHT = (Outcome.PASS, Outcome.KNOWN, Outcome.WEAK)
"""Of these another cotangent is asked: one of ones and zeros may be all that a narrow format has the digits of."""


def _is_coarse(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.PASS and verdict.power > UNDECIDED


def _in_float64(sample: Sample, first: Verdict, seed: int, limit: float) -> tuple[Verdict, list[str]]:
    """A PASS of little power, with that of the same call in float64 where it passes there; else what is found there.

    Differences resolve half of the digits at most: of float32 three, of which an entry that is small has none.
    """
    wide = sample.widen() if sample.widen is not None else None
    if wide is None:
        return first, []
    found, *_ = _at(question_of(wide, seed, limit), Point(wide.args, cotangent=wide.cotangent()), limit)
    if found.outcome is Outcome.FAIL and found.kind in CONTRADICTED:
        return first, [f"in float64, at the same values: {found.message}"]
    if found.outcome is not Outcome.PASS or _is_coarse(found):
        return first, []
    notes = (*first.notes, f"its power is that of the same call in float64: in {first.dtype} it is {first.power:.1g}")
    return replace(found, dtype=first.dtype, notes=notes), []


STAIR = (
    "the function stands still and jumps, in float64 as high as in its own dtype, so that its true derivative is zero (or a "
    "jump), and the rule is not: a surrogate gradient, or a straight-through estimator"
)

FINER = 64.0
"""By how much the steps that a format's roundoff makes are lower in float64, at least: by 2^29 those of float32."""


def _is_stair(sample: Sample, q: Question, limit: float) -> bool:
    """Does a function without a graph jump, and by no rounding of its own?

    Steps that rounding makes, (x + 1e8) - 1e8, shrink with the roundoff. Of a call in float64 nobody can tell.
    """
    with contextlib.suppress(BadInput, Unsupported, TimeLimit), time_limit(max(limit, LEAST)):
        wide = sample.widen() if sample.widen is not None else None
        if wide is None:
            return False
        own = _stair(q)
        return own > 0 and _stair(question_of(wide, q.seed, limit)) > own / FINER
    return False


def _stair(q: Question) -> float:
    """The height of the steps of a function without a graph; 0 where it has none."""
    heights = [0.0]

    def measure(name: str, box: Opaque, reasons: tuple[str, ...], *, seed: int, **_: Any) -> Verdict:
        heights.append(stair_of(box, seed=seed))
        return _open(q, Reason.ORACLE, "")

    judge_without_definition(q, q.given, "", judge=measure)
    return heights[-1]


def _breaks_law(verdict: Verdict) -> bool:
    """Is the gradient right here, and wrong where a law asks besides?"""
    return verdict.outcome is Outcome.FAIL and verdict.kind is FailKind.LAW


def _sides(q: Question, traced: Traced | None, case: Case | None) -> Sides | None:
    """The decisions of the backward pass, and the sides that it took; None where that cannot be told."""
    if traced is None or case is None:
        return None
    try:
        return sides_taken(q, traced, case)
    except (BadInput, Unsupported, TimeLimit, ArithmeticError):
        return None


def _judged(judged: Judged) -> Judged:
    """The judgement, where a PASS that would have caught nothing is none."""
    verdict = judged.verdict
    if _is_coarse(verdict):
        message = f"no error was found; one below {verdict.power:.1g} of an entry would not have been"
        verdict = replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=Reason.ORACLE, message=message)
    return replace(judged, verdict=verdict)


CONTRADICTED = (FailKind.WRONG, FailKind.PRECISION, FailKind.NON_FINITE, FailKind.DETACHED)
"""The kinds of fault in which a gradient's values contradict the definition."""


def _at(q: Question, point: Point, limit: float) -> tuple[Verdict, Traced | None, Case | None]:
    """The verdict at a point, the trace and the case; INCONCLUSIVE where nothing can be judged."""
    try:
        with time_limit(limit):
            return judge_point(q, point)
    except BadInput as e:  # where it is watched call by call it may raise what it does not by itself
        return _without_graph(q, point, limit, Reason.SUBJECT, str(e)), None, None
    except Unsupported as e:
        return _open(q, reason_of(e, Reason.UNTRACED), str(e)), None, None
    except TimeLimit:
        return (
            _without_graph(q, point, limit, Reason.ORACLE, f"its graph takes more than {limit:.2g} s to judge"),
            None,
            None,
        )


def _without_graph(q: Question, point: Point, limit: float, reason: Reason, why: str) -> Verdict:
    """The verdict of differences alone: where the graph takes too long to judge, or the call cannot be traced."""
    try:
        with time_limit(max(limit, LEAST)):
            box = _black_box(q, point)
            if box is None:
                return _open(q, reason, why)
            return judge_opaque(q.title(point), box, (why,), seed=q.seed)
    except TimeLimit:
        return _open(q, Reason.ORACLE, f"{why}, and differences of the function take as long")


def _black_box(q: Question, point: Point) -> Opaque | None:
    """The call without a graph; None where it raises, or its arrays are of several dtypes."""
    framework = of_functions(q.framework or "")
    values = dict(zip(inspect.signature(q.fn).parameters, map(framework.get, point.args)))
    seen = framework.run_vjp(q.fn, values, (), ())
    dtypes = {str(x.dtype) for x in (*values.values(), *seen.outputs)}
    if seen.raised is not None or len(dtypes) != 1 or not dtypes <= set(framework.dtypes):
        return None
    dtype = dtypes.pop()
    rng = np.random.default_rng([q.seed, *point.salt.encode()])
    drawn = point.cotangent or tuple(rng.standard_normal(o.shape) for o in seen.outputs)
    return Opaque(framework, q.fn, values, tuple(values), tuple(g.astype(dtype) for g in drawn), dtype)


LEAST = 5.0
"""Seconds that differences get at least: some thousand calls of a function that takes milliseconds."""


def _open(q: Question, reason: Reason, message: str) -> Verdict:
    return Verdict(Outcome.INCONCLUSIVE, q.name, q.framework or "", "", reason=reason, message=message)


# ---- before anybody reads FAIL --------------------------------------------------------------------------------------


def _along_symmetric_changes(q: Question, first: Verdict) -> Verdict | None:
    """PASS where the rule is right along them, of a function that reads one triangle; else None."""
    with contextlib.suppress(BadInput, Unsupported, TimeLimit), q.limit_time("the function"):
        box = _black_box(q, Point(q.args, cotangent=q.cotangent))
        return judge_symmetric(first.case, box, seed=q.seed) if box else None
    return None


def _intent_without_graph(q: Question, first: Verdict) -> Intent | None:
    """What a rule without a graph may be meant for: right along symmetric changes of its symmetric matrices alone, or a
    natural gradient."""
    with contextlib.suppress(BadInput, Unsupported, TimeLimit), q.limit_time("the function"):
        box = _black_box(q, Point(q.args, cotangent=q.cotangent))
        if box is None:
            return None
        estimate = drawn(box)
        if estimate is not None:
            return estimate
        even = judge_even(first.case, box, seed=q.seed)
        if even is not None and even.outcome is Outcome.PASS:
            return Intent(
                "symmetric", "the rule is right along symmetric changes of a symmetric matrix, and along no others"
            )
        return natural(box, seed=q.seed)
    return None


def _reconsidered(
    sample: Sample, q: Question, first: Verdict, traced: Traced, case: Case | None
) -> tuple[Verdict, Intent | None, list[str]]:
    """Hold a FAIL against differences of the function, and against what the rule may be meant for."""
    if first.kind is FailKind.RAISED:  # the suite's own pass did not: the call cannot be repeated as it was
        message = f"the call cannot be repeated: {first.message}"
        return replace(first, outcome=Outcome.INCONCLUSIVE, kind=None, reason=Reason.SUBJECT, message=message), None, []
    if first.kind not in CONTRADICTED:
        return first, None, []
    even = _along_symmetric_changes(q, first)
    if even is not None:
        return even, None, []
    other = _differences(q, traced, case) if case is not None else None
    if other is not None:  # the graph is no definition, and its zeros tell nothing of what is meant
        return replace(other, notes=(*first.notes, ITERATION)), None, [ITERATION]
    if first.kind is FailKind.PRECISION and (traced.branches or (case is not None and _iterates(case, q.seed))):
        gap = max((c.worst.error for c in first.comparisons if c.worst), default=math.nan)
        message = f"the forward pass iterates until it has converged, and the rule misses its derivative by {gap:.2g}"
        return replace(first, outcome=Outcome.INCONCLUSIVE, kind=None, reason=Reason.ORACLE, message=message), None, []
    intent = recognise(q, traced, case) if case is not None else _intent_without_graph(q, first)
    if intent is not None and intent.is_surrogate:
        return replace(first, outcome=Outcome.SURROGATE, kind=None, message=intent.text), intent, []
    return first, intent, []


ITERATION = (
    "differences of the function itself contradict the derivative of its graph: it is an iteration, or takes decisions "
    "between pieces as short as rounding. They are what the rule was held against"
)

ROUNDS = 8
"""Decisions that each follow from the one before, from which on they are an iteration: as many bits of a bisection."""


def _iterates(case: Case, seed: int) -> bool:
    """Is the graph a bisection by `where`: does each decision rest on the one before, the last ones within rounding?

    Such a bisection is no branch of the program. Where its last decisions turn with rounding, its result is one of
    several that are as good.
    """
    depth: list[int] = []
    for node in case.graph.nodes:
        below = max((depth[k] for k in node.args), default=0) if isinstance(node, Apply) else 0
        depth.append(below + (isinstance(node, Apply) and node.op in DECISIONS))
    return max(depth, default=0) >= ROUNDS and reference(case, seed=seed).budget.branches


DECISIONS = ("less", "less_equal", "greater", "greater_equal")

SIDES = 2
"""Random directions along which differences have to contradict the graph: a graph that is wrong in one entry is wrong along
each of them."""


def _differences(q: Question, traced: Traced, case: Case) -> Verdict | None:
    """The verdict of differences of the function at several steps; None where they do not contradict the graph.

    A graph that is an iteration has a derivative of its own: that of its last branches.
    """
    if case.mixed is not None or traced.native is not None or any(a.part for a in traced.arguments):
        return None
    subject = of_functions(traced.framework, q.device)
    box = Opaque(subject, traced.function, values_of(traced, case), case.wrt, case.cotangent, case.dtype)
    try:
        with q.limit_time("the function"):
            read = triangles_read(subject, traced.function, box.values)
            even = {n for n in read if is_symmetric(box.values[n])}
            box = box.symmetrised(even) if even else box  # by entries the derivative of a triangle is a convention
            if not _contradict(box, case, q.seed, even):
                return None
            return judge_opaque(case.name, box, traced.notes, seed=q.seed)
    except (BadInput, Unsupported, GradverifyError):
        return None


def _contradict(box: Opaque, case: Case, seed: int, even: Collection[str] = ()) -> bool:
    """Do differences contradict the derivative of the graph, along each of some directions, symmetric ones of `even`?"""
    true = reference(case, seed=seed).truth
    rng = np.random.default_rng([seed, 15])
    for _ in range(SIDES):
        u = {n: _signs(rng, box.values[n]) for n in box.wrt}
        u = {n: (d + np.swapaxes(d, -1, -2)) / 2 if n in even else d for n, d in u.items()}
        slope = box.slope(u)
        terms = [np.asarray(true.gradients[n].resolved, dtype=np.float64) * u[n] for n in box.wrt]
        graph, size = sum(float(np.sum(t)) for t in terms), sum(float(np.sum(np.abs(t))) for t in terms)
        if not abs(graph - slope.value) > slope.bound + CLOSE * FORMATS[box.dtype].roundoff * size or slope.stair:
            return False
    return True


def _signs(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A direction that changes each entry by about its size."""
    return np.asarray(rng.choice([-1.0, 1.0], np.shape(x)) * np.where(x == 0, 1.0, np.abs(x)))


def _second_order(q: Question) -> Verdict | None:
    """The verdict on the VJP of the VJP; None where there is none."""
    try:
        found = [j for j in judge_orders(q, 2, ("rev",), "quick") if j.order == 2]
    except (BadInput, Unsupported, TimeLimit):
        return None
    return found[0].verdict if found else None
