"""The measurements are run by hand; what they import from gradverify is looked up here, so that no move breaks them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(p for folder in ("bench", "examples") for p in (ROOT / folder).rglob("*.py"))


def names(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every import from gradverify, at any depth; the name is "" for a plain import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == "gradverify")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gradverify" and not node.level:
            yield from ((node.module or "", a.name) for a in node.names)


def is_there(module: str, name: str) -> bool:
    """Can `from module import name` succeed?"""
    try:
        found = import_module(module)
    except ModuleNotFoundError:
        return False
    return (
        not name or hasattr(found, name) or (hasattr(found, "__path__") and find_spec(f"{module}.{name}") is not None)
    )


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_it_imports_is_there(path: Path) -> None:
    missing = [f"{module}: {name}" for module, name in names(path) if not is_there(module, name)]
    assert not missing, f"{path}: {missing}"


def test_a_missing_name_would_be_seen(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def f():\n    from gradverify.core.graph import Graph, Garph\n    import gradverify.ops\n")
    assert [is_there(*pair) for pair in names(script)] == [True, False, True]
    assert not is_there("gradverify.nowhere", "x")
