"""tinygrad: functions of its tensors through Tensor.gradient, on the device that it runs on by default.

(For its own ops, see examples/adapters/tinygrad.py.)
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.errors import JUDGED, Unsupported
from ...core.graph import Graph
from ...trace import Traced
from ..base import Framework, Observation
from ..values import mutated


class TinygradFramework(Framework):
    """`function` is one of tensors that returns a tuple of tensors."""

    name = "tinygrad"
    roots = ("tinygrad",)
    compiles_each_shape = True
    """Or, without a compiler, emulates the kernels entry by entry."""

    dtypes: tuple[str, ...] = ("float16", "float32", "float64")

    def unavailable(self) -> str | None:
        return None if importlib.util.find_spec("tinygrad") else "tinygrad is not installed: pip install tinygrad"

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        raise Unsupported("the adapter for tinygrad judges functions, and runs no graphs")

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        from tinygrad import Tensor

        given = {n: Tensor(np.array(v, order="C")) for n, v in values.items()}
        weights = [Tensor(np.array(g, order="C")) for g in cotangent]
        stage = "forward"
        try:
            outputs = tuple(function(*given.values()))
            lazy: list[Any] = []
            if wrt:
                # The gradient of a weighted sum: its own cotangents are the weights, untouched. Before anything is
                # computed, since that cuts the graph where it leaves buffers.
                stage = "backward"
                total = sum(((o * g).sum() for o, g in zip(outputs, weights)), Tensor(0.0))
                lazy = total.gradient(*(given[n] for n in wrt))
            stage = "forward"
            outs = tuple(_get(o) for o in outputs)
            stage = "backward"
            gradients = [_get(g) for g in lazy]
        except Unsupported:
            raise
        except JUDGED as e:
            return Observation(raised=e, stage=stage)
        return Observation(
            outputs=outs,
            gradients=dict(zip(wrt, gradients)),
            mutated=mutated(values, given.values(), cotangent, weights, _get),
        )

    def put(self, value: np.ndarray) -> Any:
        from tinygrad import Tensor

        return Tensor(np.array(value, order="C"))

    def get(self, array: Any) -> np.ndarray:
        return _get(array)

    def is_array(self, x: Any) -> bool:
        from tinygrad import Tensor

        return isinstance(x, Tensor)

    def replace(self, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
        from .tracer import replaced

        return replaced(change, args)

    def trace(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, seed: int = 0,
        stop_detached: bool = False, confirm: bool = True, strict: bool = True,
    ) -> Traced:  # fmt: skip
        from .tracer import trace

        return trace(fn, args, kwargs, seed=seed, stop_detached=stop_detached, confirm=confirm, strict=strict)


def _get(t: Any) -> np.ndarray:
    """Return a tensor that lies on a device: a folded constant, which has none, is added to a zero."""
    from tinygrad import Tensor

    if not t.is_floating_point():
        return np.array(t.numpy())
    zero = Tensor([0.0], dtype=t.dtype).contiguous().realize().reshape(())
    # -0.0 + 0.0 is 0.0, which is no difference that a gradient shows.
    return np.array((t.detach() + zero).numpy())
