"""Domains for inputs that state none: the widest of the usual ones with which no op leaves its domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from ..core.graph import Apply, Constant, Graph, Input
from ..core.interval import Interval
from ..ops import OPS
from .expression import hull
from .values import DOMAINS, Range

# In the order in which they are tried: signs first, because rules that lose a sign show there only.
CANDIDATES = ("real", "nonzero", "symmetric_unit", "positive", "unit", "negative", "above_one")

JOINTLY = 3
"""So many inputs get candidates independently of each other (7**3 trials at most); more share one."""

MAX_VISITS = 200_000
"""Nodes looked at before giving up: a second or two. A case of the size that people write needs hundreds."""


def derive(graph: Graph, known: Mapping[str, Range], free: tuple[str, ...]) -> dict[str, str] | int:
    """A candidate's name for each input in `free`, given the ranges of the others; or a node that none satisfies.

    Ops are taken in order. Where one leaves its domain, the inputs that it depends on are moved through the
    candidates until every op up to it is satisfied. Intervals know no correlation (x - x is [-4, 4]), so this may
    fail where suitable points exist; then the author states a domain.
    """
    chosen = dict.fromkeys(free, CANDIDATES[0])
    upstream = _upstream(graph)
    visits = 0
    while True:
        bad = _first_violation(graph, known, chosen, upstream)
        if bad is None:
            return chosen
        movable = [name for name in free if name in upstream[bad]]
        for names in _choices(len(movable)):
            trial = chosen | dict(zip(movable, names))
            visits += len(graph.nodes)
            if visits > MAX_VISITS:
                return bad
            worse = _first_violation(graph, known, trial, upstream)
            if worse is None or worse > bad:
                chosen = trial
                break
        else:
            return bad


def _choices(n: int) -> Iterator[tuple[str, ...]]:
    if n <= JOINTLY:
        # The fewest and mildest changes first.
        return iter(sorted(product(CANDIDATES, repeat=n), key=lambda c: sum(map(CANDIDATES.index, c))))
    return ((name,) * n for name in CANDIDATES)


def _upstream(graph: Graph) -> list[frozenset[str]]:
    """Per node, the names of the inputs that it depends on."""
    found: list[frozenset[str]] = []
    for node in graph.nodes:
        if isinstance(node, Input):
            found.append(frozenset((node.name,)))
        elif isinstance(node, Apply):
            found.append(frozenset().union(*(found[a] for a in node.args)))
        else:
            found.append(frozenset())
    return found


def _first_violation(
    graph: Graph, known: Mapping[str, Range], chosen: Mapping[str, str], upstream: list[frozenset[str]]
) -> int | None:
    """The first op that leaves its domain and depends on a chosen input."""
    ranges: list[Range] = []
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Input):
            name = node.name
            ranges.append(DOMAINS[chosen[name]].parts if name in chosen else known.get(name, (Interval(),)))
        elif isinstance(node, Constant):
            ranges.append((hull(node.value),))
        else:
            admitted, image = _through(graph, node, ranges)
            if not admitted and not upstream[k].isdisjoint(chosen):
                return k
            ranges.append(image)
    return None


def _through(graph: Graph, node: Apply, ranges: list[Range]) -> tuple[bool, Range]:
    spec = OPS[node.op]
    shapes = tuple(graph.nodes[a].shape for a in node.args)
    parts = [ranges[a] for a in node.args]
    if 2 ** sum(len(p) > 1 for p in parts) > 16:
        parts = [(_hull(p),) for p in parts]
    images: list[Interval] = []
    admitted = True
    for intervals in product(*parts):
        admitted &= spec.admits(*intervals)
        try:
            images.append(spec.image(*intervals, shapes=shapes, **dict(node.params)))
        except (ArithmeticError, ValueError):  # outside the domain an image need not exist
            images.append(Interval())
    return admitted, tuple(images) if len(images) <= 2 else (_hull(tuple(images)),)


def _hull(parts: Range) -> Interval:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.hull(part)
    return whole
