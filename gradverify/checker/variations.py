"""Probes at other points: arguments like the given ones, as legal as can be told from those.

Arguments are not known to be legal: values stay within the hull of the given ones, or near them, except for zeros. Negated
and much larger values are only tried on arguments that have both signs, or where the function itself decides on the values
and may take its other branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from ..core.errors import Unsupported
from ..frameworks.registry import of_functions
from ..namespaces.dtypes import FORMATS, to_float64
from ..trace.value import Launches
from .complex_adapter import to_native
from .launches import launches_kernels, launches_of
from .probes import (
    MOST,
    Given,
    OtherArguments,
    OtherCase,
    Probe,
    Resize,
    Variant,
    count_non_finite,
    count_values_by_hand,
    has_case,
    has_free_sizes,
    is_custom,
    register_probe,
)
from .question import PASSES, Point
from .same_point import can_stand_in
from .trace_case import trace_case

SPREAD = 0.25
"""Other values are x·(1 + SPREAD·ε) with ε standard normal: the same signs mostly, so that a domain is rarely left, and
far enough that a formula which holds at one point only is found out."""


ROWS = 256 + 17
"""A batch that does not fit: beyond 128 and 256, where int8 and uint8 indices wrap and where blocks of 256 threads end; an
odd number, and a multiple of no power of two, so that tiles have tails."""

# ---- other values ---------------------------------------------------------------------------------------------------


def _other_values(given: Given) -> Iterator[Variant]:
    """Values near the given ones, drawn anew for each trial."""
    for k in range(given.trials):
        rng = np.random.default_rng([given.question.seed, k, 3])
        label = f"{{}} {k + 1}" if given.trials > 1 else ""
        yield OtherArguments(given.map_arrays(partial(_other, rng)), label=label)


def _zeros(given: Given) -> Iterator[Variant]:
    return given.changed(_Zeros())


def _negated(given: Given) -> Iterator[Variant]:
    """Both signs are legal where both are given, or where the function decides on them in Python."""
    branches = given.traced.branches
    return given.changed(lambda x: -x if _has_both_signs(x) or (branches and x.dtype.kind == "f") else None)


def _far_out(given: Given) -> Iterator[Variant]:
    """Beyond where exp overflows float64, for values of order ten; and the first power of two, up to where the forward
    pass ends, at which a gradient is infinite or NaN.

    Where a custom function has an output that is not used, its forward pass may end before the one that we see, and its
    backward pass may multiply that output's cotangent of zeros by an infinity: nobody goes far out there.
    """
    if _drops_outputs(given):
        raise Unsupported("an output that is not used may leave the range before the others")
    yield from given.changed(lambda x: _scale(x, 64.0) if _has_both_signs(x) else None)
    for power in _powers_where_gradients_end(given):
        factor = 2.0**power
        for variant in given.changed(partial(_scaled_if_signed, factor)):
            yield replace(variant, label=f"values 2^{power} times as large")


def _scaled_if_signed(factor: float, x: np.ndarray) -> np.ndarray | None:
    return _scale(x, factor) if _has_both_signs(x) else None


CLIMB = (7, 8, 9, 10, 12, 14, 17, 20)
"""Powers of two that values are multiplied by until the forward pass ends, for what exponentials hide: exp ends at 710 in
float64 and at 89 in float32. Beyond 2^20 algebraic formulas leave the range as well (x^6 in float32, which ends at 2^128),
and nobody claims them there. In float16, which ends at 2^16, they do beyond 2^2.5: what exponentials hide shows before."""


def _powers_where_gradients_end(given: Given) -> Iterator[int]:
    """The first of CLIMB at which the forward pass is finite and a gradient is not.

    Only asked, not judged: that takes a call each. Whether the true gradient is finite there the judge finds out.
    """
    case = given.case
    if case is None or not given.traced.custom:  # those of the frameworks are known
        return
    signed = {n: v for n, v in case.values.items() if n in case.wrt and _has_both_signs(np.asarray(v))}
    if not signed or not any(a.name in signed and a.role == "argument" for a in given.traced.arguments):
        return
    subject, function = to_native(of_functions(given.traced.framework, given.question.device), given.traced)
    for power in CLIMB if FORMATS[case.dtype].huge > 2.0 ** CLIMB[-1] else ():
        with np.errstate(all="ignore"):
            moved = {n: _scale(v, 2.0**power) if n in signed else v for n, v in case.values.items()}
        if not all(np.isfinite(v.astype(np.float64)).all() for n, v in moved.items() if n in signed):
            return
        with given.question.limit_time(PASSES), given.question.programs.block():
            seen = subject.run_vjp(function, moved, case.wrt, case.cotangent)
        if seen.raised is not None or not all(np.isfinite(to_float64(o)).all() for o in seen.outputs):
            return
        if any(g is not None and not np.isfinite(to_float64(g)).all() for g in seen.gradients.values()):
            yield power
            return


def _drops_outputs(given: Given) -> bool:
    """Does a custom function have an output that the result does not depend on?"""
    if given.case is None or not given.traced.custom:
        return False
    framework = of_functions(given.traced.framework, given.question.device)
    subject, _ = to_native(framework, given.traced)
    with given.question.limit_time(PASSES):
        return subject.drops_outputs(given.traced.function, given.case.values)


def _conjugated(given: Given) -> Iterator[Variant]:
    return given.changed(lambda x: np.conj(x) if x.dtype.kind == "c" and _has_both_signs(x.imag) else None)


def _complex_values(given: Given) -> Iterator[Variant]:
    """Imaginary parts, drawn like other values, for real arguments of a function that computes complex numbers.

    A backward pass that gives real gradients there is one for real arguments, and is not asked.
    """
    rng = np.random.default_rng([given.question.seed, 5])

    def turn(x: np.ndarray) -> np.ndarray | None:
        moved = _other(rng, x) if x.dtype.kind == "f" else None
        return None if moved is None else x + 1j * moved[...].astype(np.result_type(x.dtype, np.complex64))

    for variant in given.changed(turn):
        case, traced = trace_case(given.question, Point(variant.args, "complex values"))
        subject, function = to_native(of_functions(traced.framework, given.question.device), traced)
        with given.question.limit_time(PASSES):
            seen = subject.run_vjp(function, case.values, case.wrt, case.cotangent)
        if not any(n.endswith(".imag") and g is not None and g.any() for n, g in seen.gradients.items()):
            raise Unsupported("the gradient of a complex argument is real: the backward pass is one for real arguments")
        yield variant


def _returns_complex(given: Given) -> bool:
    return any(o.part for o in given.traced.outputs) and not any(a.part for a in given.traced.arguments)


def _equal(given: Given) -> Iterator[Variant]:
    return given.changed(_Equal())


def _repeated_integers(given: Given) -> Iterator[Variant]:
    return given.changed(_repeat_first)


# ---- other batches, ranks, dtypes -----------------------------------------------------------------------------------


def _larger_batch(given: Given) -> Iterator[Variant]:
    yield _change_batch(given, lambda x: np.concatenate([x, _scale(x[:1], 0.75)]))


def _after_another_shape(given: Given) -> Iterator[Variant]:
    """The given case once more, just after a call of a larger batch: what that call leaves behind is of another shape."""
    assert given.case is not None
    for variant in _larger_batch(given):
        assert isinstance(variant, OtherArguments)
        before, _ = trace_case(given.question, Point(variant.args, "a larger batch", most=MOST))
        yield OtherCase(given.case, earlier=before)


def _batch_of_one(given: Given) -> Iterator[Variant]:
    yield _change_batch(given, lambda x: x[:1])


def _empty_batch(given: Given) -> Iterator[Variant]:
    yield _change_batch(given, lambda x: x[:0])


def _batch_of_many(given: Given) -> Iterator[Variant]:
    """ROWS rows, where the given ones are fewer."""
    rows = _rows(given)
    if rows and rows < ROWS:
        grow = partial(_grow, np.random.default_rng([given.question.seed, 4]))
        yield _change_batch(given, grow, growth=ROWS / rows)


SIZES = 4
"""Of so many different lengths of axes each is varied."""

Place = tuple[int, int]
"""(array, axis)."""

PLACES = 6
"""Of up to so many axes of one length each is varied alone, and each left out: several may be of one length by chance."""


def _other_sizes(given: Given) -> Iterator[Variant]:
    """Other lengths for all axes of one length, for each alone, and for all but one: every size that the function lets vary.

    What works in blocks has a tail then. Axes of one length may belong together (the keys and the values of an attention),
    and no others are changed; where they do not fit, the function raises, and is not asked.
    """
    shapes: list[tuple[int, ...]] = []
    given.map_arrays(lambda x: shapes.append(x.shape))
    lengths = list(dict.fromkeys(n for shape in shapes for n in shape if n > 2))
    square = {n for shape in shapes for n in shape if shape.count(n) > 1}
    for n in lengths[:SIZES]:
        for m in (*other_lengths(n), *_around_blocks(n, launches_of(given))):
            if m > n and n in square:  # a larger matrix is seldom one of the same sort (symmetric, definite)
                continue
            yield _resize_variant(given, n, m, f"axes of length {m} instead of {n}")
        places = [(k, axis) for k, shape in enumerate(shapes) for axis, length in enumerate(shape) if length == n]
        for some in _some_of(places) if n not in square else ():
            names = ", ".join(f"axis {axis} of array {k}" for k, axis in some)
            yield _resize_variant(given, n, n + 1, f"{names} of length {n + 1} instead of {n}", frozenset(some))


def _empty_axes(given: Given) -> Iterator[Variant]:
    """No entries along all axes of one length: a kernel's grid is empty there, or all that it reads is masked."""
    lengths: dict[int, None] = {}
    given.map_arrays(lambda x: lengths.update(dict.fromkeys(n for n in x.shape if n > 2)))
    for n in list(lengths)[:SIZES]:
        yield _resize_variant(given, n, 0, f"axes of length 0 instead of {n}")


def _some_of(places: list[Place]) -> list[tuple[Place, ...]]:
    """Each of several by itself, and all but each."""
    turns = places if 1 < len(places) <= PLACES else []
    rest = [tuple(p for p in places if p != q) for q in turns]
    return list(dict.fromkeys([(p,) for p in turns] + rest))


def other_lengths(n: int) -> list[int]:
    """One less, one more, one tile more (the power of two in n, if there is one; else n), and a prime."""
    tile = n & -n
    lengths = [n - 1, n + 1, n + (tile if tile > 1 else n)]
    if not any(map(_is_prime, lengths)):
        lengths.append(next(m for m in range(n + 2, 2 * n) if _is_prime(m)))  # Bertrand: there is one
    return lengths


BLOCKS = 2
"""Of so many blocks of a kernel, the smallest, each length is asked about; up to 2048 entries long."""


def _around_blocks(n: int, launches: Launches) -> list[int]:
    """One entry less than a block of a kernel, a block, and one more, and one entry; but for n and `other_lengths` of it."""
    few = sorted(b for b in launches.blocks if 2 < b <= 2048)[:BLOCKS]
    lengths = dict.fromkeys(m for b in few for m in (b - 1, b, b + 1))
    lengths |= dict.fromkeys((1,) if launches.instances else ())
    return [m for m in lengths if m != n and m not in other_lengths(n)]


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def _resize_variant(given: Given, n: int, m: int, label: str, places: frozenset[Place] | None = None) -> OtherArguments:
    """The arguments with axes of length m for n: all of them, or those at `places`."""

    def arguments(length: int) -> tuple[Any, ...]:
        arrays = count()

        def change(x: np.ndarray) -> np.ndarray | None:
            k = next(arrays)
            axes = [a for a, size in enumerate(x.shape) if size == n and (places is None or (k, a) in places)]
            return _resized(x, axes, length) if axes else None

        return given.map_arrays(change)

    resize = Resize(n, m, partial(arguments, 2 * n))
    return OtherArguments(arguments(m), resize=resize, label=label, growth=m / n if m >= 2 * n else 0.0)


def _resized(x: np.ndarray, axes: Sequence[int], length: int) -> np.ndarray:
    """Shorten or lengthen these axes; added slices are the first ones, scaled."""
    for axis in axes:
        n = x.shape[axis]
        kept = np.take(x, np.arange(min(length, n)), axis=axis)
        more = _scale(np.take(x, np.arange(max(length - n, 0)) % n, axis=axis), 0.75)
        x = _with_runs_of(x, np.concatenate([kept, more], axis=axis))
    return np.ascontiguousarray(x)


def _with_runs_of(given: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """The longer array; of an array that consists of runs, one in which each run is longer.

    Runs number the segments of a batch, or mask its end. Where the same number came once more further on, a function might
    take two segments for one. An array of runs has no value in two places, and at least one value twice.
    """
    if given.ndim != 1 or given.dtype.kind not in "iub" or len(longer) <= len(given):
        return longer
    starts = np.flatnonzero(given[1:] != given[:-1]) + 1
    runs = given[np.r_[0, starts]] if given.size else given
    if len(runs) < 2 or len(runs) == len(given) or len(np.unique(runs)) < len(runs):
        return longer
    return np.asarray(given[np.arange(len(longer)) * len(given) // len(longer)])


def _scalars(given: Given) -> Iterator[Variant]:
    """The first entry of each floating-point array, without dimensions."""
    return given.changed(lambda x: x.reshape(-1)[0] if x.ndim and x.size and x.dtype.kind in "fc" else None)


def _narrowed(given: Given) -> Iterator[Variant]:
    """Narrow the arguments to half the precision, unless a value leaves its range."""
    narrower = {np.dtype(np.float64): np.float32, np.dtype(np.complex128): np.complex64}

    def narrow(x: np.ndarray) -> np.ndarray | None:
        if x.dtype not in narrower:
            return None
        if _leaves_range(x, np.float32):
            raise Unsupported("a value leaves the range of float32 there, which makes it another point")
        return x.astype(narrower[x.dtype])

    return given.changed(narrow)


def _can_shrink(given: Given) -> bool:
    return not of_functions(given.traced.framework).clamps_indices


def _can_reshape(given: Given) -> bool:
    return not of_functions(given.traced.framework).compiles_each_shape


def _is_of_one_dtype(given: Given) -> bool:
    """Do the arguments alone say the dtype? Keyword arguments stay as they are, and would make it mixed precision."""
    q = given.question
    return q.dtype is None and not any(hasattr(v, "dtype") for v in q.kwargs.values())


for _probe in (
    Probe("other values", _other_values),
    Probe("zeros among the values", _zeros),
    Probe("negated values", _negated),
    Probe("values 64 times as large", _far_out, counts=count_non_finite),
    Probe("conjugated values", _conjugated),
    Probe("complex values", _complex_values, requires=(has_case, is_custom, _returns_complex)),
    Probe("equal arguments", _equal),
    Probe("repeated integers", _repeated_integers),
    Probe("a larger batch", _larger_batch, requires=(has_free_sizes,)),
    Probe(
        "as given, after another shape",
        _after_another_shape,
        legal=True,
        requires=(has_free_sizes, _can_reshape, is_custom, has_case),
    ),
    Probe("a batch of one", _batch_of_one, requires=(has_free_sizes, _can_shrink)),
    # If forward accepts any batch size, including 0, backward must as well: no value and no size can be at fault. What the
    # framework's own backward passes refuse, it documents.
    Probe("an empty batch", _empty_batch, requires=(has_free_sizes, _can_shrink), after="a larger batch"),
    Probe("other sizes", _other_sizes, requires=(has_free_sizes, _can_shrink, is_custom, has_case)),
    Probe(
        "an empty axis",
        _empty_axes,
        requires=(has_free_sizes, _can_shrink, is_custom, has_case, launches_kernels),
        after="other sizes",
    ),
    Probe(f"a batch of {ROWS}", _batch_of_many, requires=(has_free_sizes, _can_reshape)),
    Probe("0-d arguments", _scalars, counts=count_values_by_hand, requires=(has_free_sizes,)),
    Probe("float32", _narrowed, counts=count_values_by_hand, requires=(has_free_sizes, _is_of_one_dtype)),
):
    register_probe(_probe)


# ---- arrays ---------------------------------------------------------------------------------------------------------


def _scale(x: np.ndarray, factor: float) -> np.ndarray:
    return x * x.dtype.type(factor) if x.dtype.kind in "fc" else x


def _leaves_range(x: np.ndarray, narrow: type[np.floating[Any]]) -> bool:
    """Does a finite entry overflow in the narrower dtype, or lose digits below its smallest normal number?"""
    if x.dtype.kind == "c":
        return _leaves_range(x.real, narrow) or _leaves_range(x.imag, narrow)
    size = np.abs(x[np.isfinite(x) & (x != 0)])
    return bool(size.size and (size.min() < np.finfo(narrow).tiny or size.max() > np.finfo(narrow).max))


def _has_both_signs(x: np.ndarray) -> bool:
    """Has it both signs? A complex array, in either part?"""
    if x.dtype.kind == "c":
        return _has_both_signs(x.real) and _has_both_signs(x.imag)
    return bool(x.dtype.kind == "f" and x.size and x.min() < 0 < x.max())


class _Zeros:
    """Makes every third entry 0, from another entry on in each array.

    So two arrays are not 0 together, where hypot and x**y have their singularities.
    """

    def __init__(self) -> None:
        self.first = 0

    def __call__(self, x: np.ndarray) -> np.ndarray | None:
        if x.dtype.kind not in "fc":
            return None
        self.first += 1
        return np.where(np.arange(x.size).reshape(x.shape) % 3 == self.first % 3, x.dtype.type(0), x)


class _Equal:
    """Gives every array the values of the first one of its shape, if these are likely to be legal there."""

    def __init__(self) -> None:
        self.first: dict[Any, np.ndarray] = {}

    def __call__(self, x: np.ndarray) -> np.ndarray | None:
        if x.dtype.kind not in "fc":
            return None
        first = self.first.setdefault((x.shape, x.dtype), x)
        return first if first is not x and x.size and can_stand_in(first, x) else None


def _repeat_first(x: np.ndarray) -> np.ndarray | None:
    """The second integer equals the first one."""
    if x.dtype.kind != "i" or x.size < 2 or np.unique(x).size < x.size:
        return None
    new = x.copy().reshape(-1)
    new[1] = new[0]
    return new.reshape(x.shape)


def _grow(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """ROWS of the given rows; floating-point ones each at a distance, so that no two are equal."""
    rows = x[np.arange(ROWS) % len(x)]
    moved = _other(rng, rows)
    return rows if moved is None else moved


def _rows(given: Given) -> int:
    """The length of the first array's leading axis."""
    found: list[int] = []

    def look(x: np.ndarray) -> None:
        if x.ndim and not found:
            found.append(x.shape[0])

    given.map_arrays(look)
    return found[0] if found else 0


def _other(rng: np.random.Generator, x: np.ndarray) -> np.ndarray | None:
    if x.dtype.kind not in "fc":
        return None
    step = rng.standard_normal(x.shape)
    if x.dtype.kind == "c":  # turned as well
        step = (step + 1j * rng.standard_normal(x.shape)) / np.sqrt(2)
    if x.ndim >= 2 and np.array_equal(x, np.swapaxes(x, -1, -2)):
        # A function of symmetric matrices may read one triangle, and give the gradient of the symmetric part (eigh).
        step = np.tril(step) + np.swapaxes(np.tril(step, -1), -1, -2)
    return np.asarray(x * (1 + SPREAD * step)).astype(x.dtype)


def _change_batch(given: Given, change: Callable[[np.ndarray], np.ndarray], growth: float = 0.0) -> Variant:
    """A variant with `change` applied to every array whose leading axis is as long as the first one's."""
    sizes: list[int] = []

    def arguments(change: Callable[[np.ndarray], np.ndarray]) -> tuple[Any, ...]:
        sizes.clear()

        def leading(x: np.ndarray) -> np.ndarray | None:
            if x.ndim and not sizes and x.shape[0]:
                sizes.append(x.shape[0])
            if not x.ndim or not sizes or x.shape[0] != sizes[0]:
                return None
            changed = _with_runs_of(x, change(x))
            sizes.append(len(changed))
            return changed

        return given.map_arrays(leading)

    made = arguments(change)
    old, new = (sizes[0], sizes[-1]) if sizes else (1, 1)
    resize = Resize(old, new, lambda: arguments(lambda x: _resized(x, [0], 2 * len(x))))
    return OtherArguments(made, growth=growth, resize=resize)
