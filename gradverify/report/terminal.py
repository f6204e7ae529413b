"""The table at the end of a run: plain lines for pytest, a rich table for the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.outcome import Outcome
from .tally import Row, reason_texts

ALWAYS = (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE)
"""Outcomes that have a column in every table; the others have one where they occur."""

FIGURES = ("worst error", "catches", "at worst")

LEGEND = (
    "worst error: of a PASS, as a share of what rounding excuses.\n"
    "catches: the smallest relative error of an entry that a PASS would have\n"
    "caught, in the median case; at worst: in the worst case."
)


def columns(rows: Sequence[Row]) -> tuple[Outcome, ...]:
    """The outcomes that have a column."""
    return tuple(o for o in Outcome if o in ALWAYS or any(row.counts[o] for row in rows))


def headings(rows: Sequence[Row]) -> tuple[str, ...]:
    """The titles of the table's columns."""
    return ("subject", "dtype", *map(str, columns(rows)), *FIGURES)


def cells(row: Row, shown: Sequence[Outcome] = tuple(Outcome)) -> tuple[str, ...]:
    """One line of the table, as text."""
    counts = [f"{row.counts[o]}{_excused(row, o)}" for o in shown]
    median, worst = row.power
    share = f"{row.share:.0%}" if row.counts[Outcome.PASS] else "-"
    return (row.subject, row.dtype, *counts, share, _error(median), _error(worst))


def _excused(row: Row, outcome: Outcome) -> str:
    """How many of an outcome are expected, or accepted."""
    expected = row.expected if outcome is Outcome.FAIL else 0
    parts = [f"{n} {word}" for n, word in ((expected, "expected"), (row.accepted[outcome], "accepted")) if n]
    return f" ({', '.join(parts)})" if parts else ""


def _error(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.1e}"


def align(table: Sequence[Sequence[str]]) -> list[str]:
    """One line per row: the first two columns begin at the left, the others end at the right."""
    widths = [max(map(len, column)) for column in zip(*table)]
    return [
        "  ".join(c.ljust(w) if k < 2 else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths))).rstrip()
        for line in table
    ]


def plain(rows: Sequence[Row]) -> list[str]:
    """The table as aligned lines, with the INCONCLUSIVE reasons counted below it."""
    if not rows:
        return ["no gradient was judged"]
    there, absent = _parted(rows)
    shown = columns(there)
    table = [headings(there), *(cells(row, shown) for row in there)] if there else []
    legend = LEGEND.splitlines() if table else []
    return [*(align(table) if table else []), *legend, *_cached(there), *_inconclusive(there), *_help(there), *absent]


def _parted(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows of subjects that are there, and a line about the others."""
    absent = [row for row in rows if row.absent]
    if not absent:
        return list(rows), []
    names = ", ".join(dict.fromkeys(row.subject for row in absent))
    count = sum(row.counts.total for row in absent)
    line = f"not judged, for want of the framework or its device: {names} ({count} verdict{'' if count == 1 else 's'})"
    return [row for row in rows if not row.absent], [line]


def table(rows: Sequence[Row]) -> Any:
    """The same as something that a rich console prints."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return Text("no gradient was judged")
    there, absent = _parted(rows)
    made = Table(box=None, pad_edge=False)
    shown = columns(there)
    for i, heading in enumerate(headings(there)):
        made.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    for row in there:
        texts = [Text(c) for c in cells(row, shown)]
        for text, outcome in zip(texts[2:], shown):
            notable = outcome is not Outcome.PASS
            if notable and row.counts[outcome] > row.accepted[outcome] + (
                row.expected if outcome is Outcome.FAIL else 0
            ):
                text.stylize(outcome.style)
        made.add_row(*texts)
    figures: list[Any] = [made, Text(LEGEND, style="dim")] if there else []
    return Group(*figures, *(Text(line) for line in (*_cached(there), *_inconclusive(there), *_help(there), *absent)))


def _help(rows: Sequence[Row]) -> list[str]:
    """Where it is said what to do, if something gates."""
    if not any(row.refused for row in rows):
        return []
    kinds = dict.fromkeys(str(kind) for row in rows for kind in row.counts.kinds)
    reasons = dict.fromkeys(reason.name.lower() for row in rows for reason in row.counts.reasons)
    names = [*kinds, *reasons] or ["weak"]
    return [f"what to do: gradverify outcome {names[0]}" + (f" (and {', '.join(names[1:])})" if names[1:] else "")]


def _cached(rows: Sequence[Row]) -> list[str]:
    """How much was not judged in this run."""
    cached, total = sum(row.cached for row in rows), sum(row.counts.total for row in rows)
    return [f"kept from an earlier run, and not judged again: {cached} of {total} verdicts"] if cached else []


def _inconclusive(rows: Sequence[Row]) -> list[str]:
    texts = reason_texts(rows)
    return ["INCONCLUSIVE:", *(f"  {text}" for text in texts)] if texts else []
