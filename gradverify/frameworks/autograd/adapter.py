"""HIPS autograd: functions of `autograd.numpy` through make_vjp. (For its own ops, see examples/adapters/autograd.py.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...core.errors import JUDGED, NoRule, Unsupported
from ...core.graph import Graph
from ...trace import Traced
from ..base import Derived, Framework, Observation, Pushed
from ..numpy.adapter import NumpyFramework
from ..values import argnums, mutated, restricted


class AutogradFramework(NumpyFramework):
    """`function` is one of arrays that returns a tuple of arrays; what it returns unboxed has no gradient."""

    name = "autograd"
    title = "HIPS autograd"
    by_hand = False
    dtypes: tuple[str, ...] = ("float16", "float32", "float64")
    conjugates = True  # vjp of np.imag: g -> -1j*g

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        raise Unsupported("the adapter for HIPS autograd judges functions, and runs no graphs")

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
        stage = "forward"
        try:
            if wrt:
                outputs, back = pullback(function, list(given.values()), argnums(given, wrt))
                stage = "backward"
                found = back(weights)
            else:
                outputs, found = function(*given.values()), []
        except Unsupported:
            raise
        except JUDGED as e:
            return Observation(raised=e, stage=stage)
        return Observation(
            outputs=tuple(self.get(o) for o in outputs),
            gradients={n: self._gradient(g, values[n]) for n, g in zip(wrt, found)},
            mutated=mutated(values, given.values(), cotangent, weights, self.get),
        )

    def trace(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, seed: int = 0,
        stop_detached: bool = False, confirm: bool = True, strict: bool = True,
    ) -> Traced:  # fmt: skip
        from .tracer import trace

        return trace(fn, args, kwargs, seed=seed, confirm=confirm, strict=strict)

    def run_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray],
        batched: bool,
    ) -> Pushed:  # fmt: skip
        if batched:
            return super().run_jvp(function, values, tangents, batched)
        primals, active = [np.array(v) for v in values.values()], argnums(values, tangents)
        outs, result = pushed(function, primals, active, [np.array(t) for t in tangents.values()])
        return tuple(np.array(o) for o in outs), tuple(np.array(r) for r in result)

    def owns(self, cls: type) -> bool:
        """Its functions take NumPy's own arrays: what they refer to tells."""
        return False

    def keeps_results(self, custom: bool) -> bool:
        return False

    def trace_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Traced:
        return Framework.trace_vjp(self, function, values, wrt, cotangent)

    def lift_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Derived:
        at = argnums(values, wrt)

        def pull(*arrays: Any) -> Any:
            _, back = pullback(function, list(arrays[: len(values)]), at)
            with no_rule():
                return tuple(back(list(arrays[len(values) :])))

        return pull, tuple(np.array(v) for v in (*values.values(), *cotangent))

    def lift_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
    ) -> Derived:
        at = argnums(values, tangents)

        def push(*arrays: Any) -> Any:
            return pushed(function, list(arrays[: len(values)]), at, list(arrays[len(values) :]))[1]

        return push, tuple(np.array(v) for v in (*values.values(), *tangents.values()))


def pushed(
    function: Callable[..., Any], arrays: list[Any], active: list[int], tangents: list[Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The outputs, and their tangents along those of the `active` arrays."""
    from autograd import make_jvp
    from autograd.builtins import tuple as boxed

    of_active, at = restricted(function, arrays, active), tuple(arrays[k] for k in active)
    push = make_jvp(lambda given: boxed(tuple(of_active(*given))))(at)
    with no_rule("no forward mode: "):
        outs, result = push(boxed(tuple(tangents)))
    return tuple(outs), tuple(result)


@contextmanager
def no_rule(what: str = "") -> Iterator[None]:
    """Raise NoRule where autograd says that it has no derivative: "JVP of fft wrt argnums (0,) not defined"."""
    try:
        yield
    except NotImplementedError as e:
        raise NoRule(f"{what}{e}") from e


def pullback(
    function: Callable[..., Any], arrays: list[Any], active: list[int]
) -> tuple[tuple[Any, ...], Callable[[list[Any]], list[Any]]]:
    """The outputs, and the function from their cotangents to the gradients of the `active` arrays."""
    from autograd import make_vjp
    from autograd.builtins import tuple as boxed

    of_active = restricted(function, arrays, active)
    back, outputs = make_vjp(lambda chosen: boxed(tuple(of_active(*chosen))))(tuple(arrays[k] for k in active))
    return tuple(outputs), lambda weights: list(back(boxed(tuple(weights))))
