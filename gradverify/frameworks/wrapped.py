"""An adapter around another one: everything that is not overridden is the inner one's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from ..core.graph import Graph
from ..trace import Traced
from ..trace.value import Launches, OtherRun
from .base import Call, Derived, Framework, Observation, Programs, Pushed
from .customs import Custom, Draws
from .tape import Tape
from .watching import Definition, Recorder, Sample, Script


class Wrapped(Framework):
    """The framework `inner`, of which a subclass changes some abilities.

    `tests/frameworks/test_wrapped.py` goes over the public members of Framework and asks that each is forwarded here.
    """

    def __init__(self, inner: Framework) -> None:
        self.inner = inner
        self.name, self.dtypes, self.device = inner.name, inner.dtypes, inner.device
        self.pull_modes, self.conjugates, self.roots = inner.pull_modes, inner.conjugates, inner.roots
        self.compiler, self.forms, self.partial_sums = inner.compiler, inner.forms, inner.partial_sums
        self.complex_forms = inner.complex_forms
        self.negative_strides, self.clamps_indices = inner.negative_strides, inner.clamps_indices
        self.has_strides, self.compiles_calls = inner.has_strides, inner.compiles_calls
        self.narrow_literals, self.watches = inner.narrow_literals, inner.watches
        self.compiles_each_shape, self.by_hand, self.template = (
            inner.compiles_each_shape,
            inner.by_hand,
            inner.template,
        )

    @property
    def title(self) -> str:
        return self.inner.title

    def unavailable(self) -> str | None:
        return self.inner.unavailable()

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        return self.inner.function(graph, dtype)

    def with_vjp(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        arguments: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]],
        names: tuple[str, ...],
    ) -> Callable[..., Any]:
        return self.inner.with_vjp(forward, backward, arguments, names)

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        return self.inner.run_vjp(function, values, wrt, cotangent)

    def run_vjp_by(
        self,
        mode: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        return self.inner.run_vjp_by(mode, function, values, wrt, cotangent)

    def reusing(self, programs: Programs) -> AbstractContextManager[None]:
        return self.inner.reusing(programs)

    def without_hooks(self) -> AbstractContextManager[list[str]]:
        return self.inner.without_hooks()

    def kept_modes(self, function: Callable[..., Any]) -> AbstractContextManager[None]:
        return self.inner.kept_modes(function)

    def trying(self) -> AbstractContextManager[None]:
        return self.inner.trying()

    def run_jvp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        tangents: Mapping[str, np.ndarray],
        batched: bool,
    ) -> Pushed:
        return self.inner.run_jvp(function, values, tangents, batched)

    def lift_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Derived:
        return self.inner.lift_vjp(function, values, wrt, cotangent)

    def trace_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Traced:
        return self.inner.trace_vjp(function, values, wrt, cotangent)

    def operations(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> tuple[Any, ...] | None:
        return self.inner.operations(function, values, wrt, cotangent)

    def lift_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
    ) -> Derived:
        return self.inner.lift_jvp(function, values, tangents)

    def tape(self) -> Tape:
        return self.inner.tape()

    def pairs(self, function: Callable[..., Any], graph: Graph) -> Callable[..., Any]:
        return self.inner.pairs(function, graph)

    def conjugated_lazily(self, function: Callable[..., Any]) -> Callable[..., Any] | None:
        return self.inner.conjugated_lazily(function)

    def owns(self, cls: type) -> bool:
        return self.inner.owns(cls)

    def is_array(self, x: Any) -> bool:
        return self.inner.is_array(x)

    def put(self, value: np.ndarray) -> Any:
        return self.inner.put(value)

    def get(self, array: Any) -> np.ndarray:
        return self.inner.get(array)

    def replace(self, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.inner.replace(change, args)

    def cast(self, call: Call, dtype: str) -> Call:
        return self.inner.cast(call, dtype)

    def enabling(self, dtype: str | None) -> AbstractContextManager[Any]:
        return self.inner.enabling(dtype)

    def parameter(self, value: np.ndarray, dtype: str) -> Any:
        return self.inner.parameter(value, dtype)

    def dense(self, call: Call) -> tuple[Call, Callable[..., Any]] | None:
        return self.inner.dense(call)

    def dense_result(self, call: Call) -> Call | None:
        return self.inner.dense_result(call)

    def densified(self, fn: Callable[..., Any], like: Call) -> Callable[..., Any]:
        return self.inner.densified(fn, like)

    def trace(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        seed: int = 0,
        stop_detached: bool = False,
        confirm: bool = True,
        strict: bool = True,
    ) -> Traced:
        return self.inner.trace(
            fn, args, kwargs, seed=seed, stop_detached=stop_detached, confirm=confirm, strict=strict
        )

    def compile(self, fn: Callable[..., Any]) -> Callable[..., Any] | None:
        return self.inner.compile(fn)

    def asks_if_compiling(self) -> AbstractContextManager[Callable[[], bool]]:
        return self.inner.asks_if_compiling()

    def shared(
        self, fn: Callable[..., Any], args: tuple[Any, ...], fits: Callable[[Any, Any], bool]
    ) -> Callable[..., Any] | None:
        return self.inner.shared(fn, args, fits)

    def keeps_results(self, custom: bool) -> bool:
        return self.inner.keeps_results(custom)

    def poisoned(self) -> AbstractContextManager[None]:
        return self.inner.poisoned()

    def other_runs(self, launches: Launches) -> Sequence[OtherRun]:
        return self.inner.other_runs(launches)

    def drops_outputs(self, function: Callable[..., Any], values: Mapping[str, np.ndarray]) -> bool:
        return self.inner.drops_outputs(function, values)

    def watch(self, recorder: Recorder) -> AbstractContextManager[None]:
        return self.inner.watch(recorder)

    def undisturbed(self) -> AbstractContextManager[None]:
        return self.inner.undisturbed()

    def custom_definitions(self) -> Iterable[Definition]:
        return self.inner.custom_definitions()

    @property
    def draws(self) -> Draws | None:  # type: ignore[override]
        return self.inner.draws

    def customs_of(self, module: ModuleType) -> Iterable[Custom]:
        return self.inner.customs_of(module)

    def script(self, sample: Sample) -> Script | None:
        return self.inner.script(sample)

    def custom_nodes(self, roots: Any) -> list[Any]:
        return self.inner.custom_nodes(roots)
