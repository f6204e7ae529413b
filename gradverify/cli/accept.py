"""`gradverify accept`."""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Callable
from pathlib import Path

import click

from ..core.errors import GradverifyError
from ..report.json import read
from ..run.deviations import deviation_of, write_deviations

DAYS = 90
"""Until an accepted deviation expires, where nobody says when: a quarter, by which it is mended or looked at again."""


@click.command("accept")
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("ids", nargs=-1)
@click.option("--reason", required=True, help="Why it is acceptable.")
@click.option("--owner", required=True, help="Who looks at it again.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help=f"The last day; by default in {DAYS} days.")
def command(report: Path, ids: tuple[str, ...], reason: str, owner: str, until: datetime.datetime | None) -> None:
    """Accept faults of a JSON REPORT: write them to gradverify.toml.

    IDS are ids of the report, or patterns of them with *; without any, all that was not acceptable. What has
    expired, has got worse or passes by now fails.
    """
    results = read(report)["results"]
    matches = [_matcher(id) for id in ids]
    chosen = [r for r in results if (any(m(r["id"]) for m in matches) if ids else not r["ok"])]
    if not chosen:
        raise GradverifyError("nothing to accept: no result " + ("of these ids" if ids else "that was not acceptable"))
    today = datetime.date.today()
    last = until.date() if until else today + datetime.timedelta(days=DAYS)
    if last < today:
        raise GradverifyError(f"--until {last} is over")
    found = [deviation_of(r, reason, owner, last, Path.cwd()) for r in chosen]
    file = write_deviations(Path.cwd(), found)
    for deviation in {d.id: d for d in found}.values():
        click.echo(f"{deviation.id}: {deviation.what}")
    click.echo(f"written to {file}, until {last}")


def _matcher(pattern: str) -> Callable[[str], object]:
    """A function that tells whether an id fits; brackets are taken literally."""
    return re.compile(fnmatch.translate(re.sub(r"([\[?])", r"[\1]", pattern))).match
