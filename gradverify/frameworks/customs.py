"""Custom gradients that a module defines, as tests are drafted for them (`gradverify write`)."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Draws:
    """How the text of a test makes arrays.

    imports  the lines that it needs
    array    an expression of the framework's array from `values`, an array of NumPy
    """

    imports: tuple[str, ...]
    array: str


@dataclass(frozen=True, eq=False)
class Custom:
    """A custom gradient with a name in its module.

    name        in its module
    call        the function that is called; `suffix` is what its text has after the name: ".apply"
    parameters  of its forward pass
    line        where it is written; 0 where there is no source
    gradients   parameter -> whether the backward pass has a gradient for it, as far as its source tells
    """

    name: str
    call: Callable[..., Any]
    suffix: str
    parameters: tuple[inspect.Parameter, ...]
    line: int = 0
    gradients: Mapping[str, bool] = field(default_factory=dict)


def function_classes(module: ModuleType, base: type) -> Iterator[Custom]:
    """The subclasses of an `autograd.Function` that a module defines; forward may take a ctx first."""
    for name, cls in vars(module).items():
        if not (
            isinstance(cls, type) and issubclass(cls, base) and cls is not base and cls.__module__ == module.__name__
        ):
            continue
        function: Any = cls
        own = "setup_context" in {n for c in cls.__mro__ if c.__module__ != base.__module__ for n in vars(c)}
        forward = function.forward
        code = getattr(forward, "__code__", None)
        line = code.co_firstlineno if code else 0
        taken = parameters(forward)[0 if own else 1 :]
        found = dict(zip((p.name for p in taken), returned(function.backward)))
        yield Custom(name, function.apply, ".apply", taken, line, found)


def returned(backward: Callable[..., Any]) -> tuple[bool, ...]:
    """Of each result of a backward pass, whether it is anything but a written None; () where its source does not tell."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(backward)))
    except (OSError, TypeError, SyntaxError):
        return ()
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    left, found = list(getattr(tree.body[0], "body", ())), []
    while left:
        node = left.pop()
        if isinstance(node, ast.Return):
            found.append(node.value.elts if isinstance(node.value, ast.Tuple) else [node.value])
        elif not isinstance(node, inner):
            left += ast.iter_child_nodes(node)
    if len({len(results) for results in found}) != 1 or any(isinstance(r, ast.Starred) for row in found for r in row):
        return ()
    is_none = lambda r: r is None or (isinstance(r, ast.Constant) and r.value is None)
    return tuple(not all(map(is_none, column)) for column in zip(*found))


def parameters(fn: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """The parameters that can be given by position; () where there is no signature."""
    try:
        found = inspect.signature(fn).parameters.values()
    except (ValueError, TypeError):
        return ()
    return tuple(p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
