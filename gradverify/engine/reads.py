"""What a VJP text reads: only that has to be kept from the forward to the backward pass.

An op's record declares it (`OpFacts.saves`; `declared_reads`). The texts can be asked as well (`analyse_reads`): a test
compares the two for every op, and an op without a declaration, of a third party for instance, goes by its text.

The one idea of the analysis: a rule is a small Python function `(xp, g, out, *args, **params)`, so its syntax tree says what
its result is made of. A parameter that only ever gives its shape (`xp.shape(x)`, `xp.zeros_like(x)`, `like=x`), here or in a
helper that it is handed to, needs no value. Where the text is not so plain, the answer errs towards keeping the value.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from ..core.op import OpSpec


class Read(IntEnum):
    NOTHING = 0
    SHAPE = 1
    VALUE = 2


SHAPE, VALUE = Read.SHAPE, Read.VALUE  # Python 3.11 takes 300 ns for `Read.VALUE`


class Reads(NamedTuple):
    """How the VJP of one argument reads the output, and every argument."""

    output: Read
    arguments: tuple[Read, ...]


def declared_reads(saves: Sequence[str], i: int, n: int) -> Reads:
    """What the VJP of argument `i` of n reads, by its declaration in `OpFacts.saves`."""
    output, arguments = Read.NOTHING, [Read.NOTHING] * n
    for word in saves[i if "args" not in saves[0] and len(saves) > 1 else 0].split():
        name, _, shape = word.partition(".")
        how = SHAPE if shape == "shape" else VALUE
        if name == "out":
            output = how
        elif name == "args":
            arguments = [how] * n
        else:
            arguments[_LETTERS.index(name)] = how
    return Reads(output, tuple(arguments))


_LETTERS = "abcdefgh"


def analyse_reads(spec: OpSpec, i: int, n: int) -> Reads:
    """What the text of the VJP of argument `i` of n reads; everything, where it has no source."""
    variadic = not isinstance(spec.vjp, tuple)  # then the text takes the argument's number as well
    text = spec.vjp[i] if isinstance(spec.vjp, tuple) else spec.vjp
    assert text is not None, f"argument {i} of {spec.name} has no cotangent"
    found = reads(text)
    if found is None:
        return Reads(VALUE, (VALUE,) * n)
    out, *slots = list(inspect.signature(text).parameters.values())[3 if variadic else 2 :]
    starred = next((p for p in slots if p.kind is p.VAR_POSITIONAL), None)
    fixed = slots.index(starred) if starred is not None else len(slots)
    names = [slots[k].name if k < fixed else starred.name if starred is not None else None for k in range(n)]
    return Reads(found[out.name], tuple(VALUE if name is None else found[name] for name in names))


_SHAPE_KERNELS = {"shape", "zeros_like", "ones_like"}
_SHAPE_ATTRIBUTES = {"shape", "ndim", "dtype"}

Definition = ast.Lambda | ast.FunctionDef
Deps = dict[str, Read]  # parameter -> how it is read, if the value that these belong to is used


@cache
def reads(function: Callable[..., Any]) -> Mapping[str, Read] | None:
    """Per parameter, how it is read; None where there is no source to look at."""
    found = _summary(function)
    return None if found is None else dict.fromkeys(found.names, Read.NOTHING) | _union(found.control, *found.results)


class _Summary:
    """What a function's result is made of.

    results  one Deps per entry of the tuple that it returns, or a single one
    control  what its branches and loops depend on
    """

    def __init__(self, names: Sequence[str], control: Deps, results: list[Deps]) -> None:
        self.names, self.control, self.results = names, control, results


def _union(*many: Deps) -> Deps:
    out: Deps = {}
    for deps in many:
        for name, how in deps.items():
            out[name] = max(out.get(name, Read.NOTHING), how)
    return out


def _shape_only(deps: Deps) -> Deps:
    return {name: min(how, Read.SHAPE) for name, how in deps.items()}


@cache
def _summary(function: Callable[..., Any]) -> _Summary | None:
    definition = _definition(function)
    if definition is None:
        return None
    a = definition.args
    names = [x.arg for x in (*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs)]
    walker = _Walker(function, names)
    if isinstance(definition, ast.Lambda):
        walker.add_result(definition.body)
    else:
        walker.run(definition.body)
    return _Summary(names, walker.control, walker.results or [{}])


class _Walker:
    """Follows what each local name is made of. Every assignment adds to what a name may hold, so that branches and loops
    need no care."""

    def __init__(self, function: Callable[..., Any], names: Iterable[str]) -> None:
        self.scope = inspect.getclosurevars(function)
        self.env: dict[str, Deps] = {name: {name: Read.VALUE} for name in names}
        self.control: Deps = {}
        self.results: list[Deps] | None = None

    def run(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, ast.Return):
                self.add_result(statement.value)
            elif isinstance(statement, ast.Assign):
                for target in statement.targets:
                    self.assign(target, self.parts(statement.value))
            elif isinstance(statement, ast.AnnAssign | ast.AugAssign) and statement.value is not None:
                self.assign(statement.target, [self.deps(statement.value)])
            elif isinstance(statement, ast.If | ast.While | ast.For):
                for _ in range(1 if isinstance(statement, ast.If) else 2):  # what a loop assigns, its start may read
                    if isinstance(statement, ast.For):
                        over = self.deps(statement.iter)
                        self.assign(statement.target, [over])
                        self.control = _union(self.control, _shape_only(over))  # how often it runs
                    else:
                        self.add_control(statement.test)
                    self.run(statement.body)
                self.run(statement.orelse)
            else:  # an expression, an assertion, an inner function, ...
                for name in ast.walk(statement):
                    if isinstance(name, ast.Name):
                        self.add_control(name)

    def add_control(self, node: ast.expr) -> None:
        self.control = _union(self.control, self.deps(node))

    def add_result(self, node: ast.expr | None) -> None:
        if node is None:
            return
        parts = self.parts(node)
        if self.results is not None and len(self.results) != len(parts):
            parts, self.results = [_union(*parts)], [_union(*self.results)]
        self.results = [_union(a, b) for a, b in zip(self.results or [{}] * len(parts), parts)]

    def assign(self, target: ast.expr, parts: list[Deps]) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            plain = len(target.elts) == len(parts) and not any(isinstance(t, ast.Starred) for t in target.elts)
            for k, inner in enumerate(target.elts):
                self.assign(inner, [parts[k] if plain else _union(*parts)])
        elif isinstance(target, ast.Starred):
            self.assign(target.value, parts)
        elif isinstance(target, ast.Name):
            self.env[target.id] = _union(self.env.get(target.id, {}), *parts)
        else:
            self.control = _union(self.control, *parts)

    def parts(self, node: ast.expr) -> list[Deps]:
        """One Deps per entry, where the expression is plainly a tuple; else a single one."""
        if isinstance(node, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in node.elts):
            return [self.deps(e) for e in node.elts]
        if isinstance(node, ast.IfExp):
            test, body, orelse = self.deps(node.test), self.parts(node.body), self.parts(node.orelse)
            if len(body) == len(orelse):
                return [_union(test, a, b) for a, b in zip(body, orelse)]
        return self.call_parts(node) if isinstance(node, ast.Call) else [self.deps(node)]

    def deps(self, node: ast.AST) -> Deps:
        if isinstance(node, ast.Name):
            return self.env.get(node.id, {})
        if isinstance(node, ast.Attribute):
            inner = self.deps(node.value)
            return _shape_only(inner) if node.attr in _SHAPE_ATTRIBUTES else inner
        if isinstance(node, ast.Call):
            return _union(*self.call_parts(node))
        if isinstance(node, ast.GeneratorExp | ast.ListComp):
            asked = []
            for generator in node.generators:
                over = self.deps(generator.iter)
                self.assign(generator.target, [over])
                asked += [_shape_only(over), *(self.deps(condition) for condition in generator.ifs)]
            return _union(self.deps(node.elt), *asked)
        return _union(*(self.deps(child) for child in ast.iter_child_nodes(node)))

    def call_parts(self, node: ast.Call) -> list[Deps]:
        arguments = [self.deps(a) for a in node.args]
        keywords = [_shape_only(self.deps(k.value)) if k.arg == "like" else self.deps(k.value) for k in node.keywords]
        if isinstance(node.func, ast.Attribute):
            if node.func.attr in _SHAPE_KERNELS:
                return [_shape_only(_union(*arguments, *keywords))]
            return [_union(self.deps(node.func.value), *arguments, *keywords)]
        target: Any = None
        if isinstance(node.func, ast.Name):
            target = self.scope.globals.get(node.func.id) or self.scope.nonlocals.get(node.func.id)
        inner = _summary(target) if inspect.isfunction(target) else None
        if inner is None or node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            return [_union(self.deps(node.func), *arguments, *keywords)]

        def through(deps: Deps) -> Deps:
            """The callee's reads of its parameters, as reads of what was handed to it."""
            out = []
            for name, given in zip(inner.names, arguments):
                how = deps.get(name, Read.NOTHING)
                out.append(given if how is Read.VALUE else _shape_only(given) if how is Read.SHAPE else {})
            return _union(*out)

        return [_union(through(inner.control), through(result)) for result in inner.results]


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
