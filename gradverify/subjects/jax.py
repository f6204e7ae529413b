"""JAX as a subject: its own ops and rules through jax.vjp, op by op, with 64-bit types enabled for the call alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from ..core.errors import Unsupported
from ..core.graph import Constant, Graph
from ..namespaces.numpy import native_index
from .base import Binding, Observation, compiled, lookup


@cache
def bindings() -> Callable[[str], Callable[..., Any]]:
    """Op name -> JAX's function of the same mathematics, called as op(*args, **params)."""
    import jax
    import jax.numpy as jnp
    import jax.scipy.special as special

    return lookup(_table(jax, jnp, special), jnp, jax.nn, special, jnp.linalg, jax.lax)


def _table(jax: Any, jnp: Any, special: Any) -> Binding:
    return {
        "cumulative_sum": lambda x, axis: jnp.cumsum(x, axis=axis),
        "cumulative_prod": lambda x, axis: jnp.cumprod(x, axis=axis),
    }


class JaxSubject:
    """Eager JAX (each primitive compiled on its own) through jax.vjp."""

    name = "jax"
    dtypes: tuple[str, ...] = ("float32", "float64")

    def __init__(self, device: str = "cpu", table: Binding | None = None) -> None:
        """`table` replaces single ops, op name -> function of JAX arrays."""
        self.device, self.table = device, dict(table or {})

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("jax") is None:
            return "JAX is not installed: pip install gradverify[jax]"
        try:
            self._device()
        except RuntimeError as e:
            return f"JAX sees no {self.device} device: {e}"
        return None

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        import jax
        import jax.numpy as jnp

        if dtype not in self.dtypes:
            raise Unsupported(f"the adapter for JAX does not run {dtype}")
        dtypes = {"float": dtype, "int": "int64", "bool": "bool"}

        def constant(node: Constant) -> Any:
            return jnp.asarray(np.asarray(node.value, dtype=dtypes[node.kind]).reshape(node.shape))

        run = compiled(graph, lambda op: self.table.get(op) or bindings()(op), constant)

        def function(*arrays: Any) -> Any:
            with jax.enable_x64(True):
                return run(*arrays)

        return function

    def vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        import jax

        with jax.enable_x64(True), jax.default_device(self._device()):
            leaves = {name: self._put(v) for name, v in values.items()}

            def of_wrt(*active: Any) -> Any:
                return function(*(leaves | dict(zip(wrt, active))).values())

            try:
                result, pull = jax.vjp(of_wrt, *(leaves[n] for n in wrt))
            except Unsupported:
                raise
            except Exception as e:
                return Observation(raised=e, stage="forward")
            outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
            given = [self._put(g) for g in cotangent]
            try:
                gradients = pull(type(result)(given) if isinstance(result, tuple | list) else given[0])
            except Exception as e:
                return Observation(raised=e, stage="backward")
            labelled = {f"out{i}": o for i, o in enumerate(outputs)} | {f"d{n}": g for n, g in zip(wrt, gradients)}
            return Observation(
                outputs=tuple(np.array(o) for o in outputs),
                gradients={n: np.array(g) for n, g in zip(wrt, gradients)},
                devices={k: str(a.device) for k, a in labelled.items() if a.device.platform != self._device().platform},
            )

    def _device(self) -> Any:
        import jax

        return jax.devices("gpu" if self.device.startswith("cuda") else self.device)[0]

    def _put(self, value: np.ndarray) -> Any:
        """A JAX array of its own memory: device_put may alias an aligned NumPy array on the CPU."""
        import jax

        return jax.device_put(np.array(value), self._device())
