"""`gradverify campaign`."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..core.errors import GradverifyError
from ..report import campaign as pages
from ..report.console import CampaignProgress, console
from ..run.campaign.corpus import Corpus, database
from ..run.campaign.log import Log
from ..run.campaign.model import Spread, campaign
from ..run.campaign.workers import run_campaign
from ..run.runner import Settings
from ..run.scheduling import Scheduler
from ..run.scheduling import scheduler as named
from .group import Exit
from .options import judging_options


def _indices(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    names = (value or "").replace(",", " ").split()
    if not all(name.isdecimal() for name in names):
        raise click.BadParameter(f"{value!r} is no list of graphs' numbers")
    return tuple(dict.fromkeys(map(int, names))) or None


@click.command("campaign")
@judging_options
@click.option("--graphs", type=click.IntRange(1), default=1000, show_default=True, help="How many.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The number of the first one.")
@click.option(
    "--only", callback=_indices, metavar="I", help="Just these graphs, comma-separated, with all the evidence."
)
@click.option(
    "--spread",
    type=click.Choice(["none", "dtypes", "both"]),
    default="none",
    show_default=True,
    help="dtypes: each graph in one dtype, in turn, on every subject; both: on one subject only.",
)
@click.option(
    "--order",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="2: the gradients of the graphs' gradients are judged.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes, of one thread each.")
@click.option(
    "--scheduler",
    default="local",
    show_default=True,
    metavar="WHERE",
    help="local; dask://HOST:PORT or dask://FILE.json, a cluster of Dask; dask://, a cluster of --jobs workers here.",
)
@click.option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    default=300.0,
    show_default=True,
    help="Seconds after which a verdict counts as hanging.",
)
@click.option(
    "--corpus",
    multiple=True,
    metavar="DIR|redis://…",
    help="A corpus of graphs, in Hypothesis's example database: it is judged first, and what takes anything new is added.",
)
@click.option(
    "--log",
    "log_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="JSON lines, one per verdict; what FILE has already is not judged again.",
)
@click.option(
    "--markdown",
    "markdown_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the page here.",
)
def command(
    graphs: int,
    first: int,
    only: tuple[int, ...] | None,
    spread: Spread,
    order: int,
    jobs: int,
    scheduler: str,
    limit: float,
    corpus: tuple[str, ...],
    log_path: Path | None,
    markdown_path: Path | None,
    **options: Any,
) -> int:
    """Judge random graphs by the hundred thousand, without shrinking, in several processes and with a log that resumes.

    \b
    gradverify campaign --graphs 100000 --jobs 8 --log campaign.jsonl --markdown docs/campaign.md
    gradverify campaign --graphs 100000 --corpus corpus
    gradverify campaign --only 4711 --subjects jax --dtypes float16

    Each graph on each subject in each dtype (see --spread): on all subjects that are installed and judge graphs, in all
    dtypes that they compute in, where none are named. What gates, an error, a crash and a hang are printed as they come,
    and end in exit code 1.
    """
    if only and (log_path or markdown_path):
        raise click.UsageError("--only looks again at what a campaign has found: give it without --log and --markdown")
    if only and corpus:
        raise click.UsageError("--only judges the graphs that it names: give it without --corpus")
    wanted = only or range(first, first + graphs)
    learned = Corpus(database(corpus), order) if corpus else None
    how: dict[str, Any] = {"spread": spread, "order": order, "limit": limit, "every": bool(only)}
    if learned is not None:
        how["corpus"] = learned.examples()
    asked = campaign(Settings(**options), wanted, **how)
    had = len(learned.kept) if learned is not None else 0
    tally = pages.Tally(asked)
    if markdown_path is not None:
        _check_writable(markdown_path)  # known before hours go by
    with nullcontext() if log_path is None else Log(log_path, asked) as log:
        run_campaign(asked, [tally, CampaignProgress(console(), tally)], log, _scheduler(scheduler, jobs), learned)
    if learned is not None:
        judged = len({(v.seed, v.graph) for v in asked.of_corpus})
        click.echo(f"corpus: {judged} graphs of it were judged first, {len(learned.kept) - had} are new in it")
    if markdown_path is not None:
        markdown_path.write_text(pages.markdown(tally, _command_line()), encoding="utf-8")
        click.echo(f"page: {markdown_path}")
    return Exit.OK if tally.ok else Exit.FAIL


def _scheduler(where: str, jobs: int) -> Scheduler:
    """Where a campaign is judged. Raises UsageError for a text that names no scheduler."""
    try:
        return named(where, jobs)
    except GradverifyError as e:
        if where.startswith("dask://"):
            raise
        raise click.BadParameter(str(e), param_hint="--scheduler") from None


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a", encoding="utf-8").close()
    except OSError as e:
        raise GradverifyError(f"{path}: cannot be written: {e.strerror}") from None


def _command_line() -> str:
    """The command as the user gave it, with file names in place of absolute paths."""
    context = click.get_current_context()
    words = ["gradverify", context.info_name or ""]
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if value is None or context.get_parameter_source(option.name or "") is not ParameterSource.COMMANDLINE:
            continue
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        if isinstance(value, Path) and value.is_absolute():
            value = value.name
        words += [option.opts[0], str(value)]
    return shlex.join(words)
