"""MLX: functions of its arrays through mx.vjp, on the CPU, where float64 is."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.errors import JUDGED, Unsupported
from ...core.graph import Graph
from ...trace import Traced
from ..base import Derived, Framework, Observation, Pushed
from ..values import argnums, mutated, restricted


class MlxFramework(Framework):
    """`function` is one of arrays that returns a tuple of arrays."""

    name = "mlx"
    title = "MLX"
    roots = ("mlx",)
    clamps_indices = True
    narrow_literals = True
    """It writes out of bounds."""

    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")

    def unavailable(self) -> str | None:
        return None if importlib.util.find_spec("mlx") else "MLX is not installed: pip install mlx"

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        raise Unsupported("the adapter for MLX judges functions, and runs no graphs")

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        import mlx.core as mx

        at = argnums(values, wrt)
        stage = "forward"
        with mx.stream(mx.cpu):
            given = [_put(v) for v in values.values()]
            weights = [_put(g) for g in cotangent]
            of_wrt = restricted(function, given, at)
            try:
                outputs = of_wrt(*(given[k] for k in at))
                mx.eval(outputs)
                stage = "backward"
                gradients = mx.vjp(of_wrt, [given[k] for k in at], weights)[1] if wrt else []
                mx.eval(gradients)
            except Unsupported:
                raise
            except JUDGED as e:
                return Observation(raised=e, stage=stage)
            return Observation(
                outputs=tuple(_get(o) for o in outputs),
                gradients={n: _get(g) for n, g in zip(wrt, gradients)},
                mutated=mutated(values, given, cotangent, weights, _get),
            )

    def put(self, value: np.ndarray) -> Any:
        return _put(value)

    def get(self, array: Any) -> np.ndarray:
        return _get(array)

    def is_array(self, x: Any) -> bool:
        import mlx.core as mx

        return isinstance(x, mx.array)

    def replace(self, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
        from .tracer import replaced

        return replaced(change, args)

    def trace(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, seed: int = 0,
        stop_detached: bool = False, confirm: bool = True, strict: bool = True,
    ) -> Traced:  # fmt: skip
        from .tracer import trace

        return trace(fn, args, kwargs, seed=seed, stop_detached=stop_detached, confirm=confirm, strict=strict)

    def run_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray],
        batched: bool,
    ) -> Pushed:  # fmt: skip
        import mlx.core as mx

        from .tracer import made, value

        with mx.stream(mx.cpu):
            primals, active = [made(np.array(v)) for v in values.values()], argnums(values, tangents)
            of_wrt, at = restricted(function, primals, active), [primals[k] for k in active]
            along = [made(np.array(t)) for t in tangents.values()]
            outs, result = mx.jvp(of_wrt, at, along)
            if batched:
                many = [mx.stack([t, -t, 2 * t]) for t in along]
                result = [r[0] for r in mx.vmap(lambda *a: tuple(mx.jvp(of_wrt, at, list(a))[1]))(*many)]
            return tuple(value(o) for o in outs), tuple(value(r) for r in result)

    def lift_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Derived:
        import mlx.core as mx

        from .tracer import made

        at = argnums(values, wrt)

        def pull(*arrays: Any) -> Any:
            given, cotangents = arrays[: len(values)], arrays[len(values) :]
            return tuple(mx.vjp(restricted(function, given, at), [given[k] for k in at], list(cotangents))[1])

        return pull, tuple(made(np.array(v)) for v in (*values.values(), *cotangent))


def _put(value: np.ndarray) -> Any:
    import mlx.core as mx

    if str(value.dtype) == "bfloat16":
        return mx.array(np.asarray(value, dtype=np.float32)).astype(mx.bfloat16)
    # On its own, mx.array takes doubles for single precision.
    return mx.array(np.array(value, order="C"), dtype=getattr(mx, str(value.dtype).replace("bool", "bool_")))


def _get(array: Any) -> np.ndarray:
    import mlx.core as mx

    if array.dtype == mx.bfloat16:
        from ...namespaces.dtypes import numpy_dtype

        return np.array(array.astype(mx.float32)).astype(numpy_dtype("bfloat16", "float"))
    return np.array(array)
