"""Functions by name, as spec files, scripts and pins give them.

`package.module:name`, or a call of one: `package.module:norm(x, 1e-6, axis=-1)`.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any


@dataclass(frozen=True)
class Name:
    """An argument of a call that is an input, by the input's name."""

    text: str


@dataclass(frozen=True)
class NamedCall:
    """A function by name, and how it is called.

    function    `package.module:name`
    positional  its arguments in order, each a `Name` or a literal; None: all inputs, in order
    keywords    the same by keyword
    """

    function: str
    positional: tuple[Any, ...] | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that it names."""
        return tuple(a.text for a in (*(self.positional or ()), *self.keywords.values()) if isinstance(a, Name))

    def __str__(self) -> str:
        return self.renamed(str)

    def renamed(self, called: Callable[[str], str]) -> str:
        """The text of the call, each input under the name that `called` gives it."""
        return self.function + (f"({self.arguments(called)})" if self.positional is not None else "")

    def arguments(self, called: Callable[[str], str]) -> str:
        """What stands between the brackets."""
        show = lambda a: called(a.text) if isinstance(a, Name) else repr(a)
        return ", ".join([*map(show, self.positional or ()), *(f"{k}={show(a)}" for k, a in self.keywords.items())])

    def over(self, function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
        """The call of `function`, as a function of arrays in the order of `names`."""
        if self.positional is None:
            return function

        def call(*arrays: Any) -> Any:
            there = dict(zip(names, arrays, strict=True))
            value = lambda a: there[a.text] if isinstance(a, Name) else a
            return function(*map(value, self.positional or ()), **{k: value(a) for k, a in self.keywords.items()})

        return call


def parsed(text: str) -> NamedCall:
    """The call that a text names. Raises ValueError where an argument is neither a name nor a literal."""
    function, bracket, _ = text.partition("(")
    if not bracket:
        return NamedCall(text)
    try:
        node = ast.parse(f"f{text[len(function) :]}", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{text[:60]!r} is no call") from None
    if (
        not isinstance(node, ast.Call)
        or not isinstance(node.func, ast.Name)
        or any(k.arg is None for k in node.keywords)
    ):
        raise ValueError(f"{text[:60]!r} is no call of one function")
    keywords = {str(k.arg): _argument(k.value) for k in node.keywords}
    return NamedCall(function, tuple(map(_argument, node.args)), keywords)


def _argument(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return Name(node.id)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"an argument is the name of an input or a literal, not {ast.unparse(node)[:60]}") from None


def root_of(module: str, file: str) -> str:
    """The folder that must be on the path so that a module written in `file` is found; "" for an installed one."""
    if not file or not os.path.isabs(file) or "site-packages" in file:
        return ""
    parts = module.count(".") + 1 + (os.path.basename(file) == "__init__.py")
    return reduce(lambda path, _: os.path.dirname(path), range(parts), os.path.realpath(file))


def importable(function: str, wanted: Any) -> bool:
    """Does `package.module:name`, whose module is loaded, name just this object?"""
    module, _, attribute = function.partition(":")
    if module == "__main__" or not all(part.isidentifier() for part in attribute.split(".")):
        return False
    try:
        found = reduce(getattr, attribute.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        return False
    return bool(found == wanted)


def imported(name: str, beside: str | None = None) -> Any:
    """Import what `package.module:name` names; the name may have dots. Raises ImportError, AttributeError, ValueError.

    beside  a file whose folder is looked at first, as Python does with the folder of a script; it stays in `sys.path`, since
            a function may import when it is called
    """
    module, _, attribute = name.partition(":")
    folder = os.path.dirname(os.path.abspath(beside)) if beside else ""
    if folder and folder not in sys.path and os.path.isdir(folder):
        sys.path.insert(0, folder)
    return reduce(getattr, attribute.split("."), importlib.import_module(module))
