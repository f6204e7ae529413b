"""One-sided derivatives at a kink, term by term of the output.

An entry moved alone costs two evaluations of the graph for each side. Entries that share no term of the output (all of an
elementwise function) are moved together instead: which terms each of them has is found by moving, for every bit of their
numbers, those that have it and those that have not, so that a term that one entry alone moves spells out its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb

from ..core.graph import Apply
from ..namespaces.numpy import NUMPY
from ..ops import OPS
from .balls import BALLS
from .precision import step_exponent

SIDES_AGREE = 2.0**-40
"""One-sided slopes of a smooth function differ by h·f'' with h = 2**-85 of the entry's scale. Those that differ by less
than this are told apart by the gradients nearby, if at all: here a real kink has only to be seen."""


@dataclass(frozen=True, eq=False)
class Sides:
    """What one-sided differences say of the entries that were asked.

    asked     input name -> the entries
    slope     input name -> the common slope of both sides; NaN where they do not agree in every output entry
    resolved  (input name, entry) -> what that slope may err by
    """

    asked: Mapping[str, np.ndarray]
    slope: Mapping[str, np.ndarray]
    resolved: dict[tuple[str, tuple[int, ...]], float]

    def note(self, name: str, at: tuple[int, ...], right: np.ndarray, left: np.ndarray, length: float) -> None:
        # The absolute part is that of `side`: slopes below it were not told from 0.
        unsure = SIDES_AGREE * np.maximum(np.abs(right), np.abs(left)) + 2.0**-60 / length
        if (np.abs(right - left) <= unsure).all():
            self.slope[name][at] = float(np.sum(right))
            self.resolved[name, at] = float(np.sum(unsure))

    def unsure(self, name: str) -> np.ndarray:
        """The bound on each slope's error: SIDES_AGREE between the sides, and 2**-20 of its value (`side`)."""
        found = np.zeros(self.slope[name].shape)
        for (n, at), error in self.resolved.items():
            if n == name:
                found[at] = error * 2.0**20
        return found


RELAYS = frozenset("sum mean reshape expand_dims squeeze permute_dims".split())
"""Ops that only add up or move entries: behind them, terms of the output are sums of those before them."""

FEW = 8
"""Up to so many entries are moved one by one."""


class SideSlopes:
    """The one-sided partial derivatives of every term of the output with respect to the entries of `masks`.

    `attempt` is `truth._Attempt`. A term is a product cotangent·output that is not 0 throughout; where the output is a
    sum, its summands are looked at one by one, and their slopes added up.
    """

    def __init__(self, attempt: Any, masks: Mapping[str, np.ndarray]) -> None:
        self.attempt = attempt
        self.h = arb(2) ** -step_exponent(attempt.bits)
        self.entries = [(n, at) for n, m in masks.items() for at in map(tuple, np.argwhere(m).tolist())]
        self.number = {e: k for k, e in enumerate(self.entries)}
        self.places = self._places(attempt)
        base_nodes = attempt.nodes_at(arb(0), {})
        self.base = self._terms(base_nodes)
        kept = [ids[ids >= 0].astype(int) for _, _, ids in self.places]
        self.whose = np.concatenate(kept or [np.zeros(0, dtype=int)])
        self.count = int(self.whose.max()) + 1 if self.whose.size else 0
        self.owner = self._owners() if len(self.entries) > FEW else None
        everyone = range(len(self.entries))
        self.together = {} if self.owner is None else {s: self._walk(everyone, s) for s in (1, -1)}

    def of(self, name: str, at: tuple[int, ...], sign: int) -> np.ndarray:
        """The derivative to the side of `sign` of every term; NaN where there is none."""
        k = self.number[name, at]
        wide, fine = self.together[sign] if self.together else self._walk([k], sign)
        scale = float(self.attempt.lengths(name)[at])
        found = np.zeros(self.count)
        for i in range(len(self.base)) if self.owner is None else np.flatnonzero(self.owner == k).tolist():
            w, f = wide[i] - self.base[i], fine[i] - self.base[i]
            if w == 0 and f == 0:
                continue
            w, f = w / (sign * self.h), f / (sign * self.h / 2)
            # First order: they differ by h·f''/2, 2**-85 relative; by a factor of √2 at a root and 2 at a jump.
            fits = w.is_finite() and f.is_finite() and abs(w - f) <= abs(f) / 2**20 + arb(2) ** -60
            found[self.whose[i]] += float(f.mid()) / scale if fits else np.nan
        return found

    def _places(self, attempt: Any) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """Return (node, weights, numbers of its entries' terms) for each node that is summed up."""
        places, first = [], 0
        graph = attempt.graph
        shapes = [attempt.weights[i].shape for i in range(len(graph.outputs))]
        for o, g, w, shape in zip(graph.outputs, attempt.cotangent, attempt.weights, shapes):
            live = np.asarray(w) != 0
            ids = np.full(shape, -1.0)
            ids[live] = first + np.arange(int(live.sum()))
            first += int(live.sum())
            k = o
            while isinstance(node := graph.nodes[k], Apply) and node.op in RELAYS:
                (a,), params = node.args, dict(node.params)
                like = np.zeros(graph.nodes[a].shape)
                numbered = "sum" if node.op == "mean" else node.op
                g = OPS[node.op].cotangent(BALLS, 0, g, g, (BALLS.asarray(like),), params)
                ids = np.asarray(OPS[numbered].cotangent(NUMPY, 0, ids, ids, (like,), params))
                k = a
            places.append((k, BALLS.asarray(g), ids))
        return [(k, g.ravel()[ids.ravel() >= 0], ids.ravel()) for k, g, ids in places]

    def _terms(self, nodes: list[Any]) -> np.ndarray:
        """The products weight·entry, one after the other."""
        kept = [BALLS.multiply(g, BALLS.asarray(nodes[k]).ravel()[ids >= 0]) for k, g, ids in self.places]
        return np.concatenate([t.ravel() for t in kept] or [np.zeros(0, dtype=object)])

    def _walk(self, numbers: Iterable[int], sign: int) -> tuple[np.ndarray, np.ndarray]:
        """The terms where these entries have moved to one side, by h and by h/2."""
        attempt, moves = self.attempt, dict[str, np.ndarray]()
        for k in numbers:
            name, at = self.entries[k]
            u = moves.setdefault(name, np.zeros(attempt.values[name].shape))
            u[at] = attempt.lengths(name)[at]
        direction = {n: BALLS.asarray(u) for n, u in moves.items()}
        wide, fine = (self._terms(attempt.nodes_at(sign * self.h / k, direction)) for k in (1, 2))
        return wide, fine

    def _owners(self) -> np.ndarray | None:
        """The number of the entry that moves each term, -1 for none; None where several may move one.

        A term that two entries move only together (x·y at 0, 0) stays where they are told apart, and moves elsewhere,
        which a single entry's does not.
        """
        numbers = np.arange(len(self.entries))
        bits = range((len(numbers) - 1).bit_length())
        found = np.zeros(len(self.base), dtype=int)
        seen = np.zeros((len(bits), len(self.base)), dtype=bool)
        for bit in bits:
            has = (numbers >> bit) & 1 == 1
            moved = [self._changed(group.tolist()) for group in (numbers[has], numbers[~has])]
            if (moved[0] & moved[1]).any():
                return None
            found += np.where(moved[0], 1 << bit, 0)
            seen[bit] = moved[0] | moved[1]
        return np.where(seen.all(axis=0), found, -1) if (seen.all(axis=0) == seen.any(axis=0)).all() else None

    def _changed(self, numbers: list[int]) -> np.ndarray:
        """The terms that change to either side where these entries move."""
        changed = np.zeros(len(self.base), dtype=bool)
        for sign in (1, -1):
            for terms in self._walk(numbers, sign):
                same = [a.mid() == b.mid() and a.rad() == b.rad() for a, b in zip(terms, self.base)]
                changed |= ~np.array(same, dtype=bool)
        return changed


def widen(
    low: dict[str, np.ndarray],
    high: dict[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    hulls: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Widen the bounds of what is defensible in the entries of `masks`: moved alone, they have one slope, and together they
    have not (the median of equal ones: any of them may be it). Then the gradients nearby are, and what lies between them.
    An entry that none of those shows has the bounds that the others have: few of many cones were seen."""
    hulls = {n: (np.fmin(low[n], a), np.fmax(high[n], b)) for n, (a, b) in hulls.items()}
    shown = {n: m & (hulls[n][0] < hulls[n][1]) for n, m in masks.items()}
    least = min((float(hulls[n][0][s].min()) for n, s in shown.items() if s.any()), default=np.inf)
    most = max((float(hulls[n][1][s].max()) for n, s in shown.items() if s.any()), default=-np.inf)
    for n, m in masks.items():
        below, above = hulls[n]
        rest = m & ~shown[n]
        low[n] = np.where(m, np.where(rest, np.fmin(below, least), below), low[n])
        high[n] = np.where(m, np.where(rest, np.fmax(above, most), above), high[n])


def widen_ties(
    low: dict[str, np.ndarray],
    high: dict[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    nearby: Mapping[str, tuple[np.ndarray, np.ndarray]] | None,
) -> None:
    """Widen the bounds of entries that have a side by the gradients nearby (`tied_bounds`)."""
    for n, (least, most) in (nearby or {}).items():
        has_side = masks[n] & ~np.isnan(low[n])
        low[n] = np.where(has_side, np.fmin(low[n], least), low[n])
        high[n] = np.where(has_side, np.fmax(high[n], most), high[n])
