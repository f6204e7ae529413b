"""`gradverify conformance`."""

from __future__ import annotations

from pathlib import Path

import click

from ..conformance import engines as known
from ..conformance import law, scorecard
from .group import Exit


@click.command("conformance")
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
def command(
    engines: tuple[str, ...],
    wanted: tuple[str, ...],
    steps: int,
    seed: int,
    json_path: Path | None,
    markdown_path: Path | None,
) -> int:
    """Check the laws of autograd on ENGINES (default: those that are installed), and print a script for each broken one."""
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
