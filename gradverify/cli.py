"""The command line: `gradverify run | replay | explain | campaign | ops | schema | conformance`; see `Exit`."""

from __future__ import annotations

import json
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .core.errors import GradverifyError

if TYPE_CHECKING:
    from .core.op import OpSpec
    from .report.campaign import Tally
    from .report.records import Recorder
    from .run.campaign.model import Campaign, Log, Spread
    from .run.events import Event, Job
    from .run.runner import Batch, Runner, Settings


class Exit(IntEnum):
    """OK: every verdict is acceptable. FAIL: one is not. USAGE: wrong options, or a spec that cannot be read.
    CRASH: gradverify itself failed. INTERRUPTED: by Ctrl-C."""

    OK = 0
    FAIL = 1
    USAGE = 2
    CRASH = 3
    INTERRUPTED = 130


HELP = """Is this gradient right? Says so with evidence, and without a tolerance to tune.

\b
Exit codes: 0 every verdict is acceptable, 1 one is not, 2 wrong usage or a spec that
cannot be read, 3 a crash of gradverify itself, 130 interrupted.
"""


class _Group(click.Group):
    """Turns what commands raise into exit codes, with one line for what the user can mend."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as e:
            e.show()
            code = Exit.USAGE
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            code = Exit.INTERRUPTED
        except GradverifyError as e:
            click.echo(f"error: {e}", err=True)
            code = Exit.USAGE
        except Exception:
            traceback.print_exc()
            click.echo("error: gradverify itself failed; please report the lines above", err=True)
            code = Exit.CRASH
        sys.exit(code or 0)


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    names = tuple(dict.fromkeys((value or "").replace(",", " ").split()))
    return names or None


def _fail_on(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    from .run.config import configured

    found: tuple[str, ...] | None = (value,) if value is not None else configured(Path.cwd()).get("fail_on")
    return found


def chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is judged."""
    for option in reversed((
        click.option("--subjects", callback=_names, metavar="NAMES", help="Comma-separated: engine, torch, jax, …; "
                     "the installed ones by default."),
        click.option("--dtypes", callback=_names, metavar="NAMES", help="Comma-separated; the spec's by default."),
        click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn."),
    )):  # fmt: skip
        command = option(command)
    return command


def judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that judges."""
    for option in reversed((
        chosen,
        click.option("--strict", is_flag=True, help="Every outcome but PASS fails."),
        click.option("--fail-on", callback=_fail_on, metavar="OUTCOMES", help="What gates: \"fail, weak\", fail:wrong, "
                     "all, none; by default what pyproject.toml says, else fail."),
        click.option("--report", "reports", multiple=True, metavar="FORMAT:PATH", help="json:PATH; may be repeated."),
    )):  # fmt: skip
        command = option(command)
    return command


@click.group(cls=_Group, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gradverify")
def main() -> None:
    pass


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@judging
@click.option("--examples", type=click.IntRange(0), default=100, show_default=True,
              help="Random graphs per subject and dtype; 0 for none.")  # fmt: skip
def run(paths: tuple[Path, ...], reports: tuple[str, ...], **options: Any) -> int:
    """Judge the *.grad.yaml files in PATHS (default: the current folder), and random graphs.

    Random graphs belong to a run over folders: where PATHS are files, only these are judged.
    """
    from .run import plan
    from .run.runner import Settings
    from .spec.document import load

    settings = Settings(**options)
    plan.check_names(settings)
    files = list(plan.spec_files(paths or (Path(),)))
    jobs = [job for file in files for job in plan.spec_jobs(load(file), settings, file.as_posix())]
    searches = list(plan.searches(settings)) if plan.wants_random_graphs(paths) else []
    if not jobs and not searches:
        raise GradverifyError("nothing to judge: no *.grad.yaml file, and no random graphs")
    return _judge([*jobs, *searches], settings, reports, len(jobs) + sum(s.examples for s in searches))


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@judging
@click.option("--id", "wanted", metavar="TEXT", help="Of a JSON report: only results whose id contains TEXT.")
def replay(file: Path, reports: tuple[str, ...], wanted: str | None, **options: Any) -> int:
    """Judge saved cases again: a spec file, or those of a JSON report that were not acceptable."""
    from .run import plan
    from .run.runner import Settings
    from .spec.document import load

    settings = Settings(**options)
    plan.check_names(settings)
    if file.suffix == ".json":
        jobs = list(_saved(file, wanted, settings))
    else:
        jobs = list(plan.spec_jobs(load(file), settings, file.as_posix()))
    return _judge(jobs, settings, reports, len(jobs))


@main.command()
@click.argument("expression")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE",
              help="A number, nested lists, or {shape: [3], domain: [-1, 1]}, as in a spec.")  # fmt: skip
@judging
def explain(expression: str, inputs: tuple[str, ...], reports: tuple[str, ...], **options: Any) -> int:
    """Show the graph of EXPRESSION, its gradient to 20 digits, and each subject's verdict.

    \b
    gradverify explain "sum(softplus(x) * y)" --input x=[0.5,1] --input y=[1,2]
    """
    from .core.errors import SpecError
    from .run import plan
    from .run.runner import Settings
    from .spec.document import loads

    settings = Settings(**options)
    plan.check_names(settings)
    lines = ["gradverify: 1", "cases:", "  - name: expression", f"    expr: {json.dumps(expression)}", "    inputs:"]
    for text in inputs:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip() or "\n" in text:
            raise click.UsageError(f"--input takes NAME=VALUE, got {text!r}")
        lines.append(f"      {name.strip()}: {value.strip()}")
    try:
        document = loads("\n".join(lines if inputs else [*lines[:-1], "    inputs: {}"]) + "\n", "<expression>")
        spec = document.cases[0]
        case = spec.case((settings.dtypes or ("float64",))[0])
    except SpecError as e:
        raise GradverifyError(e.message) from None  # its line and column are of a file that nobody wrote
    click.echo(case.graph.text())
    for line in _gradient_lines(case, settings.seed):
        click.echo(line)
    jobs = list(plan.spec_jobs(document, settings, "<expression>"))
    return _judge(jobs, settings, reports, len(jobs), every=True)


@main.command()
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="The table for the docs.")
def ops(name: str | None, markdown: bool) -> int:
    """The op table, or one op of it in detail."""
    from .core.errors import UnknownName
    from .ops import FAMILIES, OPS
    from .ops.complex.lowering import COMPLEX

    if name is not None:
        known = {**OPS, **COMPLEX}
        by_alias = {alias: spec for spec in known.values() for alias in spec.aliases}
        spec = known.get(name) or by_alias.get(name)
        if spec is None:
            raise UnknownName("op", name, [*known, *by_alias])
        for line in _op_lines(spec):
            click.echo(line)
        return Exit.OK
    for family, specs in {**FAMILIES, "complex": tuple(COMPLEX.values())}.items():
        if markdown:
            click.echo(f"## {family}\n\n| op | what it computes | example |\n|---|---|---|")
            for spec in specs:
                click.echo(f"| `{spec.name}` | {_cell(spec.doc)} | `{_cell(spec.example)}` |")
            click.echo()
        else:
            click.echo(f"{family}:")
            for spec in specs:
                click.echo(f"  {spec.name:18} {spec.example:40} {spec.doc.splitlines()[0]}")
    return Exit.OK


@main.command()
@click.argument("kind", type=click.Choice(["spec", "report"]))
def schema(kind: str) -> int:
    """The JSON Schema of spec files or of reports."""
    if kind == "spec":
        from .spec.schema import schema as made
    else:
        from .report.json import schema as made
    click.echo(json.dumps(made(), indent=2, ensure_ascii=False))
    return Exit.OK


@main.command()
@click.argument("engines", nargs=-1)
@click.option("--law", "wanted", multiple=True, metavar="NAME", help="Only this law; may be repeated.")
@click.option(
    "--steps", type=click.IntRange(0), default=2000, show_default=True, help="Of random programs; 0 for none."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random programs.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the scorecard here.")
@click.option(
    "--markdown", "markdown_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the page here."
)
def conformance(
    engines: tuple[str, ...],
    wanted: tuple[str, ...],
    steps: int,
    seed: int,
    json_path: Path | None,
    markdown_path: Path | None,
) -> int:
    """Check the laws of autograd on ENGINES (default: those that are installed), and print a script for each broken one."""
    from .conformance import engines as known
    from .conformance import law, scorecard

    asked = [known.find(name) for name in engines] or [e for e in known.ENGINES.values() if e.unavailable() is None]
    names = [law.find(name).name for name in wanted] or None
    cards = []
    for engine in asked:
        cards.append(scorecard.scorecard(engine, names, 0 if wanted else steps, seed))
        for line in scorecard.text(cards[-1]):
            click.echo(line)
    if json_path is not None:
        json_path.write_text(scorecard.as_json(cards), encoding="utf-8")
    if markdown_path is not None:
        markdown_path.write_text(scorecard.markdown(cards), encoding="utf-8")
    return Exit.OK if all(card.ok for card in cards) else Exit.FAIL


def _indices(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    names = (value or "").replace(",", " ").split()
    if not all(name.isdecimal() for name in names):
        raise click.BadParameter(f"{value!r} is no list of graphs' numbers")
    return tuple(dict.fromkeys(map(int, names))) or None


@main.command()
@chosen
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
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes, of one thread each.")
@click.option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    default=300.0,
    show_default=True,
    help="Seconds after which a verdict counts as hanging.",
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
def campaign(
    graphs: int,
    first: int,
    only: tuple[int, ...] | None,
    spread: Spread,
    jobs: int,
    limit: float,
    log_path: Path | None,
    markdown_path: Path | None,
    **options: Any,
) -> int:
    """Judge random graphs by the hundred thousand, without shrinking, in several processes and with a log that resumes.

    \b
    gradverify campaign --graphs 100000 --jobs 8 --log campaign.jsonl --markdown docs/campaign.md
    gradverify campaign --only 4711 --subjects jax --dtypes float16

    Each graph on each subject in each dtype (see --spread): on all subjects that are installed and judge graphs, in all
    dtypes that they compute in, where none are named. A wrong FAIL, an error, a crash and a hang are printed as they
    come, and end in exit code 1.
    """
    from contextlib import nullcontext

    from .report import campaign as report
    from .run.campaign import model as campaigns
    from .run.runner import Settings

    if only and (log_path or markdown_path):
        raise click.UsageError("--only looks again at what a campaign has found: give it without --log and --markdown")
    wanted = only or range(first, first + graphs)
    asked = campaigns.campaign(Settings(**options), wanted, spread=spread, limit=limit, every=bool(only))
    tally = report.Tally(asked)
    if markdown_path is not None:
        _writable(markdown_path)  # known before hours go by
    with nullcontext() if log_path is None else campaigns.Log(log_path, asked) as log:
        try:
            _campaigned(asked, log, jobs, tally)
        finally:
            for line in report.plain(tally):
                click.echo(line)
    if markdown_path is not None:
        markdown_path.write_text(report.markdown(tally, _command(log_path, markdown_path)), encoding="utf-8")
        click.echo(f"page: {markdown_path}")
    return Exit.OK if tally.ok else Exit.FAIL


def _writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a", encoding="utf-8").close()
    except OSError as e:
        raise GradverifyError(f"{path}: cannot be written: {e.strerror}") from None


def _command(*paths: Path | None) -> str:
    """The command as it was given, with the names of files for paths that only this machine has."""
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


SAID_EVERY = 60.0
"""Seconds between two lines of progress, where there is no terminal to show a bar on."""


def _campaigned(asked: Campaign, log: Log | None, jobs: int, tally: Tally) -> None:
    """Run it; say what is not acceptable as it comes, and how far it is."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from .report import campaign as report
    from .run.campaign import model as campaigns

    for entry in campaigns.logged(asked, log or ()):
        tally(entry)
    console = Console(width=None if sys.stdout.isatty() else 120)
    columns = (BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        had = sum(map(len, tally.done.values()))
        task = bar.add_task("", total=asked.verdicts, completed=had)
        began = said = time.perf_counter()
        for now, entry in enumerate(campaigns.run(asked, tally.done, log, jobs)):  # a head, then verdicts
            tally(entry)
            if now and (asked.every or not report.acceptable(entry)):
                console.print(report.evidence(entry, asked.seed), markup=False, highlight=False, soft_wrap=True)
                console.print()
            at = time.perf_counter()
            if at - said >= (0.2 if console.is_terminal else SAID_EVERY):
                said = at
                line = report.progress(tally, at - began, now)
                bar.update(task, completed=had + now, description=line)
                if not console.is_terminal:
                    console.print(line, highlight=False)


# Judging, with a progress bar on a terminal.


def _judge(
    jobs: Iterable[Job | Batch], settings: Settings, reports: tuple[str, ...], total: int, *, every: bool = False
) -> int:
    """Run the jobs, say what is not acceptable (or `every` verdict) as it comes, and the table at the end."""
    from rich.console import Console

    from .report import json as report
    from .report import terminal
    from .report.evidence import explained
    from .report.records import Recorder
    from .report.tally import tally
    from .report.targets import targets
    from .run.runner import Runner

    writes = targets(reports)
    recorder = Recorder(explained)
    # Not a terminal: whoever reads the file wraps it, so the table need not be cut to 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 120)
    started = time.perf_counter()
    interrupted = True
    try:
        ok = _watched(Runner(settings, [recorder]), jobs, total, console, recorder, every)
        interrupted = False
    finally:
        console.print(terminal.table(tally(recorder.records)))
        data = report.report(recorder.records, settings, seconds=time.perf_counter() - started, interrupted=interrupted)
        for target in writes:
            target.write(data)
            console.print(f"report: {target.path}", highlight=False)
    return Exit.OK if ok else Exit.FAIL


def _watched(
    runner: Runner, jobs: Iterable[Job | Batch], total: int, console: Any, recorder: Recorder, every: bool
) -> bool:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from .core.outcome import Outcome
    from .report.evidence import text
    from .run.events import JobJudged

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)

        def show(event: Event) -> None:
            if isinstance(event, JobJudged):
                progress.update(task, advance=1, description=f"{event.job.subject} {event.job.dtype}")
                seen = recorder.events[-1]
                if every or not seen.ok:
                    passed = seen.verdict.outcome is Outcome.PASS
                    style = "green" if seen.ok and passed else "yellow" if seen.ok else "red"
                    head, _, rest = (seen.verdict.text() if seen.ok and passed else text(seen)).partition("\n")
                    console.print(head, style=style, markup=False, highlight=False, soft_wrap=True)
                    if rest:
                        console.print(rest, markup=False, highlight=False, soft_wrap=True)
                    if not seen.ok:
                        console.print()

        runner.listeners.append(show)
        return runner.run(jobs, total)


def _saved(file: Path, wanted: str | None, settings: Settings) -> Iterator[Job]:
    """Jobs of a report's results: those that were not acceptable, or those whose id contains `wanted`."""
    from functools import partial

    from .core.case import Source
    from .report.json import read
    from .run.events import Job
    from .spec.document import loads

    found = False
    for result in read(file)["results"]:
        if (wanted not in result["id"]) if wanted is not None else result["ok"]:
            continue
        found = True
        text = result["verdict"]["spec"]
        if not text:
            click.echo(f"{result['id']}: no case was saved with it", err=True)
            continue
        spec = loads(text, f"{file}: {result['id']}").cases[0]
        dtypes = settings.dtypes or (result["dtype"],)
        for subject in settings.subjects or (result["subject"],):
            for dtype in dtypes:
                source = Source("spec", str(file))
                yield Job(result["id"], subject, dtype, partial(spec.case, dtype), source, result["expect"])
    if not found:
        raise GradverifyError(f"{file}: no result " + (f"whose id contains {wanted!r}" if wanted else "to replay"))


def _gradient_lines(case: Any, seed: int) -> Iterator[str]:
    """Value and gradient by the oracle, to 20 digits."""
    import numpy as np

    from .judge.complex_case import real_case
    from .ops.complex.lowering import is_complex
    from .oracle.truth import truth

    if is_complex(case.graph):
        case = real_case(case)
    true = truth(case.graph, case.values, case.cotangent, case.wrt, case.dtype, seed=seed)
    labelled = [(f"out{i}" if len(true.outputs) > 1 else "value", e) for i, e in enumerate(true.outputs)]
    labelled += [(f"d{name}", e) for name, e in true.gradients.items()]
    for label, estimate in labelled:
        for index in np.ndindex(estimate.shape):
            where = f"{label}[{', '.join(map(str, index))}]" if index else label
            yield f"{where} = {estimate.digits(index)}  ± {float(estimate.bound[index]):.1g}"
    if true.kinks:
        yield f"at a kink of {', '.join(true.kinks)}"


def _op_lines(spec: OpSpec) -> Iterator[str]:
    import inspect

    from .ops.complex.lowering import COMPLEX
    from .ops.complex.rules import RULES

    def source(f: Any) -> str:
        try:
            return inspect.getsource(f).strip()
        except (OSError, TypeError):
            return repr(f)

    yield f"{spec.name}: {spec.doc}"
    yield f"example: {spec.example}"
    if spec.name in COMPLEX:  # the rule over pairs is in place of all the rest
        for name, p in spec.params.items():
            yield f"parameter {name}: {p.kind} = {p.default!r}"
        yield f"over pairs of reals:\n{source(RULES[spec.name])}"
        return
    if spec.aliases:
        yield f"also called: {', '.join(spec.aliases)}"
    for name, p in spec.params.items():
        yield f"parameter {name}: {p.kind}" + ("" if p.required else f" = {p.default!r}")
    yield "domain: " + ("; ".join(str(d) for d in spec.domain) if spec.joint is None else "arguments bound each other")
    yield f"smooth: {'in its domain' if spec.kinks is None else 'but for its kinks'}"
    yield f"rule: {'that of its definition, op by op' if spec.composite else 'its own' if spec.vjp else 'none'}"
    yield f"rounding: {spec.ulps} ulp"
    if not spec.primitive:
        yield f"definition:\n{source(spec.define)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
