"""Two reports side by side: what is new, what has lost digits, what is mended, what only one of them judged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.outcome import Outcome
from ..run.deviations import ROUNDINGS, Earlier, baseline_of

TITLES = {"worse": "worse", "better": "better", "only_before": "only in the first", "only_after": "only in the second"}

_ORDER = (Outcome.PASS, Outcome.SURROGATE, Outcome.KNOWN, Outcome.WEAK, Outcome.INCONCLUSIVE, Outcome.FAIL)
"""From right to wrong."""


@dataclass(frozen=True)
class Compared:
    """Lines about the results that differ, by kind; `same` counts the others."""

    worse: list[str]
    better: list[str]
    only_before: list[str]
    only_after: list[str]
    same: int

    def lines(self) -> Iterator[str]:
        """All of it as text."""
        for name, title in TITLES.items():
            found = getattr(self, name)
            if found:
                yield f"{title}: {len(found)}"
                yield from (f"  {line}" for line in found)
        yield f"the same: {self.same}"


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Compared:
    """Compare two reports in the shape of `schema.json`, result by result.

    Errors that differ by no more than rounding may (`run.deviations.ROUNDINGS`) are the same.
    """
    a, b = baseline_of(before["results"]), baseline_of(after["results"])
    made = Compared([], [], [], [], sum(_change(a[id], b[id]) == 0 for id in a.keys() & b.keys()))
    for id in sorted(a.keys() & b.keys()):
        change = _change(a[id], b[id])
        if change:
            (made.worse if change > 0 else made.better).append(f"{id}: {_text(a[id])}, now {_text(b[id])}")
    for id in sorted(a.keys() - b.keys()):
        made.only_before.append(f"{id}: {_text(a[id])}")
    for id in sorted(b.keys() - a.keys()):
        made.only_after.append(f"{id}: {_text(b[id])}")
    return made


def _change(a: Earlier, b: Earlier) -> int:
    """1 for worse, -1 for better, 0 for the same."""
    if (a.outcome, a.kind) != (b.outcome, b.kind):
        return 1 if _ORDER.index(b.outcome) >= _ORDER.index(a.outcome) else -1
    if a.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE):
        return 0
    return (b.share > a.share + ROUNDINGS) - (a.share > b.share + ROUNDINGS)


def _text(e: Earlier) -> str:
    kind = f" ({e.kind})" if e.kind else ""
    off = f", {e.share:.2g} budgets off" if e.outcome.has_kind or e.outcome is Outcome.WEAK else ""
    return f"{e.outcome}{kind}{off if math.isfinite(e.share) and e.share else ''}"
