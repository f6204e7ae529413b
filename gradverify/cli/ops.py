"""`gradverify ops`."""

from __future__ import annotations

import click

from ..report import optable
from .group import Exit


@click.command("ops")
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="The table for the docs.")
def command(name: str | None, markdown: bool) -> int:
    """The op table, or one op of it in detail."""
    if name is not None:
        lines = optable.detail(optable.find(name))
    else:
        lines = optable.markdown() if markdown else optable.plain()
    for line in lines:
        click.echo(line)
    return Exit.OK
