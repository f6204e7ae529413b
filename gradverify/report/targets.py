"""`json:PATH`: what `--gradverify-report` and `--report` take, and the writing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import GradverifyError, did_you_mean
from . import json

WRITERS: Mapping[str, Callable[[Path, dict[str, Any]], None]] = {"json": json.write}


@dataclass(frozen=True, slots=True)
class Target:
    format: str
    path: Path

    def write(self, data: dict[str, Any]) -> None:
        WRITERS[self.format](self.path, data)


def targets(texts: Iterable[str]) -> list[Target]:
    """Parse FORMAT:PATH texts. Raises GradverifyError that says which formats there are."""
    parsed = []
    for text in texts:
        kind, colon, path = text.partition(":")
        if not colon or not path or kind not in WRITERS:
            known = ", ".join(f"{f}:PATH" for f in WRITERS)
            raise GradverifyError(f"a report is written as {known}; got {text!r}{did_you_mean(kind, WRITERS)}")
        parsed.append(Target(kind, Path(path)))
    return parsed
