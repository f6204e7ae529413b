"""What a record of a public bug report is, and the helpers that most records are written with.

Every function is our own: written from the report's text, before any tool saw it, with the mistake as it stood in the
reported project. Where the mistake lives on in an installed framework, the framework's function itself is the bug.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from bench.detection.catalogue import CLASSES, Rand, function
from bench.detection.mutants.jax_rules import _array as jax_array
from bench.detection.mutants.jax_rules import custom

Framework = Literal["torch", "jax", "numpy", "mlx", "autograd"]
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Build = Callable[[], Call]
Arguments = Callable[[Rand], tuple[Any, ...]]
Rule = Callable[..., Any]

none: Mapping[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Report:
    """One report: where it stands, what was wrong, and `check`'s arguments for the bug and for its mended twin.

    repository, number  the report's place on GitHub
    about      what is wrong, in one line
    framework  whose function the case is, whatever the reported project was
    kind       the class, a key of CLASSES
    bug        () -> (function, arguments, keyword arguments of `check`), fresh every time
    mended     the same with the mistake mended
    live       the bug is the installed framework's own function
    value      the report is about the value (as well): the twins differ in the forward pass
    """

    repository: str
    number: int
    about: str
    framework: Framework
    kind: int
    bug: Build
    mended: Build
    live: bool = False
    value: bool = False

    @property
    def source(self) -> str:
        return f"{self.repository}#{self.number}"

    def __str__(self) -> str:
        return self.source


@dataclass(frozen=True, kw_only=True)
class Unused:
    """A report that was looked at and made into no case, with the reason."""

    source: str
    about: str
    reason: str


class Reports(list[Report]):
    """The records of one module."""

    def add(
        self, source: str, kind: int, about: str, bug: Callable[[], Rule], mended: Callable[[], Rule], args: Arguments,
        options: Mapping[str, Any] = none, framework: Framework = "torch", **more: Any,
    ) -> None:  # fmt: skip
        """`bug` and `mended` give fresh functions; `options` are keyword arguments of `check`."""
        repository, number = source.split("#")

        def build(make: Callable[[], Rule]) -> Build:
            return lambda: (make(), args(Rand(source)), dict(options))

        self.append(
            Report(repository=repository, number=int(number), about=about, framework=framework, kind=kind,
                   bug=build(bug), mended=build(mended), **more)
        )  # fmt: skip

    def fn(self, source: str, kind: int, about: str, bug: Rule, mended: Rule, args: Arguments, **more: Any) -> None:
        """Two functions without state of their own."""
        self.add(source, kind, about, lambda: bug, lambda: mended, args, **more)

    def pair(
        self, source: str, kind: int, about: str, forward: Rule, wrong: Rule, right: Rule, args: Arguments,
        once: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        """An autograd.Function: `wrong` and `right` map (g, out, *args) to the gradients. `once` forbids a second order."""
        self.add(source, kind, about, function(forward, wrong, once), function(forward, right, once), args, **more)

    def jax_pair(
        self, source: str, kind: int, about: str, forward: Rule, wrong: Rule, right: Rule, args: Arguments, **more: Any
    ) -> None:
        """A custom_vjp function: `forward` and the rules take jnp first."""
        self.add(source, kind, about, lambda: custom(forward, wrong), lambda: custom(forward, right), as_jax(args),
                 framework="jax", **more)  # fmt: skip

    def numpy_pair(
        self, source: str, kind: int, about: str, forward: Rule, wrong: Rule, right: Rule, args: Arguments
    ) -> None:
        """A NumPy function with a backward pass by hand: the rules map (g, *args) to the gradients."""
        repository, number = source.split("#")

        def build(vjp: Rule) -> Build:
            return lambda: (forward, tuple(a.detach().numpy() for a in args(Rand(source))), {"vjp": vjp})

        self.append(
            Report(repository=repository, number=int(number), about=about, framework="numpy", kind=kind,
                   bug=build(wrong), mended=build(right))
        )  # fmt: skip


def as_jax(args: Arguments) -> Arguments:
    """The arguments as JAX arrays of 64 bits."""
    return lambda r: tuple(jax_array(a) for a in args(r))


def right_gradient(forward: Rule) -> Rule:
    """The backward pass that autograd finds for `forward`."""
    return lambda g, out, *args: torch.func.vjp(forward, *args)[1](g)


def reports() -> list[Report]:
    """All reports, by module."""
    root = importlib.import_module(f"{__package__}.reports")
    found: list[Report] = []
    for name in sorted(m.name for m in pkgutil.iter_modules(root.__path__)):
        found += importlib.import_module(f"{root.__name__}.{name}").REPORTS
    sources = [r.source for r in found]
    assert len(set(sources)) == len(sources), sorted(s for s in sources if sources.count(s) > 1)
    assert all(r.kind in CLASSES and r.kind for r in found)
    return found
