"""How messages call a node of a graph that the reader never saw: a nested call, as deep as people read it, and its line."""

from __future__ import annotations

from ..core.graph import Apply, Constant, Graph
from ..trace.call_site import of_node
from .budget import casts

SIGNS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/",
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip

UNSEEN = frozenset({"reshape", "permute_dims", "broadcast_to", "expand_dims", "squeeze"})
"""Ops that change no number: a sentence is clearer without them."""

LONG = 24
"""Letters of a literal array that are shown."""


MANY_PARTS = 4
"""Arguments that are written out: a stack may have hundreds."""


def called(graph: Graph, k: int, depth: int = 2) -> str:
    """A node as a nested call of so many levels: `g * (1 - square(…))`."""
    node = graph.nodes[k]
    if isinstance(node, Constant):
        return text if len(text := repr(node.value)) <= LONG else f"{text[: LONG - 1]}…"
    if not isinstance(node, Apply):
        return node.name
    if inner := _unsaid(graph, node):
        return called(graph, inner[0], depth)
    if not depth:
        return f"{node.op}(…)"
    sign = SIGNS.get(node.op)
    parts = [called(graph, a, depth - 1) for a in node.args]
    if sign:
        parts = [f"({p})" if _has_sign(graph, a) and depth > 1 else p for p, a in zip(parts, node.args)]
        return f"{parts[0]} {sign} {parts[1]}"
    if len(parts) > MANY_PARTS:
        parts = [*parts[:2], "…", parts[-1]]
    return f"{node.op}({', '.join(parts)})"


def _unsaid(graph: Graph, node: Apply) -> tuple[int, ...]:
    """The argument that is named in the node's place: of a cast, or of an op that changes no number."""
    return casts(graph, node) or (node.args[:1] if node.op in UNSEEN else ())


def _has_sign(graph: Graph, k: int) -> bool:
    """Is the node written with a sign, so that it takes parentheses?"""
    node = graph.nodes[k]
    while isinstance(node, Apply) and (inner := _unsaid(graph, node)):
        node = graph.nodes[inner[0]]
    return isinstance(node, Apply) and node.op in SIGNS


def with_line(graph: Graph, k: int) -> str:
    """`called`, and the line of the user's code where it is known."""
    return called(graph, k) + of_node(graph.nodes[k])


def output_label(i: int, graph: Graph) -> str:
    """What verdicts call an output: `out`, or `out0` and so on where there are several."""
    return "out" if len(graph.outputs) == 1 else f"out{i}"
