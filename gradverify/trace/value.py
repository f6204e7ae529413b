"""What a trace is, and the values that it is made of.
The one idea: a function is run for real, once, at the given point, and every operation that it makes is recorded. A
value is *live* if it depends on a floating-point input: its operation becomes a node of the graph. Everything else
(integers, masks that were given, random draws, closed-over arrays) is *concrete*: it is known at the point, folded, and
becomes a literal or a captured input where a live operation needs it. Control flow, `.item()`, shapes that depend on
data and random masks need no further thought: the graph is the function around this point.

Integers computed from live values (argmax, casts, sort indices) are concrete too: they do not move in a neighbourhood
of the point, and have no derivative anywhere. Masks stay live, because where they flip the function has a kink.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..core.errors import Unsupported
from ..core.graph import Graph
from ..core.op import Kind, Shape
from ..ops.build import Ref

if TYPE_CHECKING:
    from .base import Tracer

Role = Literal["argument", "parameter", "captured"]
Part = Literal["", "real", "imag"]
PARTS: tuple[Part, Part] = ("real", "imag")


@dataclass(frozen=True, slots=True)
class Argument:
    """An input of the graph and where it comes from.

    name      as in the graph: `x`, `params['w']`, `layers.0.weight`
    kind      only "float" ones can be differentiated
    dtype     the framework's dtype, by NumPy's or PyTorch's common name: "float32", "bfloat16", "int64"
    role      "argument" and "parameter" can be replaced in a call; "captured" (a closed-over array, a buffer, a random
              draw) is held at its value
    wanted    is it differentiated where the caller does not say (`requires_grad` in PyTorch)?
    part      "real" or "imag" of a complex array, which is two inputs, one after the other: `z.real`, `z.imag`
    strides   in entries, where the array is not contiguous and the framework has strides
    """

    name: str
    kind: Kind
    dtype: str
    shape: Shape
    role: Role = "argument"
    wanted: bool = False
    part: Part = ""
    strides: tuple[int, ...] | None = None

    @property
    def whole(self) -> str:
        """The name of the array that it is, or is a part of."""
        return self.name.removesuffix(f".{self.part}") if self.part else self.name


@dataclass(frozen=True, slots=True)
class Output:
    """One leaf of what the function returned.

    path      its place in the returned structure: "" for a single one, "[0]", "['loss']"
    position  its place among the graph's outputs; None for what is no floating-point array
    depends   does it depend on a floating-point input?
    detached  does it depend on a wanted input, but the framework keeps no gradient of it?
    part      "real" or "imag" of a complex array, which is two outputs, one after the other
    """

    path: str
    kind: str
    dtype: str
    shape: Shape
    position: int | None = None
    depends: bool = False
    detached: bool = False
    part: Part = ""


class HandWrittenFunction(ABC):
    """A function over flat arrays with a backward pass that its author wrote.

    `Traced.function` is one where the user gave check a function and its VJP.
    """

    @abstractmethod
    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """Return the outputs at these arrays."""

    @abstractmethod
    def only(self, k: int) -> HandWrittenFunction:
        """Return this function with output `k` alone; the other outputs' cotangents are zeros."""

    @abstractmethod
    def pull(self, *arrays: Any) -> tuple[tuple[Any, ...], Callable[[tuple[Any, ...]], dict[str, Any]]]:
        """Return the outputs, and the function from cotangents to gradients by name."""


@dataclass(frozen=True)
class Launches:
    """The kernels that a run launched.

    instances  the most program instances of one launch; 0 where none was launched
    blocks     lengths of the blocks that they compute in
    autotuned  kernel -> the configurations that its tuner chooses from, as texts; only kernels that have several
    summed     tensors that several instances of one kernel add to by atomics, as texts
    waits      may instances wait for one another, by locks?
    largest    the largest integer in the arrays of integers that they were given: it may be an index; -1 without any
    totals     the largest integer and the sum of each of these: where segments may end
    """

    instances: int = 0
    blocks: frozenset[int] = frozenset()
    autotuned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    summed: tuple[str, ...] = ()
    waits: bool = False
    largest: int = -1
    totals: frozenset[int] = frozenset()

    def __or__(self, other: Launches) -> Launches:
        """What is to be known of both runs."""
        return Launches(
            max(self.instances, other.instances),
            self.blocks | other.blocks,
            {**self.autotuned, **other.autotuned},
            tuple(dict.fromkeys(self.summed + other.summed)),
            self.waits or other.waits,
            max(self.largest, other.largest),
            self.totals | other.totals,
        )


class OtherRun(NamedTuple):
    """Another way to run a function's kernels.

    label   what verdicts call it
    within  a block within which they are run so
    anew    is it other code, which is to be traced?
    """

    label: str
    within: Callable[[], AbstractContextManager[None]]
    anew: bool = False


Pull = Callable[[Mapping[str, np.ndarray], tuple[str, ...], tuple[np.ndarray, ...]], "Traced | None"]


@dataclass(frozen=True, eq=False)
class Traced:
    """A function as a graph at one point.

    graph      None where `opaque` says why the function cannot be mapped: then only differences of it can judge it
    arguments  the graph's inputs, in order
    outputs    the leaves that the function returned, in order; those with a position are the graph's outputs
    values     input name -> NumPy array at the point (bfloat16 as float32, which holds it)
    dtype      the dtype of the floating-point arguments (the narrowest, where they differ: a note says so)
    function   the function over flat arrays of the framework, in the order of `arguments` (captured ones are accepted
               and ignored); returns a tuple of the outputs that have a position. Random draws are replayed
    notes      what was specialised, folded or reinterpreted, in words for the verdict
    opaque     operations that could not be mapped, one reason each
    detaches   it detaches a value that depends on a wanted input (detach, no_grad, stop_gradient); what the framework
               documents to pass no gradient is held fixed, and does not count
    detach_sites  where it does, one text each: `model.py:12 (detach)`; empty where that cannot be told
    written    the arguments that it writes to
    mutated_unseen  those that it writes to out of the framework's sight, which goes on with the values from before
               (`.data`, a custom Function that does not mark them dirty, NumPy)
    updated    those that it writes to in the framework's sight, by their own names and their parts': running statistics,
               which are the caller's to lose where they are not differentiated
    stale      the inputs that later calls do not read, since the first one keeps what it made of them
    faults     what the run did wrong in memory, which no value shows: a race, an access beyond the end of an array
    launches   what is to be known of the kernels that it launched
    formats    the floating-point dtypes that values which depend on an input pass through on their way to an output
    node_formats  node of the graph -> the dtype of its value, where it is known; of several the coarsest
    from_arrays  sizes of the graph's literals that were an array's: as good as its dtype, not as a number in the code
    overwrites  node -> the node whose value its array held before it was written to
    custom     part of its backward pass is the user's own (an autograd.Function, a custom_vjp, a custom operator)
    branches   it decides on values: the graph is the branch, and the length of the loops, at this point
    converges  a loop under a rule of its own goes on until it has converged: the graph is no more precise than that
    stops_at   where the graph is what it converges to, how far it may stop from there, as a share of the largest entry
    native     where arguments or outputs are complex, the function over them as they are, one array each; `function`
               takes and returns their parts, joined and split by the framework's own differentiable operations
    pull       goes on with the recorded run, at its own point: (values, wrt, cotangent) -> the trace of the backward pass,
               as `Framework.trace_vjp` gives it of `function`. None, or it gives None, where that takes a run of its own
    """

    graph: Graph | None
    arguments: tuple[Argument, ...]
    outputs: tuple[Output, ...]
    values: Mapping[str, np.ndarray]
    dtype: str
    function: Callable[..., tuple[Any, ...]]
    framework: str
    notes: tuple[str, ...] = ()
    opaque: tuple[str, ...] = field(default=())
    detaches: bool = False
    detach_sites: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    mutated_unseen: tuple[str, ...] = ()
    updated: frozenset[str] = frozenset()
    stale: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    launches: Launches = field(default_factory=Launches)
    custom: bool = False
    formats: frozenset[str] = frozenset()
    node_formats: Mapping[int, str] = field(default_factory=dict)
    from_arrays: frozenset[float] = frozenset()
    overwrites: Mapping[int, int] = field(default_factory=dict)
    branches: bool = False
    converges: bool = False
    stops_at: float = 0.0
    native: Callable[..., tuple[Any, ...]] | None = None
    pull: Pull | None = None

    @property
    def leaves(self) -> tuple[tuple[int, ...], ...]:
        """The graph's outputs, grouped into those of the function: two for a complex one."""
        groups: list[tuple[int, ...]] = []
        for o in self.outputs:
            if o.position is not None and o.part == "imag":
                groups[-1] = (*groups[-1], o.position)
            elif o.position is not None:
                groups.append((o.position,))
        return tuple(groups)

    @property
    def wrt(self) -> tuple[str, ...]:
        """The inputs that are differentiated by default: the wanted ones, or else every float argument."""
        floats = [a for a in self.arguments if a.kind == "float" and a.role != "captured"]
        return tuple(a.name for a in floats if a.wanted) or tuple(a.name for a in floats)


class Value(Ref):
    """An array of the traced function: a node of the graph, or concrete until a node is needed.

    node    its index, or None while it is concrete
    array   its value, for concrete ones (and for integer and boolean inputs, which are both)
    live    does it depend on a floating-point input?
    wanted  does it depend on one that is differentiated?
    why     a reason for which it cannot be used: raised when it is
    later   makes it, if it is used at all
    """

    __slots__ = ("array", "kind", "later", "live", "node", "tracer", "wanted", "why")

    def __init__(
        self,
        tracer: Tracer,
        *,
        node: int | None = None,
        array: np.ndarray | None = None,
        kind: Kind | None = None,
        live: bool = False,
        wanted: bool = False,
        why: str = "",
        later: Callable[[], Value] | None = None,
    ) -> None:
        self.tracer, self.builder, self.node, self.array = tracer, tracer.builder, node, array
        self.live, self.wanted, self.why, self.later = live, wanted, why, later
        self.kind: Kind = kind or (kind_of(array.dtype) if array is not None else tracer.builder.kind(node or 0))

    @property
    def index(self) -> int:  # type: ignore[override]
        if self.why:
            raise Unsupported(self.why)
        if self.node is None and self.later is not None:
            self.node = self.later().index
        if self.node is None:
            assert self.array is not None
            self.node = self.tracer.capture(self.array)
        return self.node

    @property
    def shape(self) -> Shape:
        return tuple(self.array.shape) if self.array is not None else self.builder.shape(self.index)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def recorder(self) -> Tracer:
        return self.tracer

    def _apply(self, op: str, *args: Any) -> Value:
        return self.tracer.call(op, *args)


class Complex(Value):
    """A complex array: two real ones, `re` and `im`, of one shape. Operations on it are those of `ops.complex`."""

    __slots__ = ("im", "re")

    def __init__(self, tracer: Tracer, re: Value, im: Value) -> None:
        self.tracer, self.builder = tracer, tracer.builder
        self.re, self.im = re, im
        self.node, self.later, self.kind = None, None, "complex"
        self.live, self.wanted, self.why = re.live or im.live, re.wanted or im.wanted, re.why or im.why
        known = re.array is not None and im.array is not None
        self.array = np.asarray(re.array + 1j * im.array) if known else None  # type: ignore[operator]

    @property
    def index(self) -> int:  # type: ignore[override]
        raise Unsupported("a complex array where a real one is wanted")

    @property
    def shape(self) -> Shape:
        return self.re.shape


Outputs = tuple[Value | None, ...]
"""Several outputs of a mapped operation; None stands for one without a counterpart in the op table."""


def kind_of(dtype: Any) -> Kind:
    """Return the kind of a dtype. Raises Unsupported for a dtype of no numbers."""
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        return "complex"
    if dtype.kind == "b":
        return "bool"
    if dtype.kind in "iu":
        return "int"
    if dtype.kind == "f" or dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return "float"
    raise Unsupported(f"arrays of {dtype.name} are not traced: only booleans, integers and floating-point numbers are")
