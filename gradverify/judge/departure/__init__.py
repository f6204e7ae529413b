"""Where the formula of a backward pass departs from the derivative: the step whose repair makes all gradients right.

The traced backward pass is run in doubles, with one node at a time made something else: its result scaled, its sign turned,
an argument left out, a mean for a sum, another value of the same shape in an argument's place, the true cotangent of a
node of the definition. There nothing rounds by more than a double does, so that a change which makes every entry of every
gradient right to a billionth is no coincidence. Of several such nodes the first one whose own value is none of the true
values and cotangents of the definition is the one that is wrong: what comes after it only hands its error on.

`search` runs the pass with a change and tells whether it holds; `steps` changes a single step, `arrays` what is read and
what is left out, `loops` a step in all turns at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ...core.case import Case
from ...core.errors import Unsupported
from ...core.graph import Apply, Site
from ..exact import Exact
from ..hypotheses.evidence import Spent
from ..wording import with_line
from .arrays import other_arrays, shifted, unsliced, unused
from .loops import in_all_turns, of_loops
from .search import IMPOSSIBLE, RIGHT, Repair, Search
from .steps import before_writes, blamed, other_arguments, other_operations, scaled, true_values

MOST = 400
"""Nodes of a backward pass that is looked into one by one: a change of one costs a walk over those that depend on it."""


@dataclass(frozen=True)
class Departure:
    """The first wrong step of a backward pass.

    text    the step, and its line
    repair  what makes the gradients right: "with 2 times its value"
    site    its line, where it is known
    node    of the lowered backward pass
    overwritten  does it write to what the backward pass had kept?
    reads_array  does it read an array that is made of no argument? An earlier call may have made it
    """

    text: str
    repair: str
    site: Site | None
    node: int
    overwritten: bool = False
    reads_array: bool = False

    def __str__(self) -> str:
        if self.overwritten:
            return f"The backward pass reads what was written to after it had been kept: {self.text}. {self.repair}"
        return f"The first wrong step of the backward pass is {self.text}: the gradients are right {self.repair}"


def find_departure(case: Case, exact: Exact) -> Departure | None:
    """The step of the backward pass where its formula departs from the derivative; None where no single repair holds."""
    if exact.asked is None or exact.formula.error < 1000 * RIGHT:
        return None
    try:
        with np.errstate(all="ignore"):
            return _find(Search(case, exact))
    except (Spent, Unsupported, *IMPOSSIBLE):
        return None


def _find(s: Search) -> Departure | None:
    found: list[Repair] = []
    try:
        if overwritten := next((r for r in before_writes(s) if s.holds(r)), None):
            return _departure(s, overwritten, overwritten=True)
        for repairs in _kinds(s):
            found = [r for r in repairs if s.holds(r)]
            if found:
                break
    except Spent:
        pass
    if not found:
        return None
    return _departure(s, blamed(s, min(found, key=lambda r: (r.rank, r.node))))


def _kinds(s: Search) -> Iterator[Iterator[Repair]]:
    """Kinds of repairs, the simplest first; the next one is tried where none of a kind holds."""
    yield other_arrays(s)
    if len(s.graph.active) > MOST:
        yield of_loops(s)
        yield unused(s)
        yield in_all_turns(s)
        return
    each: tuple[Callable[[Search, int], Iterator[Repair]], ...] = (
        scaled, unsliced, other_operations,
    )  # fmt: skip
    for make in each:
        yield (r for k in s.suspects for r in make(s, k))
    yield (r for k in s.steps for r in shifted(s, k))
    yield (r for k in s.suspects for r in other_arguments(s, k))
    yield unused(s)
    # What has a true cotangent's value may be one of several terms of what it should be.
    yield (r for k in s.steps for r in true_values(s, k))


def _departure(s: Search, best: Repair, overwritten: bool = False) -> Departure:
    node = s.graph.nodes[best.node]
    site = node.site if isinstance(node, Apply) else None
    reads = isinstance(node, Apply) and any(a in s.own_arrays for a in node.args)
    return Departure(with_line(s.graph, best.node), best.text, site, best.node, overwritten, reads)
