"""The engine as a subject: the op table's own autograd engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.errors import Unsupported
from ...core.graph import Constant, Graph
from ...namespaces.dtypes import numpy_dtype
from ...namespaces.layout import copied
from ..base import Observation, compiled, mutated, over_pairs
from ..tape import Tape


class EngineSubject:
    """Runs graphs on `gradverify.engine`. Needs nothing but NumPy, so it is always available."""

    name = "engine"
    dtypes = ("float16", "bfloat16", "float32", "float64")
    negative_strides = True

    def unavailable(self) -> str | None:
        return None

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        import gradverify.engine as engine

        def constant(node: Constant) -> Any:
            return engine.from_numpy(np.array(node.value, dtype=numpy_dtype(dtype, node.kind)))

        return compiled(graph, _bind, constant)

    def tape(self) -> Tape:
        import gradverify.engine as engine

        return Tape(engine, lambda v: engine.from_numpy(np.array(v)), lambda x: np.array(x.detach().numpy()))

    def pairs(self, function: Callable[..., Any], graph: Graph) -> Callable[..., Any]:
        """A function of complex tensors as one of their parts; see `base.over_pairs`."""
        return over_pairs(function, graph, _bind)

    def vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        import gradverify.engine as engine

        leaves = {n: engine.from_numpy(copied(v)).requires_grad_(n in wrt) for n, v in values.items()}
        weights = [engine.from_numpy(copied(g)) for g in cotangent]
        try:
            outs = function(*leaves.values())
        except Unsupported:
            raise
        except Exception as error:
            return Observation(raised=error, stage="forward")
        outs = outs if isinstance(outs, tuple) else (outs,)
        try:
            # An output that depends on no input has no graph: its gradient is undefined, not an error.
            reached = [(o, g) for o, g in zip(outs, weights) if o.requires_grad]
            grads: tuple[Any, ...] = (None,) * len(wrt)
            if reached:
                ends, seeds = zip(*reached)
                grads = engine.autograd.grad(ends, [leaves[n] for n in wrt], seeds, allow_unused=True)
        except Exception as error:
            return Observation(raised=error, stage="backward")
        return Observation(
            outputs=tuple(np.array(o.detach().numpy()) for o in outs),
            gradients={n: None if g is None else np.array(g.numpy()) for n, g in zip(wrt, grads)},
            mutated=mutated(values, leaves.values(), cotangent, weights, lambda x: np.array(x.detach().numpy())),
        )


def _bind(op: str) -> Callable[..., Any]:
    import gradverify.engine as engine

    if op in ("fft", "ifft", "rfft", "irfft"):
        transform = getattr(engine.fft, op)
        return lambda z, n=None, axis=-1, norm="backward": transform(z, n, axis, norm)
    if op == "polar":
        return getattr(engine, op)
    try:
        return getattr(engine.ENGINE, op)
    except AttributeError:
        raise Unsupported(f"the engine has no op {op!r}") from None
