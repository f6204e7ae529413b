"""NumPy arrays whose every result is nudged as a careful implementation in a dtype may err: what budgets are made of.

The error model of each operation stands in `judge.budget`. `Noise` draws the nudges and notes the decisions (masks,
argmaxes, roundings) of a rerun; a `Nudged` array sends every ufunc result through it; `NudgedNamespace` does the same
for the kernels that are no ufunc.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from ..ops import OPS
from .dtypes import FloatFormat, is_float, numpy_dtype, rounded, wide
from .numpy import LEGACY, NumpyNamespace

_EXACT = {"negative", "absolute", "abs", "maximum", "minimum", "fmax", "fmin", "sign", "floor", "ceil", "rint", "trunc",
          "copysign", "isfinite", "isnan", "isinf", "logical_and", "logical_or", "logical_not", "positive", "conjugate",
          "invert", "bitwise_and", "bitwise_or"}  # fmt: skip
_LINKS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
_STEPS = {"sign", "floor", "ceil", "rint", "trunc"}
_NUMPY_TO_OP = {v: k for k, v in LEGACY.items()} | {"absolute": "abs", "true_divide": "divide", "power": "pow"}


Decisions = Sequence[np.ndarray]
"""What the comparisons, maxima, argmaxes, sorts and roundings of a rerun came to, in the order in which they are taken:
booleans, indices and rounded numbers. The order is the same in every rerun of a graph."""


def branches_of(decisions: Decisions) -> bytes:
    """Decisions as something to compare."""
    return b"|".join(np.packbits(d).tobytes() if d.dtype == bool else d.tobytes() for d in decisions)


class Noise:
    """The nudges of one rerun after another, and the branches that the current one took; or `forced` ones."""

    def __init__(self, fmt: FloatFormat, stepwise: bool = False, forced: Decisions | None = None) -> None:
        self.fmt, self.stepwise, self.forced = fmt, stepwise, forced
        self.finer = fmt.arithmetic / fmt.roundoff if fmt.roundoff else 1.0
        self.stores = fmt.stores
        self.rng = np.random.default_rng(0)
        self.restart(0)

    def restart(self, seed: Any) -> None:
        """What `default_rng(seed)` draws, from here on; and no decision taken."""
        self.rng.bit_generator.state = _stream(tuple(seed) if isinstance(seed, list) else seed)
        self.decisions: list[np.ndarray] = []

    @property
    def branches(self) -> bytes:
        return branches_of(self.decisions)

    def nudge(self, out: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
        """`out` plus a Gaussian of standard deviation u·scale, then brought into the dtype's range.

        Most arrays are finite, in the range and not small throughout: `count_nonzero` says so in a tenth of the time of
        the selection that it saves.
        """
        out = np.asarray(out, dtype=np.float64)
        deviation = self.fmt.roundoff * scale
        moved = out + self.rng.standard_normal(out.shape) * deviation
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
                noise = self.rng.standard_normal(out.shape)
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
        """A float literal of an op's text."""
        moves = _moves(x, self.fmt.name) if isinstance(x, float) else 0.0
        return x + moves * self.rng.standard_normal() if moves else x

    def took(self, decision: Any) -> Any:
        """Note a decision; the one that is forced instead of it, where one is."""
        at = len(self.decisions)
        forced = self.forced is not None and at < len(self.forced)  # distances to kinks are no decisions
        taken = self.forced[at] if forced and self.forced is not None else decision
        self.decisions.append(np.asarray(taken))
        return taken


@lru_cache(maxsize=1024)
def _stream(seed: Any) -> Mapping[str, Any]:
    """The state that `default_rng(seed)` begins with: the same few seeds for every case, and dear to work out."""
    return np.random.PCG64(seed).state


_REALS = (np.ndarray, np.floating)


class Nudged(np.ndarray):
    """A float64 array whose every arithmetic result is nudged: operators and ufuncs pass through here.

    Computed with in `_rerun` alone, where NumPy's warnings are off: to turn them off for each operation costs as much
    as the operation.
    """

    noise: Noise

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = tuple([np.asarray(x) if isinstance(x, Nudged) else self.noise.literal(x) for x in inputs])
        out = ufunc(*plain, **kwargs) if method == "__call__" else getattr(ufunc, method)(*plain, **kwargs)
        if not isinstance(out, _REALS) or out.dtype.kind != "f":
            return self.noise.took(out) if ufunc.__name__ in _LINKS else out
        return self._like(self._moved(ufunc.__name__, method, out, plain, kwargs))

    def _moved(self, name: str, method: str, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        noise = self.noise
        if name in ("maximum", "minimum"):
            x = args[0]
            if method == "__call__":
                noise.took(np.greater_equal(x, args[1]))
            elif np.size(x):
                noise.took(np.equal(x, np.expand_dims(out, kwargs.get("axis") or ()) if kwargs.get("axis") is not None
                           and not kwargs.get("keepdims") else out))  # fmt: skip
            return out
        if name in _STEPS:
            return noise.took(out)
        if name in _EXACT:
            return out
        if name == "matmul":
            return noise.sum(out, np.matmul(np.abs(args[0]), np.abs(args[1])), np.shape(args[0])[-1])
        if method in ("reduce", "accumulate") and name in ("add", "multiply"):
            n = max(np.size(args[0]) // max(np.size(out), 1), 1) if method == "reduce" else np.size(args[0])
            if name == "add":
                return noise.sum(out, getattr(np.add, method)(np.abs(args[0]), **kwargs), n - 1)
            return noise.nudge(out, np.sqrt(n - 1) * np.abs(out))
        moved = noise.one(out, _ulps(_NUMPY_TO_OP.get(name, name)))
        if name in ("add", "subtract"):
            exact = _exact_sum(args[0], args[1] if name == "add" else -args[1], out, noise.fmt)
            return np.where(exact, out, moved) if np.count_nonzero(exact) else moved
        return moved

    def _like(self, out: Any) -> Nudged:
        return np.asarray(out, dtype=np.float64).view(type(self))


@cache
def _moves(x: float, dtype: str) -> float:
    """By how much a finite number moves when it is rounded to a dtype that can hold it; else 0."""
    moves = float(wide(rounded(np.float64(x), dtype))) - x if math.isfinite(x) else 0.0
    return moves if math.isfinite(moves) else 0.0


def _exact_sum(a: Any, b: Any, s: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """Where s = a + b holds without rounding in `fmt`: nothing to nudge there (an integer exponent less one, a
    Sterbenz subtraction). The rounding error of a sum is itself a double (Knuth's TwoSum)."""
    t = s - a
    exact = ((a - (s - t)) + (b - t)) == 0
    if fmt.name == "float64" or not np.count_nonzero(exact):
        return exact
    return exact & (wide(np.asarray(s).astype(numpy_dtype(fmt.name))) == s)


def _ulps(op: str) -> float:
    # An operation outside the table (a helper ufunc) counts as correctly rounded.
    return OPS[op].ulps if op in OPS else 0.5


class NudgedNamespace(NumpyNamespace):
    """NumPy's kernels over `Nudged` arrays; kernels that are no ufunc are nudged here by name."""

    _carried = ("where reshape permute_dims matrix_transpose expand_dims squeeze broadcast_to concat stack flip roll "
                "tril triu diagonal getitem embed take take_along_axis max min full_like").split()  # fmt: skip
    _smooth = "erf erfc erfinv lgamma digamma polygamma round".split()

    def __init__(self, noise: Noise) -> None:
        super().__init__(np, "nudged")
        self.noise = noise
        self.kind: type[Nudged] = type("Nudged", (Nudged,), {"noise": noise})
        for name in self._carried:
            setattr(self, name, self._kept(getattr(super(), name)))
        for name in self._smooth:
            kernel = getattr(super(), name, None)
            if kernel is not None:
                setattr(self, name, self._nudged(name, kernel))

    def asarray(self, x: Any, like: Any = None) -> Any:
        array = np.asarray(x)
        return array.astype(np.float64).view(self.kind) if is_float(array) else array

    def zeros(self, shape: Any, like: Any) -> Any:
        return np.zeros(shape).view(self.kind)

    def ones(self, shape: Any, like: Any) -> Any:
        return np.ones(shape).view(self.kind)

    def eye(self, n: int, like: Any) -> Any:
        return np.eye(n).view(self.kind)

    def _kept(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **params: self.asarray(kernel(*args, **params))

    def _nudged(self, name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **params: Any) -> Any:
            out = kernel(*(np.asarray(a) for a in args), **params)
            if name == "round":
                return self.asarray(self.noise.took(out))
            return self.asarray(self.noise.one(out, _ulps(name)))

        return run

    # accumulations and index sums: NumPy runs them outside the ufunc machinery
    def cumulative_sum(self, x: Any, axis: int) -> Any:
        return np.add.accumulate(self.asarray(x), axis=axis) if np.size(x) else x

    def cumulative_prod(self, x: Any, axis: int) -> Any:
        return np.multiply.accumulate(self.asarray(x), axis=axis) if np.size(x) else x

    def index_add(self, x: Any, indices: Any, updates: Any, axis: int) -> Any:
        return self._summed(super().index_add, x, indices, updates, axis)

    def scatter_add(self, x: Any, indices: Any, updates: Any, axis: int) -> Any:
        return self._summed(super().scatter_add, x, indices, updates, axis)

    def _summed(self, kernel: Callable[..., Any], x: Any, indices: Any, updates: Any, axis: int) -> Any:
        x, updates = np.asarray(x), np.asarray(updates)
        count = kernel(np.zeros(x.shape), indices, np.ones(updates.shape), axis)
        size = kernel(np.abs(x), indices, np.abs(updates), axis)
        return self.asarray(self.noise.sum(kernel(x, indices, updates, axis), size, count))

    def einsum(self, subscripts: str, *xs: Any) -> Any:
        plain = [np.asarray(x) for x in xs]
        out = np.einsum(subscripts, *plain)
        terms = np.einsum(subscripts, *(np.ones(x.shape) for x in plain))
        size = np.einsum(subscripts, *(np.abs(x) for x in plain))
        # In the wider formats √k counts these roundings too.
        between = size * max(len(plain) - 2, 0) if self.noise.stores else 0.0
        return self.asarray(self.noise.sum(out, size, terms + len(plain), between))

    # decisions that are no ufunc
    def argmax(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return self._taken(super().argmax(np.asarray(x), axis, keepdims))

    def argmin(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return self._taken(super().argmin(np.asarray(x), axis, keepdims))

    def argsort(self, x: Any, axis: int = -1) -> Any:
        return self._taken(super().argsort(np.asarray(x), axis))

    def _taken(self, indices: Any) -> Any:
        return self.noise.took(indices)

    # linear algebra: the exact result for a matrix moved as backward stability allows
    def _backward(self, a: Any) -> np.ndarray:
        a = np.asarray(a)
        n = max(a.shape[-1], 1)
        size = n * self.noise.finer * np.max(np.abs(a), axis=(-2, -1), keepdims=True, initial=0.0)
        return self.noise.nudge(a, np.broadcast_to(size, a.shape))

    def solve(self, a: Any, b: Any) -> Any:
        out = _or_nan(super().solve, self._backward(a), np.asarray(b))
        return self.asarray(self.noise.nudge(out, np.abs(out)))

    def inv(self, x: Any) -> Any:
        out = _or_nan(super().inv, self._backward(x))
        return self.asarray(self.noise.nudge(out, np.abs(out)))

    def det(self, x: Any) -> Any:
        out = super().det(self._backward(x))
        return self.asarray(self.noise.nudge(out, np.abs(out)))

    def cholesky(self, x: Any) -> Any:
        moved = self._backward(x)
        out = _or_nan(super().cholesky, (moved + np.swapaxes(moved, -1, -2)) / 2)
        return self.asarray(self.noise.nudge(out, np.abs(out)))

    def solve_triangular(self, a: Any, b: Any, upper: bool = False, unit_diagonal: bool = False) -> Any:
        return super().solve_triangular(self.asarray(a), self.asarray(b), upper, unit_diagonal)


def _or_nan(kernel: Callable[..., Any], *args: np.ndarray) -> np.ndarray:
    """The last argument's solution or factor; NaN where NumPy refuses a matrix (singular, not positive definite)."""
    try:
        return np.asarray(kernel(*args))
    except np.linalg.LinAlgError:
        return np.full(args[-1].shape, np.nan)
