"""JAX as a subject: its own ops and rules through jax.vjp, with 64-bit types enabled for the call alone.

A graph runs as one compiled program, as JAX's users run theirs (and three times faster, since each op by itself would
be compiled too); a user's own callable runs as it is. The ops are in `bindings.jax`, the formulas that are known to lose
digits in `forms.jax`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from ...core.errors import JUDGED, Unsupported
from ...core.graph import Constant, Graph
from ...namespaces.dtypes import numpy_dtype
from ...trace import Traced
from ..base import Call, Derived, Form, Framework, HolomorphicForm, Observation, Pushed, Template
from ..customs import Custom, Draws, parameters
from ..forms import COMPLEX
from ..graphs import Binding, compiled, over_pairs
from ..values import argnums, restricted
from ..watching import Recorder
from . import casting, derivatives
from .bindings import bindings
from .forms import FORMS, PARTIAL_SUMS

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
        return self._vjp(function if isinstance(function, _Program) else _Pullback(function), values, wrt, cotangent)

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
        call = _Compiled(function) if mode == JITTED else _Batch(function)
        return self._vjp(call, values, wrt, cotangent)

    def _vjp(
        self,
        call: _Pullback,
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        import jax

        theirs = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
        doubles = any(v.dtype.name in ("float64", "complex128") for v in (*values.values(), *cotangent))
        with jax.enable_x64(True), jax.default_device(self._device()):
            given = [self.put(v) for v in values.values()], argnums(values, wrt), [self.put(g) for g in cotangent]
            try:
                try:
                    outputs, gradients = call.pull(*given)
                except TypeError:
                    # x64 is our choice, not the caller's: code that counts in int32 may only run without it. Where the
                    # caller has it on, or there are doubles, which are float32 without it, the error is the function's.
                    if theirs or doubles:
                        raise
                    with jax.enable_x64(False):
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
        """A JAX array of its own memory: device_put may alias an aligned NumPy array on the CPU."""
        import jax

        return jax.device_put(np.array(value), self._device())

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

        return trace(fn, args, kwargs, seed=seed, stop_detached=stop_detached, confirm=confirm, strict=strict)

    def drops_outputs(self, function: Callable[..., Any], values: Mapping[str, np.ndarray]) -> bool:
        import jax

        with jax.enable_x64(True), jax.default_device(self._device()):
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
            yield
        finally:
            for name, value in before.items():
                if jax.config.values.get(name) != value:
                    jax.config.update(name, value)

    def run_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray],
        batched: bool,
    ) -> Pushed:  # fmt: skip
        return derivatives.run_jvp(function, values, tangents, batched)

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
        with jax.enable_x64(True):
            return self.trace(pull, args, {}, strict=False, confirm=False)

    def lift_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
    ) -> Derived:
        return derivatives.lift_jvp(function, values, tangents)


class _Pullback:
    """A function of arrays and its VJP; `stage` is where it was when it raised."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.stage = function, "forward"

    def pulled(self, back: Callable[..., Any], cotangent: Any) -> Any:
        return back(cotangent)

    def pull(self, leaves: list[Any], wrt: list[int], cotangent: list[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The outputs, and the gradients of the leaves `wrt`."""
        import jax

        self.stage = "forward"
        result, back = jax.vjp(restricted(self.function, leaves, wrt), *(leaves[k] for k in wrt))
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


_EXECUTABLES: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
"""What XLA compiled last, by the program in StableHLO, which has all dtypes, and its signature. It is most of the time of
a check, and a function is checked at several points."""

EXECUTABLES = 128


class _Compiled(_Program):
    """A function, compiled for one call; by what was compiled before, where that was the same program."""

    def pull(self, leaves: list[Any], wrt: list[int], cotangent: list[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        import jax

        # With arguments that it does not use: what is left out is not in the text.
        lowered = jax.jit(super(_Program, self).pull, static_argnums=1, keep_unused=True).lower(
            leaves, tuple(wrt), cotangent
        )
        text = lowered.as_text()
        if "callback" in text:  # by the address of a function of Python, which another one may get
            return lowered.compile()(leaves, cotangent)
        devices = tuple(str(x.device) for x in (*leaves, *cotangent))
        digest = hashlib.blake2b(text.encode()).digest()  # a text has the arrays that a function closes over
        key = digest, str(lowered.in_tree), str(lowered.out_tree), devices
        if key not in _EXECUTABLES:
            _EXECUTABLES[key] = lowered.compile()
            while len(_EXECUTABLES) > EXECUTABLES:
                _EXECUTABLES.popitem(last=False)
        _EXECUTABLES.move_to_end(key)
        return _EXECUTABLES[key](leaves, cotangent)
