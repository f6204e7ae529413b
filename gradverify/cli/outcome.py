"""`gradverify outcome`."""

from __future__ import annotations

import sys

import click

from ..report import outcomes
from .group import Exit


@click.command("outcome")
@click.argument("name", required=False)
def command(name: str | None) -> int:
    """What an outcome means and what to do about it: NAME is a kind of FAIL, a reason, or weak, known, surrogate.

    \b
    gradverify outcome            # all names
    gradverify outcome precision
    """
    if name is None:
        pages = list(outcomes.names())
        width = max(len(n) for n, _ in pages)
        for known, heading in pages:
            click.echo(f"{known:<{width}}  {heading}")
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(outcomes.read(name)))
    else:
        click.echo(outcomes.read(name), nl=False)
    return Exit.OK
