"""What a run under GitHub Actions says besides: annotations at the lines of faults, and the summary of the step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.outcome import Outcome
from .files import encoded
from .markdown import text_of
from .sentences import Sentence, sentence_of

ACTIONS, SUMMARY = "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"
"""Environment variables that GitHub sets: "true", and the file of the step's summary."""

MOST = 10
"""Annotations of one level that GitHub shows of a step."""

MOST_SUMMARY = 1024 * 1024
"""Bytes of a step's summary that GitHub takes."""


def is_running() -> bool:
    """Does the process run under GitHub Actions?"""
    return os.environ.get(ACTIONS) == "true"


def annotation_lines(data: Mapping[str, Any]) -> Iterator[str]:
    """The commands that make annotations: errors for what is not acceptable, then warnings for WEAK, ten of each at most.

    https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
    """
    sentences = [sentence_of(r) for r in data["results"]]
    refused = [s for s in sentences if not s.is_ok]
    weak = [s for s in sentences if s.is_ok and s.outcome is Outcome.WEAK and not s.accepted]
    for level, found in (("error", refused), ("warning", weak)):
        room = MOST if len(found) <= MOST else MOST - 1
        yield from (_command(level, s) for s in found[:room])
        if len(found) > room:
            yield f"::{level} title=gradverify::and {len(found) - room} more: see the report"
    for error in data["errors"][:MOST]:
        yield f"::error title={_value('gradverify: ' + error['id'])}::{_data(error['message'].strip()[-500:])}"


def write_summary(data: Mapping[str, Any]) -> None:
    """Add the Markdown report to the step's summary, if there is one and it has room. Raises OSError."""
    path = os.environ.get(SUMMARY)
    if not path:
        return
    text = encoded(text_of(data))
    with open(path, "ab") as file:
        if file.tell() + len(text) <= MOST_SUMMARY:
            file.write(text)


def _command(level: str, s: Sentence) -> str:
    where = f"file={_value(s.file)},line={s.line}," if s.file else ""
    return f"::{level} {where}title={_value(s.title)}::{_data(s.text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
