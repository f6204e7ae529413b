"""`gradverify schema`."""

from __future__ import annotations

import json

import click

from ..report.json import schema as report_schema
from ..spec.schema import schema as spec_schema
from .group import Exit


@click.command("schema")
@click.argument("kind", type=click.Choice(["spec", "report"]))
def command(kind: str) -> int:
    """The JSON Schema of spec files or of reports."""
    made = spec_schema() if kind == "spec" else report_schema()
    click.echo(json.dumps(made, indent=2, ensure_ascii=False))
    return Exit.OK
