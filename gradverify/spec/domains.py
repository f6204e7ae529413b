"""Domains for inputs that state none: the widest of the usual ones with which no op leaves its domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

import numpy as np

from ..core.graph import Apply, Constant, Graph, Input
from ..core.interval import Interval
from ..ops import OPS
from ..ops.complex.lowering import is_complex
from .case_spec import InputSpec
from .expression import hull
from .nodes import Node
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
    """For each node, the names of the inputs that it depends on."""
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


def place(
    graph: Graph, inputs: dict[str, InputSpec], at: Mapping[str, Node]
) -> tuple[dict[str, InputSpec], dict[str, int]]:
    """The inputs, each with values or a domain to draw them from; and those left to an op's guard.

    Raises SpecError at the node in `at` of an input for which no usual domain serves.
    """
    # An input of no entries has nothing to draw, so nothing to keep inside a domain.
    inputs = {
        n: replace(i, values=np.zeros(i.shape)) if i.kind == "float" and 0 in i.shape else i for n, i in inputs.items()
    }
    if is_complex(graph):  # intervals are of real numbers: nothing is derived
        usual = {n: replace(i, domain=i.domain or DOMAINS["nonzero"]) if i.values is None and i.kind == "float" else i
                 for n, i in inputs.items()}  # fmt: skip
        return usual, {}
    free = tuple(i.name for i in inputs.values() if i.kind == "float" and i.values is None and i.domain is None)
    known = {}
    for i in inputs.values():
        if i.domain is not None:
            known[i.name] = i.domain.parts
        elif i.values is not None and i.values.size and np.all(np.isfinite(i.values)):
            known[i.name] = (Interval(float(i.values.min()), float(i.values.max())),)
    chosen = derive(graph, known, free)
    if isinstance(chosen, int):
        node = graph.nodes[chosen]
        assert isinstance(node, Apply)
        first = next(name for name in free if _reaches(graph, graph.inputs[name], chosen))
        raise at[first].error(
            f"no usual domain of {first} keeps {node.op} inside its own: state `domain: [lo, hi]` or values"
        )
    guards: dict[str, int] = {}
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Apply) and OPS[node.op].guard is not None:
            for a in node.args:
                leaf = graph.nodes[a]
                if isinstance(leaf, Input) and leaf.name in free:
                    guards.setdefault(leaf.name, k)
    placed = {n: InputSpec(n, i.shape, i.kind, domain=DOMAINS[chosen[n]]) if n in chosen else i
              for n, i in inputs.items()}  # fmt: skip
    return placed, guards


def _reaches(graph: Graph, source: int, target: int) -> bool:
    """Does the node `target` depend on `source`?"""
    seen = {source}
    for k, node in enumerate(graph.nodes[: target + 1]):
        if isinstance(node, Apply) and not seen.isdisjoint(node.args):
            seen.add(k)
    return target in seen
