"""Counting verdicts: by subject and dtype, with the worst error and the power of detection."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..core.verdict import Reason, Status
from .records import Record


@dataclass
class Row:
    """The verdicts on one subject in one dtype.

    counts      by status; `expected` of the FAILs are what their author expected (`expect: fail`), and `known` of them
                are explained by a declared weakness of the subject
    share       the worst error of a PASS, as a share of its budget, and the id of the case that it belongs to
    powers      of each PASS, the smallest relative error of an entry that it would have caught
    reasons     of the INCONCLUSIVE
    """

    subject: str
    dtype: str
    counts: Counter[str] = field(default_factory=Counter)
    expected: int = 0
    known: int = 0
    share: float = 0.0
    share_id: str = ""
    powers: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def power(self) -> tuple[float, float]:
        """(median, worst) over the cases; nan where no case states its power."""
        return (statistics.median(self.powers), max(self.powers)) if self.powers else (math.nan, math.nan)

    def add(self, r: Record) -> None:
        verdict = r["verdict"]
        status = verdict["status"]
        self.counts[status] += 1
        if status == Status.PASS.value:
            share = _number(verdict["share"])
            if share >= self.share:
                self.share, self.share_id = share, r["id"]
            power = _number(verdict["power"])
            if not math.isnan(power):
                self.powers.append(power)
        elif status == Status.FAIL.value:
            self.known += bool(verdict["known"])
            self.expected += r["ok"] and not verdict["known"]
        else:
            self.reasons[verdict["reason"] or ""] += 1

    def to_dict(self) -> dict[str, Any]:
        median, worst = (None if math.isnan(p) else p for p in self.power)
        return {
            "subject": self.subject,
            "dtype": self.dtype,
            "pass": self.counts["PASS"],
            "fail": self.counts["FAIL"],
            "expected_fail": self.expected,
            "known_fail": self.known,
            "inconclusive": self.counts["INCONCLUSIVE"],
            "worst_share": self.share,
            "worst_share_id": self.share_id,
            "power_median": median,
            "power_worst": worst,
            "reasons": dict(self.reasons),
        }


def tally(records: Iterable[Record]) -> list[Row]:
    """One row per subject and dtype, in the order in which they first appear by name."""
    rows: dict[tuple[str, str], Row] = {}
    for r in records:
        key = (r["subject"], r["dtype"])
        rows.setdefault(key, Row(*key)).add(r)
    return [rows[key] for key in sorted(rows)]


def reason_texts(rows: Iterable[Row]) -> list[str]:
    """`"3 kink: the point lies on …"`, the most frequent first."""
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row.reasons)
    help_texts = {reason.name.lower(): reason.value for reason in Reason}
    return [f"{n} {name or 'without a reason'}: {help_texts.get(name, '')}".rstrip(": ")
            for name, n in total.most_common()]  # fmt: skip


def _number(value: Any) -> float:
    """A figure as `Verdict.to_dict` writes it: None is NaN, and infinities are text."""
    return math.nan if value is None else float(value)
