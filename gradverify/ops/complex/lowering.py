"""Graphs with complex nodes, and the graphs of real numbers that they stand for.

The one idea: a node of kind "complex" is a pair of reals. Only subjects compute with complex numbers; what they are held
against is the real graph, in which an input `z` is the two inputs `z.real` and `z.imag`, a complex output is two outputs,
and every complex op is its rule over pairs (`complex.RULES`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ...core.errors import ShapeError, UnknownName
from ...core.graph import Apply, Constant, Graph, Input
from ...core.op import Kind, OpSpec, Param, Shape
from .. import OPS
from ..build import GraphBuilder, Recorder, Ref
from ..shapes import broadcast, normal_axis, same
from . import rules
from .rules import Pair

PARTS = (".real", ".imag")
"""What is appended to a complex input's name to name its two inputs in the real graph."""

REAL_RESULTS = frozenset("abs angle real imag irfft vector_norm var std logabsdet".split())
"""Ops whose result is real whatever their arguments are."""

LEFT_OUT = frozenset(("sign",))
"""Complex numbers have `sgn`: what `sign` makes of one, libraries do not agree on."""


OF_COMPLEX = frozenset("real imag conj angle sgn irfft".split())
"""Ops that are asked of complex numbers alone: of a real one each has another meaning, or an argument of no use."""


# ---- the ops that real graphs have no use for --------------------------------------------------------------------------


def _transformed(shape: Shape, n: int | None, axis: int, size: Callable[[int], int]) -> Shape:
    at = normal_axis(axis, len(shape))
    count = size(shape[at] if n is None else n)
    if count < 1 or shape[at] < 1:
        raise ShapeError(f"shape {shape} has nothing to transform along axis {axis}")
    return (*shape[:at], count, *shape[at + 1 :])


def _transform(name: str, doc: str, shape: Callable[..., Shape], argument: Kind = "complex") -> OpSpec:
    return _op(
        name, doc=doc, shape=shape, arguments=(argument,), params={
            "n": Param("int", None, optional=True, lo=1), "axis": Param("axis", -1),
            "norm": Param("choice", "backward", choices=("backward", "ortho", "forward")),
        },
    )  # fmt: skip


def _op(name: str, **fields: Any) -> OpSpec:
    result: Kind = "float" if name in REAL_RESULTS else "complex"
    standard: dict[str, Any] = {"arguments": ("complex",), "result": result, "example": f"{name}(z)", "shape": same}
    return OpSpec(
        name=name, define=lambda xp, *args, **params: rules.apply(xp, name, *args, **params), generate=False,
        **(standard | fields),
    )  # fmt: skip


COMPLEX: Mapping[str, OpSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _op("complex", doc="x + iy, of two real arrays", arity=2, arguments=("float",), shape=broadcast,
                example="complex(x, y)"),
            _op("polar", doc="r exp(i angle), of two real arrays", arity=2, arguments=("float",), example="polar(r, x)",
                shape=broadcast),
            _op("real", doc="the real part"),
            _op("imag", doc="the imaginary part"),
            _op("conj", doc="the complex conjugate", aliases=("conjugate",)),
            _op("angle", doc="the argument, in (-pi, pi]", aliases=("arg",)),
            _op("sgn", doc="z / |z|, and 0 at 0 (PyTorch's name)"),
            _transform("fft", "the discrete Fourier transform along an axis; with n, of the first n entries, or zeros",
                       lambda s, n, axis, **_: _transformed(s, n, axis, lambda m: m)),
            _transform("ifft", "the inverse of fft", lambda s, n, axis, **_: _transformed(s, n, axis, lambda m: m)),
            _transform("rfft", "the first n//2 + 1 entries of fft, of a real array", argument="float",
                       shape=lambda s, n, axis, **_: _transformed(s, n, axis, lambda m: m // 2 + 1)),
            _transform("irfft", "the real array of n entries (2 (m - 1), by default) whose rfft it is",
                       lambda s, n, axis, **_: _transformed(s, n, axis, lambda m: m if n else 2 * (m - 1))),
        )
    }
)  # fmt: skip
"""Name -> declaration, as in the op table; `define` is over pairs, and there is no rule to differentiate by: the real
graph is what is differentiated."""


def spec_of(op: str) -> OpSpec:
    """An op of the table, or one of complex graphs. Raises KeyError."""
    return OPS[op] if op in OPS else COMPLEX[op]


def takes_complex(op: str) -> bool:
    return op in rules.RULES and op not in LEFT_OUT


# ---- building ----------------------------------------------------------------------------------------------------------


class ComplexBuilder(GraphBuilder):
    """A GraphBuilder that knows of complex nodes: which ops take them, and what comes of them."""

    def _spec(self, op: str) -> OpSpec:
        if op not in OPS and op not in COMPLEX:
            names = [*OPS, *COMPLEX]
            raise UnknownName("op", op, [*names, *(a for n in names for a in spec_of(n).aliases)])
        return spec_of(op)

    def _result(self, spec: OpSpec, args: Sequence[int]) -> Kind:
        if spec.name in REAL_RESULTS or spec.name in COMPLEX or spec.result != "float":
            return spec.result
        return "complex" if any(self.kind(a) == "complex" for a in args) else "float"

    def _check_kind(self, op: str, i: int, a: int, wanted: Kind) -> None:
        got = self.kind(a)
        if got == "float" and op in OF_COMPLEX:
            raise ShapeError(
                f"{op}: argument {i + 1} is real, and {op} is about complex numbers; write complex(x, 0 * x)"
            )
        if wanted == "complex" and got in ("float", "complex"):
            return
        if got != "complex":
            return super()._check_kind(op, i, a, "float" if wanted == "complex" else wanted)
        if op in COMPLEX or wanted != "float":
            raise ShapeError(f"{op}: argument {i + 1} must be {wanted}, got complex")
        if not takes_complex(op):
            instead = "; write sgn" if op == "sign" else ""
            raise ShapeError(f"{op}: argument {i + 1} is complex, and {op} has no meaning for complex numbers{instead}")


def is_complex(graph: Graph) -> bool:
    """Does the graph have a complex node?"""
    return any(n.kind == "complex" for n in graph.nodes)


# ---- lowering ----------------------------------------------------------------------------------------------------------


def names_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Input name -> the names of its inputs in the real graph, in order."""
    kinds = {n: graph.nodes[k].kind for n, k in graph.inputs.items()}
    return {n: tuple(n + part for part in PARTS) if kind == "complex" else (n,) for n, kind in kinds.items()}


def real_graph(graph: Graph, rename: Mapping[str, str] = MappingProxyType({})) -> Graph:
    """The graph over pairs. `rename`: other names for some of its inputs. Raises Unsupported where an op has no rule."""
    return lowered_with_places(graph, rename)[0]


def lowered_with_places(
    graph: Graph, rename: Mapping[str, str] = MappingProxyType({})
) -> tuple[Graph, list[tuple[int, ...]]]:
    """The real graph, and which of its nodes each node of `graph` became: one, two for a complex one."""
    builder = GraphBuilder()
    xp = Recorder(builder)
    values: list[Any] = []
    for node in graph.nodes:
        if isinstance(node, Input):
            values.append(_input(builder, node, rename))
        elif isinstance(node, Constant):
            values.append(_constant(builder, node))
        else:
            values.append(_applied(xp, node, [values[a] for a in node.args]))
    places = [tuple(_index(builder, part) for part in _parts(v)) for v in values]
    return builder.graph(*(k for o in graph.outputs for k in places[o])), places


def _input(builder: GraphBuilder, node: Input, rename: Mapping[str, str]) -> Any:
    if node.kind != "complex":
        return Ref(builder, builder.input(rename.get(node.name, node.name), node.shape, node.kind))
    names = (node.name + part for part in PARTS)
    re, im = (Ref(builder, builder.input(rename.get(n, n), node.shape)) for n in names)
    return Pair(re, im)


def _constant(builder: GraphBuilder, node: Constant) -> Any:
    """A number as itself, an array as a node: the rules treat the literals 0, 1 and 3 specially."""
    if node.kind == "complex":
        if not isinstance(node.value, tuple):
            return complex(node.value)
        return Pair(*(Ref(builder, builder.constant(_part(node.value, part))) for part in ("real", "imag")))
    scalar = not isinstance(node.value, tuple)
    return node.value if scalar and node.kind == "float" else Ref(builder, builder.constant(node.value, node.kind))


def _part(value: Any, part: str) -> Any:
    return tuple(_part(v, part) for v in value) if isinstance(value, tuple) else getattr(complex(value), part)


def _applied(xp: Recorder, node: Apply, args: list[Any]) -> Any:
    params = dict(node.params)
    if not any(isinstance(a, Pair | complex) for a in args) and node.op in OPS:
        if not any(isinstance(a, Ref) for a in args):  # of numbers alone: they become nodes
            args = [Ref(xp.builder, xp.builder.constant(a)) for a in args]
        return xp.call(node.op, *((params.pop("subscripts"),) if node.op == "einsum" else ()), *args, **params)
    if all(isinstance(a, complex | float | int) for a in args):
        args = [_anchored(xp.builder, a) for a in args]
    first = (params.pop("subscripts"),) if node.op == "einsum" else ()
    out = rules.apply(xp, node.op, *first, *args, **params)
    have = tuple(xp.shape(out.re if isinstance(out, Pair) else out))
    assert have == node.shape, f"{node.op}: the rule over pairs gives {have}, the op {node.shape}"
    return out


def _anchored(builder: GraphBuilder, value: complex | float) -> Any:
    """A number as nodes."""
    if isinstance(value, complex):
        return Pair(*(Ref(builder, builder.constant(part)) for part in (value.real, value.imag)))
    return Ref(builder, builder.constant(value))


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, complex):
        return value.real, value.imag
    return (value.re, value.im) if isinstance(value, Pair) else (value,)


def _index(builder: GraphBuilder, value: Any) -> int:
    return value.index if isinstance(value, Ref) else builder.constant(value)


__all__ = [
    "COMPLEX", "PARTS", "ComplexBuilder", "is_complex", "lowered_with_places", "names_of", "real_graph",
    "spec_of", "takes_complex",
]  # fmt: skip
