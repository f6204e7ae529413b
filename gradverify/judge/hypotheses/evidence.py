"""The gradients that were seen, and the walks over the graph that predict what a mistake would give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ...core.case import Case
from ...core.graph import Apply, Constant, Graph, Node, evaluate
from ...core.op import OpSpec
from ...frameworks.base import Observation
from ...namespaces.dtypes import FORMATS, FloatFormat, is_float, to_float64
from ...namespaces.kernels import ELEMENTWISE
from ...namespaces.nudged import Noise, NudgedNamespace
from ...namespaces.numpy import NUMPY
from ...namespaces.run import constant_array, forward, needed, reverse
from ...ops import OPS
from ...ops.build import lowered
from ..budget import RERUNS
from ..compare import Compared
from ..reference import Reference
from ..wording import UNSEEN, with_line

WORK = 30_000_000
"""Array entries that all walks of one case may go over: about a second."""

ENTRIES_PER_NODE = 1000
"""A NumPy call costs as much as that many entries."""

LINE = 80

LETTERS = "xyzabcdef"
"""Names of an op's arguments in its VJP text."""

Arrays = Mapping[str, Any]

Change = Callable[[Any, list[Any]], Any]
"""What a node of a VJP text may have been instead: a namespace and the arguments -> the result."""

Edge = tuple[int, int]
"""A node, and which of its arguments."""


def shortened(text: str) -> str:
    """A text of a line's length at most: a literal array may be long."""
    return text if len(text) <= LINE else f"{text[: LINE - 1]}…"


class Spent(Exception):
    """The walks, or replays, have cost what they may."""


def cost(nodes: Iterable[Node]) -> int:
    """The cost of a walk over these nodes, in units of work. Seconds would make the message depend on the machine's load."""
    return sum(max(math.prod(n.shape), ENTRIES_PER_NODE) for n in nodes if isinstance(n, Apply))


class Purse:
    """The work that is left."""

    def __init__(self, work: int = WORK) -> None:
        self.left = work

    def pay(self, graph: Graph) -> None:
        """Pay for a walk over the whole graph. Raises Spent where there is no more."""
        self.spend(cost(graph.nodes))

    def spend(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise Spent


class Evidence:
    """What was seen at a case: for each gradient in question the answer, the truth, the budget, and what fails.

    names    the gradients in question: those of the failing arrays
    tried    how many predictions were made
    walks    the nudged walks so far, by dtype
    """

    def __init__(self, case: Case, seen: Observation, ref: Reference, compared: Sequence[Compared], seed: int) -> None:
        self.case, self.seed, self.purse = case, seed, Purse()
        self.format: FloatFormat = FORMATS[case.dtype]
        self.flat = lowered(case.graph)
        self.dead = ref.truth.dead
        self.got = {n: self._answer(seen.gradients.get(n), ref.truth.gradients[n].shape) for n in case.wrt}
        self.want = {n: ref.truth.gradients[n].resolved for n in case.wrt}
        self.budget = dict(ref.budget.gradients)
        found = {c.comparison.of[1:]: c for c in compared if c.comparison.of.startswith("d")}
        self.failing = {n: found[n].failing for n in case.wrt}
        self.passing = {n: found[n].passing for n in case.wrt}
        self.names = tuple(n for n in case.wrt if self.failing[n].any())
        self.tried = 0
        self.walks: dict[str, list[Walk]] = {}

    @staticmethod
    def _answer(got: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape) if got is None else to_float64(got)

    def about(self, name: str) -> Evidence:
        """The evidence of one gradient alone; walks and their costs are shared."""
        part: Evidence = object.__new__(Evidence)
        part.__dict__.update(self.__dict__, names=(name,))
        return part

    @cached_property
    def plain(self) -> Walk:
        """The walk in doubles."""
        return Walk(self, NUMPY)

    def nudged(self, dtype: str) -> list[Walk]:
        """Walks that round as the dtype may."""
        if dtype not in self.walks:
            nudges = FORMATS[dtype]
            self.walks[dtype] = [Walk(self, NudgedNamespace(Noise(nudges)), (self.seed, k)) for k in range(RERUNS // 2)]
        return self.walks[dtype]

    @cached_property
    def is_smooth(self) -> bool:
        """Do the ops' own rules give the truth? Not where their kinks are none of the function."""
        u = math.sqrt(self.format.roundoff)
        return all(
            np.allclose(self.plain.by_ops[n], self.want[n], rtol=u, atol=float(np.max(self.budget[n])))
            for n in self.names
        )

    @cached_property
    def edges(self) -> list[Edge]:
        """The edges that a cotangent takes, outputs first."""
        needs, walked = needed(self.flat, self.case.wrt), self.plain.adjoint
        return [
            (k, i)
            for k in sorted(walked, reverse=True)
            for node in [self.flat.nodes[k]]
            if isinstance(node, Apply)
            for i, a in enumerate(node.args)
            if a in needs and OPS[node.op].differentiable(i)
        ]

    def node(self, k: int) -> Apply:
        node = self.flat.nodes[k]
        assert isinstance(node, Apply)
        return node

    @cached_property
    def numbers(self) -> list[str | None]:
        """Node of the lowered graph -> how messages call it; None inside a composite op."""
        graph = self.case.graph
        every = lowered(Graph(graph.nodes, tuple(range(len(graph.nodes)))))
        names: list[str | None] = [None] * len(every.nodes)
        for k, at in enumerate(every.outputs):
            names[at] = graph.label(k)
        return names

    def call(self, k: int) -> str:
        """A node of the lowered graph, as a nested call of the graph that is printed, and the user's line."""
        graph = self.case.graph
        inside = next((c for c in range(k, len(self.numbers)) if self.numbers[c] is not None), k)
        label = self.numbers[inside]
        parts = self.case.parts or any(n.endswith((".real", ".imag")) for n in self.case.wrt)
        if parts or label is None or not label.startswith("%"):
            return f"{self.node(k).op} of shape {list(self.node(k).shape)}"  # the graph that is printed is another one
        seen = int(label[1:])
        node = graph.nodes[seen]
        whole = with_line(graph, seen)
        if isinstance(node, Apply) and node.op in UNSEEN:
            whole = f"{node.op} of {whole}"
        return whole if inside == k else f"the {self.node(k).op} in {whole}"

    def label(self, k: int) -> str:
        """An input by its name, an op as `call` has it."""
        return self.call(k) if isinstance(self.flat.nodes[k], Apply) else shortened(self.flat.label(k))

    def edge_text(self, edge: Edge) -> str:
        """An edge; its argument is named where the node has several that carry a cotangent."""
        k, i = edge
        several = sum(e[0] == k for e in self.edges) > 1
        return f"{self.call(k)}" + (f", argument {i + 1}" if several else "")

    def title(self) -> str:
        """The arrays in question, and the verb."""
        labels = [f"d{n}" for n in self.names]
        if len(labels) == 1:
            return f"{labels[0]} is"
        return f"{', '.join(labels[:-1])} and {labels[-1]} are"

    def failing_pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Answer, truth and budget of each array in question."""
        return ((self.got[n], self.want[n], self.budget[n]) for n in self.names)


class Walk:
    """A walk of the lowered graph, forward and in reverse, in doubles or with nudges."""

    def __init__(self, evidence: Evidence, xp: Any, seed: tuple[int, int] | None = None) -> None:
        self.e, self.xp, self.nudged = evidence, xp, seed is not None
        if seed is not None:
            xp.noise.restart(seed)
        evidence.purse.pay(evidence.flat)
        case = evidence.case
        self.inputs = {n: xp.asarray(to_float64(v)) if is_float(v) else v for n, v in case.values.items()}
        self.values = forward(xp, evidence.flat, self.inputs, case.literal_dtype)
        self.cotangent = [xp.asarray(to_float64(g)) for g in case.cotangent]
        self.adjoint = self._reverse(evidence.flat, self.cotangent, dead=evidence.dead)
        self._through: dict[Edge, Arrays] = {}

    def _reverse(self, graph: Graph, cotangent: Sequence[Any], values: Any = None, **how: Any) -> dict[int, Any]:
        self.e.purse.pay(graph)
        of = self.values if values is None else values
        how.setdefault("dead", True)  # what the truth never reaches, a mistake may
        return reverse(self.xp, graph, of, cotangent, self.e.case.wrt, **how)

    def _of_inputs(self, adjoint: Mapping[int, Any]) -> dict[str, np.ndarray]:
        inputs = self.e.flat.inputs
        return {
            n: np.asarray(adjoint[inputs[n]], dtype=np.float64) if inputs[n] in adjoint else np.zeros(w.shape)
            for n, w in self.e.want.items()
        }

    @cached_property
    def right(self) -> Arrays:
        """The right gradients: the truth, or what the nudges make of them."""
        return self._of_inputs(self.adjoint) if self.nudged else self.e.want

    @cached_property
    def by_ops(self) -> Arrays:
        """The gradients by the ops' own VJP rules. At a kink of the graph they may differ from the truth."""
        return self._of_inputs(self.adjoint)

    def given(self, cotangent: Sequence[Any]) -> Arrays:
        """The gradients for other cotangents."""
        return self._of_inputs(self._reverse(self.e.flat, [self.xp.asarray(g) for g in cotangent]))

    def without(self, nodes: frozenset[int]) -> Arrays:
        """The gradients where some nodes pass nothing on."""
        return self._changed(self._reverse(self.e.flat, self.cotangent, without=nodes))

    def saved(self, k: int, value: np.ndarray) -> Arrays:
        """The gradients where the reverse pass reads another value for a node."""
        values = list(self.values)
        values[k] = self.xp.asarray(value)
        return self._changed(self._reverse(self.e.flat, self.cotangent, values))

    def at(self, values: Mapping[str, np.ndarray]) -> Arrays:
        """The gradients where some inputs have other values, in both passes."""
        return self._changed(self._reverse(self.e.flat, self.cotangent, self.forward(values)))

    def forward(self, values: Mapping[str, Any]) -> list[Any]:
        """The values of all nodes where some inputs have others."""
        self.e.purse.pay(self.e.flat)
        given = dict(self.inputs) | {n: self.xp.asarray(v) for n, v in values.items()}
        return forward(self.xp, self.e.flat, given, self.e.case.literal_dtype)

    def _changed(self, adjoint: Mapping[int, Any]) -> Arrays:
        """The right gradients, and what a changed pass differs by from the unchanged one."""
        other = self._of_inputs(adjoint)
        return {n: right + (other[n] - self.by_ops[n]) for n, right in self.right.items()}

    def from_node(self, k: int, g: Any) -> Arrays:
        """What a cotangent of a node adds to the gradients."""
        return self._of_inputs(self._reverse(Graph(self.e.flat.nodes, (k,)), [self.xp.asarray(g)]))

    def sent(self, edge: Edge, replace_args: Mapping[int, Any] | None = None) -> Any:
        """The cotangent along an edge; with other values for some arguments of the node."""
        k, i = edge
        node, args = self.e.node(k), [self.values[a] for a in self.e.node(k).args]
        for j, value in (replace_args or {}).items():
            args[j] = value
        mask = self.e.dead.get(k) if node.op in ELEMENTWISE and not replace_args else None
        spec: OpSpec = OPS[node.op]
        return spec.cotangent(self.xp, i, self.adjoint[k], self.values[k], tuple(args), dict(node.params), mask)

    def through(self, edge: Edge) -> Arrays:
        """The part of the gradients that comes along an edge."""
        if edge not in self._through:
            self._through[edge] = self.from_node(self.e.node(edge[0]).args[edge[1]], self.sent(edge))
        return self._through[edge]

    def plus(self, factor: float, *parts: Arrays) -> Arrays:
        """The right gradients, and `factor` times each of some parts."""
        return {n: right + factor * sum(p[n] for p in parts) for n, right in self.right.items()}

    def applied(self, k: int, x: Any) -> Any:
        """The op of a node of one argument, applied to `x`."""
        node = self.e.node(k)
        return OPS[node.op].define(self.xp, x, **dict(node.params))

    def argument(self, edge: Edge) -> Any:
        """The value of the argument at an edge."""
        return self.values[self.e.node(edge[0]).args[edge[1]]]

    def unsummed(self, edge: Edge) -> Any:
        """The cotangent along an edge before it is summed to the argument's shape."""
        return self.sent(edge, {edge[1]: self.xp.broadcast_to(self.argument(edge), self.e.node(edge[0]).shape)})

    def moved(self, edge: Edge, a: int, g: Any) -> Arrays:
        """The gradients with nothing along an edge, and a further cotangent of another node."""
        more, less = self.from_node(a, g), self.through(edge)
        return self.plus(1.0, {n: more[n] - less[n] for n in more})

    def read(self, edge: Edge, text: Graph, changed: Apply, change: Change) -> Any:
        """The cotangent along an edge by a recorded VJP text, with another result of one of its nodes."""
        node = self.e.node(edge[0])
        of = {"g": self.adjoint[edge[0]]} | {n: self.values[a] for n, a in zip(LETTERS, node.args)}

        def apply(n: Apply, args: list[Any]) -> Any:
            if n is changed:
                found = change(self.xp, args)
                smaller = math.prod(np.shape(found)) < math.prod(n.shape)
                return self.xp.broadcast_to(self.xp.asarray(found), n.shape) if smaller else found
            return OPS[n.op].define(self.xp, *args, **dict(n.params))

        def constant(n: Constant) -> Any:
            value = constant_array(n, "float64")
            return self.xp.asarray(value) if n.kind == "float" else value

        return evaluate(text, leaf=lambda n: of[n.name], constant=constant, apply=apply)[text.outputs[0]]

    def instead(self, edge: Edge, g: Any) -> Arrays:
        """The gradients with another cotangent along an edge."""
        a = self.e.node(edge[0]).args[edge[1]]
        if math.prod(np.shape(g)) > math.prod(self.e.flat.nodes[a].shape):
            return self.right  # it has another shape, and no such answer was seen
        return self.plus(1.0, self.from_node(a, g - self.sent(edge)))


def rms(distances: Sequence[np.ndarray]) -> np.ndarray:
    """The root mean square, entry by entry."""
    return np.sqrt(sum(d * d for d in distances) / len(distances))
