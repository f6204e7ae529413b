"""A trace that serves again: the function at other values, over arrays of the shapes that it was traced with.

The recorded graph takes the other values, and the subject's own call there is held against it, value and gradient: that
call has to run anyway. Where it agrees, the graph is the function's there as well. Nothing but a PASS comes of a replay:
whatever else a judgement would say, the function is traced anew and judged by that.

So it is in float32, where the subject does there what it does in float64, operation by operation: a number that is another
one there would be within the rounding of its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.outcome import Outcome
from ..core.verdict import Verdict
from ..frameworks.registry import of_functions
from ..judge.exact import BackwardPass
from ..trace import Traced
from .probes import Given
from .question import PASSES, Point
from .trace_case import build_case


def replay(given: Given, point: Point) -> tuple[Case, Traced, BackwardPass] | None:
    """The case at another point, with the traces there, from those of the given point; None where a trace must tell."""
    case, own, backward = given.case, given.traced, given.backward
    if case is None or case.graph is not own.graph or not _holds_elsewhere(own):
        return None
    values = _values(own, point.args)
    if values is None:
        return None
    there = replace(own, values={**own.values, **values}, pull=None)
    narrow = any(v.dtype != own.values[n].dtype for n, v in values.items())
    if not narrow:
        return build_case(given.question, there, there, point, case.wrt), there, backward
    if backward.traced is None or not _is_plain(own) or not _is_plain(backward.traced):
        return None
    there = _in_float32(there)
    moved = build_case(given.question, there, there, point, case.wrt)
    subject = of_functions(own.framework, given.question.device)
    with given.question.limit_time(PASSES), given.question.programs.block():
        did, does = (subject.operations(own.function, c.values, c.wrt, c.cotangent) for c in (case, moved))
    if did is None or did != does:
        return None
    return moved, there, BackwardPass.of(_in_float32(backward.traced))


def _is_plain(traced: Traced) -> bool:
    """Is all of it in float64, and nothing in it a constant that may be another one in float32?

    Of an array, and of what the function closes over, the trace has the values in float64.
    """
    floats = {a.dtype for a in traced.arguments if a.kind == "float"} | {o.dtype for o in traced.outputs}
    plain = all(a.role == "argument" for a in traced.arguments) and not traced.from_arrays
    return plain and floats | traced.formats == {"float64"} and not traced.notes


def _in_float32(traced: Traced) -> Traced:
    """The float64 trace with float32 for its dtype, for a function with the same steps in both."""
    return replace(
        traced,
        arguments=tuple(replace(a, dtype="float32") if a.kind == "float" else a for a in traced.arguments),
        outputs=tuple(replace(o, dtype="float32") for o in traced.outputs),
        dtype="float32",
        formats=frozenset({"float32"}),
        node_formats=dict.fromkeys(traced.node_formats, "float32"),
    )


def is_final(verdict: Verdict) -> bool:
    """Does a verdict that rests on a replay stand? Else the function is traced at the point itself."""
    return verdict.outcome is Outcome.PASS and (verdict.formula is None or verdict.formula.right is not False)


def _holds_elsewhere(own: Traced) -> bool:
    """Does nothing tie the trace to the values that it was made with?

    A note may: integers, numbers and selections that were computed from values are constants of the graph.
    """
    tied = (
        own.branches
        or own.converges
        or own.detaches
        or own.written
        or own.updated
        or own.faults
        or own.launches.instances
    )
    plain = all(a.strides is None and not a.part for a in own.arguments) and own.native is None
    return not own.notes and not tied and plain


def _values(own: Traced, args: Sequence[Any]) -> dict[str, np.ndarray] | None:
    """The arrays of these arguments by the names of the trace; None where they are not like those that were traced."""
    found: list[np.ndarray] = []
    of_functions(own.framework).replace(lambda x: found.append(np.array(x)), tuple(args))
    arguments = [a for a in own.arguments if a.role == "argument"]
    if len(found) != len(arguments):
        return None
    values = {}
    for a, x in zip(arguments, found):
        was = own.values[a.name]
        same = x.dtype == was.dtype and a.dtype == str(x.dtype)
        if x.shape != was.shape or not (same or (a.dtype == "float64" and x.dtype == np.float32)):
            return None
        if a.kind == "float":
            values[a.name] = x
        elif not np.array_equal(x, was):  # what was computed from integers is constant in the graph
            return None
    return values if len({v.dtype for v in values.values()}) < 2 else None
