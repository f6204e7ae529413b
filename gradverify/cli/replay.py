"""`gradverify replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.errors import GradverifyError
from ..report.folder import FOLDER, LAST
from ..report.json import read
from ..run import plan
from ..run.events import Job
from ..run.runner import Settings
from ..run.saved import saved_jobs
from ..spec.document import load
from .options import case_options, judge


@click.command("replay")
@click.argument("what")
@case_options
@click.option("--id", "wanted", metavar="TEXT", help="Of a JSON report: only results whose id contains TEXT.")
def command(
    what: str, reports: tuple[str, ...], whole: bool, baseline: Path | None, wanted: str | None, **options: Any
) -> int:
    """Judge saved cases again. WHAT is a spec file, a JSON report (what was not acceptable in it), or part of the id of what
    was not acceptable in the last run.
    """
    file = Path(what)
    if not file.exists() or file.is_dir():
        file, wanted = last_report(what), what
    settings = Settings(**{**options, "cache": None})  # it is asked for
    plan.check_names(settings)
    if file.suffix == ".json":
        jobs = _of_report(file, wanted, settings)
    else:
        jobs = list(plan.spec_jobs(load(file), settings, file.as_posix()))
    return judge(jobs, settings, reports, len(jobs), whole=whole, baseline=baseline)


def last_report(id: str) -> Path:
    """The report of the last run, kept in the project's folder. Raises GradverifyError where there is none."""
    file = Path.cwd() / FOLDER / LAST
    if not file.is_file():
        raise GradverifyError(f"{id}: no such file, and no run has left anything in {FOLDER} to be replayed")
    return file


def _of_report(file: Path, wanted: str | None, settings: Settings) -> list[Job]:
    """Jobs of a report's results: those that were not acceptable, or those whose id contains `wanted`."""
    results = [r for r in read(file)["results"] if (wanted in r["id"] if wanted is not None else not r["ok"])]
    if not results:
        raise GradverifyError(f"{file}: no result " + (f"whose id contains {wanted!r}" if wanted else "to replay"))
    for result in results:
        if not result["verdict"]["spec"]:
            click.echo(f"{result['id']}: no case was saved with it", err=True)
    return list(saved_jobs(results, settings, str(file)))
