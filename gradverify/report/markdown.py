"""The Markdown report: the table, and what is not acceptable. GitHub's step summary is one, too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.outcome import Outcome
from . import terminal
from .files import replace_file
from .sentences import Sentence, sentence_of
from .tally import tally

MOST = 50
"""Results that are written out: more are read in another report."""


def write(path: Path, data: dict[str, Any]) -> None:
    """Write the report of a run, in the shape of `schema.json`. Raises OSError."""
    replace_file(path, text_of(data))


def text_of(data: Mapping[str, Any]) -> str:
    """The report as text, in GitHub's dialect, at most some 100 kB."""
    sentences = [sentence_of(r) for r in data["results"]]
    refused = [s for s in sentences if not s.is_ok]
    accepted = [s for s in sentences if s.is_ok and s.accepted]
    weak = [s for s in sentences if s.is_ok and s.outcome is Outcome.WEAK and not s.accepted]
    parts = [f"## gradverify: {_headline(data, len(refused))}", _table(data)]
    parts += _section("Not acceptable", refused)
    parts += [f"### Not judged\n\n{_errors(data['errors'])}"] if data["errors"] else []
    parts += _section("WEAK: right, and digits are lost", weak)
    parts += _section("Accepted", accepted)
    return "\n\n".join(parts) + "\n"


def _headline(data: Mapping[str, Any], refused: int) -> str:
    n = len(data["results"])
    said = f"{refused} of {n} gradients are not acceptable" if refused else f"all {n} gradients are acceptable"
    said += f", {len(data['errors'])} not judged" if data["errors"] else ""
    return said + (", interrupted" if data["interrupted"] else "")


def _table(data: Mapping[str, Any]) -> str:
    rows = tally(data["results"])
    if not rows:
        return "No gradient was judged."
    shown = terminal.columns(rows)
    head = terminal.headings(rows)
    lines = [_row(head), _row(["---"] * 2 + ["--:"] * (len(head) - 2))]
    return "\n".join([*lines, *(_row([escaped(c) for c in terminal.cells(row, shown)]) for row in rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _section(title: str, sentences: Sequence[Sentence]) -> list[str]:
    if not sentences:
        return []
    parts = [f"### {title}"]
    for s in sentences[:MOST]:
        where = f" ({escaped(s.file)}:{s.line})" if s.file else ""
        parts.append(
            f"<details><summary>{escaped(s.title)}{where}</summary>\n\n{fenced(s.text)}\n\n{escaped(s.id)}\n</details>"
        )
    parts += [f"and {len(sentences) - MOST} more"] if len(sentences) > MOST else []
    return ["\n\n".join(parts)]


def _errors(errors: Sequence[Mapping[str, str]]) -> str:
    last = lambda message: "".join(message.strip().splitlines()[-1:])[:300]
    return "\n".join(f"* {escaped(e['id'])}: {escaped(last(e['message']))}" for e in errors[:MOST])


def fenced(text: str) -> str:
    """The text as a block of code, whatever fences it has itself."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text[:4000]}\n{fence}"


def escaped(text: str) -> str:
    """The text with what Markdown or HTML would read as markup, taken literally."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", " ".join(text.split()))
