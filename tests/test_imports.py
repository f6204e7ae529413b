"""Imports go down the layers, and `import gradverify` brings nothing along."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gradverify"

# The layers, lowest first; rooms of one layer do not import each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("ops",),
    ("namespaces",),
    ("engine", "oracle", "generate", "spec", "trace"),
    ("strategies",),  # the public door of `generate`
    ("frameworks",),
    ("judge",),
    ("checker",),
    ("run",),
    ("conformance",),  # its training programs are judged
    ("report",),
    ("watch",),
    ("api",),
    ("plugin", "cli", "testing", "torch", "jax", "autograd", "__init__", "__main__"),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# Sideways on purpose: `python -m gradverify` is the command line.
ALLOWED = {("gradverify.__main__", "cli")}

HEAVY = ("hypothesis", "numpy", "mpmath", "flint", "torch", "jax", "autograd", "scipy", "ruamel", "rich", "click")


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts), path


def imported(name: str, path: Path, body: list[ast.stmt] | None = None) -> Iterator[tuple[str, int]]:
    """Full names of what a module imports from gradverify, at any depth of its code (or of `body`), and the lines."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.Module(body, []) if body is not None else ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names if a.name.split(".")[0] == "gradverify")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.removesuffix(".__init__").split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            if base.split(".")[0] == "gradverify":
                # `from . import x` may import the module x, or a name of the package.
                yield from ((f"{base}.{a.name}", node.lineno) for a in node.names)


def room(name: str) -> str:
    """The room that a full name lies in: `gradverify.spec.document` in `spec`, the public `gradverify.Case` at the door."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and ((PACKAGE / parts[1]).is_dir() or parts[1] in LEVEL) else "__init__"


def target(name: str, known: set[str]) -> str:
    """The module that an imported name lies in."""
    while name not in known and "." in name:
        name = name.rpartition(".")[0]
    return name


def arrows() -> list[tuple[str, str, int]]:
    """(module, name that it imports, line)."""
    return [(name, t, line) for name, path in modules() for t, line in imported(name, path)]


def test_the_walk_sees_the_package() -> None:
    names = {name for name, _ in modules()}
    assert {"gradverify.core.case", "gradverify.run.runner", "gradverify.cli", "gradverify.plugin"} <= names
    assert ("gradverify.run.runner", "gradverify.core.verdict.Verdict") in {(a, b) for a, b, _ in arrows()}


def test_every_room_has_a_layer() -> None:
    unknown = {name.split(".")[1] for name, _ in modules()} - set(LEVEL)
    assert not unknown, f"give {unknown} a place in LAYERS"


def test_arrows_point_down() -> None:
    wrong = []
    for source, imports, line in arrows():
        a, b = room(source), room(imports)
        if a == b or (source, b) in ALLOWED or (a, b) == ("plugin", "__init__"):
            continue
        if LEVEL[b] >= LEVEL[a]:
            wrong.append(f"{source}, line {line}: {a} imports {b}")
    assert not wrong, "\n".join(wrong)


def test_a_wrong_arrow_would_be_seen(tmp_path: Path) -> None:
    module = tmp_path / "truth.py"
    module.write_text("def f():\n    from ..engine.tensor import Tensor\n")
    assert list(imported("gradverify.oracle.truth", module)) == [("gradverify.engine.tensor.Tensor", 2)]
    assert LEVEL["engine"] >= LEVEL["oracle"]


def test_no_cycle_between_modules() -> None:
    """At import time, that is: an import inside a function, or for type checkers, makes none."""
    known = {name for name, _ in modules()} - {"gradverify.__init__"} | {"gradverify"}
    graph: dict[str, set[str]] = {}
    for name, path in modules():
        body = _at_import_time(ast.parse(path.read_text(encoding="utf-8")).body)
        targets = {target(t, known) for t, _ in imported(name, path, body)}
        # A package's __init__ runs before its modules, which is no arrow from them to it.
        graph[name] = {t for t in targets if t != name and not name.startswith(f"{t}.")}
    cycle = _cycle(graph)
    assert cycle is None, " -> ".join(cycle or ())


def test_conformance_has_no_cycle_at_all() -> None:
    """Imports inside functions included."""
    here = "gradverify.conformance"
    known = {name for name, _ in modules()}
    graph = {
        name: {t for s, _ in imported(name, path) if (t := target(s, known)).startswith(f"{here}.") and t != name}
        for name, path in modules()
        if name.startswith(f"{here}.")
    }
    assert graph[f"{here}.laws.memory"] > {f"{here}.register"}
    graph[f"{here}.laws"] = {name for name in graph if name.startswith(f"{here}.laws.")}  # which it imports by name
    cycle = _cycle(graph)
    assert cycle is None, " -> ".join(cycle or ())


def _at_import_time(body: list[ast.stmt]) -> list[ast.stmt]:
    kept: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            kept += node.orelse
        elif isinstance(node, ast.If | ast.Try | ast.With):
            kept += _at_import_time(node.body)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            kept.append(node)
    return kept


def _cycle(graph: dict[str, set[str]]) -> list[str] | None:
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(node: str) -> list[str] | None:
        state[node] = 1
        path.append(node)
        for other in sorted(graph.get(node, ())):
            if state.get(other) == 1:
                return [*path[path.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        state[node] = 2
        path.pop()
        return None

    return next((found for node in sorted(graph) if node not in state and (found := visit(node))), None)


def test_a_cycle_would_be_seen() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert _cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


@pytest.mark.parametrize("module", ["gradverify", "gradverify.plugin", "gradverify.core.verdict"])
def test_importing_brings_nothing_along(module: str) -> None:
    """In a fresh process. pytest itself is what imports the plugin, and is there before it."""
    code = f"""
import sys
import pytest
before = set(sys.modules)
import {module}
print(*sorted({{m.split('.')[0] for m in set(sys.modules) - before}}))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "gradverify" in found
    assert not set(found) & set(HEAVY)


def test_an_idle_pytest_run_brings_nothing_along(tmp_path: Path) -> None:
    """The plugin is loaded by its entry point, without the flag, and a test looks at what came with it."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it(request):\n"
        "    assert request.config.pluginmanager.has_plugin('gradverify')\n"
        "    ours = sorted(m for m in sys.modules if m.split('.')[0] == 'gradverify')\n"
        "    assert ours == ['gradverify', 'gradverify.plugin'], ours\n"
        "    assert not {'numpy', 'mpmath', 'flint', 'torch', 'jax'} & set(sys.modules)\n"
    )
    # Other plugins that happen to be installed bring NumPy or Hypothesis by themselves.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "-p", "no:hypothesispytest",
         str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_public_names_resolve() -> None:
    import gradverify

    for name in gradverify.__all__:
        assert getattr(gradverify, name) is not None
    assert set(gradverify.__all__) <= set(dir(gradverify))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = gradverify.nonsense
