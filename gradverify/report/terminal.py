"""The table at the end of a run: plain lines for pytest, a rich table for the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.outcome import Outcome
from ..core.wording import WIDTH
from .tally import Row, reason_texts

ALWAYS = (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE)
"""Outcomes that have a column in every table; the others have one where they occur."""

NAMED = {str(outcome): outcome for outcome in Outcome}

FIGURES = ("worst error", "catches", "at worst")

LEGEND = "worst error: of a PASS, as a share of what rounding excuses."

CATCHES = "catches: the smallest relative error of an entry that a PASS would have\ncaught, in the median case{}."

SPARED = ("at worst", "worst error")
"""Columns that a table too wide for a terminal goes without, the first one first; JSON and HTML have them."""


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


def fitted(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Headings and lines of the table. One wider than a terminal goes without a column of zeros, and then some figures."""
    if not rows:
        return []
    shown = columns(rows)
    made = [headings(rows), *(cells(row, shown) for row in rows)]
    zeros = str(Outcome.INCONCLUSIVE) if not any(row.counts[Outcome.INCONCLUSIVE] for row in rows) else ""
    for heading in (zeros, *SPARED):
        if len(align(made)[0]) > WIDTH and heading:
            k = made[0].index(heading)
            made = [line[:k] + line[k + 1 :] for line in made]
    return made


def _legend(headings: Sequence[str]) -> str:
    """What the figures mean that the table has."""
    catches = CATCHES.format("; at worst: in the worst case" if "at worst" in headings else "")
    return f"{LEGEND}\n{catches}" if "worst error" in headings else catches


def plain(rows: Sequence[Row]) -> list[str]:
    """The table as aligned lines, with the INCONCLUSIVE reasons counted below it."""
    if not rows:
        return ["no gradient was judged"]
    there, absent = _parted(rows)
    table = fitted(there)
    legend = _legend(table[0]).splitlines() if table else []
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
    lines = fitted(there)
    for i, heading in enumerate(lines[0] if lines else ()):
        made.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    for row, line in zip(there, lines[1:]):
        texts = [Text(c) for c in line]
        for text, heading in zip(texts, lines[0]):
            outcome = NAMED.get(heading)
            if outcome is None or outcome is Outcome.PASS:
                continue
            excused = row.accepted[outcome] + (row.expected if outcome is Outcome.FAIL else 0)
            if row.counts[outcome] > excused:
                text.stylize(outcome.style)
        made.add_row(*texts)
    figures: list[Any] = [made, Text(_legend(lines[0]), style="dim")] if there else []
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
