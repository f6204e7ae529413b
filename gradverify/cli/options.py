"""Options that several commands share, and the run that they end in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ..core.outcome import Reason
from ..report.console import RunEnd, RunProgress, console, forward_as
from ..report.evidence import with_reproducer
from ..report.folder import FOLDER
from ..report.json import read
from ..report.records import Recorder
from ..report.targets import targets
from ..run.cache import FILE
from ..run.deviations import Ledger, baseline_of, read_deviations, with_ledger
from ..run.events import Job
from ..run.runner import Batch, Runner, Settings
from .group import Exit

NOTHING = (Reason.UNAVAILABLE, Reason.NOT_CALLED)
"""Reasons of verdicts that judged nothing, whatever the case."""


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    names = tuple(dict.fromkeys((value or "").replace(",", " ").split()))
    return names or None


def _fail_on(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else (value,)


def _cache(_: click.Context, __: click.Parameter, value: bool) -> Path | None:
    return Path.cwd() / FOLDER / FILE if value else None


def judging_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for subjects, dtypes, seed and gate."""
    for option in reversed((
        click.option("--subjects", callback=_names, metavar="NAMES", help="Comma-separated: engine, torch, jax, …; "
                     "the installed ones by default."),
        click.option("--dtypes", callback=_names, metavar="NAMES", help="Comma-separated; the spec's by default."),
        click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn."),
        click.option("--strict", is_flag=True, help="Every outcome but PASS fails."),
        click.option("--fail-on", callback=_fail_on, metavar="OUTCOMES", help="What gates: \"fail, weak\", fail:wrong, "
                     "all, none; by default fail."),
    )):  # fmt: skip
        command = option(command)
    return command


def case_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that judges cases."""
    report = click.option(
        "--report",
        "reports",
        multiple=True,
        metavar="FORMAT:PATH",
        help="json, html, junit, sarif, markdown; may be repeated.",
    )
    verbose = click.option(
        "-v", "--verbose", "whole", is_flag=True, help="Print all evidence, not five lines and the file that has it."
    )
    call = click.option(
        "--call/--no-call", "call", default=True, show_default=True,
        help="Import and run the functions that cases name (`call:`). --no-call: for files that you do not trust.",
    )  # fmt: skip
    isolate = click.option(
        "--isolate", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
        help="Judge in another process: a case that crashes it, or takes longer than this, is named, and the run goes on.",
    )  # fmt: skip
    baseline = click.option(
        "--baseline", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
        help="A JSON report of before: what is new, or has lost more digits, fails.",
    )  # fmt: skip
    cache = click.option(
        "--cache/--no-cache", default=False, callback=_cache, show_default=True,
        help="Do not judge again what passed before, and depends on nothing that has changed.",
    )  # fmt: skip
    failures = click.option("--max-failures", type=click.IntRange(1), metavar="N", help="End after so many.")
    seconds = click.option(
        "--max-time", type=click.FloatRange(0), metavar="S", help="Begin nothing after so many seconds."
    )
    return judging_options(verbose(cache(failures(seconds(baseline(report(call(isolate(command)))))))))


def judge(
    jobs: Iterable[Job | Batch],
    settings: Settings,
    reports: Sequence[str],
    total: int,
    *,
    every: bool = False,
    whole: bool = False,
    baseline: Path | None = None,
    keep: bool = False,
) -> int:
    """Run the jobs and return the exit code. What the project accepts, and a `baseline`, are weighed.

    Unacceptable verdicts (or `every` one) are printed as they come, the table at the end. With `keep` they can be replayed
    by their ids.
    """
    recorder, screen = Recorder(), console()
    end = RunEnd(screen, recorder, settings, targets(reports), Path.cwd() if keep else None)
    shown = forward_as(with_reproducer, recorder, RunProgress(screen, every=every, whole=whole), end)
    known = baseline_of(read(baseline)["results"]) if baseline else None
    with with_ledger(Ledger(read_deviations(Path.cwd()), known)):
        ok = Runner(settings, [shown]).run(jobs, total)
    if ok and not any(e.verdict.reason not in NOTHING for e in recorder.events):
        click.echo("error: nothing was judged", err=True)
        return Exit.FAIL
    return Exit.OK if ok else Exit.FAIL
