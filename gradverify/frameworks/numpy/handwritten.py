"""A function with a backward pass that was written by hand: what `check(fn, *args, vjp=...)` judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...trace.calls import FlatCall, generators_of, leaves, rebuilt
from ...trace.drawing import replayed
from ...trace.value import HandWrittenFunction


class WrongGradients(TypeError):
    """What a backward pass returned does not correspond to the arguments."""


class HandWritten:
    """`forward(*args)` and its VJP, in one of two conventions.

    Without residuals, `backward(cotangent, *args)`. With them, `forward` returns `(out, residuals)` and the VJP is
    `backward(residuals, cotangent)`, as in `jax.custom_vjp`. Cotangents have the structure of `out`: one array, or
    a tuple, list or dict of them; what is no floating-point array in it has None for a cotangent.

    The VJP returns the gradient of the one argument, or a tuple with one per positional argument, or with one per
    argument that has a floating-point array in it, or a dict by argument names (the only way to name keyword
    arguments). The gradient of a nested argument has its structure. None stands for zero.
    """

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any], residuals: bool = False) -> None:
        self.forward, self.backward, self.residuals = forward, backward, residuals
        self.__wrapped__ = forward
        name = getattr(forward, "__name__", type(forward).__name__)
        self.__name__, self.__qualname__ = name, getattr(forward, "__qualname__", name)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.split(self.forward(*args, **kwargs))[0]

    def split(self, result: Any) -> tuple[Any, Any]:
        """(out, residuals)."""
        if not self.residuals:
            return result, None
        if not isinstance(result, tuple) or len(result) != 2:
            what = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
            raise WrongGradients(f"with residuals=True the function returns (out, residuals), not {what}")
        return result

    def pull(self, residuals: Any, cotangent: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if self.residuals:
            return self.backward(residuals, cotangent)
        return self.backward(cotangent, *args, **kwargs)


def by_name(returned: Any, call: FlatCall, is_float: Callable[[Any], bool]) -> dict[str, Any]:
    """The gradients that a VJP returned, by the names of the call's arrays; None where it gave none.

    Raises WrongGradients where their number or structure is not that of the arguments.
    """
    found: dict[str, Any] = dict.fromkeys(call.names)
    floats = [owner for owner, a in zip(call.owners, call.arrays) if is_float(a)]
    numbers = [k for k in range(len(call.args)) if k in floats]
    given: dict[int | str, Any]
    if isinstance(returned, Mapping) and not (len(numbers) == 1 and isinstance(call.args[numbers[0]], Mapping)):
        given = _by_argument(returned, call)
    else:
        alone = len(numbers) == 1 and not isinstance(returned, tuple)
        several = (returned,) if alone or not isinstance(returned, tuple | list) else tuple(returned)
        if len(several) == len(call.args):
            given = dict(enumerate(several))
        elif len(several) == len(numbers):
            given = dict(zip(numbers, several))
        else:
            few = "" if len(numbers) == len(call.args) else f" ({len(numbers)} of them with floating-point arrays)"
            raise WrongGradients(
                f"the vjp returned {_count(len(several), 'gradient')} for {_count(len(call.args), 'argument')}{few}"
            )
    for owner, gradient in given.items():
        mine = [k for k, o in enumerate(call.owners) if o == owner]
        if gradient is None or not mine:
            continue
        parts = _parts(gradient, call.args[owner] if isinstance(owner, int) else call.kwargs[owner], call, owner)
        for k, part in zip(mine, parts):
            found[call.names[k]] = part
    return found


def _by_argument(returned: Mapping[str, Any], call: FlatCall) -> dict[int | str, Any]:
    heads = {n.partition("[")[0].partition(".")[0]: o for n, o in zip(call.names, call.owners)}
    whole = {n: o for n, o in zip(call.names, call.owners)}
    unknown = [str(n) for n in returned if n not in heads and n not in whole]
    if unknown:
        raise WrongGradients(f"the vjp returned a gradient for {', '.join(unknown)}; the arguments are "
                             f"{', '.join(heads)}")  # fmt: skip
    return {heads.get(n, whole.get(n, n)): g for n, g in returned.items()}


def _parts(gradient: Any, argument: Any, call: FlatCall, owner: int | str) -> list[Any]:
    """The leaves of a gradient that belong to the argument's arrays."""
    if call.is_array(argument):  # a list of numbers stands for an array
        return [gradient]
    wanted, got = list(leaves(argument)), list(leaves(gradient))
    if isinstance(argument, Mapping) and isinstance(gradient, Mapping):
        # By key: another order is no mistake, and what is missing is None.
        ordered = [(path, dict(got).get(path)) for path, _ in wanted]
        strange = sorted(dict(got).keys() - dict(wanted).keys())
        if strange:
            raise WrongGradients(f"the vjp returned a gradient for {', '.join(strange)} of argument {owner}")
        got = ordered
    if len(got) != len(wanted):
        raise WrongGradients(
            f"the gradient of argument {owner} has {_count(len(got), 'leaf')}, the argument {len(wanted)}"
        )
    return [g for (_, a), (_, g) in zip(wanted, got) if call.is_array(a)]


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what.replace('leaf', 'leave')}s"


class Flat(HandWrittenFunction):
    """A call as a function of its arrays alone, with its hand-written VJP.

    kept     which leaves of the result are its outputs
    only     of these, the ones that are asked for; the cotangents of the others are zeros
    """

    def __init__(self, call: FlatCall, kept: tuple[int, ...], only: tuple[int, ...] | None = None) -> None:
        self.call, self.kept = call, kept
        self.asked = tuple(range(len(kept))) if only is None else only

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        found = [leaf for _, leaf in leaves(self.call.run(arrays[: len(self.call.arrays)]))]
        return tuple(found[self.kept[k]] for k in self.asked)

    def only(self, k: int) -> Flat:
        return Flat(self.call, self.kept, (self.asked[k],))

    def pull(self, *arrays: Any) -> tuple[tuple[Any, ...], Callable[[tuple[Any, ...]], dict[str, Any]]]:
        """The outputs at these arrays, and the function from cotangents to gradients by name."""
        fn: HandWritten = self.call.fn  # type: ignore[assignment]
        args, kwargs = self.call.filled(arrays[: len(self.call.arrays)])
        with replayed(self.call.seed, generators_of(fn)):
            out, residuals = fn.split(fn.forward(*args, **kwargs))
        found = [leaf for _, leaf in leaves(out)]
        outputs = tuple(found[self.kept[k]] for k in self.asked)

        def back(cotangents: tuple[Any, ...]) -> dict[str, Any]:
            weights: list[Any] = [None] * len(found)
            for k in self.kept:
                weights[k] = np.zeros_like(found[k])  # of CuPy's arrays too (NEP 18)
            for k, g in zip(self.asked, cotangents):
                weights[self.kept[k]] = g
            returned = fn.pull(residuals, rebuilt(out, iter(weights)), args, kwargs)
            return by_name(returned, self.call, lambda a: a.dtype.kind == "f" or a.dtype.name == "bfloat16")

        return outputs, back


class Named(HandWrittenFunction):
    """A function that a spec names, with its VJP, over the case's inputs.

    arguments  the inputs as positional and keyword arguments
    names      of the inputs, in order
    only       which of the outputs is asked for; the others' cotangents are zeros
    """

    def __init__(
        self,
        fn: HandWritten,
        arguments: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]],
        names: tuple[str, ...],
        is_array: Callable[[Any], bool],
        output: int | None = None,
    ) -> None:
        self.fn, self.arguments, self.names, self.is_array, self.output = fn, arguments, names, is_array, output

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        return self.pull(*arrays)[0]

    def only(self, k: int) -> Named:
        return Named(self.fn, self.arguments, self.names, self.is_array, k)

    def pull(self, *arrays: Any) -> tuple[tuple[Any, ...], Callable[[tuple[Any, ...]], dict[str, Any]]]:
        given = arrays[: len(self.names)]
        args, kwargs = self.arguments(*given)
        call = FlatCall(self.fn, args, kwargs, self.is_array)
        out = self.fn.forward(*args, **kwargs)
        found = tuple(out) if isinstance(out, tuple | list) else (out,)

        def back(cotangents: tuple[Any, ...]) -> dict[str, Any]:
            weights = list(cotangents)
            if self.output is not None:
                weights = [np.zeros_like(o) for o in found]
                weights[self.output] = cotangents[0]
            weight = type(out)(weights) if isinstance(out, tuple | list) else weights[0]
            gradients = by_name(self.fn.pull(None, weight, args, kwargs), call, _is_floating)
            total: dict[str, Any] = dict.fromkeys(self.names)
            for name, array in zip(call.names, call.arrays):
                mine = next(n for n, a in zip(self.names, given) if a is array)
                g = gradients[name]
                total[mine] = g if total[mine] is None else total[mine] if g is None else total[mine] + g
            return total

        return (found if self.output is None else (found[self.output],)), back


def _is_floating(array: Any) -> bool:
    """Of an array of NumPy's kind, or of a tensor."""
    if hasattr(array, "is_floating_point"):
        return bool(array.is_floating_point())
    return bool(array.dtype.kind == "f" or array.dtype.name == "bfloat16")
