"""`check_op`: is a declaration of the op table sound, and would this check notice if it were not?

The truth is the definition itself, in Arb balls; a second opinion on it is mpmath's. A rule (`vjp`) is held against
central differences of the definition at hundreds of bits, entry by entry. Nothing here has a tolerance to tune: each
bound stands next to its derivation.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb
from mpmath import mp, mpf

from ..core.errors import ShapeError
from ..core.interval import Interval
from ..core.op import VARIADIC, OpSpec, Param, Shape, bind_params
from ..namespaces import NUMPY
from ..ops.shapes import broadcast, same
from ..oracle.balls import BALLS
from ..oracle.mp import MPMATH
from ..oracle.precision import DEFAULT_BITS, working

MAX_BITS = 12800
"""Tails such as 1 - tanh(700), and exp at 1e-300, need thousands of bits before a difference shows their slope."""

AGREE = arb(10) ** -25
"""Rule and difference must agree to 25 digits: halfway between a double's 16 and the 39 that a step of 2^-66 leaves
(its truncation error is h^2 times a third derivative, 2e-40 in the units of x)."""

NOTHING = arb(2) ** -1100
"""Less than the smallest double (2^-1074) by any rounding: a tail that no dtype can show."""

MUTANT = 1e-12
"""The smallest mutation that the check must notice: a relative error of the rule."""

RULE_ULPS = 32
"""What a rule's own arithmetic may lose in NumPy: about 16 kernel calls of 2 ulps each; see `_check_rule_in_numpy`."""

# Where to look: moderate values, tails, tiny and large ones, integers and the points where branches meet.
BOXES = [
    (-3, 3), (0.5, 2), (-2, -0.5), (0, 4), (-1, 1), (-0.75, 0.75), (2, 6), (-8, 8), (1.25, 1.75), (-40, 40), (20, 44),
    (-44, -20), (-720, 720), (2.0**-40, 2.0**-20), (-(2.0**-20), 2.0**-40), (1e3, 1e6), (-1e5, -1e2),
]  # fmt: skip
EXTREMES = {"float32": [(1e-30, 1e-25), (1e15, 1e18)], "float64": [(1e-300, 1e-290), (1e100, 1e120)]}
POINTS = [0.0, 1.0, -1.0, 2.0, 3.0, -2.0, 0.5, -0.5]

Draw = Callable[[np.random.Generator], tuple[tuple[np.ndarray, ...], dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class Sample:
    """A point of the domain: arguments (float64 or float32 values, bool and int64 otherwise) and bound parameters."""

    args: tuple[np.ndarray, ...]
    params: dict[str, Any]
    intervals: tuple[Interval, ...]

    def __str__(self) -> str:
        given = [np.array2string(a, threshold=20, separator=", ") for a in self.args]
        return ", ".join(given + [f"{k}={v!r}" for k, v in self.params.items()])


def check_op(
    spec: OpSpec, *, seed: int = 0, samples: int = 24, draw: Draw | None = None, rule_ulps: float = RULE_ULPS
) -> None:
    """Raise AssertionError, with the point and both numbers, where the declaration `spec` is unsound.

    Checked: the declaration's own consistency; `define` in NumPy (float32, float64) and in mpmath against balls; the
    `shape` rule; `image`; `vjp` against differences; the rule's own accuracy in NumPy (elementwise ops); `kinks`;
    and that a rule off by 1e-12, with the wrong sign, or deaf to its cotangent would have been noticed.

    In a rule, let constants and parameters meet an array before they meet each other: 3.0 * scale would round in
    Python, to 53 bits, before the balls see it.

    samples   how many points, each with its own shapes, parameters, values and cotangent
    draw      (rng) -> (arrays, params), where shapes or values need structure that random drawing does not find
    rule_ulps what a rule's own arithmetic may lose in NumPy, for rules that are known to magnify a rounding
    """
    _check_declaration(spec)
    rng = np.random.default_rng(seed)
    power = _Power(spec, rule_ulps)
    drawn = 0
    for dtype in ("float64", "float32"):
        for sample in _samples(spec, rng, samples, dtype, draw):
            drawn += 1
            with np.errstate(all="ignore"):
                _check_at(spec, sample, rng, dtype, power)
        if _elementwise(spec) and draw is None:
            _check_image_densely(spec, rng, dtype)
    assert drawn, f"{spec.name}: no point of its domain was found; pass `draw`"
    power.demand()


# ---------------------------------------------------------------------------------------------- the declaration


def _check_declaration(spec: OpSpec) -> None:
    name = spec.name
    assert name.isidentifier(), f"{name!r} is no identifier"
    assert spec.doc, f"{name}: no doc"
    assert spec.name not in spec.aliases, f"{name} is its own alias"
    assert spec.arity == VARIADIC or spec.arity >= 0, f"{name}: arity {spec.arity}"
    assert spec.ulps >= 0, f"{name}: negative ulps"
    if isinstance(spec.vjp, tuple):
        assert len(spec.vjp) == spec.arity, f"{name}: {len(spec.vjp)} rules for {spec.arity} arguments"
    for key, param in spec.params.items():
        if not param.required:
            bind_params(spec, {k: _some(p) for k, p in spec.params.items() if p.required} | {key: param.default})
    try:
        ast.parse(spec.example, mode="eval")
    except SyntaxError:
        raise AssertionError(f"{name}: the example {spec.example!r} is no expression") from None


def _some(param: Param) -> Any:
    """Any value of a required parameter, of the right type."""
    number = param.lo if param.lo is not None else 1
    return {"int": int(number), "float": float(number), "bool": True, "axis": 0, "axes": 0, "string": "i->i",
            "choice": next(iter(param.choices), ""), "index": 0}.get(param.kind, ())  # fmt: skip


def _elementwise(spec: OpSpec) -> bool:
    """Does each entry of the result depend on one entry of each argument?"""
    return spec.shape in (same, broadcast)


# ---------------------------------------------------------------------------------------------- drawing points


def _samples(spec: OpSpec, rng: np.random.Generator, count: int, dtype: str, draw: Draw | None) -> Iterator[Sample]:
    for k in range(count):
        if draw is not None:
            args, params = draw(rng)
            cast = tuple(np.asarray(a, dtype=dtype) if np.asarray(a).dtype.kind == "f" else np.asarray(a) for a in args)
            yield Sample(cast, bind_params(spec, params), tuple(_hull(a) for a in cast))
            continue
        # Every fourth sample asks for an empty array, a few for scalars.
        drawn = _shapes(spec, rng, empty=k % 8 == 7)
        if drawn is None:
            continue
        shapes, params = drawn
        intervals = _intervals(spec, rng, len(shapes), dtype, tame=k % 3 == 0)
        if intervals is None:
            continue
        args = tuple(_array(spec, rng, i, s, intervals[i], dtype, shapes) for i, s in enumerate(shapes))
        if spec.guard is not None:
            with np.errstate(all="ignore"):
                args = tuple(spec.guard(NUMPY, *args))
            args = tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in args)
            intervals = tuple(_hull(a) for a in args)
        yield Sample(args, params, intervals)


def _hull(x: np.ndarray) -> Interval:
    return Interval(float(x.min()), float(x.max())) if x.size else Interval(0.0, 1.0)


def _shapes(spec: OpSpec, rng: np.random.Generator, empty: bool) -> tuple[list[Shape], dict[str, Any]] | None:
    """Shapes and parameters that the shape rule takes, by trial; None where none was met."""
    for _ in range(2000):
        arity = int(rng.integers(1, 4)) if spec.arity == VARIADIC else spec.arity
        sizes = (0, 1, 2) if empty else (1, 2, 2, 3)
        full = tuple(int(n) for n in rng.choice(sizes, size=rng.integers(0, 3 if _elementwise(spec) else 4)))
        if spec.broadcasts or rng.random() < 0.5:
            shapes = [_lesser(full, rng) if spec.broadcasts else full for _ in range(arity)]
        else:
            shapes = [tuple(int(n) for n in rng.choice(sizes, size=rng.integers(0, 4))) for _ in range(arity)]
        if any(0 in s for s in shapes) != empty or sum(map(math.prod, shapes)) > 24:
            continue
        try:
            params = bind_params(spec, {k: _parameter(p, rng, shapes) for k, p in spec.params.items()})
            spec.shape(*shapes, **params)
        except ShapeError:
            continue
        return shapes, params
    return None


def _lesser(shape: Shape, rng: np.random.Generator) -> Shape:
    """A shape that broadcasts to `shape`."""
    cut = int(rng.integers(0, len(shape) + 1)) if rng.random() < 0.4 else 0
    return tuple(1 if rng.random() < 0.25 else n for n in shape[cut:])


def _parameter(param: Param, rng: np.random.Generator, shapes: list[Shape]) -> Any:
    shape = shapes[0]
    ndim = len(shape)
    if not param.required and rng.random() < 0.3:
        return param.default
    axis = lambda: int(rng.integers(-ndim, ndim)) if ndim else 0
    if param.kind in ("int", "float"):
        lo, hi = max(param.lo if param.lo is not None else -3, -3), min(param.hi if param.hi is not None else 3, 3)
        return int(rng.integers(int(lo), int(hi) + 1)) if param.kind == "int" else float(rng.uniform(lo, hi))
    if param.kind == "axis":
        return None if param.optional and rng.random() < 0.3 else axis()
    if param.kind == "axes":
        kind = rng.integers(3)
        return (None if param.optional else axis(), axis(), tuple({axis() for _ in range(2)}))[kind]
    if param.kind == "bool":
        return bool(rng.integers(2))
    if param.kind == "choice":
        return str(rng.choice(param.choices))
    if param.kind == "perm":
        return tuple(int(i) for i in rng.permutation(ndim))
    if param.kind == "pads":
        return tuple((int(rng.integers(3)), int(rng.integers(3))) for _ in shape)
    if param.kind == "ints":
        return tuple(int(n) for n in rng.integers(-2, 3, size=int(rng.integers(1, 3))))
    if param.kind == "shape":
        longer = tuple(int(n) for n in rng.integers(1, 3, size=int(rng.integers(2)))) + shape
        permuted = tuple(int(n) for n in rng.permutation(shape))
        return (permuted, longer, (*shape, 1), (math.prod(shape),))[rng.integers(4)]
    if param.kind == "index":
        return tuple(_entry(n, rng) for n in shape[: int(rng.integers(0, ndim + 1))])
    raise AssertionError(f"a {param.kind} parameter cannot be drawn at random: pass `draw`")


def _entry(n: int, rng: np.random.Generator) -> Any:
    start = int(rng.integers(0, max(n, 1)))
    choices = [start, None, (None, None, None), (start, None, None), (None, None, 2), (None, None, -1)]
    return choices[rng.integers(0 if n else 1, len(choices))]


def _intervals(
    spec: OpSpec, rng: np.random.Generator, arity: int, dtype: str, tame: bool
) -> tuple[Interval, ...] | None:
    """One interval per argument, in the domain; `tame` ones first stay moderate."""
    boxes = BOXES[:9] if tame else BOXES + EXTREMES[dtype]
    for _ in range(2000):
        out = []
        for i in range(arity):
            if spec.argument(i) != "float":
                out.append(Interval(0.0, 1.0))
                continue
            lo, hi = map(float, boxes[rng.integers(len(boxes))])
            box = Interval(lo, hi) if rng.random() < 0.75 else Interval.point(POINTS[rng.integers(len(POINTS))])
            if spec.joint is None:
                domain = spec.domain[min(i, len(spec.domain) - 1)]
                part = domain[rng.integers(len(domain))]
                if box.hi < part.lo or box.lo > part.hi:
                    break
                box = Interval(max(box.lo, part.lo), min(box.hi, part.hi))
                tiny = float(np.finfo(dtype).smallest_normal)
                if box.lo == part.lo and "l" in part.open:
                    box = Interval(_above(box.lo, box.hi, tiny), box.hi) if box.lo < box.hi else part
                if box.hi == part.hi and "r" in part.open:
                    box = Interval(box.lo, _below(box.hi, box.lo, tiny)) if box.lo < box.hi else part
            out.append(box)
        if len(out) == arity and spec.admits(*out) and all(b.is_bounded for b in out):
            return tuple(out)
    return None


def _above(x: float, limit: float, tiny: float) -> float:
    """A little more than x, still a float32: an open end is approached, not met."""
    return min(x + max(tiny, abs(x) * 2.0**-22), limit)


def _below(x: float, limit: float, tiny: float) -> float:
    return max(x - max(tiny, abs(x) * 2.0**-22), limit)


def _array(
    spec: OpSpec, rng: np.random.Generator, i: int, shape: Shape, box: Interval, dtype: str, shapes: list[Shape]
) -> np.ndarray:
    kind = spec.argument(i)
    if kind == "bool":
        return np.asarray(rng.integers(0, 2, size=shape), dtype=bool)
    if kind == "int":
        sizes = [n for s in shapes for n in s if n] or [1]
        return np.asarray(rng.integers(0, min(sizes), size=shape), dtype=np.int64)
    return _values(rng, shape, box, dtype)


def _values(rng: np.random.Generator, shape: Shape, box: Interval, dtype: str, edges: float = 0.2) -> np.ndarray:
    """Uniform, log-uniform, and a share of `edges`: ends, zero, integers and halves."""
    lo, hi = box.lo, box.hi
    x = rng.uniform(lo, hi, size=shape)
    small = np.exp(rng.uniform(np.log(1e-30), 0, size=shape)) * np.where(rng.random(shape) < 0.5, lo, hi)
    x = np.where(rng.random(shape) < 0.15, np.clip(small, lo, hi), x)
    special = np.array([lo, hi] + [p for p in POINTS if lo <= p <= hi])
    x = np.where(rng.random(shape) < edges, rng.choice(special, size=shape), x)
    x = np.asarray(x, dtype=dtype)
    # Rounding to float32 may have left the interval by one ulp; float64 bounds, or NumPy rounds them as well.
    x = np.where(x < np.float64(lo), np.nextafter(x, np.asarray(np.inf, x.dtype)), x)
    x = np.where(x > np.float64(hi), np.nextafter(x, np.asarray(-np.inf, x.dtype)), x)
    return np.asarray(x, dtype=dtype)


# ---------------------------------------------------------------------------------------------- one point


def _balls(args: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(BALLS.asarray(a.astype(np.float64)) if a.dtype.kind == "f" else a for a in args)


def _boxed(x: Any) -> np.ndarray:
    """As an object array: operators on 0-d object arrays give bare scalars."""
    return np.asarray(x, dtype=object)


def _size(x: np.ndarray) -> np.ndarray:
    """|x| as comparable numbers: upper bounds of the balls."""
    return _boxed(np.frompyfunc(lambda v: arb(v.abs_upper()), 1, 1)(x))


def _moved(args: tuple[Any, ...], i: int, at: tuple[int, ...], by: arb) -> tuple[Any, ...]:
    """`args` with one entry of argument i moved."""
    moved = args[i].copy()
    moved[at] = moved[at] + by
    return args[:i] + (moved,) + args[i + 1 :]


def _check_at(spec: OpSpec, sample: Sample, rng: np.random.Generator, dtype: str, power: _Power) -> None:
    args, params = sample.args, sample.params
    where = f"{spec.name}({sample})"
    with working(DEFAULT_BITS):
        exact = _balls(args)
        truth = np.asarray(spec.define(BALLS, *exact, **params))
    shapes = tuple(a.shape for a in args)
    got = np.asarray(spec.define(NUMPY, *args, **params))
    expected = tuple(spec.shape(*shapes, **params))
    assert got.shape == expected, f"{where}: shape {got.shape} where the shape rule says {expected}"
    assert np.shape(truth) == expected, f"{where}: shape {np.shape(truth)} in balls, the rule says {expected}"
    if spec.result != "float":
        assert np.array_equal(got, truth), f"{where}: {got} in NumPy, {truth} in balls"
        return
    assert got.dtype == dtype, f"{where}: dtype {got.dtype} from {dtype}"

    kink = _at_kink(spec, exact, params, where)
    slopes = _Slopes(spec, sample)
    _check_image(spec, sample, truth, shapes, where)
    _check_mpmath(spec, sample, truth, where)
    if not (truth.size == 0 or kink or not _representable(truth, dtype)):
        _check_rules(spec, sample, rng, dtype, power, slopes, where)
    _check_forward(spec, sample, got, truth, dtype, slopes, where)
    if len(args) and truth.size and _representable(truth, dtype):
        _check_kinks(spec, slopes, kink, where)


def _representable(truth: np.ndarray, dtype: str) -> bool:
    limit = float(np.finfo(dtype).max)
    return all(v.is_finite() and abs(v) < limit for v in truth.flat)


def _at_kink(spec: OpSpec, exact: tuple[Any, ...], params: dict[str, Any], where: str) -> bool:
    """Does the declaration call the point a kink? Also: distances are never negative."""
    if spec.kinks is None:
        return False
    with working(DEFAULT_BITS):
        distances = np.asarray(spec.kinks(BALLS, *exact, **params), dtype=object)
    assert not any(d < 0 for d in distances.flat), f"{where}: a negative distance to a kink"
    return any(not d > 0 for d in distances.flat)


class _Slopes:
    """Central differences of the definition, entry by entry, at any precision; cached."""

    def __init__(self, spec: OpSpec, sample: Sample) -> None:
        self.spec, self.sample = spec, sample
        nonzero = [abs(float(v)) for a in sample.args if a.dtype.kind == "f" for v in a.flat if v]
        # Near a zero, the neighbours say what is small.
        self.smallest = min([1.0, *nonzero])
        self._cache: dict[tuple[int, int, tuple[int, ...]], tuple[np.ndarray, np.ndarray]] = {}

    def interior(self, i: int, at: tuple[int, ...]) -> bool:
        """May entry `at` of argument i move both ways?"""
        x = float(self.sample.args[i][at])
        near = Interval(math.nextafter(x, -math.inf), math.nextafter(x, math.inf))
        if self.spec.joint is not None:
            box = self.sample.intervals
            return self.spec.admits(*box[:i], box[i].hull(near), *box[i + 1 :])
        domain = self.spec.domain[min(i, len(self.spec.domain) - 1)]
        return any(near.within(part) for part in domain)

    def sides(self, i: int, at: tuple[int, ...], bits: int) -> tuple[np.ndarray, np.ndarray]:
        """(f(x) - f(x-h))/h and (f(x+h) - f(x))/h, with h = 2^(-bits/3) min(|x|, 1), at 0 with the smallest other |x|.

        Relative to a small x, for the poles at 0; absolute from 1 on, or the sine of a large x would turn in a step.

        A third of the bits: truncation (h^2) and rounding (2^-bits/h) are then of equal size.
        """
        key = (bits, i, at)
        if key not in self._cache:
            with working(bits):
                x = float(self.sample.args[i][at])
                h = arb(2) ** (min(math.frexp(x or self.smallest)[1], 0) - bits // 3)
                self._cache[key] = self._differences(i, at, h)
        return self._cache[key]

    def _differences(self, i: int, at: tuple[int, ...], h: arb) -> tuple[np.ndarray, np.ndarray]:
        exact = _balls(self.sample.args)
        if not _elementwise(self.spec):
            return self._quotients(exact, _moved(exact, i, at, -h), _moved(exact, i, at, h), h)
        # Only the entries of the result that see this one: the rounding of a huge neighbour must not drown it.
        shape = np.broadcast_shapes(*(a.shape for a in exact))
        a = self.sample.args[i]
        seen = np.broadcast_to(np.arange(a.size).reshape(a.shape), shape) == np.ravel_multi_index(at, a.shape)
        points = tuple(np.broadcast_to(x, shape)[seen] for x in exact)
        below, above = (points[:i] + (points[i] + s * h,) + points[i + 1 :] for s in (-1, 1))
        left, right = BALLS.zeros(shape), BALLS.zeros(shape)
        left[seen], right[seen] = self._quotients(points, below, above, h)
        return left, right

    def _quotients(self, centre: Any, below: Any, above: Any, h: arb) -> tuple[np.ndarray, np.ndarray]:
        low, mid, high = (self.spec.define(BALLS, *args, **self.sample.params) for args in (below, centre, above))
        return _boxed((mid - low) / h), _boxed((high - mid) / h)

    def slope(self, i: int, at: tuple[int, ...], bits: int) -> np.ndarray:
        left, right = self.sides(i, at, bits)
        with working(bits):
            return _boxed((left + right) / 2)

    def entries(self, interior: bool = True) -> Iterator[tuple[int, tuple[int, ...]]]:
        for i, a in enumerate(self.sample.args):
            if self.spec.argument(i) == "float":
                for at in np.ndindex(a.shape):
                    if not interior or self.interior(i, at):
                        yield i, at


def _check_forward(
    spec: OpSpec,
    sample: Sample,
    got: np.ndarray,
    truth: np.ndarray,
    dtype: str,
    slopes: _Slopes,
    where: str,
) -> None:
    """NumPy's value against the ball's.

    A primitive elementwise op owes `ulps` ulps of its result. What is composed of several kernels is held to a mixed
    forward-backward bound (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., section 1.5): the nearly
    right answer at a nearly right argument, both within c = 2 max(ulps, 1) n roundoffs, where n counts the terms that
    a reduction accumulates. To first order that is c u (|f| + sum_k |df/dx_k| |x_k|), and, where entries mix (linear
    algebra is stable in norm only), with the largest |x| of the argument instead of |x_k|.
    """
    finfo = np.finfo(dtype)
    u = arb(float(finfo.eps)) / 2
    entries = _elementwise(spec)
    terms = 1 if entries else max([a.size for a in sample.args] + [1])
    with working(DEFAULT_BITS):
        allowed = np.abs(truth) * (2 * u * arb(spec.ulps))
        if not (spec.primitive and entries):
            c = 2 * arb(max(spec.ulps, 1.0)) * terms * u
            spread = np.abs(truth)
            for i, at in slopes.entries():
                a = np.abs(sample.args[i])
                size = arb(float(a[at] if entries else a.max()))
                # The flatter side: at a jump the other one says only that it is a jump.
                left, right = slopes.sides(i, at, DEFAULT_BITS)
                spread = spread + np.minimum(_size(left), _size(right)) * size
            allowed = spread * c
        # Two subnormal units: where results underflow, ulps are absolute. What is composed may have scaled one up.
        largest = max([1.0] + [float(np.abs(a).max()) for a in sample.args if a.size])
        scale = 1.0 if spec.primitive else largest
        allowed = _boxed(allowed + 2 * arb(float(finfo.smallest_subnormal)) * terms * scale)
        for at in np.ndindex(truth.shape):
            t, y, b = truth[at], float(got[at]), allowed[at]
            assert not math.isnan(y), f"{where}[{at}] is NaN inside the domain, truly {t.str(20)}"
            if not t.is_finite() or not t.abs_upper() < float(finfo.max):
                # Overflow, or a ball that says no more than that. A finite value may stand next to the largest one.
                near = math.isinf(y) or (t.is_finite() and abs(y) >= float(finfo.max) / 2)
                assert near, f"{where}[{at}] = {y!r}, truly {t.str(20)}: overflow, or not in the domain"
                continue
            assert math.isfinite(y), f"{where}[{at}] = {y!r} in {dtype}, truly {t.str(20)}"
            if spec.composite:
                continue  # its accuracy is that of its parts, which the budget measures one by one
            error = abs(arb(y) - t)
            assert not error > b, (
                f"{where}[{at}] = {y!r} in {dtype}, truly {t.str(20)}: off by {error.str(3, radius=False)}, "
                f"declared accuracy allows {b.str(3, radius=False)} (ulps={spec.ulps})"
            )


def _check_mpmath(spec: OpSpec, sample: Sample, truth: np.ndarray, where: str) -> None:
    """The definition in mpmath against that in balls: two implementations of every kernel, 100 bits of agreement."""
    with working(DEFAULT_BITS):
        args = tuple(MPMATH.asarray(a.astype(np.float64)) if a.dtype.kind == "f" else a for a in sample.args)
        second = np.asarray(spec.define(MPMATH, *args, **sample.params), dtype=object)
        assert second.shape == truth.shape, f"{where}: shape {second.shape} in mpmath, {truth.shape} in balls"
        scale: Any = max([abs(v) for v in truth.flat if v.is_finite()], default=arb(0))
        for at in np.ndindex(truth.shape):
            t: Any = truth[at]
            m: Any = second[at]
            if not t.is_finite():
                continue
            assert isinstance(m, mpf), f"{where}[{at}] is {m!r} in mpmath"
            assert mp.isfinite(m), f"{where}[{at}] = {m} in mpmath, {t.str(20)} in balls"
            size: Any = abs(t) if _elementwise(spec) else scale
            sign, man, exp, _ = m._mpf_
            value = arb(int(man)) * arb(2) ** int(exp) * (-1) ** sign
            error: Any = abs(value - t)
            assert not error > size * arb(2) ** -100, f"{where}[{at}] = {m} in mpmath, {t.str(20)} in balls"


def _check_image(spec: OpSpec, sample: Sample, truth: np.ndarray, shapes: tuple[Shape, ...], where: str) -> None:
    image = spec.image(*sample.intervals, shapes=shapes, **sample.params)
    # An infinite end of the wrong sign stands for all reals beyond the doubles, a zero for those too small for one.
    largest, least = float(np.finfo(np.float64).max), float(np.finfo(np.float64).smallest_subnormal)
    lo, hi = arb(min(image.lo, largest)) - least, arb(max(image.hi, -largest)) + least
    for v in truth.flat:
        inside = not (v < lo) and not (v > hi)
        assert inside, f"{where}: {v.str(20)} lies outside the image {image} of {', '.join(map(str, sample.intervals))}"


def _check_image_densely(spec: OpSpec, rng: np.random.Generator, dtype: str, rounds: int = 40, n: int = 64) -> None:
    """Many points of many intervals, in NumPy; its rounding (`ulps`, doubled for composed ops) is forgiven."""
    for k in range(rounds):
        intervals = _intervals(spec, rng, spec.arity, dtype, tame=k % 2 == 0)
        if intervals is None:
            return
        params = bind_params(spec, {name: _parameter(p, rng, [(n,)]) for name, p in spec.params.items()})
        args = tuple(_array(spec, rng, i, (n,), box, dtype, [(2,)]) for i, box in enumerate(intervals))
        with np.errstate(all="ignore"):
            got = np.asarray(spec.define(NUMPY, *args, **params), dtype=np.float64)
            if spec.kinks is not None and not spec.primitive:
                # Within rounding of a jump a composed definition may land on the other side.
                distance = np.broadcast_to(np.asarray(spec.kinks(NUMPY, *args, **params)), got.shape)
                got = got[distance > 16 * float(np.finfo(dtype).eps)]
        image = spec.image(*intervals, shapes=((n,),) * spec.arity, **params)
        slack = 4 * max(spec.ulps, 1.0) * float(np.finfo(dtype).eps)
        slack *= 1 if spec.primitive else max([1.0] + [b.magnitude for b in intervals if b.magnitude < 1e3])
        tiny = 4 * float(np.finfo(dtype).smallest_subnormal)
        tiny *= 1 if spec.primitive else max([1.0] + [b.magnitude for b in intervals])
        low = image.lo - abs(image.lo) * slack - tiny if math.isfinite(image.lo) else image.lo
        high = image.hi + abs(image.hi) * slack + tiny if math.isfinite(image.hi) else image.hi
        finite = got[np.isfinite(got)]
        bad = finite[(finite < low) | (finite > high)]
        assert not bad.size, (
            f"{spec.name}: {bad[0]!r} lies outside the image {image} of {', '.join(map(str, intervals))} {params or ''}"
        )


# ---------------------------------------------------------------------------------------------- rules


class _Power:
    """The smallest errors that the check catches: filled at every point, demanded at the end."""

    def __init__(self, spec: OpSpec, rule_ulps: float) -> None:
        arity = spec.arity if spec.arity != VARIADIC else 1
        self.spec, self.rule_ulps = spec, rule_ulps
        self.ruled = not spec.composite and spec.result == "float"
        self.tested: set[int] = set()
        self.nonzero: set[int] = set()
        self.caught: set[tuple[int, str]] = set()
        self.wanted = {i for i in range(arity) if self.ruled and spec.differentiable(i)}

    def demand(self) -> None:
        for i in sorted(self.wanted):
            label = f"{self.spec.name}: the rule of argument {i + 1}"
            assert i in self.tested, f"{label} was never tested: no point away from kinks and from the domain's ends"
            mutants = ("scaled", "flipped", "deaf") if i in self.nonzero else ("leaked",)
            for mutant in mutants:
                assert (i, mutant) in self.caught, f"{label}: a {mutant} mutant was not noticed"


def _rule(spec: OpSpec, xp: Any, i: int, g: Any, out: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
    return spec.cotangent(xp, i, g, out, args, params)


def _check_rules(
    spec: OpSpec,
    sample: Sample,
    rng: np.random.Generator,
    dtype: str,
    power: _Power,
    slopes: _Slopes,
    where: str,
) -> None:
    if not power.ruled:
        return
    shape = tuple(spec.shape(*(a.shape for a in sample.args), **sample.params))
    cotangent = np.asarray(rng.normal(size=shape), dtype=dtype)
    for i, a in enumerate(sample.args):
        if not spec.differentiable(i):
            continue
        want: dict[tuple[int, ...], arb] = {}
        for at in np.ndindex(a.shape):
            if slopes.interior(i, at):
                want[at] = _confirmed(spec, sample, cotangent, i, at, power, slopes, where)
        if _elementwise(spec) and want:
            _check_rule_in_numpy(spec, sample, cotangent, i, want, dtype, power.rule_ulps, where)


def _confirmed(
    spec: OpSpec,
    sample: Sample,
    cotangent: np.ndarray,
    i: int,
    at: tuple[int, ...],
    power: _Power,
    slopes: _Slopes,
    where: str,
) -> arb:
    """The rule's entry, compared with the difference at growing precision until they are decided."""
    bits = DEFAULT_BITS
    while True:
        with working(bits):
            exact = _balls(sample.args)
            g = _boxed(BALLS.asarray(cotangent.astype(np.float64)))
            out = spec.define(BALLS, *exact, **sample.params)
            result = np.asarray(_rule(spec, BALLS, i, g, out, exact, sample.params), dtype=object)
            assert result.shape == sample.args[i].shape, (
                f"{where}: the cotangent of argument {i + 1} has shape {result.shape}"
            )
            rule = result[at]
            slope = slopes.slope(i, at, bits)
            difference = sum((a * b for a, b in zip(g.flat, slope.flat)), arb(0))
            assert rule.is_finite(), f"{where}: the rule of argument {i + 1} gives {rule} at {at} in balls"
            assert difference.is_finite(), f"{where}: the definition is not finite around {at} of argument {i + 1}"
            size = abs(rule)
            if rule.is_zero():
                # An exact zero has no digits of its own: the difference must vanish against the op's own size.
                size = sum((abs(v) for v in _boxed(g * out).flat), arb(1))
            error = abs(rule - difference)
            if not rule.is_zero() and abs(rule) < NOTHING and abs(difference) < NOTHING:
                return rule
            if error < AGREE * size:
                _try_mutants(spec, i, at, rule, difference, g, exact, out, sample, power)
                return rule
            # Disagreement is final only when it survives a smaller step: f''' h^2 may be what shows.
            if bits >= MAX_BITS or (bits >= 4 * DEFAULT_BITS and error > size / 2**20):
                raise AssertionError(
                    f"{where}: the rule of argument {i + 1} gives {rule.str(25)} at {at}, "
                    f"the difference of the definition {difference.str(25)} ({bits} bits)"
                )
        bits *= 2


def _try_mutants(
    spec: OpSpec,
    i: int,
    at: tuple[int, ...],
    rule: arb,
    difference: arb,
    g: np.ndarray,
    exact: tuple[Any, ...],
    out: np.ndarray,
    sample: Sample,
    power: _Power,
) -> None:
    """Would these have been noticed here? `deaf` reads a cotangent of ones."""
    power.tested.add(i)
    deaf = np.asarray(_rule(spec, BALLS, i, BALLS.ones_like(g), out, exact, sample.params), dtype=object)[at]
    leaked = rule + sum((abs(v) for v in g.flat), arb(0)) * MUTANT
    for name, mutant in {
        "scaled": rule * (1 + arb(MUTANT)), "flipped": -rule, "deaf": deaf, "leaked": leaked,
    }.items():  # fmt: skip
        if abs(mutant - difference) > AGREE * abs(mutant):
            power.caught.add((i, name))
    if not rule.contains(0):
        power.nonzero.add(i)


def _check_rule_in_numpy(
    spec: OpSpec,
    sample: Sample,
    cotangent: np.ndarray,
    i: int,
    want: dict[tuple[int, ...], arb],
    dtype: str,
    ulps: float,
    where: str,
) -> None:
    """Is the rule in a stable form? NumPy's cotangent is finite where the truth is, and mixed forward-backward stable.

    As for the definition: within c u (|v| + sum_k |dv/dx_k| |x_k|), the derivatives of the cotangent v by differences
    of the rule in balls. Here c = `ulps`, summed over what broadcasting sums.
    """
    args, params = sample.args, sample.params
    finfo = np.finfo(dtype)
    out = spec.define(NUMPY, *args, **params)
    got = np.asarray(_rule(spec, NUMPY, i, cotangent, out, args, params))
    assert got.shape == args[i].shape, f"{where}: the cotangent of argument {i + 1} has shape {got.shape} in NumPy"
    assert got.dtype == dtype, f"{where}: the cotangent of argument {i + 1} has dtype {got.dtype} in NumPy"
    with working(2 * DEFAULT_BITS):
        exact = _balls(args)
        g = _boxed(BALLS.asarray(cotangent.astype(np.float64)))
        rule = lambda xs: np.asarray(
            _rule(spec, BALLS, i, abs(g), spec.define(BALLS, *xs, **params), xs, params), dtype=object
        )
        size = _absolute(spec, sample, g, i)
        centre = rule(exact)
        for j in range(len(args)):
            if spec.argument(j) != "float":
                continue
            # All entries of argument j at once: an entry of the cotangent depends on its own alone.
            h = arb(2) ** -(DEFAULT_BITS // 2)
            moved = exact[:j] + (exact[j] * (1 + h),) + exact[j + 1 :]
            change = _boxed(np.abs((rule(moved) - centre) / h))
            # At an end of the domain the shifted point may have left it.
            size = _boxed(size + np.frompyfunc(lambda c: c if c.is_finite() else arb(0), 1, 1)(change))
        floor = arb(float(finfo.smallest_normal)) * ulps * max(1, cotangent.size)
        v: Any
        for at, v in want.items():
            y = float(got[at])
            # A few bits below the largest number: intermediates may have passed it.
            if abs(v) > float(finfo.max) / 2**12:
                continue
            assert math.isfinite(y), f"{where}: the cotangent of argument {i + 1} is {y} at {at}, truly {v.str(20)}"
            bound: Any = ulps * arb(float(finfo.eps)) / 2 * size[at] + floor
            error: Any = abs(arb(y) - v)
            assert not error > bound, (
                f"{where}: the cotangent of argument {i + 1} is {y!r} at {at} in {dtype}, truly {v.str(20)}: "
                f"off by {error.str(3, radius=False)} where a stable rule loses {bound.str(3, radius=False)}"
            )


def _absolute(spec: OpSpec, sample: Sample, g: np.ndarray, i: int) -> np.ndarray:
    """sum |g_k| |dout_k/dx| for each entry of argument i: what broadcasting sums, without cancellation."""
    args, params = _balls(sample.args), sample.params
    out = _boxed(spec.define(BALLS, *args, **params))
    total: Any = None
    for at in np.ndindex(out.shape):
        one = BALLS.zeros(out.shape)
        one[at] = abs(g[at])
        part = np.abs(np.asarray(_rule(spec, BALLS, i, one, out, args, params), dtype=object))
        total = _boxed(part if total is None else total + part)
    return total


# ---------------------------------------------------------------------------------------------- kinks


def _check_kinks(spec: OpSpec, slopes: _Slopes, declared: bool, where: str) -> None:
    """Where the one-sided differences of the definition differ, the declared distance must be zero.

    A smooth function's sides differ by |f''| h, which shrinks by 2^-66 from 200 bits to 400; at a corner the difference
    stays, at a jump it grows. (The converse, a zero distance at a smooth point, costs only INCONCLUSIVE verdicts.)
    """
    if declared:
        return
    for i, at in itertools.islice(slopes.entries(), 8):
        sides = [slopes.sides(i, at, bits) for bits in (DEFAULT_BITS, 2 * DEFAULT_BITS)]
        with working(2 * DEFAULT_BITS):
            gaps = [_boxed(abs(r - l)) for l, r in sides]
            fine: Any = sides[1]
            for k in np.ndindex(gaps[1].shape):
                scale = abs(fine[0][k]) + abs(fine[1][k])
                jump = gaps[1][k] > scale / 2**20 and gaps[1][k] > gaps[0][k] / 2**20
                assert not jump, (
                    f"{where}: slopes {fine[0][k].str(10)} and {fine[1][k].str(10)} on either side of entry {at} of "
                    f"argument {i + 1}, but no kink is declared there"
                )
