"""Building graphs: the one door through which nodes are made, checked against the op table's shape rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from ..core.errors import ShapeError, UnknownName
from ..core.graph import Apply, Constant, Graph, Input, Node, Site
from ..core.op import VARIADIC, Kind, OpSpec, Shape, bind_params, split_arguments
from . import OPS

MAX_ELEMENTS = 1 << 31
"""No node may have more elements than this: a wrong shape should be an error, not an allocation."""

MAX_DIMENSIONS = 32
"""Of an array: what NumPy 1 takes; NumPy 2 takes 64."""


def too_large(shape: Shape, most: int) -> str:
    """Why an array of this shape cannot be: "an array of 70 dimensions"; "" where it can.

    Lengths of 0 do not count: NumPy refuses (0, 2**62, 4) as it refuses (2**62, 4).
    """
    if len(shape) > MAX_DIMENSIONS:
        return f"an array of {len(shape)} dimensions; at most {MAX_DIMENSIONS}"
    size = math.prod(n for n in shape if n)
    return f"an array of {size} elements; at most {most}" if size > most else ""


class GraphBuilder:
    """Append nodes, get indices. Equal constants are shared; nothing else is merged.

    `site` is that of the ops to come.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.site: Site | None = None
        self._constants: dict[tuple[str, Any, str], int] = {}
        self._names: set[str] = set()

    def shape(self, k: int) -> Shape:
        return self.nodes[k].shape

    def kind(self, k: int) -> Kind:
        return self.nodes[k].kind

    def input(self, name: str, shape: Shape, kind: Kind = "float") -> int:
        if name in self._names:
            raise ShapeError(f"two inputs are called {name!r}")
        self._names.add(name)
        return self._append(Input(name, tuple(shape), kind))

    def constant(self, value: Any, kind: Kind = "float") -> int:
        """A literal number or nested tuples of numbers, all rows of equal length."""
        key = (repr(value), type(value), kind)
        if key not in self._constants:
            self._constants[key] = self._append(Constant(value, literal_shape(value), kind))
        return self._constants[key]

    def apply(self, op: str, *args: int, **params: Any) -> int:
        """Append op(*args, **params). Raises UnknownName or ShapeError."""
        spec = self._spec(op)
        if spec.arity == VARIADIC:
            if not args:
                raise ShapeError(f"{op} needs at least one argument")
        elif len(args) != spec.arity:
            raise ShapeError(f"{op} takes {spec.arity} argument{'s' * (spec.arity != 1)}, got {len(args)}")
        for i, a in enumerate(args):
            self._check_kind(op, i, a, spec.argument(i))
        bound = bind_params(spec, params)
        shapes = [self.shape(a) for a in args]
        try:
            shape = tuple(spec.shape(*shapes, **bound))
        except ShapeError as e:
            raise ShapeError(str(e) if str(e).startswith(op) else f"{op}: {e}") from None
        why_not = too_large(shape, MAX_ELEMENTS)
        if why_not:
            raise ShapeError(f"{op} would make {why_not}")
        return self._append(Apply(op, tuple(args), tuple(bound.items()), shape, self._result(spec, args), self.site))

    def graph(self, *outputs: int) -> Graph:
        return Graph(tuple(self.nodes), outputs)

    # What `pairs.ComplexBuilder` sees otherwise.
    def _spec(self, op: str) -> OpSpec:
        spec = OPS.get(op)
        if spec is None:
            raise UnknownName("op", op, [*OPS, *(a for s in OPS.values() for a in s.aliases)])
        return spec

    def _result(self, spec: OpSpec, args: Sequence[int]) -> Kind:
        return spec.result

    def _append(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _check_kind(self, op: str, i: int, a: int, wanted: Kind) -> None:
        got = self.kind(a)
        node = self.nodes[a]
        if got == wanted or (wanted == "float" and isinstance(node, Constant) and got == "int"):
            return
        raise ShapeError(f"{op}: argument {i + 1} must be {wanted}, got {got}")


def literal_shape(value: Any) -> Shape:
    """The shape of nested tuples of numbers; ShapeError where rows differ."""
    if not isinstance(value, tuple):
        return ()
    inner = {literal_shape(v) for v in value}
    if len(inner) > 1:
        raise ShapeError("the rows of a literal array differ in length")
    return (len(value), *(inner.pop() if inner else ()))


class Operators:
    """Python's operators as ops of the table."""

    __slots__ = ()

    def _apply(self, op: str, *args: Any) -> Any:
        raise NotImplementedError

    def __add__(self, other: Any) -> Self:
        return self._apply("add", self, other)

    def __radd__(self, other: Any) -> Self:
        return self._apply("add", other, self)

    def __sub__(self, other: Any) -> Self:
        return self._apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Self:
        return self._apply("subtract", other, self)

    def __mul__(self, other: Any) -> Self:
        return self._apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Self:
        return self._apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Self:
        return self._apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Self:
        return self._apply("divide", other, self)

    def __pow__(self, other: Any) -> Self:
        return self._apply("pow", self, other)

    def __rpow__(self, other: Any) -> Self:
        return self._apply("pow", other, self)

    def __neg__(self) -> Self:
        return self._apply("negative", self)

    def __matmul__(self, other: Any) -> Self:
        return self._apply("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Self:
        return self._apply("matmul", other, self)


class Ref(Operators):
    """A node under construction, with the operators: what a composite op's `define` sees when it is lowered."""

    __slots__ = ("builder", "index")
    __array_ufunc__ = None

    def __init__(self, builder: GraphBuilder, index: int) -> None:
        self.builder, self.index = builder, index

    @property
    def shape(self) -> Shape:
        return self.builder.shape(self.index)

    def recorder(self) -> Recorder:
        """The namespace that records the ops applied to this node."""
        return Recorder(self.builder)

    def _apply(self, op: str, *args: Any) -> Ref:
        return self.recorder().call(op, *args)


class Recorder:
    """A namespace whose arrays are `Ref`s: running a `define` in it records the definition's ops."""

    name = "recorder"

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op.startswith("__") or op not in OPS:
            raise AttributeError(op)
        return lambda *args, **params: self.call(op, *args, **params)

    def call(self, op: str, *args: Any, **params: Any) -> Ref:
        """Positional arguments past the op's arity are its parameters in table order, as in the vocabulary."""
        arrays, given = split_arguments(OPS[op], args)
        return Ref(self.builder, self.builder.apply(op, *(self._index(a) for a in arrays), **(given | params)))

    def indices(self, rows: Any) -> Ref:
        """A literal array of integers, from nested tuples."""
        return Ref(self.builder, self.builder.constant(rows, "int"))

    def shape(self, x: Any) -> Shape:
        return x.shape if isinstance(x, Ref) else ()

    def _index(self, x: Any) -> int:
        return x.index if isinstance(x, Ref) else self.builder.constant(x)


def lowered(graph: Graph, table: Mapping[str, OpSpec] = OPS) -> Graph:
    """The graph with every composite op replaced by its definition, so that each remaining op has a VJP text.

    `table` may hold another definition of a composite op, or a VJP text for it: then it stays as it is.
    """
    return lowered_with_origins(graph, table)[0]


def lowered_with_origins(graph: Graph, table: Mapping[str, OpSpec] = OPS) -> tuple[Graph, Sequence[int]]:
    """The lowered graph, and which node of `graph` each of its nodes comes from.

    By the table of all ops a graph is lowered once, so that what walks find out about the lowered one is kept as well.
    """
    if table is not OPS:
        return _lowered(graph, table) or (graph, range(len(graph.nodes)))
    if "lowered" not in graph.found:
        graph.found["lowered"] = _lowered(graph, table)
    found: tuple[Graph, Sequence[int]] | None = graph.found["lowered"]
    return found or (graph, range(len(graph.nodes)))


def _lowered(graph: Graph, table: Mapping[str, OpSpec]) -> tuple[Graph, Sequence[int]] | None:
    """The lowered graph with the origins of its nodes; None where it is the graph itself."""
    if not any(isinstance(n, Apply) and table[n.op].composite for n in graph.nodes):
        return None
    builder = GraphBuilder()
    recorder = Recorder(builder)
    new: list[int] = []
    origins: list[int] = []
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Input):
            new.append(builder.input(node.name, node.shape, node.kind))
        elif isinstance(node, Constant):
            new.append(builder.constant(node.value, node.kind))
        else:
            builder.site = node.site
            new.append(_expanded(recorder, table, node.op, [new[a] for a in node.args], dict(node.params)))
        origins += [k] * (len(builder.nodes) - len(origins))
    return builder.graph(*(new[o] for o in graph.outputs)), origins


def _expanded(
    recorder: Recorder, table: Mapping[str, OpSpec], op: str, args: list[int], params: Mapping[str, Any]
) -> int:
    """Append `op`, or, for a composite one, its definition; definitions of definitions included."""
    spec, builder = table[op], recorder.builder
    if not spec.composite:
        return builder.apply(op, *args, **params)
    inner = GraphBuilder()
    leaves = [inner.input(f"_{i}", builder.shape(a), builder.kind(a)) for i, a in enumerate(args)]
    refs = [Ref(inner, k) for k in leaves]
    out = spec.define(Recorder(inner), *refs, **params).index
    new: dict[int, int] = dict(zip(leaves, args))
    for k, node in enumerate(inner.nodes):
        if isinstance(node, Constant):
            new[k] = builder.constant(node.value, node.kind)
        elif isinstance(node, Apply):
            new[k] = _expanded(recorder, table, node.op, [new[a] for a in node.args], dict(node.params))
    return new[out]
