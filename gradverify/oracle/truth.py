"""The true VJP of a case, from the forward definitions only, in a constant number of graph evaluations.

1. One reverse pass in balls, with the op table's VJP texts, gives a candidate ĝ of tens of digits.
2. Central differences of the definition along one random direction u say whether ⟨ĝ, u⟩ is right. The rules are never
   trusted; the difference of the definition is.
3. Where they agree, every entry of ĝ is right to within what the difference resolves: an entry off by e shifts ⟨ĝ, u⟩
   by e·u_i. Where they disagree, or at a kink, entry-by-entry differences decide.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flint import arb

from ..core.graph import Apply, Constant, Graph
from ..namespaces.run import forward, kink_distances, reverse
from ..ops.build import lowered
from .balls import BALLS
from .estimate import Estimate, from_balls
from .neighbours import apart, neighbours, tied_bounds
from .precision import step_exponent, working
from .shared import Point, find, keep, key_of
from .sides import Sides, SideSlopes, widen, widen_ties
from .ties import Along, along_ties

LADDER = (256, 512, 1024, 4096)
"""Working bits, climbed only while the result is too wide to decide. The last rung tells entries of 1e-300 from the
rounding next to entries of 1; it is for small graphs (SMALL elements over all nodes), where it costs milliseconds."""

SMALL = 20_000

CHANCE = 2.0**-32
"""Several wrong entries could cancel in ⟨ĝ, u⟩. Each factor of u is drawn from ±[1/2, 1] by a continuous law, so the
chance that errors e cancel to below CHANCE·max|e_i u_i| is below 2·CHANCE; the bound on an entry is widened by
1/CHANCE, which at 256 bits still leaves more than 25 digits."""

MAX_ENTRIES = 4096
"""Entry-by-entry differences cost two evaluations per entry; beyond this the oracle says that it does not know."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What the oracle knows of a case.

    outputs     an Estimate per output
    gradients   input name -> Estimate
    low, high   at a kink: input name -> the one-sided derivatives' smallest and largest value per entry; an entry where
                neither side has a derivative is NaN. Empty at a smooth point
    smooth      at a kink of the graph: input name -> the entries in which the composed function has none; what stands for
                them in `gradients`, `low` and `high` is their derivative
    taken       with `smooth`: input name -> what the conventions of the graph's ops come to
    along       at a kink: what the entries of a tie must come to together, along directions that keep the tie
    dead        which entries of which nodes' cotangents are 0, where that had to be known: a branch not taken has no
                finite derivative
    idle        nodes whose cotangents are all 0 by cancellation: the function does not depend on them (the maximum that
                a softmax subtracts, the mean within a variance)
    method      "confirmed" (one direction), "differences" (entry by entry), "one-sided" (at a kink)
    kinks       labels of the ops at whose kink the point lies
    suspects    a reason to distrust our own rules: the confirmation failed and the differences decided
    bits        working precision used
    unresolved  the largest bound of any gradient entry, relative to that entry; for a zero entry the square root of
                its bound relative to the case's scale (zeros are held to an ulp of an ulp)
    """

    outputs: tuple[Estimate, ...]
    gradients: Mapping[str, Estimate]
    low: Mapping[str, np.ndarray] = field(default_factory=dict)
    high: Mapping[str, np.ndarray] = field(default_factory=dict)
    smooth: Mapping[str, np.ndarray] = field(default_factory=dict)
    taken: Mapping[str, np.ndarray] = field(default_factory=dict)
    along: tuple[Along, ...] = ()
    dead: Mapping[int, np.ndarray] = field(default_factory=dict)
    idle: frozenset[int] = frozenset()
    method: str = "confirmed"
    kinks: tuple[str, ...] = ()
    suspects: str = ""
    bits: int = LADDER[0]
    unresolved: float = 0.0


def truth(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    cotangent: tuple[np.ndarray, ...],
    wrt: tuple[str, ...],
    dtype: str,
    *,
    seed: int = 0,
    wanted: float = 1e-18,
) -> Truth:
    """The VJP of `graph` at `values` for `cotangent` with respect to `wrt`, and its outputs.

    `values` and `cotangent` are taken as exact; float literals of the graph are rounded to `dtype` first, as the
    subject's are. The ladder of precisions stops as soon as `unresolved` is below `wanted`.
    Raises Unsupported for an op without a kernel in balls.
    """
    flat = lowered(graph)
    found = None
    small = sum(math.prod(n.shape) for n in flat.nodes) <= SMALL
    for bits in LADDER if small else LADDER[:-1]:
        with working(bits):
            try:
                for key in (key_of(values, wrt, dtype, bits, seed) if small else b"", b""):
                    attempt = _Attempt(flat, values, cotangent, wrt, dtype, bits, seed, key)
                    found = replace(attempt.run(), dead=attempt.dead, idle=attempt.idle)
                    if attempt.known is None or (found.method == "confirmed" and found.unresolved <= wanted):
                        break  # else the direction that another cotangent chose resolves too little
            finally:
                BALLS.matrices.clear()
        assert found is not None
        if found.unresolved <= wanted or found.kinks or found.suspects:
            break
    assert found is not None
    return found


def with_literals(
    true: Truth, graph: Graph, values: Mapping[str, np.ndarray], cotangent: tuple[np.ndarray, ...], wrt: tuple[str, ...],
    dtype: str, literal: Callable[[Constant], Any] | None = None, arrays: Mapping[str, Any] | None = None,
) -> Truth | None:  # fmt: skip
    """The truth with float literals of another dtype, by the rules that `true` has confirmed at the same point.

    `literal` makes the balls of a literal instead, and `arrays` has those of inputs. None where nothing was confirmed, or
    at a kink.
    """
    if true.method != "confirmed" or true.kinks or true.suspects:
        return None
    with working(true.bits):
        try:
            attempt = _Attempt(lowered(graph), values, cotangent, wrt, dtype, true.bits, 0)
            BALLS.undecided = 0
            nodes = forward(BALLS, attempt.graph, {**attempt.values, **(arrays or {})}, dtype, literal=literal)
            if attempt.kinks(nodes) or BALLS.undecided:
                return None
            found = {n: from_balls(g) for n, g in attempt.candidate(nodes, bool(true.dead)).items()}
        finally:
            BALLS.matrices.clear()
            BALLS.undecided = 0
    return replace(true, gradients=found) if all(np.isfinite(e.hi).all() for e in found.values()) else None


class _Attempt:
    """One evaluation at one precision."""

    def __init__(
        self,
        graph: Graph,
        values: Mapping[str, np.ndarray],
        cotangent: tuple[np.ndarray, ...],
        wrt: tuple[str, ...],
        dtype: str,
        bits: int,
        seed: int,
        key: bytes = b"",
    ) -> None:
        self.graph, self.wrt, self.dtype, self.bits = graph, wrt, dtype, bits
        self.key, self.known = key, find(graph, key) if key else None
        self.rng = np.random.default_rng([seed, bits])
        self.dead: dict[int, np.ndarray] = {}
        self.idle: frozenset[int] = frozenset()
        self.nodes: list[Any] = []
        self.joint = False  # are there kinks that no entry meets alone?
        floats = {n: graph.nodes[k].kind == "float" for n, k in graph.inputs.items()}
        self.values = {n: BALLS.asarray(_wide(v)) if floats[n] else np.asarray(v) for n, v in values.items()}
        self.weights = tuple(_wide(c) for c in cotangent)
        self.cotangent = tuple(BALLS.asarray(c) for c in self.weights)
        self.at = {n: _wide(values[n]) for n in wrt}
        self.points = {n: np.abs(x) for n, x in self.at.items()}

    def run(self) -> Truth:
        BALLS.undecided = 0
        nodes = self.known.nodes if self.known else forward(BALLS, self.graph, self.values, self.dtype)
        outputs = tuple(from_balls(BALLS.asarray(nodes[o])) for o in self.graph.outputs)
        kinks = () if self.known else self.kinks(nodes)
        if any(np.isnan(e.hi).any() for e in outputs) or self.is_beyond_doubles(nodes):
            return self.without_gradient(outputs, kinks)
        for dead in (False, True):
            candidate = self.candidate(nodes, dead)
            estimates = {n: from_balls(g) for n, g in candidate.items()}
            finite = all(np.isfinite(e.hi).all() for e in estimates.values())
            if finite:
                break
        if kinks or not finite or BALLS.undecided:
            # What a comparison decides that the balls leave open, no distance tells.
            undecided = bool(BALLS.undecided)
            at_kink = self.at_kink(nodes, candidate, estimates) if kinks and not undecided else None
            kinks = kinks or ("an undecidable comparison",) * undecided
            found, sides = self.one_sided(outputs, estimates, kinks, at_kink)
            found, candidate = self.smoothed(found, candidate, sides, nodes, not (undecided or self.joint))
            finite = all(np.isfinite(e.hi).all() for e in found.gradients.values())
            along = along_ties(self, nodes, candidate) if finite and not undecided else ()
            return replace(found, along=along)
        self.nodes = nodes
        gradients, agrees = self.confirmed(candidate, estimates)
        if agrees:
            return Truth(
                outputs, gradients, bits=self.bits, unresolved=_unresolved(gradients, self.size(outputs, gradients))
            )
        return self.by_entry(outputs, candidate)

    def is_beyond_doubles(self, nodes: list[Any]) -> bool:
        """Does an entry of an output surely lie beyond the largest double?"""
        entries = (v for o in self.graph.outputs for v in BALLS.asarray(nodes[o]).ravel().tolist())
        return any(v.is_finite() and abs(v) > sys.float_info.max for v in entries)

    def without_gradient(self, outputs: tuple[Estimate, ...], kinks: tuple[str, ...]) -> Truth:
        """The Truth where the function has no value, or none within the doubles: no gradient is looked for.

        To difference every entry of it would cost two walks each. More bits may still find a value where a ball was too
        wide for one, and none within the doubles.
        """
        kinks = kinks or ("an undecidable comparison",) * bool(BALLS.undecided)
        unknown = {n: _unknown(self.values[n].shape) for n in self.wrt}
        unresolved = math.inf if any(np.isnan(e.hi).any() for e in outputs) else 0.0
        return Truth(outputs, unknown, kinks=kinks, bits=self.bits, unresolved=unresolved)

    def kinks(self, nodes: list[Any]) -> tuple[str, ...]:
        at: list[str] = []
        for k, distance in kink_distances(BALLS, self.graph, nodes, self.wrt).items():
            if any(d.contains(0) or d.is_nan() for d in BALLS.asarray(distance).ravel().tolist()):
                node = self.graph.nodes[k]
                assert isinstance(node, Apply)
                at.append(node.op)
        return tuple(at)

    def candidate(self, nodes: list[Any], dead: bool) -> dict[str, np.ndarray]:
        """ĝ: the reverse pass with the table's VJP texts; zeros for an input that no output depends on."""
        adjoint = reverse(BALLS, self.graph, nodes, self.cotangent, self.wrt, dead=dead)
        # Balls do not overflow, so that they may not need to know which branch is dead, as doubles do.
        if dead or any(isinstance(n, Apply) and n.op == "where" for n in self.graph.nodes):
            zeros = {k: np.asarray(g) == 0 for k, g in adjoint.items()}
            self.dead = {k: z for k, z in zeros.items() if z.any()}
        self.idle = frozenset(
            k for k, g in adjoint.items() if isinstance(self.graph.nodes[k], Apply) and _cancels(BALLS.asarray(g))
        )
        inputs = self.graph.inputs
        return {
            n: BALLS.asarray(adjoint[inputs[n]]) if inputs[n] in adjoint else BALLS.zeros(self.values[n].shape)
            for n in self.wrt
        }

    def size(self, outputs: tuple[Estimate, ...], gradients: Mapping[str, Estimate]) -> float:
        """The scale that zeros are measured against: Σ|cotangent·output|, or the most influential entry's |ĝ|·|x|."""
        with np.errstate(all="ignore"):
            pairing = sum(float(np.sum(np.abs(c * o.hi))) for c, o in zip(self.weights, outputs))
            moved = (np.max(np.abs(e.hi) * np.maximum(self.points[n], 1), initial=0) for n, e in gradients.items())
            # Outputs and gradients all zero: the cotangent is the only scale there is.
            return max([pairing, *map(float, moved)]) or max(
                (float(np.max(np.abs(c), initial=0.0)) for c in self.weights), default=0.0
            )

    def pairing(self, nodes: list[Any]) -> arb:
        """⟨cotangent, outputs⟩."""
        return self.paired([nodes[o] for o in self.graph.outputs])

    def paired(self, outputs: Sequence[Any]) -> arb:
        total = arb(0)
        for o, c in zip(outputs, self.cotangent):
            total += BALLS.sum(BALLS.multiply(c, o))[()]
        return total

    def nodes_at(self, t: arb, direction: Mapping[str, np.ndarray]) -> list[Any]:
        values = dict(self.values)
        for n, u in direction.items():
            values[n] = BALLS.add(values[n], BALLS.multiply(t, u))
        return forward(BALLS, self.graph, values, self.dtype)

    def central(self, direction: Mapping[str, np.ndarray]) -> tuple[arb, arb]:
        """The central difference along `direction` and a bound on its error, both at step h/2.

        D(h) = f' + c·h² + …, so D(h) - D(h/2) = 3/4·c·h²: three times what D(h/2) still errs by. The balls bring
        the bound on rounding. The whole difference is kept as the bound.
        """
        return self.difference(self.ends(direction))

    def ends(self, direction: Mapping[str, np.ndarray]) -> tuple[tuple[Any, ...], ...]:
        """The outputs at x + t·u for t = h, -h, h/2 and -h/2."""
        h = arb(2) ** -step_exponent(self.bits)
        found = []
        for t in (h, h / 2):
            steps = {n: BALLS.multiply(t, u) for n, u in direction.items()}
            for moved in (BALLS.add, BALLS.subtract):
                values = {**self.values, **{n: moved(self.values[n], step) for n, step in steps.items()}}
                nodes = forward(BALLS, self.graph, values, self.dtype)
                found.append(tuple(nodes[o] for o in self.graph.outputs))
        return tuple(found)

    def difference(self, ends: tuple[tuple[Any, ...], ...]) -> tuple[arb, arb]:
        """The central difference of ⟨cotangent, f⟩ by its ends; an output that does not move cancels."""
        h = arb(2) ** -step_exponent(self.bits)
        a, b, c, d = map(self.paired, ends)
        wide, fine = (a - b) / (2 * h), (c - d) / h
        return fine, abs(wide - fine).upper() + fine.rad()

    def lengths(self, name: str) -> np.ndarray:
        """The length scale of each entry: |x|, or 1 at zero. Steps are relative to it."""
        x = self.points[name]
        return np.where((x > 0) & np.isfinite(x), x, 1.0)

    def confirmed(
        self,
        candidate: dict[str, np.ndarray],
        estimates: dict[str, Estimate],
        held: Mapping[str, np.ndarray] | None = None,
    ) -> tuple[dict[str, Estimate], bool]:
        """Hold ĝ against one directional difference; widen its bounds by what the difference leaves open.

        u_i = ±ξ_i·s_i with s_i = min(c/|ĝ_i|, 16·length_i), where c is the median of |ĝ_i|·length_i: small entries
        weigh as much as large ones, but no step leaves the neighbourhood of its entry. Entries of `held` do not move, and
        nothing is said of them.
        """
        if self.known is not None:
            return self.held_against(candidate, estimates, self.known)
        # What the balls cannot tell from zero weighs nothing.
        weight = {n: np.where(np.abs(e.hi) > e.bound, np.abs(e.hi), 0) * self.lengths(n) for n, e in estimates.items()}
        every = np.concatenate([w.ravel() for w in weight.values()] or [np.zeros(0)])
        every = every[(every > 0) & np.isfinite(every)]
        c = float(np.median(every)) if every.size else 1.0
        direction, size = {}, {}
        for n, e in estimates.items():
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                scale = np.fmin(c / np.abs(e.hi), 16 * self.lengths(n))
            u = scale * self.rng.uniform(0.5, 1.0, e.shape) * self.rng.choice([-1.0, 1.0], e.shape)
            size[n] = np.abs(u)
            if held is not None:
                u, size[n] = np.where(held[n], 0.0, u), np.where(held[n], np.inf, size[n])
                told = candidate[n].copy()
                told[held[n]] = arb(0)
                candidate = {**candidate, n: told}
            direction[n] = BALLS.asarray(u)
        point = Point(self.key, self.nodes, direction, size, self.ends(direction))
        if self.key and held is None:
            keep(self.graph, point)
        return self.held_against(candidate, estimates, point)

    def held_against(
        self, candidate: Mapping[str, np.ndarray], estimates: Mapping[str, Estimate], point: Point
    ) -> tuple[dict[str, Estimate], bool]:
        """Hold ĝ against the difference along the point's direction."""
        direction, size = point.direction, point.size
        difference, error = self.difference(point.ends)
        predicted = arb(0)
        for n, u in direction.items():
            predicted += BALLS.sum(BALLS.multiply(candidate[n], u))[()]
        gap = predicted - difference
        if not (difference.is_finite() and predicted.is_finite()) or abs(gap) > 4 * error:
            # Certainly apart. 4: both differences carry higher orders; a wrong rule misses by 2**100 times more than
            # this. What is not certain widens the bounds below.
            return {}, False
        slack = float((abs(gap).upper() + error) / CHANCE)
        widened = {n: Estimate(e.hi, e.lo, e.bound + _ratio(slack, size[n])) for n, e in estimates.items()}
        return widened, True

    def by_entry(self, outputs: tuple[Estimate, ...], candidate: dict[str, np.ndarray]) -> Truth:
        """Our own rules failed the confirmation: difference entry by entry."""
        entries = sum(g.size for g in candidate.values())
        suspects = "the reverse pass of the op table disagrees with differences of the definition"
        if entries > MAX_ENTRIES:
            unknown = {n: _unknown(g.shape) for n, g in candidate.items()}
            return Truth(outputs, unknown, method="differences", suspects=suspects, bits=self.bits,
                         unresolved=math.inf)  # fmt: skip
        gradients = {}
        for n in self.wrt:
            gradients[n] = _filled(candidate[n].shape, lambda at, n=n: self.entry(n, at))
        return Truth(outputs, gradients, method="differences", suspects=suspects, bits=self.bits,
                     unresolved=_unresolved(gradients, self.size(outputs, gradients)))  # fmt: skip

    def unit(self, name: str, at: tuple[int, ...]) -> dict[str, np.ndarray]:
        u = np.zeros(self.values[name].shape)
        u[at] = self.lengths(name)[at]
        return {name: BALLS.asarray(u)}

    def entry(self, name: str, at: tuple[int, ...]) -> arb:
        """One partial derivative as a ball: central difference, its error as the radius."""
        scale = arb(float(self.lengths(name)[at]))
        difference, error = self.central(self.unit(name, at))
        return (difference + arb(0, float(error))) / scale

    def at_kink(
        self, nodes: list[Any], candidate: dict[str, np.ndarray], estimates: dict[str, Estimate]
    ) -> tuple[dict[str, np.ndarray], dict[str, Estimate]] | None:
        """The entries that lie at a kink, and the estimates of all others; None where they cannot be told apart.

        Moved together in a random direction, entries that no zero distance depends on leave all of these zero, so that
        halving finds the others, each in a logarithm of tests: of n inputs few lie at a kink, as a rule. Nothing rests on
        the search: the others' ĝ is confirmed along a direction that keeps every zero distance, like one at a smooth
        point.
        """
        zeros = self.zero_distances(nodes)
        h = arb(2) ** -step_exponent(self.bits)
        sizes = [self.points[n].size for n in self.wrt]
        places = np.cumsum([0, *sizes])
        total = int(places[-1])
        draw = self.rng.uniform(0.5, 1.0, total) * self.rng.choice([-1.0, 1.0], total)
        step = draw * np.concatenate([self.lengths(n).ravel() for n in self.wrt])
        left = total  # tests of two walks each: half of what the differences of all entries cost

        def by_name(whole: np.ndarray) -> dict[str, np.ndarray]:
            return {n: whole[a:b].reshape(self.points[n].shape) for n, a, b in zip(self.wrt, places, places[1:])}

        def stays(entries: np.ndarray) -> bool:
            """To either side: of three equal maxima one may go down, and the other two are still a tie."""
            moved = np.zeros(total)
            moved[entries] = step[entries]
            moves = {n: BALLS.asarray(u) for n, u in by_name(moved).items() if u.any()}
            return all(self.zero_distances(self.nodes_at(t, moves)) == zeros for t in (h, -h))

        finite = np.concatenate([np.isfinite(estimates[n].hi).ravel() for n in self.wrt])
        held = ~finite
        asked = [np.flatnonzero(finite)]
        while asked:
            entries = asked.pop()
            left -= 1
            if left < 0:
                return None
            if not entries.size or stays(entries):
                continue
            if entries.size == 1:
                held[entries] = True
                continue
            middle = entries.size // 2
            asked += [entries[middle:], entries[:middle]]
        if not stays(np.flatnonzero(~held)):
            self.joint = True
            return None
        masks = by_name(held)
        found, agrees = self.confirmed(candidate, estimates, masks)
        return (masks, found) if agrees else None

    def one_sided(
        self,
        outputs: tuple[Estimate, ...],
        gradients: dict[str, Estimate],
        kinks: tuple[str, ...],
        at_kink: tuple[dict[str, np.ndarray], dict[str, Estimate]] | None,
    ) -> tuple[Truth, Sides]:
        """At a kink the one-sided partial derivatives bound the defensible answers, output entry by output entry: of two
        maxima over overlapping windows each may choose its own entry of a tie.

        Each side is differenced at h and h/2; where the two disagree (a jump, a root) that side has no derivative.
        The candidate (the table's own convention) stays as the value, to be named if a subject agrees with it.
        `at_kink` is which entries are asked, all where that is not known; the others have one derivative, the candidate.
        With it, what is known of each entry asked: its slope and that slope's resolution where both sides agree in every
        output entry, else NaN.
        """
        low: dict[str, np.ndarray] = {}
        high: dict[str, np.ndarray] = {}
        masks = {n: np.ones(g.shape, dtype=bool) for n, g in gradients.items()}
        if at_kink is not None:
            masks, gradients = at_kink
        sides = Sides(masks, {n: np.full(m.shape, np.nan) for n, m in masks.items()}, {})
        if sum(int(m.sum()) for m in masks.values()) <= MAX_ENTRIES:
            slopes = SideSlopes(self, masks)
            for n, g in gradients.items():
                low[n], high[n] = (np.where(masks[n], np.nan, g.hi) for _ in range(2))
                for at in map(tuple, np.argwhere(masks[n]).tolist()):
                    right, left = (slopes.of(n, at, s) for s in (1, -1))
                    # Where one side has no derivative the other one stands; where neither has, the sum is NaN.
                    low[n][at] = float(np.sum(np.fmin(right, left)))
                    high[n][at] = float(np.sum(np.fmax(right, left)))
                    sides.note(n, at, right, left, float(self.lengths(n)[at]))
            scale = self.size(outputs, self.finite(gradients))
            widen_ties(low, high, masks, tied_bounds(self, masks, scale))
        found = Truth(outputs, gradients, low, high, method="one-sided", kinks=kinks, bits=self.bits,
                      unresolved=_unresolved(gradients, self.size(outputs, gradients)))  # fmt: skip
        return found, sides

    def smoothed(
        self, found: Truth, candidate: dict[str, np.ndarray], sides: Sides, nodes: list[Any], told_apart: bool
    ) -> tuple[Truth, dict[str, np.ndarray]]:
        """`found` with the derivative of every entry in which the composed function is smooth, though its graph is not;
        and the candidate, as balls, likewise.

        Where the entries at a kink could not be `told_apart` from the others, all or none of them are smooth.
        """
        one_slope = {n: np.isfinite(s) for n, s in sides.slope.items()}
        if not any(m.any() for m in one_slope.values()):
            return found, candidate
        moving = {n: np.where(sides.asked[n], m, np.isfinite(found.gradients[n].hi)) for n, m in one_slope.items()}
        near = neighbours(self, moving, self.rng, self.size(found.outputs, self.finite(found.gradients)))
        if near is None:
            return found, candidate
        fine = {}
        for n, m in one_slope.items():
            with np.errstate(invalid="ignore"):
                fits = np.abs(from_balls(near.limit[n]).hi - sides.slope[n]) <= sides.unsure(n)
            fine[n] = m & near.agrees[n] & fits
        fine = self.unshared(fine, sides, nodes, told_apart)
        gradients, low, high, taken = dict(found.gradients), dict(found.low), dict(found.high), {}
        candidate = dict(candidate)
        widen(low, high, {n: one_slope[n] & ~m for n, m in fine.items()}, {n: near.hull(n) for n in fine})
        for n, m in fine.items():
            taken[n] = gradients[n].resolved
            if m.any():
                candidate[n] = np.where(m, near.limit[n], candidate[n])
                old, new = gradients[n], from_balls(BALLS.where(m, near.limit[n], 0))
                gradients[n] = Estimate(*(np.where(m, b, a) for a, b in zip(_parts(old), _parts(new))))
                low[n], high[n] = np.where(m, new.hi, low[n]), np.where(m, new.hi, high[n])
        unresolved = _unresolved(gradients, self.size(found.outputs, gradients))
        smoothed = replace(
            found, gradients=gradients, low=low, high=high, smooth=fine, taken=taken, unresolved=unresolved
        )
        return smoothed, candidate

    def finite(self, gradients: Mapping[str, Estimate]) -> dict[str, Estimate]:
        """Replace entries that are not finite by 0."""
        return {n: Estimate(np.where(np.isfinite(e.hi), e.hi, 0.0), e.lo, e.bound) for n, e in gradients.items()}

    def unshared(
        self, fine: dict[str, np.ndarray], sides: Sides, nodes: list[Any], told_apart: bool
    ) -> dict[str, np.ndarray]:
        """The entries of `fine` that share no kink with one that is asked and is not fine: of many tied entries, few
        cones are seen, and one that shows the kink tells of all."""
        names = list(fine)
        good = np.concatenate([fine[n].ravel() for n in names])
        bad = np.concatenate([sides.asked[n].ravel() for n in names]) & ~good
        if not told_apart:
            kept = good if not bad.any() else np.zeros_like(good)
        else:
            zeros = _flat(self.zero_distances(nodes))
            steps = np.concatenate([self.lengths(n).ravel() for n in names])
            steps = steps * self.rng.uniform(0.5, 1.0, steps.size)
            ends = np.cumsum([0, *(fine[n].size for n in names)])
            h = arb(2) ** -step_exponent(self.bits)

            def moved(entries: np.ndarray) -> np.ndarray:
                u = np.zeros(steps.size)
                u[entries] = steps[entries]
                moves = {n: BALLS.asarray(u[a:b].reshape(fine[n].shape)) for n, a, b in zip(names, ends, ends[1:])}
                stay = [_flat(self.zero_distances(self.nodes_at(t, moves))) for t in (h, -h)]
                return np.asarray(zeros & ~(stay[0] & stay[1]))

            kept = np.zeros_like(good)
            kept[apart(np.flatnonzero(good), np.flatnonzero(bad), moved)] = True
        ends = np.cumsum([0, *(fine[n].size for n in names)])
        return {n: kept[a:b].reshape(fine[n].shape) for n, a, b in zip(names, ends, ends[1:])}

    def zero_distances(self, nodes: list[Any]) -> list[list[bool]]:
        """Which distances to a kink are zero."""
        found = kink_distances(BALLS, self.graph, nodes, self.wrt)
        return [[d.contains(0) for d in BALLS.asarray(found[k]).ravel().tolist()] for k in sorted(found)]


def _cancels(g: np.ndarray) -> bool:
    """Are all entries zero as far as their balls can tell, and not all of them exactly?"""
    entries = g.ravel().tolist()
    # v == 0: certainly so. (v != 0 would ask whether it certainly is not.)
    return all(v.contains(0) for v in entries) and not all(v == 0 for v in entries)


def _parts(e: Estimate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return e.hi, e.lo, e.bound


def _flat(flags: list[list[bool]]) -> np.ndarray:
    return np.array([f for some in flags for f in some], dtype=bool)


def _wide(x: Any) -> np.ndarray:
    return np.asarray(x).astype(np.float64)


def _ratio(a: float, b: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(a / b)


def _filled(shape: tuple[int, ...], entry: Any) -> Estimate:
    out = np.empty(shape, dtype=object)
    for at in np.ndindex(shape):
        out[at] = entry(at)
    return from_balls(out)


def _unknown(shape: tuple[int, ...]) -> Estimate:
    return Estimate(np.full(shape, np.nan), np.zeros(shape), np.full(shape, np.inf))


def _unresolved(gradients: Mapping[str, Estimate], scale: float) -> float:
    worst = 0.0
    for e in gradients.values():
        size = np.abs(e.hi)
        with np.errstate(all="ignore"):
            zero = np.sqrt(e.bound / max(scale, 2.0**-1022))
            worst = max(worst, float(np.max(np.where(size > 0, e.bound / size, zero), initial=0.0)))
    return worst
