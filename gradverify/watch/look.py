"""Probes around the recorded calls. What they find is listed, and gates nothing.

They change the values of differentiated floating-point arguments alone, and keep what the record has exactly. Other arrays
stay as they are: a target or a mask is data. One that was made of the differentiated arguments (their maximum, saved)
belongs to these, and a call with others is none that a program makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..checker.driver import judge_point, judge_question
from ..checker.question import Effort, Point, Question
from ..core.errors import BadInput, Unsupported
from ..core.limits import TimeLimit, time_limit
from ..core.outcome import Outcome
from ..frameworks.registry import of_functions
from ..frameworks.watching import Sample
from ..namespaces.dtypes import FORMATS
from .judge import CONTRADICTED, Judged, question_of
from .structure import is_made_of, keep_structure


def look(judged: Judged, *, seed: int = 0, limit: float = 10.0) -> Judged:
    """The judgement with what the probes find around the recorded point."""
    sample = judged.sample
    above = not sample.by_identity
    others = len(sample.whole) > len(sample.args)
    q = replace(
        question_of(sample, seed, limit), second=above and not sample.create_graph, above=above, keep=keep_structure,
        sized=others,
    )  # fmt: skip
    notes, found = list(judged.notes), None
    try:
        with time_limit(limit):
            effort: Effort = "normal"
            why = "its parameters are reached by another way as well" if sample.by_identity else _why_bound(q, sample)
            if why:
                effort = "quick"
                notes.append(f"not asked at other points: {why}")
            found = judge_question(q, effort, first_asked="branches")
    except (BadInput, Unsupported, TimeLimit) as e:
        notes.append(f"not asked at all other points: {e}")
        return replace(judged, notes=tuple(notes))
    looks = (found.message,) if found.outcome is Outcome.FAIL else ()
    probed = effort != "quick"
    return replace(judged, looks=tuple(dict.fromkeys((*judged.looks, *looks))), notes=tuple(notes), probed=probed)


STEP = 2.0**-10
"""How far each entry is moved, relative to its size (or eight units of roundoff, of 16-bit formats), to see whether another
array was made of them: a rule that reads its old value is off by about as much, which is a thousand times what rounding in
float32 excuses; and hardly a branch turns."""


def _why_bound(q: Question, sample: Sample) -> str:
    """Why the values of the differentiated arrays cannot be changed beside the other arrays; "" where they can."""
    if not q.sized:
        return ""
    framework = of_functions(sample.definition.framework)
    values = [framework.get(a) for a in sample.args]
    for name, array in _others(framework, sample):
        if any(is_made_of(array, x) for x in values):
            return f"{name} seems to be made of what is differentiated"
    if not any(array.dtype.kind in "fc" or array.dtype.name in FORMATS for _, array in _others(framework, sample)):
        return ""
    rng = np.random.default_rng([q.seed, 16])

    def move(x: np.ndarray) -> np.ndarray | None:
        if x.dtype.name not in FORMATS:
            return None
        step = max(STEP, 8 * FORMATS[x.dtype.name].roundoff)
        moved = x.astype(np.float64) * (1 + step * rng.standard_normal(x.shape))
        return keep_structure(x, moved.astype(x.dtype))

    verdict, *_ = judge_point(q, Point(framework.replace(move, q.args), "values nearby", salt="nearby"))
    if verdict.outcome is Outcome.FAIL and verdict.kind in CONTRADICTED:
        return (
            "another array of the call belongs to these very values: the rule is wrong as soon as they move beside it"
        )
    return ""


def _others(framework: Any, sample: Sample) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of the call that are not differentiated."""
    for name, value in sample.whole:
        if name not in sample.names and framework.is_array(value):
            yield name, framework.get(value)
