"""What a framework is to gradverify: the abstract base of its adapter.

Every framework can be a *subject*: that is what a run, a spec file (`subjects:`) and a verdict call the framework that is
judged.

Five members are needed: `name`, `dtypes`, `unavailable`, `function`, `run_vjp`. Every other ability has a default, which
raises Unsupported with the reason or says that there is no such thing; nothing is found out by looking for attributes. An
adapter that wraps another one derives from `Wrapped`, which forwards all of them.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..core.case import Case
from ..core.errors import BadInput, NoRule, Unsupported
from ..core.graph import Graph
from ..core.op import Define, Vjp
from ..trace import Traced
from ..trace.calls import change_arrays
from ..trace.value import Launches, OtherRun
from .customs import Custom, Draws
from .opaque import trace_opaque
from .tape import Tape
from .watching import Definition, Recorder, Sample, Script

Pushed = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
"""(outputs, tangents of the outputs) of a JVP."""

Derived = tuple[Callable[..., Any], tuple[Any, ...]]
"""A derivative as a function of the framework's arrays, and the point that it is judged at."""


class Call(NamedTuple):
    """A function and its arguments."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Observation:
    """What a framework did, as NumPy arrays.

    outputs     one array per output
    gradients   input name -> array, or None where the framework gave no gradient (an undefined one)
    devices     array label ("out0", "dx") -> device, where the framework has devices and it is not the expected one
    raised      the exception of the framework's own code, if it raised; then the rest is empty
    stage       where it raised: "forward" or "backward"
    mutated     labels ("x", "cotangent 0") of inputs and cotangents that no longer held the given values afterwards
    """

    outputs: tuple[np.ndarray, ...] = ()
    gradients: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    raised: BaseException | None = None
    stage: str = ""
    mutated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """A framework's known formula for an op, less precise than the op table's.

    Not a tolerance: the judge reruns the budget with this text, and a FAIL that it explains to the last digit is
    reported as a known weakness of the framework instead of as news. `reason` says what is lost, where, and who
    documents it; `dtypes` in which, where not in all. `second` is the VJP as the framework differentiates it, where that
    is by other formulas than the derivative of `vjp` has: of ops that have forms of their own, or a kernel for itself.
    """

    reason: str
    vjp: Vjp = None
    define: Define | None = None
    dtypes: tuple[str, ...] | None = None
    second: Vjp = None


@dataclass(frozen=True)
class HolomorphicForm:
    """A framework's known factor for the derivative of a complex op: the cotangent is multiplied with its conjugate.

    slope   (xp, z, out) -> the factor, over pairs of reals
    """

    reason: str
    slope: Callable[..., Any]


@dataclass(frozen=True)
class Template:
    """How a script without gradverify asks a framework for a VJP.

    framework  the name of the framework that the text is about: an adapter derived from it, under a name of its own, is
               another one
    package    what must be installed
    adapter    the module that binds its ops; None: the engine, which has them under their own names
    constant   makes an array of a literal, from `value`, `shape` and `dtype`
    body       leaves `got` (input name -> array or None); `forward` is the graph
    """

    framework: str
    package: str
    imports: tuple[str, ...]
    adapter: str | None
    constant: str
    body: str


@dataclass(eq=False)
class Programs:
    """What stands for a function's own calls within one check, where it was found to agree with them.

    sparing  is it a check of few calls, which compiles only what each call would compile anew?
    agree    do both agree at the given point, within the budget? None until that was asked
    of       the framework for which that was found
    held     the framework's own
    """

    sparing: bool = False
    agree: bool | None = None
    of: Framework | None = None
    held: Any = None

    def block(self) -> AbstractContextManager[None]:
        """A block in which they stand for the function's own calls, if they may."""
        return self.of.reusing(self) if self.agree and self.of is not None else contextlib.nullcontext()


class Framework(ABC):
    """An adapter to something that differentiates."""

    name: str
    """As users write it in `subjects: [torch]`."""

    dtypes: tuple[str, ...]
    """The dtype names that it computes in."""

    device: str = "cpu"
    """Where it computes."""

    # ---- what every framework has ------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Its name in sentences: "PyTorch"."""
        return self.name

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why it cannot run here (not installed, no such device); None when it can. Imports its framework at most."""

    @abstractmethod
    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        """Return a callable of the framework's own arrays that computes the graph's outputs.

        It takes the graph's inputs in order, and returns one array or a tuple of them. Raises Unsupported, with the
        reason, for an op that the framework lacks."""

    @abstractmethod
    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        """Run `function` on `values`, in order, and differentiate it with respect to `wrt`.

        The Observation has NumPy arrays that share no memory with the framework's. An exception of the function's is
        put into `raised`."""

    # ---- derivatives -------------------------------------------------------------------------------------------------

    pull_modes: tuple[str, ...] = ()
    """Further ways to ask for one VJP (create_graph=True, under jit, …), of which a user's function must give the same
    gradient in each, or raise."""

    def run_vjp_by(
        self,
        mode: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        """As `run_vjp`, by one of `pull_modes`. Outputs and `mutated` may be empty: only gradients are compared."""
        raise Unsupported(f"{self.title} has no mode {mode!r} of asking for a VJP")

    def reusing(self, programs: Programs) -> AbstractContextManager[None]:
        """Within the block, calls of a function may run a program that was compiled once for its shapes.

        Its Python code does not run then, and its values may round otherwise: whoever asks about repeated calls, or about
        the call as it is, does so outside."""
        return contextlib.nullcontext()

    def without_hooks(self) -> AbstractContextManager[list[str]]:
        """A context in which hooks that change gradients are not called; what it yields says which were left out."""
        return nullcontext([])

    def kept_modes(self, function: Callable[..., Any]) -> AbstractContextManager[None]:
        """A context that puts the framework's modes back (its default dtype, …), and the state of `function`'s modules."""
        return nullcontext()

    def trying(self) -> AbstractContextManager[None]:
        """A context for calls at points that we chose: they may raise, and nobody reads the traceback."""
        return nullcontext()

    def run_jvp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        tangents: Mapping[str, np.ndarray],
        batched: bool,
    ) -> Pushed:
        """(outputs, tangents of the outputs) along `tangents`; with `batched`, by a batch of tangents."""
        raise NoRule(f"{self.title} has no forward mode{' that is batched' * batched}")

    def lift_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Derived:
        """The VJP of `function` as a function (arguments, cotangents) -> gradients, and the point of these values."""
        raise NoRule(f"a backward pass of {self.title} cannot be differentiated in turn")

    def trace_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Traced:
        """The trace of the backward pass, as a function of the primals and the cotangents, at this point.

        Its arguments come in the order of `values`, then `cotangent`; its outputs are the gradients that are not None, in
        the order of `wrt`. Its graph is None where it cannot be traced. What the function itself raises is passed on."""
        pull, args = self.lift_vjp(function, values, wrt, cotangent)
        return self.trace(pull, args, {}, strict=False)

    def operations(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> tuple[Any, ...] | None:
        """The steps of a VJP at this point, in a form that compares equal for two dtypes if the steps are the same.

        Two calls of which it is equal do the same, but for the dtype of the arguments. None where that cannot be told."""
        return None

    def lift_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
    ) -> Derived:
        """The JVP as a function (arguments, tangents) -> tangents of the outputs, and the point of these values."""
        raise NoRule(f"a JVP of {self.title} is not differentiated in turn")

    def tape(self) -> Tape:
        """The tape that laws about .grad, .detach and no_grad are asked of."""
        raise Unsupported(f"{self.name} has no tape: it returns gradients as values")

    conjugates: bool = False
    """Does a + ib stand for the pair (a, -b) of partial derivatives by the real and the imaginary part?"""

    def pairs(self, function: Callable[..., Any], graph: Graph) -> Callable[..., Any]:
        """A function of complex arrays as one of their parts; see `graphs.over_pairs`."""
        raise Unsupported(f"the adapter for {self.name} does not say how functions of complex arrays take pairs")

    def conjugated_lazily(self, function: Callable[..., Any]) -> Callable[..., Any] | None:
        """The same function, to whose outputs cotangents come as lazy conjugates; None where there are none."""
        return None

    # ---- arrays ------------------------------------------------------------------------------------------------------

    roots: tuple[str, ...] = ()
    """The modules whose types are the framework's arrays, modules and functions."""

    def owns(self, cls: type) -> bool:
        """Do objects of this type belong to the framework?"""
        return any(t.__module__ == r or t.__module__.startswith(f"{r}.") for t in cls.__mro__ for r in self.roots)

    def is_array(self, x: Any) -> bool:
        """Is it one of the framework's arrays? (By default: what its types make and cannot be called.)"""
        return self.owns(type(x)) and not callable(x)

    def put(self, value: np.ndarray) -> Any:
        """The framework's array of these values, in memory of its own."""
        raise Unsupported(f"the adapter for {self.name} makes no arrays of {self.title}")

    def get(self, array: Any) -> np.ndarray:
        """An array of the framework as NumPy's, a copy on the host; of bfloat16 in ml_dtypes'."""
        raise Unsupported(f"the adapter for {self.name} reads no arrays of {self.title}")

    def replace(self, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with the arrays that `change` gives in place of their own; None leaves one as it is."""
        return change_arrays(self.is_array, self.get, lambda new, like: self.put(new), change, args)

    def cast(self, call: Call, dtype: str) -> Call:
        """The call with its floating-point arrays in `dtype`. Raises BadInput where the framework has no such dtype."""
        if dtype not in ("float32", "float64"):
            raise BadInput(f"dtype: arrays of {self.name} are converted to float32 and float64, not to {dtype}")
        kinds = {"f": np.dtype(dtype), "c": np.result_type(dtype, np.complex64)}

        def converted(x: np.ndarray) -> np.ndarray | None:
            return x.astype(kinds[x.dtype.kind]) if x.dtype.kind in kinds else None

        names = list(call.kwargs)
        values = self.replace(converted, tuple(call.kwargs[n] for n in names))
        return Call(call.fn, self.replace(converted, call.args), dict(zip(names, values)))

    def enabling(self, dtype: str | None) -> AbstractContextManager[Any]:
        """Within the block, the framework has this dtype."""
        return contextlib.nullcontext()

    def parameter(self, value: np.ndarray, dtype: str) -> Any:
        """A module's parameter of these values, as a reference takes it."""
        raise Unsupported(f"a reference for a module of {self.title}")

    def dense(self, call: Call) -> tuple[Call, Callable[..., Any]] | None:
        """The call over the stored values of its sparse arrays, and the same function of dense ones; None where no
        argument is sparse. Raises Unsupported for a layout that is not known."""
        return None

    def dense_result(self, call: Call) -> Call | None:
        """The call with a dense result; None where it is dense as it is, or the function raises."""
        return None

    def densified(self, fn: Callable[..., Any], like: Call) -> Callable[..., Any]:
        """Return `fn` as a function of the stored values of the sparse arguments of `like`."""
        raise Unsupported(f"{self.title} has no sparse arrays")

    # ---- a user's function -------------------------------------------------------------------------------------------

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
        """The graph of `fn(*args, **kwargs)` around this point.

        seed           of random draws
        stop_detached  holds what the function detaches fixed, instead of following the definition through it
        confirm        holds the graph against the function, here and at a point nearby
        strict         raises Unsupported for what cannot be mapped; else `Traced.opaque` says so, and there is no graph

        By default there is never a graph, and differences of the function judge it.
        """
        return trace_opaque(self, fn, args, kwargs, seed=seed, strict=strict)

    compiler: str = ""
    """What compiles its functions, as it is called: "torch.compile"."""

    def compile(self, fn: Callable[..., Any]) -> Callable[..., Any] | None:
        """The function as its framework compiles it; None where that is how it is given, or where there is no such thing
        to tell apart."""
        return None

    def asks_if_compiling(self) -> AbstractContextManager[Callable[[], bool]]:
        """Tells whether the functions that run meanwhile ask the framework whether they are being compiled."""
        return contextlib.nullcontext(lambda: False)

    def shared(
        self, fn: Callable[..., Any], args: tuple[Any, ...], fits: Callable[[Any, Any], bool]
    ) -> Callable[..., Any] | None:
        """The function called with one and the same array where two of `args` fit each other; None where no two do, or
        the framework's arrays have no identity."""
        return None

    def with_vjp(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        arguments: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]],
        names: tuple[str, ...],
    ) -> Callable[..., Any]:
        """`forward` with a backward pass that was written by hand, as a function of arrays that `run_vjp` takes.

        Both are given the framework's arrays: `arguments(*arrays)` are the positional and keyword arguments of `forward`,
        `backward` takes the cotangent (a tuple of several) before them, and returns the gradient, or one per array.
        `names` are those of the arrays."""
        raise Unsupported(f"{self.title} differentiates by itself: a backward pass by hand (`vjp`) cannot be given")

    # ---- what is known of it ------------------------------------------------------------------------------------------

    forms: Mapping[str, Form] = {}
    complex_forms: Mapping[str, HolomorphicForm] = {}
    """op -> the formula that loses digits there."""

    partial_sums: str = ""
    """Where it rounds partial sums to a 16-bit dtype, instead of accumulating in float32."""

    narrow_literals: bool = False
    """Do its traces hold a literal in the dtype of the array that it meets, and not as it is written?"""

    negative_strides: bool = False
    """Do its arrays have negative strides?"""

    has_strides: bool = True
    """Can its arrays lie in memory in more than one way?"""

    compiles_calls: bool = False
    """Does `reusing` make calls cheaper?"""

    clamps_indices: bool = False
    """Does an index beyond the end of an axis give something, instead of an error? (JAX clamps it.)"""

    compiles_each_shape: bool = False
    """Does each new shape of the arguments cost a compilation of every kernel?"""

    by_hand: bool = False
    """Are its VJPs written by hand, for the shapes and dtypes of one call, and nobody promised more?"""

    def keeps_results(self, custom: bool) -> bool:
        """Must a gradient that a caller keeps outlive later calls? Laws ask for that. `custom`: the rule is the user's."""
        return False

    template: Template | None = None
    """How a reproducer asks it; None: through gradverify."""

    def poisoned(self) -> AbstractContextManager[None]:
        """Within the block, memory that is allocated without being written holds NaN; integers their largest."""
        raise Unsupported(f"{self.name} has no switch for uninitialised memory")

    def other_runs(self, launches: Launches) -> Sequence[OtherRun]:
        """Other ways to run these kernels, each of which owes the same gradient: configurations, orders."""
        return ()

    def drops_outputs(self, function: Callable[..., Any], values: Mapping[str, np.ndarray]) -> bool:
        """Does `function` call a custom function with several outputs, and leave one of them unused?"""
        return False

    watches: str = ""
    """The package after whose import `watch` is called; "" where there are no custom gradients to watch."""

    def watch(self, recorder: Recorder) -> AbstractContextManager[None]:
        """Within the block, `recorder` is told every custom gradient that runs; nothing else changes."""
        return contextlib.nullcontext()

    def undisturbed(self) -> AbstractContextManager[None]:
        """A block in which gradients can be asked for, and that leaves random states and modes as they were."""
        return contextlib.nullcontext()

    def custom_definitions(self) -> Iterable[Definition]:
        """Every custom gradient that is defined in this process, executed or not, but for the framework's own."""
        return ()

    draws: Draws | None = None
    """How a drafted test makes arrays; None: no tests are drafted for this framework."""

    def customs_of(self, module: ModuleType) -> Iterable[Custom]:
        """The custom gradients that a module defines under a name of its own."""
        return ()

    def script(self, sample: Sample) -> Script | None:
        """A script without gradverify that asks for the gradient of a recorded call; None where it cannot be written."""
        return None

    def custom_nodes(self, roots: Any) -> list[Any]:
        """The nodes of custom Functions in the graph behind outputs, each with a `register_hook`; empty where they
        cannot be told."""
        return []


def values_of(traced: Traced, case: Case) -> Mapping[str, np.ndarray]:
    """What the traced function takes: all but what it captured."""
    return {a.name: case.values[a.name] if a.name in case.values else traced.values[a.name]
            for a in traced.arguments if a.role != "captured"}  # fmt: skip
