"""Which tests of a file ever come to a gradient checker: the others are not run."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path


@cache
def mentioning(path: Path, names: tuple[str, ...]) -> frozenset[str]:
    """The functions of a file that mention one of `names`, or another function that does, at any depth."""
    mentioned: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = mentioned.setdefault(node.name, set())
            for part in ast.walk(node):
                if isinstance(part, ast.Name):
                    inside.add(part.id)
                elif isinstance(part, ast.Attribute):
                    inside.add(part.attr)
    found: set[str] = set(names)
    while True:
        more = {f for f, inside in mentioned.items() if inside & found} - found
        if not more:
            return frozenset(found)
        found |= more


def is_asked(path: Path, test: str, names: Sequence[str]) -> bool:
    """Does the test (whose name may have a suffix of its parameters) mention a checker? With no names all do."""
    if not names:
        return True
    asked = mentioning(path, tuple(names))
    return test in asked or re.sub(r"(\d+|_.*|\[.*)$", "", test) in asked
