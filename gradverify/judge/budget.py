"""The budget: how far rounding in the subject's dtype can take a correct implementation, entry by entry.

The reference (forward and reverse, the op table's texts in float64) is rerun several times with the result of every
operation nudged as a careful implementation in that dtype may err. What the reruns scatter by is what rounding can do;
nobody states a tolerance. The error model of each operation, u the unit roundoff of the dtype and a that of its
arithmetic (`FloatFormat.arithmetic`): float16 and bfloat16 are formats of storage, so that one operation is computed in
float32 and rounded once, by u·|result| on top of what stands here; in float32 and float64, a is u and nothing comes on
top.

* elementwise:  |error| <= 2·ulps·a·|result|, with `ulps` from the op's declaration (1 ulp <= 2u|x|);
* sum of n:     √(n-1)·a·Σ|x_i|, the probabilistic bound of Higham & Mary, "A New Approach to Probabilistic Rounding
                Error Analysis", SIAM J. Sci. Comput. 41 (2019), thm 2.4; any order of summation stays below it. Who
                accumulates in 16 bits loses digits that need not be lost (`stepwise` asks whether somebody did);
* product of n: √(n-1)·u·|result| (the same, relative: nothing cancels, so that stepwise rounding loses no digit);
* matmul, einsum: √k·a·(|A||B|) with k the contracted length (ibid., thm 3.3); between three and more operands of an
                einsum stand intermediate results, of which each is rounded: u·(|A||B||C|);
* literals of an op's text (an eps, a factor): kept wide or rounded to the dtype, as the subject likes: they move by as
                much as that rounding moves them, by all of it where they underflow;
* solve, inv, cholesky, det: backward stable, so the exact result for a matrix moved by n·a·max|A| (Higham, "Accuracy
                and Stability of Numerical Algorithms", 2002, thms 9.4 and 10.3);
* the inputs:   moved by a·|x| themselves: numerically stable is what gives nearly the right answer to nearly the right
                question (the mixed forward-backward stability of Higham 2002, section 1.5). A formula that is less
                careful than the table's and still stable, such as 2(x - mean x)/n at a large mean, is right; one that
                cancels (1 - tanh²) is not. Entries of equal size move alike, so that ties, symmetric matrices and
                exact differences stay what they are; and none moves at a kink, or where that leaves the domain;
* range:        results beyond the largest number become inf; results below the smallest normal may be flushed to 0
                (IEEE 754-2019 §7.5 permits it as an attribute; XLA's CPU backend does it), except in float16, where
                they err by half the distance of subnormal numbers (`FloatFormat.gradual`).

Left out on purpose: a subject that adds into memory of its own 16-bit dtype (scatter_add by atomics) loses digits and
is not excused for it.

Nudges are Gaussian with these bounds as standard deviations, so a sum of them cannot cancel systematically.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

from ..core.graph import Graph
from ..namespaces.dtypes import FORMATS, FloatFormat, is_float, numpy_dtype, rounded, wide
from ..namespaces.numpy import LEGACY, NumpyNamespace
from ..namespaces.run import Table, forward, kink_distances, reverse
from ..ops import OPS
from ..ops.build import lowered

RERUNS = 16
SAFETY = 8.0
"""The budget is SAFETY times the root mean square of RERUNS reruns.

A careful implementation errs by at most half the nudges' standard deviation s (a rounding to nearest by half an ulp at
most, uniformly: 0.29 s), so that error over measured scatter is half a Student t variable of 16 degrees of freedom, and
P(|t| > 2·SAFETY) = 3e-11 per entry. Independent errors aside, a systematic one may reach SAFETY·s. The same budget
decides PASS and FAIL, so that the power that a PASS states is the power that it had.
"""

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


@dataclass(frozen=True, eq=False)
class Allowance:
    """The budget of one array, and what the reruns showed of it.

    budget   per entry, absolute; inf where a rerun left the dtype's range
    """

    budget: np.ndarray


@dataclass(frozen=True, eq=False)
class Budget:
    """Allowances of the outputs and of the gradients, from `reruns` reruns.

    branches  the reruns did not all take the same branch, or came so close to another that rounding may take it
    """

    outputs: tuple[Allowance, ...]
    gradients: Mapping[str, Allowance]
    reruns: int
    branches: bool = False
    notes: tuple[str, ...] = field(default=())


def budget(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    cotangent: tuple[np.ndarray, ...],
    wrt: tuple[str, ...],
    dtype: str,
    outputs: tuple[np.ndarray, ...],
    gradients: Mapping[str, np.ndarray],
    *,
    reruns: int = RERUNS,
    seed: int = 0,
    table: Table = OPS,
    at_kink: bool = False,
    leaves: bool = False,
    dead: Mapping[int, np.ndarray] | None = None,
    idle: frozenset[int] = frozenset(),
    loose: bool = False,
    stepwise: bool = False,
    forced: Decisions | None = None,
    parts: Sequence[tuple[int, int]] = (),
) -> Budget:
    """Scatter of `reruns` nudged reruns around the true `outputs` and `gradients` (float64, as the oracle has them).

    An array's budget is SAFETY·rms(rerun - truth) + SAFETY·u·|truth| + floor + what underflow costs. The second
    term is the rounding of the result itself and covers entries that happened to be hit by no nudge. The floor gives
    zeros (what the oracle cannot tell from zero is given as 0) an ulp of an ulp: u² of the array's largest entry; for
    outputs also u² of the largest number that goes in or comes out; for gradients u² of what moves
    ⟨cotangent, outputs⟩, where x_j moves by max(|x_j|, 1), as much as the most influential entry of any input does.
    Underflow costs the smallest normal number of the dtype where it is abrupt; a gradual one is a rounding, and has the
    SAFETY of it.

    `at_kink` says that the point lies on a kink, which a move of the inputs would leave; `leaves` that they are to leave
    it, zeros as well, which move as ones do. `dead` holds the entries, node
    of the lowered graph -> mask, whose cotangent is 0 by structure (`Truth.dead`). `idle` holds nodes whose cotangent is
    0 by cancellation (`Truth.idle`): who derives a formula by hand leaves them out, and has other roundings than who
    computes the 0. Either is right, so that an entry's budget is the larger one of both ways.

    `table` holds other texts for some ops: the budget of who is known to compute with those.

    `loose` asks another question: could a branch that rounding turns explain this? Then nudges are SAFETY times larger
    and reruns of every branch count.

    `stepwise` asks a third: could it be that sums were accumulated in the 16-bit dtype itself? The bound is then the
    worst case, (n-1)·u·Σ|x_i| (Higham 2002, eq. 4.4): a sum that stagnates errs with one sign.

    `parts` are pairs of outputs, and `z.real` and `z.imag` the gradients, that are one complex number each: then the
    result is rounded at the size of the modulus, as complex arithmetic promises no more (a product errs by √5·u of the
    modulus at most, not of each part; Brent, Percival & Zimmermann, Math. Comp. 76 (2007) 1469).

    `forced` asks for the budget of another branch than rounding happens to take (see `branches.py`), around what is true
    on it.
    """
    fmt = FORMATS[dtype]
    flat = lowered(graph, table)
    if (dead or idle) and table is not OPS and flat != lowered(graph):
        dead, idle = None, frozenset()
    nudges = _loosened(fmt) if loose else fmt
    xp = NudgedNamespace(Noise(nudges, stepwise, forced))
    moved = _Moved(values, 0.0 if at_kink else nudges.arithmetic, leaves)

    def rerun(k: int, without: frozenset[int]) -> _Rerun:
        rest = cotangent, wrt, dtype, [seed, k], table, dead or {}, without
        run = _rerun(xp, flat, moved.point([seed, k]), *rest)
        return _rerun(xp, flat, values, *rest) if moved.any and not run.finite else run

    runs = [rerun(k, frozenset()) for k in range(reruns)]
    kept, branches = _same_branch(runs)
    kept = runs if loose else kept
    ways = [kept, _same_branch([rerun(k, idle) for k in range(reruns)])[0]] if idle else [kept]

    with np.errstate(all="ignore"):
        length = {n: np.maximum(np.abs(finite(values[n])), 1.0) for n in gradients}
        size = size_of(cotangent, outputs, gradients, values)
        largest = max(
            (float(np.max(np.abs(a), initial=0.0)) for a in (*outputs, *map(finite, values.values()))), default=0.0
        )

    def scatter(truth: np.ndarray, arrays: list[np.ndarray]) -> np.ndarray:
        norm = np.zeros(truth.shape)
        for a in arrays:
            norm = np.hypot(norm, a - truth)  # the squares of what is near the ends of the range are not in it
        return norm / math.sqrt(len(arrays))

    other_output = {i: k for pair in parts for i, k in (pair, pair[::-1])}

    def allow(
        truth: np.ndarray,
        ways: list[list[np.ndarray]],
        floor: np.ndarray | float = 0.0,
        other: np.ndarray | None = None,
    ) -> Allowance:
        with np.errstate(all="ignore"):
            modulus = np.abs(truth) if other is None else np.hypot(truth, other)
            rounding = fmt.roundoff * modulus + (fmt.underflow if fmt.gradual else 0.0)
            b = SAFETY * (np.max([scatter(truth, arrays) for arrays in ways], axis=0) + rounding)
            b += 0.0 if fmt.gradual else fmt.tiny
            b += np.where(truth == 0, fmt.roundoff**2 * (np.max(np.abs(truth), initial=0.0) + floor), 0.0)
        return Allowance(np.where(np.isnan(b), np.inf, b))

    return Budget(
        tuple(
            allow(t, [[r.outputs[i] for r in kept]], largest, outputs[other_output[i]] if i in other_output else None)
            for i, t in enumerate(outputs)
        ),
        {
            n: allow(
                t, [[r.gradients[n] for r in way] for way in ways], size / length[n], gradients.get(_other_part(n))
            )
            for n, t in gradients.items()
        },
        reruns,
        branches or _near_kink(runs),
    )


def size_of(
    cotangent: tuple[np.ndarray, ...],
    outputs: tuple[np.ndarray, ...],
    gradients: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
) -> float:
    """The scale of ⟨cotangent, outputs⟩: its terms, or what the most influential entry of any input moves it by."""
    with np.errstate(all="ignore"):
        size = sum(float(np.sum(np.abs(wide(g) * t))) for g, t in zip(cotangent, outputs))
        moves = (np.abs(t) * np.maximum(np.abs(finite(values[n])), 1.0) for n, t in gradients.items())
        size = max([size, *(float(np.max(m, initial=0.0)) for m in moves)])
        # Outputs and gradients all zero: the cotangent is the only scale there is.
        return size or max((float(np.max(np.abs(wide(g)), initial=0.0)) for g in cotangent), default=0.0)


def _other_part(name: str) -> str:
    """The name of the imaginary part for that of the real one, and the reverse; "" for what is no part."""
    whole, _, part = name.rpartition(".")
    return {"real": f"{whole}.imag", "imag": f"{whole}.real"}.get(part, "")


def _loosened(fmt: FloatFormat) -> FloatFormat:
    return replace(fmt, roundoff=SAFETY * fmt.roundoff, arithmetic=SAFETY * fmt.arithmetic)


def sampled(
    graph: Graph, values: Mapping[str, np.ndarray], cotangent: Any, wrt: tuple[str, ...], dtype: str, n: int, seed: int
) -> tuple[Decisions, list[Decisions]]:
    """The decisions at the point itself, in doubles, and those of `n` reruns whose nudges are SAFETY times larger."""
    nudges, flat = _loosened(FORMATS[dtype]), lowered(graph)
    moved, xp = _Moved(values, nudges.arithmetic), NudgedNamespace(Noise(nudges))
    rest = cotangent, wrt, dtype
    seeds = ([seed, k] for k in range(n))
    turned = [_rerun(xp, flat, moved.point(s), *rest, s, OPS, {}, frozenset()).decisions for s in seeds]
    return _rerun(NudgedNamespace(Noise(_EXACTLY)), flat, values, *rest, 0, OPS, {}, frozenset()).decisions, turned


def followed(
    graph: Graph, values: Mapping[str, np.ndarray], cotangent: Any, wrt: tuple[str, ...], dtype: str, forced: Decisions
) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    """Outputs and gradients, in doubles and without nudges, on the branch of these decisions."""
    xp = NudgedNamespace(Noise(_EXACTLY, forced=forced))
    run = _rerun(xp, lowered(graph), values, cotangent, wrt, dtype, 0, OPS, {}, frozenset())
    return run.outputs, run.gradients


_EXACTLY = replace(FORMATS["float64"], roundoff=0.0, gradual=True)
"""Doubles that are not nudged."""


def finite(x: np.ndarray) -> np.ndarray:
    """In double precision, with 0 for what has no size (the NaN that a masked reduction passes over)."""
    x = wide(x)
    return np.where(np.isfinite(x), x, 0.0)


@dataclass(frozen=True, eq=False)
class _Rerun:
    outputs: tuple[np.ndarray, ...]
    gradients: dict[str, np.ndarray]
    branches: bytes
    decisions: Decisions
    distances: dict[int, np.ndarray]

    @property
    def finite(self) -> bool:
        return all(np.isfinite(a).all() for a in (*self.outputs, *self.gradients.values()))


class _Moved:
    """The floating-point inputs, each entry x moved to x·(1 + a·ξ), with one standard normal ξ for all entries of one
    size |x|. With `leaves` zeros move as well, to a·ξ."""

    def __init__(self, values: Mapping[str, np.ndarray], a: float, leaves: bool = False) -> None:
        self.values, self.a, self.leaves = values, a, leaves
        self.floats = {n: wide(v) for n, v in values.items() if is_float(v)} if a else {}
        sizes = [np.abs(x).ravel() for x in self.floats.values()]
        distinct, where = np.unique(np.concatenate(sizes or [np.zeros(0)]), return_inverse=True)
        self.count, self.where = len(distinct), where
        self.any = bool(distinct.size if leaves else distinct.any())

    def point(self, seed: Any) -> Mapping[str, np.ndarray]:
        if not self.any:
            return self.values
        move = self.a * _normal((*seed, 1), self.count)[self.where]
        point, at = dict(self.values), 0
        for n, x in self.floats.items():
            moves = move[at : at + x.size].reshape(x.shape)
            point[n] = x * (1.0 + moves)
            if self.leaves:
                point[n] = np.where(x == 0, moves, point[n])
            at += x.size
        return point


FEW = 128
"""Up to so many numbers of a stream are kept: few points have more entries of different size."""


def _normal(seed: tuple[int, ...], n: int) -> np.ndarray:
    """The first n normal numbers of a stream: they do not depend on how many are asked for."""
    return _first(seed)[:n] if n <= FEW else np.random.default_rng(seed).standard_normal(n)


@lru_cache(maxsize=1024)
def _first(seed: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(FEW)


def _rerun(
    xp: NudgedNamespace,
    graph: Graph,
    values: Any,
    cotangent: Any,
    wrt: tuple[str, ...],
    dtype: str,
    seed: Any,
    table: Table,
    dead: Mapping[int, np.ndarray],
    without: frozenset[int],
) -> _Rerun:
    xp.noise.restart(seed)
    with np.errstate(all="ignore"):
        nodes = forward(xp, graph, {n: xp.asarray(v) for n, v in values.items()}, dtype, table)
        adjoint = reverse(xp, graph, nodes, [xp.asarray(c) for c in cotangent], wrt, table, dead=dead, without=without)
        decisions, branches = list(xp.noise.decisions), xp.noise.branches
        distances = kink_distances(xp, graph, nodes, wrt)
    inputs = graph.inputs
    return _Rerun(
        tuple(np.asarray(nodes[o], dtype=np.float64) for o in graph.outputs),
        {
            n: np.asarray(adjoint[inputs[n]], dtype=np.float64)
            if inputs[n] in adjoint
            else np.zeros(np.shape(values[n]))
            for n in wrt
        },
        branches,
        decisions,
        {k: np.asarray(d, dtype=np.float64) for k, d in distances.items()},
    )


def _same_branch(runs: list[_Rerun]) -> tuple[list[_Rerun], bool]:
    """The reruns of the branch that most of them took, and whether there were others."""
    groups: dict[bytes, list[_Rerun]] = {}
    for r in runs:
        groups.setdefault(r.branches, []).append(r)
    return max(groups.values(), key=len), len(groups) > 1


def _near_kink(runs: list[_Rerun]) -> bool:
    """Is some distance to a kink within SAFETY of its own scatter? Then rounding may land on the other side."""
    for k in runs[0].distances:
        stack = np.stack([r.distances[k] for r in runs])
        if stack.size:
            with np.errstate(all="ignore"):
                spread = stack.std(axis=0)
                if bool(((stack.min(axis=0) < SAFETY * spread) & (spread > 0)).any()):
                    return True
    return False
