"""The recorder that the tracers of all frameworks share: the op table's names as functions of Values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import Unsupported
from ..core.graph import Graph, Site
from ..core.op import Kind, split_arguments
from ..namespaces.dtypes import ROUNDOFF
from ..ops import FAMILIES, OPS
from ..ops.build import GraphBuilder, Recorder
from ..ops.complex.rules import RULES, Pair, apply, is_complex, paired
from .value import PARTS, Complex, Value, kind_of

LITERAL = 16
"""Concrete arrays of at most so many entries become literals of the graph; larger ones become captured inputs."""

MOVES = frozenset(s.name for s in FAMILIES["shape"]) | {"getitem", "take", "take_along_axis"}
"""Ops that move entries without computing: a mask goes through them as 0 and 1 and comes out as a mask."""

CONVENTION = "what the framework documents to pass no gradient is held fixed"


class Tracer(Recorder):
    """The op table's names as functions of Values; what a mapped operation is written with.

    A mapping may use every op of the table, the operators, and Python numbers, as an op's `define` does. Masks and
    integers are converted where a float is wanted.
    """

    name = "tracer"

    takes_complex = False
    """Are complex arrays recorded as their parts? Else they are refused."""

    def __init__(self) -> None:
        super().__init__(GraphBuilder())
        self.notes: dict[str, None] = {}
        self.detach_sites: dict[str, None] = {}
        self.captured: dict[tuple[Any, ...], int] = {}
        self.values: dict[str, np.ndarray] = {}
        self.names: dict[bytes, str] = {}
        self.formats: dict[int, set[str]] = {}
        self.from_arrays: set[float] = set()
        self.overwrites: dict[int, int] = {}

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

    def formats_of(self, graph: Graph | None) -> dict[str, Any]:
        """`formats`, `node_formats`, `from_arrays` and `overwrites` of a Traced."""
        seen = {k: self.formats[k] for k in graph.active if k in self.formats} if graph is not None else {}
        nodes = {k: max(of, key=lambda d: ROUNDOFF.get(d, 1.0)) for k, of in seen.items()}
        return {"formats": frozenset(d for of in seen.values() for d in of), "node_formats": nodes,
                "from_arrays": frozenset(self.from_arrays), "overwrites": dict(self.overwrites)}  # fmt: skip

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

    def unusable(self, why: str, kind: Kind = "float", wanted: bool = False) -> Value:
        """A value that cannot be used; `wanted` where it comes of an input that is differentiated."""
        return Value(self, kind=kind, live=True, wanted=wanted, why=why)

    def later(self, make: Callable[[], Value]) -> Value:
        """A by-product that is recorded only if something uses it."""
        return Value(self, kind="float", live=True, wanted=True, later=make)

    def capture(self, array: np.ndarray) -> int:
        """Return the node of a concrete array: a literal if it is small, else a fixed input."""
        kind = kind_of(array.dtype)
        array = np.asarray(array, dtype={"int": np.int64, "bool": np.bool_}.get(kind, array.dtype), order="C")
        if array.size <= LITERAL and (array.size or array.ndim == 1) and not np.isnan(array).any():
            if kind == "float":
                self.from_arrays |= {abs(float(v)) for v in array.flat}
            return self.builder.constant(_literal(array, kind), kind)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.captured:
            name = self.names.get(digest(array), "")
            if not name or name in self.values:
                name = f"captured{len(self.captured)}"
            self.values[name] = array
            self.captured[key] = self.builder.input(name, tuple(array.shape), kind)
        return self.captured[key]

    def site(self) -> Site | None:
        """The line of the user's code that the call at hand was asked for by, if there is one."""
        return None

    def call(self, op: str, *args: Any, **params: Any) -> Value:
        if op not in OPS or any(_is_complex(a) for a in args):
            return self.over_parts(op, args, params)
        spec = OPS[op]
        args, positional = split_arguments(spec, args)
        params = {k: _plain(v) for k, v in (positional | params).items()}
        masks = op in MOVES and isinstance(args[0], Value) and args[0].kind == "bool"
        nodes = [self.fitting(a, spec.argument(i)) for i, a in enumerate(args)]
        given = [a for a in args if isinstance(a, Value)]
        self.builder.site = self.site()
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
            return self.capture(x.array.astype(wide))
        if kind == "float":
            return self.call("where", x, 1.0, 0.0).index
        if kind == "bool":
            return self.call("not_equal", x, 0.0).index
        raise Unsupported("integers computed from floating-point values cannot be recorded as such")

    # ---- what a mapping asks of the call at hand

    def read(self, i: int) -> np.ndarray:
        """The value of the call's i-th argument at the point."""
        raise NotImplementedError

    def output(self, i: int) -> np.ndarray:
        """The framework's own i-th result of the call at the point."""
        raise NotImplementedError

    def require(self, fine: bool, what: str) -> None:
        """Raise Unsupported, with `what` as the reason, unless `fine`."""
        if not fine:
            raise Unsupported(what)

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
        at = np.asarray(at, dtype=np.int64)
        if np.array_equal(at.ravel(), np.arange(int(np.prod(x.shape, dtype=np.int64)))):
            return self.shaped(self.flat(x), at.shape)
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
