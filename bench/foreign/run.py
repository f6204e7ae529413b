# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""What gradverify.check says of public bug reports: each as a bug, and as its mended twin.

    python bench/foreign/run.py [--only TEXT] [--write] [--limit SECONDS]

Every case once, with default settings. `--only` takes the reports whose source contains the text; `--write` saves
docs/foreign.md, with the reports that were looked at and made into no case.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "foreign.md"
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from bench.detection.run import share, versions
from bench.detection.tools import SEED, _x64
from bench.foreign.catalogue import CLASSES, Report, reports
from bench.foreign.unused import UNUSED
from gradverify.api import check
from gradverify.core.errors import BadInput
from gradverify.core.limits import TimeLimit, time_limit

REPORTED = ("FAIL", "KNOWN", "WEAK")
"""What says that something is wrong, or that digits are lost, on either side: of a twin each of them counts against us."""


@dataclass(frozen=True)
class Row:
    """What was said of one side of a report. `outcome` is the verdict's, KNOWN for a loss that a declared weakness
    of the framework explains, WEAK for digits that need not be lost, REFUSED for a call that cannot be judged, ERROR
    where check itself broke."""

    report: Report
    wanted: str
    outcome: str
    message: str
    seconds: float

    @property
    def as_wanted(self) -> bool:
        return (self.outcome in REPORTED) == (self.wanted == "reported")


def judged(report: Report, bug: bool, limit: float = 60.0) -> Row:
    """One side of the report, judged by check with its default settings."""
    start = time.perf_counter()
    torch.manual_seed(SEED)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), _x64(report.framework == "jax"), time_limit(limit):
            warnings.simplefilter("ignore")
            fn, args, options = report.bug() if bug else report.mended()
            verdict = check(fn, *args, **options)
        outcome, message = verdict.outcome.name, verdict.message
        if verdict.known:
            message = f"{verdict.known}: {message}"
        elif verdict.reason:
            message = f"{verdict.reason.name}: {message}"
    except BadInput as e:
        outcome, message = "REFUSED", str(e)
    except TimeLimit:
        outcome, message = "INCONCLUSIVE", f"over {limit:g} s"
    except Exception as e:  # check itself broke: no verdict, and worth knowing
        outcome, message = "ERROR", f"{type(e).__name__}: {e}"
    first = (message.strip().splitlines() or [""])[0]
    return Row(report, "reported" if bug else "right", outcome, first, time.perf_counter() - start)


def table(rows: Sequence[Row]) -> str:
    lines = ["| report | class | wanted | outcome | message | s |", "|---|---|---|---|---|---|"]
    for r in rows:
        source = r.report.source + (" (live)" if r.report.live else "")
        mark = r.outcome if r.as_wanted else f"**{r.outcome}**"
        cells = (source, str(r.report.kind), r.wanted, mark, r.message[:150], f"{r.seconds:.1f}")
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def rates(rows: Sequence[Row]) -> str:
    bugs, twins = [r for r in rows if r.wanted == "reported"], [r for r in rows if r.wanted == "right"]
    count = lambda rows, *outcomes: sum(r.outcome in outcomes for r in rows)
    undecided = ("INCONCLUSIVE", "REFUSED", "ERROR")
    both = {r.report.source for r in bugs if r.outcome in REPORTED} & {
        r.report.source for r in twins if r.outcome in REPORTED
    }
    lines = [
        f"- bugs reported: {share(count(bugs, *REPORTED), len(bugs))}, "
        f"of these {count(bugs, 'KNOWN')} as a known weakness of the framework and {count(bugs, 'WEAK')} as lost digits, "
        f"and {len(both)} whose twin is called wrong too",
        f"- bugs passed: {count(bugs, 'PASS')}; undecided or refused: {count(bugs, *undecided)}",
        f"- twins called wrong: {share(count(twins, *REPORTED), len(twins))}; "
        f"undecided or refused: {count(twins, *undecided)}",
    ]
    return "\n".join(lines)


def page(rows: Sequence[Row], limit: float) -> str:
    what = ["| report | framework | class | what is wrong |", "|---|---|---|---|"]
    seen = list(dict.fromkeys(r.report for r in rows))
    for r in seen:
        cells = (r.source, r.framework, f"{r.kind} {CLASSES[r.kind]}", r.about)
        what.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    rest = ["| report | about | why it is no case |", "|---|---|---|"]
    rest += [f"| {u.source} | {u.about} | {u.reason} |" for u in UNUSED]
    return "\n".join(
        [
            "# Public bug reports about wrong gradients, tried\n",
            f"`python bench/foreign/run.py --write`; {versions()}; CPU, one thread, at most {limit:g} s a call.\n",
            "Each report is the smallest function that has its bug, rewritten from the report's text before `check` saw it,",
            "and the same function mended. *Live* bugs are the installed framework's own function; their twins are",
            "compositions. What is not as wanted is bold.",
            "Known weaknesses and lost digits (WEAK) are verdicts too: they say what is lost, and do not gate by default.\n",
            rates(rows),
            "\nThree records were corrected after the first run, by mistakes of ours that `check` found: the twins of",
            "tracel-ai/burn#3864 and tile-ai/TileOPs#632 raised for an empty batch, and pytorch/pytorch#18619 was written,",
            "as in the report, with a division by x, which is wrong at 0 on both sides. No outcome changed anything else.",
            "\n## What was tried\n",
            *what,
            "\n## What was said\n",
            table(rows),
            "\n## Looked at, and made into no case\n",
            *rest,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="reports whose source contains this")
    parser.add_argument("--write", action="store_true", help="save docs/foreign.md")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds per call (default 60)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for report in reports():
        for bug in (True, False) if options.only in report.source else ():
            rows.append(judged(report, bug, options.limit))
            r = rows[-1]
            print(
                f"{r.report} {r.wanted}: {r.outcome} {r.seconds:.1f} s {r.message[:150]}", file=sys.stderr, flush=True
            )
    print(f"{table(rows)}\n\n{rates(rows)}")
    if options.write:
        PAGE.write_text(page(rows, options.limit))


if __name__ == "__main__":
    main()
