"""The hypothesis about an op's VJP text: one of its operations is left out, or is another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...core.errors import ShapeError, Unsupported
from ...core.graph import Apply, Graph, Input
from ...namespaces.kernels import ELEMENTWISE
from ...ops import OPS
from ...ops.build import lowered
from ..jvp import vjp_graph
from ..wording import SIGNS, UNSEEN
from .evidence import LETTERS, Change, Edge, Evidence, shortened
from .registry import Guess, bound, hypothesis


@hypothesis(
    "formula", "One operation of an op's VJP is left out or is another: its sum, a mean for the sum, a factor, a sign."
)
def formula(e: Evidence) -> Iterator[Guess]:
    for edge in e.edges:
        text = _record(e, edge)
        if text is None:
            continue
        own = len(text.inputs) - 1  # the op itself, which stands before its cotangent
        for k, node in enumerate(text.nodes):
            if k == own or not isinstance(node, Apply) or node.kind != "float":
                continue
            for what, change in _changes(_Text(text, own), node):
                said = f"{{}} what it would be {what} in the VJP of {e.edge_text(edge)}"
                mistaken = bound(lambda w, *at: w.instead(at[0], w.read(*at)), edge, text, node, change)
                yield Guess(said, mistaken)


def _record(e: Evidence, edge: Edge) -> Graph | None:
    """An op's VJP text for an argument as a graph over the arguments x, y, … and g; None where it cannot be recorded."""
    k, i = edge
    node = e.node(k)
    if len(node.args) > len(LETTERS):
        return None
    inputs = [Input(n, e.flat.nodes[a].shape, e.flat.nodes[a].kind) for n, a in zip(LETTERS, node.args)]
    alone = Graph((*inputs, replace(node, args=tuple(range(len(inputs))))), (len(inputs),))
    try:
        return lowered(vjp_graph(alone, (LETTERS[i],), "g", lambda k: k)[0])
    except (AttributeError, TypeError, ValueError, KeyError, ShapeError, Unsupported):
        return None


@dataclass(frozen=True)
class _Text:
    """A recorded VJP text, and which of its nodes is the op's own result."""

    graph: Graph
    own: int

    def words(self, k: int, depth: int = 3, inner: bool = False) -> str:
        """A node in the names g, out, x, y, written out."""
        node = self.graph.nodes[k]
        if k == self.own:
            return "out"
        if not isinstance(node, Apply):
            return node.name if isinstance(node, Input) else shortened(repr(node.value))
        if not depth:
            return "…"
        if node.op in UNSEEN:
            return self.words(node.args[0], depth, inner)
        parts = [self.words(a, depth - 1, node.op in SIGNS) for a in node.args]
        if node.op in SIGNS:
            said = f"{parts[0]} {SIGNS[node.op]} {parts[1]}"
            return f"({said})" if inner else said
        return f"{node.op}({', '.join(parts)})"


def _changes(text: _Text, node: Apply) -> Iterator[tuple[str, Change]]:
    """What a node of a VJP text may have been instead: in words, and its result from its arguments."""
    params, op = dict(node.params), node.op
    first = text.graph.nodes[node.args[0]].shape if node.args else ()
    whole, parts = text.words(text.graph.nodes.index(node)), [text.words(a) for a in node.args]
    if op in ("sum", "mean") and 0 not in first:  # of no entries there is neither mean nor sum to take for the other
        n = math.prod(first) / max(math.prod(node.shape), 1)
        words, scale = ("a mean", 1.0 / n) if op == "sum" else ("a sum", n)
        yield f"with {parts[0]} for {whole}", lambda xp, a: a[0]
        yield f"with {words} for {whole}", lambda xp, a: OPS[op].define(xp, a[0], **params) * scale
    elif op in ("add", "subtract"):
        yield f"without {parts[1]} in {whole}", lambda xp, a: a[0]
        yield f"without {parts[0]} in {whole}", lambda xp, a: a[1] if op == "add" else -a[1]
        yield f"with the other sign in {whole}", lambda xp, a: a[0] - a[1] if op == "add" else a[0] + a[1]
    elif op in ("multiply", "divide"):
        yield f"without {parts[1]} in {whole}", lambda xp, a: a[0]
        yield f"without {parts[0]} in {whole}", lambda xp, a: a[1] if op == "multiply" else 1.0 / a[1]
        yield (
            f"with the inverse of {parts[1]} in {whole}",
            lambda xp, a: a[0] / a[1] if op == "multiply" else a[0] * a[1],
        )
    elif op == "where":
        yield f"with the mask inverted in {whole}", lambda xp, a: xp.where(a[0], a[2], a[1])
        yield f"with {parts[1]} for {whole}", lambda xp, a: a[1]
        yield f"with {parts[2]} for {whole}", lambda xp, a: a[2]
    elif len(node.args) == 1 and first == node.shape and (op in ELEMENTWISE or op == "matrix_transpose"):
        yield f"with {parts[0]} for {whole}", lambda xp, a: a[0]
