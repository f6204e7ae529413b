# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""The kill matrix: which checker catches which wrong gradients, and which right ones it rejects.

    python bench/detection/run.py [--quick] [--write] [--tools NAME ...] [--only TEXT] [--limit SECONDS]
    python bench/detection/run.py --dtypes NAME ... [--every N] [--first K] [--rows FILE] [--quick] [--write] [--only TEXT]

One run, one thread, default settings, one call per tool and function. A tool that runs into the time limit has not
decided. `--quick` takes the subset that the regression tests use; `--write` saves bench/results/detection.md.

With `--dtypes` gradverify.check alone is given every entry in each of these dtypes that it takes, and `--write` saves
bench/results/detection_dtypes.md. `--every N` takes each N-th entry, from the one numbered `--first K` on. `--rows FILE`
keeps each verdict as it comes, and asks for none that is there: a run that was interrupted goes on. Every verdict is
reached in a process that is started anew when a tool ends it; `--jobs` are so many, `--scheduler dask://…` a cluster.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "detection.md"
BY_DTYPE = ROOT / "bench" / "results" / "detection_dtypes.md"
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

from bench.detection import tools
from bench.detection.catalogue import CLASSES
from bench.detection.dtypes import DTYPES
from bench.detection.work import Item, Matrix, Row, each_dtype, entries, read
from gradverify.run.lines import Lines
from gradverify.run.scheduling import Scheduler, one_by_one, scheduler


def share(n: int, of: int) -> str:
    """A count and its percentage."""
    return f"{n}/{of} ({100 * n / of:.0f} %)" if of else "–"


def matrix(rows: Sequence[Row], names: Sequence[str]) -> str:
    """A table of the mutants caught, by class and by whether the call as given shows them."""

    def line(label: str, chosen: list[Row]) -> str:
        cells = []
        for t in names:
            mine = [r for r in chosen if r.tool == t]
            out = sum(r.outcome == "n/a" for r in mine)
            caught = sum(r.outcome == "caught" for r in mine)
            cells.append(f"{caught}/{len(mine) - out}" if label[0].isdigit() else share(caught, len(mine) - out))
        return f"| {label} | " + " | ".join(cells) + " |"

    bad = [r for r in rows if r.entry.bug]
    lines = ["| mutants caught | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [line(f"{k} {v}", [r for r in bad if r.entry.bug == k]) for k, v in CLASSES.items() if k]
    lines += [
        line("**shown by the call as given**", [r for r in bad if not r.entry.elsewhere]),
        line("**shown elsewhere only**", [r for r in bad if r.entry.elsewhere]),
        line("**all**", bad),
    ]
    return "\n".join(lines)


def alarms(rows: Sequence[Row], names: Sequence[str]) -> str:
    """A table of false alarms, missing verdicts and seconds."""
    lines = [
        "| | correct functions rejected | no verdict, correct | no verdict, mutants | seconds, median | seconds, all |",
        "|---|---|---|---|---|---|",
    ]
    for t in names:
        mine = [r for r in rows if r.tool == t and r.outcome != "n/a"]
        good, bad = [r for r in mine if not r.entry.bug], [r for r in mine if r.entry.bug]
        times = sorted(r.seconds for r in mine) or [0.0]
        lines.append(
            f"| {t} | {share(sum(r.outcome == 'caught' for r in good), len(good))} "
            f"| {share(sum(r.outcome == 'undecided' for r in good), len(good))} "
            f"| {share(sum(r.outcome == 'undecided' for r in bad), len(bad))} "
            f"| {times[len(times) // 2]:.3f} | {sum(times):.0f} |"
        )
    return "\n".join(lines)


def details(rows: Sequence[Row], tool: str) -> str:
    """List the mutants that the tool missed and the right functions that it did not pass."""
    out = []
    for title, chosen in (
        ("Mutants without a FAIL", [r for r in rows if r.entry.bug and r.outcome not in ("caught", "n/a")]),
        ("Correct functions not passed", [r for r in rows if not r.entry.bug and r.outcome not in ("passed", "n/a")]),
    ):
        mine = [r for r in chosen if r.tool == tool]
        out.append(f"### {title}: {len(mine)}\n")
        out.append("| | class | what | outcome |\n|---|---|---|---|")
        for r in mine:
            e = r.entry
            what = e.about + (f" — needs {e.elsewhere}" if e.elsewhere else "")
            said = f"{r.outcome}: {r.message[:160]}" if r.message else r.outcome
            out.append("| " + " | ".join(s.replace("|", "\\|") for s in (e.name, str(e.bug or ""), what, said)) + " |")
        out.append("")
    return "\n".join(out)


def by_dtype(rows: dict[str, list[Row]]) -> str:
    """A line per dtype: what was said of mutants and of right ones; then the misses, and why entries were left out.

    WEAK reports a mistake that the dtype's own arithmetic does not resolve, or digits that are lost.
    """
    lines = [
        "| dtype | mutants: FAIL or WEAK | FAIL | WEAK | no verdict | right ones: FAIL | WEAK | no verdict "
        "| not in this dtype | seconds |",
        "|---" * 10 + "|",
    ]
    for dtype, found in rows.items():
        bad = [r for r in found if r.entry.bug and r.outcome != "n/a"]
        good = [r for r in found if not r.entry.bug and r.outcome != "n/a"]
        count = lambda of, *outcomes: sum(r.outcome in outcomes for r in of)
        lines.append(
            f"| {dtype} | {share(count(bad, 'caught', 'weak'), len(bad))} | {count(bad, 'caught')} "
            f"| {count(bad, 'weak')} | {count(bad, 'undecided')} | {share(count(good, 'caught'), len(good))} "
            f"| {count(good, 'weak')} | {count(good, 'undecided')} | {count(found, 'n/a')} "
            f"| {sum(r.seconds for r in found):.0f} |"
        )
    text = "\n".join(lines)
    for dtype, found in rows.items():
        reasons = Counter(r.message for r in found if r.outcome == "n/a")
        left = "; ".join(f"{n} × {why}" for why, n in reasons.most_common())
        text += f"\n\n## {dtype}\n\nLeft out: {left or 'none'}.\n\n{details(found, 'gradverify.check')}"
    return text


def measured(items: Sequence[Item], work: Matrix, where: Scheduler, kept: Path | None = None) -> dict[Item, Row]:
    """The rows of the items, in their order; those in the file `kept` are not asked again."""
    with Lines(kept) if kept else nullcontext() as lines:
        known = dict(map(read, lines or ()))
        for entry in where(work, one_by_one(item for item in items if item not in known)):
            if lines:
                lines.append(entry)
            item, r = read(entry)
            known[item] = r
            label = " ".join(filter(None, (item.tool, item.dtype)))
            print(
                f"{label}: {r.entry.bug} {r.entry.name}: {r.outcome} {r.seconds:.2f} s {r.message[:150]}",
                file=sys.stderr,
                flush=True,
            )
    return {item: known[item] for item in items}


def versions() -> str:
    """The releases that were measured."""
    found = []
    for package in ("gradverify", "torch", "jax", "autograd", "numpy"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} –")
    return f"Python {platform.python_version()}, " + ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the quick subset only")
    parser.add_argument("--write", action="store_true", help=f"save the tables as {RESULTS.name} in bench/results")
    parser.add_argument("--tools", nargs="+", choices=list(tools.TOOLS), default=list(tools.TOOLS), metavar="NAME")
    parser.add_argument("--only", default="", help="entries whose name contains this")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds per tool and function (default 30)")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=[], metavar="NAME", help="these columns instead")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th entry only")
    parser.add_argument(
        "--first", type=int, default=0, metavar="K", help="the number of the first of these (default 0)"
    )
    parser.add_argument("--rows", type=Path, metavar="FILE", help="keep the rows here, and go on from these")
    parser.add_argument("--scheduler", default="local", help="local, or dask://HOST:PORT, as of gradverify campaign")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    options = parser.parse_args()
    where = scheduler(options.scheduler, options.jobs)
    named = [(n, e) for n, e in entries().items() if options.only in n and (e.quick or not options.quick)]
    names = [name for name, _ in named][options.first :: options.every]
    chosen = [entries()[name] for name in names]
    if options.dtypes:
        work = Matrix(("gradverify.check",), options.limit)
        found = measured(list(each_dtype(names, options.dtypes)), work, where, options.rows)
        table = by_dtype({d: [r for item, r in found.items() if item.dtype == d] for d in options.dtypes})
        n = sum(bool(e.bug) for e in chosen)
        page = f"{versions()}; CPU, one thread.\n\n{n} mutants, {len(chosen) - n} correct functions.\n\n{table}"
        print(page)
        if options.write:
            BY_DTYPE.write_text(
                f"# Detection in five dtypes\n\n`python {' '.join(sys.argv)}`, our own catalogue.\n\n{page}\n"
            )
        return
    items = [Item(tool, name) for tool in options.tools for name in names]
    rows = list(measured(items, Matrix(tuple(options.tools), options.limit), where, options.rows).values())
    n = sum(bool(e.bug) for e in chosen)
    command = " ".join(
        ["python bench/detection/run.py", *(f for f in ("--quick", "--write") if getattr(options, f[2:]))]
    )
    text = (
        f"`{command}`\n\n{versions()}; CPU, one thread; at most {options.limit:g} s per tool and function.\n\n"
        f"{n} mutants, {len(chosen) - n} correct functions. A cell counts the functions that the tool can be given.\n\n"
        f"{matrix(rows, options.tools)}\n\n{alarms(rows, options.tools)}\n"
    )
    if "gradverify.check" in options.tools:
        text += f"\n## What gradverify.check leaves\n\n{details(rows, 'gradverify.check')}"
    print(text)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("# Detection: the kill matrix\n\n" + text)


if __name__ == "__main__":
    main()
