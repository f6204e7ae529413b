"""The graph: frozen, topologically ordered nodes of ops. Plain data, printable, hashable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from .op import Kind, Shape


@dataclass(frozen=True, slots=True)
class Input:
    """A named leaf. `kind` "float" takes the case's dtype, "complex" the complex one of that precision; "int" is int64,
    "bool" is bool: neither is differentiated."""

    name: str
    shape: Shape
    kind: Kind = "float"


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal: a number, or nested tuples of numbers. A float one is rounded to the case's dtype."""

    value: Any
    shape: Shape = ()
    kind: Kind = "float"

    # A NaN is the same literal as a NaN: tuples compare it by identity, Python 3.13 compares field by field.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant):
            return NotImplemented
        return (self.shape, self.kind) == (other.shape, other.kind) and _key(self.value) == _key(other.value)

    def __hash__(self) -> int:
        return hash((self.shape, self.kind, _key(self.value)))


def _key(value: Any) -> Any:
    """A literal in which NaNs are equal."""
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    if isinstance(value, complex):
        return (_key(value.real), _key(value.imag)) if value != value else value
    return _NAN if value != value else value


_NAN = object()


Site = tuple[str, int]
"""A file and a line of the user's program."""


@dataclass(frozen=True, slots=True)
class Apply:
    """An op applied to earlier nodes. `params` holds every parameter of the op, defaults included, in table order.

    `site` is where a traced function asked for it, if that is known; it takes no part in equality.
    """

    op: str
    args: tuple[int, ...]
    params: tuple[tuple[str, Any], ...]
    shape: Shape
    kind: Kind = "float"
    site: Site | None = field(default=None, compare=False, repr=False)


Node = Input | Constant | Apply


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order (arguments before uses) and the indices of the outputs."""

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        names = [n.name for n in self.nodes if isinstance(n, Input)]
        if len(set(names)) != len(names):
            raise ValueError("two inputs of a graph have the same name")
        for k, node in enumerate(self.nodes):
            if isinstance(node, Apply) and not all(0 <= a < k for a in node.args):
                raise ValueError(f"node {k} ({node.op}) uses a node that does not stand before it")
        if not self.outputs or not all(0 <= o < len(self.nodes) for o in self.outputs):
            raise ValueError("a graph needs outputs, and they must be nodes of it")

    @cached_property
    def inputs(self) -> dict[str, int]:
        """Input name to node index, in order."""
        return {n.name: k for k, n in enumerate(self.nodes) if isinstance(n, Input)}

    @cached_property
    def ops(self) -> int:
        """The number of ops that the graph applies: its size, as reports count it."""
        return sum(isinstance(n, Apply) for n in self.nodes)

    @cached_property
    def active(self) -> frozenset[int]:
        """Nodes that an output depends on."""
        seen: set[int] = set()
        stack = list(self.outputs)
        while stack:
            k = stack.pop()
            if k not in seen:
                seen.add(k)
                node = self.nodes[k]
                if isinstance(node, Apply):
                    stack.extend(node.args)
        return frozenset(seen)

    @cached_property
    def steps(self) -> tuple[tuple[int, Node, dict[str, Any]], ...]:
        """The nodes that an output depends on, in order, with index and parameters: what a walk goes through."""
        found = ((k, self.nodes[k]) for k in sorted(self.active))
        return tuple((k, n, dict(n.params) if isinstance(n, Apply) else {}) for k, n in found)

    @cached_property
    def found(self) -> dict[Any, Any]:
        """Cache of derived facts, keyed by caller.

        Excluded from equality, copies and pickles, since it may hold functions. Never stale, since a graph never
        changes.
        """
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Graph, (self.nodes, self.outputs)

    def pruned(self) -> Graph:
        """The graph without the ops and constants that no output needs; inputs stay."""
        keep = [k for k, n in enumerate(self.nodes) if k in self.active or isinstance(n, Input)]
        return _renumber(self, keep)

    def consumers(self, k: int) -> list[int]:
        return [j for j, n in enumerate(self.nodes) if isinstance(n, Apply) and k in n.args]

    def label(self, k: int) -> str:
        """How messages call node `k`: an input by its name, a constant by its value, an op as %k."""
        node = self.nodes[k]
        if isinstance(node, Input):
            return node.name
        if isinstance(node, Constant):
            return repr(node.value)
        return f"%{k}"

    def call(self, k: int) -> str:
        """Node `k` as a call: `sum(%3, axis=0)`."""
        node = self.nodes[k]
        if not isinstance(node, Apply):
            return self.label(k)
        parts = [self.label(a) for a in node.args] + [f"{n}={v!r}" for n, v in node.params if v is not None]
        return f"{node.op}({', '.join(parts)})"

    def text(self) -> str:
        """The graph, one line per node, as people read it."""
        return self._text

    @cached_property
    def _text(self) -> str:
        lines = []
        for k, node in enumerate(self.nodes):
            shape = f"{node.kind}[{', '.join(map(str, node.shape))}]"
            if isinstance(node, Input):
                lines.append(f"{node.name}: {shape}")
            elif isinstance(node, Apply):
                lines.append(f"%{k} = {self.call(k)}  # {shape}")
        lines.append("return " + ", ".join(self.label(o) for o in self.outputs))
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def _renumber(graph: Graph, keep: Sequence[int]) -> Graph:
    new = {old: k for k, old in enumerate(keep)}

    def moved(node: Node) -> Node:
        if isinstance(node, Apply):
            return replace(node, args=tuple(new[a] for a in node.args))
        return node

    return Graph(tuple(moved(graph.nodes[k]) for k in keep), tuple(new[o] for o in graph.outputs))


def cut(graph: Graph, at: Iterable[int], name: Callable[[int], str] = "cut{}".format) -> tuple[Graph, dict[str, int]]:
    """The part of `graph` after the nodes `at`, which become inputs; and which old node each new input stands for.

    The judge uses it to ask a subject for the adjoint of an inner node, without a hook into the subject.
    """
    at = set(at)
    replaced: dict[str, int] = {}
    nodes: list[Node] = []
    for k, node in enumerate(graph.nodes):
        if k in at and isinstance(node, Apply):
            nodes.append(Input(name(k), node.shape, node.kind))
            replaced[name(k)] = k
        else:
            nodes.append(node)
    whole = Graph(tuple(nodes), graph.outputs)
    keep = sorted(whole.active | {k for k in at if k < len(nodes)})
    return _renumber(whole, keep), replaced


def evaluate(
    graph: Graph,
    *,
    leaf: Callable[[Input], Any],
    constant: Callable[[Constant], Any],
    apply: Callable[[Apply, list[Any]], Any],
) -> list[Any]:
    """The value of every node, in order (None for nodes that no output needs): the one walk behind every interpreter."""
    values: list[Any] = [None] * len(graph.nodes)
    for k, node, _ in graph.steps:
        if isinstance(node, Apply):
            values[k] = apply(node, [values[a] for a in node.args])
        else:
            values[k] = leaf(node) if isinstance(node, Input) else constant(node)
    return values


def walk_back(graph: Graph, needs: frozenset[int]) -> Iterator[int]:
    """Indices of the applied ops that lead to a node in `needs`, outputs first: the order of a reverse pass."""
    for k in range(len(graph.nodes) - 1, -1, -1):
        if k in needs and k in graph.active and isinstance(graph.nodes[k], Apply):
            yield k


def dependents(graph: Graph, sources: Iterable[int], carries: Callable[[Apply, int], bool]) -> frozenset[int]:
    """Nodes whose value depends differentiably on `sources`.

    `carries(node, i)` says whether argument i of a node has a cotangent.
    """
    reached = set(sources)
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Apply) and any(a in reached and carries(node, i) for i, a in enumerate(node.args)):
            reached.add(k)
    return frozenset(reached)
