"""Smooth points with a kink in the graph: the derivative next to the point, from all sides.

relu(x) - relu(-x) is x. Its graph has two kinks at 0, where each op has a convention; the function has none. What an op
says at its own kink counts only where the composed function has one as well, and that is a question about the gradients
nearby: where f is continuous and its gradients have one limit from everywhere, that limit is the derivative (by the mean
value theorem), and every subgradient of f is equal to it (F. H. Clarke, "Optimization and Nonsmooth Analysis", 1983,
theorem 2.5.1: the subdifferential is the convex hull of such limits).

So the point is left along random directions, to both sides of each, by steps that vanish next to the precision at work;
the reverse pass there gives a gradient each. Two tests keep it honest. Its rules are not trusted: the definition's own
difference from the point to the neighbour has to be what that gradient predicts, which says that f is continuous there
as well. And as few directions miss most of the cones that many tied entries have between them, an entry needs the
one-sided differences of the definition besides (`truth.one_sided`), and shares no kink with an entry that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb

from ..namespaces.run import reverse
from .balls import BALLS
from .precision import working

BITS = 1024
NEAR, NEARER = 160, 176
"""Neighbours lie at 2**-NEAR and 2**-NEARER of each entry's length scale, evaluated with BITS bits.

A gradient there errs by 2**-NEAR·f'', which is to be less than the u² = 2**-106 of doubles that zeros are held to, with
room for an f'' that is 2**54 times f. A formula that cancels next to the point, such as (sin x - x)/x³, loses NEAR bits
for each power of x: BITS leave room for six. Of two distances the farther one errs 2**16 times more, so that what all
gradients scatter by bounds what the nearer ones err by."""

DIRECTIONS = 8
"""So many, of two sides each. A pair of entries has few cones: those of |x - y| - |x| - |y| (whose partial derivatives
exist) are told apart by every direction with a chance of 1/2, so that 2**-7 of such points pass for smooth."""

AGREE, VANISH = 2.0**-100, 2.0**-120
"""Gradients agree if they scatter by less than AGREE of their size: smooth ones do by 2**-NEAR·f''/f', those of a kink by
what the slopes of its sides differ by, and no two doubles differ by less than 2**-53. Where they vanish, VANISH of the
scale of the problem takes the place of their size."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Gradients next to the point.

    limit   input name -> their common value as balls, where they have one; the radius is what they scatter by
    agrees  input name -> the entries that have one
    samples the gradients, one mapping per neighbour
    """

    limit: Mapping[str, np.ndarray]
    agrees: Mapping[str, np.ndarray]
    samples: Sequence[Mapping[str, np.ndarray]]

    def hull(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value of each entry; NaN where none is finite."""
        seen = np.array([[float(v) for v in s[name].ravel().tolist()] for s in self.samples])
        seen = np.where(np.isfinite(seen), seen, np.nan).reshape(len(self.samples), *self.samples[0][name].shape)
        return np.fmin.reduce(seen), np.fmax.reduce(seen)


def neighbours(
    attempt: Any, moving: Mapping[str, np.ndarray], rng: np.random.Generator, scale: float
) -> Neighbours | None:
    """The gradients next to the point of `attempt` (`truth._Attempt`), which is left in the entries `moving`.

    None where they do not explain the values there, or a comparison is undecidable. `scale` is what zeros are measured
    against.
    """
    lengths = {n: attempt.lengths(n) for n in moving}
    samples: list[Mapping[str, np.ndarray]] = []
    with working(BITS):
        base = attempt.pairing(attempt.nodes_at(arb(0), {}))
        for k in range(DIRECTIONS):
            # One direction of one sign: of what is 0 but where all of several entries are positive, few others show it.
            signs = (lambda n: rng.choice([-1.0, 1.0], n)) if k else np.ones
            direction = {
                n: BALLS.asarray(np.where(m, lengths[n] * rng.uniform(0.5, 1.0, m.shape) * signs(m.shape), 0.0))
                for n, m in moving.items()
            }
            for side in (1, -1):
                t = side * arb(2) ** -(NEARER if k % 2 else NEAR)
                found = _sample(attempt, direction, t, base, scale)
                if found is None:
                    return None
                samples.append(found)
        order = [*samples[2:], *samples[:2]]  # one of the nearer ones first
        limit, agrees = {}, {}
        for n, m in moving.items():
            limit[n], agrees[n] = _common([s[n] for s in order], m, scale / lengths[n])
    return Neighbours(limit, agrees, samples)


MOST_TURNS = 64
"""Rotations of a tie: one for each of the entries of the largest, up to so many walks."""


def tied_bounds(
    attempt: Any, masks: Mapping[str, np.ndarray], scale: float
) -> Mapping[str, tuple[np.ndarray, np.ndarray]] | None:
    """The least and the largest gradient nearby of each entry of `masks`, where three or more have one value; else None.

    Moved alone, the middle one of three equal entries becomes the first or the last. What it is as the middle one (of a
    sorted array: the cotangent of the middle place) shows where all of them move. Entries of one value are moved apart in
    their order, which is then rotated until each has had every place. Every gradient there is a limit of gradients of the
    function, so that it is a right answer at the tie.
    """
    names = list(masks)
    values = np.concatenate([attempt.at[n][masks[n]].ravel() for n in names] or [np.zeros(0)])
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    if not values.size or counts.max() < 3:
        return None
    order = np.argsort(group, kind="stable")
    place = np.empty(values.size)
    place[order] = np.arange(values.size) - np.repeat(np.cumsum(counts) - counts, counts)
    of = counts[group]
    samples = []
    with working(BITS):
        base = attempt.pairing(attempt.nodes_at(arb(0), {}))
        for k in range(min(int(counts.max()), MOST_TURNS)):
            steps = ((place + k) % of - (of - 1) / 2) / of
            direction, start = {}, 0
            for n in names:
                u = np.zeros(masks[n].shape)
                end = start + int(masks[n].sum())
                u[masks[n]] = steps[start:end]
                direction[n], start = BALLS.asarray(u * attempt.lengths(n)), end
            found = _sample(attempt, direction, arb(2) ** -NEAR, base, scale)
            if found is not None:
                samples.append(found)
    near = Neighbours({}, {}, samples)
    return {n: near.hull(n) for n in names} if samples else None


def _sample(
    attempt: Any, direction: Mapping[str, np.ndarray], t: arb, base: arb, scale: float
) -> Mapping[str, np.ndarray] | None:
    """The gradient at x + t·direction, if the values of the function agree with it."""
    BALLS.undecided = 0
    nodes = attempt.nodes_at(t, direction)
    graph, wrt = attempt.graph, attempt.wrt
    adjoint = reverse(BALLS, graph, nodes, attempt.cotangent, wrt, dead=True)
    if BALLS.undecided:
        return None
    found = {n: BALLS.asarray(adjoint[graph.inputs[n]]) if graph.inputs[n] in adjoint
             else BALLS.zeros(attempt.values[n].shape) for n in wrt}  # fmt: skip
    predicted, size = arb(0), arb(scale) * VANISH
    for n, u in direction.items():
        for g, d in zip(found[n].ravel().tolist(), u.ravel().tolist()):
            if d != 0:
                predicted += g * d
                size += abs(g * d) * AGREE
    rise = (attempt.pairing(nodes) - base) / t
    # `not <=` holds for what is not finite too.
    return None if not abs(rise - predicted) <= size else found


def _common(samples: Sequence[np.ndarray], mask: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    limit, agrees = samples[0].copy(), np.zeros(mask.shape, dtype=bool)
    for at in map(tuple, np.argwhere(mask).tolist()):
        first = samples[0][at]
        spread = arb(0)
        for s in samples[1:]:
            spread = spread.max(abs(s[at] - first))
        agrees[at] = bool(spread <= abs(first) * AGREE + arb(float(scale[at])) * VANISH)
        if agrees[at]:
            # Twice: `first` errs by 2**-16 of what the farther ones do, and these scatter by about as much as they err.
            limit[at] = first + arb(0, float((2 * spread).upper()))
    return limit, agrees


def apart(good: np.ndarray, bad: np.ndarray, moved: Callable[[np.ndarray], np.ndarray | None]) -> np.ndarray:
    """Keep the entries of `good` whose kinks lead, one to the next, to none of `bad` (all are flat indices).

    `moved(entries)` says which zero distances to a kink are left when these entries move together.
    """
    while good.size and bad.size:
        theirs = moved(bad)
        sharing: list[int] = []
        asked = [good]
        while asked:
            entries = asked.pop()
            left = moved(entries)
            if left is not None and theirs is not None and not (left & theirs).any():
                continue
            if entries.size == 1:
                sharing += entries.tolist()
                continue
            middle = entries.size // 2
            asked += [entries[middle:], entries[:middle]]
        if not sharing:
            break
        bad = np.asarray(sharing)
        good = np.setdiff1d(good, bad)
    return good
