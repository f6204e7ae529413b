"""Counting verdicts: by subject and dtype, with the worst error and the power of detection."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..core.outcome import FailKind, Outcome, Reason, Tally
from ..run.cache import CACHED
from .records import Record


@dataclass
class Row:
    """The verdicts on one subject in one dtype.

    counts      outcomes, kinds and reasons
    expected    of the FAILs and KNOWNs, those that their author expected (`expect: fail`, `expect: raises`)
    accepted    those that the project accepts, by outcome
    share       the worst error of a PASS, as a share of its budget, and the id of the case that it belongs to
    powers      of each PASS, the smallest relative error of an entry that it would have caught
    refused     how many gate
    cached      how many were kept from an earlier run
    """

    subject: str
    dtype: str
    counts: Tally = field(default_factory=Tally)
    expected: int = 0
    accepted: Counter[Outcome] = field(default_factory=Counter)
    share: float = 0.0
    share_id: str = ""
    powers: list[float] = field(default_factory=list)
    refused: int = 0
    cached: int = 0

    @property
    def power(self) -> tuple[float, float]:
        """(median, worst) over the cases; nan where no case states its power."""
        return (statistics.median(self.powers), max(self.powers)) if self.powers else (math.nan, math.nan)

    @property
    def absent(self) -> bool:
        """Was nothing judged, because the subject is not there?"""
        return self.counts.reasons[Reason.UNAVAILABLE] == self.counts.total

    def add(self, r: Record) -> None:
        """Count one record."""
        verdict = r["verdict"]
        outcome, kind, reason = outcome_of(verdict)
        self.counts.add(outcome, kind, reason)
        self.refused += not r["ok"]
        self.cached += bool(verdict["facts"].get(CACHED))
        if r["ok"] and verdict.get("accepted"):
            self.accepted[outcome] += 1
        if outcome is Outcome.PASS:
            share = figure(verdict["share"])
            if share >= self.share:
                self.share, self.share_id = share, r["id"]
            power = figure(verdict["power"])
            if not math.isnan(power):
                self.powers.append(power)
        elif outcome.has_kind:
            self.expected += r["ok"] and r["expect"] != "pass" and not verdict.get("accepted")

    def to_dict(self) -> dict[str, Any]:
        median, worst = (None if math.isnan(p) else p for p in self.power)
        return {
            "subject": self.subject,
            "dtype": self.dtype,
            **{str(o).lower(): self.counts[o] for o in Outcome},
            "expected": self.expected,
            "accepted": self.accepted.total(),
            "worst_share": self.share,
            "worst_share_id": self.share_id,
            "power_median": median,
            "power_worst": worst,
            "reasons": {reason.name.lower(): n for reason, n in self.counts.reasons.items()},
        }


def outcome_of(verdict: Record) -> tuple[Outcome, FailKind | None, Reason | None]:
    """Outcome, kind and reason of a record's verdict."""
    kind, reason = verdict["kind"], verdict["reason"]
    return Outcome(verdict["outcome"]), kind and FailKind(kind), reason and Reason[reason.upper()]


def tally(records: Iterable[Record]) -> list[Row]:
    """Count records: a row per subject and dtype, sorted by name."""
    rows: dict[tuple[str, str], Row] = {}
    for r in records:
        key = (r["subject"], r["dtype"])
        rows.setdefault(key, Row(*key)).add(r)
    return [rows[key] for key in sorted(rows)]


def reason_texts(rows: Iterable[Row]) -> list[str]:
    """`"3 kink: the point lies on …"`, the most frequent first."""
    total = Tally()
    for row in rows:
        total += row.counts
    return [f"{n} {reason.name.lower()}: {reason}" for reason, n in total.reasons.most_common()]


def figure(value: Any) -> float:
    """A figure as `Verdict.to_dict` writes it: None is NaN, and infinities are text."""
    return math.nan if value is None else float(value)
