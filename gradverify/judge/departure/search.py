"""The backward pass in doubles with something changed, held against the true gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...core.case import Case
from ...core.errors import Unsupported
from ...core.graph import Apply, Constant, Graph
from ...namespaces.dtypes import floats_in_float64, to_float64
from ...namespaces.numpy import NUMPY
from ...namespaces.run import constant_array, forward, reverse
from ...ops import OPS
from ...ops.build import lowered, lowered_with_origins
from ..exact import Exact, meant_literals
from ..hypotheses.constants import CONSTANTS, FRACTIONS
from ..hypotheses.evidence import Purse, cost
from ..wording import called

RIGHT = 1e-9
"""A gradient is right to this share of its largest entry: some thousand roundings of a double at a condition of a thousand.
An error of less than a thousand times as much is not looked into."""

WORK = 500_000_000
"""For all repairs of one backward pass, in array entries (`hypotheses.evidence.cost`): a second and a half of an idle core,
at some 3 µs a node."""

TURNS = 8
"""Of Newton's method for a number: one where the gradients depend on it linearly, as they do on most."""

STEP = 2.0**-10
"""The step of its differences, whose error is no matter where the dependence is linear, and of second order else."""

IMPOSSIBLE = (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, np.linalg.LinAlgError)
"""What NumPy raises where arrays do not fit: nobody has meant that."""

Changes = Mapping[int, Callable[[Any], Any]]
"""Node -> what is made of its value."""

_NOTHING: Mapping[int, Any] = {}


@dataclass(frozen=True, eq=False)
class Repair:
    """A change of a step, or of literals of it. `rank`: of several that hold the lowest is the simplest.

    node     the step that it is laid to
    changes  what is made of values
    grown    the lengths of axes that become longer, where the changed values have other shapes
    remade   nodes that are made of their arguments by something else than their op
    rewired  nodes that have other arguments, which come before them
    """

    node: int
    changes: Changes
    text: str
    rank: int
    grown: Mapping[int, int] = field(default_factory=dict)
    remade: Mapping[int, Callable[[list[Any]], Any]] = field(default_factory=dict)
    rewired: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


class Near:
    """Arrays by their number of entries: is one of them near to a given one, to `RIGHT` of its largest entry?"""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        by_size: dict[int, list[np.ndarray]] = {}
        for a in arrays:
            if a.size and np.any(a):
                by_size.setdefault(a.size, []).append(a.ravel())
        self.rows = {n: np.stack(of) for n, of in by_size.items()}
        self.allowed = {n: RIGHT * np.max(np.abs(rows), axis=1) for n, rows in self.rows.items()}

    def has(self, value: Any) -> bool:
        array = np.asarray(value)
        rows = self.rows.get(array.size)
        if array.dtype != np.float64 or rows is None:
            return False
        flat = array.ravel()
        first = np.flatnonzero(np.abs(rows[:, 0] - flat[0]) <= self.allowed[array.size])
        off = np.max(np.abs(rows[first] - flat), axis=1, initial=0.0)
        return bool((off <= self.allowed[array.size][first]).any())


class Search:
    """The backward pass in doubles, beside the true values and cotangents of the definition.

    values  of the active nodes; None of the others
    unused  node -> value, of the steps that no gradient depends on
    """

    def __init__(self, case: Case, exact: Exact) -> None:
        asked = exact.asked
        assert asked is not None
        self.case = case
        self.graph, origins = lowered_with_origins(asked.graph)
        last = {k: j for j, k in enumerate(origins)}
        self.overwrites = {last[k]: last[old] for k, old in exact.overwrites.items() if k in last and old in last}
        self.purse = Purse(WORK)
        self.want = [exact.true[n] for n in exact.values]
        if not all(np.isfinite(w).all() for w in self.want):
            raise Unsupported("not finite")
        self.given = floats_in_float64(asked.values)
        self.meant, _ = meant_literals(case)
        self.values = self._run(self.graph)
        self.steps = [k for k in sorted(self.graph.active) if isinstance(self.graph.nodes[k], Apply)]

    def _run(self, graph: Graph) -> list[Any]:
        return forward(NUMPY, graph, self.given, "float64", literal=self._literal)

    def _literal(self, node: Constant) -> np.ndarray:
        """The number that a literal means: of the definition's, rounded to the case's dtype, the one as it is written."""
        array = np.asarray(constant_array(node, "float64"), dtype=np.float64)
        means = [math.copysign(self.meant.get(abs(v), [abs(v)])[0], v) for v in array.ravel().tolist()]
        return np.array(means).reshape(array.shape)

    # ---- what is right, and what may be wrong ------------------------------------------------------------------------

    @cached_property
    def suspects(self) -> list[int]:
        """The steps whose value is none of the definition's, in the order of the run; constants of such steps are theirs."""
        return [k for k in self.steps if not self.is_known(k)]

    def is_known(self, k: int) -> bool:
        """Is the value of a node one of the definition, or a cotangent of it?"""
        if k not in self._known:
            self._known[k] = self.known.has(self.values[k])
        return self._known[k]

    @cached_property
    def _known(self) -> dict[int, bool]:
        return {}

    @cached_property
    def known(self) -> Near:
        """The true values and cotangents of the definition."""
        values, cotangents, sent = self.definition
        return Near([*values.values(), *cotangents.values(), *sent.values(), *self.want])

    @cached_property
    def known_values(self) -> Near:
        """The values of the definition."""
        return Near([*self.definition[0].values()])

    @cached_property
    def definition(self) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], dict[tuple[int, int], np.ndarray]]:
        """The definition's values and cotangents, and the cotangents along its edges, in doubles."""
        case, graph = self.case, self.true_graph
        given = floats_in_float64(case.values)
        nodes = forward(NUMPY, graph, given, "float64")
        adjoint = reverse(NUMPY, graph, nodes, [to_float64(g) for g in case.cotangent], case.wrt, dead=True)
        sent = {}
        for k in adjoint:
            node = graph.nodes[k]
            for i in range(len(node.args)) if isinstance(node, Apply) else ():
                assert isinstance(node, Apply)
                if OPS[node.op].differentiable(i) and node.args[i] in adjoint:
                    args = tuple(nodes[a] for a in node.args)
                    g = OPS[node.op].cotangent(NUMPY, i, adjoint[k], nodes[k], args, dict(node.params), None)
                    sent[k, i] = np.asarray(g, dtype=np.float64)
        values = {
            k: np.asarray(v, dtype=np.float64)
            for k, v in enumerate(nodes)
            if v is not None and graph.nodes[k].kind == "float" and not isinstance(graph.nodes[k], Constant)
        }
        return values, {k: np.asarray(g, dtype=np.float64) for k, g in adjoint.items()}, sent

    @cached_property
    def arrays_of_definition(self) -> dict[str, np.ndarray]:
        """The definition's arrays, by what they are called: its inputs, and literals of several entries."""
        graph = self.true_graph
        found = {n: np.asarray(v) for n, v in floats_in_float64(self.case.values).items()}
        for k, node in enumerate(graph.nodes):
            if isinstance(node, Constant) and k in graph.active:
                found[f"literal {k}"] = np.asarray(constant_array(node, "float64"))
        return {n: a for n, a in found.items() if a.size > 1}

    @cached_property
    def own_arrays(self) -> dict[int, np.ndarray]:
        """The arrays of the backward pass that are none of the definition's, nor inputs of it."""
        known = [*self.arrays_of_definition.values(), *map(to_float64, self.case.cotangent)]
        leaves = [k for k in sorted(self.graph.active) if not isinstance(self.graph.nodes[k], Apply)]
        arrays = {k: np.asarray(self.values[k]) for k in leaves}
        same = lambda a, b: a.shape == b.shape and np.array_equal(a, b, equal_nan=b.dtype.kind == "f")
        return {k: b for k, b in arrays.items() if b.size > 1 and not any(same(a, b) for a in known)}

    @cached_property
    def literals(self) -> dict[int, float]:
        """The literals of the backward pass that are one number."""
        return {
            k: float(np.ravel(n.value)[0])
            for k, n in enumerate(self.graph.nodes)
            if isinstance(n, Constant) and n.kind == "float" and math.prod(n.shape) == 1
        }

    @cached_property
    def true_graph(self) -> Graph:
        return lowered(self.case.graph)

    @cached_property
    def true_arrays(self) -> dict[int, np.ndarray]:
        """The definition's values."""
        return {j: v for j, v in self.definition[0].items() if v.ndim}

    @cached_property
    def unused(self) -> dict[int, np.ndarray]:
        """The values of the steps that no gradient depends on."""
        rest = [k for k, n in enumerate(self.graph.nodes) if isinstance(n, Apply) and k not in self.graph.active]
        if not rest:
            return {}
        found = self._run(Graph(self.graph.nodes, tuple(rest)))
        return {k: np.asarray(found[k]) for k in rest}

    # ---- does a repair hold? -----------------------------------------------------------------------------------------

    def holds(self, repair: Repair) -> bool:
        try:
            found = self.outputs(repair.changes, repair.grown, repair.remade, repair.rewired)
        except IMPOSSIBLE:
            return False
        return found is not None and all(map(self.is_right, found, self.want))

    @staticmethod
    def is_right(got: np.ndarray, want: np.ndarray) -> bool:
        scale = float(np.max(np.abs(want), initial=0.0))
        return got.shape == want.shape and bool((np.abs(got - want) <= RIGHT * scale).all())

    def outputs(
        self,
        changes: Changes,
        grown: Mapping[int, int] = _NOTHING,
        remade: Mapping[int, Callable[[list[Any]], Any]] = _NOTHING,
        rewired: Mapping[int, tuple[int, ...]] = _NOTHING,
    ) -> list[np.ndarray] | None:
        """The gradients after the changes of a `Repair`; None where a value has another shape, unless axes are `grown`."""
        first = {*changes, *remade, *rewired}
        after = sorted(set().union(*({k, *self.after(k)} for k in first)))
        self.purse.spend(cost(self.graph.nodes[j] for j in after))
        if any(a > k for k, args in rewired.items() for a in args):
            after = self._ordered(after, rewired)
        changed: dict[int, Any] = {}
        for j in after:
            node, value = self.graph.nodes[j], self.values[j]
            wired = rewired.get(j)
            if isinstance(node, Apply) and (wired is not None or j in remade or any(a in changed for a in node.args)):
                args = [changed[a] if a in changed else self.value(a) for a in wired or node.args]
                if j in remade:
                    value = remade[j](args)
                else:
                    value = OPS[node.op].define(NUMPY, *args, **_longer(dict(node.params), args, grown))
            if j in changes:
                value = changes[j](value)
            if j in first and np.shape(value) != np.shape(self.values[j]) and not grown:
                return None
            changed[j] = value
        return [np.asarray(changed.get(o, self.values[o]), dtype=np.float64) for o in self.graph.outputs]

    def _ordered(self, nodes: list[int], rewired: Mapping[int, tuple[int, ...]]) -> list[int]:
        """The nodes, arguments before uses. Raises ValueError where one would depend on itself."""
        wanted, found, open_ = set(nodes), dict[int, None](), set[int]()
        stack = [(k, False) for k in reversed(nodes)]
        while stack:
            k, ready = stack.pop()
            if ready:
                open_.discard(k)
                found[k] = None
            elif k not in found:
                if k in open_:
                    raise ValueError("a node depends on itself")
                open_.add(k)
                stack.append((k, True))
                node = self.graph.nodes[k]
                args = rewired.get(k, node.args) if isinstance(node, Apply) else ()
                if any(a in open_ for a in args):
                    raise ValueError("a node depends on itself")
                stack += [(a, False) for a in args if a in wanted and a not in found]
        return list(found)

    def value(self, k: int) -> Any:
        """The value of a node, active or not."""
        return self.unused[k] if self.values[k] is None else self.values[k]

    def after(self, k: int) -> list[int]:
        """The active nodes that depend on this one."""
        if k not in self._after:
            reached = {k}
            for j in self.steps:
                node = self.graph.nodes[j]
                if j > k and isinstance(node, Apply) and any(a in reached for a in node.args):
                    reached.add(j)
            self._after[k] = sorted(reached - {k})
        return self._after[k]

    @cached_property
    def _after(self) -> dict[int, list[int]]:
        return {}

    def fitted(self, at: Callable[[float], Changes], was: float) -> float | None:
        """The number for which the gradients are nearest to the true ones, by Gauss and Newton's method.

        None where it decides one entry and has no name: some number makes any single entry right.
        """
        entries = 0
        c, here = was, [np.asarray(self.values[o], dtype=np.float64) for o in self.graph.outputs]
        for _ in range(TURNS):
            step = STEP * max(abs(c), 1.0)
            moved = self.outputs(at(c + step))
            if moved is None:
                return None
            top = bottom = 0.0
            entries = max(entries, sum(int(np.count_nonzero(m != h)) for m, h in zip(moved, here)))
            for h, m, w in zip(here, moved, self.want):
                scale = float(np.max(np.abs(w), initial=0.0)) or 1.0
                top += float(np.sum((w - h) * (m - h))) / scale**2
                bottom += float(np.sum((m - h) ** 2)) / scale**2
            if not (bottom and math.isfinite(top / bottom)):
                return None
            c += step * top / bottom
            found = self.outputs(at(c))
            if found is None or abs(top) <= RIGHT * bottom or all(map(self.is_right, found, self.want)):
                break
            here = found
        c = _rounded(c)
        return c if entries > 1 or has_name(c) else None

    # ---- a step ------------------------------------------------------------------------------------------------------

    def node(self, k: int) -> Apply:
        node = self.graph.nodes[k]
        assert isinstance(node, Apply)
        return node

    def args(self, k: int) -> list[Any]:
        return [self.values[a] for a in self.node(k).args]

    def words(self, k: int) -> str:
        return called(self.graph, k, 1)

    def applied(self, k: int, args: list[Any], op: str = "") -> Any:
        """The result of a step for these arguments, by its op or another."""
        node = self.node(k)
        return OPS[op or node.op].define(NUMPY, *args, **({} if op else dict(node.params)))

    def with_argument(self, k: int, i: int, value: Any) -> Any:
        """The result of a step with another value of an argument."""
        args = self.args(k)
        args[i] = value
        return self.applied(k, args)


def _longer(params: dict[str, Any], args: list[Any], grown: Mapping[int, int]) -> dict[str, Any]:
    """The parameters of an op; a shape among them that its argument has outgrown is longer along one axis, the first fit."""
    shape, size = params.get("shape", ()), np.size(args[0]) if args else 0
    if not grown or not shape or size <= math.prod(shape):
        return params
    longer = ((*shape[:k], grown[n], *shape[k + 1 :]) for k, n in enumerate(shape) if n in grown)
    return {**params, "shape": next((s for s in longer if math.prod(s) == size), shape)}


def _rounded(c: float) -> float:
    """The number that a fit means: a simple fraction where it is one to the fit's digits."""
    for d in range(1, 13) if math.isfinite(c) else ():
        if abs(c * d - round(c * d)) <= 1e-8 * max(1.0, abs(c * d)):
            return round(c * d) / d
    return next((s * v for v in CONSTANTS.values() for s in (1, -1) if abs(c - s * v) <= 1e-8 * v), c)


def has_name(c: float) -> bool:
    return (
        float(f"{c:.2e}") == c
        or not math.isfinite(c)
        or c == round(c)
        or abs(c) in {*FRACTIONS.values(), *CONSTANTS.values()}
    )


def number(c: float) -> str:
    names = {v: n for n, v in (*FRACTIONS.items(), *CONSTANTS.items())}
    return ("-" if c < 0 else "") + names[abs(c)] if abs(c) in names else f"{c:.6g}"
