"""`gradverify compare`."""

from __future__ import annotations

from pathlib import Path

import click

from ..report.compared import compare
from ..report.json import read
from .group import Exit

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("compare")
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
def command(before: Path, after: Path) -> int:
    """Compare two JSON reports: what is new, mended, or has lost digits. Exits with 1 where something is worse."""
    found = compare(read(before), read(after))
    for line in found.lines():
        click.echo(line)
    return Exit.FAIL if found.worse else Exit.OK
