"""Directions in which no kink is felt, though the point lies on one, and the slopes along them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb

from ..core.graph import Constant
from ..namespaces.run import constant_array
from .balls import BALLS
from .precision import step_exponent

MOST_TIES = 32
"""Two walks for each value that is shared; of more, only proportional moves are tried."""


@dataclass(frozen=True, eq=False)
class Along:
    """The derivative along a direction in which no kink is felt, though the point lies on one: ties stay ties.

    What is defensible entry by entry need not be so together: of max(x, y) at x = y each entry may be anything between 0
    and 1, but their sum is 1, because along (1, 1) the function is smooth.

    direction  input name -> array in the input's shape
    slope      with `bound`, of ⟨cotangent, f(x + t·direction)⟩ in t
    """

    direction: Mapping[str, np.ndarray]
    slope: float
    bound: float


def along_ties(attempt: Any, nodes: list[Any], candidate: dict[str, np.ndarray]) -> tuple[Along, ...]:
    """The directions found that keep every tie, and the slopes along them: entries of one size in proportion, so that
    equal ones stay equal and zeros stay zero; and entries of one value by one amount, zeros as well."""
    zeros = attempt.zero_distances(nodes)
    found = [d for d in (_proportional(attempt, zeros), _shifted(attempt, zeros)) if d is not None]
    known = []
    for direction in found:
        slope, error = attempt.central({n: BALLS.asarray(u) for n, u in direction.items()})
        predicted = sum((BALLS.sum(BALLS.multiply(candidate[n], u))[()] for n, u in direction.items()), arb(0))
        if slope.is_finite() and abs(predicted - slope) <= 4 * error:
            known.append(Along(direction, float(slope.mid()), float(error.upper())))
    return tuple(known)


def _keeps(attempt: Any, zeros: list[list[bool]], direction: Mapping[str, np.ndarray]) -> bool:
    """Do these distances stay zero, and all others not, to either side of the point?"""
    moves = {n: BALLS.asarray(u) for n, u in direction.items()}
    h = arb(2) ** -step_exponent(attempt.bits)
    return all(attempt.zero_distances(attempt.nodes_at(t, moves)) == zeros for t in (h, -h))


def _proportional(attempt: Any, zeros: list[list[bool]]) -> dict[str, np.ndarray] | None:
    """A direction in which entries of one size move in proportion; where a kink is felt nevertheless (of clip, of
    floor), those at halves of integers and at literals of the graph stay."""
    literals = [np.abs(constant_array(n, attempt.dtype)).ravel() for n in attempt.graph.nodes
                if isinstance(n, Constant) and n.kind == "float"]  # fmt: skip
    fixed = np.concatenate([np.zeros(0), *literals])
    distinct = np.unique(np.concatenate([p.ravel() for p in attempt.points.values()] or [np.zeros(0)]))
    steps = _steps(attempt, distinct.size)
    for stays in (distinct == 0, (distinct * 2 == np.floor(distinct * 2)) | np.isin(distinct, fixed)):
        factor = np.where(stays, 0.0, steps)
        direction = {n: attempt.at[n] * factor[np.searchsorted(distinct, p)] for n, p in attempt.points.items()}
        if not any(u.any() for u in direction.values()):
            return None
        if _keeps(attempt, zeros, direction):
            return direction
    return None


def _shifted(attempt: Any, zeros: list[list[bool]]) -> dict[str, np.ndarray] | None:
    """A direction in which entries of one value, that several have, move by one amount: all of it, or of those inputs
    in which the tie is kept."""
    values, counts = np.unique(
        np.concatenate([x.ravel() for x in attempt.at.values()] or [np.zeros(0)]), return_counts=True
    )
    tied = values[(counts > 1) & np.isfinite(values)]
    if not 0 < tied.size <= MOST_TIES:
        return None
    scale = np.where(tied == 0, 1.0, np.abs(tied))
    everywhere = [{n: np.where(x == v, u, 0.0) for n, x in attempt.at.items()}
                  for v, u in zip(tied, _steps(attempt, tied.size) * scale)]  # fmt: skip
    kept: list[Mapping[str, np.ndarray]] = []
    for move in everywhere:
        if _keeps(attempt, zeros, move):
            kept.append(move)
        elif len(move) > 1:
            kept += [alone for n, u in move.items() if u.any() and _keeps(attempt, zeros, alone := {n: u})]
    if not kept:
        return None
    joint = {n: np.sum([np.zeros_like(x), *(m[n] for m in kept if n in m)], axis=0) for n, x in attempt.at.items()}
    return (
        joint if _keeps(attempt, zeros, joint) else {**{n: np.zeros_like(x) for n, x in attempt.at.items()}, **kept[0]}
    )


def _steps(attempt: Any, n: int) -> np.ndarray:
    """Random factors with few digits, so that the judge's sums over a direction round little."""
    drawn = attempt.rng.uniform(0.5, 1.0, n) * attempt.rng.choice([-1.0, 1.0], n)
    return np.asarray(drawn.astype(np.float32).astype(np.float64))
