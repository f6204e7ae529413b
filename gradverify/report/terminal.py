"""The table at the end of a run, as plain lines for pytest and as a rich table for the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .tally import Row, reason_texts

HEADINGS = ("subject", "dtype", "PASS", "FAIL", "INCONCLUSIVE", "worst error", "catches", "at worst")
LEGEND = (
    "worst error: of a PASS, as a share of what rounding excuses.\n"
    "catches: the smallest relative error of an entry that a PASS would have\n"
    "caught, in the median case; at worst: in the worst case."
)


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table, as text."""
    fail = str(row.counts["FAIL"])
    excused = [f"{n} {what}" for n, what in ((row.expected, "expected"), (row.known, "known")) if n]
    if excused:
        fail += f" ({', '.join(excused)})"
    median, worst = row.power
    share = f"{row.share:.0%}" if row.counts["PASS"] else "-"
    return (row.subject, row.dtype, str(row.counts["PASS"]), fail, str(row.counts["INCONCLUSIVE"]), share,
            _error(median), _error(worst))  # fmt: skip


def _error(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.1e}"


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
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
    table = [HEADINGS, *(cells(row) for row in rows)]
    return [*aligned(table), *LEGEND.splitlines(), *_inconclusive(rows)]


def table(rows: Sequence[Row]) -> Any:
    """The same as something that a rich console prints."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return Text("no gradient was judged")
    made = Table(box=None, pad_edge=False)
    for i, heading in enumerate(HEADINGS):
        made.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    for row in rows:
        texts = [Text(c) for c in cells(row)]
        if row.counts["FAIL"] > row.expected + row.known:
            texts[3].stylize("bold red")
        if row.counts["INCONCLUSIVE"]:
            texts[4].stylize("yellow")
        made.add_row(*texts)
    return Group(made, Text(LEGEND, style="dim"), *(Text(line) for line in _inconclusive(rows)))


def _inconclusive(rows: Sequence[Row]) -> list[str]:
    texts = reason_texts(rows)
    return ["INCONCLUSIVE:", *(f"  {text}" for text in texts)] if texts else []
