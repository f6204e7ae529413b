"""The graphs of a verdict as data for reports: steps, edges, the first wrong step, and the digits that each step loses."""

from __future__ import annotations

from ..core.case import Case
from ..core.errors import Unsupported
from ..core.graph import Apply, Constant, Graph
from ..core.verdict import Drawing, Step
from ..ops.build import lowered
from ..ops.complex.lowering import is_complex
from ..trace.call_site import at
from .stability import digits_lost

MOST = 150
"""Steps of a graph that is drawn: nobody follows the edges of a larger one."""

FELT = 0.05
"""Digits: a step that loses fewer loses none."""


def draw(case: Case, seed: int = 0, wrong: int | None = None, *, lower: bool = False) -> Drawing | None:
    """The drawing of the case's graph, or of its primitive ops; None where it is too large.

    `wrong` is a node of that graph. Constants have no step of their own: they stand in the calls.
    """
    graph = lowered(case.graph) if lower else case.graph
    active = [k for k in sorted(graph.active) if not isinstance(graph.nodes[k], Constant)]
    if len(active) > MOST:
        return None
    lost = _lost(case, graph, seed)
    place = {k: i for i, k in enumerate(active)}
    steps = []
    for k in active:
        node = graph.nodes[k]
        args, site = (node.args, node.site) if isinstance(node, Apply) else ((), None)
        steps.append(
            Step(
                graph.label(k),
                graph.call(k),
                tuple(place[a] for a in args if a in place),
                node.shape,
                at(*site) if site else "",
                lost.get(k, 0.0),
            )
        )
    outputs = tuple(place[o] for o in graph.outputs if o in place)
    return Drawing(tuple(steps), outputs, None if wrong is None else place.get(wrong))


def _lost(case: Case, graph: Graph, seed: int) -> dict[int, float]:
    """Node -> the digits that it loses, where that is felt; nothing for complex graphs."""
    if is_complex(graph):
        return {}
    try:
        found = digits_lost(case, graph, seed)
    except Unsupported:  # a step without a kernel in nudged arithmetic
        return {}
    return {k: round(v, 2) for k, v in found.items() if v >= FELT}
