"""Where the formula of a backward pass departs from the derivative: the step whose repair makes all gradients right.

The traced backward pass is run in doubles, with one node at a time made something else: its result scaled, its sign turned,
an argument left out, a mean for a sum, another value of the same shape in an argument's place, the true cotangent of a
node of the definition. There nothing rounds by more than a double does, so that a change which makes every entry of every
gradient right to a billionth is no coincidence. Of several such nodes the first one whose own value is none of the true
values and cotangents of the definition is the one that is wrong: what comes after it only hands its error on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import Unsupported
from ..core.graph import Apply, Constant, Graph, Site
from ..namespaces.dtypes import is_float, to_float64
from ..namespaces.numpy import NUMPY
from ..namespaces.run import forward, reverse
from ..ops import OPS
from ..ops.build import lowered, lowered_with_origins
from .budget import casts
from .exact import MOVES, Exact
from .hypotheses.constants import CONSTANTS, FRACTIONS
from .hypotheses.evidence import Purse, Spent, cost
from .turns import by_line, steps_of_turns
from .wording import SIGNS, UNSEEN, called, with_line

RIGHT = 1e-9
"""A gradient is right to this share of its largest entry: some thousand roundings of a double at a condition of a thousand.
An error of less than a thousand times as much is not looked into."""

WORK = 150_000_000
"""For all repairs of one backward pass, in array entries (`hypotheses.evidence.cost`): a second and a half of an idle core,
at some 10 µs a node."""

TURNS = 8
"""Of Newton's method for a number: one where the gradients depend on it linearly, as they do on most."""

STEP = 2.0**-10
"""The step of its differences, whose error is no matter where the dependence is linear, and of second order else."""

NEAR = 1e-4
"""A number of few digits that is so near to a fitted one is tried as well: where the gradients hardly depend on it (an eps),
a fit has few digits."""

MOST = 400
"""Nodes of a backward pass that is looked into one by one: a change of one costs a walk over those that depend on it."""

SIMPLE = (1.0, 2.0, 3.0, 4.0, 0.5, 0.25, 1 / 3)
"""What a literal may be multiplied by before it is used elsewhere: 3 · 0.044715 beside 0.044715."""


@dataclass(frozen=True)
class Departure:
    """The first wrong step of a backward pass.

    text    the step, and its line
    repair  what makes the gradients right: "with 2 times its value"
    site    its line, where it is known
    node    of the lowered backward pass
    overwritten  does it write to what the backward pass had kept?
    """

    text: str
    repair: str
    site: Site | None
    node: int
    overwritten: bool = False

    def __str__(self) -> str:
        if self.overwritten:
            return f"The backward pass reads what was written to after it had been kept: {self.text}. {self.repair}"
        return f"The first wrong step of the backward pass is {self.text}: the gradients are right {self.repair}"


Changes = Mapping[int, Callable[[Any], Any]]
"""Node -> what is made of its value."""


_NOTHING: Mapping[int, int] = {}


@dataclass(frozen=True, eq=False)
class _Repair:
    """A change of a step, or of literals of it. `rank`: of several that hold the lowest is the simplest.

    `grown`: the lengths of axes that become longer, where the changed values have other shapes.
    """

    node: int
    changes: Changes
    text: str
    rank: int
    grown: Mapping[int, int] = field(default_factory=dict)


def find_departure(case: Case, exact: Exact) -> Departure | None:
    """The step of the backward pass where its formula departs from the derivative; None where no single repair holds."""
    if exact.asked is None or exact.formula.error < 1000 * RIGHT:
        return None
    try:
        with np.errstate(all="ignore"):
            return _Search(case, exact).find()
    except (Spent, Unsupported, *_IMPOSSIBLE):
        return None


_IMPOSSIBLE = (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, np.linalg.LinAlgError)
"""What NumPy raises where arrays do not fit: nobody has meant that."""


class _Search:
    """The backward pass in doubles, beside the true values and cotangents of the definition."""

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
        given = {n: to_float64(v) if is_float(v) else v for n, v in asked.values.items()}
        self.values = forward(NUMPY, self.graph, given, "float64")
        self.steps = [k for k in sorted(self.graph.active) if isinstance(self.graph.nodes[k], Apply)]

    def find(self) -> Departure | None:
        found: list[_Repair] = []
        try:
            if overwritten := next((r for r in self.before_writes() if self.holds(r)), None):
                return self._departure(overwritten, overwritten=True)
            if len(self.graph.active) > MOST:
                found = [r for r in self.of_loops() if self.holds(r)]
            else:
                for make in (self.scaled, self.unsliced, self.other_operations, self.other_arguments):
                    found = found or [r for k in self.suspects for r in make(k) if self.holds(r)]
                # What has a true cotangent's value may be one of several terms of what it should be.
                found = found or [r for k in self.steps for r in self.true_values(k) if self.holds(r)]
        except Spent:
            pass
        if not found:
            return None
        return self._departure(min(found, key=lambda r: (r.rank, r.node)))

    def _departure(self, best: _Repair, overwritten: bool = False) -> Departure:
        node = self.graph.nodes[best.node]
        site = node.site if isinstance(node, Apply) else None
        return Departure(with_line(self.graph, best.node), best.text, site, best.node, overwritten)

    # ---- what is right, and what may be wrong ------------------------------------------------------------------------

    @cached_property
    def suspects(self) -> list[int]:
        """The steps whose value is none of the definition's, in the order of the run; constants of such steps are theirs."""
        return [k for k in self.steps if not self._is_known(k)]

    def _is_known(self, k: int) -> bool:
        value = np.asarray(self.values[k])
        return value.dtype == np.float64 and any(self._near(value, t) for t in self.known.get(value.size, ()))

    @staticmethod
    def _near(value: np.ndarray, true: np.ndarray) -> bool:
        scale = float(np.max(np.abs(true), initial=0.0))
        return bool((np.abs(value.ravel() - true.ravel()) <= RIGHT * scale).all()) and scale > 0

    @cached_property
    def known(self) -> Mapping[int, list[np.ndarray]]:
        """The true values and cotangents of the definition, by their number of entries."""
        values, cotangents, sent = self.definition
        by_size: dict[int, list[np.ndarray]] = {}
        for v in (*values.values(), *cotangents.values(), *sent.values(), *self.want):
            by_size.setdefault(v.size, []).append(v)
        return by_size

    @cached_property
    def definition(self) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], dict[tuple[int, int], np.ndarray]]:
        """The definition's values and cotangents, and the cotangents along its edges, in doubles."""
        case, graph = self.case, self.true_graph
        given = {n: to_float64(v) if is_float(v) else v for n, v in case.values.items()}
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
    def true_graph(self) -> Graph:
        return lowered(self.case.graph)

    # ---- does a repair hold? -----------------------------------------------------------------------------------------

    def holds(self, repair: _Repair) -> bool:
        try:
            found = self.outputs(repair.changes, repair.grown)
        except _IMPOSSIBLE:
            return False
        return found is not None and all(map(self._is_right, found, self.want))

    @staticmethod
    def _is_right(got: np.ndarray, want: np.ndarray) -> bool:
        scale = float(np.max(np.abs(want), initial=0.0))
        return got.shape == want.shape and bool((np.abs(got - want) <= RIGHT * scale).all())

    def outputs(self, changes: Changes, grown: Mapping[int, int] = _NOTHING) -> list[np.ndarray] | None:
        """The gradients with other values of some nodes; None where one has another shape, unless axes are `grown`."""
        after = sorted(set().union(*({k, *self.after(k)} for k in changes)))
        self.purse.spend(cost(self.graph.nodes[j] for j in after))
        changed: dict[int, Any] = {}
        for j in after:
            node, value = self.graph.nodes[j], self.values[j]
            if isinstance(node, Apply) and any(a in changed for a in node.args):
                args = [changed.get(a, self.values[a]) for a in node.args]
                value = OPS[node.op].define(NUMPY, *args, **_longer(dict(node.params), args, grown))
            if j in changes:
                value = changes[j](value)
                if np.shape(value) != np.shape(self.values[j]) and not grown:
                    return None
            changed[j] = value
        return [np.asarray(changed.get(o, self.values[o]), dtype=np.float64) for o in self.graph.outputs]

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

    # ---- the repairs -------------------------------------------------------------------------------------------------

    def node(self, k: int) -> Apply:
        node = self.graph.nodes[k]
        assert isinstance(node, Apply)
        return node

    def args(self, k: int) -> list[Any]:
        return [self.values[a] for a in self.node(k).args]

    def words(self, k: int) -> str:
        return called(self.graph, k, 1)

    def before_writes(self) -> Iterator[_Repair]:
        """What an array held before it was written to."""
        for k, old in self.overwrites.items():
            if k in self.graph.active and self.values[old] is not None:
                text = f"With what that held before, {self.words(old)}, the gradients are right"
                yield self._replaced(k, self.values[old], text, 0)

    def scaled(self, k: int) -> Iterator[_Repair]:
        """Try other numbers for the literals of the step, then a multiple of its result."""
        node = self.node(k)
        if node.kind != "float" or node.op in UNSEEN:
            return
        for i, a in enumerate(() if casts(self.graph, node) else node.args):
            literal = self.graph.nodes[a]
            if isinstance(literal, Constant) and literal.kind == "float" and math.prod(literal.shape) == 1:
                yield from self._other_literal(k, i, float(np.ravel(literal.value)[0]))
        yield from self._multiple(k)

    def _other_literal(self, k: int, i: int, was: float) -> Iterator[_Repair]:
        """Another number in this step alone, wherever the number stands, or wherever that or a multiple of it does."""
        shape = self.graph.nodes[self.node(k).args[i]].shape
        alone = lambda c: {k: lambda _: self._with(k, i, np.full(shape, c))}
        for at in (alone, *map(self._everywhere, self._twins(was))):
            c = self._fitted(at, was)
            for number in [] if c is None else _meant(c):
                if number != was:
                    text = f"with {_number(number)} for {was:.6g}"
                    yield _Repair(k, at(number), text, int(not _has_name(number)))

    def _twins(self, was: float) -> list[dict[int, float]]:
        """Literals that are this number, and those that are a small multiple or part of it: node -> how many times it."""
        if not was or not math.isfinite(was) or was == round(was):  # of small integers all are multiples
            return [{k: 1.0 for k, v in self._literals.items() if v == was}]
        ratios = {k: v / was for k, v in self._literals.items() if v}
        same = {k: 1.0 for k, r in ratios.items() if r == 1}
        simple = {k: m for k, r in ratios.items() for m in SIMPLE if abs(r - m) <= 4 * 2.0**-24 * m}
        return [same, simple] if len(simple) > len(same) else [same]

    @cached_property
    def _literals(self) -> dict[int, float]:
        """The literals of the backward pass that are one number."""
        return {
            k: float(np.ravel(n.value)[0])
            for k, n in enumerate(self.graph.nodes)
            if isinstance(n, Constant) and n.kind == "float" and math.prod(n.shape) == 1
        }

    def _everywhere(self, twins: Mapping[int, float]) -> Callable[[float], Changes]:
        def changes(c: float) -> Changes:
            return {k: partial(_filled, c * m) for k, m in twins.items()}

        return changes

    def _fitted(self, at: Callable[[float], Changes], was: float) -> float | None:
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
            if found is None or abs(top) <= RIGHT * bottom or all(map(self._is_right, found, self.want)):
                break
            here = found
        c = _rounded(c)
        return c if entries > 1 or _has_name(c) else None

    def _multiple(self, k: int, group: Collection[int] = ()) -> Iterator[_Repair]:
        """A multiple of the result of a step, or of all those of one line."""
        at = lambda c: {j: lambda v: c * v for j in group or (k,)}
        c = self._fitted(at, 1.0)
        if c is None or c == 1.0:
            return
        text = (
            "without it" if c == 0 else "with the other sign of it" if c == -1 else f"with {_number(c)} times its value"
        )
        yield _Repair(k, at(c), text, 2)

    def of_loops(self) -> Iterator[_Repair]:
        """Repairs for a pass too large to try each node: another literal, or a multiple of all steps of one line."""
        for was in dict.fromkeys(self._literals.values()):
            users = [k for k in self.steps if any(self._literals.get(a) == was for a in self.node(k).args)]
            users = [k for k in users if not casts(self.graph, self.node(k))]
            if users:
                yield from self._of_all_turns(users[0], was)
        seen = [k for k in self.steps if self.node(k).kind == "float" and self.node(k).op not in UNSEEN]
        lines = by_line(self.graph, seen).values()
        for group in lines:
            yield from self._multiple(group[0], group)
        for k in self.steps:
            yield from self.unsliced(k)
        step = steps_of_turns(self.graph)
        for group in lines:
            for number in dict.fromkeys(step.get(k, 0) for k in group):
                part = [k for k in group if step.get(k, 0) == number]
                if len(part) < len(group):
                    yield from self._multiple(part[0], part)

    def _of_all_turns(self, k: int, was: float) -> Iterator[_Repair]:
        at = self._everywhere(self._twins(was)[0])
        c = self._fitted(at, was)
        for number in [] if c is None else _meant(c):
            if number != was:
                yield _Repair(k, at(number), f"with {_number(number)} for {was:.6g}", int(not _has_name(number)))

    def _applied(self, k: int, args: list[Any], op: str = "") -> Any:
        node = self.node(k)
        return OPS[op or node.op].define(NUMPY, *args, **({} if op else dict(node.params)))

    def other_operations(self, k: int) -> Iterator[_Repair]:
        """The step is another operation on the same arguments, or on fewer."""
        for text, change in self._operations(k):
            try:
                yield self._replaced(k, change(), text, 3)
            except _IMPOSSIBLE:
                continue

    def _operations(self, k: int) -> Iterator[tuple[str, Callable[[], Any]]]:
        node, args = self.node(k), self.args(k)
        op = node.op
        words = [self.words(a) for a in node.args]
        for other in _OTHERS.get(op, ()):
            sign = SIGNS.get(other)
            text = f"with {words[0]} {sign} {words[1]} in its place" if sign else f"with {other} for {op}"
            yield text, partial(self._applied, k, args, other)
        if op == "add":
            yield f"with {words[1]} - {words[0]} in its place", partial(self._applied, k, args[::-1], "subtract")
        if op == "where":
            yield "with the mask inverted", partial(np.where, args[0], args[2], args[1])
        if op in ("subtract", "divide", "matmul", "pow"):
            yield "with its arguments exchanged", partial(self._applied, k, args[::-1])
        for i, a in enumerate(args):
            if self.graph.nodes[node.args[i]].kind != "float" or isinstance(self.graph.nodes[node.args[i]], Constant):
                continue
            if node.kind == "float" and np.shape(a) == node.shape:
                yield f"with {words[i]} alone", partial(np.positive, a)
                yield f"with -({words[i]})", partial(np.negative, a)
            for text, change in _CHANGES.items():
                yield f"with {text.format(words[i])} for {words[i]}", partial(self._changed, k, i, change)
            if op == "matmul" and np.ndim(a) >= 2:
                yield f"with {words[i]} transposed", partial(self._changed, k, i, _transposed)

    def _changed(self, k: int, i: int, change: Callable[[Any], Any]) -> Any:
        return self._with(k, i, change(self.args(k)[i]))

    def _with(self, k: int, i: int, value: Any) -> Any:
        """The result of a step with another value of an argument."""
        args = self.args(k)
        args[i] = value
        return self._applied(k, args)

    def unsliced(self, k: int) -> Iterator[_Repair]:
        """Repairs for a step that slices an array: sum the whole array instead, here or at every slice of the same line."""
        node = self.node(k)
        if node.op != "getitem" or node.kind != "float":
            return
        beside = [j for j in self.steps if self.node(j).op == "getitem" and self.node(j).site == node.site is not None]
        for group in dict.fromkeys([(k,), tuple(beside)]):
            if group and k == group[0]:
                given = {j: self.values[self.node(j).args[0]] for j in group}
                changes = {j: partial(_given, value) for j, value in given.items()}
                lengths = [(a, b) for j, v in given.items() for a, b in zip(self.node(j).shape, np.shape(v)) if a != b]
                text = f"with all of {self.words(node.args[0])}, of which a part is taken there"
                yield _Repair(k, changes, text, 2, dict(lengths))

    def other_arguments(self, k: int) -> Iterator[_Repair]:
        """An argument of the step is another value of the definition or of the backward pass, of the same shape."""
        node = self.node(k)
        depends = {k, *self.after(k)}
        for i, a in enumerate(node.args):
            was = np.asarray(self.values[a])
            if was.dtype != np.float64 or not was.ndim:
                continue
            own = [
                (v, lambda j=j: self.words(j))
                for j, v in enumerate(self.values)
                if v is not None and j not in depends and j != a and self.graph.nodes[j].kind == "float"
            ]
            true = [
                (v, lambda j=j: f"the definition's {called(self.true_graph, j, 1)}")
                for j, v in self.true_arrays.items()
            ]
            for rank, others in ((4, own), (5, true)):
                for other, words in others:
                    if np.shape(other) == was.shape and not np.array_equal(other, was):
                        try:
                            made = self._with(k, i, other)
                        except _IMPOSSIBLE:
                            continue
                        yield self._replaced(k, made, f"with {words()} for {self.words(a)}", rank)

    @cached_property
    def true_arrays(self) -> dict[int, np.ndarray]:
        """The definition's values."""
        return {j: v for j, v in self.definition[0].items() if v.ndim}

    @staticmethod
    def _replaced(k: int, value: Any, text: str, rank: int) -> _Repair:
        return _Repair(k, {k: lambda _: value}, text, rank)

    def true_values(self, k: int) -> Iterator[_Repair]:
        """Repairs that put a true value in a step's place: a value or cotangent of the definition, or one edge's part of it.

        A gradient itself is not replaced: the true one is right in its place, which names nothing.
        """
        if k in self.gradients:
            return
        shape = np.shape(self.values[k])
        values, cotangents, sent = self.definition
        for j, v in values.items():
            if v.shape == shape and v.ndim:
                yield self._replaced(k, v, f"with the value of {with_line(self.true_graph, j)} in its place", 5)
        for j, g in cotangents.items():
            if g.shape == shape and not isinstance(self.true_graph.nodes[j], Constant):
                yield self._replaced(k, g, f"with the cotangent of {with_line(self.true_graph, j)} in its place", 6)
        for (j, i), g in sent.items():
            if g.shape == shape:
                text = f"with the cotangent that {with_line(self.true_graph, j)} passes to its argument {i + 1} in its place"
                yield self._replaced(k, g, text, 7)

    @cached_property
    def gradients(self) -> frozenset[int]:
        """The outputs, and what is only cast or moved to become one."""
        found = set()
        for k in self.graph.outputs:
            while k not in found:
                found.add(k)
                node = self.graph.nodes[k]
                if isinstance(node, Apply) and (node.op in MOVES or casts(self.graph, node)):
                    k = (casts(self.graph, node) or node.args)[0]
        return frozenset(found)


_OTHERS: Mapping[str, tuple[str, ...]] = {
    "add": ("subtract", "multiply"), "subtract": ("add",), "multiply": ("divide", "add"), "divide": ("multiply",),
    "less": ("less_equal", "greater", "greater_equal"), "less_equal": ("less", "greater", "greater_equal"),
    "greater": ("greater_equal", "less", "less_equal"), "greater_equal": ("greater", "less", "less_equal"),
    "equal": ("not_equal",), "not_equal": ("equal",), "maximum": ("minimum",), "minimum": ("maximum",),
    "sin": ("cos",), "cos": ("sin",), "sinh": ("cosh",), "cosh": ("sinh",), "sqrt": ("rsqrt",), "rsqrt": ("sqrt",),
    "tanh": ("sigmoid",), "sigmoid": ("tanh",), "exp": ("expm1",), "log": ("log1p",), "sign": ("abs",), "abs": ("sign",),
}  # fmt: skip
"""What an operation is taken for."""

_CHANGES: Mapping[str, Callable[[Any], Any]] = {
    "the square of {}": lambda a: a * a,
    "the root of {}": np.sqrt,
    "the inverse of {}": lambda a: 1 / a,
    "1 - ({})": lambda a: 1 - a,
    "1 + ({})": lambda a: 1 + a,
    "the cube of {}": lambda a: a**3,
}
"""What an argument should have been."""


def _filled(c: float, like: Any) -> np.ndarray:
    return np.full(np.shape(like), c)


def _longer(params: dict[str, Any], args: list[Any], grown: Mapping[int, int]) -> dict[str, Any]:
    """The parameters of an op; a shape among them that its argument has outgrown is longer along one axis, the first fit."""
    shape, size = params.get("shape", ()), np.size(args[0]) if args else 0
    if not grown or not shape or size <= math.prod(shape):
        return params
    longer = ((*shape[:k], grown[n], *shape[k + 1 :]) for k, n in enumerate(shape) if n in grown)
    return {**params, "shape": next((s for s in longer if math.prod(s) == size), shape)}


def _given(value: Any, _: Any) -> Any:
    return value


def _transposed(a: Any) -> np.ndarray:
    return np.swapaxes(np.asarray(a), -1, -2)


def _rounded(c: float) -> float:
    """The number that a fit means: a simple fraction where it is one to the fit's digits."""
    for d in range(1, 13) if math.isfinite(c) else ():
        if abs(c * d - round(c * d)) <= 1e-8 * max(1.0, abs(c * d)):
            return round(c * d) / d
    return next((s * v for v in CONSTANTS.values() for s in (1, -1) if abs(c - s * v) <= 1e-8 * v), c)


def _meant(c: float) -> list[float]:
    """The numbers that a fit may mean: of up to three digits, where one is near, and itself."""
    short = [float(f"{c:.{n}e}") for n in range(3)]
    return list(dict.fromkeys([*(s for s in short if abs(s - c) <= NEAR * abs(c)), c]))


def _has_name(c: float) -> bool:
    return (
        float(f"{c:.2e}") == c
        or not math.isfinite(c)
        or c == round(c)
        or abs(c) in {*FRACTIONS.values(), *CONSTANTS.values()}
    )


def _number(c: float) -> str:
    names = {v: n for n, v in (*FRACTIONS.items(), *CONSTANTS.items())}
    return ("-" if c < 0 else "") + names[abs(c)] if abs(c) in names else f"{c:.6g}"
