"""The table at the end: each definition that was met, and those that were not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..core.outcome import Outcome
from ..frameworks.recognise import known_frameworks
from .record import Recorder

Row = dict[str, Any]
"""One definition as plain data, which travels from a worker to its controller."""

WORST_FIRST = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.SURROGATE, Outcome.WEAK, Outcome.KNOWN, Outcome.PASS)


def rows(recorder: Recorder, outcomes: Sequence[tuple[str, Outcome]]) -> list[Row]:
    """A row per definition; `outcomes` are (definition, outcome) of what was judged."""
    found = []
    for entry in recorder.entries.values():
        name = entry.definition.name
        found.append(_row(
            name, entry.definition.backward, entry.executed, entry.undifferentiated, len(entry.samples),
            [str(o) for n, o in outcomes if n == name], dict(entry.missed),
        ))  # fmt: skip
    known = {r["name"] for r in found}
    for framework in known_frameworks():
        for d in framework.custom_definitions():
            if d.name not in known and recorder.wanted(d):
                known.add(d.name)
                found.append(_row(d.name, d.backward, 0, 0, 0, [], {}))
    return found


def _row(
    name: str,
    backward: str,
    executed: int,
    undifferentiated: int,
    recorded: int,
    outcomes: list[str],
    missed: dict[str, int],
) -> Row:
    return {
        "name": name, "backward": backward, "executed": executed, "undifferentiated": undifferentiated,
        "recorded": recorded, "outcomes": outcomes, "missed": missed,
    }  # fmt: skip


def merged(tables: Iterable[Sequence[Row]]) -> list[Row]:
    """The tables of several processes as one."""
    found: dict[str, Row] = {}
    for row in (r for table in tables for r in table):
        if row["name"] not in found:
            found[row["name"]] = {**row, "outcomes": list(row["outcomes"]), "missed": dict(row["missed"])}
            continue
        old = found[row["name"]]
        for key in ("executed", "undifferentiated", "recorded"):
            old[key] += row[key]
        old["outcomes"] += row["outcomes"]
        for why, n in row["missed"].items():
            old["missed"][why] = old["missed"].get(why, 0) + n
    return list(found.values())


def table_lines(table: Sequence[Row]) -> list[str]:
    """The table as text, and below it what never ran or was not recorded."""
    met = [r for r in table if r["executed"]]
    lines = []
    if met:
        shown = [("definition", "executed", "recorded", "judged", "outcome")]
        shown += [
            (r["name"], str(r["executed"]), str(r["recorded"]), str(len(r["outcomes"])), _outcome(r)) for r in met
        ]
        widths = [max(map(len, column)) for column in zip(*shown)]
        for row in shown:
            cells = [c.rjust(w) if 0 < k < 4 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths))]
            lines.append("  ".join(cells).rstrip())
    never = [r for r in table if not r["executed"]]
    if never:
        lines.append(f"defined and never executed: {', '.join(r['name'] for r in never)}")
    for r in met:
        for why, n in r["missed"].items():
            lines.append(f"{r['name']}: {n} calls not recorded: {why}")
    return lines


def _outcome(row: Row) -> str:
    counts = [(o, row["outcomes"].count(str(o))) for o in WORST_FIRST]
    text = ", ".join(f"{n} {o}" if n > 1 else str(o) for o, n in counts if n)
    if text:
        return text
    if row["executed"] == row["undifferentiated"]:
        return "(nothing asked for its gradient)"
    return "(not judged)" if row["recorded"] else "(not recorded)"
