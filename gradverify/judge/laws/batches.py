"""Laws of batches: permuted members, single members."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.case import Case
from ...core.errors import JUDGED, Unsupported
from ...namespaces import NUMPY
from ...namespaces.dtypes import floats_in_float64, is_float, to_float64
from ...namespaces.run import forward
from ...ops.build import lowered
from .autograd import autograd_law, first_difference
from .registry import Trial

PROBES = 2
"""Points besides the case's own at which a definition must turn out to be batched before the law about it is asked."""

SAME = 2.0**-30
"""How far the definition's values in float64 may differ between orders of a batch, relative to their size: rounding of
sums, 2^-52 times at most some thousands of terms and of conditions, against a coincidence at random points."""


@autograd_law
def _permutation(t: Trial) -> str:
    """Members of a batch in another order: the same gradients in that order, and the same for what they share."""
    batched, size = _find_batch(t.case, _is_permuted)
    cycle = np.random.default_rng(size).permutation(size)
    order = np.empty(size, dtype=int)
    order[cycle] = np.roll(cycle, 1)  # one cycle: every member goes elsewhere
    moved = _reorder(t.case, batched, order)
    seen = t.ask(moved.cotangent, moved.values)
    back = np.argsort(order)
    return t.differs(replace(seen, gradients={n: g if g is None or n not in batched else g[back]
                                              for n, g in seen.gradients.items()}))  # fmt: skip


@autograd_law
def _stacking(t: Trial) -> str:
    """The gradient of a batch is the gradients of its members, asked one by one; what they share gets the sum."""
    batched, size = _find_batch(t.case, _is_stacked)
    if not size:
        raise Unsupported("the batch has no members")
    parts = []
    for k in range(size):
        values = {n: v[k : k + 1] if n in batched else v for n, v in t.case.values.items()}
        cotangent = [g[k : k + 1] if g.ndim else g for g in t.case.cotangent]
        parts.append(t.ask(cotangent, values))
        if parts[-1].raised is not None:
            raise Unsupported(f"one member alone raises {type(parts[-1].raised).__name__}")
    for n in t.case.wrt:
        whole, pieces = t.first.gradients.get(n), [p.gradients.get(n) for p in parts]
        if whole is None or any(p is None for p in pieces):
            continue
        got = (
            np.concatenate([to_float64(p) for p in pieces])
            if n in batched
            else np.sum([to_float64(p) for p in pieces], axis=0)
        )
        # Members: a budget each. Shared: budgets of independent parts add up in squares, so that the sum of the parts'
        # is at most sqrt(size) times the whole's (Cauchy-Schwarz).
        allowed = t.budget[n] * (2.0 if n in batched else 1.0 + math.sqrt(size))
        broken = first_difference(f"d{n}, member by member", to_float64(whole), got, allowed)
        if broken:
            return broken
    return ""


Value = Mapping[str, Any]


def _find_batch(case: Case, holds: Callable[[Case, Sequence[str], int, Value], bool]) -> tuple[tuple[str, ...], int]:
    """The inputs over whose first axis the definition is batched, and the batch size.

    They are found by trial, at the case's point and at random ones near it, since one point may be an accident. Raises
    Unsupported where there is no batch.
    """
    sizes = {n: np.shape(v)[0] for n, v in case.values.items() if np.ndim(v)}
    outs = [np.shape(g) for g in case.cotangent]
    rng = np.random.default_rng(11)
    points = [floats_in_float64(case.values)]
    for _ in range(PROBES):
        points.append(
            {n: v * (1 + 0.05 * rng.standard_normal(np.shape(v))) if is_float(v) else v for n, v in points[0].items()}
        )
    for size in sorted(set(sizes.values()) - {1}, reverse=True):
        if any(s and s[0] != size for s in outs):
            continue
        names = [n for n, k in sizes.items() if k == size]
        for some in dict.fromkeys([tuple(names), tuple(names[:1]), *((n,) for n in names)]):
            if all(holds(case, some, size, point) for point in points):
                return some, size
    raise Unsupported("the graph is not batched over the first axis of any input")


def _values_of(case: Case, values: Value) -> list[np.ndarray] | None:
    """The definition's outputs in float64; None where it has no finite value, or refuses the shapes."""
    flat = lowered(case.graph)
    try:
        with np.errstate(all="ignore"):
            nodes = forward(NUMPY, flat, values, "float64")
    except JUDGED:
        return None
    found = [np.asarray(nodes[o], dtype=np.float64) for o in flat.outputs]
    return found if all(np.isfinite(x).all() for x in found) else None


def _close(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(
        x.shape == y.shape and np.allclose(x, y, rtol=0, atol=SAME * (np.abs(x).max() if x.size else 0.0))
        for x, y in zip(a, b)
    )


def _is_permuted(case: Case, batched: Sequence[str], size: int, values: Value) -> bool:
    order = np.roll(np.arange(size), 1)
    there = _values_of(case, values)
    moved = _values_of(case, {n: v[order] if n in batched else v for n, v in values.items()})
    return there is not None and moved is not None and _close([x[order] if x.ndim else x for x in there], moved)


def _is_stacked(case: Case, batched: Sequence[str], size: int, values: Value) -> bool:
    there = _values_of(case, values)
    parts = [_values_of(case, {n: v[k : k + 1] if n in batched else v for n, v in values.items()}) for k in range(size)]
    if there is None or any(p is None for p in parts):
        return False
    joined = [np.concatenate(p) if p[0].ndim else np.sum(p, axis=0) for p in zip(*parts)]
    return _close(there, joined)


def _reorder(case: Case, batched: Sequence[str], order: np.ndarray) -> Case:
    values = {n: np.ascontiguousarray(v[order]) if n in batched else v for n, v in case.values.items()}
    return replace(case, values=values, cotangent=tuple(g[order] if g.ndim else g for g in case.cotangent))
