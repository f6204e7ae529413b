"""Budgets as they are allowed in a case: rounded once, at true zeros, at kinks, of solvers and of what loses digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..core.case import Case
from ..frameworks.base import Observation
from ..namespaces.dtypes import FORMATS, to_float64
from ..oracle.estimate import Estimate
from .budget import SAFETY, several_casts
from .exact import Exact
from .reference import Reference


@dataclass(frozen=True)
class Solved:
    """How precise a function is that ends once it has converged, as shares of the largest entry of an array.

    values  how far what it ends with, and the gradient there, may be from those of what it converges to
    calls   how far those of another call may be
    """

    values: float
    calls: float

    def widen(self, allowed: np.ndarray, true: Estimate, share: float) -> np.ndarray:
        return np.asarray(allowed + share * float(np.max(np.abs(true.resolved), initial=0.0)))


def rounded_once(case: Case, backward: Exact) -> frozenset[str]:
    """The inputs without the excuse that each cast of them rounds its cotangent: where the backward pass rounds once.

    Cotangents of several casts are rounded and added up in 16 bits by a framework's engine; a rule that is written by hand
    adds them up in the wider dtype.
    """
    several = several_casts(case)
    return backward.rounded_once & several if several else several


def is_right_to_its_arithmetic(exact: Exact, beyond: Callable[[], bool], custom: bool) -> bool:
    """Is the formula right, or one that users wrote, and off by less than its own arithmetic resolves?

    One of a framework's own may be a declared weakness, which is more to say than that it is off.
    """
    if exact.formula.right is False and custom:
        return not beyond()
    return bool(exact.formula.right)


def with_size_at_zeros(case: Case, ref: Reference) -> Reference:
    """The reference for a formula that is right to its arithmetic: where the truth is 0 an entry has the array's size.

    There is no digit of it to lose. A right formula may reach that 0 by a difference of terms of the array's size, and
    leaves SAFETY roundings of them, as it does of a result (`budget`): in the coarsest arithmetic of the function, which may
    cast its arguments. What is less than the smallest normal number of it is flushed to zero, and as good as 0.
    """
    allowed = {}
    for n, b in ref.budget.gradients.items():
        hi = ref.truth.gradients[n].hi
        formats = [FORMATS[d] for d in {case.dtype, case.dtype_of(n), *case.formats.values()} if d in FORMATS]
        size = SAFETY * max(f.arithmetic for f in formats) * np.max(np.abs(hi), initial=0.0, where=np.isfinite(hi))
        allowed[n] = np.where(np.abs(hi) < max(f.tiny for f in formats), np.maximum(b, size), b)
    return replace(ref, budget=replace(ref.budget, gradients=allowed))


def with_size_of_sides(case: Case, ref: Reference, seen: Observation) -> Reference:
    """The reference for answers at a kink whose convention has no value, as √(x² + y²) at 0: its slopes to each side have.

    Rounding that passes through the kink has no bound there; that of a rule with a value of its own leaves SAFETY roundings
    of the slopes. An answer that is not finite stays undecided.
    """
    allowed = dict(ref.budget.gradients)
    for n, low in ref.truth.low.items():
        got = seen.gradients.get(n)
        with np.errstate(invalid="ignore"):
            size = np.maximum(np.abs(low), np.abs(ref.truth.high[n]))
        known = (
            ~np.isfinite(allowed[n]) & np.isfinite(size) & (np.isfinite(to_float64(got)) if got is not None else True)
        )
        allowed[n] = np.where(known, SAFETY * FORMATS[case.dtype_of(n)].arithmetic * size, allowed[n])
    return replace(ref, budget=replace(ref.budget, gradients=allowed))


def as_precise_as(solver: Solved, ref: Reference) -> Reference:
    """The reference with a budget for where the solver stops."""
    outputs = tuple(solver.widen(b, e, solver.values) for b, e in zip(ref.budget.outputs, ref.truth.outputs))
    gradients = {n: solver.widen(b, ref.truth.gradients[n], solver.values) for n, b in ref.budget.gradients.items()}
    return replace(ref, budget=replace(ref.budget, outputs=outputs, gradients=gradients))


def as_lossy_as(seen: Observation, ref: Reference, allowed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What two runs may differ by, each of which loses as many digits as the one that was seen: twice its largest error."""
    lossy = {}
    for name, budget_ in allowed.items():
        got, true = seen.gradients[name], ref.truth.gradients[name].hi
        off = np.abs(to_float64(got) - true) if got is not None else np.zeros(true.shape)
        lossy[name] = budget_ + 2 * np.max(off[np.isfinite(off)], initial=0.0)
    return lossy
