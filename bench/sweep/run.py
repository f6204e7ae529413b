# ruff: noqa: E402 - the repository must be on the path before it is imported
"""The sweep over a framework's public functions.

    python bench/sweep/run.py torch|jax [--only TEXT] [--write] [--limit S] [--effort E] [--rows FILE]
                                        [--scheduler local|dask://…] [--jobs N]

Every point of `bench/sweep/<framework>_functions.py` goes through `gradverify.check`, in a process of its own that is
started anew when one brings it down or hangs in it; on a cluster of Dask with `--scheduler`, whose workers need this
repository on their path. With `--rows` a sweep that was ended goes on where it was. `--write` saves
bench/results/sweep-<framework>.md. Exit status 1 where a FAIL has no judgement, where a judgement has ceased to be true,
or where gradverify crashed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

from bench.sweep.points import ORDINARY, RULINGS, Judgement
from bench.sweep.work import ENVIRONMENT, Row, Sweep, table_of
from gradverify.run.lines import Lines
from gradverify.run.scheduling import Scheduler, local, one_by_one, scheduler

FRAMEWORKS = ("torch", "jax")
OUTCOMES = ("PASS", "FAIL", "KNOWN", "INCONCLUSIVE", "REFUSED", "CRASH")
"""REFUSED: `check` raised BadInput, since the call itself cannot be judged. CRASH: gradverify broke."""


def swept(sweep: Sweep, places: Iterable[int], where: Scheduler | None = None) -> Iterator[Row]:
    """The rows of the points at these places of the table, as they come: in order where one process works."""
    for entry in (where or local())(sweep, one_by_one(places)):
        yield Row(**entry)


def kept(lines: Iterable[dict[str, Any]], table: Any) -> dict[tuple[str, str], Row]:
    """The rows of an earlier run whose points have not changed since."""
    said = {(p.function, p.edge): p.said for p in table.POINTS}
    rows = [Row(**line) for line in lines]
    return {(r.function, r.edge): r for r in rows if said.get((r.function, r.edge)) == r.said}


# ---- the report -----------------------------------------------------------------------------------------------------


def counted(rows: Sequence[Row]) -> str:
    """By namespace: functions, points, and how they came out."""
    lines = [
        f"| namespace | functions | points | {' | '.join(OUTCOMES)} | seconds |",
        "|---" * (len(OUTCOMES) + 4) + "|",
    ]
    spaces = dict.fromkeys(r.function.rpartition(".")[0] for r in rows)
    for space in (*spaces, "all"):
        mine = [r for r in rows if space in ("all", r.function.rpartition(".")[0])]
        cells = [sum(r.outcome == o for r in mine) for o in OUTCOMES]
        name = f"`{space}`" if space != "all" else "**all**"
        lines.append(
            f"| {name} | {len({r.function for r in mine})} | {len(mine)} | {' | '.join(map(str, cells))} "
            f"| {sum(r.seconds for r in mine):.0f} |"
        )
    return "\n".join(lines)


def cell(text: str, longest: int = 220) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= longest else text[: longest - 1] + "…"


def explained(row: Row, judgements: Sequence[Judgement]) -> Judgement | None:
    return next((j for j in judgements if j.explains(row.function, row.edge)), None)


def _down(row: Row) -> bool:
    """Did the process end: by the framework's doing or by ours?"""
    return row.outcome == "CRASH" and row.what == "process"


def failures(rows: Sequence[Row], table: Any) -> tuple[str, list[str]]:
    """The FAILs and KNOWNs under their judgements, with the evidence; and what is amiss with those."""
    failed = [r for r in rows if r.outcome in ("FAIL", "KNOWN") or (_down(r) and explained(r, table.JUDGEMENTS))]
    points = {(p.function, p.edge): p for p in table.POINTS}
    text, amiss = [], []
    for j in table.JUDGEMENTS:
        mine = [r for r in failed if explained(r, table.JUDGEMENTS) is j]
        if not mine:
            continue
        shown, still = j.shown(table.NAMES)
        if not still:
            amiss.append(f"the judgement of {j.functions[0]} shows no error any more")
        text += [
            f"### {', '.join(f'`{f}`' for f in dict.fromkeys(r.function for r in mine))}: {RULINGS[j.ruling]}\n",
            f"{j.why}\n",
            "```python",
            f"{j.code.strip()}",
            f"# {shown}",
            "```\n",
            *(f"* {r.function}, {r.edge}: {cell(r.message)}" for r in mine),
            "",
        ]
    left = [r for r in failed if explained(r, table.JUDGEMENTS) is None]
    if left:
        text += ["### Without a judgement yet\n"]
        for r in left:
            p = points[r.function, r.edge]
            text += [f"* {r.function}, {r.edge} ({r.what}): {cell(r.message)}", f"  `{p.call}` at `{p.inputs}`"]
            amiss.append(f"{r.function}, {r.edge} fails, and nothing says why")
    return "\n".join(text), amiss


def listed(rows: Sequence[Row], outcome: str) -> str:
    """The points of one outcome as text, grouped by kind or reason."""
    mine = [r for r in rows if r.outcome == outcome]
    lines = []
    for what, n in Counter(r.what for r in mine).most_common():
        lines += [f"**{what or outcome.lower()}** ({n})\n", "| function | point | |", "|---|---|---|"]
        lines += [f"| `{r.function}` | {cell(r.edge)} | {cell(r.message)} |" for r in mine if r.what == what]
        lines.append("")
    return "\n".join(lines)


def everything(rows: Sequence[Row]) -> str:
    lines = ["| function | passed at | not |", "|---|---|---|"]
    for f in dict.fromkeys(r.function for r in rows):
        mine = [r for r in rows if r.function == f]
        passed = "; ".join(r.edge for r in mine if r.outcome == "PASS")
        rest = "; ".join(f"{r.edge}: {r.label}" for r in mine if r.outcome != "PASS")
        lines.append(f"| `{f}` | {cell(passed, 1000)} | {cell(rest, 1000)} |")
    return "\n".join(lines)


def report(rows: Sequence[Row], table: Any, command: str, limit: float) -> tuple[str, list[str]]:
    found, amiss = failures(rows, table)
    crashed = [r for r in rows if r.outcome == "CRASH" and not (_down(r) and explained(r, table.JUDGEMENTS))]
    amiss += [f"{r.function}, {r.edge}: gradverify crashed, {r.message}" for r in crashed]
    ordinary = sum(r.edge == ORDINARY for r in rows)
    parts = [
        f"`{command}`\n",
        f"{table.versions()}; CPU, one thread, at most {limit:g} s a point.\n",
        f"{len({r.function for r in rows})} functions at {len(rows)} points: {ordinary} ordinary ones, "
        f"{len(rows) - ordinary} at edges and with other options.\n",
        counted(rows),
        "\nREFUSED: the call cannot be judged (`BadInput` says why). CRASH: gradverify broke, or the process ended.\n",
        f"## FAIL and KNOWN\n\n{found or 'None.'}",
    ]
    for outcome in OUTCOMES[3:]:
        if any(r.outcome == outcome for r in rows):
            parts.append(f"## {outcome}\n\n{listed(rows, outcome)}")
    parts.append(f"## Every function\n\n{everything(rows)}\n")
    return "\n".join(parts), amiss


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("--only", default="", help="points whose function and edge contain this")
    parser.add_argument("--write", action="store_true", help="save bench/results/sweep-<framework>.md")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds per point (default 60)")
    efforts = ("quick", "normal", "thorough", "mixed")
    parser.add_argument("--effort", choices=efforts, default="normal", help="of `check`; mixed is quick at edges")
    parser.add_argument("--rows", type=Path, help="a file that keeps the rows: those in it are not asked again")
    parser.add_argument("--scheduler", default="local", help="local, or dask://HOST:PORT, as of gradverify campaign")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    options = parser.parse_args()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    table, sweep = table_of(options.framework), Sweep(options.framework, options.limit, options.effort)
    places = [k for k, p in enumerate(table.POINTS) if options.only in p.name]
    with Lines(options.rows) if options.rows else nullcontext() as lines:
        known = kept(lines or (), table)
        todo = [k for k in places if (table.POINTS[k].function, table.POINTS[k].edge) not in known]
        for row in swept(sweep, todo, scheduler(options.scheduler, options.jobs)):
            known[row.function, row.edge] = row
            if lines:
                lines.append(asdict(row))
            said = f": {row.message}" if row.message else ""
            print(
                f"{row.function}, {row.edge}: {row.label} {row.seconds:.2f} s{said[:300]}", file=sys.stderr, flush=True
            )
    chosen = [table.POINTS[k] for k in places]
    rows = [known[p.function, p.edge] for p in chosen]
    flags = [f"--only {options.only!r}"] * bool(options.only) + ["--write"] * options.write
    flags += [f"--effort {options.effort}"] * (options.effort != "normal")
    command = " ".join(["python bench/sweep/run.py", options.framework, *flags])
    text, amiss = report(rows, table, command, options.limit)
    print(text)
    if options.write:
        path = ROOT / "bench" / "results" / f"sweep-{options.framework}.md"
        path.write_text(f"# The sweep over {options.framework}\n\n{text}", encoding="utf-8")
    for line in amiss:
        print(f"amiss: {line}", file=sys.stderr)
    return 1 if amiss else 0


if __name__ == "__main__":
    sys.exit(main())
