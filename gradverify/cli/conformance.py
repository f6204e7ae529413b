"""`gradverify conformance`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import click

from ..conformance import engines as known
from ..conformance import law, scorecard
from ..core.errors import JUDGED, GradverifyError
from .group import Exit


def _load(text: str) -> known.Engine:
    """The Engine that `FILE.py:NAME` names. Raises GradverifyError; its folder becomes importable."""
    file, _, name = text.rpartition(":")
    path = Path(file)
    if not path.is_file() or not name.isidentifier():
        raise click.UsageError(f"--engine {text}: FILE.py:NAME is wanted, such as mine.py:ENGINE")
    sys.path.insert(0, str(path.resolve().parent))
    try:
        found = runpy.run_path(str(path)).get(name)
    except JUDGED as e:
        raise GradverifyError(f"--engine {text}: {file} raises {type(e).__name__}: {e}") from None
    if not isinstance(found, known.Engine):
        has = "has no such name" if found is None else f"is {found!r}"
        raise GradverifyError(f"--engine {text}: a gradverify.conformance.engines.Engine is wanted, and {name} {has}")
    return found


@click.command("conformance")
@click.argument("engines", nargs=-1)
@click.option("--engine", "own", multiple=True, metavar="FILE.py:NAME", help="An Engine of your own; may be repeated.")
@click.option("--law", "wanted", multiple=True, metavar="NAME", help="Only this law; may be repeated.")
@click.option(
    "--steps", type=click.IntRange(0), default=2000, show_default=True, help="Of random programs; 0 for none."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random programs.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the scorecard here.")
@click.option(
    "--markdown", "markdown_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the page here."
)
@click.option(
    "--badge",
    "badge_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a badge for shields.io here: of one engine, and of all laws.",
)
def command(
    engines: tuple[str, ...],
    own: tuple[str, ...],
    wanted: tuple[str, ...],
    steps: int,
    seed: int,
    json_path: Path | None,
    markdown_path: Path | None,
    badge_path: Path | None,
) -> int:
    """Check the laws of autograd on ENGINES (default: those that are installed), and print a script for each broken one."""
    asked = [known.find(name) for name in engines] + [_load(text) for text in own]
    asked = asked or [e for e in known.ENGINES.values() if e.unavailable() is None]
    if badge_path is not None and (len(asked) != 1 or wanted):
        raise click.UsageError("--badge: name one engine, and no --law: a badge counts all laws of one engine")
    names = [law.find(name).name for name in wanted] or None
    cards = []
    for engine in asked:
        cards.append(scorecard.scorecard(engine, names, 0 if wanted else steps, seed))
        for line in scorecard.text(cards[-1]):
            click.echo(line)
    if json_path is not None:
        json_path.write_text(scorecard.as_json(cards), encoding="utf-8")
    if badge_path is not None:
        badge_path.write_text(scorecard.badge(cards[0]), encoding="utf-8")
    if markdown_path is not None:
        markdown_path.write_text(scorecard.markdown(cards), encoding="utf-8")
    return Exit.OK if all(card.ok for card in cards) else Exit.FAIL
