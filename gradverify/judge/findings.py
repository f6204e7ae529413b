"""What the steps of a judgement hand on: how a case is judged, the answer, and the finding that ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.verdict import Comparison, Drawing, FailKind, Formula, Outcome, Reason
from ..frameworks.base import Observation, Programs
from ..namespaces.dtypes import FORMATS
from .allowed import Solved
from .branches import Branches
from .budget import Budget
from .compare import Compared, compare
from .exact import BackwardPass, Exact
from .excuses import Lower
from .hypotheses.second_call import Again
from .laws import Extent
from .reference import Reference
from .wording import output_label


@dataclass(frozen=True, eq=False)
class Finding:
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
class Manner:
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


@dataclass(frozen=True, eq=False)
class Answer:
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


def fail(kind: FailKind, message: str, *comparisons: Comparison) -> Finding:
    return Finding(Outcome.FAIL, kind, None, message, comparisons)


def inconclusive(reason: Reason, message: str = "", *comparisons: Comparison) -> Finding:
    return Finding(Outcome.INCONCLUSIVE, None, reason, message, comparisons)


def compare_all(case: Case, seen: Observation, ref: Reference) -> list[Compared]:
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


def right_under(allowed: Budget, case: Case, seen: Observation, ref: Reference) -> bool:
    """Would no entry fail under this budget?"""
    return not any(c.failing.any() for c in compare_all(case, seen, Reference(ref.truth, allowed)))


def output_fails(answer: Answer) -> bool:
    return any(c.failing.any() and not c.comparison.of.startswith("d") for c in answer.compared)
