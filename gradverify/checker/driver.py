"""Judging a Python function: at the given point, then around it, for what one fixed call would hide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ..core.case import Case
from ..core.errors import BadInput, Unsupported
from ..core.graph import Graph
from ..core.verdict import FailKind, Reason, Status, Verdict
from ..frameworks.base import Subject
from ..frameworks.recognise import asking, recompiled
from ..frameworks.registry import of_functions
from ..judge.decide import decide
from ..judge.reference import narrowed
from ..trace import Traced
from .complex_adapter import labelled, natively, together
from .opaque import Opaque, judge_opaque
from .orders import pulled, pushed
from .question import TRIALS, Effort, Point, Question
from .trace_case import (
    UNDIFFERENTIATED,
    Flawed,
    cotangent_at,
    count_entries,
    trace_case,
    trace_without_graph,
    wanted_inputs,
)
from .variations import MOST, TAILS, cotangents, sharing, variations

PASSES = "the function, or its backward pass,"

SECOND = "the second order"

SUBSETS = 4
"""Of so many inputs each is differentiated alone, and each left out, and of so many outputs each is asked alone; of more
inputs the first and the last one are."""


def judge_question(q: Question, effort: Effort) -> Verdict:
    """The verdict at the given point, or the first FAIL found around it.

    Raises BadInput for what cannot be judged because of the call itself.
    """
    with asking() as asks:
        first, traced, case = judge_point(q, q.given)
        compiled = asks() or effort == "thorough"
    tried, skipped = [q.given.name], []
    if not first.wrong and first.reason is not Reason.UNSUPPORTED:
        for name, judged, legal, after in _asked_next(q, first, traced, case, TRIALS[effort], compiled):
            verdict, why_not = _judge_probe(judged, legal or after in tried)
            if verdict is None or verdict.status is Status.INCONCLUSIVE:
                skipped.append(f"{name}: {why_not}")
                continue
            tried.append(name)
            if verdict.status is Status.FAIL:
                facts = {**verdict.facts, "tried": tried}
                verdict = replace(verdict, message=f"{verdict.message} (found with {name})", facts=facts)
            if verdict.wrong:
                return verdict
            if verdict.known and not first.known:  # true, but no news: that may come yet
                first = verdict
    notes = (*first.notes, *(f"{s} (it was not judged)" for s in skipped if s.startswith(SECOND)))
    return replace(first, notes=notes, facts={**first.facts, "tried": tried, "skipped": skipped})


def _judge_probe(judged: Judged, legal: bool) -> tuple[Verdict | None, str]:
    """The verdict, and why there is none, or none that decides: a function that refuses a point which we chose, not the
    caller, in either pass, is in its right, unless what it is asked is `legal` at any point."""
    try:
        verdict = judged()
    except (BadInput, Unsupported) as e:
        return None, str(e)
    if verdict.kind is FailKind.RAISED and not legal:
        return None, verdict.message
    return verdict, verdict.message or str(verdict.reason)


Judged = Callable[[], Verdict]


class Asked(NamedTuple):
    """What is asked besides the given point; `legal` where every function must have an answer, `after` the name of what
    it must have had an answer to, to owe one here."""

    name: str
    judged: Judged
    legal: bool = False
    after: str = ""


def _asked_next(
    q: Question, first: Verdict, traced: Traced, case: Case | None, times: int, compiled: bool
) -> Iterator[Asked]:
    """What is asked once the given point has not failed: first the same point otherwise, then other points."""
    if not times:
        return
    for name, other in _same_point(case, traced, q.seed) if case else ():
        yield Asked(name, partial(judge_case, q, traced, other), legal=True)
    if case:
        held = traced.framework == "numpy" or (traced.custom and traced.framework == "torch")
        ways = ("ways", "aliasing") if held else ("ways",)  # what a caller keeps may be written over
        yield Asked("other ways of asking", partial(judge_case, q, traced, replace(case, invariants=ways)))
    groups = traced.leaves
    if case and len(groups) > 1:
        for k, group in enumerate(groups[:SUBSETS]):
            # The other outputs' cotangents are undefined then, not zero.
            judged = partial(judge_case, q, _only(traced, k, group), _single_output(case, k, group))
            yield Asked(f"output {k} alone", judged, legal=True)
    if q.second and traced.custom and case and q.surrogate is None and count_entries(traced) <= MOST:
        yield Asked(SECOND, partial(_second, q, first, traced, case))
    alone = all(a.role != "parameter" for a in traced.arguments)  # a module would lose them with its name
    shared = sharing(traced.framework, q.fn, q.args) if alone and q.reference is None and q.surrogate is None else None
    if shared is not None:
        yield Asked("one tensor as two arguments", partial(_verdict_at, replace(q, fn=shared), q.given))
    again = recompiled(traced.framework, q.fn) if compiled and not q.derived and q.surrogate is None else None
    if again is not None:
        yield Asked("torch.compile", partial(_verdict_at, replace(q, fn=again), q.given))
    for name, args in _around(q, traced, times):
        # A batch may make the graph larger by its square, as attention does.
        judged = partial(_verdict_at, q, Point(args, name, salt=name, most=max(MOST, 2 * count_entries(traced))))
        if name in ("float32", "0-d arguments") and traced.framework in ("numpy", "cupy"):
            judged = partial(_if_alike, judged)
        # What takes any number of rows, and whose forward pass takes none, is to have a backward pass that does: no value
        # and no size can be at fault. What the framework's own refuse, it documents.
        after = "a larger batch" if traced.custom and name == "an empty batch" else ""
        yield Asked(name, partial(_if_finite, judged) if name == TAILS else judged, after=after)
    if case:  # other shapes and dtypes in between may have left something behind
        yield Asked("as given, once more", partial(judge_case, q, traced, case), legal=True)


def _if_alike(judged: Judged) -> Verdict:
    """Shapes and dtypes do not count: nobody promised that a backward pass by hand is for more than what was given."""
    verdict = judged()
    if verdict.status is not Status.FAIL or verdict.kind is not FailKind.STRUCTURE:
        return verdict
    return replace(verdict, status=Status.INCONCLUSIVE, kind=None, reason=Reason.UNSUPPORTED)


def _if_finite(judged: Judged) -> Verdict:
    """Only what is infinite or NaN counts: far out, the formulas of frameworks lose digits of their own."""
    verdict = judged()
    if verdict.status is not Status.FAIL or verdict.kind is FailKind.NON_FINITE:
        return verdict
    return replace(verdict, status=Status.INCONCLUSIVE, kind=None, reason=Reason.CONDITION)


def _same_point(case: Case, traced: Traced, seed: int) -> Iterator[tuple[str, Case]]:
    for name, given in cotangents(case.cotangent):
        yield name, replace(case, name=f"{case.name}, {name}", cotangent=given)
    groups = dict(together(case.wrt, traced))
    for names in _subsets(list(groups)):
        name = f"only {' and '.join(names)} {'require' if len(names) > 1 else 'requires'} grad"
        fewer = narrowed(case, tuple(i for n in names for i in groups[n]), seed=seed)
        yield name, replace(fewer, name=f"{case.name}, {name}")


def _subsets(names: list[str]) -> list[tuple[str, ...]]:
    """Every one of up to SUBSETS inputs alone, and all but one; of more inputs the first and the last one."""
    if len(names) < 2:
        return []
    turns = names if len(names) <= SUBSETS else [names[0], names[-1]]
    return list(dict.fromkeys([(n,) for n in turns] + [tuple(m for m in names if m != n) for n in turns]))


def _single_output(case: Case, k: int, group: tuple[int, ...]) -> Case:
    graph = Graph(case.graph.nodes, tuple(case.graph.outputs[i] for i in group))
    cotangent = tuple(case.cotangent[i] for i in group)
    mixed = case.mixed and replace(case.mixed, outputs=tuple(case.mixed.outputs[i] for i in group))
    parts = ((0, 1),) if len(group) == 2 else ()
    return replace(
        case, name=f"{case.name}, output {k} alone", graph=graph, cotangent=cotangent, mixed=mixed, parts=parts
    )


def _only(traced: Traced, k: int, group: tuple[int, ...]) -> Traced:
    """The function with one of its outputs: the graph's outputs `group`, two for a complex one."""
    function, native = traced.function, traced.native
    if hasattr(function, "only"):  # one with a VJP of its own, which asks for all cotangents
        return replace(traced, function=function.only(k))
    if native is None:
        return replace(traced, function=lambda *arrays: (function(*arrays)[k],))
    kept = [o for o in traced.outputs if o.position in group]
    return replace(
        traced,
        outputs=tuple(replace(o, position=i) for i, o in enumerate(kept)),
        function=lambda *arrays: tuple(function(*arrays)[i] for i in group),
        native=lambda *arrays: (native(*arrays)[k],),
    )


def raised(q: Question, *, stops: bool) -> Question:
    """The question one order up, at the same point. `stops` as in Question: where the order below stops no gradient, its
    backward pass has no business to. Raises BadInput and Unsupported."""
    case, traced = trace_case(q)
    return _raised(q, traced, case, stops)


def raised_forward(q: Question, *, stops: bool) -> Question:
    """The question one order up by forward mode: the JVP, of the arguments and of tangents. As `raised` otherwise."""
    case, traced = trace_case(q)
    return _derived(q, traced, *pushed(traced, case, q.name, q.seed), stops)


def _raised(q: Question, traced: Traced, case: Case, stops: bool) -> Question:
    return _derived(q, traced, *pulled(traced, case, q.name), stops)


def _derived(
    q: Question, traced: Traced, fn: Callable[..., Any], args: tuple[Any, ...], stop_gradients: bool
) -> Question:
    return Question(
        fn, args, seed=q.seed, device=q.device, time_limit=q.time_limit, stop_gradients=stop_gradients, derived=True,
        framework=traced.framework,
    )  # fmt: skip


def _second(q: Question, first: Verdict, traced: Traced, case: Case) -> Verdict:
    return judge_question(_raised(q, traced, case, stops=bool(first.facts.get("held"))), "quick")


def _verdict_at(q: Question, point: Point) -> Verdict:
    return judge_point(q, point)[0]


def _around(q: Question, traced: Traced, times: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Other arguments of the same form: other values, a batch of another size, a lower precision."""
    for name, args in variations(traced.framework, q.args, q.seed, times, count_entries(traced), traced.branches):
        # Keyword arguments stay as they are, and would make it mixed precision.
        if name != "float32" or (q.dtype is None and not _holds_arrays(q.kwargs)):
            yield name, args


def _holds_arrays(kwargs: Mapping[str, Any]) -> bool:
    return any(hasattr(v, "dtype") for v in kwargs.values())


def judge_point(q: Question, point: Point) -> tuple[Verdict, Traced, Case | None]:
    """The verdict at one point, the trace, and the case.

    The case is None where the function cannot be traced, or where its run is evidence enough.
    """

    def judge(fix_detached: bool) -> tuple[Verdict, Traced, Case | None]:
        try:
            return _judge_once(q, point, fix_detached)
        except Flawed as e:
            return _fail_flawed(q, point, e), e.traced, None

    return judge_detached_both_ways(q, judge)


def _judge_once(q: Question, point: Point, fix_detached: bool) -> tuple[Verdict, Traced, Case | None]:
    try:
        case, own = trace_case(q, point, fix_detached=fix_detached)
    except Unsupported as e:
        opaque = None if q.reference or q.surrogate else _judge_without_definition(q, point, str(e))
        if opaque is None:
            raise
        return (*opaque, None)
    return judge_case(q, own, case), own, case


def judge_case(q: Question, own: Traced, case: Case) -> Verdict:
    """The verdict on a case of the traced function."""
    subject, function = natively(_subject_of(own, q.device), own)
    with q.limited(PASSES):
        verdict = labelled(decide(case, subject, function=function, custom=own.custom, seed=q.seed), own)
    if own.converges and verdict.kind is FailKind.PRECISION:
        # A series, or a solver, is its own definition to its last step, and its rule one of what it converges to.
        message = f"the definition stops once it has converged, and is no more precise than that: {verdict.message}"
        verdict = replace(verdict, status=Status.INCONCLUSIVE, kind=None, reason=Reason.ORACLE, message=message)
    notes = (*verdict.notes, *own.notes)
    return replace(verdict, notes=tuple(dict.fromkeys(notes)))


def _judge_without_definition(q: Question, point: Point, why: str) -> tuple[Verdict, Traced] | None:
    """The verdict on an untraceable function, from its differences; None where not even those can be had."""
    own = trace_without_graph(q, point)
    outputs = [o for o in own.outputs if o.position is not None]
    subject = _subject_of(own, q.device)
    dtypes = {a.dtype for a in own.arguments if a.kind == "float"} | {o.dtype for o in outputs}
    if own.graph is not None or not outputs or own.dtype not in subject.dtypes or len(dtypes) > 1:
        return None
    wrt = wanted_inputs(q, own)
    cotangent = cotangent_at(q, own, point, [o.shape for o in outputs], (own.dtype,) * len(outputs))
    box = Opaque(subject, own.function, own.values, wrt, cotangent, own.dtype)
    with q.limited(PASSES):
        return judge_opaque(q.title(point), box, (f"it cannot be traced: {why}",), seed=q.seed), own


def _subject_of(traced: Traced, device: str | None) -> Subject:
    return of_functions(traced.framework, device)


def _fail_flawed(q: Question, point: Point, e: Flawed) -> Verdict:
    own = e.traced
    graph = own.graph.text() if own.graph else ""
    return Verdict(
        Status.FAIL, q.title(point), _subject_of(own, q.device).name, own.dtype, e.kind, message=e.message, graph=graph,
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
    if verdict.status is not Status.FAIL or not traced.detaches or q.surrogate is not None:
        return followed
    if traced.graph is None:  # compared with differences, which hold nothing fixed
        return (_withdraw(verdict) if q.stop_gradients else verdict, *followed[1:])  # type: ignore[return-value]
    fixed = judge(True)
    right = fixed[0].status is not Status.INCONCLUSIVE and not fixed[0].wrong
    if right and q.stop_gradients:
        return (replace(fixed[0], facts={**fixed[0].facts, "held": True}), *fixed[1:])  # type: ignore[return-value]
    return (_fail_detached(q, verdict, traced), *followed[1:]) if right else followed  # type: ignore[return-value]


def _withdraw(verdict: Verdict) -> Verdict:
    message = f"what the function detaches cannot be held fixed, since it cannot be traced; {verdict.message}"
    return replace(verdict, status=Status.INCONCLUSIVE, kind=None, reason=Reason.UNSUPPORTED, message=message)


def _fail_detached(q: Question, verdict: Verdict, traced: Traced) -> Verdict:
    where = f" at {', '.join(traced.cuts)}" if traced.cuts else ""
    if q.derived:
        meant = UNDIFFERENTIATED
    else:
        meant = "where it is meant, stop_gradients=True says so, or surrogate_of= whose gradient it is"
    message = (
        f"the gradient is right only if what is detached{where} is held fixed; as the gradient of the whole function, "
        f"{verdict.message} ({meant})"
    )
    facts = {**verdict.facts, "detached": list(traced.cuts)}
    return replace(verdict, kind=FailKind.DETACHED, message=message, culprit=None, facts=facts)
