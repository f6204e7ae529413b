"""A project's own file: `gradverify.toml`, or the table [tool.gradverify] of pyproject.toml.

Settings stand at its top, pins of custom gradients in [pin], accepted deviations in [accept]. The nearest gradverify.toml,
in the folder or above, is read, and so is the nearest pyproject.toml; where both say a thing, gradverify.toml holds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core.errors import GradverifyError

FILE = "gradverify.toml"

TABLES = ("pin", "accept", "profiles")
"""What is no setting."""


def tables(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The settings files that exist, each with its table; a later one wins. Raises GradverifyError for bad TOML."""
    found = []
    for name, inside in (("pyproject.toml", ("tool", "gradverify")), (FILE, ())):
        file = next((f for d in (folder, *folder.parents) if (f := d / name).is_file()), None)
        if file is None:
            continue
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise GradverifyError(f"{file}: {e}") from None
        for key in inside:
            table = table.get(key, {})
        found.append((file, table))
    return found


def named(folder: Path, name: str) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The tables [NAME."…"] of a project: their own name -> (file, keys). Raises GradverifyError for what is no table."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for file, table in tables(folder):
        entries = table.get(name, {})
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise GradverifyError(f'{file}: write [{name}."…"], a table of its own for each')
        found |= {key: (file, entry) for key, entry in entries.items()}
    return found


def add(folder: Path, texts: Iterable[str], heading: str) -> Path:
    """Append tables, given as text, to the project's gradverify.toml. A new file begins with `heading`."""
    file = next((f for d in (folder, *folder.parents) if (f := d / FILE).is_file()), folder / FILE)
    text = file.read_text(encoding="utf-8") if file.is_file() else f"# {heading}\n"
    file.write_text("\n".join([text.rstrip(), *(f"\n{t}" for t in texts)]) + "\n", encoding="utf-8")
    return file
