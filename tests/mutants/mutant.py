"""What a mutant is, and the wrappers that most of them are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gradverify.core.op import OpSpec

# (xp, g, out, *args, **params) -> the cotangent of one argument, as in OpSpec.vjp.
Rule = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One wrong VJP.

    bug       the class of bug, 1 to 25, as tests/mutants/README.md numbers them
    op        the op whose VJP it replaces
    spec      the mutated declaration, from the right one: what the engine is given
    function  makes what the torch subject is given in place of the op: an autograd.Function's apply
    size      the relative error that it makes, where that is one number
    """

    name: str
    bug: int
    op: str
    description: str
    spec: Callable[[OpSpec], OpSpec] | None = None
    function: Callable[[], Callable[..., Any]] | None = None
    size: float | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def dtype(self) -> str:
        """The dtype of the cases that it has to be caught from."""
        return "complex128" if self.bug == 7 else "float64"


def rule(new: Callable[[Rule], Rule], argument: int = 0) -> Callable[[OpSpec], OpSpec]:
    """Replace the VJP of one argument by `new` of the right one."""

    def mutate(spec: OpSpec) -> OpSpec:
        assert isinstance(spec.vjp, tuple), f"{spec.name} has no VJP per argument"
        right = spec.vjp[argument]
        assert right is not None
        return replace(spec, vjp=(*spec.vjp[:argument], new(right), *spec.vjp[argument + 1 :]))

    return mutate


def text(vjp: Rule, argument: int = 0) -> Callable[[OpSpec], OpSpec]:
    """Replace the VJP of one argument by another text."""
    return rule(lambda right: vjp, argument)


def scaled(factor: float) -> Callable[[Rule], Rule]:
    """Every entry times `factor`."""
    return lambda right: lambda xp, g, out, *args, **params: right(xp, g, out, *args, **params) * factor


def one_entry(factor: float) -> Callable[[Rule], Rule]:
    """Only the first entry (in C order) times `factor`."""

    def new(right: Rule) -> Rule:
        def vjp(xp: Any, g: Any, out: Any, *args: Any, **params: Any) -> Any:
            d = right(xp, g, out, *args, **params)
            size = 1
            for n in xp.shape(d):
                size *= n
            first = xp.reshape(xp.equal(xp.arange(size), 0), xp.shape(d))
            return xp.where(first, d * factor, d)

        return vjp

    return new


def cotangent(misuse: Callable[[Any, Any], Any]) -> Callable[[Rule], Rule]:
    """The right rule, given misuse(xp, g) for g."""
    return lambda right: lambda xp, g, out, *args, **params: right(xp, misuse(xp, g), out, *args, **params)


def from_second_call(wrong: Callable[[Rule], Rule]) -> Callable[[Rule], Rule]:
    """Right the first time that it is called in a process, wrong ever after."""

    def new(right: Rule) -> Rule:
        calls = 0
        mutated = wrong(right)

        def vjp(xp: Any, g: Any, out: Any, *args: Any, **params: Any) -> Any:
            nonlocal calls
            calls += 1
            return (right if calls == 1 else mutated)(xp, g, out, *args, **params)

        return vjp

    return new
