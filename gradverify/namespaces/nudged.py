"""NumPy arrays with nudges: each result is moved as a careful implementation in a dtype may err.

The error model of each operation stands in `judge.budget`. `Noise` draws the nudges of some reruns and notes their
decisions (masks, argmaxes, roundings). A `Nudged` array holds its value in each of them, so that one walk of a graph
makes them all; `NudgedNamespace` has the kernels over such arrays.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np

from ..core.op import Shape
from ..ops import OPS
from .dtypes import FloatFormat, is_float, numpy_dtype, rounded, to_float64
from .kernels import ELEMENTWISE, KERNELS, Kernel, Nudge, Own, Run, names
from .numpy import LEGACY, NUMPY, NumpyNamespace, native_index

Decisions = Sequence[np.ndarray]
"""What the comparisons, maxima, argmaxes, sorts and roundings of a rerun came to, in the order in which they are taken:
booleans, indices and rounded numbers. The order is the same in every rerun of a graph."""


def branches_of(decisions: Decisions) -> bytes:
    """Decisions as something to compare."""
    return b"|".join(np.packbits(d).tobytes() if d.dtype == bool else d.tobytes() for d in decisions)


Seed = int | tuple[int, int]


class Noise:
    """The nudges of some reruns at a time, and the branches that they took; or `forced` ones.

    Arrays have the reruns along axis 0, or 1 there where they are the same in all of them.
    """

    def __init__(self, fmt: FloatFormat, stepwise: bool = False, forced: Decisions | None = None) -> None:
        self.stepwise, self.forced, self.given = stepwise, forced, fmt
        self.rng = np.random.default_rng(0)
        self.restart(0)

    def compute_in(self, fmt: FloatFormat) -> None:
        """Nudge as in this format from here on."""
        self.fmt = fmt
        self.finer = fmt.arithmetic / fmt.roundoff if fmt.roundoff else 1.0
        self.stores = fmt.stores

    def restart(self, seed: Seed, reruns: int = 1) -> None:
        """Draw for so many reruns from `default_rng(seed)` from here on, in the given format, and forget all decisions."""
        self.compute_in(self.given)
        self.rng.bit_generator.state = _stream(seed)
        self.reruns = reruns
        self.taken: list[np.ndarray] = []

    def decisions(self, k: int = 0) -> list[np.ndarray]:
        """The decisions of one rerun."""
        return [_one_of(d, k) for d in self.taken]

    def nudge(self, out: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
        """`out` plus a Gaussian of standard deviation u·scale, then brought into the dtype's range.

        Most arrays are finite, in the range and not small throughout: `count_nonzero` says so in a tenth of the time of
        the selection that it saves.
        """
        out = np.asarray(out, dtype=np.float64)
        deviation = self.fmt.roundoff * scale
        shape = (self.reruns, *out.shape[1:])
        moved = out + self.rng.standard_normal(shape) * deviation
        if self.fmt.name != "float64":
            beyond = np.abs(moved) > self.fmt.huge
            if np.count_nonzero(beyond):
                moved = np.where(beyond, np.copysign(np.inf, moved), moved)
        # An infinity stays what it is: inf - inf would be NaN where 1/inf is a right 0.
        finite = np.isfinite(out)
        if np.count_nonzero(finite) < out.size:
            moved = np.where(finite, moved, out)
        # Subnormal, and not by cancellation: the result may be flushed to zero.
        small = np.abs(out) < self.fmt.tiny
        if np.count_nonzero(small):
            small = small & (deviation < self.fmt.tiny)
            if np.count_nonzero(small):
                small &= out != 0  # exact in any format
                noise = self.rng.standard_normal(shape)
                moved = np.where(small, moved + noise * self.fmt.underflow if self.fmt.gradual else noise * out, moved)
        return np.asarray(moved)

    def sum(self, out: Any, size: Any, terms: Any, intermediate: Any = 0.0) -> np.ndarray:
        """A sum nudged: of `terms` roundings (an array, or a number) in an accumulator, `size` = Σ|summands|."""
        if not self.stores:
            return self.nudge(out, np.sqrt(terms) * size + intermediate)
        # n where an accumulator of few bits makes all errors alike: it stagnates.
        steps = terms if self.stepwise else np.sqrt(terms) * self.finer
        return self.nudge(out, steps * size + np.where(np.asarray(terms) > 0, np.abs(out), 0.0) + intermediate)

    def one(self, out: Any, ulps: float) -> np.ndarray:
        """The result of one elementwise operation, nudged."""
        return self.nudge(out, (2 * ulps * self.finer + self.stores) * np.abs(out))

    def literal(self, x: Any) -> Any:
        """A float literal of an op's text; a number for each rerun where rounding moves it."""
        moves = _moves(x, self.fmt.name) if isinstance(x, float) else 0.0
        return Nudged(x + moves * self.rng.standard_normal(self.reruns), self) if moves else x

    def took(self, decision: np.ndarray) -> np.ndarray:
        """Note a decision; the one that is forced instead of it, where one is."""
        at = len(self.taken)
        forced = self.forced is not None and at < len(self.forced)  # distances to kinks are no decisions
        self.taken.append(np.asarray(self.forced[at])[None] if forced and self.forced is not None else decision)
        return self.taken[-1]


@lru_cache(maxsize=1024)
def _stream(seed: Seed) -> Mapping[str, Any]:
    """The state that `default_rng(seed)` begins with: the same few seeds for every case, and dear to work out."""
    return np.random.PCG64(seed).state


_OP_OF = {getattr(np, LEGACY.get(op, op)).__name__: op for op in names("numpy", Own.UFUNC)}
"""Name of a ufunc -> the op of the table that it is."""

_MODELS: Mapping[str, Nudge | Run] = {
    **{ufunc: KERNELS[op].nudge for ufunc, op in _OP_OF.items()},
    # What NumPy's own functions call, and is no op of the table.
    "rint": Nudge.STEP,
    **dict.fromkeys(
        "fmax fmin copysign isnan isinf positive conjugate invert bitwise_and bitwise_or".split(), Nudge.EXACT
    ),
}
"""Name of a ufunc -> its error model; what is not here counts as correctly rounded."""

_POWERS = {2: np.square, 0.5: np.sqrt, -1: np.reciprocal}
"""Exponents of `**` that NumPy has a ufunc of its own for, and uses it."""


def _one_of(each: np.ndarray, k: int) -> np.ndarray:
    """Rerun k of an array that has the reruns along axis 0."""
    return np.asarray(each[k if len(each) > 1 else 0])


_DECLARE = "a kernel that is no ufunc is declared with an error model (`namespaces.kernels.register_op`)"


class Nudged:
    """An array in each of some reruns: floats whose arithmetic results are nudged, or booleans or indices.

    `each` has the reruns along axis 0, or 1 there where they are the same in all of them; `shape` is that of one. Operators
    and ufuncs pass through here. Computed with where NumPy's warnings are off: to turn them off for each operation costs
    as much as the operation.
    """

    __slots__ = ("each", "noise")

    def __init__(self, each: np.ndarray, noise: Noise) -> None:
        self.each, self.noise = each, noise

    @property
    def shape(self) -> tuple[int, ...]:
        return self.each.shape[1:]

    @property
    def ndim(self) -> int:
        return self.each.ndim - 1

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.each.dtype

    def of(self, k: int) -> np.ndarray:
        """The array in one rerun."""
        return _one_of(self.each, k)

    def with_axes(self, ndim: int) -> np.ndarray:
        """`each`, with axes of length 1 before those of one rerun, as broadcasting adds them."""
        missing = ndim - self.ndim
        return self.each.reshape(len(self.each), *(1,) * missing, *self.shape) if missing else self.each

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The array in the only rerun. Raises TypeError where there are several."""
        if len(self.each) != 1:
            raise TypeError(f"{len(self.each)} reruns are no one array: {_DECLARE}")
        return np.array(self.each[0], dtype=dtype)

    def __float__(self) -> float:
        return float(np.asarray(self))

    def __getitem__(self, index: Any) -> Nudged:
        return Nudged(self.each[(slice(None), *(index if isinstance(index, tuple) else (index,)))], self.noise)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return NotImplemented if method != "__call__" or kwargs else _compute(self.noise, ufunc, inputs)

    def __neg__(self) -> Nudged:
        return Nudged(-self.each, self.noise)

    def __add__(self, other: Any) -> Nudged:
        return _compute(self.noise, np.add, (self, other))

    def __radd__(self, other: Any) -> Nudged:
        return _compute(self.noise, np.add, (other, self))

    def __sub__(self, other: Any) -> Nudged:
        return _compute(self.noise, np.subtract, (self, other))

    def __rsub__(self, other: Any) -> Nudged:
        return _compute(self.noise, np.subtract, (other, self))

    def __mul__(self, other: Any) -> Nudged:
        return _compute(self.noise, np.multiply, (self, other))

    def __rmul__(self, other: Any) -> Nudged:
        return _compute(self.noise, np.multiply, (other, self))

    def __truediv__(self, other: Any) -> Nudged:
        return _compute(self.noise, np.divide, (self, other))

    def __rtruediv__(self, other: Any) -> Nudged:
        return _compute(self.noise, np.divide, (other, self))

    def __pow__(self, other: Any) -> Nudged:
        own = _POWERS.get(other) if isinstance(other, int | float) else None
        return _compute(self.noise, own, (self,)) if own else _compute(self.noise, np.power, (self, other))

    def __rpow__(self, other: Any) -> Nudged:
        return _compute(self.noise, np.power, (other, self))


def aligned(*xs: Any) -> list[Any]:
    """What the arrays hold, shaped so that NumPy broadcasts those of each rerun against each other; the rest as it is."""
    ndim = max(x.ndim if isinstance(x, Nudged) else np.ndim(x) for x in xs)
    return [x.with_axes(ndim) if isinstance(x, Nudged) else x for x in xs]


def _compute(noise: Noise, ufunc: np.ufunc, inputs: Sequence[Any]) -> Nudged:
    """An elementwise operation, nudged."""
    args = aligned(*[x if isinstance(x, Nudged) else noise.literal(x) for x in inputs])
    out = np.asarray(ufunc(*args))
    if out.dtype.kind == "f":
        return Nudged(_moved(noise, ufunc.__name__, out, args), noise)
    return Nudged(noise.took(out) if _MODELS.get(ufunc.__name__) is Nudge.DECISION else out, noise)


def _moved(noise: Noise, name: str, out: np.ndarray, args: Sequence[Any]) -> np.ndarray:
    model = _MODELS.get(name, Nudge.ULPS)
    if model is Nudge.EXACT:
        return out
    if model is Nudge.CHOICE:
        noise.took(np.greater_equal(args[0], args[1]))
        return out
    if model is Nudge.STEP:
        return noise.took(out)
    if name == "divide" and np.size(args[1]) == 1 and args[1] == 1:
        return out  # exact: the mean of one number is that number
    moved = noise.one(out, _ulps(_OP_OF.get(name, name)))
    if model is Nudge.ADDITION:
        exact = _exact_sum(args[0], args[1] if name == "add" else -args[1], out, noise.fmt)
        return np.where(exact, out, moved) if np.count_nonzero(exact) else moved
    return moved


@cache
def _moves(x: float, dtype: str) -> float:
    """The distance that rounding to a dtype moves a finite number; 0 where the dtype cannot represent it."""
    moves = float(to_float64(rounded(np.float64(x), dtype))) - x if math.isfinite(x) else 0.0
    return moves if math.isfinite(moves) else 0.0


def _exact_sum(a: Any, b: Any, s: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """Where s = a + b holds without rounding in `fmt`: nothing to nudge there (an integer exponent less one, a
    Sterbenz subtraction). The rounding error of a sum is itself a double (Knuth's TwoSum)."""
    t = s - a
    exact = ((a - (s - t)) + (b - t)) == 0
    if fmt.name == "float64" or not np.count_nonzero(exact):
        return exact
    return exact & (to_float64(np.asarray(s).astype(numpy_dtype(fmt.name))) == s)


def _ulps(op: str) -> float:
    # An operation outside the table (a helper ufunc) counts as correctly rounded.
    return OPS[op].ulps if op in OPS else 0.5


_ENTRY_BY_ENTRY = tuple(n for n in names("numpy", Own.METHOD) if n in ELEMENTWISE and n != "where")


def _axes(axis: Any, x: Nudged) -> Any:
    """The axes of `each` for those of one rerun."""
    if axis is None:
        return tuple(range(1, x.each.ndim))
    return tuple(a + (a >= 0) for a in axis) if isinstance(axis, tuple) else axis + (axis >= 0)


class NudgedNamespace(NumpyNamespace):
    """NumPy's kernels over `Nudged` arrays, each nudged as its record says."""

    def __init__(self, noise: Noise) -> None:
        super().__init__(np, "nudged")
        self.seen_nudged = False
        self.noise = noise

    def registered(self, kernel: Kernel) -> Run | None:
        run = super().registered(kernel)
        return None if run is None else partial(_entry_by_entry(kernel.name, run, kernel.nudge), self)

    def each(self, arrays: np.ndarray) -> Nudged:
        """An array of its own in each rerun, along axis 0."""
        return Nudged(arrays, self.noise)

    def _made(self, each: np.ndarray) -> Nudged:
        return Nudged(each.astype(np.float64, copy=False) if is_float(each) else each, self.noise)

    # creation
    def asarray(self, x: Any, like: Any = None) -> Any:
        """The array of all reruns, in float64; what is no float stays as it is."""
        if isinstance(x, Nudged):
            return x
        array = np.asarray(x)
        return Nudged(array.astype(np.float64)[None], self.noise) if is_float(array) else array

    def zeros(self, shape: Any, like: Any) -> Nudged:
        return Nudged(np.zeros((1, *shape)), self.noise)

    def ones(self, shape: Any, like: Any) -> Nudged:
        return Nudged(np.ones((1, *shape)), self.noise)

    def full_like(self, x: Any, value: Any) -> Nudged:
        return Nudged(np.full((1, *self.shape(x)), value, dtype=np.float64), self.noise)

    def eye(self, n: int, like: Any) -> Nudged:
        return Nudged(np.eye(n)[None], self.noise)

    # elementwise
    def where(self, mask: Any, x: Any, y: Any) -> Any:
        """A choice: exact. Literals are taken as they are, as a choice between numbers rounds none."""
        return self._made(np.where(*aligned(*(self._raised(a) for a in (mask, x, y)))))

    def _raised(self, x: Any) -> Nudged:
        """The array with an axis of reruns, whatever its kind."""
        return x if isinstance(x, Nudged) else Nudged(np.asarray(x)[None], self.noise)

    # reductions
    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x = self._raised(x)
        how = {"axis": _axes(axis, x), "keepdims": keepdims}
        out = np.sum(x.each, **how)
        if not is_float(out):
            return self._made(out)
        terms = _terms(x, axis)
        return self._made(self.noise.sum(out, np.sum(np.abs(x.each), **how), max(terms, 1) - 1))

    def prod(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x = self._raised(x)
        out = np.prod(x.each, axis=_axes(axis, x), keepdims=keepdims)
        return self._made(self.noise.nudge(out, math.sqrt(max(_terms(x, axis), 1) - 1) * np.abs(out)))

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self._chosen(np.max, x, axis, keepdims)

    def min(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self._chosen(np.min, x, axis, keepdims)

    def _chosen(self, kernel: Callable[..., Any], x: Any, axis: Any, keepdims: bool) -> Any:
        """The largest or smallest entry, as it stands; which one it is is a decision."""
        x = self._raised(x)
        out = kernel(x.each, axis=_axes(axis, x), keepdims=True)
        if x.each.size:
            self.noise.took(np.equal(x.each, out))
        return self._made(out if keepdims else np.squeeze(out, axis=_axes(axis, x)))

    def any(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x = self._raised(x)
        return self._made(np.any(x.each, axis=_axes(axis, x), keepdims=keepdims))

    def all(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x = self._raised(x)
        return self._made(np.all(x.each, axis=_axes(axis, x), keepdims=keepdims))

    def argmax(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return self._place(NUMPY.argmax, x, axis, keepdims)

    def argmin(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return self._place(NUMPY.argmin, x, axis, keepdims)

    def _place(self, kernel: Callable[..., Any], x: Any, axis: int | None, keepdims: bool) -> Any:
        x = self._raised(x)
        if axis is not None:
            return self._made(self.noise.took(kernel(x.each, axis=_axes(axis, x), keepdims=keepdims)))
        out = self.noise.took(kernel(x.each.reshape(len(x.each), -1), axis=1))
        return self._made(out.reshape(-1, *(1,) * x.ndim) if keepdims else out)

    def argsort(self, x: Any, axis: int = -1) -> Any:
        x = self._raised(x)
        return self._made(self.noise.took(NUMPY.argsort(x.each, axis=_axes(axis, x))))

    def cumulative_sum(self, x: Any, axis: int) -> Any:
        x = self._raised(x)
        along = _axes(axis, x)
        out, size = np.cumsum(x.each, axis=along), np.cumsum(np.abs(x.each), axis=along)
        return self._made(self.noise.sum(out, size, max(math.prod(x.shape), 1) - 1))

    def cumulative_prod(self, x: Any, axis: int) -> Any:
        x = self._raised(x)
        out = np.cumprod(x.each, axis=_axes(axis, x))
        return self._made(self.noise.nudge(out, math.sqrt(max(math.prod(x.shape), 1) - 1) * np.abs(out)))

    # what moves entries: exact
    def reshape(self, x: Any, shape: Shape) -> Any:
        x = self._raised(x)
        return self._made(x.each.reshape(len(x.each), *shape))

    def permute_dims(self, x: Any, axes: Shape) -> Any:
        x = self._raised(x)
        return self._made(np.transpose(x.each, (0, *(a % x.ndim + 1 for a in axes))))

    def matrix_transpose(self, x: Any) -> Any:
        return self._made(np.swapaxes(self._raised(x).each, -1, -2))

    def expand_dims(self, x: Any, axis: Any) -> Any:
        x = self._raised(x)
        return self._made(np.expand_dims(x.each, _axes(axis, x)))

    def squeeze(self, x: Any, axis: Any = None) -> Any:
        x = self._raised(x)
        ones = tuple(a for a, n in enumerate(x.shape) if n == 1) if axis is None else axis
        return self._made(np.squeeze(x.each, _axes(ones, x)))

    def broadcast_to(self, x: Any, shape: Shape) -> Any:
        x = self._raised(x)
        return self._made(np.broadcast_to(x.with_axes(len(shape)), (len(x.each), *shape)))

    def concat(self, xs: Sequence[Any], axis: int = 0) -> Any:
        return self._joined(NUMPY.concat, xs, axis)

    def stack(self, xs: Sequence[Any], axis: int = 0) -> Any:
        return self._joined(NUMPY.stack, xs, axis)

    def _joined(self, kernel: Callable[..., Any], xs: Sequence[Any], axis: int) -> Any:
        arrays = [self._raised(x) for x in xs]
        return self._made(kernel(self._in_all(*arrays), axis=_axes(axis, arrays[0])))

    def _in_all(self, *xs: Nudged) -> list[np.ndarray]:
        """Their arrays with as many reruns each: NumPy's broadcasting along the first axis, where a kernel has none."""
        reruns = max(len(x.each) for x in xs)
        return [np.broadcast_to(x.each, (reruns, *x.shape)) for x in xs]

    def flip(self, x: Any, axis: Any = None) -> Any:
        x = self._raised(x)
        return self._made(np.flip(x.each, _axes(axis, x)))

    def roll(self, x: Any, shift: Any, axis: Any = None) -> Any:
        x = self._raised(x)
        if axis is None:
            return self._made(np.roll(x.each.reshape(len(x.each), -1), shift, axis=1).reshape(x.each.shape))
        return self._made(np.roll(x.each, shift, _axes(axis, x)))

    def tril(self, x: Any, k: int = 0) -> Any:
        return self._made(np.tril(self._raised(x).each, k))

    def triu(self, x: Any, k: int = 0) -> Any:
        return self._made(np.triu(self._raised(x).each, k))

    def diagonal(self, x: Any) -> Any:
        return self._made(NUMPY.diagonal(self._raised(x).each))

    # indexing
    def getitem(self, x: Any, index: Any) -> Any:
        return self._made(self._raised(x).each[(slice(None), *native_index(index))])

    def embed(self, x: Any, index: Any, shape: Shape) -> Any:
        each = self._raised(x).each
        out = np.zeros((len(each), *shape))
        out[(slice(None), *native_index(index))] = each
        return self._made(out)

    def take(self, x: Any, indices: Any, axis: int) -> Any:
        x = self._raised(x)
        if isinstance(indices, Nudged):
            each = self._in_all(x, indices)
            return self._made(np.stack([np.take(a, i, axis=axis) for a, i in zip(*each)]))
        return self._made(np.take(x.each, indices, axis=_axes(axis, x)))

    def take_along_axis(self, x: Any, indices: Any, axis: int) -> Any:
        each, at = self._in_all(*(arrays := [self._raised(x), self._raised(indices)]))
        return self._made(np.take_along_axis(each, at, _axes(axis, arrays[0])))

    def index_add(self, x: Any, indices: Any, updates: Any, axis: int) -> Any:
        kernel = NUMPY.index_add

        def run(x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
            return np.stack([kernel(a, i, u, axis) for a, i, u in zip(x, indices, updates)])

        return self._summed(run, x, indices, updates)

    def scatter_add(self, x: Any, indices: Any, updates: Any, axis: int) -> Any:
        kernel, along = NUMPY.scatter_add, _axes(axis, self._raised(x))  # the reruns are one more axis in common
        return self._summed(lambda x, at, updates: kernel(x, at, updates, along), x, indices, updates)

    def _summed(self, kernel: Callable[..., np.ndarray], x: Any, indices: Any, updates: Any) -> Any:
        x, at, new = self._in_all(*(self._raised(a) for a in (x, indices, updates)))
        count = kernel(np.zeros(x.shape), at, np.ones(new.shape))
        size = kernel(np.abs(x), at, np.abs(new))
        return self._made(self.noise.sum(kernel(x, at, new), size, count))

    # linear algebra
    def matmul(self, x: Any, y: Any) -> Any:
        x, y = self._raised(x), self._raised(y)
        left, right = aligned(x if x.ndim > 1 else x[None, :], y if y.ndim > 1 else y[..., None])
        out, size = np.matmul(left, right), np.matmul(np.abs(left), np.abs(right))
        gone = tuple(a for a, v in ((-2, x), (-1, y)) if v.ndim == 1)
        moved = self.noise.sum(np.squeeze(out, gone), np.squeeze(size, gone), x.shape[-1])
        return self._made(moved)

    def einsum(self, subscripts: str, *xs: Any) -> Any:
        arrays = [self._raised(x) for x in xs]
        words, _, result = subscripts.replace(" ", "").partition("->")
        of = next(c for c in string.ascii_letters if c not in subscripts)  # the axis of reruns
        each = self._in_all(*arrays)
        whole = ",".join(of + w for w in words.split(",")) + "->" + of + result
        out, size = np.einsum(whole, *each), np.einsum(whole, *(np.abs(x) for x in each))
        terms = np.einsum(subscripts, *(np.ones(x.shape) for x in arrays))
        # In the wider formats √k counts these roundings too.
        between = size * max(len(arrays) - 2, 0) if self.noise.stores else 0.0
        return self._made(self.noise.sum(out, size, terms + len(arrays), between))

    # the exact result for a matrix moved as backward stability allows
    def _backward(self, a: Any) -> np.ndarray:
        a = self._raised(a).each
        n = max(a.shape[-1], 1)
        size = n * self.noise.finer * np.max(np.abs(a), axis=(-2, -1), keepdims=True, initial=0.0)
        return self.noise.nudge(a, np.broadcast_to(size, a.shape))

    def solve(self, a: Any, b: Any) -> Any:
        b = self._raised(b)
        moved, right = aligned(self._made(self._backward(a)), b if b.ndim > 1 else b[..., None])
        out = _or_nan(NUMPY.solve, moved, right)
        out = out[..., 0] if b.ndim == 1 else out
        return self._made(self.noise.nudge(out, np.abs(out)))

    def inv(self, x: Any) -> Any:
        out = _or_nan(NUMPY.inv, self._backward(x))
        return self._made(self.noise.nudge(out, np.abs(out)))

    def det(self, x: Any) -> Any:
        out = NUMPY.det(self._backward(x))
        return self._made(self.noise.nudge(out, np.abs(out)))

    def cholesky(self, x: Any) -> Any:
        moved = self._backward(x)
        out = _or_nan(NUMPY.cholesky, (moved + np.swapaxes(moved, -1, -2)) / 2)
        return self._made(self.noise.nudge(out, np.abs(out)))

    def solve_triangular(self, a: Any, b: Any, upper: bool = False, unit_diagonal: bool = False) -> Any:
        return super().solve_triangular(self._raised(a), self._raised(b), upper, unit_diagonal)


def _entry_by_entry(name: str, kernel: Run, nudge: Nudge | Run) -> Callable[..., Nudged]:
    """A method of `NudgedNamespace` for a kernel that works entry by entry, its result nudged by the error model."""

    def run(xp: NudgedNamespace, *args: Any, **params: Any) -> Nudged:
        arrays = aligned(*(xp._raised(a) if isinstance(a, np.ndarray) else a for a in args))
        out = np.atleast_1d(kernel(*arrays, **params))
        if nudge in (Nudge.DECISION, Nudge.STEP):
            return xp._made(xp.noise.took(out))
        if nudge is Nudge.ULPS:
            return xp._made(xp.noise.one(out, _ulps(name)))
        return xp._made(out if isinstance(nudge, Nudge) else nudge(xp.noise, out, *arrays, **params))

    return run


for _name in _ENTRY_BY_ENTRY:
    setattr(NudgedNamespace, _name, _entry_by_entry(_name, getattr(NUMPY, _name), KERNELS[_name].nudge))


def _or_nan(kernel: Callable[..., Any], *args: np.ndarray) -> np.ndarray:
    """The solutions or factors; NaN in the reruns in which NumPy refuses a matrix (singular, not positive definite)."""
    try:
        return np.asarray(kernel(*args))
    except np.linalg.LinAlgError:
        if len(args[0]) > 1:
            return np.concatenate([_or_nan(kernel, *(a[k : k + 1] if len(a) > 1 else a for a in args))
                                   for k in range(len(args[0]))])  # fmt: skip
        batch = np.broadcast_shapes(*(a.shape[:-2] for a in args))
        return np.full((*batch, *args[-1].shape[-2:]), np.nan)


def _terms(x: Nudged, axis: Any) -> int:
    """How many entries a reduction over these axes takes together."""
    return math.prod(x.each.shape[a] for a in np.atleast_1d(_axes(axis, x)))


_TEXTS = frozenset(("pad",))
"""Kernels that NumPy's namespace has as texts over other kernels."""

_unnudged = sorted({*names("numpy", Own.METHOD)} - {*_ENTRY_BY_ENTRY} - vars(NudgedNamespace).keys() - _TEXTS)
if _unnudged:
    raise TypeError(f"no nudge is written for {', '.join(_unnudged)}")


def require_nudged(op: str, value: Any) -> None:
    """Raise TypeError for a float result without nudges, which would be taken for exact."""
    if isinstance(value, float) or (isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f"):
        raise TypeError(
            f"{op}: its result {type(value).__name__} is not nudged, so that the budget would know of no rounding in it: "
            + _DECLARE
        )
