"""The turns of a loop in a trace: nodes of one line, sorted by which step of a turn they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..core.graph import Apply, Graph, Site

Line = tuple[str, Site | None]
"""All nodes of one op on one line of the code."""


def by_line(graph: Graph, nodes: Collection[int]) -> dict[Line, list[int]]:
    """The nodes by op and line; an unrolled loop has each of its turns there."""
    found: dict[Line, list[int]] = {}
    for k in sorted(nodes):
        node = graph.nodes[k]
        if isinstance(node, Apply):
            found.setdefault((node.op, node.site), []).append(k)
    return found


def steps_of_turns(graph: Graph) -> dict[int, int]:
    """Map each node to its step within one turn of a loop, among the nodes of its op and line; 0 where nothing repeats.

    A line on which the same kinds of nodes come over and over is a loop's: `r * scale`, then `r * r` in each turn. Two nodes
    are of one kind if their arguments come of the same ops; where that does not repeat (a first turn may start from a
    number), if the same of their arguments are one value.
    """
    steps: dict[int, int] = {}
    for nodes in by_line(graph, graph.active).values():
        kinds = ([_kind(graph, k, of_args) for k in nodes] for of_args in (True, False))
        period = next((p for p in map(_period, kinds) if p < len(nodes)), 1)
        steps |= {k: at % period for at, k in enumerate(nodes)}
    return steps


def _kind(graph: Graph, k: int, of_args: bool) -> tuple[Any, ...]:
    """The shape of a node, which of its arguments are the same, and the ops that these come of."""
    node = graph.nodes[k]
    assert isinstance(node, Apply)
    ops = (getattr(graph.nodes[a], "op", "") if of_args else "" for a in node.args)
    return node.shape, *(node.args.index(a) for a in node.args), *ops


def _period(kinds: list[tuple[Any, ...]]) -> int:
    """After how many entries a list repeats itself to its end."""
    n = len(kinds)
    return next(p for p in range(1, n + 1) if n % p == 0 and kinds == kinds[:p] * (n // p))
