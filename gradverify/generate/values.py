"""From a plan and a seed to a case: values inside the leaves' intervals, representable in the case's dtype.

The seed makes the random numbers only; where zeros, ties, ±1 and interval ends stand is decided by the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.case import Case, Source
from ..core.graph import Apply, Constant, Input, evaluate
from ..core.interval import Interval
from ..namespaces import NUMPY
from ..namespaces.dtypes import FORMATS, is_float, numpy_dtype, rounded
from ..ops import OPS
from .fitting import BOUND, GUARDED, guarded
from .structure import Leaf, Plan

DTYPES = tuple(FORMATS)

REDRAWS = 6
"""Values that lie too near a kink are drawn anew this often, then the plan is given up (it may have ties built in)."""

Rng = np.random.Generator
Draw = Callable[[Rng, Interval, tuple[int, ...]], np.ndarray]


def _plain(rng: Rng, i: Interval, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(i.lo, i.hi, shape)


def _grid(rng: Rng, i: Interval, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 1/4: zeros, ±1 and ties by chance."""
    return np.clip(np.rint(4 * _plain(rng, i, shape)) / 4, i.lo, i.hi)


def _zeros(rng: Rng, i: Interval, shape: tuple[int, ...]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.4, _nearest(i, 0.0), _plain(rng, i, shape))


def _equal(rng: Rng, i: Interval, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, rng.uniform(i.lo, i.hi))


def _signs(rng: Rng, i: Interval, shape: tuple[int, ...]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.5, _nearest(i, 1.0), _nearest(i, -1.0))


def _ends(rng: Rng, i: Interval, shape: tuple[int, ...]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.5, i.lo, i.hi)


def _tiny(rng: Rng, i: Interval, shape: tuple[int, ...]) -> np.ndarray:
    """Within 2**-12 of the point of the interval that is nearest to zero."""
    at = _nearest(i, 0.0)
    return at + (_plain(rng, i, shape) - at) * 2.0**-12


def _nearest(i: Interval, x: float) -> float:
    return min(max(x, i.lo), i.hi)


# A leaf's `style` picks one of 16; half of them plain.
STYLES: tuple[Draw, ...] = (_plain, _plain, _plain, _plain, _plain, _plain, _plain, _plain,
                            _grid, _grid, _zeros, _zeros, _equal, _signs, _ends, _tiny)  # fmt: skip


def _one_hot(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape)
    if out.size:
        out.flat[rng.integers(out.size)] = 1.0
    return out


def _unequal(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Signs and magnitudes all differ: what an all-ones cotangent hides (g**2, |g|, a wrong sum) shows."""
    return np.where(rng.random(shape) < 0.5, -1.0, 1.0) * rng.uniform(0.5, 2.0, shape)


COTANGENTS: tuple[Callable[[Rng, tuple[int, ...]], np.ndarray], ...] = (
    lambda rng, s: np.ones(s),
    *(_unequal,) * 8,
    lambda rng, s: -rng.uniform(0.5, 2.0, s),
    lambda rng, s: 2.0**10 * _unequal(rng, s),
    lambda rng, s: 2.0**-14 * _unequal(rng, s),
    lambda rng, s: np.exp2(rng.uniform(-10, 10, s)) * _unequal(rng, s),
    lambda rng, s: np.where(rng.random(s) < 0.5, 0.0, _unequal(rng, s)),
    _one_hot,
    _unequal,
)
"""2**10 above and 2**-14 below: with the bounds of `structure`, a graph's cotangents stay inside float32's range."""


def fill(plan: Plan, seed: int, dtype: str, kinks: bool, name: str = "") -> Case | None:
    """The case of `plan` with the values of `seed`; None where every try lies too near a kink.

    Raises ValueError for a dtype that is none of DTYPES.
    """
    if dtype not in DTYPES:
        raise ValueError(f"no values of dtype {dtype!r} can be drawn (these can: {', '.join(DTYPES)})")
    rng = np.random.Generator(np.random.PCG64(seed))
    for attempt in range(REDRAWS):
        # The edge styles put many values on kinks; the last tries go without them.
        values = _values(plan, rng, dtype, plain=attempt > REDRAWS // 2)
        if usable(plan, values, dtype, kinks):
            break
    else:
        return None
    styles = COTANGENTS[plan.cotangent]
    cotangent = tuple(rounded(styles(rng, plan.graph.nodes[o].shape), dtype) for o in plan.graph.outputs)
    wrt = tuple(n for n, k in plan.graph.inputs.items() if plan.graph.nodes[k].kind == "float")
    return Case(name or f"random-{seed}", plan.graph, values, cotangent, dtype, wrt,
                source=Source("generated", seed=seed))  # fmt: skip


def _values(plan: Plan, rng: Rng, dtype: str, plain: bool) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    for name, k in plan.graph.inputs.items():
        node, leaf = plan.graph.nodes[k], plan.leaves[name]
        if node.kind == "bool":
            values[name] = np.asarray(rng.random(node.shape) < (0.5, 0.5, 0.0, 1.0)[leaf.style % 4])
        elif node.kind == "int":
            values[name] = _indices(rng, leaf, node.shape)
        else:
            draw = _plain if plain else STYLES[leaf.style]
            values[name] = rounded(draw(rng, leaf.interval, node.shape), dtype)
    for guard in plan.guards:
        wide = [values[n].astype(np.float64) / (GUARDED.hi / 2) for n in guard.inputs]
        values |= {n: rounded(v, dtype) for n, v in zip(guard.inputs, guarded(OPS[guard.op], wide))}
    return values


def _indices(rng: Rng, leaf: Leaf, shape: tuple[int, ...]) -> np.ndarray:
    """Any indices; or all the same, which a scatter must add up."""
    drawn = rng.integers(0, max(leaf.count, 1), shape)
    return np.asarray(np.full(shape, drawn.flat[0]) if leaf.style % 4 == 3 and drawn.size else drawn, dtype=np.int64)


def node_values(plan: Plan, values: Mapping[str, np.ndarray], dtype: str = "float64") -> list[Any]:
    """Every node in NumPy, in `dtype` (float64: as exact as is cheap)."""
    kind = numpy_dtype(dtype)

    def leaf(node: Input) -> np.ndarray:
        return values[node.name].astype(kind) if node.kind == "float" else values[node.name]

    def constant(node: Constant) -> np.ndarray:
        return np.asarray(node.value, dtype=kind)

    def apply(node: Apply, args: list[Any]) -> Any:
        return OPS[node.op].define(NUMPY, *args, **dict(node.params))

    return evaluate(plan.graph, leaf=leaf, constant=constant, apply=apply)


def usable(plan: Plan, values: Mapping[str, np.ndarray], dtype: str, kinks: bool) -> bool:
    """Are all nodes finite and no larger than BOUND, and (unless `kinks`) away from kinks and flipping comparisons?"""
    with np.errstate(all="ignore"):
        nodes = node_values(plan, values)
        for node, value, interval in zip(plan.graph.nodes, nodes, plan.intervals):
            # What a guard shapes lies in its interval by assumption only, and so does all that depends on it.
            bound = interval.magnitude * (1 + 2.0**-30) if plan.guards else 2 * BOUND
            if node.kind == "float" and value is not None and not np.all(np.abs(value) <= bound):
                return False
            if not isinstance(node, Apply):
                continue
            if not kinks and not _clear(node, [nodes[a] for a in node.args], dtype):
                return False
    return True


def _clear(node: Apply, args: list[Any], dtype: str) -> bool:
    """Are the arguments at least 2**-10 of their scale away from a kink (or 64 unit roundoffs, if that is more)?

    2**-10 is what is left of float32's 24 bits where the arguments have lost 12 of them and 2 more to the op.
    """
    spec = OPS[node.op]
    if spec.kinks is not None:
        distance = spec.kinks(NUMPY, *args, **dict(node.params))
    elif spec.result == "bool" and len(args) == 2:
        distance = np.abs(args[0] - args[1])
    else:
        return True
    distance = np.asarray(distance)
    if not distance.size:
        return True
    floats = [np.max(np.abs(a)) for a in args if is_float(a) and np.size(a)]
    near = max(2.0**-10, 64 * FORMATS[dtype].roundoff)
    return bool(np.min(distance) >= near * max(1.0, *floats, 0.0))
