"""What a record of a kernel is, and the helpers that its two passes are written with.

A kernel takes 16-bit arguments, computes in float32 and rounds what it returns, as the public kernels do. Given float32 or
float64 arguments it computes in those. Its passes name the places where a bug may stand; at most one does in a run.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from bench.detection.catalogue import Rand

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def up(t: torch.Tensor) -> torch.Tensor:
    """The tensor in the dtype that kernels compute in: float32 for 16-bit ones."""
    return t.float() if t.dtype in (torch.bfloat16, torch.float16) else t


@dataclass(frozen=True)
class Run:
    """One run of a kernel: the bug in it ("" for none), and the dtype of its arguments.

    A precision bug rounds to that dtype; in a kernel of wider arguments to bfloat16.
    """

    bug: str
    dtype: torch.dtype

    @property
    def half(self) -> torch.dtype:
        return self.dtype if self.dtype in (torch.bfloat16, torch.float16) else torch.bfloat16

    def has(self, bug: str) -> bool:
        return self.bug == bug

    def narrow(self, bug: str, t: torch.Tensor) -> torch.Tensor:
        """`t`, stored in 16 bits where the run has this bug."""
        return up(t.to(self.half)).to(t.dtype) if self.bug == bug else t

    def computed(self, bug: str, t: torch.Tensor) -> torch.Tensor:
        """`t`, left in 16 bits where the run has this bug, so that later steps compute in 16 bits."""
        return t.to(self.half) if self.bug == bug else t

    def down(self, t: torch.Tensor) -> torch.Tensor:
        """`t` in the dtype of the arguments."""
        return t.to(self.dtype)

    def rows(self, bug: str, t: torch.Tensor, block: int = 1) -> torch.Tensor:
        """The sum over the first axis; by blocks into an accumulator of 16 bits where the run has this bug."""
        if self.bug != bug:
            return t.sum(0)
        total = torch.zeros(t.shape[1:], dtype=self.half)
        for part in t.split(block):
            total = total + part.sum(0).to(self.half)
        return total.to(t.dtype)

    def add(self, bug: str, total: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """`total + t`; the sum is kept in 16 bits where the run has this bug."""
        return self.narrow(bug, total + t)

    def of(self, bug: str, wrong: float, right: float) -> float:
        """`right`, or `wrong` where the run has this bug."""
        return wrong if self.bug == bug else right


Forward = Callable[..., tuple[Any, tuple[torch.Tensor, ...]]]
Backward = Callable[..., tuple[torch.Tensor | None, ...]]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel and its bugs.

    source     the public kernel that it is written after
    arguments  draws them: float64 arrays, which are rounded to the dtype, and integers
    forward    (run, *arguments) -> (output or outputs, what is saved)
    backward   (run, arguments, saved, *cotangents) -> a gradient per argument, None for integers
    precision  name -> about, of the bugs that lose digits
    formula    the same of the bugs that are another formula
    """

    name: str
    source: str
    arguments: Callable[[Rand], tuple[torch.Tensor, ...]]
    forward: Forward
    backward: Backward
    precision: Mapping[str, str]
    formula: Mapping[str, str]

    def __str__(self) -> str:
        return self.name

    @property
    def bugs(self) -> dict[str, str]:
        return {**self.precision, **self.formula}

    def point(self, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        """The arguments in this dtype; the floating-point ones require grad."""
        given = self.arguments(Rand(self.name))
        return tuple(a.detach().to(dtype).requires_grad_() if a.is_floating_point() else a for a in given)

    def function(self, bug: str = "") -> Callable[..., Any]:
        """The kernel as an autograd.Function, with this bug."""
        forward, backward = self.forward, self.backward

        class Fused(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *args: torch.Tensor) -> Any:
                ctx.run = _run(bug, args)
                out, saved = forward(ctx.run, *args)
                ctx.save_for_backward(*args, *saved)
                ctx.given = len(args)
                return out

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, *g: torch.Tensor) -> Any:
                args, saved = ctx.saved_tensors[: ctx.given], ctx.saved_tensors[ctx.given :]
                return backward(ctx.run, args, saved, *g)

        Fused.__name__ = Fused.__qualname__ = self.name.replace("-", "_")
        return Fused.apply

    def definition(self) -> Callable[..., Any]:
        """The forward pass alone, which autograd differentiates."""
        return lambda *args: self.forward(_run("", args), *args)[0]


def _run(bug: str, args: tuple[torch.Tensor, ...]) -> Run:
    return Run(bug, next(a.dtype for a in args if a.is_floating_point()))


class Kernels(list[Kernel]):
    """The kernels of one module."""

    def add(
        self, name: str, source: str, arguments: Callable[[Rand], tuple[torch.Tensor, ...]],
        precision: Mapping[str, str], formula: Mapping[str, str],
    ) -> Callable[[type], type]:  # fmt: skip
        """A decorator of a class with the static methods `forward` and `backward`."""

        def declare(passes: type) -> type:
            self.append(
                Kernel(name=name, source=source, arguments=arguments, forward=passes.forward, backward=passes.backward,
                       precision=precision, formula=formula)
            )  # fmt: skip
            return passes

        return declare


def kernels() -> list[Kernel]:
    """All kernels, by module."""
    root = importlib.import_module(f"{__package__}.families")
    found: list[Kernel] = []
    for name in sorted(m.name for m in pkgutil.iter_modules(root.__path__)):
        found += importlib.import_module(f"{root.__name__}.{name}").KERNELS
    names = [k.name for k in found]
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
    return found
