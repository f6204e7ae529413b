"""No framework is named in code outside `frameworks/`: what differs between them is an ability of Framework.

Docstrings and comments may name them. What may besides is listed, with the reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gradverify"

NAME = re.compile(r"(?<![A-Za-z])(torch|jax|jaxlib|mlx|tinygrad|cupy|PyTorch|JAX|MLX|CuPy|HIPS)(?![A-Za-z])")

ALLOWED = {
    "frameworks/": "where they live",
    "engine/": "a product: an engine that speaks PyTorch's dialect, and says whose",
    "conformance/": "the laws of engines: their sources are PyTorch's and JAX's pages, their programs are in that dialect",
    "torch.py": "a public drop-in, for PyTorch's own checks",
    "jax.py": "a public drop-in, for JAX's own checks",
    "__init__.py": "names the two drop-ins",
    "ops/": "the text of an op says whose name or convention it has",
    "spec/keys.py": "help: what can be typed under `subjects`",
    "cli/options.py": "help: what can be typed behind --subjects",
    "plugin/__init__.py": "help: what can be typed behind --gradverify-subjects",
    "plugin/fixture.py": "a message that shows what to type",
}


def allowed(path: str) -> bool:
    return any(path == a or (a.endswith("/") and path.startswith(a)) for a in ALLOWED)


def words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Identifiers and strings of a module, but for docstrings."""
    docstrings = {
        id(s.value)
        for node in ast.walk(tree)
        if isinstance(body := getattr(node, "body", None), list)
        for s in body
        if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield line, node.value
        elif isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield line, node.name
        elif isinstance(node, ast.arg):
            yield line, node.arg
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield line, f"{getattr(node, 'module', '') or ''} {' '.join(a.name for a in node.names)}"


MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))


def test_no_framework_is_named_elsewhere() -> None:
    found = [
        f"{path}:{line}: {text[:60]!r}"
        for path in MODULES
        if not allowed(path)
        for line, text in words(ast.parse((PACKAGE / path).read_text(encoding="utf-8")))
        if NAME.search(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("entry", ALLOWED)
def test_every_exception_is_needed(entry: str) -> None:
    paths = [p for p in MODULES if p == entry or (entry.endswith("/") and p.startswith(entry))]
    assert any(
        NAME.search(text) for p in paths for _, text in words(ast.parse((PACKAGE / p).read_text(encoding="utf-8")))
    )
