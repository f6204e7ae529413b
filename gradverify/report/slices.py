"""Program slices: a few names of a module with everything that they need, as text that stands alone.

A reproducer shows what a subject really ran, without gradverify: it is sliced from the adapter's own table.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..core.errors import Unsupported

Scope = Mapping[str, ast.stmt]


class Slice:
    """Imports and definitions, each once, in order of dependence."""

    def __init__(self) -> None:
        self.imports: dict[str, None] = {}
        self.texts: dict[str, str] = {}
        self._homes: dict[str, str] = {}

    def take(self, module: str, name: str, scope: Scope | None = None) -> None:
        """Take in `name` of `module`. `scope` says what stands for a name there: the module's own definitions."""
        scope = definitions(module) if scope is None else scope
        node = scope[name]
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
            self.imports[_alone(node, name)] = None
        elif isinstance(node, ast.ImportFrom):
            home = importlib.util.resolve_name("." * node.level + (node.module or ""), module.rpartition(".")[0])
            self.take(home, next(a.name for a in node.names if (a.asname or a.name) == name))
        elif self._homes.setdefault(name, module) != module:
            raise Unsupported(f"{module} and {self._homes[name]} both define {name!r}")
        elif name not in self.texts:
            self.texts[name] = ""  # a function may call itself
            node = bare(node)
            self.needs(module, node, scope)
            del self.texts[name]
            self.texts[name] = ast.unparse(node)

    @property
    def text(self) -> str:
        """The definitions, in order."""
        return "\n\n\n".join(self.texts.values())

    def needs(self, module: str, node: ast.AST, scope: Scope) -> None:
        """Take in all that `node` refers to."""
        for used in names(node):
            if used in scope:
                self.take(module, used, scope)


def parse_module(module: str) -> ast.Module:
    """The syntax tree of a module, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"no module {module}"
    assert spec.origin is not None, f"{module} has no source"
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


@cache
def definitions(module: str) -> Scope:
    return definitions_in(parse_module(module).body)


def definitions_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Name -> the statement of `body` that defines it."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(a.asname or a.name).partition(".")[0]: node for a in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {t.id: node for t in targets if isinstance(t, ast.Name)}
    return found


def names(node: ast.AST) -> Iterator[str]:
    """The names that `node` reads, in order, each once."""
    yield from dict.fromkeys(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))


def _alone(node: ast.Import | ast.ImportFrom, name: str) -> str:
    """The import of just `name`."""
    chosen = [a for a in node.names if (a.asname or a.name).partition(".")[0] == name]
    if isinstance(node, ast.Import):
        return ast.unparse(ast.Import(chosen))
    return ast.unparse(ast.ImportFrom(node.module, chosen, 0))


class _Bare(ast.NodeTransformer):
    """Drops annotations: they need imports that the code does not."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return node
        return self.generic_visit(ast.copy_location(ast.Assign([node.target], node.value), node))


def bare(node: ast.stmt) -> ast.stmt:
    copied = ast.parse(ast.unparse(node)).body[0]
    stripped: ast.stmt = _Bare().visit(copied)
    return ast.fix_missing_locations(stripped)


class Adapter:
    """The bindings of an adapter module as text, op by op.

    It reads the convention that the adapters share: `bindings` imports the framework and returns
    `lookup(_table(...), module, ...)`, and `_table` ends by returning a dict display.
    """

    def __init__(self, module: str, prefix: str) -> None:
        self.module, self.prefix = module, prefix
        bindings, table = definitions(module)["bindings"], definitions(module)["_table"]
        assert isinstance(bindings, ast.FunctionDef)
        assert isinstance(table, ast.FunctionDef)
        inner = definitions_in(bindings.body)
        returned = bindings.body[-1]
        assert isinstance(returned, ast.Return)
        assert isinstance(returned.value, ast.Call)
        self.modules = [ast.unparse(a) for a in returned.value.args[1:]]
        self.scope: Scope = {**definitions(module), **inner, **definitions_in(table.body)}
        self.imports: Scope = inner
        last = table.body[-1]
        display = last.value if isinstance(last, ast.Return) else None
        assert isinstance(display, ast.Dict), f"{module}._table does not return a dict display"
        self.entries = {k.value: v for k, v in zip(display.keys, display.values) if isinstance(k, ast.Constant)}

    def bind(self, op: str, into: Slice) -> str:
        """The text that calls `op`; its dependencies go `into` the slice. Raises Unsupported where there is no text for
        it."""
        if op in self.entries:
            value = self.entries[op]
            into.needs(self.module, value, self.scope)
            if isinstance(value, ast.Attribute | ast.Name):
                return ast.unparse(value)
            name = f"{self.prefix}_{op}"
            into.texts[name] = f"{name} = {ast.unparse(_Bare().visit(value))}"
            return name
        bound = importlib.import_module(self.module).bindings()(op)
        for text in self.modules:
            if getattr(self._resolve(text), op, None) is bound:
                into.needs(self.module, ast.parse(text, mode="eval"), self.scope)
                return f"{text}.{op}"
        raise Unsupported(f"{op!r} has no text of its own in {self.module}")

    def _resolve(self, text: str) -> Any:
        """The module that `torch.special` stands for in `bindings`."""
        first, *rest = text.split(".")
        node = self.imports[first]
        if isinstance(node, ast.Import):
            alias = next(a for a in node.names if (a.asname or a.name.partition(".")[0]) == first)
            found: Any = importlib.import_module(alias.name if alias.asname else first)
        else:
            assert isinstance(node, ast.ImportFrom)
            assert node.module is not None
            alias = next(a for a in node.names if (a.asname or a.name) == first)
            found = getattr(importlib.import_module(node.module), alias.name)
        for name in rest:
            found = getattr(found, name)
        return found
