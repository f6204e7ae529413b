"""What an outcome means and what to do about it: a page each, which `gradverify outcome NAME` prints.

docs/outcomes has copies of them (`scripts/docs --write`); every block of a page is run by tests/docs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from ...core.errors import UnknownName
from ...core.outcome import FailKind, Outcome, Reason
from ...core.wording import page_name


def names() -> Iterator[tuple[str, str]]:
    """(name, heading) of every page: `("wrong", "FAIL (wrong)")`."""
    for outcome in Outcome:
        kinds: list[FailKind | None] = list(FailKind) if outcome is Outcome.FAIL else [None]
        reasons: list[Reason | None] = list(Reason) if outcome is Outcome.INCONCLUSIVE else [None]
        for kind in kinds:
            for reason in reasons:
                name = page_name(outcome, kind, reason)
                yield name, f"{outcome} ({name})" if kind or reason else str(outcome)


def name_of(verdict: Mapping[str, Any]) -> str:
    """The name of the page about a verdict in the shape of the JSON report; "" where there is none."""
    name: str = verdict["kind"] or verdict["reason"] or verdict["outcome"].lower()
    return name if any(name == n for n, _ in names()) else ""


def read(name: str) -> str:
    """The page, in Markdown. Raises UnknownName."""
    known = [n for n, _ in names()]
    name = name.lower()
    if name not in known:
        raise UnknownName("outcome", name, known)
    return (files(__package__) / f"{name}.md").read_text(encoding="utf-8")


def read_alone(name: str) -> str:
    """The page for where no other page is: links are left as their words, comments out. Raises UnknownName."""
    text = re.sub(r"<!--.*?-->\n*", "", read(name), flags=re.DOTALL)
    return re.sub(r"\[([^\[\]]+)\]\((?![a-z]+://)[^()]*\)", r"\1", text)
