"""Probes: further judgements of a function whose given point has not failed, as records in one registry.

`driver` walks the registry. What is asked, of whom, and which failures count is read off the record. The built-in probes
are declared in `same_point` and `variations`; others come by `register_probe` or an entry point of the group
`gradverify.probes`:

    from gradverify import Probe, register_probe

    register_probe(Probe("halved values", lambda given: given.changed(lambda x: x / 2 if x.dtype.kind == "f" else None)))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.verdict import Coverage, FailKind, Verdict
from ..frameworks.registry import of_functions
from ..judge.exact import BackwardPass
from ..judge.laws import Extent
from ..trace import Traced
from ..trace.value import HandWrittenFunction
from .question import TRIALS, Effort, Question
from .trace_case import count_entries

GROUP = "gradverify.probes"

MOST = 300_000
"""The array entries, over all nodes of the graph, up to which what nobody asked for is asked: a batch of 273, other points,
and the second order, whose graph is some three times as large. About half a second."""

Change = Callable[[np.ndarray], "np.ndarray | None"]
"""The changed array, or None where it stays as it is."""


@dataclass(eq=False)
class Found:
    """What probes find out beside verdicts: the branches that were taken."""

    coverage: Coverage | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """The given point after its judgement, from which probes make their variants.

    question  what was asked
    verdict   the verdict at the given point
    traced    the trace there
    case      the case there; None where the function cannot be traced
    effort    the caller's
    found     what probes found out about the whole, for the verdict
    backward  the backward pass, with its trace where it was traced
    asks_whether_compiled  the function asked its framework whether it is being compiled
    """

    question: Question
    verdict: Verdict
    traced: Traced
    case: Case | None
    effort: Effort
    asks_whether_compiled: bool = False
    found: Found = field(default_factory=Found)
    backward: BackwardPass = field(default_factory=BackwardPass)

    @property
    def trials(self) -> int:
        """How many times each random way of moving away is tried."""
        return TRIALS[self.effort]

    @property
    def is_opaque(self) -> bool:
        """Can the function not be traced at the given point?"""
        return self.traced.graph is None

    @cached_property
    def entries(self) -> int:
        """The size of the graph, in array entries."""
        return count_entries(self.traced)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The given arguments."""
        return self.question.args

    def map_arrays(self, change: Change) -> tuple[Any, ...]:
        """The arguments with `change` applied to each array among them, as a NumPy array, as far as the question allows."""
        keep = self.question.keep

        def changed(x: np.ndarray) -> np.ndarray | None:
            new = change(x)
            return new if new is None or keep is None else keep(x, new)

        mapped: tuple[Any, ...] = of_functions(self.traced.framework).replace(changed, self.arguments)
        return mapped

    def changed(self, change: Change) -> Iterator[OtherArguments]:
        """The changed arguments as a variant; none where no array changes."""
        news: list[bool] = []

        def change_and_note(x: np.ndarray) -> np.ndarray | None:
            new = change(x)
            news.append(new is not None)
            return new

        arguments = self.map_arrays(change_and_note)
        if any(news):
            yield OtherArguments(arguments)


# ---- what a probe asks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Variant:
    """One further judgement that a probe wants.

    label   what verdicts call it, where a probe asks several things; "{}" in it stands for the probe's name
    growth  how many times as large as the given one its graph is at least; 0 where that shows once it is traced
    within  a block within which it is judged
    """

    label: str = field(default="", kw_only=True)
    growth: float = field(default=0.0, kw_only=True)
    within: Callable[[], AbstractContextManager[None]] = field(default=nullcontext, kw_only=True)


@dataclass(frozen=True, eq=False)
class Resize:
    """Axes of another length: old, new, and the arguments with axes of twice the old one."""

    old: int
    new: int
    doubled: Callable[[], tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class OtherArguments(Variant):
    """The function at another point.

    resize  the axes in which the arguments differ from the given ones: the function must read them to their end, and cut
            them as it cut the given ones
    """

    args: tuple[Any, ...]
    resize: Resize | None = field(default=None, kw_only=True)


@dataclass(frozen=True, eq=False)
class OtherFunction(Variant):
    """A function that must be equivalent, at the given point."""

    fn: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class OtherCase(Variant):
    """Another case at the given point; `traced` is its function, None for the given one. With `exact` the formula of its
    backward pass is judged as well. `earlier` is a case that the function was asked just before."""

    case: Case
    traced: Traced | None = None
    exact: bool = field(default=False, kw_only=True)
    earlier: Case | None = field(default=None, kw_only=True)


@dataclass(frozen=True, eq=False)
class OtherQuestion(Variant):
    """Another question, judged at its own given point."""

    question: Question


# ---- conditions: what a probe requires ------------------------------------------------------------------------------

Condition = Callable[[Given], bool]


def has_case(given: Given) -> bool:
    """Could the function be traced?"""
    return given.case is not None


def is_custom(given: Given) -> bool:
    """Is the backward pass custom, not the framework's?"""
    return given.traced.custom


def has_own_backward(given: Given) -> bool:
    """Is the backward pass custom, or written by hand (`vjp=`)?"""
    return given.traced.custom or isinstance(given.traced.function, HandWrittenFunction)


def has_one_definition(given: Given) -> bool:
    """Is the function's own forward its definition, for value and gradient?"""
    return given.question.reference is None and given.question.surrogate is None


def has_own_gradient(given: Given) -> bool:
    """Is the meant gradient that of the definition, not of a surrogate?"""
    return given.question.surrogate is None


def has_free_sizes(given: Given) -> bool:
    """May arguments be of other sizes and dtypes?"""
    return not given.question.sized


# ---- which failures count -------------------------------------------------------------------------------------------

Counts = Callable[[FailKind, Given], bool]


def count_all(kind: FailKind, given: Given) -> bool:
    """Every kind of failure counts."""
    return True


def count_non_finite(kind: FailKind, given: Given) -> bool:
    """Only infinite and NaN gradients count: far out, the formulas of frameworks lose digits."""
    return kind is FailKind.NON_FINITE


def count_values_by_hand(kind: FailKind, given: Given) -> bool:
    """Shapes and dtypes do not count for a backward pass by hand, which is promised for the given ones alone."""
    return kind is not FailKind.STRUCTURE or not of_functions(given.traced.framework).by_hand


# ---- the record -----------------------------------------------------------------------------------------------------

MOVING: tuple[Effort, ...] = ("normal", "thorough")
"""The efforts that ask more than the given point."""


@dataclass(frozen=True)
class Probe:
    """One kind of further judgement of a function whose given point has not failed.

    name      what verdicts call it. Nothing but messages depends on it
    make      what to ask, made from the given point as it was judged. Raises Unsupported or BadInput, with the reason, where
              that cannot be made
    legal     may every function be asked this? Then an exception is a FAIL; else it is none, since we chose the point, not
              the caller
    after     key of a probe: a custom backward pass that had an answer to that one owes one to this one as well
    requires  what must be true of the given point for the probe to make sense
    counts    which kinds of failure count; by default all
    efforts   the efforts at which it is asked
    most      array entries, over all nodes of the graph, up to which it is asked (at another point: or twice the given
              graph, whichever is more); None: no limit
    noted     does a note of the verdict say so where it could not be judged?
    extent    how much of the laws is asked at normal effort; at thorough effort all are
    last      is it asked when all others have been?
    key       what identifies the probe, in `after`, and in the seed of what is drawn for it; at first its name
    """

    name: str
    make: Callable[[Given], Iterable[Variant]]
    legal: bool = False
    after: str = ""
    requires: Sequence[Condition] = ()
    counts: Counts = count_all
    efforts: Sequence[Effort] = MOVING
    most: int | None = MOST
    noted: bool = False
    extent: Extent = Extent.GLANCE
    last: bool = False
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.name)

    def is_asked(self, given: Given) -> bool:
        """Does the probe apply: is the effort one of its own, and do its conditions hold?"""
        return given.effort in self.efforts and all(condition(given) for condition in self.requires)

    def is_owed(self, given: Given, answered: Iterable[str]) -> bool:
        """Does the function owe this probe an answer, given the keys of those that it answered?"""
        return self.legal or (bool(self.after) and given.traced.custom and self.after in answered)

    def extent_for(self, given: Given) -> Extent:
        """How much of the laws is asked of the probe's cases."""
        return Extent.ALL if given.effort == "thorough" else self.extent

    def is_affordable(self, given: Given, variant: Variant) -> bool:
        """Is the graph of the variant small enough, as far as that is known beforehand?"""
        return self.most is None or not variant.growth or given.entries * variant.growth <= self.most


_REGISTERED: dict[str, Probe] = {}


def register_probe(probe: Probe) -> Probe:
    """Add a probe to those that `check` asks; it takes the place of one with the same key."""
    _REGISTERED[probe.key] = probe
    return probe


def probes() -> tuple[Probe, ...]:
    """All probes in their order of judgement: registered ones, then those of entry points."""
    others = {key: probe for key, probe in _load_entry_points().items() if key not in _REGISTERED}
    return tuple(sorted((*_REGISTERED.values(), *others.values()), key=lambda probe: probe.last))


@cache
def _load_entry_points() -> dict[str, Probe]:
    """The probes of the entry points `gradverify.probes`, by key."""
    found: dict[str, Probe] = {}
    for entry in entry_points(group=GROUP):
        probe = entry.load()
        assert isinstance(probe, Probe), f"the entry point {entry.name} of {GROUP} is no Probe"
        found[probe.key] = probe
    return found
