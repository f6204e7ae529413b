"""The engine as a subject: the op table's own autograd engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from ...core.errors import JUDGED, Unsupported
from ...core.graph import Constant, Graph
from ...namespaces.dtypes import numpy_dtype
from ...namespaces.layout import copy_layout
from ...trace import Traced
from ..base import Derived, Framework, Observation, Template
from ..customs import Custom, Draws, function_classes
from ..graphs import compiled, over_pairs
from ..tape import Tape
from ..values import mutated
from ..watching import Recorder, Sample, Script

TEMPLATE = Template(
    framework="engine",
    package="gradverify",
    imports=("import gradverify.engine as engine",),
    adapter=None,
    constant="engine.from_numpy(np.array({value}, dtype={dtype!r}))",
    body="""\
leaves = {name: engine.from_numpy(v).requires_grad_(name in wrt) for name, v in values.items()}
outputs = forward(*leaves.values())
pairs = [(out, engine.from_numpy(g)) for out, g in zip(outputs, cotangent) if out.requires_grad]
found = engine.autograd.grad(
    [out for out, _ in pairs], [leaves[n] for n in wrt], [g for _, g in pairs], allow_unused=True
)
got = {name: None if g is None else g.numpy() for name, g in zip(wrt, found)}
""",
)


class EngineFramework(Framework):
    """Runs graphs on `gradverify.engine`. Needs nothing but NumPy, so it is always available."""

    name = "engine"
    title = "the engine"
    roots = ("gradverify.engine",)
    template = TEMPLATE
    draws = Draws(("import gradverify.engine as engine",), "engine.tensor({values})")
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    negative_strides = True
    narrow_literals = True
    watches = "gradverify.engine"

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

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        import gradverify.engine as engine

        leaves = {n: engine.from_numpy(copy_layout(v)).requires_grad_(n in wrt) for n, v in values.items()}
        weights = [engine.from_numpy(copy_layout(g)) for g in cotangent]
        try:
            outs = function(*leaves.values())
        except Unsupported:
            raise
        except JUDGED as error:
            return Observation(raised=error, stage="forward")
        outs = outs if isinstance(outs, tuple) else (outs,)
        try:
            # An output that depends on no input has no graph: its gradient is undefined, not an error.
            reached = [(o, g) for o, g in zip(outs, weights) if o.requires_grad]
            grads: tuple[Any, ...] = (None,) * len(wrt)
            if reached:
                ends, seeds = zip(*reached)
                grads = engine.autograd.grad(ends, [leaves[n] for n in wrt], seeds, allow_unused=True)
        except JUDGED as error:
            return Observation(raised=error, stage="backward")
        return Observation(
            outputs=tuple(np.array(o.detach().numpy()) for o in outs),
            gradients={n: None if g is None else np.array(g.numpy()) for n, g in zip(wrt, grads)},
            mutated=mutated(values, leaves.values(), cotangent, weights, lambda x: np.array(x.detach().numpy())),
        )

    def put(self, value: np.ndarray) -> Any:
        import gradverify.engine as engine

        return engine.from_numpy(copy_layout(value))

    def get(self, array: Any) -> np.ndarray:
        return np.array(array.detach().numpy())

    def watch(self, recorder: Recorder) -> AbstractContextManager[None]:
        from .watch import watching

        return watching(recorder)

    def customs_of(self, module: ModuleType) -> Iterable[Custom]:
        from ...engine.autograd.function import Function

        return function_classes(module, Function)

    def is_array(self, x: Any) -> bool:
        import gradverify.engine as engine

        return isinstance(x, engine.Tensor)

    def replace(self, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
        from .tracer import replaced

        return replaced(change, args)

    def trace(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, seed: int = 0,
        stop_detached: bool = False, confirm: bool = True, strict: bool = True,
    ) -> Traced:  # fmt: skip
        from .tracer import trace

        return trace(fn, args, kwargs, seed=seed, stop_detached=stop_detached, confirm=confirm, strict=strict)

    def poisoned(self) -> AbstractContextManager[None]:
        if type(self) is not EngineFramework and self.name != EngineFramework.name:
            return super().poisoned()
        from .memory import poisoned

        return poisoned()

    def script(self, sample: Sample) -> Script | None:
        from .scripts import script

        return script(sample)

    def lift_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Derived:
        import gradverify.engine as engine

        names = list(values)

        def pull(*arrays: Any) -> Any:
            given = {n: a.requires_grad_() if n in wrt else a for n, a in zip(names, arrays)}
            outputs = zip(function(*given.values()), arrays[len(names) :])
            ends, seeds = zip(*((o, g) for o, g in outputs if o.requires_grad))
            found = engine.autograd.grad(ends, [given[n] for n in wrt], seeds, create_graph=True, allow_unused=True)
            return tuple(g for g in found if g is not None)

        args = [engine.from_numpy(np.array(v)).requires_grad_(n in wrt) for n, v in values.items()]
        return pull, (*args, *(engine.from_numpy(np.array(g)).requires_grad_() for g in cotangent))


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
