"""The record of a catalogue entry, and the helpers that most entries use.

An entry never knows which tool looks at it, and every tool gets a freshly made function: state that a mutant keeps
belongs to one tool's run. Shapes are small on purpose; where an entry needs size, that is its point.
"""

from __future__ import annotations

import importlib
import pkgutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

Make = Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]

CLASSES = {
    0: "correct",
    1: "broadcast reduction",
    2: "formula or sign",
    3: "cotangent misused",
    4: "overwrites instead of accumulates",
    5: "buffers aliased",
    6: "stale saved tensor",
    7: "complex conjugate",
    8: "ties and kinks",
    9: "division formula at zero",
    10: "0·inf and dead branches",
    11: "tail cancellation",
    12: "layout and strides",
    13: "index overflow at size",
    14: "tile tails, uninitialised",
    15: "low precision",
    16: "duplicate indices, races",
    17: "double backward",
    18: "compiled differs from eager",
    19: "control flow",
    20: "graph semantics",
    21: "undefined cotangents",
    22: "which inputs require grad",
    23: "dtype of other arguments",
    24: "empty and 0-d",
    25: "attention",
}

HALF = frozenset({"bfloat16", "float16"})
FLOAT32_AND_LESS = HALF | {"float32"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One function with its gradient, right (bug 0) or wrong.

    bug        the class, a key of CLASSES
    about      what is wrong (or hard), in one line
    make       () -> (function, arguments), fresh every time
    correct    the same with the mistake mended, where that is natural; it counts among the correct functions
    source     the issue that it is taken from
    elsewhere  what must be asked to see the mistake, where the call as given does not show it: "" if it does
    quick      part of the quick subset and of the regression tests
    none_in    dtypes in which there is no mistake: the backward pass is no further off there than the mended one
    """

    name: str
    bug: int
    about: str
    make: Make
    correct: Make | None = None
    source: str = ""
    elsewhere: str = ""
    quick: bool = False
    none_in: frozenset[str] = frozenset()
    framework: Literal["torch", "jax", "numpy"] = "torch"

    def __str__(self) -> str:
        return self.name


class Rand:
    """The arguments of one entry, drawn from its name: the same in every process."""

    def __init__(self, name: str) -> None:
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    def __call__(self, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Standard normal."""
        return self.of(self.rng.standard_normal(shape), dtype)

    def pos(self, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Uniform in [0.5, 2]."""
        return self.of(self.rng.uniform(0.5, 2.0, shape), dtype)

    def unit(self, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Uniform in [-0.9, 0.9]."""
        return self.of(self.rng.uniform(-0.9, 0.9, shape), dtype)

    def ints(self, high: int, *shape: int) -> torch.Tensor:
        return torch.from_numpy(self.rng.integers(0, high, shape))

    @staticmethod
    def of(values: Any, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return torch.tensor(np.asarray(values), dtype=dtype).requires_grad_()


def function(
    forward: Callable[..., Any], backward: Callable[..., Any], once: bool = False
) -> Callable[[], Callable[..., Any]]:
    """A maker of fresh autograd.Functions. backward(g, out, *args) gives one gradient, or a tuple of one per argument
    (trailing ones that are missing are None). It is differentiable where it is written so; `once` forbids that."""

    def make() -> Callable[..., Any]:
        class Custom(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *args: Any) -> Any:
                out = forward(*args)
                ctx.where = [isinstance(a, torch.Tensor) for a in args]
                ctx.rest = [None if w else a for w, a in zip(ctx.where, args)]
                ctx.save_for_backward(out, *(a for w, a in zip(ctx.where, args) if w))
                return out

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                out, *tensors = ctx.saved_tensors
                it = iter(tensors)
                args = [next(it) if w else a for w, a in zip(ctx.where, ctx.rest)]
                d = backward(g, out, *args)
                d = d if isinstance(d, tuple) else (d,)
                d = (*d, *[None] * (len(args) - len(d)))
                return tuple(x if need else None for x, need in zip(d, ctx.needs_input_grad))

        if once:
            Custom.backward = staticmethod(torch.autograd.function.once_differentiable(Custom.backward))
        return Custom.apply

    return make


class Table(list[Entry]):
    """The entries of one module."""

    def __init__(self, bug: int = 0) -> None:
        super().__init__()
        self.bug = bug

    def pair(
        self, name: str, about: str, forward: Callable[..., Any], wrong: Callable[..., Any],
        right: Callable[..., Any] | None, args: Callable[[Rand], tuple[Any, ...]], **more: Any,
    ) -> None:  # fmt: skip
        """An autograd.Function with a wrong backward, and the right one as its twin."""
        bad, good = function(forward, wrong), None if right is None else function(forward, right)
        self.add(name, about, bad, args, good, **more)

    def add(
        self, name: str, about: str, make: Callable[[], Callable[..., Any]], args: Callable[[Rand], tuple[Any, ...]],
        good: Callable[[], Callable[..., Any]] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """`make` gives a fresh function; `good` its twin."""
        bug = more.pop("bug", self.bug)
        self.append(
            Entry(
                name=name,
                bug=bug,
                about=about,
                make=lambda: (make(), args(Rand(name))),
                correct=None if good is None else lambda: (good(), args(Rand(name))),
                **more,
            )
        )

    def fn(
        self, name: str, about: str, call: Callable[..., Any], args: Callable[[Rand], tuple[Any, ...]], **more: Any
    ) -> None:
        """A function without state of its own."""
        self.add(name, about, lambda: call, args, **more)


def _entries(package: str) -> Iterator[Entry]:
    root = importlib.import_module(f"{__package__}.{package}")
    for module in sorted(m.name for m in pkgutil.iter_modules(root.__path__)):
        yield from importlib.import_module(f"{root.__name__}.{module}").ENTRIES


def mutants() -> list[Entry]:
    """All mutants, by class."""
    return _checked(sorted(_entries("mutants"), key=lambda e: e.bug))


def correct() -> list[Entry]:
    """The hard correct functions, then the mutants' mended twins."""
    twins = [
        replace(e, name=f"{e.name}, mended", bug=0, make=e.correct, correct=None, elsewhere="", none_in=frozenset())
        for e in mutants()
        if e.correct is not None
    ]
    return _checked([*_entries("correct"), *twins])


def _checked(entries: list[Entry]) -> list[Entry]:
    names = [e.name for e in entries]
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
    assert all(e.bug in CLASSES for e in entries)
    return entries
