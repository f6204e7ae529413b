"""A gradient against slopes of the function: along random directions first, then by groups of entries, then one by one.

Along u the gradient ĝ predicts the slope ⟨ĝ, u⟩. An entry that is off by e shifts the prediction by e·u_i, so that a single
wrong entry is seen in every direction if it is seen in one; several wrong ones cancel along all DIRECTIONS by chance only
(each u_i is drawn anew from ±[1/2, 1] times the entry's length). Entries too small to show in that sum get a direction of
their own, and those that are too small beside these are differenced by themselves, while forward calls are left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core.verdict import Comparison, Element, FailKind, Outcome, Reason
from ..namespaces.dtypes import FORMATS, ulp
from ..oracle.blackbox import Slope
from .black_box import LENGTH, ROUNDINGS, Opaque, length_scales, random_direction
from .calls import AT_GIVEN_POINT, CALLS, ELSEWHERE, LOOK, OutOfCalls

STAIR = (
    "the function stands still at every step of the differences, and jumps by {:.3g} beyond: it is as coarse as that"
)
"""Nobody can tell a rule for what rounding hides, (x + 1e16) - 1e16, from one for a step function by differences."""

DIRECTIONS = 3

Place = tuple[str, tuple[int, ...]]
"""An entry: the input's name, and the index."""


@dataclass(frozen=True, eq=False)
class Found:
    """What slopes say of a gradient; `facts` has how it was found."""

    outcome: Outcome
    kind: FailKind | None = None
    reason: Reason | None = None
    message: str = ""
    comparisons: tuple[Comparison, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def open_(reason: Reason, why: str) -> Found:
    """An INCONCLUSIVE finding."""
    return Found(Outcome.INCONCLUSIVE, reason=reason, message=why)


class Search:
    """One gradient at one point: what was looked at, and the relative error that each entry would have shown."""

    def __init__(self, b: Opaque, gradients: dict[str, np.ndarray], *, elsewhere: bool = False) -> None:
        """`elsewhere`: it is not the point that the caller gave."""
        self.b, self.gradients = b, gradients
        self.hidden = {n: np.full(g.shape, np.inf) for n, g in gradients.items()}
        """How far each entry may be off without any look showing it."""
        self.size = sum(g.size for g in gradients.values())
        self.most = b.calls.made + int(b.calls.most * (ELSEWHERE if elsewhere else AT_GIVEN_POINT))
        self.fine = b.calls.fine and not elsewhere
        self.directions = self.groups = 0
        self.alone: list[Place] = []
        self.left_out = 0
        self.contradicted: tuple[Mapping[str, np.ndarray], Slope] | None = None

    # ---- the looks ---------------------------------------------------------------------------------------------------

    def find(self, seed: int) -> Found:
        """PASS with its power, FAIL with the worst entry or direction, or INCONCLUSIVE. May raise OutOfCalls."""
        try:
            return self._find(np.random.default_rng([seed, 4]))
        except OutOfCalls:
            if self.directions:
                return open_(Reason.ORACLE, f"{self.describe()} leave it open, and no forward calls are left")
            raise

    def _find(self, rng: np.random.Generator) -> Found:
        resolved = False
        for k in range(DIRECTIONS):
            if k and not self.may_look():
                break
            measured, found = self.look(random_direction(self.b, rng), f"random direction {k + 1}")
            if found is not None:
                return found
            resolved |= measured is not None
            self.directions += 1
        if not resolved:
            why = "no step gave a stable slope: the point lies on a kink, or the function is too noisy"
            return open_(Reason.ORACLE, why)
        for u in self.small_groups(rng):
            found = self.look(u, f"a random direction of the {_count(u)} smallest entries")[1]
            if found is not None:
                return found
            self.groups += 1
        return self.entries()

    def may_look(self) -> bool:
        """Are there calls for another look, and for two more where it contradicts the gradient?"""
        calls = self.b.calls
        return calls.made + LOOK <= self.most and calls.left >= 3 * LOOK

    def look(self, u: Mapping[str, np.ndarray], name: str) -> tuple[Slope | None, Found | None]:
        """The slope along a direction, None where it has no bound that says something; and what decides, if it does."""
        b = self.b
        measured = b.slope(u)
        if not np.isfinite(measured.bound):
            return None, None
        predicted = sum(float(np.sum(self.gradients[n] * u[n])) for n in u)
        allowed = measured.bound + b.excused * sum(float(np.sum(np.abs(self.gradients[n] * u[n]))) for n in u)
        off = abs(predicted - measured.value)
        if off > allowed:
            return measured, self._contradicted(u, name, predicted, measured, allowed)
        for n, v in u.items():
            with np.errstate(divide="ignore"):
                self.hidden[n] = np.asarray(np.minimum(self.hidden[n], (allowed + off) / np.abs(v)))
        # A bound as large as the slopes themselves (at a kink) agrees with everything, and says nothing.
        says = allowed <= measured.steepest / 2 or measured.steepest == 0
        return measured if says else None, None

    def _contradicted(
        self, u: Mapping[str, np.ndarray], name: str, predicted: float, measured: Slope, allowed: float
    ) -> Found:
        b = self.b
        if measured.stair:
            return open_(Reason.ORACLE, STAIR.format(measured.stair))
        if measured.kink:
            # Kinks of several entries may cancel along a direction: there the slopes of the two sides are no bound.
            return open_(Reason.KINK, f"along {name} the slopes of the two sides differ by {measured.kink:.3g}")
        if abs(predicted) > measured.steepest and may_be_infinite(measured):
            # A root of a singular matrix: the differences grow with every halving of the step, towards what is predicted.
            return open_(Reason.ORACLE, f"along {name} no step gave a stable slope: it may be infinite")
        if not fails_on_other_ladders(b, u, predicted, allowed - measured.bound):
            return open_(
                Reason.ORACLE, f"along {name} the differences depend on their steps: the function is too noisy"
            )
        message = (
            f"along {name} the gradient predicts a slope of {predicted:.10g}; the function's is "
            f"{measured.value:.10g} ± {allowed:.2g}"
        )
        self.contradicted = u, measured
        return Found(Outcome.FAIL, FailKind.WRONG, None, message, facts=self.facts())

    def small_groups(self, rng: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
        """Yield directions of the entries that no look has shown yet, as long as each shows some of them."""
        before = self.size
        while self.may_look():
            poor = {n: ~(self.shares(n) <= POOR) for n in self.gradients}
            count = sum(int(p.sum()) for p in poor.values())
            if not 1 < count < before:
                return
            before = count
            drawn = random_direction(self.b, rng)
            yield {n: np.where(poor[n], u, 0.0) for n, u in drawn.items()}

    def shares(self, n: str) -> np.ndarray:
        """`hidden` as a share of each entry; of the largest one where the entry is 0."""
        size = np.abs(self.gradients[n])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.hidden[n] / np.where(size > 0, size, np.max(size, initial=0.0)))

    def entries(self) -> Found:
        """The finding, once entries of little power are differenced by themselves, while calls are left."""
        failing: dict[str, list[Element]] = {}
        for n, at in self._least_resolved(self.goal(self.fine)):
            if not self.may_look():
                self.left_out += 1
                continue
            element, fails, seen = judge_entry(self.b, self.gradients, n, at)
            self.alone.append((n, at))
            self.hidden[n][at] = min(self.hidden[n][at], seen)
            if fails:
                failing.setdefault(n, []).append(element)
        comparisons = tuple(self._comparison(n, failing.get(n, [])) for n in self.gradients)
        bad = [c for c in comparisons if c.failing]
        if bad:
            return Found(Outcome.FAIL, FailKind.WRONG, None, f"{bad[0].worst}", comparisons, self.facts())
        if any(g.any() for g in self.gradients.values()) and all(math.isnan(c.power) for c in comparisons):
            why = "its differences resolve no entry of the gradient"
            return Found(Outcome.INCONCLUSIVE, None, Reason.CONDITION, why, comparisons, self.facts())
        return Found(Outcome.PASS, comparisons=comparisons, facts=self.facts())

    def _least_resolved(self, goal: float) -> list[Place]:
        """The entries whose power is above a goal: what is not zero first, the least resolved first."""
        shares = {n: self.shares(n) for n in self.gradients}
        places = [
            (self.gradients[n][at] == 0, -float(s[at]), n, at)
            for n, s in shares.items()
            for at in np.ndindex(s.shape)
            if not s[at] <= goal
        ]
        return [(n, at) for *_, n, at in sorted(places)]

    def _comparison(self, n: str, failing: list[Element]) -> Comparison:
        g, power = self.gradients[n], self.shares(n)[self.gradients[n] != 0]
        seen = power[power <= 1]
        worst = max(failing, key=lambda e: e.error / (e.bound + e.budget), default=None)
        return Comparison(
            f"d{n}", g.size, len(failing), worst, 0.0, float(seen.max()) if seen.size else math.nan,
            float(np.median(seen)) if seen.size else math.nan, int((power > 1).sum()),
        )  # fmt: skip

    # ---- which entry -------------------------------------------------------------------------------------------------

    def named(self, found: Found) -> Found:
        """A FAIL along a direction, with its worst entry where the calls left suffice."""
        if self.contradicted is None:
            return found
        try:
            return replace(found, comparisons=self._named(*self.contradicted), facts=self.facts())
        except OutOfCalls:
            return found

    def _named(self, u: Mapping[str, np.ndarray], measured: Slope) -> tuple[Comparison, ...]:
        """The comparison of the worst entry of a direction that contradicts the gradient.

        All entries are looked at by two differences each where that takes half of the calls left; else halves of them.
        """
        places = [(n, tuple(map(int, at))) for n, v in u.items() for at in np.argwhere(v)]
        step = measured.step * LENGTH
        count: dict[str, int] = {}
        if 4 * len(places) <= self.b.calls.left / 2:
            off = {p: self._off(u, [p], step) for p in places}
            wrong = [p for p, (error, allowed) in off.items() if abs(error) > allowed]
            worst = max(wrong or places, key=lambda p: abs(off[p][0]) / (off[p][1] or 1.0))
            for n, _ in wrong:
                count[n] = count.get(n, 0) + 1
        else:
            rest = places
            while len(rest) > 1:
                halves = rest[: len(rest) // 2], rest[len(rest) // 2 :]
                rest = max(halves, key=lambda half: abs(self._off(u, half, step)[0]))
            worst = rest[0]
        element, fails, _ = judge_entry(self.b, self.gradients, *worst)
        self.alone.append(worst)
        if not fails:
            return ()
        name = worst[0]
        return tuple(
            Comparison(
                f"d{n}", g.size, max(count.get(n, 0), int(n == name)), element if n == name else None,
                element.error / (element.bound + element.budget) if n == name else 0.0,
            )
            for n, g in self.gradients.items()
        )  # fmt: skip

    def _off(self, u: Mapping[str, np.ndarray], places: list[Place], step: float) -> tuple[float, float]:
        """What a direction of some entries predicts too much, by differences at one step and its half; and their error."""
        part = {n: np.zeros(v.shape) for n, v in u.items()}
        for n, at in places:
            part[n][at] = u[n][at]
        phi = self.b.along(part)
        wide, narrow = ((phi(h) - phi(-h)) / (2 * h) for h in (step, step / 2))
        terms = [self.gradients[n] * v for n, v in part.items()]
        predicted, size = (sum(float(np.sum(f(t))) for t in terms) for f in (np.positive, np.abs))
        error = predicted - (4 * narrow - wide) / 3
        return error, abs(narrow - wide) + self.b.excused * size

    # ---- how it was found --------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What a report says of the search (`core.verdict.Verdict.describe_power`)."""
        calls = self.b.calls
        coarse = any((self.shares(n) > self.goal(fine=True)).any() for n in self.gradients)
        return {
            "directions": self.directions, "groups": self.groups, "alone": len(self.alone), "entries": self.size,
            "left_out": self.left_out, "calls": calls.made, "most_calls": calls.most,
            "more_calls_would_help": coarse and calls.most < max(CALLS.values()),
        }  # fmt: skip

    def goal(self, fine: bool) -> float:
        """The relative error that must be visible in an entry: √u if `fine` (half of the dtype's digits), else POOR."""
        return math.sqrt(FORMATS[self.b.dtype].roundoff) if fine else POOR

    def describe(self) -> str:
        return f"{self.directions} random direction{'s' * (self.directions != 1)}"


POOR = 0.5
"""An entry that is not seen to be off by half of itself is not seen."""

OTHER_LENGTHS = (LENGTH / 2**0.5, LENGTH / 3**0.5)
"""Ladders whose steps are no multiples of those of the first one, so that a wave which that one leaps over shows."""


def _count(u: Mapping[str, np.ndarray]) -> int:
    return sum(int(np.count_nonzero(v)) for v in u.values())


def fails_on_other_ladders(b: Opaque, u: Mapping[str, np.ndarray], predicted: float, rounding: float) -> bool:
    """Do differences at other steps contradict the predicted slope as well?"""
    others = (b.slope(u, length) for length in OTHER_LENGTHS)
    return all(abs(predicted - other.value) > other.bound + rounding for other in others)


def may_be_infinite(measured: Slope) -> bool:
    """Do the one-sided slopes differ, or grow with every halving of the step, as those of sqrt at 0 do?"""
    if not np.isfinite(measured.bound) or measured.kink:
        return True
    return bool(measured.bound > abs(measured.value) / 2 and measured.bound > measured.steepest * 2.0**-20 > 0)


def slope_of_entry(b: Opaque, name: str, at: tuple[int, ...], shape: tuple[int, ...]) -> Slope:
    """The slope along one entry, in units of its length."""
    u = np.zeros(shape)
    u[at] = length_scales(b.values[name])[at]
    return b.slope({name: u})


def judge_entry(
    b: Opaque, gradients: Mapping[str, np.ndarray], name: str, at: tuple[int, ...]
) -> tuple[Element, bool, float]:
    """One entry by itself: its comparison, whether it fails, and how far off it may be without showing."""
    length = float(length_scales(b.values[name])[at])
    measured = slope_of_entry(b, name, at, gradients[name].shape)
    got, want, bound = float(gradients[name][at]), measured.value / length, measured.bound / length
    budget = ROUNDINGS * FORMATS[b.dtype].roundoff * abs(got)
    budget += b.precision * float(np.max(np.abs(gradients[name]), initial=0.0))
    error = abs(got - want)
    one = float(ulp(np.asarray(want if np.isfinite(want) else 0.0), FORMATS[b.dtype]))
    element = Element(f"d{name}", at, repr(got), f"{want:.12g}", error, bound, budget, error / one, budget / one)
    fails = error > bound + budget and not measured.stair
    u = np.zeros(gradients[name].shape)
    u[at] = length
    return (
        element,
        bool(fails and fails_on_other_ladders(b, {name: u}, got * length, budget * length)),
        bound + budget + error,
    )
