"""The laws of a case: their record, the trial that they work with, and their registry.

`vjp` and `autograd` declare the built-in ones; others come from the entry points of the group `gradverify.invariants`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

import numpy as np

from ...core.case import Case
from ...core.errors import UnknownName, Unsupported
from ...frameworks.base import Framework, Observation
from ...namespaces.dtypes import FORMATS, is_float, to_float64

GROUP = "gradverify.invariants"


BudgetsOf = Callable[[Sequence[np.ndarray]], Mapping[str, np.ndarray]]
"""The budgets of the gradients for these cotangents, one for each output."""


class Extent(Enum):
    """How much of the default laws is asked of a case. What the case names itself is always asked."""

    ALL = "each law"
    GLANCE = "two calls with everything changed at once; each law where those differ"
    TURN = "a glance, and one law by itself, in turn with the seeds of generated cases"
    NONE = "no law"


@dataclass(frozen=True, eq=False)
class Trial:
    """The input of a law: subject, case, first answer and the budgets of its gradients.

    A law that holds may still leave `notes`. Where the calls of the others run a program that was compiled once, `as_called`
    is the same trial by the function's own calls: what asks about a second call asks that one. `budget_of` gives the
    budgets for other cotangents, where they are not those of the op table's texts.
    """

    subject: Framework
    function: Callable[..., Any]
    case: Case
    first: Observation
    budget: Mapping[str, np.ndarray]
    notes: list[str] = field(default_factory=list)
    as_called: Trial | None = None
    budget_of: BudgetsOf | None = None

    def ask(
        self, cotangent: Sequence[np.ndarray] | None = None, values: Mapping[str, Any] | None = None
    ) -> Observation:
        """Run another VJP of the same function."""
        case = self.case
        return self.subject.run_vjp(
            self.function,
            case.values if values is None else values,
            case.wrt,
            case.cotangent if cotangent is None else tuple(cotangent),
        )

    def under(self, budget: Mapping[str, np.ndarray], budget_of: BudgetsOf | None = None) -> Trial:
        """The same trial with other budgets."""
        called = self.as_called and self.as_called.under(budget, budget_of)
        return replace(self, budget=budget, budget_of=budget_of or self.budget_of, as_called=called)

    @property
    def own(self) -> Trial:
        """The trial by the function's own calls."""
        return self.as_called or self

    def has_other_values(self, got: Observation) -> bool:
        """Do the outputs of `got` differ from those of the first answer in half their digits?

        Then it is the gradient of another function.
        """
        for a, b in zip(self.first.outputs, got.outputs):
            if a.shape == b.shape and a.dtype == b.dtype and is_float(a) and a.size:
                x, y = to_float64(a), to_float64(b)
                close = np.sqrt(FORMATS[str(a.dtype)].roundoff) * np.abs(x).max()
                if not np.allclose(x, y, rtol=0.0, atol=close, equal_nan=True):
                    return True
        return False

    def differs(
        self,
        got: Observation,
        factor: float = 1.0,
        slack: float = 2.0,
        more: Mapping[str, np.ndarray | float] = MappingProxyType({}),
    ) -> str:
        """Where `got` differs from `factor` times the first answer, as text; "" if nowhere.

        The tolerance is `slack` budgets and `more` (input name -> a bound per entry).

        Two correctly rounded answers are each within one budget of the truth, so within two of each other.
        """
        if got.raised is not None:
            return f"it raised {type(got.raised).__name__}: {got.raised}"
        for name in self.case.wrt:
            a, b = self.first.gradients.get(name), got.gradients.get(name)
            if (a is None) != (b is None):
                return (
                    f"d{name} is {'there' if a is None else 'None'}, and was {'None' if a is None else 'there'} before"
                )
            if a is None or b is None:
                continue
            if a.shape != b.shape or a.dtype != b.dtype:
                return f"d{name} is {b.dtype}{list(b.shape)}, and was {a.dtype}{list(a.shape)} before"
            with np.errstate(all="ignore"):
                wide_a, wide_b = a.astype(np.float64) * factor, b.astype(np.float64)
                same = (wide_a == wide_b) | (np.isnan(wide_a) & np.isnan(wide_b))
                allowed = slack * abs(factor) * self.budget[name] + more.get(name, 0.0)
                off = ~(same | (np.abs(wide_a - wide_b) <= allowed) | np.isinf(allowed))
            if off.any():
                at = tuple(int(i) for i in np.argwhere(off)[0])
                where = f"d{name}{list(at) if at else ''}"
                return f"{where} is {float(wide_b[at])!r} where {float(wide_a[at])!r} was expected"
        return ""

    def ulps(self, got: Observation, factor: float = 1.0) -> float:
        """The largest error of `got` against `factor` times the first answer, in ulps.

        0 for the same numbers, inf for other shapes, None or NaN. `factor` is a power of two.

        Left out is what the format cannot hold exactly on one of the two sides: numbers below the smallest normal one,
        and beyond the largest.
        """
        worst = math.inf if got.raised is not None else 0.0
        for name in self.case.wrt:
            a, b = self.first.gradients.get(name), got.gradients.get(name)
            if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
                worst = worst if a is None and b is None else math.inf
                continue
            fmt = FORMATS[str(a.dtype)]
            with np.errstate(all="ignore"):
                want, found = to_float64(a) * factor, to_float64(b)
                off = ~((want == found) | (np.isnan(want) & np.isnan(found)))
                if factor != 1.0:
                    sizes = np.abs([want, found, to_float64(a), found / factor])
                    off &= ~((sizes < fmt.tiny).any(axis=0) | (sizes > fmt.huge).any(axis=0))
                if off.any():
                    far = np.abs(want - found)[off] / np.abs(np.spacing(want[off])) * (2.0**-53 / fmt.roundoff)
                    worst = max(worst, float(np.nan_to_num(far, nan=np.inf, posinf=np.inf).max()))
        return worst


def changed_inputs(case: Case, seen: Observation) -> tuple[str, ...]:
    """The inputs and cotangents that a call changed without leave to."""
    return tuple(label for label in seen.mutated if label not in case.updated)


@dataclass(frozen=True, slots=True)
class CaseLaw:
    """A property that a subject must have on any case, whatever the gradient is.

    name     what a case calls it in `invariants`
    doc      the law, as a sentence
    check    returns "" where the law holds, else what broke it, as a sentence's end. Raises Unsupported, with the reason,
             where the subject lacks what the law is about
    default  it is checked in every case, in the order of declaration (a law from an entry point only where a case names it)
    clears_together  the combined calls (`declare_combined`) show as well that it holds
    """

    name: str
    doc: str
    check: Callable[[Trial], str]
    default: bool = False
    clears_together: bool = False


FORMER_NAMES: Mapping[str, str] = MappingProxyType({"ways": "pull_modes"})
"""What laws were called before, which spec files may still say -> what they are called now."""

_DECLARED: dict[str, CaseLaw] = {}
_COMBINED: list[Callable[[Trial], bool]] = []
_GLANCES: list[Callable[[Trial], bool]] = []


def register_law(law: CaseLaw) -> CaseLaw:
    """Make a law known under its name. Raises ValueError where the name is taken."""
    if law.name in _DECLARED:
        raise ValueError(f"two laws of a case are called {law.name!r}")
    _DECLARED[law.name] = law
    find.cache_clear()
    return law


def unregister_law(name: str) -> None:
    """Forget a registered law, for tests. Raises KeyError."""
    del _DECLARED[name]
    find.cache_clear()


def declare_combined(check: Callable[[Trial], bool]) -> Callable[[Trial], bool]:
    """Declare the few calls that clear all laws with `clears_together` at once."""
    _COMBINED.append(check)
    return check


def declare_glance(check: Callable[[Trial], bool]) -> Callable[[Trial], bool]:
    """Declare a check of the default laws in few calls, for further points of a function that kept them at one."""
    _GLANCES.append(check)
    return check


def default_names() -> tuple[str, ...]:
    """The laws that are checked in every case."""
    return tuple(law.name for law in _DECLARED.values() if law.default)


def names_for(trial: Trial, extent: Extent) -> tuple[str, ...]:
    """The laws to ask of a case: those that it names, and the default ones as far as `extent` says.

    No law needs the truth, and hardly one depends on the values: what misreads strided memory does so at every point. So
    they are asked one by one where a function is met first, and glanced at where its shapes, its dtype or its inputs are
    others. Random graphs come by the thousand, so that each law gets its share of them.
    """
    names = default_names()
    if extent is not Extent.ALL and (extent is Extent.NONE or all(clears(trial) for clears in _GLANCES)):
        turn = (trial.case.source.seed or 0) % len(names)
        names = names[turn : turn + 1] if extent is Extent.TURN else ()
    return tuple(dict.fromkeys((*names, *trial.case.invariants)))


@cache
def find(name: str) -> CaseLaw:
    """The law called `name` (or formerly so), built in or from the entry points `gradverify.invariants`.

    Raises UnknownName.
    """
    name = FORMER_NAMES.get(name, name)
    if name in _DECLARED:
        return _DECLARED[name]
    others = entry_points(group=GROUP)
    for entry in others:
        if entry.name == name:
            law = entry.load()
            assert isinstance(law, CaseLaw), f"the entry point {name} of {GROUP} is no CaseLaw"
            return law
    raise UnknownName("invariant", name, [*_DECLARED, *(e.name for e in others)])


def find_broken(trial: Trial, names: Sequence[str]) -> tuple[str, str] | None:
    """The name of the first law that does not hold, and its violation as text.

    Raises Unsupported where none is broken and one could not be checked. A few calls with several things changed at once
    clear most of the default laws together; only where one is off are they checked one by one.
    """
    if _COMBINED and set(default_names()) <= set(names) and all(clears(trial) for clears in _COMBINED):
        names = [n for n in names if not find(n).clears_together]
    lacking: Unsupported | None = None
    for name in names:
        try:
            what = find(name).check(trial)
        except Unsupported as e:
            lacking = lacking or Unsupported(f"{name}: {e}")
            continue
        if what:
            return name, what
    if lacking is not None:
        raise lacking
    return None
