"""A trace that serves again: the function at other values, over arrays of the shapes that it was traced with.

The recorded graph takes the other values, and the subject's own call there is held against it, value and gradient: that
call has to run anyway. Where it agrees, the graph is the function's there as well. Nothing but a PASS comes of a replay:
whatever else a judgement would say, the function is traced anew and judged by that.
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
from ..trace import Traced
from .probes import Given
from .question import Point
from .trace_case import build_case


def replay(given: Given, point: Point) -> tuple[Case, Traced] | None:
    """The case at another point, and the trace there, from the trace of the given point; None where a trace must tell."""
    case, own = given.case, given.traced
    if case is None or case.graph is not own.graph or not _holds_elsewhere(own):
        return None
    values = _values(own, point.args)
    if values is None:
        return None
    there = replace(own, values={**own.values, **values})
    return build_case(given.question, there, there, point, case.wrt), there


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
        if x.shape != was.shape or x.dtype != was.dtype or a.dtype != str(x.dtype):
            return None
        if a.kind == "float":
            values[a.name] = x
        elif not np.array_equal(x, was):  # what was computed from integers is constant in the graph
            return None
    return values
