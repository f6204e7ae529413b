"""Arguments that fit an op: intervals inside its domain, matching shapes, and a trial at a few points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.interval import Interval
from ..core.op import OpSpec, Shape
from ..namespaces import NUMPY
from ..ops import OPS

BOUND = 2.0**8
MARGIN = 2.0**-4
"""No node's interval leaves [-BOUND, BOUND], and none comes nearer than MARGIN to the end of a domain.

An op's argument may so lose at most BOUND / MARGIN = 2**12 of its relative accuracy to cancellation before it meets a
pole; of float32's 24 bits twelve are left even then, enough to tell a wrong digit from a rounded one. And a product of
`max_ops` = 8 factors of BOUND is 2**64, far from float32's overflow at 2**128.
"""

# Dyadic ends: rounding to any dtype keeps a value inside. GENERAL first; it is what shrinking ends with.
GENERAL, POSITIVE, SMALL, UNIT, ABOVE, NEGATIVE, WIDE = PALETTE = (
    Interval(-2.0, 2.0),
    Interval(0.5, 2.0),
    Interval(-0.75, 0.75),
    Interval(0.125, 0.875),
    Interval(1.25, 3.0),
    Interval(-2.0, -0.5),
    Interval(-8.0, 8.0),  # where saturation and tails begin to show; further out float32's cotangents underflow
)
GUARDED = Interval(-8.0, 8.0)
"""Assumed of arguments that an op's `guard` has shaped; `values` checks it."""

MASK = Interval(0.0, 1.0)
NO_PROFILE: tuple[tuple[Interval, ...], ...] = ((),)


def shaped(spec: OpSpec) -> bool:
    """Must its arguments be leaves that its guard has shaped? (A guard of index arguments is not needed here.)"""
    return spec.guard is not None and "int" not in spec.arguments


def companions(shape: Shape, broadcasts: bool) -> list[Shape]:
    """Shapes that a further argument may have beside one of `shape`: equal, broadcasting, or for a product."""
    n = len(shape)
    out: list[Shape] = [shape]
    out += [tuple(1 if i == j else s for j, s in enumerate(shape)) for i in range(n)]
    out += [shape[1:], (), (1, *shape), (1,) * n, (2, *shape)]
    if n and 1 in shape:
        out.append(tuple(3 if s == 1 else s for s in shape))
    if not broadcasts and n:
        out += [shape[-1:], (*shape[:-2], shape[-1], 2), (shape[-1], 2), (*shape[:-1], 2), shape[:-1],
                (*shape[:-2], shape[-1], *shape[-2:-1]), (2,), (3,), (2, 2)]  # fmt: skip
    return list(dict.fromkeys(out))


def index_count(spec: OpSpec, shapes: tuple[Shape, ...], params: Mapping[str, Any]) -> int:
    """How many values an index may take: the length of the axis that it indexes (of the shortest, if none is named)."""
    if "int" not in spec.arguments:
        return 0
    if "axis" not in params:
        return min(shapes[0], default=0)
    axis = params["axis"]
    return math.prod(shapes[0]) if axis is None else shapes[0][axis]


def _expanded(interval: Interval, kinks: bool) -> Interval:
    """The interval with MARGIN around it.

    With `kinks`, an end on -1, 0 or 1 stays, so that a closed domain admits it.
    """
    lo = interval.lo if kinks and interval.lo in (-1.0, 0.0, 1.0) else interval.lo - MARGIN
    hi = interval.hi if kinks and interval.hi in (-1.0, 0.0, 1.0) else interval.hi + MARGIN
    return Interval(lo, hi)


def fitting(
    spec: OpSpec, intervals: Sequence[Interval], shapes: tuple[Shape, ...], params: Mapping[str, Any], kinks: bool
) -> Interval | None:
    """The op's image; None unless the arguments keep MARGIN from the domain's ends and the image stays in BOUND."""
    around = [i if i.is_point or spec.argument(k) != "float" else _expanded(i, kinks) for k, i in enumerate(intervals)]
    if not spec.admits(*around):
        return None
    if spec.result == "bool":
        return MASK
    image = spec.image(*intervals, shapes=shapes, **params)
    return image if image.magnitude <= BOUND else None


def guarded(spec: OpSpec, args: Sequence[Any]) -> list[Any]:
    """The arguments as the op's guard shapes them."""
    assert spec.guard is not None
    made = spec.guard(NUMPY, *args)
    return list(made) if isinstance(made, tuple | list) else [made]


TRIAL_ELEMENTS = 1 << 16
"""What is larger is not worth a trial: `tile` and `repeat` can ask for any size."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The results of an op at a few points of its domain.

    shape    of the result
    kink     its distance to a kink is 0 there: std of one element is 0 whatever the element is
    assumed  four times what came out, as an interval: the image of an op whose arguments a guard shapes, where
             intervals know nothing; `values` checks it
    """

    shape: Shape
    kink: bool
    assumed: Interval


TRIAL_POINTS = 6
"""So many points must agree before an op is called constant: sign of a scalar comes out equal on all once in 32 times,
and is exempt anyway, as an op that does not round."""


@lru_cache(maxsize=1 << 16)
def tried(
    op: str, shapes: tuple[Shape, ...], params: tuple[tuple[str, Any], ...], same: tuple[int, ...]
) -> Trial | None:
    """Try an op at a few points; `same[i]` is the first argument equal to the i-th.

    None where shapes and parameters do not fit the op, or make nonsense: the mean of no elements, an index into an
    axis without entries, a determinant beyond BOUND; or, by repetition or at a kink, a constant: cosine_similarity(x,
    x), x / x, std of one entry. The gradient of that is 0 as a difference of numbers that are not, so no relative
    error of it can be judged.
    """
    spec = OPS[op]
    try:
        shape = tuple(spec.shape(*shapes, **dict(params)))
    except ShapeError:
        return None
    if math.prod(shape) > TRIAL_ELEMENTS:
        return None
    rng = np.random.Generator(np.random.PCG64(1))
    intervals = (GUARDED,) * len(shapes) if shaped(spec) else next(iter(profiles(op, len(shapes))), None)
    if intervals is None or (index_count(spec, shapes, dict(params)) == 0 and has_indices(spec, shapes)):
        return None
    suspect = any(k < i for i, k in enumerate(same)) or spec.kinks is not None
    judged = suspect and spec.ulps > 0 and spec.result == "float" and all(math.prod(s) for s in shapes)
    outs: list[np.ndarray] = []
    kink = False
    with np.errstate(all="ignore"):
        for _ in range(TRIAL_POINTS if judged else 1):
            args = _trial_point(spec, shapes, intervals, same, rng)
            outs.append(np.asarray(spec.define(NUMPY, *args, **dict(params))))
            if spec.kinks is not None and not kink:
                distance = np.asarray(spec.kinks(NUMPY, *args, **dict(params)))
                kink = bool(distance.size and np.min(distance) == 0)
    if not all(np.all(np.isfinite(o)) for o in outs):
        return None
    if judged and all(np.allclose(o, outs[0], rtol=1e-12, atol=1e-12) for o in outs):
        return None
    size = 2.0 ** math.ceil(math.log2(4 * float(np.max(np.abs(outs), initial=0.25))))
    if shaped(spec) and size > 4 * BOUND:
        return None
    return Trial(shape, kink, Interval(-min(size, BOUND), min(size, BOUND)))


def _trial_point(
    spec: OpSpec, shapes: tuple[Shape, ...], intervals: Sequence[Interval], same: tuple[int, ...], rng: Any
) -> list[Any]:
    args: list[Any] = []
    for i, (given, interval) in enumerate(zip(shapes, intervals)):
        kind = spec.argument(i)
        if same[i] != i and same[i] < len(args) and kind == spec.argument(same[i]):
            args.append(args[same[i]])
        elif kind == "float":
            args.append(rng.uniform(interval.lo, interval.hi, given))
        else:
            args.append(np.zeros(given, dtype=bool if kind == "bool" else np.int64))
    return guarded(spec, args) if shaped(spec) else args


def has_indices(spec: OpSpec, shapes: tuple[Shape, ...]) -> bool:
    """Does an index array with entries occur among the arguments?"""
    return any(spec.argument(i) == "int" and math.prod(s) > 0 for i, s in enumerate(shapes))


@lru_cache(maxsize=1024)
def profiles(op: str, arity: int) -> tuple[tuple[Interval, ...], ...]:
    """All choices of intervals of the palette, one per argument, that the op admits."""
    spec = OPS[op]
    if arity <= 2:
        every: Iterable[tuple[Interval, ...]] = product(PALETTE, repeat=arity)
    else:
        every = ((p,) * arity for p in PALETTE)
    return tuple(
        p for p in every if spec.admits(*(_expanded(i, False) if spec.argument(k) == "float" else MASK
                                          for k, i in enumerate(p)))
    )  # fmt: skip


@lru_cache(maxsize=64)
def squashes(ops: tuple[str, ...]) -> tuple[str, ...]:
    """Smooth elementwise ops of one argument that admit every value here: candidates for a map into a domain."""
    everything = Interval(-2 * BOUND, 2 * BOUND)
    return tuple(
        n
        for n in ops
        if (s := OPS[n]).arity == 1
        and not s.params
        and s.kinks is None
        and s.result == "float"
        and not shaped(s)
        and s.argument(0) == "float"
        and s.admits(everything)
        and s.image(Interval(-1.0, 1.0), shapes=((3,),)).is_bounded
        and _keeps_shape(s)
    )


def _keeps_shape(spec: OpSpec) -> bool:
    try:
        return all(tuple(spec.shape(s)) == s for s in ((), (3,), (2, 3)))
    except ShapeError:
        return False
