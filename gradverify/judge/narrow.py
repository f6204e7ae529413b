"""Which step of a backward pass loses the digits: replayed in its own dtypes, and once more with one step in a wider one.

The traced backward pass is replayed with every node rounded to the dtype that it was computed in. Where that shows the error
that was seen, and would not show it with some step in a wider dtype, that step is what loses the digits: a sum in a narrow
accumulator, a state that is kept in 16 bits, an intermediate that is rounded before it is used. A step is all nodes of one
op on one line of the code: the turns of a loop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from ..core.case import Case
from ..frameworks.base import Observation
from ..namespaces.dtypes import FORMATS, to_float64
from .compare import Compared
from .exact import Exact
from .reference import Reference
from .replay import FAITHFUL, FEW, UNREPLAYED, Narrow, Replay, Step, in_ulps, stored_nodes, terms_of
from .roundings import Excused


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


def _ulps_off(case: Case, exact: Exact, seen: Observation, ref: Reference) -> dict[str, np.ndarray]:
    """How far each entry of the gradients in 16 bits is off, in ulps of the true value; 0 where nobody can tell."""
    found = {}
    for name in exact.values:
        got, want, fmt = seen.gradients.get(name), ref.truth.gradients[name], FORMATS[case.dtype_of(name)]
        if got is not None and fmt.stores and name not in ref.truth.low:
            ulps = in_ulps(want, got, fmt)
            found[name] = np.where(np.isfinite(ulps), ulps, 0.0)
    return found


class _Replays(Replay):
    """Replays that are to explain what was seen.

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
        super().__init__(case, exact)
        self.seen, self.ref, self.entries, self.worst = seen, ref, entries, worst

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
        sums = [step for step, nodes in self.steps.items() if step[1] and terms_of(self.asked.graph, nodes) > FEW]
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
        return float(in_ulps(want, self.replay(widened)[name], fmt)[index])

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

    def _named(self, needed: list[Step]) -> Narrow:
        name, index = self.worst
        want, fmt = self.ref.truth.gradients[name], FORMATS[self.case.dtype_of(name)]
        got = self.seen.gradients[name]
        assert got is not None
        ulps = float(in_ulps(want, got, fmt)[index])
        lines = {site for _, site in needed if site}
        left = self._ulps_at_worst([*needed, *(step for step in self.steps if step[1] in lines)])
        text, terms = self.texts(needed)
        dtype, excuse = self.dtype(needed[0]), self._excuse(needed)
        return Narrow(f"d{name}", text, dtype, self.wide, terms, ulps, left, excuse=excuse)

    def _excuse(self, needed: list[Step]) -> str:
        """What may be said for all of these steps; nothing for those that no excuse covers."""
        if any(not FORMATS[self.dtype(step)].stores for step in needed):
            return ""
        narrow = {k for step in needed for k in self.steps[step]} - stored_nodes(self.asked.graph)
        excused = Excused(self.case, self.asked.graph, self.formats, self.exact_values())
        excuses = {
            "as the definition rounds it": excused.is_known,
            "for a product of 16-bit matrices": excused.is_operand,
        }
        return next((text for text, holds in excuses.items() if narrow and all(map(holds, narrow))), "")
