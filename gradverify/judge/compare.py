"""Got against want, entry by entry: FAIL if d - r > b, PASS if d + r <= b, undecided between the two.

d is the distance to the oracle's value, r the oracle's own bound, b the budget.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..core.verdict import Comparison, Element, ErrorMap
from ..namespaces.dtypes import FloatFormat, ulp
from ..oracle.estimate import Estimate

LARGEST = sys.float_info.max

ERROR_OF_DIGITS = 0.5
"""An entry whose budget is more than half of it has no digit left that could be checked."""

CELLS = 48
"""Rows and columns at most of a picture of errors: cells of 6 pixels on a phone."""

LISTED = 8
"""Failing entries that are listed one by one."""


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison as data for reports, with the masks that decide the verdict."""

    comparison: Comparison
    failing: np.ndarray
    passing: np.ndarray
    non_finite: np.ndarray

    @property
    def undecided(self) -> np.ndarray:
        return ~(self.failing | self.passing)


def compare(
    of: str,
    got: np.ndarray,
    want: Estimate,
    budget: np.ndarray,
    fmt: FloatFormat,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
) -> Compared:
    """Compare one array of shape `want.shape`; `low`/`high` are the one-sided derivatives at a kink, NaN for none.

    Infinite budgets (a rerun left the range) decide nothing. A NaN in `got` fails wherever the truth is finite.
    """
    wide = np.asarray(got).astype(np.float64)
    with np.errstate(all="ignore"):
        d = np.abs((wide - want.hi) - want.lo)
        if low is None and np.isfinite(d + want.bound + budget).all():
            return _compare_finite(of, wide, want, d, budget, fmt)
        if low is not None and high is not None:
            # Distance to the interval of defensible answers, where that is smaller than to the convention.
            aside = np.maximum(np.maximum(low - wide, wide - high), 0.0)
            d = np.fmin(d, aside)
        known = np.isfinite(want.hi) | (np.isfinite(low) if low is not None else False)
        non_finite = ~np.isfinite(wide) & known & np.isfinite(budget)
        r, b = want.bound, budget
        if low is not None:
            r = np.where(np.isfinite(r), r, 0.0)
        passing = np.isfinite(wide) & (d + r <= b) & np.isfinite(b)
        # Beyond the dtype's largest number, or at an infinite derivative, the infinity is the right answer.
        passing |= np.isinf(wide) & (
            wide == np.where(np.abs(want.hi) > fmt.huge, np.copysign(np.inf, want.hi), want.hi)
        )
        failing = (non_finite | (d - r > b)) & ~passing & np.isfinite(b)
    comparison = _summary(of, wide, want, d, r, b, failing, non_finite, fmt)
    worst = comparison.worst
    if worst is not None and low is not None and high is not None and np.isnan(want.hi[worst.index]):
        sides = f"{low[worst.index]:.6g} to {high[worst.index]:.6g}"
        comparison = replace(comparison, worst=replace(worst, want=sides))
    return Compared(comparison, failing, passing, non_finite)


def _compare_finite(
    of: str, wide: np.ndarray, want: Estimate, d: np.ndarray, b: np.ndarray, fmt: FloatFormat
) -> Compared:
    """`compare` where all numbers are finite, and no kink is near: most arrays, at a third of the price."""
    r = want.bound
    passing, failing, none = d + r <= b, d - r > b, np.zeros(d.shape, dtype=bool)
    return Compared(_summary(of, wide, want, d, r, b, failing, none, fmt), failing, passing, none)


def _summary(
    of: str,
    got: np.ndarray,
    want: Estimate,
    d: np.ndarray,
    r: np.ndarray,
    b: np.ndarray,
    failing: np.ndarray,
    non_finite: np.ndarray,
    fmt: FloatFormat,
) -> Comparison:
    if got.size == 0:
        return Comparison(of, 0)
    with np.errstate(all="ignore"):
        share = np.where(np.isfinite(b), (d + r) / b, 0.0)
        share = np.where(non_finite, np.inf, np.where(np.isnan(share), 0.0, np.minimum(share, LARGEST)))
        ranked = np.where(failing, share, -1.0) if failing.any() else share
        at = np.unravel_index(int(np.argmax(ranked)), got.shape)
        size = np.abs(want.hi)
        # An error e in one entry shows once e - d > b + r.
        resolved = (size > np.maximum(want.bound, fmt.tiny)) & np.isfinite(b)
        relative = (b + r + d)[resolved] / size[resolved]
        unresolved = int((relative > 1).sum())
        relative = relative[relative <= 1]
    index = tuple(int(i) for i in at)
    return Comparison(
        of,
        int(got.size),
        int(failing.sum()),
        _element(of, index, got, want, d, r, b, fmt),
        float(share[at]),
        float(relative.max()) if relative.size else math.nan,
        _median(relative) if relative.size else math.nan,
        unresolved,
        _error_map(share, failing, lambda at: _element(of, at, got, want, d, r, b, fmt)) if failing.any() else None,
    )


def _error_map(share: np.ndarray, failing: np.ndarray, element: Callable[[tuple[int, ...]], Element]) -> ErrorMap:
    """The picture of an array's errors, and its worst failing entries."""
    rows = share.reshape(-1, share.shape[-1]) if share.ndim else share.reshape(1, 1)
    for axis, n in enumerate(rows.shape):
        if n > CELLS:
            starts = np.linspace(0, n, CELLS, endpoint=False).astype(int)
            rows = np.maximum.reduceat(rows, starts, axis=axis)
    flat = np.where(failing, share, -1.0).ravel()
    worst = np.argsort(-flat, kind="stable")[: min(LISTED, int(failing.sum()))]
    places = [tuple(int(i) for i in np.unravel_index(k, share.shape)) for k in worst]
    return ErrorMap(share.shape, tuple(tuple(row) for row in rows.tolist()), tuple(map(element, places)))


def _median(x: np.ndarray) -> float:
    """The median of some finite numbers; np.median looks for NaN, and takes five times as long for few."""
    ordered = np.sort(x, axis=None)
    return float((ordered[(x.size - 1) // 2] + ordered[x.size // 2]) / 2)


def _element(
    of: str,
    index: tuple[int, ...],
    got: np.ndarray,
    want: Estimate,
    d: np.ndarray,
    r: np.ndarray,
    b: np.ndarray,
    fmt: FloatFormat,
) -> Element:
    size = float(want.hi[index])
    size = 0.0 if math.isnan(size) else min(max(size, -LARGEST), LARGEST)
    one = float(ulp(np.asarray(size), fmt))
    return Element(
        of,
        index,
        repr(float(got[index])),
        want.digits(index),
        float(d[index]),
        float(r[index]),
        float(b[index]),
        float(d[index]) / one,
        float(b[index]) / one,
    )


def hopeless(want: Estimate, budget: np.ndarray, underflow: float) -> bool:
    """Does rounding leave no digit of any nonzero entry?

    Of an entry below what a result that underflows may err by, a dtype need not have a digit: it is 0 to within that, and a
    budget of a few of those tells it from all else.
    """
    size = np.abs(want.hi)
    with np.errstate(all="ignore"):
        nonzero = (size > want.bound) & ~((size < underflow) & (budget < 8 * underflow))
        return bool(nonzero.any() and (budget[nonzero] > ERROR_OF_DIGITS * size[nonzero]).all())
