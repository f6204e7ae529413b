"""NumPy functions with a hand-written VJP: `check(fn, ..., vjp=...)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.errors import JUDGED, Unsupported
from ...core.graph import Graph
from ...namespaces.layout import copy_layout
from ...trace import Traced
from ...trace.value import HandWrittenFunction
from ..base import Framework, Observation
from ..values import mutated
from .handwritten import HandWritten, Named

BY_HAND = "{} has no gradients of its own: give check a function and its vjp"


class NumpyFramework(Framework):
    """Runs a forward and its backward on copies with the layout of the given arrays.

    `function` is one with a method `pull(*arrays) -> (outputs, back)`, `back(cotangents) -> {input: gradient}`. NumPy
    itself differentiates nothing, so there are no graphs to run.
    """

    name = "numpy"
    title = "NumPy"
    by_hand = True
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    negative_strides = True

    def unavailable(self) -> str | None:
        return None

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        raise Unsupported(BY_HAND.format(self.name))

    def put(self, value: np.ndarray) -> Any:
        """An array of its own memory: the same strides, expanded axes and negative ones included."""
        return copy_layout(value)

    def get(self, array: Any) -> np.ndarray:
        return np.array(array)

    def with_vjp(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        arguments: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]],
        names: tuple[str, ...],
    ) -> HandWrittenFunction:
        return Named(HandWritten(forward, backward), arguments, names, self.is_array)

    @np.errstate(all="ignore")  # at the points that the judge chooses, a warning is nobody's
    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        given = {n: self.put(np.asarray(v)) for n, v in values.items()}
        weights = [self.put(np.asarray(g)) for g in cotangent]
        try:
            if not isinstance(function, HandWrittenFunction):
                raise Unsupported(BY_HAND.format(self.name))
            outputs, back = function.pull(*given.values())
        except Unsupported:
            raise
        except JUDGED as e:
            return Observation(raised=e, stage="forward")
        outs = tuple(self.get(o) for o in outputs)  # the backward pass may write to them
        gradients: dict[str, np.ndarray | None] = {}
        if wrt:
            try:
                found = back(tuple(weights))
                gradients = {n: self._gradient(found[n], values[n]) for n in wrt}
            except JUDGED as e:
                return Observation(raised=e, stage="backward")
        changed = mutated(values, given.values(), cotangent, weights, self.get)
        return Observation(outputs=outs, gradients=gradients, mutated=changed)

    def owns(self, cls: type) -> bool:
        return any(t.__module__ == "numpy" and t.__name__ in ("ndarray", "generic") for t in cls.__mro__)

    def is_array(self, x: Any) -> bool:
        return isinstance(x, np.ndarray | np.generic)

    def replace(self, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
        from .tracer import replaced

        return replaced(change, args)

    def trace(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, seed: int = 0,
        stop_detached: bool = False, confirm: bool = True, strict: bool = True,
    ) -> Traced:  # fmt: skip
        from .tracer import trace

        return trace(fn, args, kwargs, seed=seed, confirm=confirm, strict=strict)

    def trace_vjp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Traced:  # fmt: skip
        if not isinstance(function, HandWrittenFunction):
            raise Unsupported(BY_HAND.format(self.name))

        def pull(*arrays: Any) -> tuple[Any, ...]:
            _, back = function.pull(*arrays[: len(values)])
            found = back(arrays[len(values) :])
            return tuple(found[n] for n in wrt if found[n] is not None)

        return self.trace(
            pull, tuple(self.put(np.asarray(v)) for v in (*values.values(), *cotangent)), {}, strict=False
        )

    def keeps_results(self, custom: bool) -> bool:
        """A workspace that all calls of a backward pass share."""
        return True

    def _gradient(self, found: Any, like: np.ndarray) -> np.ndarray | None:
        """A Python number has no dtype of its own, and takes that of its argument."""
        if found is None:
            return None
        return np.array(found, dtype=like.dtype) if isinstance(found, float | int) else self.get(found)
