"""The pages of `gradverify outcome` as parts of the report: what an outcome means, and what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .. import outcomes


@dataclass(frozen=True)
class Guide:
    """One page: `place` names it in links, `heading` is its first line, `body` is HTML."""

    place: str
    heading: str
    body: str


def place_of(name: str) -> str:
    """The id of a page on the report: `outcome-wrong`."""
    return f"outcome-{name}"


def guides(names: Collection[str]) -> Sequence[Guide]:
    """The pages of these names, in the order of `outcomes.names()`."""
    return [Guide(place_of(n), heading, _body(n)) for n, heading in outcomes.names() if n in names]


def _body(name: str) -> str:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(outcomes.read_alone(name).partition("\n")[2])
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h4"  # below the report's own h1 to h3
    made: str = parser.renderer.render(tokens, parser.options, {})
    # A block that scrolls is reached by keyboard.
    return made.replace("<pre>", '<pre tabindex="0">')
