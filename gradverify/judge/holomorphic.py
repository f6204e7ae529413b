"""Known formulas of complex ops: found in the real graph that stands for them, and differentiated by.

A complex op is a few dozen real ones in the graph (`ops/complex/rules.py`), always the same ones, so that it is found by
matching them. A form says what a framework's rule multiplies the cotangent with, such as 1 - out² for tanh: the reverse
pass takes that product in complex arithmetic, in place of the reverse pass of the real ops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import ShapeError, Unsupported
from ..core.graph import Apply, Constant, Graph, Input
from ..frameworks.base import HolomorphicForm
from ..namespaces.run import needed
from ..ops import OPS
from ..ops.build import GraphBuilder, Ref, lowered
from ..ops.complex import rules
from ..ops.complex.lowering import ComplexBuilder, real_graph
from ..ops.complex.rules import Pair
from .budget import Budget, Conditions, budget
from .jvp import Recording, transposed


@dataclass(frozen=True)
class Place:
    """A complex op in a real graph: its name, the nodes of its argument and of its result, and those within."""

    op: str
    argument: tuple[int, int]
    result: tuple[int, int]
    within: frozenset[int]


@cache
def _template(op: str) -> Graph:
    builder = ComplexBuilder()
    z = builder.input("z", (), "complex")
    return lowered(real_graph(builder.graph(builder.apply(op, z))))


def places(graph: Graph, ops: Sequence[str]) -> list[Place]:
    """The occurrences of these complex ops in a lowered graph; of one within another (the tanh of a tan), the outer."""
    found = list(_occurrences(graph, ops))
    return [p for p in found if not any(p.within < q.within for q in found)]


def _occurrences(graph: Graph, ops: Sequence[str]) -> Iterator[Place]:
    for op in ops:
        template = _template(op)
        re, im = (template.nodes[o] for o in template.outputs)
        for a, node in enumerate(graph.nodes):
            if not _alike(node, re):
                continue
            found: dict[int, int] = {}
            if not _matches(graph, template, a, template.outputs[0], found):
                continue
            for b in range(len(graph.nodes)):
                both = dict(found)
                if b != a and _alike(graph.nodes[b], im) and _matches(graph, template, b, template.outputs[1], both):
                    z = tuple(both[template.inputs[f"z{part}"]] for part in (".real", ".imag"))
                    inside = frozenset(v for k, v in both.items() if isinstance(template.nodes[k], Apply))
                    yield Place(op, (z[0], z[1]), (a, b), inside)
                    break


def _alike(node: Any, like: Any) -> bool:
    return isinstance(node, Apply) and isinstance(like, Apply) and node.op == like.op


def _matches(graph: Graph, template: Graph, k: int, t: int, found: dict[int, int]) -> bool:
    """Is node `k` what node `t` of the template is, in the correspondence so far? Extends it."""
    if t in found:
        return found[t] == k
    node, like = graph.nodes[k], template.nodes[t]
    if isinstance(like, Constant):
        # A graph of other shapes has the number broadcast.
        while isinstance(node, Apply) and node.op == "broadcast_to":
            node = graph.nodes[node.args[0]]
        return isinstance(node, Constant) and np.ndim(node.value) == 0 and node.value == like.value
    if isinstance(like, Input):
        if node.kind == "float":
            found[t] = k
        return node.kind == "float"
    if not isinstance(node, Apply) or not _alike(node, like) or len(node.args) != len(like.args):
        return False
    found[t] = k
    return all(_matches(graph, template, a, b, found) for a, b in zip(node.args, like.args))


def gradient_graph(
    graph: Graph, wrt: tuple[str, ...], found: Sequence[Place], forms: Mapping[str, HolomorphicForm]
) -> tuple[Graph, tuple[str, ...]]:
    """The VJP of a lowered graph by the forms at these places, as a graph; and the names of its cotangents.

    Raises Unsupported where a rule cannot be recorded.
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
            args = [values[a].index for a in node.args]
            values.append(Ref(builder, builder.apply(node.op, *args, **dict(node.params))))
    names = tuple(f"{k}*" for k in range(len(graph.outputs)))
    cotangents = [Ref(builder, builder.input(n, graph.nodes[o].shape)) for n, o in zip(names, graph.outputs)]
    try:
        adjoint = _reversed(xp, graph, values, cotangents, wrt, found, forms)
    except (AttributeError, TypeError, ShapeError, KeyError) as e:
        raise Unsupported(f"the rule of an op cannot be recorded ({type(e).__name__}: {e})") from e
    zero: Callable[[int], Any] = lambda k: xp.full(graph.nodes[k].shape, 0.0)
    return builder.graph(*(adjoint.get(k, zero(k)).index for k in (graph.inputs[n] for n in wrt))), names


def _reversed(
    xp: Recording, graph: Graph, values: list[Any], cotangents: Sequence[Any], wrt: tuple[str, ...],
    found: Sequence[Place], forms: Mapping[str, HolomorphicForm],
) -> dict[int, Any]:  # fmt: skip
    needs = needed(graph, wrt)
    ends = {max(p.result): p for p in found}
    skipped = frozenset(k for p in found for k in p.within)
    adjoint: dict[int, Any] = {}

    def accumulate(k: int, g: Any) -> None:
        adjoint[k] = xp.add(adjoint[k], g) if k in adjoint else g

    for o, g in zip(graph.outputs, cotangents):
        if o in needs:
            accumulate(o, g)
    for k in sorted(needs, reverse=True):
        node = graph.nodes[k]
        if not isinstance(node, Apply):
            continue
        place = ends.get(k)
        if place is not None:
            parts = [adjoint.get(r, xp.full(graph.nodes[r].shape, 0.0)) for r in place.result]
            z, out = (Pair(*(values[n] for n in pair)) for pair in (place.argument, place.result))
            slope = forms[place.op].slope(rules.Over(xp), z, out)
            back = rules.apply(xp, "multiply", Pair(*parts), rules.apply(xp, "conj", slope))
            for n, g in zip(place.argument, (back.re, back.im)):
                if n in needs:
                    accumulate(n, xp.sum_to(g, graph.nodes[n].shape))
        if k in skipped or k not in adjoint:
            continue
        args, spec = tuple(values[a] for a in node.args), OPS[node.op]
        for i, a in enumerate(node.args):
            if a in needs and spec.differentiable(i):
                accumulate(a, spec.cotangent(xp, i, adjoint[k], values[k], args, dict(node.params)))
    return adjoint


def allowance_by_forms(
    case: Case,
    usual: Budget,
    gradients: Mapping[str, np.ndarray],
    forms: Mapping[str, HolomorphicForm],
    *,
    seed: int = 0,
) -> tuple[Budget, str]:
    """The budget of the gradients as these forms compute them, and the reasons of those used; "" where none is."""
    flat = lowered(case.graph)
    found = places(flat, [op for op in forms if op in rules.RULES])
    if not found:
        return usual, ""
    graph, names = gradient_graph(flat, case.wrt, found, forms)
    given = {**case.values, **dict(zip(names, case.cotangent))}
    truth = [gradients[n] for n in case.wrt]
    index = {n: i for i, n in enumerate(case.wrt)}
    parts = tuple((i, index[n.removesuffix(".real") + ".imag"]) for n, i in index.items()
                  if n.endswith(".real") and n.removesuffix(".real") + ".imag" in index)  # fmt: skip
    other = replace(case, graph=graph, values={n: given[n] for n in graph.inputs}, wrt=(), parts=parts,
                    cotangent=tuple(np.zeros(t.shape) for t in truth))  # fmt: skip
    allowed = budget(other, truth, {}, Conditions(seed=seed)).outputs
    return replace(usual, gradients=dict(zip(case.wrt, allowed))), _reasons(found, forms)


def _reasons(found: Sequence[Place], forms: Mapping[str, HolomorphicForm]) -> str:
    return "; ".join(f"{op}: {forms[op].reason}" for op in sorted({p.op for p in found}))


def pushforward_by_forms(
    graph: Graph, wrt: tuple[str, ...], forms: Mapping[str, HolomorphicForm]
) -> tuple[Graph, str] | None:
    """The graph of J·v as these forms compute it (`jvp.pushforward`), and their reasons; None where none is used.

    Raises Unsupported where a rule cannot be recorded.
    """
    flat = lowered(graph)
    found = places(flat, [op for op in forms if op in rules.RULES])
    if not found:
        return None
    return transposed(*gradient_graph(flat, wrt, found, forms), wrt), _reasons(found, forms)
