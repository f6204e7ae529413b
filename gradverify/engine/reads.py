"""What a VJP text reads: only that has to be kept from the forward to the backward pass.

The one idea: a rule is a small Python function `(xp, g, out, *args, **params)`, so its syntax tree says what it does with
each parameter. One that is only ever asked for its shape (`xp.shape(x)`, `xp.zeros_like(x)`, `like=x`), or handed to a
helper that does no more, needs no value. Where the text is not so plain, the answer errs towards keeping the value.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import cache
from typing import Any


class Read(IntEnum):
    NOTHING = 0
    SHAPE = 1
    VALUE = 2


_SHAPE_KERNELS = {"shape", "zeros_like", "ones_like"}
_SHAPE_ATTRIBUTES = {"shape", "ndim", "dtype"}

Definition = ast.Lambda | ast.FunctionDef


@cache
def reads(function: Callable[..., Any]) -> Mapping[str, Read] | None:
    """Per parameter, how it is read; None where there is no source to look at."""
    definition = _definition(function)
    if definition is None:
        return None
    names = [a.arg for a in definition.args.posonlyargs + definition.args.args]
    rest = definition.args.vararg
    walker = _Walker(function, {*names, *([rest.arg] if rest else [])})
    for statement in definition.body if isinstance(definition, ast.FunctionDef) else [definition.body]:
        walker.visit(statement)
    return walker.found


class _Walker(ast.NodeVisitor):
    """Marks what happens to parameters; `alias` maps names bound by comprehensions over a parameter to that parameter."""

    def __init__(self, function: Callable[..., Any], names: set[str]) -> None:
        self.scope = inspect.getclosurevars(function)
        self.found = dict.fromkeys(names, Read.NOTHING)
        self.alias = {name: name for name in names}

    def origin(self, node: ast.expr) -> str | None:
        """The parameter that `x`, `args[i]` or `args[:i]` is (a part of)."""
        while isinstance(node, ast.Subscript):
            node = node.value
        return self.alias.get(node.id) if isinstance(node, ast.Name) else None

    def mark(self, node: ast.expr, how: Read) -> None:
        """`node` is (a part of) a parameter, and is read this way; what its subscripts read is looked at as usual."""
        name = self.origin(node)
        assert name is not None
        self.found[name] = max(self.found[name], how)
        while isinstance(node, ast.Subscript):
            self.visit(node.slice)
            node = node.value

    def visit_Name(self, node: ast.Name) -> None:
        if self.origin(node) is not None:
            self.mark(node, Read.VALUE)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self.origin(node.value) is not None and node.attr in _SHAPE_ATTRIBUTES:
            self.mark(node.value, Read.SHAPE)
        else:
            self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        source = self.origin(node.iter)
        if source is None or not isinstance(node.target, ast.Name):
            self.generic_visit(node)
            return
        self.mark(node.iter, Read.NOTHING)
        self.alias[node.target.id] = source
        for condition in node.ifs:
            self.visit(condition)

    def _comprehended(self, node: ast.GeneratorExp | ast.ListComp) -> None:
        for generator in node.generators:  # before the element: they bind its names
            self.visit(generator)
        self.visit(node.elt)

    visit_GeneratorExp = visit_ListComp = _comprehended

    def visit_Call(self, node: ast.Call) -> None:
        how = self._reads_of(node.func, len(node.args))
        if not isinstance(node.func, ast.Name):
            self.visit(node.func)
        for k, argument in enumerate(node.args):
            if self.origin(argument) is not None:
                self.mark(argument, how[k])
            else:
                self.visit(argument)
        for keyword in node.keywords:
            if keyword.arg == "like" and self.origin(keyword.value) is not None:
                self.mark(keyword.value, Read.SHAPE)
            else:
                self.visit(keyword.value)

    def _reads_of(self, callee: ast.expr, n: int) -> list[Read]:
        """How a call reads each of its n positional arguments."""
        if isinstance(callee, ast.Attribute) and isinstance(callee.value, ast.Name):
            return [Read.SHAPE if callee.attr in _SHAPE_KERNELS else Read.VALUE] * n
        if isinstance(callee, ast.Name):
            target = self.scope.globals.get(callee.id) or self.scope.nonlocals.get(callee.id)
            inner = reads(target) if inspect.isfunction(target) else None
            if target is not None and inner is not None:
                names = list(inspect.signature(target).parameters)[:n]
                return [inner.get(name, Read.VALUE) for name in names] + [Read.VALUE] * (n - len(names))
        return [Read.VALUE] * n


@cache
def _definitions(file: str) -> dict[int, list[Definition]]:
    """Every function and lambda of a source file, by the line it starts on."""
    try:
        with open(file, encoding="utf-8") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError):
        return {}
    found: dict[int, list[Definition]] = {}
    for node in ast.walk(tree):
        if isinstance(node, Definition):
            line = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            found.setdefault(line, []).append(node)
    return found


def _definition(function: Callable[..., Any]) -> Definition | None:
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    names = code.co_varnames[: code.co_argcount]
    spots = {(line, column) for line, _, column, _ in code.co_positions() if line and column}
    for candidate in _definitions(code.co_filename).get(code.co_firstlineno, []):
        same = tuple(a.arg for a in candidate.args.posonlyargs + candidate.args.args) == names
        # Several lambdas may start on one line: the right one has a piece of this code where its body is.
        inside = any((n.lineno, n.col_offset) in spots for n in ast.walk(candidate) if isinstance(n, ast.expr))
        if same and inside:
            return candidate
    return None
