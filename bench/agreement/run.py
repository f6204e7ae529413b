"""Other projects' own suites, call by call, with our checker beside theirs.

    python -m bench.agreement.run SUITE --checkout DIR [--only TEXT] [--every N] [--limit SECONDS] [--logs DIR]
                                    [--again all|disagreeing]
    python -m bench.agreement.run --write [--logs DIR] [--note TEXT]

SUITE is autograd, jax or torch, DIR a checkout of that project's source at the installed version: HIPS/autograd,
jax-ml/jax, pytorch/pytorch. Nothing of it is copied. Each call of the project's gradient checker runs as it is; then ours
runs with the same arguments and effort="quick". The rows go to SUITE.jsonl in build/agreement, or in the folder that
`--logs` says, and a run that was stopped continues there. `--again` runs tests that the log has already, all of them or
those in which the checkers disagree; the last run of a test counts. `--write` makes docs/agreement.md of the logs that
are there. `--only` is pytest's -k. Needs pytest, for JAX absl-py, for PyTorch expecttest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from .beside import PASSES, Row, collected, environment, revisions, rows_of
from .page import Ran, page
from .plugin import AGAIN, CHECKOUT, EVERY, LIMIT, LOG, SUITE
from .suites import SUITES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "agreement.md"
LOGS = ROOT / "build" / "agreement"


def run(suite: str, checkout: Path, log: Path, *, only: str, every: int, limit: float, again: str) -> int:
    """Run the suite's tests under pytest in a process of its own; rows are appended to `log`. Returns pytest's status."""
    files = [str((checkout / f).resolve()) for f in SUITES[suite].files]
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--tb", "no", "-c", os.devnull, "--rootdir", str(checkout)),
        *("-p", "bench.agreement.plugin", "-p", "no:cacheprovider", "-p", "no:gradverify", "-p", "no:xdist"),
        *files,
    ]
    if only:
        command += ["-k", only]
    where = {CHECKOUT: str(checkout.resolve()), LOG: str(log.resolve())}
    variables = {SUITE: suite, EVERY: str(every), LIMIT: str(limit), AGAIN: again, **where}
    return subprocess.run(command, cwd=ROOT, env=environment(**variables)).returncode


def summary(rows: list[Row]) -> str:
    """The counts of the answers, the original's first."""
    pairs = Counter((r.original.outcome, r.ours.outcome) for r in rows)
    lines = [f"{count:5d}  original {a}, ours {b}" for (a, b), count in sorted(pairs.items(), key=lambda p: -p[1])]
    passing = [r for r in rows if r.original.outcome == PASSES]
    agreeing = sum(r.ours.outcome == PASSES for r in passing)
    return "\n".join([*lines, f"{agreeing} of the {len(passing)} calls that the original passes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", choices=sorted(SUITES))
    parser.add_argument("--checkout", type=Path, help="the project's source")
    parser.add_argument("--only", default="", help="tests that match, as pytest's -k")
    parser.add_argument(
        "--every", type=int, default=1, help="run each n-th of the tests that call a checker (default 1)"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=60.0,
        help="seconds of CPU time per call of ours, or three times the original's (default 60)",
    )
    parser.add_argument("--logs", type=Path, default=LOGS, help="where SUITE.jsonl is (default build/agreement)")
    parser.add_argument("--again", default="", choices=["all", "disagreeing"], help="of the tests that the log has")
    parser.add_argument("--note", default="", help="a sentence for the page: which tests were left out")
    parser.add_argument("--write", action="store_true", help="save docs/agreement.md from the logs")
    options = parser.parse_args()
    if options.suite:
        if options.checkout is None:
            parser.error("--checkout says where the project's source is")
        log = options.logs / f"{options.suite}.jsonl"
        log.parent.mkdir(parents=True, exist_ok=True)
        chosen = {name: getattr(options, name) for name in ("only", "every", "limit", "again")}
        run(options.suite, options.checkout, log, **chosen)
        print(summary(rows_of(log)))
    if options.write:
        logs = [log for name in SUITES if (log := options.logs / f"{name}.jsonl").exists()]
        ran = {log.stem: Ran(*collected(log), revisions(log)) for log in logs}
        PAGE.write_text(page({log.stem: rows_of(log) for log in logs}, ran, options.note))


if __name__ == "__main__":
    main()
