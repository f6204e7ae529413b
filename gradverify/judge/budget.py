"""The budget: how far rounding in the subject's dtype can take a correct implementation, entry by entry.

The reference (forward and reverse, the op table's texts in float64) is rerun several times with the result of every
operation nudged as a careful implementation in that dtype may err. What the reruns scatter by is what rounding can do;
nobody states a tolerance. The error model of each operation, u the unit roundoff of the dtype and a that of its
arithmetic (`FloatFormat.arithmetic`): float16 and bfloat16 are formats of storage, so that one operation is computed in
float32 and rounded once, by u·|result| on top of what stands here; in float32 and float64, a is u and nothing comes on
top.

* elementwise:  |error| <= 2·ulps·a·|result|, with `ulps` from the op's declaration (1 ulp <= 2u|x|);
* sum of n:     √(n-1)·a·Σ|x_i|, the probabilistic bound of Higham & Mary, "A New Approach to Probabilistic Rounding
                Error Analysis", SIAM J. Sci. Comput. 41 (2019), thm 2.4; any order of summation stays below it. Who
                accumulates in 16 bits loses digits that need not be lost (`stepwise` asks whether somebody did);
* product of n: √(n-1)·u·|result| (the same, relative: nothing cancels, so that stepwise rounding loses no digit);
* matmul, einsum: √k·a·(|A||B|) with k the contracted length (ibid., thm 3.3); between three and more operands of an
                einsum stand intermediate results, of which each is rounded: u·(|A||B||C|);
* literals of an op's text (an eps, a factor): kept wide or rounded to the dtype, as the subject likes: they move by as
                much as that rounding moves them, by all of it where they underflow;
* solve, inv, cholesky, det: backward stable, so the exact result for a matrix moved by n·a·max|A| (Higham, "Accuracy
                and Stability of Numerical Algorithms", 2002, thms 9.4 and 10.3);
* the inputs:   moved by a·|x| themselves: numerically stable is what gives nearly the right answer to nearly the right
                question (the mixed forward-backward stability of Higham 2002, section 1.5). A formula that is less
                careful than the table's and still stable, such as 2(x - mean x)/n at a large mean, is right; one that
                cancels (1 - tanh²) is not. Entries of equal size move alike, so that ties, symmetric matrices and
                exact differences stay what they are; and apart as well, where that breaks no tie that counts
                (`_rerun_apart`). None moves at a kink, or where that leaves the domain;
* range:        results beyond the largest number become inf; results below the smallest normal may be flushed to 0
                (IEEE 754-2019 §7.5 permits it as an attribute; XLA's CPU backend does it), except in float16, where
                they err by half the distance of subnormal numbers (`FloatFormat.gradual`).

Left out on purpose: a subject that adds into memory of its own 16-bit dtype (scatter_add by atomics) loses digits and
is not excused for it.

Nudges are Gaussian with these bounds as standard deviations, so a sum of them cannot cancel systematically.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Constant, Graph, Input, Node
from ..namespaces.dtypes import FORMATS, FloatFormat, is_float, to_float64
from ..namespaces.nudged import Decisions, Noise, Nudged, NudgedNamespace, branches_of, require_nudged
from ..namespaces.run import Table, constant_array, forward, kink_distances, reverse
from ..ops import OPS
from ..ops.build import lowered, lowered_with_origins

RERUNS = 16
SAFETY = 8.0
"""The budget is SAFETY times the root mean square of RERUNS reruns.

A careful implementation errs by at most half the nudges' standard deviation s (a rounding to nearest by half an ulp at
most, uniformly: 0.29 s), so that error over measured scatter is half a Student t variable of 16 degrees of freedom, and
P(|t| > 2·SAFETY) = 3e-11 per entry. Independent errors aside, a systematic one may reach SAFETY·s. The same budget
decides PASS and FAIL, so that the power that a PASS states is the power that it had.
"""


@dataclass(frozen=True, eq=False)
class Budget:
    """The error that rounding excuses, per entry and absolute; infinite where a rerun left the dtype's range.

    reruns    how many there were
    branches  the reruns did not all take the same branch, or came so close to another that rounding may take it
    """

    outputs: tuple[np.ndarray, ...]
    gradients: Mapping[str, np.ndarray]
    reruns: int
    branches: bool = False


@dataclass(frozen=True, eq=False)
class Conditions:
    """Assumptions of the reruns of a budget.

    reruns    how many
    seed      of the nudges
    table     other texts for some ops: of a subject that is known to compute with those
    at_kink   the point lies on a kink, which a move of the inputs would leave
    leaves    the inputs are to leave it: zeros move as well, as ones do
    dead      node of the lowered graph -> mask of the entries whose cotangent is 0 by structure (`Truth.dead`)
    idle      nodes whose cotangent is 0 by cancellation (`Truth.idle`). A formula derived by hand leaves them out, and
              has other roundings than one that computes the 0; both are right, so that an entry's budget is the larger
              one of both ways
    loose     could a branch that rounding turns explain this? Then nudges are SAFETY times larger, and reruns of every
              branch count
    stepwise  could sums have been accumulated in the 16-bit dtype itself? The bound is then the worst case,
              (n-1)·u·Σ|x_i| (Higham 2002, eq. 4.4): a sum that stagnates errs with one sign
    forced    decisions of another branch than the one that rounding happens to take (see `branches.py`); the truth is
              then that of this branch
    once      inputs whose gradient is rounded to their dtype once, however often the function casts them to a wider one
    """

    reruns: int = RERUNS
    seed: int = 0
    table: Table = field(default_factory=lambda: OPS)
    at_kink: bool = False
    leaves: bool = False
    dead: Mapping[int, np.ndarray] | None = None
    idle: frozenset[int] = frozenset()
    loose: bool = False
    stepwise: bool = False
    forced: Decisions | None = None
    once: frozenset[str] = frozenset()


USUAL = Conditions()


def budget(
    case: Case, outputs: Sequence[np.ndarray], gradients: Mapping[str, np.ndarray], how: Conditions = USUAL
) -> Budget:
    """The scatter of nudged reruns around the true `outputs` and `gradients` (float64, from the oracle).

    An array's budget is SAFETY·rms(rerun - truth) + SAFETY·u·|truth| + floor + what underflow costs. The second
    term is the rounding of the result itself and covers entries that happened to be hit by no nudge. The floor gives
    zeros (what the oracle cannot tell from zero is given as 0) an ulp of an ulp: u² of the array's largest entry; for
    outputs also u² of the largest number that goes in or comes out; for gradients u² of what moves
    ⟨cotangent, outputs⟩, where x_j moves by max(|x_j|, 1), as much as the most influential entry of any input does.
    Underflow costs the smallest normal number of the dtype where it is abrupt; a gradual one is a rounding, and has the
    SAFETY of it.

    The outputs of `case.parts`, and the gradients `z.real` and `z.imag`, are one complex number: the result is rounded at
    the size of the modulus, as complex arithmetic promises no more (a product errs by √5·u of the modulus at most, not
    of each part; Brent, Percival & Zimmermann, Math. Comp. 76 (2007) 1469).
    """
    flat = lowered(case.graph, how.table)
    if (how.dead or how.idle) and how.table is not OPS and flat != lowered(case.graph):
        how = replace(how, dead=None, idle=frozenset())  # they are nodes of another graph
    runs = _reruns(case, flat, how, frozenset())
    kept, branches = _same_branch(runs)
    kept = runs if how.loose else kept
    samples = [kept, _same_branch(_reruns(case, flat, how, how.idle))[0]] if how.idle else [kept]
    fmt, floors = FORMATS[case.dtype], _Floors(case, outputs, gradients)
    apart = _rerun_apart(case, flat, how, gradients, floors)
    samples += [apart] if apart else []
    other_output = {i: k for pair in case.parts for i, k in (pair, pair[::-1])}
    return Budget(
        tuple(
            _bound_entries(
                t, [[r.outputs[i] for r in runs] for runs in samples], floors.outputs, _at(outputs, other_output.get(i)),
                fmt,
            )
            for i, t in enumerate(outputs)
        ),
        {
            n: _bound_entries(
                t, [[r.gradients[n] for r in runs] for runs in samples], floors.gradients[n],
                gradients.get(other_part(n)), fmt,
            )
            for n, t in gradients.items()
        },
        how.reruns,
        branches or _near_kink(runs),
    )  # fmt: skip


def _at(arrays: Sequence[np.ndarray], i: int | None) -> np.ndarray | None:
    return None if i is None else arrays[i]


def _rerun_apart(
    case: Case, flat: Graph, how: Conditions, gradients: Mapping[str, np.ndarray], floors: _Floors
) -> list[_Rerun]:
    """The reruns at inputs whose equal entries move apart; none where no two are equal.

    logsumexp of equal entries, x - logsumexp(x) rounded at the size of x, has the digits there that it has next to the tie.
    Left out is what a tie makes special (another branch, a variance of equal entries that is 0 in exact arithmetic alone):
    reruns in which half the digits are another's.
    """
    if how.at_kink or not _Moved(case.values, 1.0).has_ties:
        return []
    half = math.sqrt(FORMATS[case.dtype].roundoff)
    with np.errstate(all="ignore"):
        close = {
            n: half * np.maximum(np.max(np.abs(t), initial=0.0), floors.gradients[n]) for n, t in gradients.items()
        }
        runs = _reruns(case, flat, how, frozenset(), apart=True)
        return [r for r in runs if all((np.abs(r.gradients[n] - t) <= close[n]).all() for n, t in gradients.items())]


def _reruns(case: Case, flat: Graph, how: Conditions, without: frozenset[int], apart: bool = False) -> list[_Rerun]:
    """The reruns at moved inputs; at the inputs themselves where a rerun is not finite there."""
    fmt, table, dead = FORMATS[case.dtype], how.table, how.dead or {}
    nudges = _loosen(fmt) if how.loose else fmt
    xp = NudgedNamespace(Noise(nudges, how.stepwise, how.forced))
    moved = _Moved(case.values, 0.0 if how.at_kink else nudges.arithmetic, how.leaves, apart)
    own = _own_dtypes(xp, case, flat, table, how.once)
    runs: list[_Rerun] = []
    for part in _parts(flat, how.reruns):
        runs += _rerun(xp, flat, case, moved.points(xp, how.seed, part), part, how.seed, table, dead, without, own)
    astray = [k for k, run in enumerate(runs) if moved.any and not run.finite]
    if astray:
        there = _rerun(xp, flat, case, case.values, range(len(astray)), how.seed, table, dead, without, own)
        for k, run in zip(astray, there):
            runs[k] = run
    return runs


ENTRIES = 2**16
"""About as many numbers are in the arrays of one walk: more are not in the cache, and would cost memory alone."""


def _parts(graph: Graph, reruns: int) -> list[range]:
    """The reruns, so many at a time as one walk makes."""
    largest = max((math.prod(n.shape) for n in graph.nodes), default=1)
    step = max(1, min(reruns, ENTRIES // max(largest, 1)))
    return [range(k, min(k + step, reruns)) for k in range(0, reruns, step)]


class _Floors:
    """The size that a zero counts as: the largest influence of any entry."""

    def __init__(self, case: Case, outputs: Sequence[np.ndarray], gradients: Mapping[str, np.ndarray]) -> None:
        values = case.values
        with np.errstate(all="ignore"):
            length = {n: np.maximum(np.abs(finite(values[n])), 1.0) for n in gradients}
            size = size_of(case, outputs, gradients)
            self.outputs: float = max(
                (float(np.max(np.abs(a), initial=0.0)) for a in (*outputs, *map(finite, values.values()))), default=0.0
            )
            self.gradients: dict[str, np.ndarray] = {n: size / length[n] for n in gradients}


def size_of(case: Case, outputs: Sequence[np.ndarray], gradients: Mapping[str, np.ndarray]) -> float:
    """The scale of ⟨cotangent, outputs⟩: its terms, or what the most influential entry of any input moves it by."""
    with np.errstate(all="ignore"):
        size = sum(float(np.sum(np.abs(to_float64(g) * t))) for g, t in zip(case.cotangent, outputs))
        moves = (np.abs(t) * np.maximum(np.abs(finite(case.values[n])), 1.0) for n, t in gradients.items())
        size = max([size, *(float(np.max(m, initial=0.0)) for m in moves)])
        # Outputs and gradients all zero: the cotangent is the only scale there is.
        return size or max((float(np.max(np.abs(to_float64(g)), initial=0.0)) for g in case.cotangent), default=0.0)


def _bound_entries(
    truth: np.ndarray,
    samples: list[list[np.ndarray]],
    floor: np.ndarray | float,
    other: np.ndarray | None,
    fmt: FloatFormat,
) -> np.ndarray:
    """The budget of one array; `other` is the other part of a complex one."""
    with np.errstate(all="ignore"):
        modulus = np.abs(truth) if other is None else np.hypot(truth, other)
        rounding = fmt.roundoff * modulus + (fmt.underflow if fmt.gradual else 0.0)
        b = SAFETY * (np.max([_scatter(truth, arrays) for arrays in samples], axis=0) + rounding)
        b += 0.0 if fmt.gradual else fmt.tiny
        b += np.where(truth == 0, fmt.roundoff**2 * (np.max(np.abs(truth), initial=0.0) + floor), 0.0)
    return np.where(np.isnan(b), np.inf, b)


def _scatter(truth: np.ndarray, arrays: list[np.ndarray]) -> np.ndarray:
    """The root mean square of the distances to the truth."""
    # By hypot: the squares of what is near the ends of the range are not in it.
    norm: np.ndarray = np.hypot.reduce(np.abs(np.stack(arrays) - truth), axis=0)
    return norm / math.sqrt(len(arrays))


def other_part(name: str) -> str:
    """The name of the imaginary part for that of the real one, and the reverse; "" for other names."""
    whole, _, part = name.rpartition(".")
    return {"real": f"{whole}.imag", "imag": f"{whole}.real"}.get(part, "")


def _loosen(fmt: FloatFormat) -> FloatFormat:
    return _scaled(fmt, SAFETY)


def sample_branches(case: Case, n: int, seed: int) -> tuple[Decisions, list[Decisions]]:
    """The exact decisions, in doubles, and those of `n` reruns with SAFETY times larger nudges."""
    nudges, flat = _loosen(FORMATS[case.dtype]), lowered(case.graph)
    moved, xp = _Moved(case.values, nudges.arithmetic), NudgedNamespace(Noise(nudges))
    own = _own_dtypes(xp, case, flat)
    turned: list[Decisions] = []
    for part in _parts(flat, n):
        turned += [r.decisions for r in _rerun(xp, flat, case, moved.points(xp, seed, part), part, seed, own=own)]
    return _exactly(case, flat).decisions, turned


def follow_branch(case: Case, forced: Decisions) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    """Outputs and gradients on the branch of these decisions, in doubles and without nudges."""
    run = _exactly(case, lowered(case.graph), forced)
    return run.outputs, run.gradients


def _exactly(case: Case, flat: Graph, forced: Decisions | None = None) -> _Rerun:
    """The walk in doubles, without nudges."""
    xp = NudgedNamespace(Noise(_EXACTLY, forced=forced))
    return _rerun(xp, flat, case, case.values, range(1), 0, own=_own_dtypes(xp, case, flat))[0]


_EXACTLY = replace(FORMATS["float64"], roundoff=0.0, gradual=True)
"""Doubles that are not nudged."""


def finite(x: np.ndarray) -> np.ndarray:
    """The numbers in float64, with 0 for NaN and infinities (a masked reduction passes over NaN)."""
    x = to_float64(x)
    return np.where(np.isfinite(x), x, 0.0)


@dataclass(frozen=True, eq=False)
class _Rerun:
    outputs: tuple[np.ndarray, ...]
    gradients: dict[str, np.ndarray]
    branches: bytes
    decisions: Decisions
    distances: dict[int, np.ndarray]
    finite: bool


class _Moved:
    """Moves the floating-point inputs: each entry x to x·(1 + a·ξ).

    All entries of one size |x| share one standard normal ξ; `apart`, each has its own. With `leaves` zeros move as well,
    to a·ξ.
    """

    def __init__(self, values: Mapping[str, np.ndarray], a: float, leaves: bool = False, apart: bool = False) -> None:
        self.values, self.a, self.leaves = values, a, leaves
        self.floats = {n: to_float64(v) for n, v in values.items() if is_float(v)} if a else {}
        sizes = [np.abs(x).ravel() for x in self.floats.values()]
        distinct, where = np.unique(np.concatenate(sizes or [np.zeros(0)]), return_inverse=True)
        self.count, self.where = len(distinct), where
        self.any = bool(distinct.size if leaves else distinct.any())
        self.has_ties = bool(np.any((np.bincount(where, minlength=len(distinct)) > 1) & (distinct != 0)))
        if apart:
            self.count, self.where = len(where), np.arange(len(where))

    def points(self, xp: NudgedNamespace, seed: int, reruns: range) -> Mapping[str, Any]:
        """The inputs of these reruns."""
        if not self.any:
            return self.values
        move = self.a * np.stack([_normal((seed, k, 1), self.count) for k in reruns])[:, self.where]
        points, at = dict[str, Any](self.values), 0
        for n, x in self.floats.items():
            moves = move[:, at : at + x.size].reshape(len(reruns), *x.shape)
            there = x * (1.0 + moves)
            points[n] = xp.each(np.where(x == 0, moves, there) if self.leaves else there)
            at += x.size
        return points


FEW = 128
"""Up to so many numbers of a stream are kept: few points have more entries of different size."""


def _normal(seed: tuple[int, ...], n: int) -> np.ndarray:
    """The first n normal numbers of a stream: they do not depend on how many are asked for."""
    return _first(seed)[:n] if n <= FEW else np.random.default_rng(seed).standard_normal(n)


@lru_cache(maxsize=1024)
def _first(seed: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(FEW)


def _rerun(
    xp: NudgedNamespace,
    graph: Graph,
    case: Case,
    points: Mapping[str, Any],
    reruns: range,
    seed: int,
    table: Table = OPS,
    dead: Mapping[int, np.ndarray] = MappingProxyType({}),
    without: frozenset[int] = frozenset(),
    own: _InOwnDtypes | None = None,
) -> list[_Rerun]:
    """Forward and reverse over `graph`, the case's own, lowered, at the points of these reruns, all in one walk.

    Raises TypeError where a result is not nudged.
    """
    xp.noise.restart((seed, reruns.start), len(reruns))
    wrt, inputs = case.wrt, graph.inputs
    before, returning, arriving = (own.before, own.returning, own.arriving) if own else (None, None, None)
    literal = (lambda node: xp.asarray(own.literal(node))) if own else None
    with np.errstate(all="ignore"):
        leaves = {n: xp.asarray(v) for n, v in points.items()}
        nodes = forward(xp, graph, leaves, case.dtype, table, literal=literal, before=before)
        cotangent = [xp.asarray(c) for c in case.cotangent]
        adjoint = reverse(
            xp, graph, nodes, cotangent, wrt, table, dead=dead, without=without, before=returning, arriving=arriving
        )
        if not xp.seen_nudged:  # one walk computes what the next one does
            for k, node in enumerate(graph.nodes):
                if isinstance(node, Apply):
                    require_nudged(node.op, nodes[k])
            for k, g in adjoint.items():
                require_nudged(f"the cotangent of node {k}", g)
            xp.seen_nudged = True
        decisions = [xp.noise.decisions(k) for k in range(len(reruns))]
        distances = kink_distances(xp, graph, nodes, wrt)
    outputs = [nodes[o] for o in graph.outputs]
    zeros = {n: np.zeros(np.shape(case.values[n])) for n in wrt if inputs[n] not in adjoint}

    gradients = [adjoint[inputs[n]] for n in wrt if n not in zeros]
    finite = np.logical_and.reduce([_are_finite(x, len(reruns)) for x in (*outputs, *gradients)])

    rows = [_rows(o, len(reruns)) for o in outputs]
    of_wrt = {n: [zeros[n]] * len(reruns) if n in zeros else _rows(adjoint[inputs[n]], len(reruns)) for n in wrt}
    at_kinks = {at: _rows(d, len(reruns)) for at, d in distances.items()}
    return [
        _Rerun(
            tuple(row[k] for row in rows),
            {n: row[k] for n, row in of_wrt.items()},
            branches_of(decisions[k]),
            decisions[k],
            {at: row[k] for at, row in at_kinks.items()},
            bool(finite[k]),
        )
        for k in range(len(reruns))
    ]


def _are_finite(x: Any, reruns: int) -> np.ndarray:
    """In which reruns all entries are finite."""
    each = x.each if isinstance(x, Nudged) else np.asarray(x, dtype=np.float64)[np.newaxis]
    fine = np.isfinite(each).reshape(len(each), -1).all(axis=1) if each.size else np.ones(1, dtype=bool)
    return np.broadcast_to(fine, (reruns,))


def _rows(x: Any, reruns: int) -> list[np.ndarray]:
    """The array in each rerun."""
    each = np.asarray(x.each if isinstance(x, Nudged) else np.asarray(x)[np.newaxis], dtype=np.float64)
    return [each[k if len(each) > 1 else 0, ...] for k in range(reruns)]


def _own_dtypes(
    xp: NudgedNamespace, case: Case, flat: Graph, table: Table = OPS, once: frozenset[str] = frozenset()
) -> _InOwnDtypes | None:
    """How reruns over the lowered graph nudge each node in its own dtype; None where all are in the case's."""
    return _InOwnDtypes(xp.noise, case, flat, table, once) if case.formats else None


class _InOwnDtypes:
    """A walk in which every node is nudged as in the dtype that it is computed in.

    A cotangent is computed in the dtype of the node that it comes from, and added up in that of the node that it comes to,
    as the frameworks' engines do; of the inputs in `once`, and where only one arrives, in the wider one: rounding the
    result is not the walk's. A cast passes it on as it is, and the dtype that it comes to rounds it.
    """

    def __init__(self, noise: Noise, case: Case, graph: Graph, table: Table, once: frozenset[str]) -> None:
        flat, origins = lowered_with_origins(case.graph, table)
        assert flat == graph
        own = noise.fmt
        loose = own.roundoff / FORMATS[case.dtype].roundoff
        of = {d: _scaled(FORMATS[d], loose) for d in {*case.formats.values(), *map(case.dtype_of, graph.inputs)}}
        self.noise, self.graph = noise, graph
        self.formats: list[FloatFormat] = []
        for n, k in zip(graph.nodes, origins):
            if isinstance(n, Input):
                fmt = of[case.dtype_of(n.name)]
            elif k in case.formats:
                fmt = of[case.formats[k]]
            else:  # an operation that a trace takes apart: its steps are in the dtype of what goes in
                known = [self.formats[a] for a in _float_args(graph, n)]
                fmt = min(known, key=lambda f: f.roundoff, default=own)
            self.formats.append(fmt)
        coarsest = sorted(((graph.nodes[k], self.formats[k]) for k in graph.active), key=lambda of: of[1].roundoff)
        self.literals = {
            id(graph.nodes[a]): f.name
            for n, f in coarsest
            if isinstance(n, Apply)
            for a in n.args
            if isinstance(graph.nodes[a], Constant)
        }
        used = Counter(a for n in graph.nodes if isinstance(n, Apply) for a in n.args)
        # What arrives there once is the gradient, whose own rounding `_bound_entries` adds.
        self.once = {k for n, k in graph.inputs.items() if n in once or used[k] == 1}
        self.by_node = {id(n): f for n, f in zip(graph.nodes, self.formats)}
        self.returns = self.by_node | {
            id(n): min(f, *(self.formats[a] for a in casts(graph, n)), key=lambda f: f.roundoff)
            for n, f in zip(graph.nodes, self.formats)
            if casts(graph, n)
        }

    def before(self, node: Apply) -> None:
        self.noise.compute_in(self.by_node[id(node)])

    def literal(self, node: Constant) -> np.ndarray:
        """A literal, rounded as the coarsest dtype would in which it is computed with: the subject may keep it wider."""
        return constant_array(node, self.literals.get(id(node), self.noise.given.name)).copy()

    def returning(self, node: Apply) -> None:
        self.noise.compute_in(self.returns[id(node)])

    def arriving(self, g: Any, source: int, target: int) -> Any:
        if target in self.once:
            return g
        fmt = self.formats[target]
        narrower = fmt.roundoff > self.formats[source].roundoff
        self.noise.compute_in(fmt)
        if not narrower:
            return g
        return Nudged(self.noise.nudge(g.each, np.abs(g.each)), self.noise)


def _float_args(graph: Graph, node: Node) -> list[int]:
    args = node.args if isinstance(node, Apply) else ()
    return [a for a in args if not isinstance(graph.nodes[a], Constant) and graph.nodes[a].kind == "float"]


def casts(graph: Graph, node: Node) -> tuple[int, ...]:
    """What the node casts, if it is a cast: a product with a literal 1. Empty for all other nodes."""
    if not isinstance(node, Apply) or node.op != "multiply":
        return ()
    ones = [isinstance(c := graph.nodes[a], Constant) and c.shape == () and c.value == 1.0 for a in node.args]
    return tuple(a for a, one in zip(node.args, ones) if not one) if any(ones) else ()


def several_casts(case: Case) -> frozenset[str]:
    """The inputs that the case casts to a wider dtype more than once."""
    graph, found = case.graph, [a for n in case.graph.nodes for a in casts(case.graph, n)] if case.formats else []
    counts = {n: found.count(graph.inputs[n]) for n in case.wrt}
    return frozenset(n for n, count in counts.items() if count > 1)


def _scaled(fmt: FloatFormat, by: float) -> FloatFormat:
    return fmt if by == 1.0 else replace(fmt, roundoff=by * fmt.roundoff, arithmetic=by * fmt.arithmetic)


def _same_branch(runs: list[_Rerun]) -> tuple[list[_Rerun], bool]:
    """The reruns of the branch that most of them took, and whether there were others."""
    groups: dict[bytes, list[_Rerun]] = {}
    for r in runs:
        groups.setdefault(r.branches, []).append(r)
    return max(groups.values(), key=len), len(groups) > 1


def _near_kink(runs: list[_Rerun]) -> bool:
    """Is some distance to a kink within SAFETY of its own scatter? Then rounding may land on the other side."""
    for k in runs[0].distances:
        stack = np.stack([r.distances[k] for r in runs])
        if stack.size:
            with np.errstate(all="ignore"):
                spread = stack.std(axis=0)
                if bool(((stack.min(axis=0) < SAFETY * spread) & (spread > 0)).any()):
                    return True
    return False
