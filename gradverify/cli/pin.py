"""`gradverify pin`."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any

import click

from ..core.errors import GradverifyError
from ..watch.pins import Pin, write_pins


@click.command("pin")
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("names", nargs=-1)
@click.option("--reason", default="", help="Why it is meant; written into the file.")
def command(report: Path, names: tuple[str, ...], reason: str) -> None:
    """Pin custom gradients of a REPORT that are meant to be no gradients, in gradverify.toml.

    NAMES are definitions or patterns of them; without any, all that were recognised. The report is that of
    `pytest --gradverify-watch=project --gradverify-report=json:REPORT`.
    """
    try:
        results = json.loads(report.read_text(encoding="utf-8"))["results"]
        found = _pins([r["verdict"]["facts"] for r in results], names, reason)
    except (ValueError, KeyError, TypeError) as e:
        raise GradverifyError(f"{report} is no report of gradverify: {e}") from None
    if not found:
        raise GradverifyError("nothing to pin: no rule of the report is of a kind that may be meant")
    file = write_pins(Path.cwd(), found)
    for name, pin in found.items():
        click.echo(f"{name}: {pin.kind}")
    click.echo(f"written to {file}; a pinned one fails when it changes")


def _pins(all_facts: list[dict[str, Any]], names: tuple[str, ...], reason: str) -> dict[str, Pin]:
    """One pin per definition, with the figures of all its signatures."""
    found: dict[str, Pin] = {}
    for facts in all_facts:
        name, given = facts.get("definition", ""), facts.get("pin")
        if not given or (names and not any(fnmatch.fnmatchcase(name, n) for n in names)):
            continue
        old = found.get(name)
        rules = {**(old.rules if old else {}), **given["rules"]}
        found[name] = Pin(given["kind"], reason=reason, factor=given["factor"], rules=rules)
    return found
