"""A judged call as a spec that asks the same again: of a function that can be imported, and is given arrays and literals."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Mapping
from dataclasses import replace
from types import CodeType, ModuleType
from typing import Any

from ..core.case import Case, Source
from ..core.errors import Unsupported
from ..core.imports import Name, NamedCall, importable
from ..frameworks.recognise import owner
from ..frameworks.watching import source_of
from ..spec.write import dumps
from ..trace import Traced
from ..trace.call_site import OURS, at
from ..trace.callee import positional_names, qualified_name_of, rule_of
from .question import Question


def source(q: Question) -> Source:
    """Where the backward pass of the question's function is written, or else the function itself."""
    rule = rule_of(q.fn)
    try:
        file, line = source_of(rule.backward if rule else q.fn)
    except (AttributeError, ValueError):
        file, line = "", 0
    if not file or file.startswith(("<", OURS)):  # of a derivative, which is a function of ours
        return Source("api")
    return Source("api", at(file, line).rpartition(":")[0], line)


def spec_of(q: Question, own: Traced, case: Case, subject: str) -> str:
    """The spec of a case of the question's function; "" where there is none, or it is too large to be read."""
    call = named_call(q)
    inputs = set(case.graph.inputs)
    if (
        call is None
        or set(call.inputs) != inputs
        or case.mixed
        or any(a.part or a.role != "argument" for a in own.arguments)
    ):
        return ""
    try:
        return dumps(replace(case, function=str(call)), subjects=(subject,))
    except Unsupported:
        return ""


def named_call(q: Question) -> NamedCall | None:
    """The question's call in words; None where its function cannot be imported, or an argument has no literal."""
    try:
        function = importable_name(q.fn)
        if function is None:
            return _call_in_lambda(q.fn)
        given = tuple(map(_argument, positional_names(q.fn, len(q.args)), q.args))
        return NamedCall(function, given, {k: _argument(k, x) for k, x in q.kwargs.items()})
    except (ValueError, TypeError, SyntaxError):
        return None


def importable_name(fn: Any) -> str | None:
    """`package.module:name` of what can be imported by it; None for all else."""
    rule = rule_of(fn)
    name = f"{getattr(rule or fn, '__module__', None)}:{qualified_name_of(fn)}"
    return name if importable(name, fn) else None


def _argument(name: str, x: Any) -> Any:
    """An array by its name, else a literal. Raises ValueError and its like for what has none."""
    if owner(x) is None and not hasattr(x, "__array__"):
        return _literal(x)
    if not name.isidentifier():
        raise ValueError(f"{name} is no name")
    return Name(name)


def _literal(x: Any) -> Any:
    if ast.literal_eval(repr(x)) != x:  # what has no literal raises, and a NaN is unequal to itself
        raise ValueError(f"{x!r} has no literal")
    return x


def _call_in_lambda(fn: Any) -> NamedCall | None:
    """The call that a lambda is no more than: `lambda x, w: RMSNorm.apply(x, w, 1e-6)`. None for all others."""
    code = getattr(fn, "__code__", None)
    if code is None or code.co_name != "<lambda>":
        return None
    tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    parameters = list(code.co_varnames[: code.co_argcount])
    found = {
        ast.unparse(node.body): node.body
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda)
        and node.lineno == code.co_firstlineno
        and [a.arg for a in node.args.args] == parameters
    }
    if len(found) > 1:  # several on one line: the one that compiles to the same
        found = {
            text: body for text, body in found.items() if _compiled(parameters, text) == (code.co_names, code.co_consts)
        }
    if len(found) != 1:
        return None
    (body,) = found.values()
    if not isinstance(body, ast.Call) or any(k.arg is None for k in body.keywords):
        return None
    there = {**fn.__globals__, **inspect.getclosurevars(fn).nonlocals}

    def value(node: ast.expr) -> Any:
        """What a dotted name or a literal stands for."""
        if isinstance(node, ast.Attribute):
            return getattr(value(node.value), node.attr)
        if isinstance(node, ast.Name):
            return there[node.id]
        return ast.literal_eval(node)

    def argument(node: ast.expr) -> Any:
        is_parameter = isinstance(node, ast.Name) and node.id in parameters
        return Name(node.id) if is_parameter else _literal(value(node))  # type: ignore[attr-defined]

    try:
        function = importable_name(value(body.func)) or _in_module(body.func, there)
        if function is None:
            return None
        keywords = {str(k.arg): argument(k.value) for k in body.keywords}
        return NamedCall(function, tuple(map(argument, body.args)), keywords)
    except (KeyError, AttributeError):
        return None


def _in_module(node: ast.expr, there: Mapping[str, Any]) -> str | None:
    """`module:name` of a dotted name whose first part is a module: `torch.sum`, whose own module is nobody's."""
    root, _, rest = ast.unparse(node).partition(".")
    module = there.get(root)
    return f"{module.__name__}:{rest}" if rest and isinstance(module, ModuleType) else None


def _compiled(parameters: list[str], body: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    made = compile(f"lambda {', '.join(parameters)}: {body}", "<lambda>", "eval")
    code = next(c for c in made.co_consts if isinstance(c, CodeType))
    return code.co_names, code.co_consts
