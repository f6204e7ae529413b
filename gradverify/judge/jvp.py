"""The truth and the budget of a JVP, along one random direction.

The truth is one central difference of the definition along the direction v, in balls: (f(x + hv) - f(x - hv)) / 2h is
the whole of J·v, every entry of it, to tens of digits. At a kink of the graph the rules are those of gradients: an entry
in which the function is smooth has its derivative (`oracle/neighbours.py`), and elsewhere the one-sided slopes, what the
JVPs nearby come to, and the convention of the op table are defensible.

The budget needs a computation that rounds as a forward-mode pass does. The op table has no JVP texts, and needs none:
the VJP is linear in its cotangent, so the VJP of the VJP is the JVP (J. Townsend, "A new trick for calculating Jacobian
vector products", 2017). The VJP texts are recorded as a graph, that graph's VJP texts again, and the result, a graph
that computes J·v, is rerun with nudges like any other. It is asked for nothing but its scatter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flint import arb

from ..core.case import Case
from ..core.errors import ShapeError, Unsupported
from ..core.graph import Apply, Constant, Graph, Input
from ..namespaces.base import Namespace
from ..namespaces.dtypes import FORMATS
from ..namespaces.run import Table, forward, kink_distances, reverse
from ..ops import OPS
from ..ops.build import GraphBuilder, Recorder, Ref, lowered
from ..oracle.balls import BALLS
from ..oracle.estimate import Estimate, from_balls
from ..oracle.neighbours import AGREE, BITS, DIRECTIONS, NEAR, NEARER, VANISH
from ..oracle.precision import step_exponent, working
from ..oracle.sides import SIDES_AGREE
from ..oracle.truth import LADDER
from .budget import SAFETY, Conditions, budget
from .reference import reference

WANTED = 1e-18
"""The relative bound at which the ladder of precisions stops, as for gradients."""

# ---- the truth ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Slopes:
    """f(x) and J·v of a case, with bounds.

    values     an Estimate per output
    slopes     an Estimate per output's tangent; at a kink of the function, by the op table's conventions
    low, high  at a kink of the graph: the smallest and largest defensible value of each entry; empty elsewhere
    smooth     at a kink of the graph: the entries in which the function has none, per output
    taken      with `smooth`: what the conventions of the graph's ops come to
    kinks      the ops at whose kink the point lies
    """

    values: tuple[Estimate, ...]
    slopes: tuple[Estimate, ...]
    low: tuple[np.ndarray, ...] = ()
    high: tuple[np.ndarray, ...] = ()
    smooth: tuple[np.ndarray, ...] = ()
    taken: tuple[np.ndarray, ...] = ()
    kinks: tuple[str, ...] = ()

    def sides(self, i: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """`low` and `high` of output `i`."""
        return (self.low[i], self.high[i]) if self.low else (None, None)


def differences(case: Case, tangents: Mapping[str, np.ndarray], *, seed: int = 0) -> Slopes | None:
    """f(x) and J·v of a case; None where a comparison is undecidable."""
    flat = lowered(case.graph)
    found = None
    for bits in LADDER:
        with working(bits):
            BALLS.undecided = 0
            point = _Point(flat, case, tangents)
            nodes = point.nodes_at(arb(0))
            kinks = _kinks(flat, nodes, case.wrt)
            if kinks and not BALLS.undecided:
                return _at_kink(case, point, nodes, kinks, bits, seed)
            h = arb(2) ** -step_exponent(bits)
            wide, fine = (
                [(a - b) / (2 * k) for a, b in zip(point.outputs_at(k), point.outputs_at(-k))] for k in (h, h / 2)
            )  # D(h) - D(h/2) = 3/4·c·h² is three times what D(h/2) still errs by
            if BALLS.undecided:
                return None
            slopes = tuple(from_balls(_box(w, f)) for w, f in zip(wide, fine))
            found = Slopes(tuple(from_balls(BALLS.asarray(nodes[o])) for o in flat.outputs), slopes)
        with np.errstate(all="ignore"):
            if all((e.bound <= WANTED * np.abs(e.hi)).all() for e in slopes):
                break
    return found


class _Point:
    """The point of a case, from which its definition is evaluated along the tangents, in balls."""

    def __init__(self, flat: Graph, case: Case, tangents: Mapping[str, np.ndarray]) -> None:
        self.flat, self.dtype = flat, case.dtype
        floats = {n for n, k in flat.inputs.items() if flat.nodes[k].kind == "float"}
        self.values = {n: BALLS.asarray(np.asarray(v, dtype=np.float64)) if n in floats else v
                       for n, v in case.values.items()}  # fmt: skip
        self.tangents = {n: BALLS.asarray(t.astype(np.float64)) for n, t in tangents.items()}

    def nodes_at(self, t: arb) -> list[Any]:
        moved = {n: BALLS.add(x, BALLS.multiply(t, self.tangents[n])) if n in self.tangents else x
                 for n, x in self.values.items()}  # fmt: skip
        return forward(BALLS, self.flat, moved, self.dtype)

    def outputs_at(self, t: arb) -> list[np.ndarray]:
        nodes = self.nodes_at(t)
        return [BALLS.asarray(nodes[o]) for o in self.flat.outputs]


def _kinks(graph: Graph, nodes: list[Any], wrt: tuple[str, ...]) -> tuple[str, ...]:
    """The ops at whose kink the point lies."""
    at = []
    for k, distance in kink_distances(BALLS, graph, nodes, wrt).items():
        if any(d.contains(0) or not d.is_finite() for d in BALLS.asarray(distance).ravel().tolist()):
            node = graph.nodes[k]
            assert isinstance(node, Apply)
            at.append(node.op)
    return tuple(at)


def _at_kink(
    case: Case, point: _Point, nodes: list[Any], kinks: tuple[str, ...], bits: int, seed: int
) -> Slopes | None:
    """Return the defensible JVPs at a kink of the graph; None where a comparison is undecidable."""
    h = arb(2) ** -step_exponent(bits)
    base = [BALLS.asarray(nodes[o]) for o in point.flat.outputs]
    steps = {s * k: point.outputs_at(arb(s) * h / k) for s in (1, -1) for k in (1, 2)}
    if BALLS.undecided:
        return None
    rng = np.random.default_rng([seed, bits])
    pushed, near = _jvps(case, point, rng)
    slopes, low, high, smooth, taken = [], [], [], [], []
    for i, at in enumerate(base):
        right, left = (_side(at, steps[s][i], steps[2 * s][i], s * h) for s in (1, -1))
        seen = [p[i] for p in near]
        convention = from_balls(pushed[i])
        spread = np.array([from_balls(s).resolved for s in seen]) if seen else np.full((1, *at.shape), np.nan)
        spread = np.where(np.isfinite(spread), spread, np.nan)
        limit, agrees = _common(seen, at.shape)
        with np.errstate(all="ignore"):
            # The absolute part is that of `side`: slopes below it were not told from 0.
            unsure = SIDES_AGREE * np.fmax(np.abs(right), np.abs(left)) + 2.0**-60
            one_slope = np.abs(right - left) <= unsure
            fine = one_slope & agrees & (np.abs(from_balls(limit).hi - right) <= unsure * 2.0**20)
        new = from_balls(BALLS.where(fine, limit, 0))
        parts = ((new.hi, convention.hi), (new.lo, convention.lo), (new.bound, convention.bound))
        slopes.append(Estimate(*(np.where(fine, a, b) for a, b in parts)))
        sides = np.array([right, left, *spread])
        low.append(np.where(fine, new.hi, np.fmin.reduce(sides)))
        high.append(np.where(fine, new.hi, np.fmax.reduce(sides)))
        smooth.append(fine)
        taken.append(convention.resolved)
    values = tuple(from_balls(b) for b in base)
    return Slopes(values, tuple(slopes), tuple(low), tuple(high), tuple(smooth), tuple(taken), kinks)


def _jvps(case: Case, point: _Point, rng: np.random.Generator) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """J·v by the op table's rules at the point, and next to it on all sides; nothing for these where a comparison there
    is undecidable. Raises Unsupported where a rule cannot be recorded."""
    graph = pushforward(case.graph, case.wrt)
    given = {**point.values, **{f"{n}'": t for n, t in point.tangents.items()}}
    given = {n: given[n] if n in given else BALLS.zeros(graph.nodes[k].shape) for n, k in graph.inputs.items()}
    lengths = {n: _length(case.values[n]) for n in case.wrt if n in given}

    def at(moved: Mapping[str, Any]) -> list[np.ndarray]:
        nodes = forward(BALLS, graph, {**given, **moved}, case.dtype)
        return [BALLS.asarray(nodes[o]) for o in graph.outputs]

    here, near = at({}), []
    with working(BITS):
        BALLS.undecided = 0
        for k in range(DIRECTIONS):
            signs = (lambda n: rng.choice([-1.0, 1.0], n)) if k else np.ones
            step = {n: BALLS.asarray(a * rng.uniform(0.5, 1.0, a.shape) * signs(a.shape)) for n, a in lengths.items()}
            for side in (1, -1):
                t = side * arb(2) ** -(NEARER if k % 2 else NEAR)
                near.append(at({n: BALLS.add(given[n], BALLS.multiply(t, u)) for n, u in step.items()}))
                if BALLS.undecided:
                    return here, []
    return here, [*near[2:], *near[:2]]  # one of the nearer ones first


def _length(x: np.ndarray) -> np.ndarray:
    size = np.abs(np.asarray(x).astype(np.float64))
    return np.where((size > 0) & np.isfinite(size), size, 1.0)


def _common(samples: list[np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The common value of each entry, as a ball that holds all samples, and where there is one.

    Smooth JVPs scatter by 2**-NEAR·f''/f', those of a kink by what its sides differ by; where they vanish, tangents of
    size 1 make VANISH the size of a zero.
    """
    limit, agrees = BALLS.zeros(shape), np.zeros(shape, dtype=bool)
    for at in np.ndindex(shape) if samples else ():
        first: Any = samples[0][at]
        spread = arb(0)
        for s in samples[1:]:
            spread = spread.max(abs(s[at] - first))
        agrees[at] = bool(spread <= abs(first) * AGREE + arb(VANISH))
        if agrees[at]:
            limit[at] = first + arb(0, float((2 * spread).upper()))
    return limit, agrees


def _side(base: np.ndarray, wide: np.ndarray, fine: np.ndarray, h: arb) -> np.ndarray:
    """The one-sided slope of every entry, from steps h and h/2; NaN where there is none."""
    found = np.zeros(base.shape)
    for at in np.ndindex(base.shape):
        w, f = (wide[at] - base[at]) / h, (fine[at] - base[at]) / (h / 2)
        # First order: they differ by h·f''/2, 2**-85 relative; by a factor of √2 at a root and 2 at a jump.
        fits = w.is_finite() and f.is_finite() and abs(w - f) <= abs(f) / 2**20 + arb(2) ** -60
        found[at] = float(f.mid()) if fits else np.nan
    return found


def _box(wide: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """The finer difference as balls, whose radius is the distance to the coarser one."""
    wide, fine = np.asarray(wide, dtype=object), np.asarray(fine, dtype=object)  # of shape (): bare numbers
    out = np.empty(fine.shape, dtype=object)
    for i in np.ndindex(out.shape):
        out[i] = fine[i] + arb(0, abs(wide[i] - fine[i]).upper())
    return out


# ---- the budget -----------------------------------------------------------------------------------------------------


class Recording(Recorder):
    """The op table's vocabulary over nodes under construction."""

    pi, ln2, ln10, sqrt2 = Namespace.pi, Namespace.ln2, Namespace.ln10, Namespace.sqrt2

    def asarray(self, x: Any) -> Any:
        return x

    def isfinite(self, x: Any) -> Any:
        return self.less(self.abs(x), math.inf)

    def sum_to(self, x: Any, shape: Any) -> Any:
        return Namespace.sum_to(self, x, shape)  # type: ignore[arg-type]

    def zeros(self, shape: Any, like: Any = None) -> Any:
        return self.full(shape, 0.0)

    def ones(self, shape: Any, like: Any = None) -> Any:
        return self.full(shape, 1.0)

    def zeros_like(self, x: Any) -> Any:
        return self.full(self.shape(x), 0.0)

    def ones_like(self, x: Any) -> Any:
        return self.full(self.shape(x), 1.0)

    def full_like(self, x: Any, value: Any) -> Any:
        return self.full(self.shape(x), float(value))

    def full(self, shape: Any, value: float) -> Any:
        return self.call("broadcast_to", Ref(self.builder, self.builder.constant(value)), shape=tuple(shape))

    def eye(self, n: int, like: Any = None) -> Any:
        rows = tuple(tuple(float(i == j) for j in range(n)) for i in range(n))
        return Ref(self.builder, self.builder.constant(rows))


def pushforward(graph: Graph, wrt: tuple[str, ...], table: Table = OPS) -> Graph:
    """A graph of the same inputs and of a tangent `x'` for every x in `wrt`; its outputs are J·v.

    `table` may have other VJP texts for some ops, which are linear in the cotangent as well.

    Raises Unsupported where the VJP texts of an op cannot be recorded, or not twice.
    """
    try:
        backward, cotangents = vjp_graph(lowered(graph, table), wrt, "{}*", lambda k: k, table)
        return transposed(backward, cotangents, wrt)
    except (AttributeError, TypeError, ShapeError, KeyError) as e:
        raise Unsupported(f"forward mode: the rule of an op cannot be recorded ({type(e).__name__}: {e})") from e


def transposed(backward: Graph, cotangents: tuple[str, ...], wrt: tuple[str, ...]) -> Graph:
    """The graph of J·v, from that of a VJP: its own VJP, by the cotangents that it is linear in."""
    forward_graph, _ = vjp_graph(lowered(backward), cotangents, "{}'", lambda k: wrt[k])
    # J·v does not depend on the cotangents that it was derived through.
    kept = forward_graph.pruned()
    used = {n.name for k, n in enumerate(kept.nodes) if isinstance(n, Input) and k in kept.active}
    assert not used & set(cotangents), "a VJP text is not linear in its cotangent"
    return kept


def vjp_graph(
    graph: Graph, wrt: tuple[str, ...], pattern: str, label: Callable[[int], Any], table: Table = OPS
) -> tuple[Graph, tuple[str, ...]]:
    """The VJP of `graph` as a graph, and the names of its cotangents.

    Its inputs are those of `graph`, and a cotangent for each output.
    """
    builder = GraphBuilder()
    xp = Recording(builder)
    values: list[Any] = []
    for node in graph.nodes:
        if isinstance(node, Input):
            values.append(Ref(builder, builder.input(node.name, node.shape, node.kind)))
        elif isinstance(node, Constant):
            values.append(Ref(builder, builder.constant(node.value, node.kind)))
        else:
            assert isinstance(node, Apply)
            args = [values[a].index for a in node.args]
            values.append(Ref(builder, builder.apply(node.op, *args, **dict(node.params))))
    names = tuple(pattern.format(label(k)) for k in range(len(graph.outputs)))
    cotangents = [Ref(builder, builder.input(n, graph.nodes[o].shape)) for n, o in zip(names, graph.outputs)]
    adjoint = reverse(xp, graph, values, cotangents, wrt, table)
    outs = []
    for n in wrt:
        k = graph.inputs[n]
        outs.append((adjoint[k] if k in adjoint else xp.full(graph.nodes[k].shape, 0.0)).index)
    return builder.graph(*outs), names


def jvp_budget(
    case: Case,
    tangents: Mapping[str, np.ndarray],
    true: Slopes,
    seed: int,
    table: Table = OPS,
    graph: Graph | None = None,
) -> tuple[list[np.ndarray], bool]:
    """The budget of every entry of J·v, and whether rounding may flip a branch.

    With a `table`, that of the formulas in it; `graph` is a pushforward by other rules. Where the function is smooth and
    its graph is not, the way that the graph takes at the point and what rounding does next to it both count, as in
    `reference.allowance`.
    """
    graph = graph or pushforward(case.graph, case.wrt, table)
    values = {**case.values, **{f"{n}'": t for n, t in tangents.items()}}
    values = {n: values[n] if n in values else np.zeros(graph.nodes[k].shape) for n, k in graph.inputs.items()}
    cotangents = tuple(np.zeros(e.shape) for e in true.slopes)  # there is no reverse pass, so they are not looked at
    other = replace(case, graph=graph, values=values, cotangent=cotangents, wrt=(), parts=case.parts)
    centre = [e.hi for e in true.slopes]
    usual = Conditions(seed=seed, table=table)
    if not true.kinks:
        found = budget(other, centre, {}, usual)
        return list(found.outputs), found.branches or reference(case, seed=seed).budget.branches
    taken = [np.where(m & np.isfinite(t), t, c) for m, t, c in zip(true.smooth, true.taken, centre)]
    here = budget(other, taken, {}, replace(usual, at_kink=True)).outputs
    u = FORMATS[case.dtype].roundoff
    near = budget(other, centre, {}, replace(usual, leaves=True)).outputs if any(map(np.any, true.smooth)) else here
    allowed = []
    for b, other_b, c, m, low, high in zip(here, near, centre, true.smooth, true.low, true.high):
        with np.errstate(all="ignore"):
            own = SAFETY * u * np.fmax(np.abs(c), np.fmax(np.abs(low), np.abs(high)))
            own = np.where(np.isfinite(own), own, 0.0)
            counts = other_b <= math.sqrt(u) * np.fmax(np.abs(c), 1.0)
            both = np.where(np.isfinite(b), np.where(counts, np.fmax(b, other_b), b), np.where(counts, other_b, b))
            allowed.append(np.fmax(np.where(m, both, b), own))
    return allowed, False
