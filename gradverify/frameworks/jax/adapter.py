"""JAX as a subject: its own ops and rules through jax.vjp, with 64-bit types enabled for the call alone.

A graph runs as one compiled program, as JAX's users run theirs (and three times faster, since each op by itself would
be compiled too). A user's own callable runs as it is at the given point; where `reusing` allows it, by a program that is
compiled once for its shapes (`programs`). The ops are in `bindings.jax`, the formulas that are known to lose
digits in `forms.jax`.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from ...core.errors import JUDGED, Unsupported
from ...core.graph import Constant, Graph
from ...namespaces.dtypes import numpy_dtype
from ...trace import Traced
from ..base import Call, Derived, Form, Framework, HolomorphicForm, Observation, Programs, Pushed, Template
from ..customs import Custom, Draws, parameters
from ..forms import COMPLEX
from ..graphs import Binding, compiled, over_pairs
from ..values import argnums, restricted
from ..watching import Recorder
from . import casting, derivatives
from .bindings import bindings
from .forms import FORMS, PARTIAL_SUMS
from .programs import NoProgram, Pullback, Store, caches_bounded
from .programs import compiled as compiled_program

LACKING = re.compile(
    r"dtype=(float16|bfloat16) is not supported|Reverse-mode differentiation does not work|gradient with respect to .* not"
    " supported"
)
"""What JAX says where there is no derivative to judge and it is no NotImplementedError: a function without a 16-bit form
(jax.scipy.special.ndtr), a while loop in reverse, the first two arguments of betainc."""


JITTED = "under jax.jit"
BATCHED = "a batch of cotangents (jax.vmap)"


TEMPLATE = Template(
    framework="jax",
    package="jax",
    imports=("import jax", "import jax.numpy as jnp"),
    adapter="gradverify.frameworks.jax.bindings",
    constant="jnp.asarray(np.asarray({value}, dtype={dtype!r}).reshape({shape}))",
    body="""\
jax.config.update("jax_enable_x64", True)
leaves = {name: jnp.asarray(v) for name, v in values.items()}
outputs, pull = jax.vjp(
    lambda *active: forward(*(leaves | dict(zip(wrt, active))).values()), *(leaves[n] for n in wrt)
)
got = {name: np.asarray(g) for name, g in zip(wrt, pull([jnp.asarray(g) for g in cotangent]))}
""",
)


class JaxFramework(Framework):
    """JAX through jax.vjp."""

    name = "jax"
    title = "JAX"
    roots = ("jax", "jaxlib")
    watches = "jax"
    template = TEMPLATE
    draws = Draws(("import jax.numpy as jnp",), "jnp.asarray({values})")
    conjugates = True
    clamps_indices = True
    narrow_literals = True
    """Their gradient is dropped."""

    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    pull_modes = (JITTED, BATCHED)

    def __init__(self, device: str = "cpu", table: Binding | None = None) -> None:
        """`table` replaces single ops, op name -> function of JAX arrays: to judge one's own under an op's name."""
        self.device, self.table = device, dict(table or {})
        self.forms: Mapping[str, Form] = {op: form for op, form in FORMS.items() if op not in self.table}
        self.complex_forms: Mapping[str, HolomorphicForm] = {
            op: form for op, form in COMPLEX.items() if op not in self.table
        }
        self.partial_sums = PARTIAL_SUMS if device == "cpu" else ""

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("jax") is None:
            return "JAX is not installed: pip install gradverify[jax]"
        try:
            self._device()
        except RuntimeError as e:
            return f"JAX sees no {self.device} device: {e}"
        return None

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        import jax.numpy as jnp

        if dtype not in self.dtypes:
            raise Unsupported(f"the adapter for JAX does not run {dtype}")

        def constant(node: Constant) -> Any:
            return jnp.asarray(np.asarray(node.value, dtype=numpy_dtype(dtype, node.kind)).reshape(node.shape))

        return _Program(compiled(graph, self._bind, constant))

    def pairs(self, function: Callable[..., Any], graph: Graph) -> Callable[..., Any]:
        """A function of complex arrays as one of their parts; see `base.over_pairs`."""
        return over_pairs(function, graph, self._bind)

    def _bind(self, op: str) -> Callable[..., Any]:
        return self.table.get(op) or bindings()(op)

    def watch(self, recorder: Recorder) -> AbstractContextManager[None]:
        from .watch import watching

        return watching(recorder)

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        if isinstance(function, _Program):
            return self._vjp(function, values, wrt, cotangent)
        call = _Pullback(function)
        return self._vjp(_Stored(call, _used.store, values.values()) if _used.store else call, values, wrt, cotangent)

    compiles_calls = True
    has_strides = False

    @contextmanager
    def reusing(self, programs: Programs) -> Iterator[None]:
        """By one program for each shape; see `programs`."""
        if programs.held is None:
            programs.held = Store(sparing=programs.sparing)
        before, _used.store = _used.store, programs.held
        try:
            yield
        finally:
            _used.store = before

    def run_vjp_by(
        self,
        mode: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        """Compiled as a whole, forward and backward pass, as a training step is: XLA may fuse, reorder and drop. Or the
        pullback alone over a batch."""
        store = _used.store
        if store is None or store.sparing:
            return self._vjp(_Compiled(function) if mode == JITTED else _Batch(function), values, wrt, cotangent)
        call = _Stored(_Pullback(function) if mode == JITTED else _Batch(function), store, values.values())
        return self._vjp(call, values, wrt, cotangent)

    def _vjp(
        self,
        call: _Pullback,
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        import jax

        # Graphs of our own have int64 indices; a user's function runs as its user has it, so that what JAX compiled for it
        # in that mode serves, and code that counts in int32 runs.
        graph = isinstance(call.function, _Program) or isinstance(call, _Program)
        with (
            jax.enable_x64(graph or casting.needs_x64(*values.values(), *cotangent)),
            jax.default_device(self._device()),
        ):
            given = [self.put(v) for v in values.values()], argnums(values, wrt), [self.put(g) for g in cotangent]
            try:
                outputs, gradients = call.pull(*given)
            except Unsupported:
                raise
            except JUDGED as e:
                lacking = Unsupported(str(e).splitlines()[0]) if LACKING.search(str(e)) else None
                return Observation(raised=lacking or e, stage=call.stage)
            arrays = {f"out{i}": o for i, o in enumerate(outputs)} | {f"d{n}": d for n, d in zip(wrt, gradients)}
            wanted = self._device().platform
            return Observation(
                outputs=tuple(np.array(o) for o in outputs),
                gradients={n: np.array(d) for n, d in zip(wrt, gradients)},
                devices={label: str(a.device) for label, a in arrays.items() if a.device.platform != wanted},
            )

    def _device(self) -> Any:
        import jax

        return jax.devices("gpu" if self.device.startswith("cuda") else self.device)[0]

    def put(self, value: np.ndarray) -> Any:
        """A JAX array of its own memory: device_put may alias an aligned NumPy array on the CPU.

        On the device that is JAX's default it is not committed to it, as those of users are: what was compiled for theirs
        serves.
        """
        import jax

        default = jax.config.jax_default_device or jax.devices()[0]  # type: ignore[attr-defined]
        return jax.device_put(np.array(value), *([] if default == self._device() else [self._device()]))

    def get(self, array: Any) -> np.ndarray:
        return np.array(array)

    def customs_of(self, module: ModuleType) -> Iterable[Custom]:
        if "jax" not in sys.modules:
            return ()
        import jax

        kinds = (jax.custom_vjp, jax.custom_jvp)
        return [
            Custom(name, f, "", parameters(f.fun), getattr(getattr(f.fun, "__code__", None), "co_firstlineno", 0))
            for name, f in vars(module).items()
            if isinstance(f, kinds) and f.fun.__module__ == module.__name__
        ]

    def is_array(self, x: Any) -> bool:
        import jax

        return isinstance(x, jax.Array)

    def replace(self, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
        from .tracer import replaced

        return replaced(change, args)

    def cast(self, call: Call, dtype: str) -> Call:
        return casting.cast(call, dtype)

    def enabling(self, dtype: str | None) -> AbstractContextManager[Any]:
        return casting.enabling(dtype)

    def parameter(self, value: np.ndarray, dtype: str) -> Any:
        import jax.numpy as jnp

        return jnp.asarray(value, dtype=dtype)

    def trace(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, seed: int = 0,
        stop_detached: bool = False, confirm: bool = True, strict: bool = True,
    ) -> Traced:  # fmt: skip
        from .tracer import trace

        return trace(
            fn, args, kwargs, seed=seed, stop_detached=stop_detached, confirm=confirm, strict=strict,
            forward=self._forward if _used.store else None,
        )  # fmt: skip

    def _forward(self, traced: Traced) -> Callable[..., Any]:
        """The traced function, by the program of its VJP, which the judge asks for next."""
        replaceable = [a for a in traced.arguments if a.role != "captured"]
        wrt = [k for k, a in enumerate(replaceable) if a.kind == "float"]
        outputs = [o for o in traced.outputs if o.position is not None]
        zeros = [np.zeros(o.shape, numpy_dtype(o.dtype)) for o in outputs]
        store = _used.store
        assert store is not None

        def forward(*arrays: Any) -> Any:
            try:
                return _Stored(_Pullback(traced.function), store).program(
                    list(arrays), wrt, [self.put(z) for z in zeros]
                )[0]
            except NoProgram:
                return traced.function(*arrays)

        return forward

    def drops_outputs(self, function: Callable[..., Any], values: Mapping[str, np.ndarray]) -> bool:
        import jax

        with jax.enable_x64(casting.needs_x64(*values.values())), jax.default_device(self._device()):
            try:
                made = jax.make_jaxpr(function)(*(self.put(v) for v in values.values()))
            except JUDGED:  # a function that branches on values has no jaxpr
                return False
            return derivatives.drops_outputs(made.jaxpr)

    @contextmanager
    def kept_modes(self, function: Callable[..., Any]) -> Iterator[None]:
        """Of all of `jax.config`."""
        import jax

        before = dict(jax.config.values)
        try:
            with caches_bounded():
                yield
        finally:
            for name, value in before.items():
                if jax.config.values.get(name) != value:
                    jax.config.update(name, value)

    @contextmanager
    def trying(self) -> Iterator[None]:
        """JAX takes its own frames out of every traceback, at each of its functions that an exception passes: that takes
        longer than a short function's trace."""
        import jax

        before = jax.config.values["jax_traceback_filtering"]
        jax.config.update("jax_traceback_filtering", "off")
        try:
            yield
        finally:
            jax.config.update("jax_traceback_filtering", before)

    def run_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray],
        batched: bool,
    ) -> Pushed:  # fmt: skip
        return derivatives.run_jvp(function, values, tangents, batched, _used.store)

    def lift_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Derived:
        return derivatives.lift_vjp(function, values, wrt, cotangent)

    def trace_vjp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Traced:  # fmt: skip
        """As everywhere, but not confirmed: a jaxpr is the function, and what it leaves out is opaque to its tracer."""
        import jax

        pull, args = self.lift_vjp(function, values, wrt, cotangent)
        with jax.enable_x64(casting.needs_x64(*values.values(), *cotangent)):
            return self.trace(pull, args, {}, strict=False, confirm=False)

    def lift_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
    ) -> Derived:
        return derivatives.lift_jvp(function, values, tangents)


class _Pullback:
    """A function of arrays and its VJP; `stage` is where it was when it raised."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.stage = function, "forward"

    def linearized(self, leaves: list[Any], wrt: list[int]) -> tuple[Any, Callable[..., Any]]:
        """The result and its pullback."""
        import jax

        return jax.vjp(restricted(self.function, leaves, wrt), *(leaves[k] for k in wrt))

    def pulled(self, back: Callable[..., Any], cotangent: Any) -> Any:
        return back(cotangent)

    def pull(self, leaves: list[Any], wrt: list[int], cotangent: list[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The outputs, and the gradients of the leaves `wrt`."""
        self.stage = "forward"
        result, back = self.linearized(leaves, wrt)
        self.stage = "backward"
        several = isinstance(result, tuple | list)
        gradients = self.pulled(back, type(result)(cotangent) if several else cotangent[0])
        return tuple(result) if several else (result,), gradients


class _Batch(_Pullback):
    """For a batch of g, -g and 2g: half of the last, which no scaling rounds."""

    def pulled(self, back: Callable[..., Any], cotangent: Any) -> Any:
        import jax

        batch = jax.tree_util.tree_map(lambda g: jax.numpy.stack([g, -g, 2 * g]), cotangent)
        return tuple(d[2] / 2 for d in jax.vmap(back)(batch))


class _Program(_Pullback):
    """A graph, compiled once for all its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        import jax

        super().__init__(function)
        self._jitted = jax.jit(super().pull, static_argnums=1)

    def __call__(self, *arrays: Any) -> Any:
        import jax

        with jax.enable_x64(True):
            return self.function(*arrays)

    def pull(self, leaves: list[Any], wrt: list[int], cotangent: list[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return self._jitted(leaves, tuple(wrt), cotangent)


class _Stored(_Pullback):
    """`call` at the point of these arrays, by the program that a check keeps of its function; where there is none as it is,
    with one forward pass for all cotangents at a point."""

    def __init__(self, call: _Pullback, store: Store, point: Iterable[np.ndarray] = ()) -> None:
        super().__init__(call.function)
        self.call, self.store, self.given = call, store, (call.function, *point)

    def linearized(self, leaves: list[Any], wrt: list[int]) -> tuple[Any, Callable[..., Any]]:
        last = self.store.pullback
        if last is None or not last.is_of(self.given, wrt):
            last = self.store.pullback = Pullback(self.given, wrt, self.call.linearized(leaves, wrt))
        return last.result

    def program(self, leaves: list[Any], wrt: list[int], cotangent: list[Any]) -> Any:
        """The outputs and the gradients by the program. Raises NoProgram."""

        def make(wrt: tuple[int, ...]) -> Callable[..., Any]:
            return lambda leaves, cotangent: self.call.pull(leaves, list(wrt), cotangent)

        return self.store.run(self.function, type(self.call).__name__, make, (leaves, cotangent), tuple(wrt))

    def pull(self, leaves: list[Any], wrt: list[int], cotangent: list[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        try:
            return self.program(leaves, wrt, cotangent)
        except NoProgram:
            return super().pull(leaves, wrt, cotangent)

    def pulled(self, back: Callable[..., Any], cotangent: Any) -> Any:
        return self.call.pulled(back, cotangent)


class _Compiled(_Pullback):
    """A function, compiled for one call; by what was compiled before, where that was the same program."""

    def pull(self, leaves: list[Any], wrt: list[int], cotangent: list[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        plain = super().pull
        program = compiled_program(lambda leaves, cotangent: plain(leaves, wrt, cotangent), (leaves, cotangent))
        return program(leaves, cotangent)


class _Used(threading.local):
    """The programs that calls in this thread may run."""

    store: Store | None = None


_used = _Used()
