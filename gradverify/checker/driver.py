"""Judging a Python function: trace it, then ask around the given point for what one fixed call would hide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from ..core.case import Case, Mixed
from ..core.errors import BadInput, Unsupported
from ..core.graph import Graph
from ..core.limits import TimeLimit, limited
from ..core.verdict import FailKind, Reason, Status, Verdict
from ..frameworks.base import Subject
from ..frameworks.recognise import FRAMEWORKS, asking, recompiled, trace
from ..frameworks.registry import of_functions
from ..judge.decide import decide
from ..judge.draws import drawn
from ..judge.dtypes import FORMATS
from ..judge.orders import Below, by_definition, derivative
from ..judge.reference import narrowed
from ..namespaces.dtypes import is_float, rounded
from ..namespaces.layout import laid_out
from ..trace import Traced
from .complex_adapter import cotangents_of, inputs_named, labelled, natively, together
from .definitions import HELD, PARAMETERS, alike, parameters_of, surrogated, takes_parameters
from .opaque import Opaque, judge_opaque
from .orders import pulled, pushed
from .variations import MOST, TAILS, cotangents, sharing, variations

Effort = Literal["quick", "normal", "thorough"]

TRIALS: Mapping[str, int] = {"quick": 0, "normal": 1, "thorough": 4}
"""How many times each way of moving away from the given point is tried."""

TIME_LIMIT = 120.0
"""Seconds for a run of the function, where nobody says another."""

SECOND = "the second order"

SURROGATE = "the gradient was held against that of the surrogate, the value against the function's own forward"

SUBSETS = 4
"""Of so many inputs each is differentiated alone, and each left out, and of so many outputs each is asked alone; of more
inputs the first and the last one are."""


UNDIFFERENTIATED = (
    "a backward pass that is not meant to be differentiated is marked once_differentiable, or raises where it is"
)


class Flawed(BadInput):
    """The run that was traced is evidence enough for a FAIL: there is nothing to compare."""

    def __init__(self, traced: Traced, kind: FailKind, message: str) -> None:
        super().__init__(message)
        self.traced, self.kind, self.message = traced, kind, message


class NoArray(BadInput):
    """The function ran, and no floating-point array came of it."""


@dataclass(frozen=True, eq=False)
class Question:
    """A function, its arguments, and what is asked of it.

    stops   is it meant that what the function detaches passes no gradient? Then the definition holds that fixed where
            it matters; else a gradient that is right with that alone fails. What the framework documents to pass none
            is held fixed anyway
    surrogate  the function whose gradient is meant, where it is not that of the forward pass
    second  is the second order asked as well, where the backward pass is somebody's own?
    derived  it is the derivative of somebody's function, not a function that somebody wrote
    below   with `derived`: the function that it is the derivative of, as a case
    framework  whose function it is, where it is said outright
    dtype   what the arguments were converted to, where that was asked for: no other one is tried then
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrt: tuple[str, ...] | None = None
    cotangent: tuple[np.ndarray, ...] | None = None
    reference: Callable[..., Any] | None = None
    surrogate: Callable[..., Any] | None = None
    seed: int = 0
    device: str | None = None
    time_limit: float | None = TIME_LIMIT
    stops: bool = False
    second: bool = False
    derived: bool = False
    below: Below | None = None
    framework: str | None = None
    dtype: str | None = None

    @property
    def name(self) -> str:
        return str(getattr(self.fn, "__name__", type(self.fn).__name__))

    @property
    def given(self) -> Point:
        return Point(self.args, cotangent=self.cotangent)


@dataclass(frozen=True, eq=False)
class Point:
    """Where a function is asked: its arguments, what the point is called, and the cotangent (None: drawn).

    most    array entries over all nodes of the graph that its judgement may take; None: whatever it takes
    """

    args: tuple[Any, ...]
    name: str = "as given"
    cotangent: tuple[np.ndarray, ...] | None = None
    most: int | None = None


def answer(q: Question, effort: Effort) -> Verdict:
    """The verdict at the given point, or the first FAIL found around it.

    Raises BadInput for what cannot be judged because of the call itself.
    """
    with asking() as asks:
        first, traced, case = _at(q, q.given)
        compiled = asks() or effort == "thorough"
    tried, skipped = [q.given.name], []
    if not first.wrong and first.reason is not Reason.UNSUPPORTED:
        for name, judged, legal, after in _asked_next(q, first, traced, case, TRIALS[effort], compiled):
            verdict, why_not = _tried(judged, legal or after in tried)
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


def _tried(judged: Judged, legal: bool) -> tuple[Verdict | None, str]:
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
        yield Asked(name, partial(_decided, q, traced, other), legal=True)
    if case:
        held = traced.framework == "numpy" or (traced.custom and traced.framework == "torch")
        ways = ("ways", "aliasing") if held else ("ways",)  # what a caller keeps may be written over
        yield Asked("other ways of asking", partial(_decided, q, traced, replace(case, invariants=ways)))
    groups = traced.leaves
    if case and len(groups) > 1:
        for k, group in enumerate(groups[:SUBSETS]):
            # The other outputs' cotangents are undefined then, not zero.
            judged = partial(_decided, q, _only(traced, k, group), _single_output(case, k, group))
            yield Asked(f"output {k} alone", judged, legal=True)
    if q.second and traced.custom and case and q.surrogate is None and _entries(traced) <= MOST:
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
        judged = partial(_verdict_at, q, Point(args, name, most=max(MOST, 2 * _entries(traced))))
        if name in ("float32", "0-d arguments") and traced.framework in ("numpy", "cupy"):
            judged = partial(_if_alike, judged)
        # What takes any number of rows, and whose forward pass takes none, is to have a backward pass that does: no value
        # and no size can be at fault. What the framework's own refuse, it documents.
        after = "a larger batch" if traced.custom and name == "an empty batch" else ""
        yield Asked(name, partial(_if_finite, judged) if name == TAILS else judged, after=after)
    if case:  # other shapes and dtypes in between may have left something behind
        yield Asked("as given, once more", partial(_decided, q, traced, case), legal=True)


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
    case, traced = case_of(q)
    return _raised(q, traced, case, stops)


def raised_forward(q: Question, *, stops: bool) -> Question:
    """The question one order up by forward mode: the JVP, of the arguments and of tangents. As `raised` otherwise."""
    case, traced = case_of(q)
    return _derived(q, traced, case, *pushed(traced, case, q.name, q.seed), stops=stops, forward=True)


def _raised(q: Question, traced: Traced, case: Case, stops: bool) -> Question:
    return _derived(q, traced, case, *pulled(traced, case, q.name), stops=stops)


def _derived(
    q: Question, traced: Traced, case: Case, fn: Callable[..., Any], args: tuple[Any, ...], stops: bool,
    forward: bool = False,
) -> Question:  # fmt: skip
    below = None
    if not traced.detaches and q.surrogate is None:  # else another function than the whole one may be meant
        below = Below(case, tuple(a.name for a in traced.arguments if a.role != "captured"), forward)
    return Question(
        fn, args, seed=q.seed, device=q.device, time_limit=q.time_limit, stops=stops, derived=True, below=below,
        framework=traced.framework,
    )  # fmt: skip


def _second(q: Question, first: Verdict, traced: Traced, case: Case) -> Verdict:
    return answer(_raised(q, traced, case, stops=bool(first.facts.get("held"))), "quick")


def _verdict_at(q: Question, point: Point) -> Verdict:
    return _at(q, point)[0]


def case_of(q: Question, *, held: bool = False) -> tuple[Case, Traced]:
    """The given point as a case, with its trace; `held` holds detached values fixed. Raises BadInput and Unsupported."""
    return _asked(q, q.given, held)


def _at(q: Question, point: Point) -> tuple[Verdict, Traced, Case | None]:
    """One point: trace, judge. The case is None where there is none: the function cannot be traced, or its run is evidence
    enough."""

    def judged(held: bool) -> tuple[Verdict, Traced, Case | None]:
        try:
            return _once(q, point, held)
        except Flawed as e:
            return _flawed(q, point, e), e.traced, None

    return settled(q, judged)


def _flawed(q: Question, point: Point, e: Flawed) -> Verdict:
    own = e.traced
    subject = _subject(own, q.device)
    graph = own.graph.text() if own.graph else ""
    return Verdict(
        Status.FAIL, _title(q, point), subject.name, own.dtype, e.kind, message=e.message, graph=graph, notes=own.notes
    )


Found = TypeVar("Found", bound=tuple[Any, ...])


def settled(q: Question, judged: Callable[[bool], Found]) -> Found:
    """(verdict, trace, ...) of `judged(held)`, where `held` says whether what the function detaches is held fixed.

    It is not at first: what is right when it is followed through passes, detached or not (the maximum in a softmax). What
    is wrong then and right with it held fixed passes where that was meant (the verdict's fact `held` says so), and fails
    as DETACHED where nobody said that it was."""
    found = judged(False)
    verdict, traced = found[:2]
    if verdict.status is not Status.FAIL or not traced.detaches or q.surrogate is not None:
        return found
    if traced.graph is None:  # held against differences, which hold nothing fixed
        return (_undeclarable(verdict) if q.stops else verdict, *found[1:])  # type: ignore[return-value]
    fixed = judged(True)
    right = fixed[0].status is not Status.INCONCLUSIVE and not fixed[0].wrong
    if right and q.stops:
        return (replace(fixed[0], facts={**fixed[0].facts, "held": True}), *fixed[1:])  # type: ignore[return-value]
    return (_detached(q, verdict, traced), *found[1:]) if right else found  # type: ignore[return-value]


def _undeclarable(verdict: Verdict) -> Verdict:
    message = f"what the function detaches cannot be held fixed, since it cannot be traced; {verdict.message}"
    return replace(verdict, status=Status.INCONCLUSIVE, kind=None, reason=Reason.UNSUPPORTED, message=message)


def _detached(q: Question, verdict: Verdict, traced: Traced) -> Verdict:
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


def _asked(q: Question, point: Point, held: bool) -> tuple[Case, Traced]:
    options: dict[str, Any] = {"stop_detached": True, "confirm": False} if held else {}
    try:
        own = _traced(q.fn, point.args, q, options, strict=q.reference is None)
    except Unsupported:
        if q.below is None or held:
            raise
        own = _traced(q.fn, point.args, q, options, strict=False)
        return _case(q, own, _differentiated(q.below, own, q.seed), point, own.wrt), own
    if point.most is not None and _entries(own) > point.most:
        raise Unsupported(f"not asked: its graph has {_entries(own):,} array entries")
    wrt = own.wrt if q.wrt is None else inputs_named(own, q.wrt)
    definition = own if q.reference is None else _other(q, q.reference, own, point, options, "the reference")
    if q.surrogate is not None:
        surrogate = _other(q, q.surrogate, own, point, options, "the surrogate")
        definition = surrogated(definition, surrogate, wrt)
        own = replace(own, notes=(*own.notes, SURROGATE))
    case = _case(q, own, definition, point, wrt)
    if q.below is not None and not held:
        case = by_definition(q.below, _free(own), case, seed=q.seed)
    return case, own


def _differentiated(below: Below, own: Traced, seed: int) -> Traced:
    """The derivative of the definition below, for one that cannot be traced itself."""
    shapes = [o.shape for o in own.outputs if o.position is not None]
    found = derivative(below, _free(own), own.values, shapes, seed=seed)
    if found is None:
        raise Unsupported("; ".join(own.opaque))
    return replace(own, graph=found[0], values=found[1])


def _free(own: Traced) -> list[str]:
    return [a.name for a in own.arguments if a.role != "captured"]


def _other(
    q: Question, fn: Callable[..., Any], own: Traced, point: Point, options: Mapping[str, Any], what: str
) -> Traced:
    """Another definition, over the inputs of the judged function."""
    parameters = {PARAMETERS: parameters_of(own)} if takes_parameters(fn) else {}
    asked = replace(q, kwargs={**q.kwargs, **parameters}, framework=own.framework)
    return alike(own, _traced(fn, point.args, asked, options, strict=True), what)


def _once(q: Question, point: Point, held: bool) -> tuple[Verdict, Traced, Case | None]:
    try:
        case, own = _asked(q, point, held)
    except Unsupported as e:
        opaque = None if q.reference or q.surrogate else _without_definition(q, point, str(e))
        if opaque is None:
            raise
        return (*opaque, None)
    return _decided(q, own, case), own, case


def _decided(q: Question, own: Traced, case: Case) -> Verdict:
    subject, function = natively(_subject(own, q.device), own)
    with _limited(q, "the function, or its backward pass,"):
        verdict = labelled(decide(case, subject, function=function, custom=own.custom, seed=q.seed), own)
    if own.converges and verdict.kind is FailKind.PRECISION:
        # A series, or a solver, is its own definition to its last step, and its rule one of what it converges to.
        message = f"the definition stops once it has converged, and is no more precise than that: {verdict.message}"
        verdict = replace(verdict, status=Status.INCONCLUSIVE, kind=None, reason=Reason.ORACLE, message=message)
    notes = (*verdict.notes, *own.notes)
    return replace(verdict, notes=tuple(dict.fromkeys(notes)))


@contextmanager
def _limited(q: Question, what: str) -> Iterator[None]:
    block = None
    try:
        with limited(q.time_limit) as block:
            yield
    except TimeLimit as e:
        if e.block is not block:
            raise  # of whoever called us
        raise BadInput(f"{what} hangs: {e}") from None


def _without_definition(q: Question, point: Point, why: str) -> tuple[Verdict, Traced] | None:
    """The verdict on a function that cannot be traced, from differences of it; None where not even those can be had."""
    own = _traced(q.fn, point.args, q, {}, strict=False)
    shapes = [o.shape for o in own.outputs if o.position is not None]
    subject = _subject(own, q.device)
    several = {a.dtype for a in own.arguments if a.kind == "float"} | {
        o.dtype for o in own.outputs if o.position is not None
    }
    if own.graph is not None or not shapes or own.dtype not in subject.dtypes or len(several) > 1:
        return None
    wrt = own.wrt if q.wrt is None else inputs_named(own, q.wrt)
    point = replace(point, cotangent=cotangents_of(own, point.cotangent))
    box = Opaque(
        subject, own.function, own.values, wrt, _weights(q, point, shapes, (own.dtype,) * len(shapes)), own.dtype
    )
    with _limited(q, "the function, or its backward pass,"):
        return judge_opaque(_title(q, point), box, (f"it cannot be traced: {why}",), seed=q.seed), own


def _title(q: Question, point: Point) -> str:
    return f"{q.name}, {point.name}"


def _traced(
    fn: Callable[..., Any], args: tuple[Any, ...], q: Question, options: Mapping[str, Any], strict: bool
) -> Traced:
    try:
        with _limited(q, _called(fn)):
            known = {"seed": q.seed, "strict": strict, "framework": q.framework}
            found = trace(fn, *args, options={**known, **options}, **q.kwargs)
    except (Unsupported, BadInput):
        raise
    except Exception as e:
        text = str(e).strip().splitlines()
        raise BadInput(f"{_called(fn)} raised {type(e).__name__}{': ' + text[0] if text else ''}") from e
    if not any(a.kind == "float" and a.role != "captured" for a in found.arguments):
        raise BadInput(f"{_called(fn)} has no floating-point argument, so there is nothing to differentiate")
    if not any(o.position is not None for o in found.outputs):
        raise NoArray(f"{_called(fn)} returns no floating-point array")
    if all(o.detached for o in found.outputs if o.position is not None and o.depends) and any(
        o.depends for o in found.outputs
    ):
        if not q.derived:
            raise BadInput(f"{_called(fn)} returns a detached result: no gradient can flow")
        where = f" (detached at {', '.join(found.cuts)})" if found.cuts else ""
        message = (
            f"the gradient comes without a graph{where}, though it depends on the arguments or the cotangent: its own "
            f"derivatives are lost, in silence where it is one term of several; {UNDIFFERENTIATED}"
        )
        raise Flawed(found, FailKind.DETACHED, message)
    return found


def _called(fn: Callable[..., Any]) -> str:
    return f"the function {getattr(fn, '__qualname__', None) or type(fn).__name__}"


def _held(value: Any, dtype: str) -> np.ndarray:
    """The array in the case's own dtype: a trace holds bfloat16 as float32."""
    return rounded(value, dtype) if is_float(value) else np.asarray(value)


def _case(q: Question, own: Traced, definition: Traced, point: Point, wrt: tuple[str, ...]) -> Case:
    if definition.graph is None:
        raise Unsupported("; ".join(definition.opaque))
    for n, inputs in together(wrt, own):
        if set(inputs) & set(own.behind):
            message = f"{_called(q.fn)} changes its argument {n}, and {FRAMEWORKS[own.framework]} does not know of it"
            raise Flawed(own, FailKind.LAW, message)
        if set(inputs) & set(own.written):
            raise BadInput(f"{_called(q.fn)} writes to its argument {n}, which is differentiated: give it a copy")
    graph = definition.graph
    assert graph is not None
    shapes = [graph.nodes[o].shape for o in graph.outputs]
    point = replace(point, cotangent=cotangents_of(own, point.cotangent))
    dtype, mixed = _dtypes(own)
    of = mixed.inputs if mixed else {}
    values = {n: _held(own.values[n] if n in own.values else definition.values[n], of.get(_own_name(n), dtype))
              for n in graph.inputs}  # fmt: skip
    for a in own.arguments:
        if a.strides is not None and a.name in values:
            values[a.name] = laid_out(values[a.name], a.strides)
    return Case(
        name=_title(q, point),
        graph=graph,
        values=values,
        cotangent=_weights(q, point, shapes, mixed.outputs if mixed else (dtype,) * len(shapes)),
        dtype=dtype,
        wrt=wrt,
        mixed=mixed,
        parts=tuple((g[0], g[1]) for g in own.leaves if len(g) == 2),
    )


def _dtypes(own: Traced) -> tuple[str, Mixed | None]:
    """The case's dtype; and, where the function has several, all of them. Then the case's is the narrowest that a value
    passes through: rounding in the others is smaller, so that its budget excuses all that is excusable, and more than a
    budget for each operation in its own dtype would.

    Raises Unsupported for float16 and bfloat16 in one function, of which neither has the smaller roundings and the
    smaller range."""
    inputs = {a.name: a.dtype for a in own.arguments if a.kind == "float" and a.role != "captured"}
    outputs = tuple(o.dtype for o in own.outputs if o.position is not None)
    formats = {*inputs.values(), *outputs, *own.formats}
    if len(formats) == 1:
        return own.dtype, None
    unknown = formats - FORMATS.keys()
    if unknown or {"float16", "bfloat16"} <= formats:
        raise Unsupported(f"values of {', '.join(sorted(unknown or formats))} in one function")
    finest_last = sorted(formats, key=lambda d: -FORMATS[d].roundoff)
    held = {a.name: a.dtype for a in own.arguments if a.kind == "float" and a.role == "captured"}
    return finest_last[0], Mixed({**held, **inputs}, outputs, finest_last[-1])


def _own_name(name: str) -> str:
    return name.removesuffix(HELD)


def _weights(
    q: Question, point: Point, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """The cotangent: the given one, or else a random one."""
    given = point.cotangent
    if given is None:
        rng = np.random.default_rng([q.seed, *point.name.encode()])
        given = tuple(drawn(rng, s) for s in shapes)
    if [g.shape for g in given] != list(shapes):
        raise BadInput(f"cotangent: shapes {[g.shape for g in given]} do not match those of the outputs, {shapes}")
    return tuple(rounded(g, dtype) for g, dtype in zip(given, dtypes, strict=True))


def _subject(traced: Traced, device: str | None) -> Subject:
    return of_functions(traced.framework, device)


def _around(q: Question, traced: Traced, times: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Other arguments of the same form: other values, a batch of another size, a lower precision."""
    for name, args in variations(traced.framework, q.args, q.seed, times, _entries(traced), traced.branches):
        # Keyword arguments stay as they are, and would make it mixed precision.
        if name != "float32" or (q.dtype is None and not _holds_arrays(q.kwargs)):
            yield name, args


def _holds_arrays(kwargs: Mapping[str, Any]) -> bool:
    return any(hasattr(v, "dtype") for v in kwargs.values())


def _entries(traced: Traced) -> int:
    """The size of the graph, in array entries."""
    return sum(math.prod(n.shape) for n in traced.graph.nodes) if traced.graph else 0
