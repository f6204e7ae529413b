"""Which definitions a watch is about: the project's own, all, none, or those of a pattern."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from ..frameworks.watching import Definition

WORDS = ("project", "all", "off")


def scope(word: str, root: Path) -> Callable[[Definition], bool]:
    """Is a definition watched? `word` is project, all, off, or patterns of names, comma-separated (`mypkg.ops.*`)."""
    if word == "all":
        return lambda definition: True
    if word == "off":
        return lambda definition: False
    if word == "project":
        root, packages = root.resolve(), packages_of(root)
        return lambda d: d.module.split(".")[0] in packages or _is_below(d.file, root)
    patterns = [p.strip() for p in word.split(",") if p.strip()]
    return lambda d: any(fnmatch.fnmatchcase(d.name, p) or d.name.startswith(f"{p}.") for p in patterns)


def _is_below(file: str, root: Path) -> bool:
    """Is it a file of the project's, and not of a package that is installed in an environment below it?"""
    path = Path(file).resolve()
    return bool(file) and path.is_relative_to(root) and not {"site-packages", "dist-packages"} & set(path.parts)


def packages_of(root: Path) -> set[str]:
    """The names under which the project is imported: its folders with an `__init__.py`, and its name in pyproject.toml.

    A suite may be run against the installed package, whose files lie elsewhere.
    """
    found = {
        p.parent.name
        for base in (root, root / "src", root / "python", root / "lib")
        for p in base.glob("*/__init__.py")
    }
    try:
        name = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {}).get("name", "")
    except (OSError, ValueError):
        name = ""
    found |= {re.sub(r"[-.]+", "_", name)} if isinstance(name, str) and name else set()
    return found - {"tests", "test", "docs", "examples", "benchmarks"}
