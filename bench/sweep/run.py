# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""The sweep over a framework's public functions.

    python bench/sweep/run.py torch|jax [--only TEXT] [--write] [--limit S] [--effort E] [--rows FILE]

Every point of `bench/sweep/<framework>_functions.py` goes through `gradverify.check`, in a process of its own that is
started anew when one brings it down or hangs in it. `--write` saves bench/results/sweep-<framework>.md. Exit status 1
where a FAIL has no judgement, where a judgement has ceased to be true, or where gradverify crashed.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import importlib
import json
import selectors
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

import gradverify
from bench.sweep.points import ORDINARY, RULINGS, Judgement, Point, called
from gradverify.core.limits import TimeLimit, time_limit

FRAMEWORKS = ("torch", "jax")
OUTCOMES = ("PASS", "FAIL", "KNOWN", "INCONCLUSIVE", "REFUSED", "CRASH")
"""REFUSED: `check` raised BadInput, since the call itself cannot be judged. CRASH: gradverify broke."""

GRACE = 60.0
"""Seconds beyond the limit after which a process that hangs outside Python is ended; its start is in it."""


@dataclass(frozen=True)
class Row:
    """The result of one point: `what` is the FAIL's kind or the INCONCLUSIVE's reason, `said` the point's text."""

    function: str
    edge: str
    outcome: str
    what: str = ""
    message: str = ""
    seconds: float = 0.0
    said: str = ""

    @property
    def label(self) -> str:
        return f"{self.outcome}{f' ({self.what})' if self.what else ''}"


def judged(point: Point, table: Any, limit: float, effort: str) -> Row:
    """One point through `check`."""
    start = time.perf_counter()
    spent = lambda: round(time.perf_counter() - start, 3)
    row = lambda *found: Row(point.function, point.edge, *found, seconds=spent(), said=point.said)
    try:
        with time_limit(limit), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fn, args = called(point, table)
            asked = effort if effort != "mixed" else "normal" if point.edge == ORDINARY else "quick"
            verdict = gradverify.check(fn, *args, **{"effort": asked, **point.options})
    except TimeLimit:
        return row("INCONCLUSIVE", "time limit", f"over {limit:g} s")
    except gradverify.BadInput as e:
        if spent() >= limit:  # `check` takes our alarm for a function that hangs
            return row("INCONCLUSIVE", "time limit", f"over {limit:g} s")
        return row("REFUSED", "", str(e))
    except Exception as e:
        last = traceback.extract_tb(e.__traceback__)[-1]
        return row("CRASH", type(e).__name__, f"{str(e)[:300]} ({Path(last.filename).name}:{last.lineno})")
    what = verdict.kind.value if verdict.kind else verdict.reason.name.lower() if verdict.reason else ""
    return row(verdict.outcome.value, what, verdict.message.splitlines()[0] if verdict.message else "")


def work(framework: str, limit: float, effort: str) -> None:
    """Judge the points whose indices come by standard input; write one line of JSON each to standard output."""
    table = table_of(framework)
    for place in json.loads(sys.stdin.read()):
        print(json.dumps(asdict(judged(table.POINTS[place], table, limit, effort))), flush=True)


def table_of(framework: str) -> Any:
    return importlib.import_module(f"bench.sweep.{framework}_functions")


def swept(framework: str, table: Any, places: list[int], limit: float, effort: str) -> Iterator[Row]:
    """The rows of the points at these places of the table, in order."""
    command = [sys.executable, __file__, framework, "--worker", "--limit", str(limit), "--effort", effort]
    pipe = subprocess.PIPE
    while places:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps(places))
            process.stdin.close()
            for line in _lines(process, limit + GRACE):
                yield Row(**json.loads(line))
                places = places[1:]
        if places:
            p = table.POINTS[places[0]]
            how = "hung" if process.returncode == -9 else f"ended with status {process.returncode}"
            yield Row(p.function, p.edge, "CRASH", "process", f"the process {how}", said=p.said)
            places = places[1:]


def kept(file: Path | None, table: Any) -> dict[tuple[str, str], Row]:
    """The rows of an earlier run whose points have not changed since."""
    if file is None or not file.exists():
        return {}
    said = {(p.function, p.edge): p.said for p in table.POINTS}
    rows = [Row(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    return {(r.function, r.edge): r for r in rows if said.get((r.function, r.edge)) == r.said}


def _lines(process: subprocess.Popen[str], patience: float) -> Iterator[str]:
    """The process's lines; it is killed where none comes for so long."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(patience):
                process.kill()
                return
            line = process.stdout.readline()
            if not line:
                return
            yield line


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
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.framework, options.limit, options.effort)
        return 0
    table = table_of(options.framework)
    places = [k for k, p in enumerate(table.POINTS) if options.only in p.name]
    known = kept(options.rows, table)
    todo = [k for k in places if (table.POINTS[k].function, table.POINTS[k].edge) not in known]
    for row in swept(options.framework, table, todo, options.limit, options.effort):
        known[row.function, row.edge] = row
        if options.rows:
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
        said = f": {row.message}" if row.message else ""
        print(f"{row.function}, {row.edge}: {row.label} {row.seconds:.2f} s{said[:300]}", file=sys.stderr, flush=True)
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
