"""`gradverify explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..core.errors import GradverifyError, SpecError
from ..report.gradient import gradient_lines
from ..report.stability import stability_lines
from ..run import plan
from ..run.runner import Settings
from ..spec.document import loads
from .options import case_options, judge


@click.command("explain")
@click.argument("expression")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE",
              help="A number, nested lists, or {shape: [3], domain: [-1, 1]}, as in a spec.")  # fmt: skip
@click.option("--stability", is_flag=True, help="Draw the digits that rounding leaves of each step.")
@case_options
def command(
    expression: str,
    inputs: tuple[str, ...],
    stability: bool,
    reports: tuple[str, ...],
    whole: bool,
    baseline: Path | None,
    **options: Any,
) -> int:
    """Show the graph of EXPRESSION, its gradient to 20 digits, and each subject's verdict.

    \b
    gradverify explain "sum(softplus(x) * y)" --input x=[0.5,1] --input y=[1,2]
    gradverify explain "sqrt(mean(x * x) - mean(x) ** 2)" --input x=[1000,1001,1003] --dtypes float32 --stability
    """
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
    for line in gradient_lines(case, settings.seed):
        click.echo(line)
    for line in stability_lines(case, settings.seed) if stability else ():
        click.echo(line)
    jobs = list(plan.spec_jobs(document, settings, "<expression>"))
    return judge(jobs, settings, reports, len(jobs), every=True, whole=whole, baseline=baseline)
