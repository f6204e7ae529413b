"""The truth and the budget of a JVP, along one random direction.

The truth is one central difference of the definition along the direction v, in balls: (f(x + hv) - f(x - hv)) / 2h is
the whole of J·v, every entry of it, to tens of digits.

The budget needs a computation that rounds as a forward-mode pass does. The op table has no JVP texts, and needs none:
the VJP is linear in its cotangent, so the VJP of the VJP is the JVP (J. Townsend, "A new trick for calculating Jacobian
vector products", 2017). The VJP texts are recorded as a graph, that graph's VJP texts again, and the result, a graph
that computes J·v, is rerun with nudges like any other. It is asked for nothing but its scatter.
"""

from __future__ import annotations

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
from ..namespaces.run import forward, kink_distances, reverse
from ..ops.build import GraphBuilder, Recorder, Ref, lowered
from ..oracle.balls import BALLS
from ..oracle.estimate import Estimate, from_balls
from ..oracle.precision import working
from ..oracle.truth import LADDER, step_exponent
from .budget import Conditions, budget
from .reference import reference

WANTED = 1e-18
"""The relative bound at which the ladder of precisions stops, as for gradients."""

# ---- the truth ------------------------------------------------------------------------------------------------------


def differences(
    case: Case, tangents: Mapping[str, np.ndarray]
) -> tuple[tuple[Estimate, ...], tuple[Estimate, ...]] | None:
    """f(x) and J·v of a case, with bounds; None where the point lies on a kink or a comparison is undecidable."""
    flat = lowered(case.graph)
    floats = {n for n, k in flat.inputs.items() if flat.nodes[k].kind == "float"}
    found = None
    for bits in LADDER:
        with working(bits):
            BALLS.undecided = 0
            point = {n: BALLS.asarray(np.asarray(v, dtype=np.float64)) if n in floats else v
                     for n, v in case.values.items()}  # fmt: skip
            direction = {n: BALLS.asarray(t.astype(np.float64)) for n, t in tangents.items()}

            def at(t: arb, point: Any = point, direction: Any = direction) -> list[Any]:
                moved = {n: BALLS.add(x, BALLS.multiply(t, direction[n])) if n in direction else x
                         for n, x in point.items()}  # fmt: skip
                nodes = forward(BALLS, flat, moved, case.dtype)
                return [BALLS.asarray(nodes[o]) for o in flat.outputs]

            nodes = forward(BALLS, flat, point, case.dtype)
            distances = kink_distances(BALLS, flat, nodes, case.wrt).values()
            if any(d.contains(0) for a in distances for d in BALLS.asarray(a).ravel().tolist()):
                return None
            h = arb(2) ** -step_exponent(bits)
            wide, fine = (
                [(a - b) / (2 * k) for a, b in zip(at(k), at(-k))] for k in (h, h / 2)
            )  # D(h) - D(h/2) = 3/4·c·h² is three times what D(h/2) still errs by
            if BALLS.undecided:
                return None
            slopes = tuple(from_balls(_box(w, f)) for w, f in zip(wide, fine))
            values = tuple(from_balls(BALLS.asarray(nodes[o])) for o in flat.outputs)
        found = values, slopes
        with np.errstate(all="ignore"):
            if all((e.bound <= WANTED * np.abs(e.hi)).all() for e in slopes):
                break
    return found


@dataclass(frozen=True, eq=False)
class Sides:
    """The slopes of the outputs to both sides of a kink, along a direction.

    ahead, behind  along the direction, and against it
    low, high      what lies between them, each entry; the same number where they agree
    """

    ahead: tuple[Estimate, ...]
    behind: tuple[Estimate, ...]
    low: tuple[np.ndarray, ...]
    high: tuple[np.ndarray, ...]


AGREE = 2.0**-40
"""Slopes of a smooth function differ between the sides by h·f'' with h below 2**-80: those that differ by more than this do
so at a kink."""


def one_sided(case: Case, tangents: Mapping[str, np.ndarray]) -> Sides | None:
    """The slopes of a case's outputs ahead and behind, for a graph with a kink at the point; None where it has no value
    on the way, or a comparison is undecidable.

    D(h) = (f(x + hv) - f(x)) / h errs by c·h, so that 2·D(h/2) - D(h) errs by h² alone, and by less than D(h) - D(h/2).
    """
    flat = lowered(case.graph)
    floats = {n for n, k in flat.inputs.items() if flat.nodes[k].kind == "float"}
    bits = LADDER[-1]
    with working(bits):
        BALLS.undecided = 0
        ball = lambda v: BALLS.asarray(np.asarray(v, dtype=np.float64))
        point = {n: ball(v) if n in floats else v for n, v in case.values.items()}
        direction = {n: ball(t) for n, t in tangents.items()}

        def at(t: arb) -> list[Any]:
            moved = {
                n: BALLS.add(x, BALLS.multiply(t, direction[n])) if n in direction else x for n, x in point.items()
            }
            nodes = forward(BALLS, flat, moved, case.dtype)
            return [BALLS.asarray(nodes[o]) for o in flat.outputs]

        here, h = at(arb(0)), arb(2) ** -step_exponent(bits)
        ahead, behind = (
            [
                from_balls(_box((a - f) / k, 2 * ((b - f) / (k / 2)) - (a - f) / k))
                for a, b, f in zip(at(k), at(k / 2), here)
            ]
            for k in (h, -h)
        )
        if BALLS.undecided:
            return None
    low, high = [], []
    for a, b in zip(ahead, behind):
        if not (np.isfinite(a.hi).all() and np.isfinite(b.hi).all()):
            return None
        same = np.abs(a.hi - b.hi) <= AGREE * (np.abs(a.hi) + np.abs(b.hi)) + a.bound + b.bound
        low.append(np.where(same, a.hi, np.minimum(a.hi, b.hi)))
        high.append(np.where(same, a.hi, np.maximum(a.hi, b.hi)))
    return Sides(tuple(ahead), tuple(behind), tuple(low), tuple(high))


def _box(wide: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """The finer difference as balls, whose radius is the distance to the coarser one."""
    wide, fine = np.asarray(wide, dtype=object), np.asarray(fine, dtype=object)  # of shape (): bare numbers
    out = np.empty(fine.shape, dtype=object)
    for i in np.ndindex(out.shape):
        out[i] = fine[i] + arb(0, abs(wide[i] - fine[i]).upper())
    return out


# ---- the budget -----------------------------------------------------------------------------------------------------


class _Recording(Recorder):
    """The op table's vocabulary over nodes under construction."""

    pi, ln2, ln10, sqrt2 = Namespace.pi, Namespace.ln2, Namespace.ln10, Namespace.sqrt2

    def asarray(self, x: Any) -> Any:
        return x

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


def pushforward(graph: Graph, wrt: tuple[str, ...]) -> Graph:
    """A graph of the same inputs and of a tangent `x'` for every x in `wrt`; its outputs are J·v.

    Raises Unsupported where the VJP texts of an op cannot be recorded, or not twice.
    """
    try:
        backward, cotangents = vjp_graph(lowered(graph), wrt, "{}*", lambda k: k)
        flat = lowered(backward)
        forward_graph, _ = vjp_graph(flat, cotangents, "{}'", lambda k: wrt[k])
    except (AttributeError, TypeError, ShapeError, KeyError) as e:
        raise Unsupported(f"forward mode: the rule of an op cannot be recorded ({type(e).__name__}: {e})") from e
    # J·v does not depend on the cotangents that it was derived through.
    kept = forward_graph.pruned()
    used = {n.name for k, n in enumerate(kept.nodes) if isinstance(n, Input) and k in kept.active}
    assert not used & set(cotangents), "a VJP text is not linear in its cotangent"
    return kept


def vjp_graph(
    graph: Graph, wrt: tuple[str, ...], pattern: str, label: Callable[[int], Any]
) -> tuple[Graph, tuple[str, ...]]:
    """The VJP of `graph` as a graph, and the names of its cotangents.

    Its inputs are those of `graph`, and a cotangent for each output.
    """
    builder = GraphBuilder()
    xp = _Recording(builder)
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
    adjoint = reverse(xp, graph, values, cotangents, wrt)
    outs = []
    for n in wrt:
        k = graph.inputs[n]
        outs.append((adjoint[k] if k in adjoint else xp.full(graph.nodes[k].shape, 0.0)).index)
    return builder.graph(*outs), names


def jvp_budget(
    case: Case, tangents: Mapping[str, np.ndarray], slopes: tuple[Estimate, ...], seed: int
) -> tuple[list[np.ndarray], bool]:
    """The budget of every entry of J·v, and whether rounding may flip a branch."""
    graph = pushforward(case.graph, case.wrt)
    values = {**case.values, **{f"{n}'": t for n, t in tangents.items()}}
    values = {n: values[n] if n in values else np.zeros(graph.nodes[k].shape) for n, k in graph.inputs.items()}
    cotangents = tuple(np.zeros(e.shape) for e in slopes)  # there is no reverse pass, so they are not looked at
    other = replace(case, graph=graph, values=values, cotangent=cotangents, wrt=(), parts=())
    found = budget(other, [e.hi for e in slopes], {}, Conditions(seed=seed))
    return list(found.outputs), found.branches or reference(case, seed=seed).budget.branches


def kink_budget(
    case: Case, tangents: Mapping[str, np.ndarray], sides: Sides, seed: int
) -> tuple[list[np.ndarray], bool]:
    """As `jvp_budget`, for a point at a kink: the larger one of the two sides, next to it.

    At the point itself the budget's nudges would break the tie, and excuse the whole kink. The square root of the unit
    roundoff is far above a nudge, and so near that rounding is what it is at the point.
    """
    step = FORMATS[case.dtype].roundoff ** 0.5
    found = []
    for sign, slopes in ((step, sides.ahead), (-step, sides.behind)):
        moved = {n: (case.values[n] + sign * t).astype(case.values[n].dtype) for n, t in tangents.items()}
        found.append(jvp_budget(replace(case, values={**case.values, **moved}), tangents, slopes, seed))
    return [np.maximum(a, b) for a, b in zip(found[0][0], found[1][0])], any(branches for _, branches in found)
