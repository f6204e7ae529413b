"""From a question and a point to a case: trace the function and its definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.case import Case, Mixed
from ..core.errors import JUDGED, BadInput, Unsupported, clipped
from ..core.verdict import FailKind
from ..frameworks.recognise import title_of, trace_call
from ..judge.draws import draw
from ..judge.orders import Below, by_definition, derivative
from ..namespaces.dtypes import FORMATS, is_float, rounded
from ..namespaces.layout import laid_out
from ..trace import Traced
from .complex_adapter import cotangents_of, group_parts, inputs_named
from .definitions import HELD, PARAMETERS, alike, parameters_of, takes_parameters, with_surrogate
from .question import Point, Question, describe_function
from .reproduce import source

SURROGATE = "the gradient was held against that of the surrogate, the value against the function's own forward"

UNDIFFERENTIATED = (
    "a backward pass that is not meant to be differentiated is marked once_differentiable, or raises where it is; order=1 "
    "does not ask"
)


class Flawed(BadInput):
    """The run that was traced is evidence enough for a FAIL: there is nothing to compare."""

    def __init__(self, traced: Traced, kind: FailKind, message: str) -> None:
        super().__init__(message)
        self.traced, self.kind, self.message = traced, kind, message


class NoArray(BadInput):
    """The function ran, and returned no floating-point array."""


def trace_case(q: Question, point: Point | None = None, *, fix_detached: bool = False) -> tuple[Case, Traced]:
    """The case at a point (None: the given one), and the trace of the function there.

    `fix_detached` holds fixed what the function detaches. Raises BadInput and Unsupported.
    """
    point = point or q.given
    try:
        whole = trace_at(q, q.fn, point, fix_detached, strict=q.reference is None)
    except Unsupported:
        if q.below is None or fix_detached:
            raise
        own = trace_without_graph(q, point)
        return build_case(q, own, _differentiate(q.below, own, q.seed), point, own.wrt), own
    kept = _askable(q, whole)
    own = _of_outputs(whole, kept)
    if point.most is not None and count_entries(own) > point.most:
        raise Unsupported(f"not asked: its graph has {count_entries(own):,} array entries")
    wrt = wanted_inputs(q, own)
    definition = own
    if q.reference is not None:
        definition = _of_outputs(_trace_definition(q, q.reference, whole, point, fix_detached, "the reference"), kept)
    if q.surrogate is not None:
        surrogate = _of_outputs(_trace_definition(q, q.surrogate, whole, point, fix_detached, "the surrogate"), kept)
        definition = with_surrogate(definition, surrogate, wrt)
        own = replace(own, notes=(*own.notes, SURROGATE))
    case = build_case(q, own, definition, point, wrt)
    if q.below is not None and not fix_detached:
        case = by_definition(q.below, arguments_of(own), case, seed=q.seed)
    return case, own


def _differentiate(below: Below, own: Traced, seed: int) -> Traced:
    """The derivative of the definition below, for one that cannot be traced itself."""
    shapes = [o.shape for o in own.outputs if o.position is not None]
    found = derivative(below, arguments_of(own), own.values, shapes, seed=seed)
    if found is None:
        raise Unsupported("; ".join(own.opaque))
    return replace(own, graph=found[0], values=found[1])


def arguments_of(own: Traced) -> list[str]:
    return [a.name for a in own.arguments if a.role != "captured"]


def trace_without_graph(q: Question, point: Point) -> Traced:
    """The trace of the function at a point; its graph is None where it cannot be traced. Raises BadInput."""
    whole = trace_at(q, q.fn, point, strict=False)
    return _of_outputs(whole, _askable(q, whole))


def _askable(q: Question, traced: Traced) -> tuple[int, ...]:
    """The floating-point outputs whose gradient can be asked for, by number: of a derivative all of them.

    An output without a graph beside others (a mean that is saved, an entropy for a log) takes no cotangent from anybody. Of
    a derivative it is a lost term.
    """
    groups = traced.leaves
    if q.derived:
        return tuple(range(len(groups)))
    lost = {o.position for o in traced.outputs if o.detached}
    return tuple(k for k, group in enumerate(groups) if not lost & set(group)) or tuple(range(len(groups)))


def _of_outputs(traced: Traced, kept: Sequence[int]) -> Traced:
    """The function with some of its outputs, by number; the notes say which are not judged."""
    groups = traced.leaves
    if len(kept) == len(groups) or any(k >= len(groups) for k in kept):
        return traced
    positions = [p for k in kept for p in groups[k]]
    new = {p: i for i, p in enumerate(positions)}
    left = [o for o in traced.outputs if o.position is not None and o.position not in new]
    names = ", ".join(dict.fromkeys(o.path or "0" for o in left))
    note = f"no gradient can be asked of the outputs {names}, which do not require grad: they are not judged"
    function, native = traced.function, traced.native
    return replace(
        traced,
        graph=traced.graph and replace(traced.graph, outputs=tuple(traced.graph.outputs[p] for p in positions)),
        outputs=tuple(o if o.position is None else replace(o, position=new.get(o.position)) for o in traced.outputs),
        function=lambda *arrays: _some(function(*arrays), positions),
        native=native and (lambda *arrays: _some(native(*arrays), kept)),
        notes=(*traced.notes, note),
    )


def _some(results: tuple[Any, ...], places: Sequence[int]) -> tuple[Any, ...]:
    return tuple(results[k] for k in places)


def wanted_inputs(q: Question, own: Traced) -> tuple[str, ...]:
    """The inputs to differentiate: both parts of a complex argument. Raises BadInput for an unknown name."""
    return own.wrt if q.wrt is None else inputs_named(own, q.wrt)


def count_entries(traced: Traced) -> int:
    """The size of the graph, in array entries over all its nodes."""
    return sum(math.prod(n.shape) for n in traced.graph.nodes) if traced.graph else 0


def trace_at(
    q: Question, fn: Callable[..., Any], point: Point, fix_detached: bool = False, *, strict: bool = True
) -> Traced:
    """The trace of `fn` at a point; `strict` refuses a function without a graph.

    Raises BadInput and Unsupported, and Flawed where the run itself shows a fault.
    """
    fixed = {"stop_detached": True, "confirm": False} if fix_detached else {}
    try:
        with q.limit_time(describe_function(fn)), q.programs.block():
            options = {**fixed, "seed": q.seed, "strict": strict, "framework": q.framework}
            found = trace_call(fn, point.args, q.kwargs, options)
    except (Unsupported, BadInput):
        raise
    except JUDGED as e:
        text = str(e).strip().splitlines()
        said = f": {clipped(text[0])}" if text else ""
        raise BadInput(f"{describe_function(fn)} raised {type(e).__name__}{said}") from e
    if found.faults:
        raise Flawed(found, FailKind.LAW, "; ".join(found.faults))
    if not any(a.kind == "float" and a.role != "captured" for a in found.arguments):
        raise BadInput(f"{describe_function(fn)} has no floating-point argument, so there is nothing to differentiate")
    if not any(o.position is not None for o in found.outputs):
        raise NoArray(f"{describe_function(fn)} returns no floating-point array")
    if found.stale:
        message = (
            f"the function keeps what it made of {', '.join(found.stale)} from its first call on: later calls do not read "
            "it, so that their gradient is lost, and their value is that of the old one"
        )
        raise Flawed(found, FailKind.LAW, message)
    if all(o.detached for o in found.outputs if o.position is not None and o.depends) and any(
        o.depends for o in found.outputs
    ):
        if not q.derived:
            raise BadInput(f"{describe_function(fn)} returns a detached result: no gradient can flow")
        where = f" (detached at {', '.join(found.detach_sites)})" if found.detach_sites else ""
        message = (
            f"the gradient comes without a graph{where}, though it depends on the arguments or the cotangent: its own "
            f"derivatives are lost, in silence where it is one term of several; {UNDIFFERENTIATED}"
        )
        raise Flawed(found, FailKind.DETACHED, message)
    return found


def _trace_definition(
    q: Question, fn: Callable[..., Any], own: Traced, point: Point, fix_detached: bool, what: str
) -> Traced:
    """Another definition, over the inputs of the judged function.

    What a surrogate detaches is held fixed: that is part of the gradient that it stands for.
    """
    parameters = {PARAMETERS: parameters_of(own)} if takes_parameters(fn) else {}
    other = replace(q, kwargs={**q.kwargs, **parameters}, framework=own.framework)
    found = trace_at(other, fn, point, fix_detached)
    if fn is q.surrogate and found.detaches and not fix_detached:
        found = trace_at(other, fn, point, True)
    return alike(own, found, what)


def build_case(q: Question, own: Traced, definition: Traced, point: Point, wrt: tuple[str, ...]) -> Case:
    """The case of two traces at a point: the judged function, and its definition, which has the graph.

    Raises Unsupported where that has none, BadInput and Flawed where the function writes to what is differentiated.
    """
    graph = definition.graph
    if graph is None:
        raise Unsupported("; ".join(definition.opaque))
    _refuse_writes(q, own, wrt)
    dtype, mixed = _dtypes(own)
    if mixed is not None and graph is own.graph:
        mixed = replace(mixed, nodes=own.node_formats, of=graph)
    of = mixed.inputs if mixed else {}
    values = {}
    for n in graph.inputs:
        value = own.values[n] if n in own.values else definition.values[n]
        values[n] = _in_own_dtype(value, of.get(n.removesuffix(HELD), dtype))
    for a in own.arguments:
        if a.strides is not None and a.name in values:
            values[a.name] = laid_out(values[a.name], a.strides)
    shapes = [graph.nodes[o].shape for o in graph.outputs]
    return Case(
        name=q.title(point),
        graph=graph,
        values=values,
        cotangent=cotangent_at(q, own, point, shapes, mixed.outputs if mixed else (dtype,) * len(shapes)),
        dtype=dtype,
        wrt=wrt,
        mixed=mixed,
        parts=tuple((g[0], g[1]) for g in own.leaves if len(g) == 2),
        placed=_placed(q, own),
        source=source(q),
        updated=own.updated - set(wrt),
    )


def _placed(q: Question, own: Traced) -> frozenset[str]:
    """The inputs that no law lays out otherwise: the parameters of modules, and what the question says."""
    arrays = list(dict.fromkeys(a.whole for a in own.arguments if a.role == "argument"))
    stay = set() if q.relaid is None else set(arrays[: max(len(arrays) - q.relaid, 0)])
    return frozenset(a.name for a in own.arguments if a.role == "parameter" or a.whole in stay)


def _refuse_writes(q: Question, own: Traced, wrt: tuple[str, ...]) -> None:
    """Raise Flawed or BadInput where the function writes to an argument that is differentiated."""
    for n, inputs in group_parts(wrt, own):
        if set(inputs) & set(own.mutated_unseen):
            message = (
                f"{describe_function(q.fn)} changes its argument {n}, and {title_of(own.framework)} does not know of it"
            )
            raise Flawed(own, FailKind.LAW, message)
        if set(inputs) & set(own.written):
            raise BadInput(
                f"{describe_function(q.fn)} writes to its argument {n}, which is differentiated: give it a copy"
            )


def _in_own_dtype(value: Any, dtype: str) -> np.ndarray:
    """The array rounded to the case's dtype: a trace holds bfloat16 as float32."""
    return rounded(value, dtype) if is_float(value) else np.asarray(value)


def _dtypes(own: Traced) -> tuple[str, Mixed | None]:
    """The case's dtype, and all of them where the function has several.

    Of several, the case's is the narrowest that a value passes through: rounding in the others is smaller, so that its
    budget excuses all that is excusable, and more than a budget for each operation in its own dtype would. Raises
    Unsupported for float16 and bfloat16 in one function, of which neither has the smaller roundings and the smaller range.
    """
    inputs = {a.name: a.dtype for a in own.arguments if a.kind == "float" and a.role != "captured"}
    outputs = tuple(o.dtype for o in own.outputs if o.position is not None)
    formats = {*inputs.values(), *outputs, *own.formats}
    if len(formats) == 1:
        return own.dtype, None
    unknown = formats - FORMATS.keys()
    if unknown or {"float16", "bfloat16"} <= formats:
        raise Unsupported(f"values of {', '.join(sorted(unknown or formats))} in one function")
    finest_last = sorted(formats, key=lambda d: -FORMATS[d].roundoff)
    captured = {a.name: a.dtype for a in own.arguments if a.kind == "float" and a.role == "captured"}
    return finest_last[0], Mixed({**captured, **inputs}, outputs, finest_last[-1])


def _askable_cotangent(own: Traced, given: tuple[np.ndarray, ...] | None) -> tuple[np.ndarray, ...] | None:
    """The caller's cotangents, without those of outputs that do not require grad."""
    floats = [o for o in own.outputs if o.kind == "float" and o.part != "imag"]
    if given is None or len(given) != len(floats):
        return given
    return tuple(g for g, o in zip(given, floats) if o.position is not None)


def cotangent_at(
    q: Question, own: Traced, point: Point, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """The point's cotangent by real parts, in its dtypes; drawn where the point has none. Raises BadInput."""
    given = cotangents_of(own, _askable_cotangent(own, point.cotangent))
    if given is None:
        rng = np.random.default_rng([q.seed, *point.salt.encode()])
        given = tuple(draw(rng, s) for s in shapes)
    if [g.shape for g in given] != list(shapes):
        raise BadInput(f"cotangent: shapes {[g.shape for g in given]} do not match those of the outputs, {shapes}")
    return tuple(rounded(g, dtype) for g, dtype in zip(given, dtypes, strict=True))
