"""The traced backward pass, replayed: every node is rounded to its dtype, or chosen ones to a wider dtype."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Constant, Graph, Input, Site
from ..namespaces.dtypes import FORMATS, FloatFormat, floats_in_float64, is_float, rounded, to_float64, ulp
from ..namespaces.numpy import NUMPY
from ..namespaces.run import constant_array, forward
from ..ops import OPS
from ..oracle.estimate import Estimate
from ..trace.call_site import at
from .budget import casts
from .exact import MOVES, Exact
from .hypotheses.evidence import Purse, Spent

WORK = 100_000_000
"""For all replays of one backward pass, in array entries (`hypotheses.evidence.cost`): two seconds of an idle core, at some
20 µs for a node that is computed and rounded. What has not been found by then is not named."""

FEW = 3
"""Up to so many steps are named where none alone explains the error."""

FAITHFUL = 0.5
"""A replay shows the error that was seen if it leaves no more than this share of it: two orders of one sum, or a fused
multiplication, differ by less."""

DRAWS = 7
"""Cotangents that are drawn beside the case's own to look for intermediates. A rounding of the last step leaves half an ulp,
and one before it at most an ulp more: together they pass one ulp in at most one entry of eight. Of a gradient of one entry,
eight cotangents then find it in two of three cases (1 - (7/8)**8); of larger ones nearly always."""

Step = tuple[str, Site | None]
"""All nodes of one op on one line of the code: the turns of a loop."""

UNREPLAYED = (Spent, ValueError, TypeError, IndexError, np.linalg.LinAlgError)


@dataclass(frozen=True)
class Narrow:
    """A step in a narrow dtype that loses digits.

    of     the array that shows it, `dx`
    text   what is done there, and on which line
    dtype  that it is computed in
    wide   the dtype in which it would not lose them
    terms  of a sum that is accumulated; of a state that is kept, its steps; else 0
    ulps   how far the worst entry is off, in ulps of the gradient's dtype
    left   how far it would be off with the step in the wider dtype
    drawn  which of the cotangents that were drawn shows it; 0 where the case's own does
    excuse what may be said for it: that the definition rounds it as well (its own output, say), or that the hardware
           multiplies matrices of 16 bits
    """

    of: str
    text: str
    dtype: str
    wide: str
    terms: int
    ulps: float
    left: float
    drawn: int = 0
    excuse: str = ""

    def __str__(self) -> str:
        excuse = f", {self.excuse}" if self.excuse else ""
        where = f", for cotangent {self.drawn} of {DRAWS} that were drawn" if self.drawn else ""
        return f"{self.of}: {self.text}{excuse}: {self.ulps:.3g} ulp{where}; in {self.wide} it would be {self.left:.2g}"


def in_ulps(want: Estimate, got: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """The error of each entry, in ulps of its true value."""
    with np.errstate(all="ignore"):
        return np.asarray(want.error_of(got) / ulp(np.asarray(want.hi), fmt))


class Replay:
    """The backward pass, replayed with some of its steps in a wider dtype.

    point   what it is replayed at: the primals and the cotangents
    spared  nodes that keep their dtype where their step is widened
    """

    spared: frozenset[int] = frozenset()

    def __init__(self, case: Case, exact: Exact) -> None:
        asked = exact.asked
        assert asked is not None
        self.case, self.asked, self.point = case, asked, dict(asked.values)
        self.in_memory = False
        self.outputs = dict(zip(exact.values, asked.graph.outputs))
        self.purse = Purse(WORK)
        self.formats = with_moved(asked)
        known = {case.dtype, *case.formats.values(), *asked.formats.values(), "float32"} & FORMATS.keys()
        self.wide = min(known, key=lambda d: FORMATS[d].roundoff)
        self.steps: dict[Step, list[int]] = {}
        for k in sorted(asked.graph.active):
            node = asked.graph.nodes[k]
            narrow = FORMATS[self.formats[k]].roundoff > FORMATS[self.wide].roundoff if k in self.formats else False
            if isinstance(node, Apply) and narrow:
                self.steps.setdefault((node.op, node.site), []).append(k)

    def replay(self, widened: Collection[Step]) -> dict[str, np.ndarray]:
        """The gradients where each node is rounded to its dtype, and those of the steps `widened` to the wider one."""
        self.purse.pay(self.asked.graph)
        graph, point = self.asked.graph, self.point
        values: list[Any] = [None] * len(graph.nodes)
        with np.errstate(all="ignore"):
            for k in sorted(graph.active):
                node = graph.nodes[k]
                if isinstance(node, Input):
                    values[k] = to_float64(point[node.name]) if is_float(point[node.name]) else point[node.name]
                elif isinstance(node, Constant):
                    values[k] = constant_array(node, "float64")
                else:
                    wide = (node.op, node.site) in widened and k not in self.spared
                    values[k] = self._computed(node, [values[a] for a in node.args], self._format(k, wide))
            stored = {n: rounded(np.asarray(values[o]), self.case.dtype_of(n)) for n, o in self.outputs.items()}
        return {n: to_float64(g) for n, g in stored.items()}

    def exact_values(self) -> list[Any]:
        """All nodes at the point where nothing is rounded but to a double."""
        self.purse.pay(self.asked.graph)
        given = floats_in_float64(self.point)
        with np.errstate(all="ignore"):
            return forward(NUMPY, self.asked.graph, given, "float64")

    def _format(self, k: int, wide: bool) -> str:
        dtype = self.formats.get(k, "")
        return self.wide if wide and dtype else dtype

    def _computed(self, node: Apply, args: list[Any], dtype: str) -> Any:
        if node.op == "index_add" and self.in_memory and dtype and FORMATS[dtype].stores:
            return _added_in_memory(args, dict(node.params)["axis"], dtype)
        out = OPS[node.op].define(NUMPY, *args, **dict(node.params))
        return to_float64(rounded(out, dtype)) if node.kind == "float" and dtype else out

    def dtype(self, step: Step) -> str:
        return self.formats[self.steps[step][0]]

    def _text(self, step: Step) -> tuple[str, int]:
        """What a step does, and how many terms a sum has, or steps a state."""
        graph, nodes = self.asked.graph, self.steps[step]
        op, site = step
        where, dtype = f" at {at(*site)}" if site else "", self.dtype(step)
        last = graph.nodes[nodes[-1]]
        assert isinstance(last, Apply)
        turns = _turns(graph, nodes)
        rounded_from = casts(graph, last)
        if op == "index_add":
            return f"{op}{where} adds up in memory of {dtype}", max(_updates(graph, last), 1)
        if op in ("add", "subtract") and turns > 1:
            terms = turns + (not _starts_at_zero(graph, nodes))
            return f"a sum of {terms} terms is accumulated in {dtype}{where}", terms
        if turns > (1 if rounded_from else FEW):  # a product of three factors on one line is no loop
            return f"a state is kept in {dtype} over {turns} steps{where}", turns
        if rounded_from:
            of = graph.nodes[rounded_from[0]]
            what = f"the result of {of.op}" if isinstance(of, Apply) else graph.label(rounded_from[0])
            return f"{what} (shape {list(last.shape)}) is rounded to {dtype} before it is used{where}", 0
        return f"{op}{where} is computed in {dtype}", 0

    def texts(self, needed: list[Step]) -> tuple[str, int]:
        """What the steps do, and the terms or turns of one that stands alone."""
        texts = [self._text(step) for step in needed]
        text = "; ".join(t for t, _ in texts[:FEW])
        if len(texts) > FEW:
            text = f"{len(texts)} steps in {self.dtype(needed[0])}, of which the first is: {texts[0][0]}"
        return text, texts[0][1] if len(texts) == 1 else 0


def stored_nodes(graph: Graph) -> set[int]:
    """The gradients themselves, where their last step stands and where that is moved from."""
    found = set()
    for k in graph.outputs:
        found.add(k)
        while isinstance(node := graph.nodes[k], Apply) and node.op in MOVES:
            k = node.args[0]
            found.add(k)
    return found


def with_moved(asked: Case) -> dict[int, str]:
    """The dtypes of the nodes; of one that is only moved into its place that of the place."""
    formats = {k: d for k, d in asked.formats.items() if d in FORMATS}
    for k in sorted(formats, reverse=True):
        while isinstance(node := asked.graph.nodes[k], Apply) and node.op in MOVES and node.args[0] not in formats:
            formats[node.args[0]] = formats[k]
            k = node.args[0]
    return formats


def _turns(graph: Graph, nodes: list[int]) -> int:
    """The length of the longest chain of these nodes, each of which depends on the one before."""
    return _longest_chain(graph, nodes, lambda node: True)


def terms_of(graph: Graph, nodes: list[int]) -> int:
    """The number of terms that these nodes add one after the other; at most 1 where they are no running sum."""
    last = graph.nodes[nodes[-1]]
    assert isinstance(last, Apply)
    if last.op == "index_add":
        return _updates(graph, last)
    return _longest_chain(graph, nodes, lambda node: node.op in ("add", "subtract", *MOVES) or bool(casts(graph, node)))


def _longest_chain(graph: Graph, nodes: list[int], passes: Callable[[Apply], bool]) -> int:
    """How many of these nodes stand on one path through nodes that pass."""
    depth: dict[int, int] = {}
    mine = set(nodes)
    for k in range(nodes[0], nodes[-1] + 1):
        node = graph.nodes[k]
        if isinstance(node, Apply) and passes(node):
            depth[k] = (k in mine) + max((depth.get(a, 0) for a in node.args), default=0)
    return max((depth.get(k, 0) for k in nodes), default=0)


def _updates(graph: Graph, node: Apply) -> int:
    """How many updates an index_add adds to each entry, on average."""
    return int(np.prod(graph.nodes[node.args[2]].shape)) // max(int(np.prod(node.shape)), 1)


def _starts_at_zero(graph: Graph, nodes: list[int]) -> bool:
    first = graph.nodes[nodes[0]]
    assert isinstance(first, Apply)
    given = [graph.nodes[a] for a in first.args]
    return any(isinstance(n, Constant) and not np.any(n.value) for n in given)


def _added_in_memory(args: list[Any], axis: int, dtype: str) -> np.ndarray:
    """What adding one update after another into an array of this dtype comes to."""
    x, at_, updates = np.moveaxis(np.array(args[0]), axis, 0), np.asarray(args[1]), np.moveaxis(args[2], axis, 0)
    for k, row in zip(at_.tolist(), updates):
        x[k] = to_float64(rounded(x[k] + row, dtype))
    return np.moveaxis(x, 0, axis)
