"""Judging a function without a definition: its gradient against slopes of its own forward, along random directions.

Along u the subject's gradient ĝ predicts the slope ⟨ĝ, u⟩; `oracle.blackbox` measures that slope, with a bound. An entry
that is off by e shifts the prediction by e·u_i, so a single wrong entry is seen in every direction if it is seen in one;
several wrong ones cancel along all DIRECTIONS by chance only (each u_i is drawn anew from ±[1/2, 1] times the entry's
length). Entries too small to show in the sum are differenced one by one, where there are few enough.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from ..core.errors import Unsupported
from ..core.verdict import Comparison, Element, FailKind, Outcome, Reason, Verdict
from ..frameworks.base import Framework, Observation
from ..judge.decide import reason_of_refusal
from ..namespaces.dtypes import FORMATS, is_float, rounded, to_float64, ulp
from ..oracle.blackbox import Slope, slope
from .symmetric import NOTE, Symmetrised, is_symmetric, triangles_read

STAIR = (
    "the function stands still at every step of the differences, and jumps by {:.3g} beyond: it is as coarse as that"
)
"""Nobody can tell a rule for what rounding hides, (x + 1e16) - 1e16, from one for a step function by differences."""

DIRECTIONS = 3

ENTRIES = 64
"""The most entries that are differenced one by one; each costs some sixty calls."""

LENGTH = 0.25
"""Steps are up to an eighth of an entry's size: differences of a smooth function do not need more, and a domain such as
x > 0 is not left."""

ROUNDINGS = 64.0
"""Nothing is known of how the gradient was computed, so that many units of roundoff in each entry are not counted
against it. It is no budget: in the dtype that the function is called in, the slope's own bound is larger by orders."""


@dataclass(frozen=True, eq=False)
class Opaque:
    """A function over NumPy arrays at a point, with the subject that differentiates it.

    precision  the relative error that its values and derivatives may have: that of a solver which it calls
    """

    subject: Framework
    function: Callable[..., Any]
    values: Mapping[str, np.ndarray]
    wrt: tuple[str, ...]
    cotangent: tuple[np.ndarray, ...]
    dtype: str
    updated: frozenset[str] = frozenset()
    precision: float = 0.0

    @property
    def excused(self) -> float:
        """The relative error of a derivative that is not counted against it."""
        return ROUNDINGS * FORMATS[self.dtype].roundoff + self.precision

    def __post_init__(self) -> None:  # a trace holds bfloat16 as float32
        own = {n: rounded(v, self.dtype) if is_float(v) else v for n, v in self.values.items()}
        object.__setattr__(self, "values", own)

    def symmetrised(self, names: Collection[str]) -> Opaque:
        """The function of the symmetric parts of some of its matrices."""
        return replace(self, subject=cast("Framework", Symmetrised(self.subject, names)))

    def value(self, values: Mapping[str, np.ndarray]) -> float:
        """⟨cotangent, outputs⟩ at `values`; NaN where the function raises."""
        seen = self.subject.run_vjp(self.function, values, (), self.cotangent)
        if seen.raised is not None:
            return float("nan")
        with np.errstate(all="ignore"):
            return float(sum(np.sum(np.asarray(o, dtype=np.float64) * g) for o, g in zip(seen.outputs, self.cotangent)))

    def size(self) -> float:
        """Σ|cotangent·output|: the noise of `value` is a unit roundoff of this at least."""
        seen = self.subject.run_vjp(self.function, self.values, (), self.cotangent)
        with np.errstate(all="ignore"):
            return float(
                sum(np.sum(np.abs(np.asarray(o, dtype=np.float64) * g)) for o, g in zip(seen.outputs, self.cotangent))
            )

    def slope(self, direction: Mapping[str, np.ndarray], length: float = LENGTH) -> Slope:
        """The slope of `value` along a direction, with its bound."""

        def phi(t: float) -> float:
            moved = {n: rounded(to_float64(self.values[n]) + t * u, self.dtype) for n, u in direction.items()}
            return self.value({**self.values, **moved})

        found = slope(phi, length, FORMATS[self.dtype].roundoff * self.size())
        if found.steepest == 0:
            # Outputs that stay the same to the last bit may hide what rounding next to a number of order one swallows on
            # the way, as log(softmax) does where the softmax is 1: u·Σ|g| over the steps' length.
            hidden = FORMATS[self.dtype].roundoff * float(sum(np.sum(np.abs(g)) for g in self.cotangent)) / LENGTH
            return replace(found, bound=found.bound + hidden)
        return found


def judge_opaque(
    name: str, black_box: Opaque, reasons: tuple[str, ...], *, seed: int = 0, entries: int = ENTRIES
) -> Verdict:
    """PASS with its power, FAIL with the worst entry or direction, or INCONCLUSIVE where the slopes have no bound.

    `reasons` say why there is no definition; they become notes. Of a FAIL along a direction the worst entry is looked for
    where there are up to `entries` of them.
    """
    start = time.perf_counter()
    found = _judge(black_box, seed, entries)
    notes = (*reasons, "there is no definition to evaluate: the gradient was held against differences of the function")
    return Verdict(
        outcome=found[0], case=name, subject=black_box.subject.name, dtype=black_box.dtype, kind=found[1],
        reason=found[2], message=found[3], comparisons=found[4], notes=notes, seconds=time.perf_counter() - start,
        facts={"directions": DIRECTIONS},
    )  # fmt: skip


def judge_opaque_jvp(name: str, black_box: Opaque, reasons: tuple[str, ...], *, seed: int = 0) -> Verdict:
    """As `judge_opaque`, of the JVP: ⟨w, J·v⟩ against the slope of ⟨w, f⟩ along v, for random v and w.

    `w` is drawn anew for every direction, so that of several wrong outputs none hides another in all of them. Raises
    what the framework raises.
    """
    start, b = time.perf_counter(), black_box
    rng = np.random.default_rng([seed, 8])
    resolved, outcome, message = False, Outcome.PASS, ""
    kind: FailKind | None = None
    reason: Reason | None = None
    for k in range(DIRECTIONS):
        u = {n: _length_scales(b.values[n]) * rng.choice([-1.0, 1.0], np.shape(b.values[n])) * rng.uniform(0.5, 1.0)
             for n in b.wrt}  # fmt: skip
        tangents = {n: rounded(t, b.dtype) for n, t in u.items()}
        outs, jvps = b.subject.run_jvp(b.function, b.values, tangents, False)
        if [(p.shape, p.dtype) for p in jvps] != [(np.shape(o), np.asarray(o).dtype) for o in outs]:
            got = ", ".join(f"{p.dtype}{list(p.shape)}" for p in jvps)
            outcome, kind, message = Outcome.FAIL, FailKind.STRUCTURE, f"tangents are {got}, unlike the outputs"
            break
        w = tuple(
            np.asarray(rng.choice([-1.0, 1.0], o.shape) * rng.uniform(0.5, 1.0, o.shape), dtype=o.dtype)
            for o in map(np.asarray, outs)
        )
        measured = replace(b, cotangent=w).slope({n: np.asarray(t, dtype=np.float64) for n, t in tangents.items()})
        if not np.isfinite(measured.bound):
            continue
        terms = [np.asarray(p, dtype=np.float64) * g for p, g in zip(jvps, w)]
        predicted = sum(float(np.sum(t)) for t in terms)
        size = sum(float(np.sum(np.abs(t))) for t in terms)
        allowed = measured.bound + b.excused * size
        error = abs(predicted - measured.value)
        stands_still = measured.steepest == 0 and size == 0
        resolved |= stands_still or allowed < 0.5 * max(abs(measured.value), size)
        if not error <= allowed:
            outcome, kind = Outcome.FAIL, FailKind.WRONG if np.isfinite(predicted) else FailKind.NON_FINITE
            message = (
                f"along random direction {k + 1} the JVP is {predicted:.10g} (summed with random weights), the function's "
                f"slope is {measured.value:.10g} ± {allowed:.2g}"
            )
            break
    if outcome is Outcome.PASS and not resolved:
        outcome, reason = Outcome.INCONCLUSIVE, Reason.ORACLE
        message = "no step gave a slope with a bound that decides"
    notes = (*reasons, "there is no definition to evaluate: the JVP was held against differences of the function")
    return Verdict(
        outcome=outcome, case=name, subject=b.subject.name, dtype=b.dtype, kind=kind, reason=reason, message=message,
        notes=notes, seconds=time.perf_counter() - start, facts={"directions": DIRECTIONS},
    )  # fmt: skip


Found = tuple[Outcome, FailKind | None, Reason | None, str, tuple[Comparison, ...]]


def _judge(b: Opaque, seed: int, entries: int) -> Found:
    seen = b.subject.run_vjp(b.function, b.values, b.wrt, b.cotangent)
    if isinstance(seen.raised, Unsupported | NotImplementedError):
        why = f"{b.subject.name}, {seen.stage}: {type(seen.raised).__name__}: {seen.raised}"
        return Outcome.INCONCLUSIVE, None, reason_of_refusal(seen), why, ()
    if seen.raised is not None:
        return Outcome.FAIL, FailKind.RAISED, None, f"it raised {type(seen.raised).__name__}: {seen.raised}", ()
    if not all(np.isfinite(np.asarray(o, dtype=np.float64)).all() for o in seen.outputs):
        return Outcome.INCONCLUSIVE, None, Reason.DOMAIN, "the function has no finite value at this point", ()
    if changed := [label for label in seen.mutated if label not in b.updated]:
        return Outcome.FAIL, FailKind.LAW, None, f"purity is broken: {', '.join(changed)} changed", ()
    gradients: dict[str, np.ndarray] = {}
    for n in b.wrt:
        g = seen.gradients.get(n)
        if g is not None and (g.shape != b.values[n].shape or str(g.dtype) != b.dtype):
            what = f"d{n} is {g.dtype}{list(g.shape)}, not {b.dtype}{list(b.values[n].shape)}"
            return Outcome.FAIL, FailKind.STRUCTURE, None, what, ()
        gradients[n] = np.zeros(b.values[n].shape) if g is None else np.asarray(g, dtype=np.float64)
        if not np.isfinite(gradients[n]).all():
            at = [int(i) for i in np.argwhere(~np.isfinite(gradients[n]))[0]]
            if np.isfinite(b.value(b.values)):
                what = f"d{n}{at} is {gradients[n][tuple(at)]}"
                measured = _slope_of_entry(b, n, tuple(at), gradients[n].shape)
                if _may_be_infinite(measured):
                    why = f"{what}, and no step gave a stable slope: it may be infinite"
                    return Outcome.INCONCLUSIVE, None, Reason.ORACLE, why, ()
                return Outcome.FAIL, FailKind.NON_FINITE, None, what, ()
    found = _compare_slopes(b, gradients, seen, seed, entries)
    return _by_symmetric_changes(b, gradients, seed, entries) or found if found[1] is FailKind.WRONG else found


def judge_symmetric(name: str, black_box: Opaque, *, seed: int = 0) -> Verdict | None:
    """PASS where the gradient is right along symmetric changes of matrices that the function reads one triangle of.

    None where there is no such matrix, one of them is not symmetric, or the gradient is wrong along those changes as well.
    """
    b = black_box
    read = triangles_read(b.subject, b.function, b.values)
    if not read or not all(is_symmetric(b.values[n]) for n in read):
        return None
    found = judge_opaque(name, b.symmetrised(read), (NOTE,), seed=seed)
    return found if found.outcome is Outcome.PASS else None


def judge_even(name: str, black_box: Opaque, *, seed: int = 0) -> Verdict | None:
    """The verdict along symmetric changes of all matrices that are symmetric and not diagonal; None where there is none.

    A function of both triangles may be meant for symmetric matrices all the same. That cannot be told from its values, so
    that this says what may be meant, and not what is right.
    """
    b = black_box
    even = [n for n, x in b.values.items() if is_symmetric(x) and (np.triu(x, 1) != 0).any()]
    return judge_opaque(name, b.symmetrised(even), (NOTE,), seed=seed) if even else None


def _by_symmetric_changes(b: Opaque, gradients: Mapping[str, np.ndarray], seed: int, entries: int) -> Found | None:
    """What a gradient that is wrong by entries is along symmetric changes, where the function reads one triangle.

    That is how eigh and cholesky of every framework document it. At a symmetric matrix it is right if it is right along
    those; at another one nobody can say. None where it is wrong along them too.
    """
    read = triangles_read(b.subject, b.function, b.values)
    if read and all(is_symmetric(b.values[n]) for n in read):
        found = _judge(b.symmetrised(read), seed, entries)
        return (*found[:3], NOTE, found[4]) if found[0] is Outcome.PASS else None
    if not read or not _is_right_along_symmetric_changes(b, gradients, read, seed):
        return None
    name, triangle = next(iter(read.items()))
    why = (
        f"the function reads the {triangle} triangle of {name} alone, as of a symmetric matrix, and its gradient is that of "
        f"one: right along every symmetric direction, and by entries a matter of convention. Ask it at {name} + {name}ᵀ"
    )
    return Outcome.INCONCLUSIVE, None, Reason.ORACLE, why, ()


def _is_right_along_symmetric_changes(
    b: Opaque, gradients: Mapping[str, np.ndarray], read: Collection[str], seed: int
) -> bool:
    rng = np.random.default_rng([seed, 9])
    for _ in range(DIRECTIONS):
        u = {
            n: (1.0 if n in read else _length_scales(b.values[n])) * rng.choice([-1.0, 1.0], g.shape)
            * rng.uniform(0.5, 1.0, g.shape) for n, g in gradients.items()
        }  # fmt: skip
        u = {n: v + np.swapaxes(v, -1, -2) if n in read else v for n, v in u.items()}
        measured = b.slope(u)
        terms = [gradients[n] * u[n] for n in u]
        rounding = ROUNDINGS * FORMATS[b.dtype].roundoff * sum(float(np.sum(np.abs(t))) for t in terms)
        off = abs(sum(float(np.sum(t)) for t in terms) - measured.value)
        if not off <= measured.bound + rounding or not measured.bound < measured.steepest / 2:
            return False
    return True


def stair_of(black_box: Opaque, *, seed: int = 0) -> float:
    """The height of the step at which the function leaves its value, along random directions; 0 where it moves before."""
    rng = np.random.default_rng([seed, 17])
    height = 0.0
    for _ in range(DIRECTIONS):
        u = {
            n: _length_scales(x) * rng.choice([-1.0, 1.0], x.shape) * rng.uniform(0.5, 1.0, x.shape)
            for n, x in ((n, black_box.values[n]) for n in black_box.wrt)
        }
        measured = black_box.slope(u)
        if measured.steepest:
            return 0.0
        height = max(height, measured.stair)
    return height


def _length_scales(x: np.ndarray) -> np.ndarray:
    """The size of each entry; 1 where that is 0 or no number."""
    size = np.abs(np.asarray(x, dtype=np.float64))
    return np.where((size > 0) & np.isfinite(size), size, 1.0)


def _compare_slopes(b: Opaque, gradients: dict[str, np.ndarray], seen: Observation, seed: int, entries: int) -> Found:
    rng = np.random.default_rng([seed, 4])
    power = {n: np.full(g.shape, np.inf) for n, g in gradients.items()}
    resolved = False
    for k in range(DIRECTIONS):
        u = {
            n: _length_scales(b.values[n]) * rng.choice([-1.0, 1.0], g.shape) * rng.uniform(0.5, 1.0, g.shape)
            for n, g in gradients.items()
        }
        measured = b.slope(u)
        if not np.isfinite(measured.bound):
            continue
        predicted = sum(float(np.sum(gradients[n] * u[n])) for n in u)
        allowed = measured.bound + b.excused * sum(float(np.sum(np.abs(gradients[n] * u[n]))) for n in u)
        off = abs(predicted - measured.value)
        # A bound as large as the slopes themselves (at a kink) agrees with everything, and says nothing.
        resolved |= allowed <= measured.steepest / 2 or measured.steepest == 0
        if off > allowed and measured.stair:
            return Outcome.INCONCLUSIVE, None, Reason.ORACLE, STAIR.format(measured.stair), ()
        if off > allowed and measured.kink:
            # Kinks of several entries may cancel along a direction: there the slopes of the two sides are no bound.
            why = f"along random direction {k + 1} the slopes of the two sides differ by {measured.kink:.3g}"
            return Outcome.INCONCLUSIVE, None, Reason.KINK, why, ()
        if off > allowed and abs(predicted) > measured.steepest and _may_be_infinite(measured):
            # A root of a singular matrix: the differences grow with every halving of the step, towards what is predicted.
            why = f"along random direction {k + 1} no step gave a stable slope: it may be infinite"
            return Outcome.INCONCLUSIVE, None, Reason.ORACLE, why, ()
        if off > allowed and not _fails_on_other_ladders(b, u, predicted, allowed - measured.bound):
            why = f"along random direction {k + 1} the differences depend on their steps: the function is too noisy"
            return Outcome.INCONCLUSIVE, None, Reason.ORACLE, why, ()
        if off > allowed:
            return _fail_along(b, gradients, k, predicted, measured, allowed, entries)
        with np.errstate(divide="ignore", invalid="ignore"):
            for n in u:
                power[n] = np.asarray(np.minimum(power[n], (allowed + off) / np.abs(u[n] * gradients[n])))
    if not resolved:
        why = "no step gave a stable slope: the point lies on a kink, or the function is too noisy"
        return Outcome.INCONCLUSIVE, None, Reason.ORACLE, why, ()
    return _pass_unless_entry_fails(b, gradients, power)


OTHER_LENGTHS = (LENGTH / 2**0.5, LENGTH / 3**0.5)
"""Ladders whose steps are no multiples of those of the first one, so that a wave which that one leaps over shows."""


def _fails_on_other_ladders(b: Opaque, u: Mapping[str, np.ndarray], predicted: float, rounding: float) -> bool:
    """Do differences at other steps contradict the predicted slope as well?"""
    others = (b.slope(u, length) for length in OTHER_LENGTHS)
    return all(abs(predicted - other.value) > other.bound + rounding for other in others)


def _may_be_infinite(measured: Slope) -> bool:
    """Does the slope differ between the sides, or grow with every halving of the step, as that of a root at 0 does?"""
    if not np.isfinite(measured.bound) or measured.kink:
        return True
    return bool(measured.bound > abs(measured.value) / 2 and measured.bound > measured.steepest * 2.0**-20 > 0)


def _slope_of_entry(b: Opaque, name: str, at: tuple[int, ...], shape: tuple[int, ...]) -> Slope:
    """The slope along one entry, in units of its length."""
    u = np.zeros(shape)
    u[at] = _length_scales(b.values[name])[at]
    return b.slope({name: u})


def _judge_entry(
    b: Opaque, gradients: dict[str, np.ndarray], name: str, at: tuple[int, ...]
) -> tuple[Element, bool, float]:
    """One entry by itself: its comparison, whether it fails, and the relative error it would have shown."""
    length = float(_length_scales(b.values[name])[at])
    measured = _slope_of_entry(b, name, at, gradients[name].shape)
    got, want, bound = float(gradients[name][at]), measured.value / length, measured.bound / length
    budget = ROUNDINGS * FORMATS[b.dtype].roundoff * abs(got)
    budget += b.precision * float(np.max(np.abs(gradients[name]), initial=0.0))
    error = abs(got - want)
    one = float(ulp(np.asarray(want if np.isfinite(want) else 0.0), FORMATS[b.dtype]))
    element = Element(f"d{name}", at, repr(got), f"{want:.12g}", error, bound, budget, error / one, budget / one)
    seen = (bound + budget + error) / abs(got) if got else float("inf")
    fails = error > bound + budget and not measured.stair
    u = np.zeros(gradients[name].shape)
    u[at] = length
    return element, bool(fails and _fails_on_other_ladders(b, {name: u}, got * length, budget * length)), seen


def _fail_along(
    b: Opaque,
    gradients: dict[str, np.ndarray],
    k: int,
    predicted: float,
    measured: Slope,
    allowed: float,
    most: int,
) -> Found:
    message = (
        f"along random direction {k + 1} the gradient predicts a slope of {predicted:.10g}; the function's is "
        f"{measured.value:.10g} ± {allowed:.2g}"
    )
    comparisons = []
    if sum(g.size for g in gradients.values()) <= most:
        for n, g in gradients.items():
            entries = [_judge_entry(b, gradients, n, at) for at in np.ndindex(g.shape)]
            bad = [e for e, fails, _ in entries if fails]
            worst = max(bad or [e for e, _, _ in entries], key=lambda e: e.error / (e.bound + e.budget), default=None)
            share = worst.error / (worst.bound + worst.budget) if worst else 0.0
            comparisons.append(Comparison(f"d{n}", g.size, len(bad), worst, share))
    return Outcome.FAIL, FailKind.WRONG, None, message, tuple(comparisons)


def _pass_unless_entry_fails(b: Opaque, gradients: dict[str, np.ndarray], power: dict[str, np.ndarray]) -> Found:
    few = sum(g.size for g in gradients.values()) <= ENTRIES
    power = {n: np.array(p) for n, p in power.items()}  # arithmetic on 0-d arrays leaves bare numbers
    comparisons = []
    for n, g in gradients.items():
        failing, worst = 0, None
        for at in np.ndindex(g.shape) if few else ():
            if not power[n][at] <= 0.5:
                element, fails, seen = _judge_entry(b, gradients, n, at)
                power[n][at] = min(power[n][at], seen)
                if fails:
                    failing, worst = failing + 1, element
        resolved = power[n][power[n] <= 1]
        comparisons.append(
            Comparison(
                f"d{n}",
                g.size,
                failing,
                worst,
                0.0,
                float(resolved.max()) if resolved.size else float("nan"),
                float(np.median(resolved)) if resolved.size else float("nan"),
                int(((power[n] > 1) & (g != 0)).sum()),
            )
        )
    bad = [c for c in comparisons if c.failing]
    if bad:
        return Outcome.FAIL, FailKind.WRONG, None, f"{bad[0].worst}", tuple(comparisons)
    if any(g.any() for g in gradients.values()) and all(math.isnan(c.power) for c in comparisons):
        why = "its differences resolve no entry of the gradient"
        return Outcome.INCONCLUSIVE, None, Reason.CONDITION, why, tuple(comparisons)
    return Outcome.PASS, None, None, "", tuple(comparisons)
