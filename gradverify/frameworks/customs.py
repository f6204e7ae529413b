"""Custom gradients that a module defines, as tests are drafted for them (`gradverify write`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    """

    name: str
    call: Callable[..., Any]
    suffix: str
    parameters: tuple[inspect.Parameter, ...]
    line: int = 0


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
        yield Custom(name, function.apply, ".apply", parameters(forward)[0 if own else 1 :], line)


def parameters(fn: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """The parameters that can be given by position; () where there is no signature."""
    try:
        found = inspect.signature(fn).parameters.values()
    except (ValueError, TypeError):
        return ()
    return tuple(p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
