"""What a trace is, and the recorder that the tracers of all frameworks share.

The one idea: a function is run for real, once, at the given point, and every operation that it makes is recorded. A
value is *live* if it depends on a floating-point input: its operation becomes a node of the graph. Everything else
(integers, masks that were given, random draws, closed-over arrays) is *concrete*: it is known at the point, folded, and
becomes a literal or a captured input where a live operation needs it. Control flow, `.item()`, shapes that depend on
data and random masks need no further thought: the graph is the function around this point.

Integers computed from live values (argmax, casts, sort indices) are concrete too: they do not move in a neighbourhood
of the point, and have no derivative anywhere. Masks stay live, because where they flip the function has a kink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..core.errors import Unsupported
from ..core.graph import Graph
from ..core.op import Kind, Shape, split_arguments
from ..namespaces.dtypes import ROUNDOFF
from ..namespaces.numpy import NUMPY
from ..namespaces.run import forward
from ..ops import FAMILIES, OPS
from ..ops.build import GraphBuilder, Recorder, Ref
from ..ops.complex.rules import RULES, Pair, apply, is_complex, paired

LITERAL = 16
"""Concrete arrays of at most so many entries become literals of the graph; larger ones become captured inputs."""

MOVES = frozenset(s.name for s in FAMILIES["shape"]) | {"getitem", "take", "take_along_axis"}
"""Ops that move entries without computing: a mask goes through them as 0 and 1 and comes out as a mask."""

CONVENTION = "what the framework documents to pass no gradient is held fixed"

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
    cuts       where it does, one text each: `model.py:12 (detach)`; empty where that cannot be told
    written    the arguments that it writes to
    behind     those that it writes to out of the framework's sight, which goes on with the values from before (`.data`, a
               custom Function that does not mark them dirty, NumPy)
    formats    the floating-point dtypes that values which depend on an input pass through on their way to an output
    custom     part of its backward pass is the user's own (an autograd.Function, a custom_vjp, a custom operator)
    branches   it decides on values: the graph is the branch, and the length of the loops, at this point
    converges  a loop under a rule of its own goes on until it has converged: the graph is no more precise than that
    native     where arguments or outputs are complex, the function over them as they are, one array each; `function`
               takes and returns their parts, joined and split by the framework's own differentiable operations
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
    cuts: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    custom: bool = False
    formats: frozenset[str] = frozenset()
    branches: bool = False
    converges: bool = False
    native: Callable[..., tuple[Any, ...]] | None = None

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
            self.node = self.tracer.held(self.array)
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


class Tracer(Recorder):
    """The op table's names as functions of Values; what a mapped operation is written with.

    A mapping may use every op of the table, the operators, and Python numbers, as an op's `define` does. Masks and
    integers are converted where a float is wanted.
    """

    name = "tracer"

    def __init__(self) -> None:
        super().__init__(GraphBuilder())
        self.notes: dict[str, None] = {}
        self.cuts: dict[str, None] = {}
        self.captured: dict[tuple[Any, ...], int] = {}
        self.values: dict[str, np.ndarray] = {}
        self.names: dict[bytes, str] = {}
        self.formats: dict[int, set[str]] = {}

    def recast(self, value: Value, source: str, target: str) -> Value:
        """A value after a cast between formats: the identity to the definition, and a rounding to the budget; of the
        value where digits are lost, of its cotangent where they are gained."""
        if source not in ROUNDOFF or target not in ROUNDOFF or ROUNDOFF[source] == ROUNDOFF[target]:
            return value
        if ROUNDOFF[source] < ROUNDOFF[target]:
            self.note(f"a cast from {source} to {target} inside the function is the identity to the definition")
        return self.call("multiply", value, 1.0) if value.live and value.kind == "float" and not value.why else value

    def seen_in(self, value: Value, dtype: str) -> None:
        """A live value is, or goes through, an array of this dtype."""
        parts = (value.re, value.im) if isinstance(value, Complex) else (value,)
        for part in parts:
            if part.node is not None and not part.why:
                self.formats.setdefault(part.node, set()).add(dtype)

    def formats_of(self, graph: Graph) -> frozenset[str]:
        return frozenset(d for k in graph.active for d in self.formats.get(k, ()))

    def note(self, text: str) -> None:
        self.notes[text] = None

    def __getattr__(self, op: str) -> Callable[..., Value]:
        if op in RULES:
            return lambda *args, **params: self.call(op, *args, **params)
        return super().__getattr__(op)

    def input(self, name: str, array: np.ndarray, wanted: bool) -> Value:
        kind = kind_of(array.dtype)
        if kind == "complex":
            return Complex(self, *(self.input(f"{name}.{p}", getattr(array, p).copy(), wanted) for p in PARTS))
        node = self.builder.input(name, tuple(array.shape), kind)
        self.values[name] = array
        if kind == "float":
            return Value(self, node=node, kind=kind, live=True, wanted=wanted)
        return Value(self, node=node, array=array, kind=kind)

    def concrete(self, array: Any) -> Value:
        array = np.asarray(array)
        if array.dtype.kind == "c":
            return Complex(self, *(Value(self, array=getattr(array, p).copy()) for p in PARTS))
        return Value(self, array=array)

    def indices(self, rows: Any) -> Value:
        return self.concrete(rows)

    def unusable(self, why: str, kind: Kind = "float") -> Value:
        return Value(self, kind=kind, live=True, why=why)

    def later(self, make: Callable[[], Value]) -> Value:
        """A by-product that is recorded only if something uses it."""
        return Value(self, kind="float", live=True, wanted=True, later=make)

    def held(self, array: np.ndarray) -> int:
        """The node of a concrete array: a literal if it is small, else an input that is held fixed."""
        kind = kind_of(array.dtype)
        array = np.asarray(array, dtype={"int": np.int64, "bool": np.bool_}.get(kind, array.dtype), order="C")
        if array.size <= LITERAL and (array.size or array.ndim == 1) and not np.isnan(array).any():
            return self.builder.constant(_literal(array, kind), kind)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.captured:
            name = self.names.get(digest(array), "")
            if not name or name in self.values:
                name = f"captured{len(self.captured)}"
            self.values[name] = array
            self.captured[key] = self.builder.input(name, tuple(array.shape), kind)
        return self.captured[key]

    def call(self, op: str, *args: Any, **params: Any) -> Value:
        if op not in OPS or any(_is_complex(a) for a in args):
            return self.over_parts(op, args, params)
        spec = OPS[op]
        args, positional = split_arguments(spec, args)
        params = {k: _plain(v) for k, v in (positional | params).items()}
        masks = op in MOVES and isinstance(args[0], Value) and args[0].kind == "bool"
        nodes = [self.fitting(a, spec.argument(i)) for i, a in enumerate(args)]
        given = [a for a in args if isinstance(a, Value)]
        out = Value(
            self,
            node=self.builder.apply(op, *nodes, **params),
            live=any(a.live for a in given),
            wanted=any(a.wanted for a in given),
        )
        # 1/2: a threshold that 0 and 1 are far from, so that this comparison adds no kink of its own.
        return self.call("greater", out, 0.5) if masks else out

    def over_parts(self, op: str, args: Sequence[Any], params: Mapping[str, Any]) -> Value:
        """An operation on complex arrays, as it is on their parts."""
        if op == "pow":  # of exponents that are all the same number, the number: an integer one makes no cut
            args = (args[0], _number(args[1]))
        out = apply(self, op, *(_parts(a) for a in args), **{k: _plain(v) for k, v in params.items()})
        return self.whole(out) if isinstance(out, Pair) else out

    def whole(self, z: Pair) -> Complex:
        """A pair as a value, its parts of kind "float"."""
        given: tuple[Any, Any] = z.re, z.im
        parts = [p if isinstance(p, Value) else self.concrete(np.float64(p)) for p in given]
        return Complex(self, *(self.as_kind(p, "float") for p in parts))

    def as_kind(self, x: Value, kind: Kind) -> Value:
        """x in another kind: a mask as 0 and 1, a real array as a complex one."""
        if x.kind == kind or x.why:
            return x
        if kind == "complex":
            return self.whole(paired(self, self.as_kind(x, "float")))
        return Value(self, node=self.fitting(x, kind), kind=kind, live=x.live, wanted=x.wanted)

    def fitting(self, x: Any, kind: Kind) -> int:
        """The node of `x` as an argument of this kind."""
        if isinstance(x, tuple):
            return self.builder.constant(x, kind)
        if not isinstance(x, Value):
            return self.builder.constant({"float": float, "int": int, "bool": bool}[kind](x), kind)
        if x.kind == kind:
            return x.index
        if x.array is not None:
            wide: Any = {"float": np.float64, "int": np.int64, "bool": np.bool_}[kind]
            return self.held(x.array.astype(wide))
        if kind == "float":
            return self.call("where", x, 1.0, 0.0).index
        if kind == "bool":
            return self.call("not_equal", x, 0.0).index
        raise Unsupported("integers computed from floating-point values cannot be recorded as such")

    # ---- what several mappings need ---------------------------------------------------------------------------------

    def shaped(self, x: Value, shape: Sequence[int]) -> Value:
        shape = tuple(int(n) for n in shape)
        return x if x.shape == shape else self.call("reshape", x, shape=shape)

    def spread(self, x: Any, shape: Sequence[int]) -> Value:
        """Broadcast to `shape`; Python numbers too."""
        x = x if isinstance(x, Value) else self.concrete(np.asarray(x, dtype=None if is_complex(x) else np.float64))
        return x if x.shape == tuple(shape) else self.call("broadcast_to", x, shape=tuple(int(n) for n in shape))

    def flat(self, x: Value) -> Value:
        return self.shaped(x, (int(np.prod(x.shape, dtype=np.int64)),))

    def picked(self, x: Value, at: np.ndarray) -> Value:
        """Entries of the flattened x at integer positions of any shape: every indexing form, once it is known where
        each entry comes from."""
        return self.call("take", self.flat(x), self.concrete(np.asarray(at, dtype=np.int64)), axis=0)

    def placed(self, x: Value, at: np.ndarray, updates: Any) -> Value:
        """x with updates in place of the entries at flat positions `at`; of several for one place the last stays."""
        at = np.asarray(at, dtype=np.int64)
        updates = self.flat(self.spread(updates, at.shape))
        n = int(np.prod(x.shape, dtype=np.int64))
        source = np.arange(n)
        source[at.ravel()] = n + np.arange(at.size)
        both = self.call("concat", self.flat(x), self.matching(updates, x), axis=0)
        return self.shaped(self.picked(both, source), x.shape)

    def accumulated(self, x: Value, at: np.ndarray, updates: Any) -> Value:
        """x with updates added at flat positions."""
        at = np.asarray(at, dtype=np.int64)
        updates = self.flat(self.spread(updates, at.shape))
        out = self.call("index_add", self.flat(x), self.concrete(at.ravel()), updates, axis=0)
        return self.shaped(out, x.shape)

    def matching(self, x: Value, like: Value) -> Value:
        """x in the kind of `like`: the arrays of one concat are all masks or all floats."""
        if like.kind == "bool" and x.kind != "bool":
            return Value(self, node=self.fitting(x, "bool"), kind="bool", live=x.live, wanted=x.wanted)
        return x


def _plain(value: Any) -> Any:
    """NumPy's integers among an op's parameters as Python's."""
    if isinstance(value, tuple | list):
        return tuple(_plain(v) for v in value)
    return int(value) if isinstance(value, np.integer) else value


def _is_complex(x: Any) -> bool:
    if isinstance(x, list | tuple):
        return any(_is_complex(v) for v in x)
    return isinstance(x, complex) or (isinstance(x, Value) and x.kind == "complex")


def _parts(x: Any) -> Any:
    """A complex value as the rules take it; a single number that is known as a Python number."""
    if isinstance(x, list | tuple):
        return type(x)(_parts(v) for v in x)
    if not isinstance(x, Value) or x.kind != "complex":
        return x
    if not isinstance(x, Complex):
        raise Unsupported(x.why)
    return Pair(x.re, x.im) if x.array is None or x.ndim else complex(x.array)


def _number(x: Any) -> Any:
    if not isinstance(x, Value) or x.array is None or not x.array.size or (x.array != x.array.flat[0]).any():
        return x
    number = complex(x.array.flat[0])
    return number.real if number.imag == 0 else number


def kind_of(dtype: Any) -> Kind:
    """Raises Unsupported for what is no number."""
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        return "complex"
    if dtype.kind == "b":
        return "bool"
    if dtype.kind in "iu":
        return "int"
    if dtype.kind == "f" or dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return "float"
    raise Unsupported(f"arrays of {dtype.name} are not traced (the op table is about real numbers)")


def _literal(array: np.ndarray, kind: Kind) -> Any:
    make: Any = {"float": float, "int": int, "bool": bool}[kind]

    def nested(a: Any) -> Any:
        return tuple(nested(v) for v in a) if isinstance(a, list) else make(a)

    return nested(array.tolist())


def digest(array: np.ndarray) -> bytes:
    """A key for equal arrays, whatever dtype of the same kind they were widened to."""
    if array.dtype.kind == "c":
        return digest(np.real(array)) + digest(np.imag(array))
    wide = {"int": np.int64, "bool": np.bool_}.get(kind_of(array.dtype), np.float64)
    return repr(array.shape).encode() + np.ascontiguousarray(array, dtype=wide).tobytes()


# ---- is the graph the function? ----------------------------------------------------------------------------------------


def nearby(
    values: Mapping[str, np.ndarray], moving: Sequence[str], roundoff: float, seed: int
) -> dict[str, np.ndarray]:
    """The point with every entry of the inputs `moving` off by about sqrt(u) of itself (of 1 for zeros).

    sqrt(u) is far above rounding and far below a step that would change a branch. Entries of equal size move alike, so
    that ties stay ties (which of equal entries a maximum takes is held). Symmetric and Hermitian matrices stay what they
    are.
    """
    rng = np.random.default_rng(seed)
    out = dict(values)
    sizes = np.unique(np.concatenate([np.zeros(0), *(np.abs(values[n].astype(np.float64)).ravel() for n in moving)]))
    steps = rng.uniform(0.5, 1.0, sizes.size) * rng.choice([-1.0, 1.0], sizes.size) * roundoff**0.5
    for name in moving:
        x = values[name].astype(np.float64)
        step = steps[np.searchsorted(sizes, np.abs(x))] if x.size else np.zeros(x.shape)
        if x.ndim >= 2 and x.shape[-1] == x.shape[-2] and x.size:
            if _symmetric(x, 64 * roundoff):
                step = np.tril(step) + np.swapaxes(np.tril(step, -1), -1, -2)
            elif _antisymmetric(x, 64 * roundoff):  # the imaginary part of a Hermitian matrix
                step = np.tril(step, -1) + np.swapaxes(np.tril(step, -1), -1, -2)
        scale = np.where((x == 0) | ~np.isfinite(x), 1.0, x)
        out[name] = np.where(np.isfinite(x), x + step * scale, x).astype(values[name].dtype)
    return out


def _symmetric(x: np.ndarray, within: float) -> bool:
    return bool(np.abs(x - np.swapaxes(x, -1, -2)).max() <= within * np.abs(x).max())


def _antisymmetric(x: np.ndarray, within: float) -> bool:
    return bool(np.abs(x + np.swapaxes(x, -1, -2)).max() <= within * np.abs(x).max())


def disagreement(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    moved: Mapping[str, np.ndarray],
    here: Sequence[np.ndarray],
    there: Sequence[np.ndarray],
    roundoff: float,
    dtype: str,
    leaves: Sequence[tuple[int, ...]] = (),
) -> str | None:
    """Why the graph is not the function, or None: it is held against the function's own values at two points.

    What left the framework's sight (a detour over NumPy, a number read by .item()) is a constant of the graph and a
    variable of the function: at the second point they part by the first order in the step, about sqrt(u), while
    rounding makes u times the sizes, those of the inputs too (a deviation from a large mean). 8 times what the first
    point shows, or the rounding of as many terms as the graph has ops, is allowed; so is 1/1024 of the function's own
    move, lest chance cancellation cry wolf. The outputs in one of `leaves` are the parts of a complex one, whose size is
    that of the larger.
    """
    group = {i: g for g in leaves for i in g}
    wide = lambda point: {n: v.astype(np.float64) if kind_of(v.dtype) == "float" else v for n, v in point.items()}
    sizes = (np.abs(v[np.isfinite(v)]).max(initial=0.0) for v in values.values() if kind_of(v.dtype) == "float")
    largest = max(map(float, sizes), default=0.0)
    with np.errstate(all="ignore"):
        mine_here = _run(graph, wide(values), dtype)
        mine_there = _run(graph, wide(moved), dtype)
        for i, (g0, g1, f0, f1) in enumerate(zip(mine_here, mine_there, here, there)):
            if g0.shape != f0.shape:
                return f"output {i} has shape {f0.shape}, its graph {g0.shape}"
            fine = np.isfinite(g0) & np.isfinite(g1) & np.isfinite(f0) & np.isfinite(f1)
            if not fine.any():
                continue
            g0, g1, f0, f1 = g0[fine], g1[fine], f0[fine].astype(np.float64), f1[fine].astype(np.float64)
            beside = [np.abs(here[j])[fine].max() for j in group.get(i, ()) if here[j].shape == fine.shape]
            size = max(np.abs(f0).max(), np.abs(g0).max(), *(float(v) for v in beside if np.isfinite(v)))
            noise = np.abs(g0 - f0).max()
            rounding = roundoff * max(size, largest) * (graph.ops + 64)
            if noise > max(64 * roundoff**0.5 * size, rounding):
                return f"output {i} is {_worst(f0, g0)} where its graph gives {_worst(g0, f0)}"
            allowed = max(8 * noise, rounding, np.abs(f1 - f0).max() / 1024)
            if np.abs(g1 - f1).max() > allowed:
                return (
                    f"next to this point output {i} moves by {np.abs(f1 - f0).max():.3g}, the recorded operations "
                    f"by {np.abs(g1 - g0).max():.3g}"
                )
    return None


def _run(graph: Graph, values: Mapping[str, np.ndarray], dtype: str) -> list[np.ndarray]:
    """In doubles; literals are rounded to float32 or float64 alone (NumPy has no bfloat16)."""
    nodes = forward(NUMPY, graph, values, "float32" if dtype == "float32" else "float64")
    return [np.asarray(nodes[o], dtype=np.float64) for o in graph.outputs]


def _worst(a: np.ndarray, b: np.ndarray) -> float:
    return float(a[np.argmax(np.abs(a - b))])
