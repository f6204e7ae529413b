"""Changes of a step in all turns of a loop at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ...core.graph import Apply, Graph, Site
from ..budget import casts
from ..turns import by_line, steps_of_turns
from ..wording import UNSEEN, with_line
from .arrays import part, places, shifted, unsliced
from .search import Repair, Search
from .steps import everywhere, multiple, of_number, operations, twins

FAR = 1_000_000
"""Lines between two files."""

Group = tuple[int, ...]
"""The nodes that are one step of a loop, turn after turn."""


def of_loops(s: Search) -> Iterator[Repair]:
    """Repairs for a pass too large to try each node: another literal, or a multiple of all steps of one line."""
    numbers = s.literals
    for was in dict.fromkeys(numbers.values()):
        users = [k for k in s.steps if any(numbers.get(a) == was for a in s.node(k).args)]
        users = [k for k in users if not casts(s.graph, s.node(k))]
        if users:
            yield from of_number(s, users[0], everywhere(twins(s, was)[0]), was)
    seen = [k for k in s.steps if s.node(k).kind == "float" and s.node(k).op not in UNSEEN]
    lines = by_line(s.graph, seen).values()
    for group in lines:
        yield from multiple(s, group[0], group)
    for k in s.steps:
        yield from unsliced(s, k)
    step = steps_of_turns(s.graph)
    for group in lines:
        for at in dict.fromkeys(step.get(k, 0) for k in group):
            some = [k for k in group if step.get(k, 0) == at]
            if len(some) < len(group):
                yield from multiple(s, some[0], some)


def in_all_turns(s: Search) -> Iterator[Repair]:
    """Repairs of one step in every turn: another operation, a neighbouring part of an array, or another argument."""
    suspects, groups = set(s.suspects), _groups(s)
    turns = [g for g in (_active(s, g) for g in groups) if len(g) > 1 and suspects & set(g)]
    turns = [g for g in turns if s.node(g[0]).kind == "float"]
    of_turns = {k for group in groups if len(group) > 2 for k in group}  # of a pair one may be a slip
    for k in s.steps:
        if k not in of_turns:
            yield from shifted(s, k)
    for group in turns:
        yield from _other_operations(s, group)
        yield from _shifted(s, group)
    yield from _other_arguments(s, turns, groups)


def _groups(s: Search) -> list[Group]:
    """The steps of loops, those as well that no gradient depends on."""
    every = [k for k, n in enumerate(s.graph.nodes) if isinstance(n, Apply)]
    whole = Graph(s.graph.nodes, tuple(every))
    step = steps_of_turns(whole)
    found: dict[Any, list[int]] = {}
    for k in every:
        node = s.node(k)
        if node.site is not None and node.op not in UNSEEN:
            found.setdefault((node.op, node.site, node.shape, step.get(k, 0)), []).append(k)
    return [tuple(g) for g in found.values() if len(g) > 1]


def _active(s: Search, group: Group) -> Group:
    return tuple(k for k in group if k in s.graph.active)


def _other_operations(s: Search, group: Group) -> Iterator[Repair]:
    """What `operations` has, at the same place of its list in each turn."""
    each = [list(operations(s, k)) for k in group]
    if len({len(of) for of in each}) != 1:
        return
    for alike in zip(*each):
        text = f"{alike[-1][0]}, in all {len(group)} turns"
        yield Repair(group[-1], {}, text, 3, remade={k: make for k, (_, make) in zip(group, alike)})


def _shifted(s: Search, group: Group) -> Iterator[Repair]:
    """The part of an array one place beside, where there is one."""
    if s.node(group[0]).op != "getitem":
        return
    each = {k: places(s, k) for k in group}
    for by in (1, -1):
        found = {k: index for k, of in each.items() for way, _, index in of if way == by}
        if found:
            beside = f"the entry {'after' if by > 0 else 'before'} it of {s.words(s.node(group[-1]).args[0])}"
            text = f"with {beside}, in all {len(found)} turns"
            yield Repair(group[-1], {}, text, 3, remade={k: partial(part, index) for k, index in found.items()})


def _other_arguments(s: Search, turns: list[Group], groups: list[Group]) -> Iterator[Repair]:
    """An argument is what another step of the loop computes, in the same turn or the one beside; of near lines first."""
    others = [g for g in groups if s.node(g[0]).kind == "float"]
    tried = []
    for group in turns:
        for i, a in enumerate(s.node(group[-1]).args):
            shape = np.shape(s.values[a])
            for other in others:
                if other != group and s.node(other[0]).shape == shape:
                    tried.append((_lines_between(s, group[0], other[0]), group, i, other))
    for _, group, i, other in sorted(tried, key=lambda t: t[0]):
        for at in _alignments(s, group, i, other):
            args = {k: s.node(k).args for k in at}
            text = f"with {with_line(s.graph, other[-1])} for {s.words(args[group[-1]][i])}" if group[-1] in at else ""
            rewired = {k: (*args[k][:i], new, *args[k][i + 1 :]) for k, new in at.items()}
            yield Repair(group[-1], {}, f"{text}, in all {len(at)} turns", 4, rewired=rewired)


def _lines_between(s: Search, a: int, b: int) -> int:
    (file, line), (other, there) = _site(s, a), _site(s, b)
    return abs(line - there) if file == other else FAR


def _site(s: Search, k: int) -> Site:
    site = s.node(k).site
    assert site is not None
    return site


def _alignments(s: Search, group: Group, i: int, other: Group) -> Iterator[dict[int, int]]:
    """Which node of the other step each turn may take: of the same turn, counted from either end, or of the one beside.

    A turn for which there is none keeps its own.
    """
    seen = []
    for nodes in (other, other[::-1]):
        for by in dict.fromkeys((0, len(nodes) - len(group), 1, -1)):
            at = {k: nodes[t + by] for t, k in enumerate(group) if 0 <= t + by < len(nodes)}
            at = {k: new for k, new in at.items() if s.node(k).args[i] != new}
            if len(at) > len(group) // 2 and at not in seen:
                seen.append(at)
                yield at
