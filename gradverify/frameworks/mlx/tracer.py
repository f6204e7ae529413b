"""MLX: the graph that `mx.export_function` hands to a callback, replayed in NumPy.

A function with rules of its own (`mx.custom_function`, `mx.checkpoint`) is one primitive there that says nothing of its
parts; under `mx.vmap`, over a batch of one, its forward is in the graph like everything else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ...core.errors import Unsupported
from ...namespaces.layout import strided_indices
from ...trace.call_site import called_from
from ...trace.calls import FlatCall, change_arrays, leaves
from ...trace.value import Traced
from ..numpy.tracer import plain
from ..replay import Arrays, Program, op, trace_by_replay

Step = Callable[..., Any]

DETACHED = "stop_gradient: the definition differentiates through it"
STOPPED = "a value was detached (stop_gradient) on its way; the definition holds it fixed"

ROOT = str(Path(mx.__file__).parent)
"""Where MLX's own Python is."""


def trace(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    stop_detached: bool = False,
    confirm: bool = True,
    strict: bool = True,
) -> Traced:
    """The graph of `fn(*args, **kwargs)` around this point. Arrays among the arguments (nested in tuples, lists and
    dicts) become inputs. `stop_detached` holds what `mx.stop_gradient` gives fixed, instead of following the forward
    definition through it. Raises as `numpy.trace` does."""
    call = FlatCall(fn, tuple(args), dict(kwargs or {}), is_array, seed)
    stops = _Stops(stop_detached)
    with mx.stream(mx.cpu):  # where float64 is
        found = trace_by_replay(
            call, "mlx", "MLX's sight", lambda: _program(call, stops), Arrays(value, dtype, put, halves, join),
            confirm=confirm and not stop_detached, strict=strict,
        )  # fmt: skip
    note = (STOPPED if stop_detached else DETACHED,) if stops.seen else ()
    return replace(found, detaches=stops.seen, detach_sites=tuple(stops.detach_sites), notes=(*found.notes, *note))


def replaced(change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with some of their arrays changed: for `judge.variations`."""
    return change_arrays(is_array, value, lambda new, like: made(new), change, args, kinds="fic")


def is_array(x: Any) -> bool:
    return isinstance(x, mx.array)


def value(x: Any) -> np.ndarray:
    """Its values; bfloat16 as float32, which holds it."""
    return np.array(x.astype(mx.float32) if x.dtype == mx.bfloat16 else x)


def dtype(x: Any) -> str:
    return _name(x.dtype)


def _name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2].replace("bool_", "bool")


def made(array: np.ndarray) -> Any:
    """An array of the same dtype: on its own, `mx.array` takes doubles for single precision."""
    return mx.array(np.array(array, order="C"), dtype=getattr(mx, array.dtype.name.replace("bool", "bool_")))


def put(new: np.ndarray, like: Any) -> Any:
    return made(np.asarray(new)).astype(like.dtype)


def halves(x: Any) -> tuple[Any, ...]:
    """Its real and its imaginary part; a real one itself."""
    return (mx.real(x), mx.imag(x)) if x.dtype == mx.complex64 else (x,)


def join(re: Any, im: Any) -> Any:
    return re.astype(mx.complex64) + mx.array(1j) * im.astype(mx.complex64)


# ---- the graph ------------------------------------------------------------------------------------------------------


class _Stops:
    """Export `mx.stop_gradient`, which leaves no trace, as a choice between an array and itself."""

    def __init__(self, hold: bool) -> None:
        self.hold, self.seen = hold, False
        self.detach_sites: dict[str, None] = {}

    @contextmanager
    def marked(self) -> Iterator[None]:
        before = mx.stop_gradient

        def stop(x: Any, **_: Any) -> Any:
            self.seen = True
            self.detach_sites[f"{called_from(ROOT)} (stop_gradient)"] = None
            return mx.where(mx.zeros(x.shape) == 0, x, x)

        mx.stop_gradient = stop
        try:
            yield
        finally:
            mx.stop_gradient = before


def _program(call: FlatCall, stops: _Stops) -> Program:
    def flat(*arrays: Any) -> Any:
        return tuple(leaf for _, leaf in leaves(call.run(arrays)) if is_array(leaf))

    def batched(*arrays: Any) -> Any:
        outs = mx.vmap(flat)(*(a[None] for a in arrays))
        return tuple(o[0] for o in outs)

    with stops.marked():
        try:
            entries = _exported(flat, call.arrays)
        except ValueError as e:
            if "CustomTransforms" not in str(e):
                raise Unsupported(f"MLX cannot export the function: {e}") from None
            try:
                entries = _exported(batched, call.arrays)
            except ValueError as inner:
                raise Unsupported(f"MLX cannot export the function, nor vmap it: {inner}") from None
    return _Replay(entries, stops.hold)


def _exported(fn: Callable[..., Any], arrays: Sequence[Any]) -> list[Mapping[str, Any]]:
    entries: list[Mapping[str, Any]] = []
    mx.export_function(entries.append, fn, *arrays)
    return entries


class _Replay:
    """The entries of an export as a function of arrays."""

    def __init__(self, entries: list[Mapping[str, Any]], hold: bool) -> None:
        self.hold = hold
        by_type = {e["type"]: e for e in entries}
        self.inputs = [name for name, _, _ in by_type["inputs"]["inputs"]]
        self.outputs = [name for name, _, _ in by_type["outputs"]["outputs"]]
        self.constants = {name: value(array) for name, array in by_type["constants"]["constants"]}
        self.steps = [e for e in entries if e["type"] == "primitive"]

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        known: dict[str, Any] = {**self.constants, **dict(zip(self.inputs, arrays))}
        for step in self.steps:
            run = STEPS.get(step["name"])
            if run is None:
                raise Unsupported(f"the MLX primitive {step['name']} has no counterpart")
            shapes = [tuple(shape) for _, shape, _ in step["outputs"]]
            dtypes = [_name(d) for _, _, d in step["outputs"]]
            names = [name for name, _, _ in step["inputs"]]
            given = [known[name] for name in names]
            if step["name"] == "Select" and names[1] == names[2]:  # what _Stops left
                given[1:] = [np.array(plain(given[1])) if self.hold else given[1]] * 2
            got = run(_At(step["arguments"], shapes, dtypes), *given)
            several = got if isinstance(got, tuple) else (got,)
            for (name, _, _), shape, kind, out in zip(step["outputs"], shapes, dtypes, several):
                known[name] = _fitting(out, shape, kind)
        return [known[name] for name in self.outputs]


def _fitting(out: Any, shape: tuple[int, ...], kind: str) -> Any:
    """NumPy promotes in places where MLX does not, and drops axes."""
    out = _cast(np.asarray(out), kind)
    return out if out.shape == shape else np.reshape(out, shape)


def _cast(x: Any, kind: str) -> Any:
    """In another dtype; of a complex array the real part, where that is real."""
    wanted = np.dtype("float32" if kind == "bfloat16" else kind)
    if x.dtype.kind == "c" and wanted.kind != "c":
        x = STEPS["Real"](None, x)
    return x if x.dtype == wanted else x.astype(wanted)


class _At:
    """A primitive's state, and the shapes and dtypes of its outputs."""

    def __init__(self, state: Sequence[Any], shapes: list[tuple[int, ...]], dtypes: list[str]) -> None:
        self.state, self.shapes, self.dtypes = state, shapes, dtypes

    def __getitem__(self, k: int) -> Any:
        return self.state[k]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shapes[0]


STEPS: dict[str, Step] = {}
"""Primitive -> a function (at, *arrays) of NumPy; `at` holds its state in the order in which MLX exports it."""


def step(*names: str) -> Callable[[Step], Step]:
    def enter(f: Step) -> Step:
        STEPS.update(dict.fromkeys(" ".join(names).split(), f))
        return f

    return enter


def numpys(f: Callable[..., Any]) -> Step:
    """As a function of NumPy's, or an op of the table; without state."""
    return lambda at, *xs: f(*xs)


for _entry in (
    "Abs=absolute Negative Sign Square Exp Expm1 Log1p Sin Cos Tan ArcSin ArcCos ArcTan Sinh Cosh Tanh ArcSinh ArcCosh "
    "ArcTanh Floor Ceil Add Subtract Multiply Divide Power Remainder Maximum Minimum LogAddExp ArcTan2 Equal Less Greater "
    "Matmul LogicalNot=logical_not NotEqual=not_equal LessEqual=less_equal GreaterEqual=greater_equal "
    "LogicalAnd=logical_and LogicalOr=logical_or FloorDivide=floor_divide"
).split():
    _mlx, _, _numpy = _entry.partition("=")
    STEPS[_mlx] = numpys(getattr(np, _numpy or _mlx.lower()))

STEPS |= {"Sigmoid": numpys(op("sigmoid")), "Erf": numpys(op("erf")), "ErfInv": numpys(op("erfinv"))}
STEPS |= {
    "Real": numpys(op("real", np.real)),
    "Imag": numpys(op("imag", np.imag)),
    "Conjugate": numpys(op("conj", np.conj)),
}


@step("Copy Full Contiguous StopGradient Depends")
def same(at: _At, x: Any, *_: Any) -> Any:
    return x


@step("AsType")
def as_type(at: _At, x: Any) -> Any:
    return _cast(np.asarray(x), at.dtypes[0])


@step("Round")
def rounded(at: _At, x: Any) -> Any:
    return np.rint(x)


@step("Sqrt")
def sqrt(at: _At, x: Any) -> Any:
    """The state says whether it is the reciprocal."""
    return op("rsqrt")(x) if at[0] else np.sqrt(x)


@step("Log")
def log(at: _At, x: Any) -> Any:
    return (np.log2, np.log10, np.log)[at[0]](x)


@step("DivMod")
def divmod_(at: _At, x: Any, y: Any) -> Any:
    return np.floor_divide(x, y), np.remainder(x, y)


@step("BitwiseBinary")
def bitwise(at: _At, x: Any, y: Any) -> Any:
    return (np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.left_shift, np.right_shift)[at[0]](x, y)


@step("Select")
def select(at: _At, mask: Any, x: Any, y: Any) -> Any:
    return x if x is y else np.where(mask, x, y)


@step("Arange")
def arange(at: _At) -> Any:
    return np.arange(at[0], at[1], at[2]).astype(at.dtypes[0])


# ---- reductions: MLX numbers them and, or, sum, prod, min, max; scans max, min, sum, prod, logaddexp


@step("Reduce")
def reduce(at: _At, x: Any) -> Any:
    f = (np.all, np.any, np.sum, np.prod, np.min, np.max)[at[0]]
    return f(x, axis=tuple(at[1]), keepdims=True)


@step("ArgReduce")
def arg_reduce(at: _At, x: Any) -> Any:
    return (np.argmin, np.argmax)[at[0]](x, axis=at[1], keepdims=True)


@step("Scan")
def scan(at: _At, x: Any) -> Any:
    kind, axis, reverse, inclusive = at.state
    if kind > 3:
        raise Unsupported("a cumulative logaddexp")
    turn = (lambda v: np.flip(v, axis=axis)) if reverse else (lambda v: v)
    out = (np.maximum, np.minimum, np.add, np.multiply)[kind].accumulate(turn(x), axis=axis)
    if not inclusive:
        if kind < 2:
            raise Unsupported("an exclusive cumulative extreme")
        start = np.full_like(plain_slice(out, axis, 0, 1), float(kind == 3))
        out = np.concatenate([start, plain_slice(out, axis, 0, x.shape[axis] - 1)], axis=axis)
    return turn(out)


def plain_slice(x: Any, axis: int, start: int, stop: int) -> Any:
    return x[(slice(None),) * axis + (slice(start, stop),)]


@step("LogSumExp")
def logsumexp(at: _At, x: Any) -> Any:
    return op("logsumexp", axis=-1, keepdims=True)(x)


@step("Softmax")
def softmax(at: _At, x: Any) -> Any:
    return op("softmax", axis=-1)(x)


@step("Sort")
def sort(at: _At, x: Any) -> Any:
    return np.sort(x, axis=at[0])


@step("Partition")
def partition(at: _At, x: Any) -> Any:
    return np.partition(x, at[0], axis=at[1])


@step("ArgSort")
def argsort(at: _At, x: Any) -> Any:
    return np.argsort(x, axis=at[0], kind="stable")


@step("ArgPartition")
def argpartition(at: _At, x: Any) -> Any:
    return np.argpartition(x, at[0], axis=at[1])


# ---- shape


@step("Reshape Flatten Unflatten Squeeze ExpandDims")
def reshape(at: _At, x: Any) -> Any:
    return np.reshape(x, at.shape)


@step("Broadcast BroadcastAxes")
def broadcast(at: _At, x: Any, *_: Any) -> Any:
    return np.broadcast_to(x, at.shape)


@step("Transpose")
def transpose(at: _At, x: Any) -> Any:
    return np.transpose(x, at[0])


@step("Concatenate")
def concatenate(at: _At, *xs: Any) -> Any:
    return np.concatenate(xs, axis=at[0])


@step("Split")
def split(at: _At, x: Any) -> Any:
    return tuple(np.split(x, list(at[0]), axis=at[1]))


def window(start: Any, stop: Any, strides: Any) -> tuple[slice, ...]:
    """A stop of -1 under a negative stride is the place before the first entry."""
    return tuple(slice(a, None if s < 0 and b < 0 else b, s) for a, b, s in zip(start, stop, strides))


@step("Slice")
def slice_(at: _At, x: Any) -> Any:
    return x[window(*at.state)]


@step("Pad")
def pad(at: _At, x: Any, constant: Any) -> Any:
    """Axes, how much before, how much after; the value is an array."""
    axes, low, high = at.state
    widths = [(0, 0)] * x.ndim
    for axis, a, b in zip(axes, low, high):
        widths[axis] = (a, b)
    return np.pad(x, widths, constant_values=float(constant))


@step("AsStrided")
def as_strided(at: _At, x: Any) -> Any:
    shape, strides, offset = at.state
    return np.ravel(x)[strided_indices(shape, strides, offset)]


# ---- indexing: reductions of scatters are numbered max, min, sum, prod, none


@step("Gather")
def gather(at: _At, x: Any, *indices: Any) -> Any:
    """Slices of the given sizes that begin where the indices say, along the given axes; the batch of indices first."""
    return x[_slices(x.shape, at[0], at[1], indices)]


def _slices(
    shape: tuple[int, ...], axes: Sequence[int], sizes: Sequence[int], indices: Sequence[Any]
) -> tuple[Any, ...]:
    batch = np.broadcast_shapes(*(np.shape(i) for i in indices)) if indices else ()
    found = []
    for axis, size in enumerate(sizes):
        place = np.arange(size).reshape([-1 if k == axis else 1 for k in range(len(sizes))])
        if axis in axes:
            given = np.asarray(indices[list(axes).index(axis)]).astype(np.int64)
            given = np.where(given < 0, given + shape[axis], given)
            place = np.broadcast_to(given, batch).reshape(batch + (1,) * len(sizes)) + place
        found.append(place)
    return tuple(found)


@step("Scatter")
def scatter(at: _At, x: Any, *rest: Any) -> Any:
    kind, axes = at.state
    *indices, updates = rest
    batch = updates.ndim - x.ndim
    return _combined(x, _slices(x.shape, axes, updates.shape[batch:], indices), updates, kind)


def _combined(x: Any, where: Any, updates: Any, kind: int) -> Any:
    out = np.array(x)
    if kind == 4:
        out[where] = updates
    elif kind == 2:
        np.add.at(out, where, updates)
    else:
        spots = np.arange(out.size).reshape(out.shape)[where]
        if np.unique(spots).size != spots.size:
            raise Unsupported("a scatter that multiplies or compares several updates for one place")
        out[where] = (np.maximum, np.minimum, np.add, np.multiply)[kind](out[where], updates)
    return out


@step("SliceUpdate")
def slice_update(at: _At, x: Any, updates: Any) -> Any:
    kind, *where = at.state
    return _combined(x, window(*where), updates, kind)


@step("GatherAxis")
def gather_axis(at: _At, x: Any, indices: Any) -> Any:
    return np.take_along_axis(x, _counted(indices, x.shape[at[0]]), axis=at[0])


def _counted(indices: Any, n: int) -> np.ndarray:
    indices = np.asarray(indices).astype(np.int64)
    return np.where(indices < 0, indices + n, indices)


@step("ScatterAxis")
def scatter_axis(at: _At, x: Any, indices: Any, updates: Any) -> Any:
    """0 adds, 1 replaces."""
    kind, axis = at.state
    where = list(np.indices(indices.shape, sparse=True))
    where[axis] = _counted(indices, x.shape[axis])
    return _combined(x, tuple(where), updates, 2 if kind == 0 else 4)


# ---- linear algebra


@step("AddMM")
def addmm(at: _At, a: Any, b: Any, c: Any) -> Any:
    alpha, beta = at.state
    return alpha * np.matmul(a, b) + beta * c


@step("Inverse")
def inverse(at: _At, a: Any) -> Any:
    if at[0]:
        raise Unsupported("the inverse of a triangular matrix")
    return np.linalg.inv(a)


@step("Cholesky")
def cholesky(at: _At, a: Any) -> Any:
    return np.linalg.cholesky(a, upper=bool(at[0]))


@step("Convolution")
def convolution(at: _At, x: Any, w: Any) -> Any:
    """Channels last: x is (batch, space, in), w is (out, kernel, in / groups). Padded, with zeros between the entries where
    the input is dilated, every place of the kernel is a product of matrices."""
    strides, low, high, kernel_dilation, input_dilation, groups, flip = at.state
    if groups != 1:
        raise Unsupported("a convolution in groups")
    n = x.ndim - 2
    if any(d != 1 for d in input_dilation):
        wide = np.zeros(
            (x.shape[0], *((m - 1) * d + 1 for m, d in zip(x.shape[1:], input_dilation)), x.shape[-1]), x.dtype
        )
        wide[(slice(None), *(slice(None, None, d) for d in input_dilation))] = x
        x = wide
    x = np.pad(x, [(0, 0), *zip(low, high), (0, 0)])
    out: Any = 0.0
    for spot in itertools.product(*(range(k) for k in w.shape[1:-1])):
        index = tuple(
            slice(p * d, p * d + s * (m - 1) + 1, s)
            for p, d, s, m in zip(spot, kernel_dilation, strides, at.shape[1:-1])
        )
        place = tuple(k - 1 - p for p, k in zip(spot, w.shape[1:-1])) if flip else spot
        out = out + np.matmul(x[(slice(None), *index)], np.transpose(w[(slice(None), *place)]))
    assert n == len(strides)
    return out
