"""`json:PATH`: what `--gradverify-report` and `--report` take, and the formats that write it.

A third party adds a format by `register_report`, or by an entry point of the group `gradverify.reports` whose name is
the format's and whose object is the writer.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.errors import GradverifyError, did_you_mean
from .files import try_path

GROUP = "gradverify.reports"

Writer = Callable[[Path, dict[str, Any]], None]
"""Writes a run to a path, as plain data in the shape of `schema.json`."""

EXTRAS: Mapping[str, tuple[str, ...]] = {"html": ("jinja2", "markdown_it", "matplotlib", "networkx")}
"""A format that needs an extra of its name -> the packages that this installs."""


def _ours(module: str, path: Path, data: dict[str, Any]) -> None:
    """Import a module of this folder, and write the report with its `write`."""
    importlib.import_module(f".{module}", __package__).write(path, data)


_WRITERS: dict[str, Writer] = {name: partial(_ours, name) for name in ("json", "html", "junit", "sarif", "markdown")}


def register_report(name: str, write: Writer) -> None:
    """Make a format of reports known in this process. Raises ValueError where the name is taken."""
    if name in writers():
        raise ValueError(f"two formats of reports are called {name!r}")
    _WRITERS[name] = write


def writers() -> Mapping[str, Writer]:
    """Every format by name: ours, registered ones, those of the entry points."""
    return {**_installed(), **_WRITERS}


@cache
def _installed() -> Mapping[str, Writer]:
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


@dataclass(frozen=True, slots=True)
class Target:
    """A report that a run is asked for."""

    format: str
    path: Path

    def write(self, data: dict[str, Any]) -> None:
        writers()[self.format](self.path, data)


def targets(texts: Iterable[str]) -> list[Target]:
    """Parse FORMAT:PATH texts, and try whether each can be written.

    Raises GradverifyError that says which formats there are, what a format lacks, or why a path is no good.
    """
    parsed = []
    for text in texts:
        kind, colon, path = text.partition(":")
        if not colon or not path or kind not in writers():
            known = ", ".join(f"{f}:PATH" for f in writers())
            raise GradverifyError(f"a report is written as {known}; got {text!r}{did_you_mean(kind, writers())}")
        missing = [package for package in EXTRAS.get(kind, ()) if find_spec(package) is None]
        if missing:
            install = f"pip install 'gradverify[{kind}]'"
            raise GradverifyError(f"{text}: {', '.join(missing)} is not installed: {install}")
        try_path(Path(path))
        parsed.append(Target(kind, Path(path)))
    return parsed
