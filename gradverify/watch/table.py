"""The table at the end: each definition that was met, and those that were not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..core.outcome import Outcome
from ..frameworks.recognise import known_frameworks
from .judge import Judged
from .pins import HOOK, Pin
from .record import Recorder

Row = dict[str, Any]
"""One definition as plain data, which travels from a worker to its controller."""

WORST_FIRST = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.SURROGATE, Outcome.WEAK, Outcome.KNOWN, Outcome.PASS)


COUNTS = (
    "executed", "looked_at", "undifferentiated", "recorded", "graphs", "passed", "probed", "accepted", "replaced",
)  # fmt: skip


def rows(recorder: Recorder, judged: Sequence[Judged], pins: Mapping[str, Pin] = MappingProxyType({})) -> list[Row]:
    """A row per definition, and per hook that replaced gradients."""
    found = []
    for entry in recorder.entries.values():
        name = entry.definition.name
        its = [j for j in judged if j.sample.definition.name == name]
        found.append({
            **_row(name, entry.definition.backward), "executed": entry.executed, "looked_at": entry.looked_at,
            "undifferentiated": entry.undifferentiated, "recorded": len(entry.settled()),
            "outcomes": [str(j.verdict.outcome) for j in its], "missed": dict(entry.missed),
            "sides": _sides(j.sides or {} for j in its), "graphs": sum(j.sides is not None for j in its),
            "passed": sum(j.verdict.outcome is Outcome.PASS for j in its), "probed": sum(j.probed for j in its),
            "checked": entry.checked, "accepted": sum(bool(j.verdict.accepted) for j in its),
        })  # fmt: skip
    known = {r["name"] for r in found}
    for framework in known_frameworks():
        for d in framework.custom_definitions():
            if d.name not in known and recorder.wanted(d):
                known.add(d.name)
                found.append(_row(d.name, d.backward))
    for hook in recorder.hooks.values():
        d, pin = hook.definition, pins.get(hook.definition.name)
        meant = pin.reason or "pinned" if pin is not None and pin.kind == HOOK else ""
        found.append({**_row(d.name, d.backward), "replaced": hook.replaced, "first": hook.first, "meant": meant})
    return found


def _row(name: str, backward: str) -> Row:
    """The row of a definition that never ran."""
    return {
        "name": name, "backward": backward, "executed": 0, "looked_at": 0, "undifferentiated": 0, "recorded": 0,
        "outcomes": [], "missed": {}, "sides": {}, "graphs": 0, "passed": 0, "probed": 0,
        "checked": False, "accepted": 0, "replaced": 0, "first": "", "meant": "",
    }  # fmt: skip


def _sides(all_sides: Iterable[Mapping[str, tuple[str, Iterable[bool]]]]) -> dict[str, tuple[str, list[bool]]]:
    """Each decision of a backward pass: its text, and the sides that were taken by one or another."""
    found: dict[str, tuple[str, list[bool]]] = {}
    for sides in all_sides:
        for key, (text, taken) in sides.items():
            found[key] = (text, sorted({*taken, *(found[key][1] if key in found else ())}))
    return found


def merged(tables: Iterable[Sequence[Row]]) -> list[Row]:
    """The tables of several processes as one."""
    found: dict[tuple[str, str], Row] = {}
    for row in (r for table in tables for r in table):
        place = (row["name"], row["backward"])
        if place not in found:
            found[place] = {**row, "outcomes": list(row["outcomes"]), "missed": dict(row["missed"])}
            continue
        old = found[place]
        for key in COUNTS:
            old[key] += row[key]
        old["checked"] |= row["checked"]
        old["sides"] = _sides([old["sides"], row["sides"]])
        old["outcomes"] += row["outcomes"]
        for why, n in row["missed"].items():
            old["missed"][why] = old["missed"].get(why, 0) + n
    return list(found.values())


def table_lines(table: Sequence[Row]) -> list[str]:
    """The table as text, and below it what never ran or was not recorded."""
    met = [r for r in table if r["executed"]]
    lines = []
    if met:
        shown = [("definition", "executed", "looked at", "recorded", "judged", "branches", "outcome")]
        for r in met:
            counts = (r["executed"], r["looked_at"], r["recorded"], len(r["outcomes"]))
            shown.append((r["name"], *map(str, counts), _branches(r), _outcome(r)))
        widths = [max(map(len, column)) for column in zip(*shown)]
        for row in shown:
            cells = [c.rjust(w) if 0 < k < 6 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths))]
            lines.append("  ".join(cells).rstrip())
    passed, probed = (sum(r[key] for r in met) for key in ("passed", "probed"))
    if probed < passed:
        lines.append(
            f"probes were asked around {probed} of the {passed} calls that passed: others were short of time, or bound"
        )
    checked = [r["name"] for r in table if r["checked"] and not r["executed"]]
    if checked:
        lines.append(f"executed by checks of their own alone: {', '.join(checked)}")
    never = [r for r in table if not (r["executed"] or r["checked"] or r["replaced"])]
    if never:
        lines.append(f"defined and never executed: {', '.join(r['name'] for r in never)}")
    lines += [_hook_line(r) for r in table if r["replaced"]]
    for r in met:
        lines += [f"{r['name']}: a branch was taken on one side only: {text}" for text in _open(r)]
        for why, n in r["missed"].items():
            lines.append(f"{r['name']}: {n} calls not recorded: {why}")
    return lines


def _hook_line(row: Row) -> str:
    times = "once" if row["replaced"] == 1 else f"{row['replaced']} times"
    meant = f"it is meant ({row['meant']})" if row["meant"] else f'nobody judges what it gives (pin: kind = "{HOOK}")'
    return f"a hook at {row['backward']} replaces gradients: {row['name']}, {times}, first in {row['first']}; {meant}"


def _open(row: Row) -> list[str]:
    """The decisions of the backward pass of which no judged call took the other side."""
    return [text for text, taken in row["sides"].values() if len(taken) < 2]


def _branches(row: Row) -> str:
    """How many of the backward pass's branches were taken on both sides, of all; "?" where it has no graph."""
    if not row["graphs"]:
        return "?" if row["outcomes"] else ""
    return f"{len(row['sides']) - len(_open(row))}/{len(row['sides'])}" if row["sides"] else "none"


def _accepted(row: Row) -> str:
    return "accepted" if row["accepted"] == len(row["outcomes"]) == 1 else f"{row['accepted']} accepted"


def _outcome(row: Row) -> str:
    counts = [(o, row["outcomes"].count(str(o))) for o in WORST_FIRST]
    text = ", ".join(f"{n} {o}" if n > 1 else str(o) for o, n in counts if n)
    if text:
        return f"{text} ({_accepted(row)})" if row["accepted"] else text
    if row["executed"] == row["undifferentiated"]:
        return "(nothing asked for its gradient)"
    return "(not judged)" if row["recorded"] else "(not recorded)"
