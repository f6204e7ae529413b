"""`gradverify run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..core.errors import GradverifyError
from ..run import plan
from ..run.runner import Settings
from ..spec.document import load
from .options import case_options, judge


@click.command("run")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@case_options
@click.option("--examples", type=click.IntRange(0), default=100, show_default=True,
              help="Random graphs per subject and dtype; 0 for none.")  # fmt: skip
def command(
    paths: tuple[Path, ...], reports: tuple[str, ...], whole: bool, baseline: Path | None, **options: Any
) -> int:
    """Judge the *.grad.yaml files in PATHS (default: the current folder), and random graphs.

    Random graphs belong to a run over folders: where PATHS are files, only these are judged.
    """
    settings = Settings(**options)
    plan.check_names(settings)
    files = list(plan.spec_files(paths or (Path(),)))
    jobs = [job for file in files for job in plan.spec_jobs(load(file), settings, file.as_posix())]
    searches = list(plan.searches(settings)) if plan.wants_random_graphs(paths) else []
    if searches and not plan.can_draw():
        if click.get_current_context().get_parameter_source("examples") is ParameterSource.COMMANDLINE:
            raise GradverifyError(plan.NO_GRAPHS)
        click.echo(plan.NO_GRAPHS, err=True)
        searches = []
    if not jobs and not searches:
        raise GradverifyError("nothing to judge: no *.grad.yaml file, and no random graphs")
    return judge(
        [*jobs, *searches],
        settings,
        reports,
        len(jobs) + sum(s.examples for s in searches),
        whole=whole,
        baseline=baseline,
        keep=True,
    )
