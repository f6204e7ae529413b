"""NumPy arrays with nudges: each result is moved as a careful implementation in a dtype may err.

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
from .dtypes import FloatFormat, is_float, numpy_dtype, rounded, to_float64
from .kernels import KERNELS, Kernel, Nudge, Own, Run, names
from .numpy import LEGACY, NumpyNamespace

Decisions = Sequence[np.ndarray]
"""What the comparisons, maxima, argmaxes, sorts and roundings of a rerun came to, in the order in which they are taken:
booleans, indices and rounded numbers. The order is the same in every rerun of a graph."""


def branches_of(decisions: Decisions) -> bytes:
    """Decisions as something to compare."""
    return b"|".join(np.packbits(d).tobytes() if d.dtype == bool else d.tobytes() for d in decisions)


Seed = int | tuple[int, int]


class Noise:
    """The nudges of one rerun after another, and the branches that the current one took; or `forced` ones."""

    def __init__(self, fmt: FloatFormat, stepwise: bool = False, forced: Decisions | None = None) -> None:
        self.stepwise, self.forced, self.given = stepwise, forced, fmt
        self.rng = np.random.default_rng(0)
        self.restart(0)

    def compute_in(self, fmt: FloatFormat) -> None:
        """Nudge as in this format from here on."""
        self.fmt = fmt
        self.finer = fmt.arithmetic / fmt.roundoff if fmt.roundoff else 1.0
        self.stores = fmt.stores

    def restart(self, seed: Seed) -> None:
        """Draw from `default_rng(seed)` from here on, in the given format, and forget all decisions."""
        self.compute_in(self.given)
        self.rng.bit_generator.state = _stream(seed)
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
def _stream(seed: Seed) -> Mapping[str, Any]:
    """The state that `default_rng(seed)` begins with: the same few seeds for every case, and dear to work out."""
    return np.random.PCG64(seed).state


_REALS = (np.ndarray, np.floating)

_OP_OF = {getattr(np, LEGACY.get(op, op)).__name__: op for op in names("numpy", Own.UFUNC)} | {"matmul": "matmul"}
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


class Nudged(np.ndarray):
    """A float64 array that nudges each arithmetic result; operators and ufuncs pass through here.

    Computed with in `_rerun` alone, where NumPy's warnings are off: to turn them off for each operation costs as much
    as the operation.
    """

    noise: Noise

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = tuple([np.asarray(x) if isinstance(x, Nudged) else self.noise.literal(x) for x in inputs])
        out = ufunc(*plain, **kwargs) if method == "__call__" else getattr(ufunc, method)(*plain, **kwargs)
        if not isinstance(out, _REALS) or out.dtype.kind != "f":
            return self.noise.took(out) if _MODELS.get(ufunc.__name__) is Nudge.DECISION else out
        return self._like(self._moved(ufunc.__name__, method, out, plain, kwargs))

    def _moved(self, name: str, method: str, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        noise, model = self.noise, _MODELS.get(name, Nudge.ULPS)
        if model is Nudge.EXACT:
            return out
        if model is Nudge.CHOICE:
            x = args[0]
            if method == "__call__":
                noise.took(np.greater_equal(x, args[1]))
            elif np.size(x):
                noise.took(np.equal(x, np.expand_dims(out, kwargs.get("axis") or ()) if kwargs.get("axis") is not None
                           and not kwargs.get("keepdims") else out))  # fmt: skip
            return out
        if model is Nudge.STEP:
            return noise.took(out)
        if model is Nudge.SUM:
            return noise.sum(out, np.matmul(np.abs(args[0]), np.abs(args[1])), np.shape(args[0])[-1])
        if method in ("reduce", "accumulate") and name in ("add", "multiply"):
            n = max(np.size(args[0]) // max(np.size(out), 1), 1) if method == "reduce" else np.size(args[0])
            if name == "add":
                return noise.sum(out, getattr(np.add, method)(np.abs(args[0]), **kwargs), n - 1)
            return noise.nudge(out, np.sqrt(n - 1) * np.abs(out))
        if name in ("divide", "true_divide") and np.size(args[1]) == 1 and args[1] == 1:
            return out  # exact: the mean of one number is that number
        moved = noise.one(out, _ulps(_OP_OF.get(name, name)))
        if model is Nudge.ADDITION:
            exact = _exact_sum(args[0], args[1] if name == "add" else -args[1], out, noise.fmt)
            return np.where(exact, out, moved) if np.count_nonzero(exact) else moved
        return moved

    def _like(self, out: Any) -> Nudged:
        return np.asarray(out, dtype=np.float64).view(type(self))


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


_GENERIC = (Nudge.EXACT, Nudge.STEP, Nudge.DECISION, Nudge.ULPS)
_WRAPPED = {n: KERNELS[n].nudge for n in names("numpy", Own.METHOD) if KERNELS[n].nudge in _GENERIC}
"""Kernels that are no ufunc, and whose error model needs nothing but their result."""


class NudgedNamespace(NumpyNamespace):
    """NumPy's kernels over `Nudged` arrays; those that are no ufunc are nudged here, as their records say."""

    def __init__(self, noise: Noise) -> None:
        super().__init__(np, "nudged")
        self.seen_nudged = False
        self.noise = noise
        self.kind: type[Nudged] = type("Nudged", (Nudged,), {"noise": noise})
        for name, nudge in _WRAPPED.items():
            setattr(self, name, self._nudged(name, getattr(super(), name), nudge))
        for name in ("max", "min", "full_like"):  # max and min pass through ufuncs, and come out as scalars
            setattr(self, name, self._kept(getattr(super(), name)))

    def registered(self, kernel: Kernel) -> Run | None:
        run = super().registered(kernel)
        return None if run is None else self._nudged(kernel.name, run, kernel.nudge)

    def asarray(self, x: Any, like: Any = None) -> np.ndarray:
        array = np.asarray(x)
        return array.astype(np.float64).view(self.kind) if is_float(array) else array

    def zeros(self, shape: Any, like: Any) -> np.ndarray:
        return np.zeros(shape).view(self.kind)

    def ones(self, shape: Any, like: Any) -> np.ndarray:
        return np.ones(shape).view(self.kind)

    def eye(self, n: int, like: Any) -> np.ndarray:
        return np.eye(n).view(self.kind)

    def _kept(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **params: self.asarray(kernel(*args, **params))

    def _nudged(self, name: str, kernel: Run, nudge: Nudge | Run) -> Run:
        """The kernel on plain arrays, its result nudged by the error model."""
        if nudge is Nudge.EXACT:
            return self._kept(kernel)

        def run(*args: Any, **params: Any) -> Any:
            plain = [np.asarray(a) if isinstance(a, Nudged) else a for a in args]
            out = kernel(*plain, **params)
            if nudge is Nudge.DECISION:
                return self.noise.took(out)
            if nudge is Nudge.LOGIC:
                return out
            if nudge is Nudge.STEP:
                return self.asarray(self.noise.took(out))
            if nudge is Nudge.ULPS:
                return self.asarray(self.noise.one(out, _ulps(name)))
            assert not isinstance(nudge, Nudge), f"{name}: {nudge} needs a method of its own"
            return self.asarray(nudge(self.noise, np.asarray(out), *plain, **params))

        return run

    # accumulations and index sums: NumPy runs them outside the ufunc machinery
    def cumulative_sum(self, x: Any, axis: int) -> np.ndarray:
        return np.add.accumulate(self.asarray(x), axis=axis) if np.size(x) else x

    def cumulative_prod(self, x: Any, axis: int) -> np.ndarray:
        return np.multiply.accumulate(self.asarray(x), axis=axis) if np.size(x) else x

    def index_add(self, x: Any, indices: Any, updates: Any, axis: int) -> np.ndarray:
        return self._summed(super().index_add, x, indices, updates, axis)

    def scatter_add(self, x: Any, indices: Any, updates: Any, axis: int) -> np.ndarray:
        return self._summed(super().scatter_add, x, indices, updates, axis)

    def _summed(self, kernel: Callable[..., Any], x: Any, indices: Any, updates: Any, axis: int) -> np.ndarray:
        x, updates = np.asarray(x), np.asarray(updates)
        count = kernel(np.zeros(x.shape), indices, np.ones(updates.shape), axis)
        size = kernel(np.abs(x), indices, np.abs(updates), axis)
        return self.asarray(self.noise.sum(kernel(x, indices, updates, axis), size, count))

    def einsum(self, subscripts: str, *xs: Any) -> np.ndarray:
        plain = [np.asarray(x) for x in xs]
        out = np.einsum(subscripts, *plain)
        terms = np.einsum(subscripts, *(np.ones(x.shape) for x in plain))
        size = np.einsum(subscripts, *(np.abs(x) for x in plain))
        # In the wider formats √k counts these roundings too.
        between = size * max(len(plain) - 2, 0) if self.noise.stores else 0.0
        return self.asarray(self.noise.sum(out, size, terms + len(plain), between))

    # linear algebra: the exact result for a matrix moved as backward stability allows
    def _backward(self, a: Any) -> np.ndarray:
        a = np.asarray(a)
        n = max(a.shape[-1], 1)
        size = n * self.noise.finer * np.max(np.abs(a), axis=(-2, -1), keepdims=True, initial=0.0)
        return self.noise.nudge(a, np.broadcast_to(size, a.shape))

    def solve(self, a: Any, b: Any) -> np.ndarray:
        out = _or_nan(super().solve, self._backward(a), np.asarray(b))
        return self.asarray(self.noise.nudge(out, np.abs(out)))

    def inv(self, x: Any) -> np.ndarray:
        out = _or_nan(super().inv, self._backward(x))
        return self.asarray(self.noise.nudge(out, np.abs(out)))

    def det(self, x: Any) -> np.ndarray:
        out = super().det(self._backward(x))
        return self.asarray(self.noise.nudge(out, np.abs(out)))

    def cholesky(self, x: Any) -> np.ndarray:
        moved = self._backward(x)
        out = _or_nan(super().cholesky, (moved + np.swapaxes(moved, -1, -2)) / 2)
        return self.asarray(self.noise.nudge(out, np.abs(out)))

    def solve_triangular(self, a: Any, b: Any, upper: bool = False, unit_diagonal: bool = False) -> np.ndarray:
        # NumPy's stack makes plain arrays of its rows.
        return self.asarray(super().solve_triangular(self.asarray(a), self.asarray(b), upper, unit_diagonal))


def _or_nan(kernel: Callable[..., Any], *args: np.ndarray) -> np.ndarray:
    """The last argument's solution or factor; NaN where NumPy refuses a matrix (singular, not positive definite)."""
    try:
        return np.asarray(kernel(*args))
    except np.linalg.LinAlgError:
        return np.full(args[-1].shape, np.nan)


_UFUNCS_INSIDE = frozenset(("sum", "prod", "max", "min", "matmul", "any", "all"))
"""Methods that NumPy computes by ufuncs, on `Nudged` arrays as they come."""

_unnudged = sorted({*names("numpy", Own.METHOD)} - _WRAPPED.keys() - _UFUNCS_INSIDE - vars(NudgedNamespace).keys())
if _unnudged:
    raise TypeError(f"no nudge is written for {', '.join(_unnudged)}")


def require_nudged(op: str, value: Any) -> None:
    """Raise TypeError for a float result without nudges, which would be taken for exact."""
    floats = isinstance(value, float) or (isinstance(value, _REALS) and value.dtype.kind == "f")
    if floats and not isinstance(value, Nudged):
        raise TypeError(
            f"{op}: its result {type(value).__name__} is not nudged, so that the budget would know of no rounding in it: "
            "a kernel that is no ufunc is declared with an error model (`namespaces.kernels.register_op`)"
        )
