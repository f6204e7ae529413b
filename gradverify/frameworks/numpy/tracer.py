"""NumPy: a subclass of its arrays that records what is done to them.

The one idea: an argument becomes a `Recorded`, an `ndarray` that ufuncs (`__array_ufunc__`), NumPy's functions
(`__array_function__`), operators and methods hand to the tracer. NumPy computes as ever; the tracer writes down which
operation of the op table it was. What is in an array is kept per piece of *memory*, entry by entry: a view reads its
entries from there, and whatever writes (`out=`, `+=`, `x[i] = …`, `np.add.at`) replaces some of them.

While the function runs, `np.zeros`, `np.array` and their like give recorded arrays too, so that a kernel may fill a
buffer of its own. What a C function does to the memory is not seen; the graph is then not the function, and is found out
when it is held against it.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.errors import JUDGED, Unsupported
from ...core.graph import Input, Site
from ...core.op import Kind
from ...namespaces import layout
from ...trace.base import Tracer, digest
from ...trace.call_site import folder_of, site_in_run
from ...trace.calls import FlatCall, Found, arguments, change_arrays, closed_over, confirmed, finished, leaves, traced
from ...trace.value import PARTS, Complex, Traced, Value
from .handwritten import Flat, HandWritten
from .ufuncs import ASKS, FUNCTIONS, MOVES, MOVES_OR_ZERO, UFUNCS, WRITES, moved

INTEGERS = (
    "integers computed from floating-point values (an argmax, a cast, an order) are held as they are at the point"
)
SCALARS = (
    "Python numbers were read from arrays (a branch, float()): the graph is the branch and the number at this point"
)
COMPLEX = "complex numbers: the op table is about real ones"
_KINDS: Mapping[str, Kind] = {"b": "bool", "c": "complex"}
SELECTION = "entries are selected by a mask that depends on the values: the selection is that at the point"


def trace(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    confirm: bool = True,
    strict: bool = True,
) -> Traced:
    """The graph of `fn(*args, **kwargs)` around this point.

    NumPy arrays among the arguments (nested in tuples, lists and dicts) become inputs; Python numbers are taken as they
    are. Arguments are copied first, in their layout. With `confirm` the graph is held against `fn` here and at a point
    nearby. A function that raises on recorded arrays, but not on plain ones, is opaque.

    Raises Unsupported, with the operation, for what cannot be mapped; with `strict=False` the Traced says so in
    `opaque` instead and its graph is None. What `fn` itself raises is passed on.
    """
    call = FlatCall(fn, tuple(args), dict(kwargs or {}), is_array, seed)
    flat = functools.partial(Flat, call) if isinstance(fn, HandWritten) else call.flat
    return traced_call(call, "numpy", flat, confirm=confirm, strict=strict)


def traced_call(
    call: FlatCall, framework: str, flat: Callable[[tuple[int, ...]], Callable[..., tuple[Any, ...]]], *,
    confirm: bool, strict: bool, modules: Sequence[Any] = (), takes_complex: bool = False,
) -> Traced:  # fmt: skip
    """Trace a call over NumPy arrays. `flat(kept)` is what Traced.function will be; `modules` are further ones that have
    NumPy's functions. With `takes_complex`, `flat(kept)` is over the parts of complex arrays, two for each."""
    xp = NumpyTracer()
    xp.takes_complex = takes_complex
    xp.roots = tuple(folder_of(m) for m in (np, *modules))
    given = arguments(xp, call, as_array, lambda a: a.dtype.name, lambda a: False)
    for name, array in closed_over(call.fn).items():
        if is_array(array) and array.dtype.kind != "c":
            xp.names.setdefault(digest(as_array(array)), name)
    inputs = [xp.argument(n, a) for n, a in zip(call.names, call.arrays)]
    opaque: list[str] = []
    try:
        with xp.recording(*modules, names=getattr(inspect.unwrap(call.fn), "__globals__", None)):
            result = call.run(inputs)
    except JUDGED as e:
        xp.closed = True
        result = call.run([copied(a) for a in call.arrays])  # what the function itself raises is the caller's
        opaque.append(f"it raised {type(e).__name__} on recorded arrays: {_first(e)}")
        found = [_plain_leaf(path, leaf) for path, leaf in leaves(result)]
    else:
        found = [xp.result(path, leaf) for path, leaf in leaves(result)]
    written = [n for n, a, b in zip(call.names, inputs, call.arrays) if not same(plain(a), as_array(b))]
    for n in written:
        xp.note(f"the function writes to its argument {n}")
    traced_ = traced(xp, framework, given, found, flat, opaque, written=tuple(written), mutated_unseen=tuple(written))
    if any(a.part for a in traced_.arguments) or any(o.part for o in traced_.outputs):
        kept = tuple(k for k, f in enumerate(found) if f.array is not None and f.array.dtype.kind in "fcV")
        traced_ = replace(traced_, native=call.flat(kept))
    if traced_.graph is not None and confirm:
        like = [half for a in call.arrays for half in (halves(a) if takes_complex else (a,))]
        why = confirmed(traced_, xp, put, like, as_array, call.seed, "NumPy's sight", list(xp.left))
        if why:
            traced_ = replace(traced_, graph=None, opaque=(*traced_.opaque, why))
    return finished(traced_, xp, strict)


def _first(e: BaseException) -> str:
    return (str(e).strip().splitlines() or [""])[0]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(as_array(a), b, equal_nan=b.dtype.kind in "fc")


def _plain_leaf(path: str, leaf: Any) -> Found:
    array = _as_result(leaf)
    return Found(path, array, type(leaf).__name__ if array is None else array.dtype.name)


def _as_result(leaf: Any) -> np.ndarray | None:
    """Arrays, and Python's floats and complex numbers, which a function may return for one."""
    if is_array(leaf):
        return np.array(plain(leaf))
    if isinstance(leaf, float | complex):
        return np.asarray(leaf)
    return None


# ---- arrays ---------------------------------------------------------------------------------------------------------


def is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic) and (x.dtype.kind in "fiubc" or x.dtype.name == "bfloat16")


def as_array(x: Any) -> np.ndarray:
    """Its values; bfloat16 and smaller as float32, which holds them."""
    out = np.array(plain(x))
    return out if out.dtype.kind in "fiubc" else out.astype(np.float32)


def copied(x: Any) -> Any:
    """As `layout.copy_layout`; a scalar stays one."""
    if not isinstance(x, np.ndarray):
        return np.array(x)[()]
    return layout.copy_layout(plain(x))


def halves(x: Any) -> tuple[Any, ...]:
    """A complex array as its real and imaginary part; any other by itself."""
    return (np.real(x), np.imag(x)) if np.iscomplexobj(x) else (x,)


def put(value: np.ndarray, like: Any) -> Any:
    """An array laid out as `like` with other values."""
    new = np.array(copied(like)) if not isinstance(like, np.ndarray) else copied(like)
    if not new.flags.writeable:
        new = np.array(new)
    if new.shape != np.shape(value):
        return np.asarray(value).astype(new.dtype)
    new[...] = np.asarray(value).astype(new.dtype)
    return new if isinstance(like, np.ndarray) else new[()]


def replaced(change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with some of their arrays changed: for `judge.variations`."""
    return change_arrays(is_array, np.asarray, lambda new, like: new, change, args, kinds="fiu")


def plain(x: Any) -> Any:
    """Recorded arrays, at any depth, as the ordinary ones over the same memory."""
    if isinstance(x, Recorded):
        return np.ndarray.view(x, np.ndarray)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(plain, x))
    if isinstance(x, tuple | list):
        return type(x)(map(plain, x))
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, slice):
        return slice(*(int(v) if isinstance(v, Recorded) else v for v in (x.start, x.stop, x.step)))
    return x


class Recorded(np.ndarray):
    """An array whose operations are recorded while its tracer is recording; an ordinary one afterwards.

    A 0-d one that stands for a NumPy scalar is `scalar`: scalars cannot be written to, so `s += 1` makes a new one.
    """

    tracer: NumpyTracer | None = None
    scalar = False

    def __array_finalize__(self, other: Any) -> None:
        self.tracer = getattr(other, "tracer", None)

    @property
    def xp(self) -> NumpyTracer | None:
        return None if self.tracer is None or self.tracer.closed else self.tracer

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        xp = _recording((inputs, kwargs))
        if xp is None:
            return getattr(ufunc, method)(*plain(inputs), **plain(kwargs))
        return xp.ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        xp = _recording((args, kwargs))
        return func(*plain(args), **plain(kwargs)) if xp is None else xp.function(func, args, kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self.xp.indexed(self, key) if self.xp else plain(self)[plain(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.xp:
            self.xp.assigned(self, key, value)
        else:
            plain(self)[plain(key)] = plain(value)

    def __float__(self) -> float:
        return float(self._read())

    def __int__(self) -> int:
        return int(self._read())

    def __bool__(self) -> bool:
        return bool(self._read())

    def __index__(self) -> int:
        return plain(self).__index__()

    def __complex__(self) -> complex:
        return complex(self._read())

    def item(self, *at: Any) -> Any:
        return self._read("item").item(*at)

    def tolist(self) -> Any:
        return self._read("tolist").tolist()

    def _read(self, how: str = "") -> np.ndarray:
        """Values leave the tracer's sight."""
        if self.xp and self.xp.is_live(self):
            self.xp.note(SCALARS)
            if how:
                self.xp.left[how] = None
        return plain(self)

    def __repr__(self) -> str:
        return repr(plain(self))

    def __str__(self) -> str:
        return str(plain(self))

    def __format__(self, spec: str) -> str:
        return format(plain(self), spec)

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    __copy__ = lambda self: self.copy()

    # What the C implementations of the methods would do out of sight.
    def copy(self, order: Any = "C") -> Any:
        return self.xp.passed(self, plain(self).copy(order)) if self.xp else plain(self).copy(order)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        result = plain(self).astype(dtype, *args, **kwargs)
        return self.xp.passed(self, result) if self.xp else result

    def view(self, *args: Any, **kwargs: Any) -> Any:
        """Not even as an `np.ndarray` out of sight."""
        return np.ndarray.view(self) if self.xp and args == (np.ndarray,) else np.ndarray.view(self, *args, **kwargs)

    def fill(self, value: Any) -> None:
        self[...] = value

    def sort(self, axis: Any = -1, **kwargs: Any) -> None:  # type: ignore[override]
        self[...] = np.sort(self, axis=axis, **kwargs)

    def partition(self, kth: Any, axis: Any = -1, **kwargs: Any) -> None:  # type: ignore[override]
        self[...] = np.partition(self, kth, axis=axis, **kwargs)

    def reshape(self, *shape: Any, order: Any = "C", **kwargs: Any) -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, order=order, **kwargs)

    def transpose(self, *axes: Any) -> Any:
        return np.transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    def flatten(self, order: Any = "C") -> Any:
        return np.ravel(self.copy(), order=order)

    def clip(self, min: Any = None, max: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return np.clip(self, min, max, out=out, **kwargs)

    def conj(self) -> Any:
        return np.conjugate(self)

    conjugate = conj

    @property
    def real(self) -> Any:
        return self.xp.part(self, "real") if self.xp and self.dtype.kind == "c" else plain(self).real

    @real.setter
    def real(self, value: Any) -> None:
        self[...] = value + 1j * self.imag

    @property
    def imag(self) -> Any:
        return self.xp.part(self, "imag") if self.xp and self.dtype.kind == "c" else plain(self).imag

    @imag.setter
    def imag(self, value: Any) -> None:
        self[...] = self.real + 1j * value

    @property
    def T(self) -> Any:
        return np.transpose(self)

    @property
    def mT(self) -> Any:
        return np.swapaxes(self, -1, -2)

    @property
    def flat(self) -> Any:
        return np.reshape(self, -1)

    @flat.setter
    def flat(self, value: Any) -> None:
        self[...] = np.reshape(np.resize(value, self.size), self.shape)


def _method(name: str) -> Any:
    return lambda self, *args, **kwargs: getattr(np, name)(self, *args, **kwargs)


for _name in (
    "all any argmax argmin argpartition argsort choose cumprod cumsum diagonal dot max mean min nonzero prod ravel "
    "repeat round searchsorted squeeze std sum swapaxes take trace var put"
).split():
    setattr(Recorded, _name, _method(_name))
Recorded.compress = lambda self, condition, axis=None, out=None: np.compress(condition, self, axis, out)  # type: ignore

for _name in "add sub mul truediv floordiv mod pow and or xor matmul".split():

    def _in_place(self: Any, other: Any, name: str = _name) -> Any:
        """Scalars are not written to."""
        new = self.scalar and getattr(np.ndarray, f"__{name}__")(self, other)
        return new if self.scalar else getattr(np.ndarray, f"__i{name}__")(self, other)

    setattr(Recorded, f"__i{_name}__", _in_place)


def _recording(tree: Any) -> NumpyTracer | None:
    for _, leaf in leaves(tree):
        if isinstance(leaf, Recorded) and leaf.xp:
            return leaf.xp
    return None


# ---- memory ---------------------------------------------------------------------------------------------------------


def _owner(a: np.ndarray) -> np.ndarray:
    """The array whose memory `a` is a view of."""
    while True:
        base: Any = a.base
        if not isinstance(base, np.ndarray):
            base = getattr(base, "base", None)  # what as_strided puts between
        if not isinstance(base, np.ndarray):
            return a
        a = base


Layout = tuple[int, tuple[int, ...], tuple[int, ...], str]


def _layout(a: np.ndarray) -> Layout:
    return a.__array_interface__["data"][0], a.shape, a.strides, a.dtype.str


class _Memory:
    """The recorded contents of one array's memory.

    source  for each place, the number of its entry: entries are counted through `parts`, one after the other
    parts   (number of the first entry, value), in the order in which they were written
    views   the layouts that were read, or written last; `hints` make the values of views in fewer ops than reading does
    """

    def __init__(self, owner: np.ndarray) -> None:
        self.owner, self.dtype = owner, owner.dtype
        self.low, high = np.lib.array_utils.byte_bounds(plain(owner))
        self.source: np.ndarray = np.arange((high - self.low) // max(owner.itemsize, 1))
        self.parts: list[tuple[int, Value]] = []
        self.views: dict[Layout, Value] = {}
        self.hints: dict[Layout, Callable[[], Value]] = {}
        self.count = 0

    def flat_indices(self, a: np.ndarray) -> np.ndarray:
        first = (a.__array_interface__["data"][0] - self.low) // a.itemsize
        return layout.strided_indices(a.shape, [s // a.itemsize for s in a.strides], first)

    def write(self, where: np.ndarray, value: Value) -> None:
        """Write the entries of a value, in C order, to flat indices."""
        self.source[where.ravel()] = self.count + np.arange(where.size)
        self.parts.append((self.count, value))
        self.count += where.size
        self.views.clear()
        self.hints.clear()


# ---- recording ------------------------------------------------------------------------------------------------------

MAKERS = "zeros ones empty full eye identity array asarray asanyarray ascontiguousarray asfortranarray".split()
"""Functions that make arrays from what is none, which NumPy does not dispatch."""

MATH = {
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "log2": "log2", "log10": "log10", "sqrt": "sqrt",
    "sin": "sin", "cos": "cos", "tan": "tan", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "atan2": "arctan2", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "pow": "power", "hypot": "hypot",
    "fabs": "fabs",
}  # fmt: skip
"""Functions of `math`, which take a 0-d array for the number in it, and their namesakes."""


Patch = tuple[Any, str, Any]
"""A module or class, the name of an attribute, and its value."""

COMPILE = "_compile_for_args"
"""Numba's method that compiles a function for arguments of new types."""


def _aside(patches: Sequence[Patch], before: Sequence[Patch], method: Callable[..., Any]) -> Callable[..., Any]:
    """A method, during which the patches are not there."""

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            for module, name, old in before:
                setattr(module, name, old)
            return method(*args, **kwargs)
        finally:
            for module, name, new in patches:
                setattr(module, name, new)

    return call


def _inside(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of the tracer, in which `np.array` and its like are NumPy's own again."""

    @functools.wraps(method)
    def call(self: NumpyTracer, *args: Any, **kwargs: Any) -> Any:
        with self.busy(True):
            return method(self, *args, **kwargs)

    return call


class NumpyTracer(Tracer):
    """The tracer that the mappings of `ufuncs` call `xp`; it knows the call at hand.

    left   the ways by which values were seen to leave NumPy's sight
    roots  the folders of NumPy and of what is written like it
    """

    def __init__(self) -> None:
        super().__init__()
        self.memories: dict[int, _Memory] = {}
        self.given: dict[Any, Value] = {}
        self.keep: list[Any] = []
        self.left: dict[str, None] = {}
        self.closed = False
        self.inside = False
        self.at_hand: tuple[Any, ...] = ()
        self.outs: list[Any] = []
        self.roots: tuple[str, ...] = ()

    def site(self) -> Site | None:
        return site_in_run(FlatCall.run.__code__, *self.roots)

    # what a mapping may ask
    def read(self, i: int) -> np.ndarray:
        """The value of the i-th argument at the point."""
        return np.asarray(self.at_hand[i])

    def output(self, i: int) -> np.ndarray:
        return np.asarray(self.outs[i])

    @contextmanager
    def busy(self, inside: bool) -> Iterator[None]:
        before, self.inside = self.inside, inside
        try:
            yield
        finally:
            self.inside = before

    # ---- the run

    @_inside
    def argument(self, name: str, array: Any) -> Any:
        """A copy of an argument, recorded. Integers and masks are ordinary arrays, and known again."""
        new = copied(array)
        nodes = {n.name: k for k, n in enumerate(self.builder.nodes) if isinstance(n, Input)}
        if new.dtype.kind == "c":
            parts = (Value(self, node=nodes[f"{name}.{p}"], kind="float", live=True, wanted=True) for p in PARTS)
            return self.wrapped(np.asarray(new), Complex(self, *parts), not isinstance(array, np.ndarray))
        node = nodes[name]
        if new.dtype.kind in "iub":
            if isinstance(new, np.ndarray):
                self.keep.append(new)
                self.given[_layout(new)] = Value(self, node=node, array=np.array(new))
            return new
        value = Value(self, node=node, kind="float", live=True, wanted=True)
        return self.wrapped(
            new if isinstance(new, np.ndarray) else np.array(new), value, not isinstance(array, np.ndarray)
        )

    @contextmanager
    def recording(self, *modules: Any, names: Mapping[str, Any] | None = None) -> Iterator[None]:
        """`np.zeros` and its like make recorded arrays, and `math` takes them; `modules` have them as well, and `names`
        (a function's globals) may hold them by themselves."""
        patches = [(m, n, _instead(self.made, getattr(m, n))) for m in (np, *modules) for n in MAKERS if hasattr(m, n)]
        patches += [(math, n, _instead(_number, getattr(math, n), getattr(np, m))) for n, m in MATH.items()]
        tricks = np.lib.stride_tricks
        patches.append((tricks, "as_strided", _instead(self.strided, tricks.as_strided)))
        dispatcher = getattr(sys.modules.get("numba.core.dispatcher"), "_DispatcherBase", None)
        if dispatcher is not None:  # Numba knows functions by what they are, when it first compiles and ever after
            aside = functools.partial(_aside, patches, [(m, n, getattr(m, n)) for m, n, _ in patches])
            patches = [*patches, (dispatcher, COMPILE, aside(getattr(dispatcher, COMPILE)))]
        before = [(module, name, getattr(module, name)) for module, name, _ in patches]
        instead = {id(old): new for (_, _, new), (_, _, old) in zip(patches, before)}
        namespace: dict[str, Any] = names if isinstance(names, dict) else {}
        imported = {n: v for n, v in namespace.items() if id(v) in instead}
        try:
            for module, name, new in patches:
                setattr(module, name, new)
            namespace.update({n: instead[id(v)] for n, v in imported.items()})
            yield
        finally:
            for module, name, old in before:
                setattr(module, name, old)
            namespace.update(imported)
            self.closed = True

    def made(self, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What np.array and its like make: a recorded array, of the values in the arguments."""
        if self.inside:
            return make(*args, **kwargs)
        with self.busy(True):
            return self.newly_made(make, args, kwargs)

    def newly_made(self, make: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        result = make(*plain(args), **plain(kwargs))
        if not isinstance(result, np.ndarray) or result.dtype.kind not in ("fbc" if self.takes_complex else "fb"):
            return result
        given = next((a for a in (*args, *kwargs.values()) if not isinstance(a, Recorded) and _holds(a)), None)
        array = args[0] if args else kwargs.get("object", kwargs.get("a"))
        if isinstance(array, Recorded):
            return self.passed(array, result)
        if make.__name__ == "full":
            new = self.wrapped(result)
            fill = args[1] if len(args) > 1 else kwargs["fill_value"]
            if isinstance(fill, Recorded):
                self.assigned(new, ..., fill)
            return new
        if given is None:
            return self.wrapped(result) if result.dtype.kind == "f" else result
        return self.wrapped(result, self.nested(given, result.shape))

    @_inside
    def strided(self, as_strided: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        return (
            self.wrapped(as_strided(plain(x), *args, **kwargs))
            if isinstance(x, Recorded)
            else as_strided(x, *args, **kwargs)
        )

    def nested(self, tree: Any, shape: Sequence[int]) -> Value:
        """Nested lists of numbers and arrays as one array."""
        parts = [self.entered(leaf) for _, leaf in leaves(tree)]
        flat = [self.flat(p if isinstance(p, Value) else self.concrete(np.float64(p))) for p in parts]
        return self.shaped(self.call("concat", [self.matching(f, flat[0]) for f in flat], axis=0), shape)

    # ---- values

    def find(self, a: Any) -> Value | None:
        """The live value of an array; None for a concrete one."""
        memory = self.memories.get(id(_owner(a))) if isinstance(a, np.ndarray) else None
        if memory is None:
            return None
        key = _layout(a)
        if a.dtype != memory.dtype:
            return self.unusable(f"the bits of {memory.dtype} as {a.dtype}")
        if key not in memory.views:
            if key in memory.hints:
                memory.views[key] = memory.hints.pop(key)()
            else:
                memory.views[key] = self.gathered(memory, memory.source[memory.flat_indices(a)])
        value = memory.views[key]
        return value if value.live else None

    def gathered(self, memory: _Memory, source: np.ndarray) -> Value:
        """The entries of these numbers."""
        firsts = np.array([first for first, _ in memory.parts])
        which = np.searchsorted(firsts, source.ravel(), side="right") - 1
        used = np.unique(which) if which.size else np.zeros(1, dtype=np.int64)
        values = [memory.parts[k][1] for k in used]
        bad = next((v for v in values if v.why), None)
        if bad is not None:
            return bad
        if not any(v.live for v in values):
            return values[0]
        if len(used) == 1:
            local = source - firsts[used[0]]
            size = math.prod(values[0].shape)
            if local.size == size and np.array_equal(local.ravel(), np.arange(size)):
                return self.shaped(values[0], source.shape)
            return self.picked(values[0], local)
        kind: Kind = _KINDS.get(memory.dtype.kind, "float")
        flat = [self.flat(self.as_kind(v, kind)) for v in values]
        starts = np.cumsum([0, *(math.prod(v.shape) for v in values)])[:-1]
        number = source.ravel() - firsts[which] + starts[np.searchsorted(used, which)]
        both = self.call("concat", flat, axis=0)
        if np.array_equal(number, np.arange(math.prod(both.shape))):
            return self.shaped(both, source.shape)
        return self.picked(both, number.reshape(source.shape))

    @_inside
    def is_live(self, a: Any) -> bool:
        return self.find(a) is not None

    def entered(self, x: Any) -> Any:
        """An argument of a call as a mapping sees it: Values and Python numbers, at any depth."""
        if isinstance(x, np.ndarray):
            value = self.find(x)
            if value is None:
                value = self.given.get(_layout(x))
            return self.concrete(as_array(x)) if value is None else value
        if isinstance(x, np.generic):
            return x.item()
        if isinstance(x, tuple | list):
            return type(x)(map(self.entered, x))
        return x

    def wrapped(self, array: np.ndarray, value: Value | None = None, scalar: bool = False) -> Any:
        """An array as a recorded one; with a live value it is entered."""
        new = array.view(Recorded)
        new.tracer, new.scalar = self, scalar
        if value is not None and value.live:
            self.enter(new, value)
        return new

    def enter(self, a: np.ndarray, value: Value) -> None:
        """A fresh result; of a view, its memory knows already."""
        owner = _owner(a)
        if id(owner) in self.memories:
            self.memories[id(owner)].views.setdefault(_layout(a), value)
            return
        memory = _Memory(owner)
        if a.size != memory.source.size:
            memory.write(np.arange(memory.source.size), self.concrete(_contents(memory)))
        memory.write(memory.flat_indices(a), value)
        memory.views[_layout(a)] = value
        self.memories[id(owner)] = memory

    def before(self, a: Any) -> Any:
        """Return what `wrote` needs to recover the contents from before a write."""
        owner = _owner(a)
        return None if id(owner) in self.memories else _contents(_Memory(owner))

    def write(self, a: np.ndarray, value: Value | None, before: Any, where: np.ndarray | None = None) -> None:
        """`a` was written to (at the places `where`, else everywhere). None stands for what is concrete."""
        owner = _owner(a)
        memory = self.memories.get(id(owner))
        if memory is None:
            if value is None or not value.live:
                return
            if owner.dtype.kind not in ("fbc" if self.takes_complex else "fb") and owner.dtype.name != "bfloat16":
                self.note(INTEGERS)
                return
            memory = self.memories[id(owner)] = _Memory(owner)
            memory.write(np.arange(before.size), self.concrete(before))
        spots = memory.flat_indices(a) if where is None else where
        if value is None:
            value = self.concrete(_contents(memory)[spots])
        elif not value.why:
            value = self.spread(value, spots.shape)
        memory.write(spots, value)
        if where is None:
            memory.views[_layout(a)] = value

    def indices_of(self, a: np.ndarray, key: Any) -> np.ndarray:
        """Where in its memory the entries a[key] lie."""
        memory = self.memories.get(id(_owner(a))) or _Memory(_owner(a))
        return np.asarray(memory.flat_indices(a)[key])

    @_inside
    def passed(self, x: Recorded, result: Any) -> Any:
        """A result with the entries of `x`, perhaps of another dtype, perhaps over the same memory."""
        if _owner(result) is _owner(x) and result.dtype == x.dtype:
            return self.wrapped(result)
        value = self.find(x)
        if value is None:
            return self.wrapped(result) if result.dtype.kind == "f" else result
        if result.dtype.kind in "iu":
            self.note(INTEGERS)
            return result
        return self.returned(result, self.cast(value, x.dtype, result.dtype))

    @_inside
    def part(self, x: Recorded, part: str) -> Any:
        """The real or imaginary part of a complex array, in memory of its own: it is not seen to be written to."""
        result = np.array(getattr(plain(x), part))
        value = self.find(x)
        if isinstance(value, Complex) and not value.why:
            value = value.re if part == "real" else value.im
        return self.returned(result, value)

    def moved_axis(self, x: Value, source: int, destination: int) -> Value:
        """As np.moveaxis."""
        order = list(range(x.ndim))
        order.insert(destination % x.ndim, order.pop(source))
        return x if order == list(range(x.ndim)) else self.permute_dims(x, axes=tuple(order))

    def cast(self, value: Value, a: np.dtype, b: np.dtype) -> Value:
        if value.why:
            return value
        if b.kind == "c":
            return self.as_kind(value, "complex") if self.takes_complex else self.unusable(COMPLEX)
        if isinstance(value, Complex):
            value = value.re
        value = self.recast(value, a.name, b.name)
        return self.as_kind(value, "bool" if b.kind == "b" else "float")

    def as_kind(self, value: Value, kind: Any) -> Value:
        if value.why or value.kind == kind or "complex" in (kind, value.kind):
            return super().as_kind(value, kind)
        return Value(self, node=self.fitting(value, kind), kind=kind, live=value.live, wanted=value.wanted)

    def returned(self, result: Any, value: Value | None) -> Any:
        """What a call gives back, recorded. Integers and concrete scalars are NumPy's own."""
        if isinstance(result, np.generic):
            if value is None or not value.live:
                if result.dtype.kind in "iu" and value is None:
                    return result
                return result
            return self.wrapped(np.array(result), self.fitted(value, np.array(result)), scalar=True)
        if not isinstance(result, np.ndarray):
            return result
        if result.dtype.kind in "iu" or result.dtype.kind == "O":
            return result
        if value is None or not value.live:
            return self.wrapped(result) if result.dtype.kind == "f" else result
        return self.wrapped(result, self.fitted(value, result))

    def fitted(self, value: Value, result: np.ndarray) -> Value:
        if value.why:
            return value
        if result.dtype.kind == "c" and not self.takes_complex:
            return self.unusable(COMPLEX)
        value = self.as_kind(value, _KINDS.get(result.dtype.kind, "float"))
        return value if value.shape == result.shape else self.spread(value, result.shape)

    @_inside
    def result(self, path: str, leaf: Any) -> Found:
        array = _as_result(leaf)
        if array is None:
            return Found(path, None, type(leaf).__name__)
        value = self.find(leaf) if isinstance(leaf, np.ndarray) else None
        if isinstance(value, Complex) and array.dtype.kind == "c" and not value.why:
            return Found(path, array, array.dtype.name, value.re.index, imag=value.im.index)
        if value is None or (array.dtype.kind not in "fc" and array.dtype.name != "bfloat16"):
            return Found(path, array, array.dtype.name)
        return Found(path, array, array.dtype.name, None if value.why else value.index, value.why)

    # ---- calls

    def mapped(self, name: str, mapping: Any, args: Any, kwargs: Any, results: Sequence[Any]) -> list[Value | None]:
        """One value per result: None for concrete ones, an unusable one for what has no counterpart."""
        kinds = [np.asarray(r).dtype.kind for r in results]
        if all(k in "iu" for k in kinds):
            self.note(INTEGERS)
            return [None] * len(kinds)
        why, found = "", []
        try:
            if "c" in kinds and not self.takes_complex:
                raise Unsupported(f"{name} gives complex numbers: the op table is about real ones")
            if mapping is None:
                raise Unsupported(f"{name} has no counterpart in the op table")
            out = mapping(self, *args, **kwargs)
            found = list(out) if isinstance(out, tuple | list) else [out]
        except Unsupported as e:
            why = str(e)
        except Exception as e:
            # Our mistake, but inside the user's function: reported, not raised there.
            why = f"the mapping of {name} failed ({type(e).__name__}: {e})"
        if why:
            return [None if k in "iu" else self.unusable(why, "bool" if k == "b" else "float") for k in kinds]
        found += [None] * (len(kinds) - len(found))
        return [
            v if v is not None or k in "iu" else self.unusable(f"a by-product of {name} has no counterpart")
            for v, k in zip(found, kinds)
        ]

    def live_in(self, tree: Any) -> bool:
        return any(isinstance(x, np.ndarray) and self.is_live(x) for _, x in leaves(tree))

    @_inside
    def ufunc(self, ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        if method == "at":
            return self.accumulate_at(ufunc, name, *inputs)
        outs = kwargs.get("out", ())
        live = self.live_in((inputs, kwargs.get("where", True)))
        args = self.entered(inputs) if live else ()
        old = [(None, None) if o is None else (self.before(o), self.find(o)) for o in outs]
        old_arrays = [None if o is None else np.array(plain(o)) for o in outs]
        results = getattr(ufunc, method)(*plain(inputs), **plain(kwargs))
        single = not isinstance(results, tuple)
        results = (results,) if single else results
        values: list[Value | None] = [None] * len(results)
        where = kwargs.get("where", True)
        if live:
            self.at_hand = plain(inputs)
            self.outs = [np.asarray(r) for r in results]
            rest = {k: v for k, v in kwargs.items() if k not in ("out", "where", "casting", "order", "subok", "dtype")}
            if method != "__call__" and where is not True:
                rest["where"] = self.entered(where)
            mapping = UFUNCS.get(name)
            mapping = None if method == "__call__" and rest and not ufunc.signature else mapping
            values = self.mapped(f"the ufunc {name}", mapping, args, self.entered_all(rest), results)
        made = []
        for k, (result, value) in enumerate(zip(results, values)):
            target = outs[k] if k < len(outs) else None
            if target is None:
                if where is not True and method == "__call__" and value is not None:
                    value = self.unusable(f"{name} with where= and no out=, where entries are left as memory has them")
                made.append(self.returned(result, value))
                continue
            kept = where is not True and method == "__call__"
            if kept and (value is not None or old[k][1] is not None) and not (value and value.why):
                before = old[k][1] if old[k][1] is not None else self.concrete(as_array(old_arrays[k]))
                new = self.concrete(as_array(plain(target))) if value is None else value
                value = self.where(self.entered(where), new, before)
            if value is not None:
                value = self.fitted(value, np.asarray(result)) if not value.why else value
            self.write(target, value, old[k][0])
            made.append(target)
        return made[0] if single else tuple(made)

    def entered_all(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {k: self.entered(v) for k, v in kwargs.items()}

    def accumulate_at(self, ufunc: Any, name: str, target: Any, key: Any, update: Any = None) -> None:
        """ufunc.at: unbuffered, so that an entry that is named twice is changed twice."""
        live = self.live_in((target, update))
        before, old, new = self.before(target), self.entered(target), self.entered(update)
        ufunc.at(plain(target), plain(key), *(() if update is None else (plain(update),)))
        if not live:
            return self.write(target, None, before)
        if name not in ("add.at", "subtract.at"):
            self.write(target, self.unusable(f"{name} has no counterpart in the op table"), before)
            return None
        spots = np.arange(target.size).reshape(target.shape)[plain(key)]
        new = -new if name == "subtract.at" else new
        self.write(target, self.accumulated(old, np.asarray(spots), new), before)
        return None

    @_inside
    def function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = f"{func.__module__.replace('numpy', 'np', 1)}.{func.__name__}"
        if func in WRITES:
            with self.busy(False):
                return WRITES[func](self, *args, **kwargs)
        if func in (np.real, np.imag) and isinstance(args[0], Recorded) and args[0].dtype.kind == "c":
            return self.part(args[0], func.__name__)
        if func in ASKS or not self.live_in((args, kwargs)):
            # zeros_like and its like, whose results may be written to
            return self.outwards(func(*plain(args), **plain(kwargs)), kwargs.get("out"))
        known = func in FUNCTIONS or func in MOVES or func in MOVES_OR_ZERO
        inner = getattr(func, "_implementation", None)
        if not known and isinstance(inner, types.FunctionType):
            with self.busy(False):
                results = inner(*args, **kwargs)
            return self.checked(name, results)
        out = kwargs.pop("out", None)
        # Before the call, since that may write to what it reads.
        entered, named = self.entered(args), self.entered_all(kwargs)
        before = None if out is None else self.before(out)
        results = func(*plain(args), **plain(kwargs), **({} if out is None else {"out": plain(out)}))
        if func in MOVES and isinstance(results, np.ndarray) and _owner(results) is _owner(args[0]) and out is None:
            return self.viewed(func, entered[0], args, kwargs, results)
        single = not isinstance(results, tuple | list)
        several = [results] if single else list(results)
        self.at_hand, self.outs = plain(args), several
        if func in MOVES or func in MOVES_OR_ZERO:
            mapping: Any = lambda xp, x, *rest, **more: moved(
                xp, func, x, plain(args[1:]), plain(kwargs), func in MOVES_OR_ZERO
            )
        else:
            mapping = FUNCTIONS.get(func)
        values = self.mapped(name, mapping, entered, named, several)
        if out is not None:
            self.write(out, values[0] if values[0] is None else self.fitted(values[0], np.asarray(out)), before)
            return out
        made = [self.returned(r, v) for r, v in zip(several, values)]
        if single:
            return made[0]
        return type(results)(*made) if hasattr(results, "_fields") else type(results)(made)

    def viewed(self, func: Any, value: Any, args: Any, kwargs: Any, result: np.ndarray) -> Any:
        """A view: its memory knows its entries; the op by which it was made says it in one node."""
        memory = self.memories.get(id(_owner(result)))
        if memory is not None and isinstance(value, Value):
            memory.hints.setdefault(
                _layout(result), lambda: moved(self, func, value, plain(args[1:]), plain(kwargs), False)
            )
        return self.wrapped(result)

    def outwards(self, results: Any, out: Any = None) -> Any:
        if out is not None:
            self.write(out, None, None)
            return out
        if isinstance(results, tuple | list) and not hasattr(results, "_fields"):
            return type(results)(self.outwards(r) for r in results)
        return self.returned(results, None)

    def checked(self, name: str, results: Any) -> Any:
        """What a function of NumPy's, followed into its parts, gives back: an array that is not recorded has come out
        of a part that was not seen."""

        def one(r: Any) -> Any:
            if isinstance(r, Recorded) or not is_array(r) or r.dtype.kind in "iub":
                return r
            return self.returned(r, self.unusable(f"{name} computes out of NumPy's sight"))

        if isinstance(results, tuple | list) and not hasattr(results, "_fields"):
            return type(results)(one(r) for r in results)
        return one(results)

    # ---- indexing

    @_inside
    def indexed(self, x: Recorded, key: Any) -> Any:
        index = plain(key)
        result = plain(x)[index]
        if isinstance(result, np.ndarray) and _owner(result) is _owner(x):
            memory = self.memories.get(id(_owner(x)))
            basic = _triples(index)
            if memory is not None and basic is not None:
                value = self.find(x)
                if value is not None and not value.why:
                    memory.hints.setdefault(_layout(result), lambda: self.call("getitem", value, index=basic))
            return self.wrapped(result)
        if not isinstance(result, np.ndarray):
            return self.entry(x, index, result)
        value = self.find(x)
        if value is None or value.why:
            return self.returned(result, value)
        if any(isinstance(k, Recorded) and self.is_live(k) for _, k in leaves(key)):
            self.note(SELECTION)
        spots = np.arange(x.size).reshape(x.shape)[index]
        return self.returned(result, self.picked(value, np.asarray(spots)))

    def entry(self, x: Recorded, index: Any, result: Any) -> Any:
        """One entry, as a scalar. Its memory is asked, not the array, since that may have been filled one by one."""
        memory = self.memories.get(id(_owner(x)))
        if memory is None:
            return result
        source = memory.source[self.indices_of(x, index)]
        value = self.gathered(memory, source) if x.dtype == memory.dtype else self.find(x)
        return self.returned(result, value)

    @_inside
    def assigned(self, x: Recorded, key: Any, new: Any) -> None:
        mask = self.find(key) if isinstance(key, np.ndarray) and key.dtype.kind == "b" else None
        before, index = self.before(x), plain(key)
        value = self.nested(new, np.shape(plain(new))) if isinstance(new, list) and _holds(new) else self.entered(new)
        old = self.entered(x) if mask is not None else None
        where = self.indices_of(x, index)
        if isinstance(new, Recorded) and _owner(new) is _owner(x) and np.array_equal(where, self.indices_of(new, ...)):
            return  # what `x[i] += y` ends with
        plain(x)[index] = plain(new)
        if mask is not None and key.shape == x.shape and np.ndim(new) == 0:
            # The mask stays part of the definition, kinks included.
            self.write(x, self.where(mask, value, old), before)
            return
        if mask is not None:
            self.note(SELECTION)
        if not isinstance(value, Value):
            self.write(x, None, before, where)
            return
        if value.live and not value.why:
            value = self.cast(value, np.asarray(new).dtype, x.dtype)
            trailing = value.shape
            if len(trailing) > where.ndim:  # NumPy drops leading axes of length 1
                value = self.shaped(value, trailing[len(trailing) - where.ndim :])
        self.write(x, value if value.live else None, before, where)


def _contents(memory: _Memory) -> np.ndarray:
    """All that is in a memory, as one axis."""
    owner = plain(memory.owner)
    everything = np.zeros(memory.source.size, dtype=owner.dtype)
    everything[memory.flat_indices(owner)] = owner
    return as_array(everything)


def _holds(tree: Any) -> bool:
    return isinstance(tree, tuple | list) and any(isinstance(x, Recorded) for _, x in leaves(tree))


def _instead(new: Callable[..., Any], old: Callable[..., Any], *more: Any) -> Any:
    """`new(old, *more, …)` in the place of `old`."""
    return functools.wraps(old)(lambda *args, **kwargs: new(old, *more, *args, **kwargs))


def _number(original: Callable[..., Any], ufunc: Any, *args: Any) -> Any:
    return ufunc(*args) if any(isinstance(a, Recorded) for a in args) else original(*args)


def _triples(index: Any) -> tuple[Any, ...] | None:
    """A basic index as the op table writes it; None for an advanced one."""
    entries = index if isinstance(index, tuple) else (index,)
    found: list[Any] = []
    for e in entries:
        if isinstance(e, slice):
            found.append(tuple(None if v is None else int(v) for v in (e.start, e.stop, e.step)))
        elif e is None:
            found.append(None)
        elif e is Ellipsis:
            found.append("...")
        elif isinstance(e, int | np.integer) and not isinstance(e, bool):
            found.append(int(e))
        else:
            return None
    return tuple(found)
