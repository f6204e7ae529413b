"""Which step of a backward pass loses the digits: replayed in its own dtypes, and once more with one step in a wider one.

The traced backward pass is replayed with every node rounded to the dtype that it was computed in. Where that shows the error
that was seen, and would not show it with some step in a wider dtype, that step is what loses the digits: a sum in a narrow
accumulator, a state that is kept in 16 bits, an intermediate that is rounded before it is used. A step is all nodes of one
op on one line of the code: the turns of a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Constant, Graph, Input, Site
from ..frameworks.base import Observation
from ..namespaces.dtypes import FORMATS, FloatFormat, is_float, rounded, to_float64, ulp
from ..namespaces.numpy import NUMPY
from ..namespaces.run import constant_array
from ..ops import OPS
from ..oracle.estimate import Estimate
from ..trace.call_site import at
from .budget import casts
from .compare import Compared
from .exact import MOVES, Exact
from .hypotheses.evidence import Purse, Spent
from .reference import Reference

WORK = 100_000_000
"""For all replays of one backward pass, in array entries (`hypotheses.evidence.cost`): two seconds of an idle core, at some
20 µs for a node that is computed and rounded. What has not been found by then is not named."""

FEW = 3
"""Up to so many steps are named where none alone explains the error."""

FAITHFUL = 0.5
"""A replay shows the error that was seen if it leaves no more than this share of it: two orders of one sum, or a fused
multiplication, differ by less."""

Step = tuple[str, Site | None]


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
    """

    of: str
    text: str
    dtype: str
    wide: str
    terms: int
    ulps: float
    left: float

    def __str__(self) -> str:
        return f"{self.of}: {self.text}: {self.ulps:.3g} ulp; in {self.wide} it would be {self.left:.2g}"


def find_narrow(
    case: Case, exact: Exact, seen: Observation, ref: Reference, compared: Collection[Compared]
) -> Narrow | None:
    """The step, or the few steps, in a narrow dtype that the failing entries come of; None where there is none."""
    failing = {c.comparison.of[1:]: c.failing for c in compared if c.failing.any()}
    worst = max((c.comparison for c in compared if c.failing.any()), key=lambda c: c.share).worst
    if exact.asked is None or not failing.keys() <= exact.values.keys() or worst is None:
        return None
    try:
        return _Replays(case, exact, seen, ref, failing, (worst.of[1:], worst.index)).find()
    except UNREPLAYED:
        return None


def find_narrow_sum(case: Case, exact: Exact, seen: Observation, ref: Reference) -> Narrow | None:
    """A sum of more than FEW terms, accumulated in a narrow dtype, that leaves entries more than an ulp off.

    Such an entry is no neighbour of the true value (it is not rounded faithfully), and is one with a wider accumulator. None
    where there is no such sum, and where entries are off for another reason as well.
    """
    off = _ulps_off(case, exact, seen, ref)
    entries = {n: e > 1 for n, e in off.items() if (e > 1).any()}
    if exact.asked is None or not entries:
        return None
    try:
        for name in sorted(entries, key=lambda n: float(-np.max(off[n]))):
            index = tuple(int(i) for i in np.unravel_index(np.argmax(off[name]), off[name].shape))
            found = _Replays(case, exact, seen, ref, {name: entries[name]}, (name, index)).find_sum()
            if found is not None:
                return found
    except UNREPLAYED:
        pass
    return None


UNREPLAYED = (Spent, ValueError, TypeError, IndexError, np.linalg.LinAlgError)


def _ulps_off(case: Case, exact: Exact, seen: Observation, ref: Reference) -> dict[str, np.ndarray]:
    """How far each entry of the gradients in 16 bits is off, in ulps of the true value; 0 where nobody can tell."""
    found = {}
    for name in exact.values:
        got, want, fmt = seen.gradients.get(name), ref.truth.gradients[name], FORMATS[case.dtype_of(name)]
        if got is not None and fmt.stores and name not in ref.truth.low:
            ulps = _in_ulps(want, got, fmt)
            found[name] = np.where(np.isfinite(ulps), ulps, 0.0)
    return found


def _in_ulps(want: Estimate, got: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """The error of each entry, in ulps of its true value."""
    with np.errstate(all="ignore"):
        return np.asarray(want.error_of(got) / ulp(np.asarray(want.hi), fmt))


class _Replays:
    """The backward pass, replayed with some of its steps in a wider dtype.

    entries  input name -> which entries of its gradient are to be explained
    worst    the entry that is told of
    """

    def __init__(
        self,
        case: Case,
        exact: Exact,
        seen: Observation,
        ref: Reference,
        entries: Mapping[str, np.ndarray],
        worst: tuple[str, tuple[int, ...]],
    ) -> None:
        asked = exact.asked
        assert asked is not None
        self.case, self.asked, self.seen, self.ref, self.entries, self.worst = case, asked, seen, ref, entries, worst
        self.in_memory = False
        self.outputs = dict(zip(exact.values, asked.graph.outputs))
        self.purse = Purse(WORK)
        self.formats = _with_moved(asked)
        known = {case.dtype, *case.formats.values(), *asked.formats.values(), "float32"} & FORMATS.keys()
        self.wide = min(known, key=lambda d: FORMATS[d].roundoff)
        self.steps: dict[Step, list[int]] = {}
        for k in sorted(asked.graph.active):
            node = asked.graph.nodes[k]
            narrow = FORMATS[self.formats[k]].roundoff > FORMATS[self.wide].roundoff if k in self.formats else False
            if isinstance(node, Apply) and narrow:
                self.steps.setdefault((node.op, node.site), []).append(k)

    def find(self) -> Narrow | None:
        if not self.steps or not self._shows_the_error() or self.share(()) <= 1 or self.share(self.steps) > 1:
            return None
        alone = {step: s for step in self.steps if (s := self.share((step,))) <= 1}
        if alone:
            return self._named([min(alone, key=alone.__getitem__)])
        needed = list(self.steps)
        for step in self.steps:  # in the order of the run: what comes first counts as the cause of what follows
            rest = [s for s in needed if s != step]
            if self.share(rest) <= 1:
                needed = rest
        return self._named(needed)

    def find_sum(self) -> Narrow | None:
        sums = [step for step, nodes in self.steps.items() if step[1] and _terms(self.asked.graph, nodes) > FEW]
        if not sums or not self._shows_the_error():
            return None
        for step in sums:
            on_its_line = [s for s in self.steps if s[1] == step[1]]  # the terms are rounded there
            if self._ulps_at_worst(on_its_line) <= 1:
                return self._named([step])
        return None

    def _shows_the_error(self) -> bool:
        """Does a replay show the error that was seen? Traces do not tell whether updates add up in memory."""
        for self.in_memory in (False, True):
            found = self.replay(())
            if all(self._leaves(n, found[n]) <= FAITHFUL for n in self.entries):
                return True
        return False

    def _ulps_at_worst(self, widened: Collection[Step]) -> float:
        name, index = self.worst
        want, fmt = self.ref.truth.gradients[name], FORMATS[self.case.dtype_of(name)]
        return float(_in_ulps(want, self.replay(widened)[name], fmt)[index])

    def _leaves(self, name: str, replayed: np.ndarray) -> float:
        """How much of the error of the failing entries a replay leaves open."""
        got, at_ = self.seen.gradients[name], self.entries[name]
        if got is None:
            return np.inf
        error = self.ref.truth.gradients[name].error_of(got)[at_]
        return float(np.linalg.norm((replayed - to_float64(got))[at_]) / np.linalg.norm(error))

    def share(self, widened: Collection[Step]) -> float:
        """The largest error of a replay as a share of its budget, in the arrays that fail."""
        found = self.replay(widened)
        with np.errstate(all="ignore"):
            shares = [
                np.max(np.where(np.isfinite(b), self.ref.truth.gradients[n].error_of(found[n]) / b, 0.0), initial=0.0)
                for n in self.entries
                for b in [self.ref.budget.gradients[n]]
            ]
        return float(np.nan_to_num(max(shares), nan=np.inf))

    def replay(self, widened: Collection[Step]) -> dict[str, np.ndarray]:
        """The gradients where each node is rounded to its dtype, and those of the steps `widened` to the wider one."""
        self.purse.pay(self.asked.graph)
        graph, point = self.asked.graph, self.asked.values
        values: list[Any] = [None] * len(graph.nodes)
        with np.errstate(all="ignore"):
            for k in sorted(graph.active):
                node = graph.nodes[k]
                if isinstance(node, Input):
                    values[k] = to_float64(point[node.name]) if is_float(point[node.name]) else point[node.name]
                elif isinstance(node, Constant):
                    values[k] = constant_array(node, "float64")
                else:
                    wide = (node.op, node.site) in widened
                    values[k] = self._computed(node, [values[a] for a in node.args], self._format(k, wide))
            stored = {n: rounded(np.asarray(values[o]), self.case.dtype_of(n)) for n, o in self.outputs.items()}
        return {n: to_float64(g) for n, g in stored.items()}

    def _format(self, k: int, wide: bool) -> str:
        dtype = self.formats.get(k, "")
        return self.wide if wide and dtype else dtype

    def _computed(self, node: Apply, args: list[Any], dtype: str) -> Any:
        if node.op == "index_add" and self.in_memory and dtype and FORMATS[dtype].stores:
            return _added_in_memory(args, dict(node.params)["axis"], dtype)
        out = OPS[node.op].define(NUMPY, *args, **dict(node.params))
        return to_float64(rounded(out, dtype)) if node.kind == "float" and dtype else out

    def _named(self, needed: list[Step]) -> Narrow:
        name, index = self.worst
        want, fmt = self.ref.truth.gradients[name], FORMATS[self.case.dtype_of(name)]
        got = self.seen.gradients[name]
        assert got is not None
        ulps = float(_in_ulps(want, got, fmt)[index])
        lines = {site for _, site in needed if site}
        left = self._ulps_at_worst([*needed, *(step for step in self.steps if step[1] in lines)])
        texts = [self._text(step) for step in needed]
        text = "; ".join(t for t, _ in texts[:FEW])
        if len(texts) > FEW:
            text = f"{len(texts)} steps in {self._dtype(needed[0])}, of which the first is: {texts[0][0]}"
        terms = texts[0][1] if len(texts) == 1 else 0
        return Narrow(f"d{name}", text, self._dtype(needed[0]), self.wide, terms, ulps, left)

    def _dtype(self, step: Step) -> str:
        return self.formats[self.steps[step][0]]

    def _text(self, step: Step) -> tuple[str, int]:
        """What a step does, and how many terms a sum has, or steps a state."""
        graph, nodes = self.asked.graph, self.steps[step]
        op, site = step
        where, dtype = f" at {at(*site)}" if site else "", self._dtype(step)
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


def _with_moved(asked: Case) -> dict[int, str]:
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


def _terms(graph: Graph, nodes: list[int]) -> int:
    """How many terms these nodes add up, each to the sum of those before; at most one where they add up nothing."""
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
