"""Estimates: a value to about 32 digits and a bound on its own error, as plain float64 arrays."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Estimate:
    """An array known to within `bound`, entry by entry: its value is `hi + lo` (hi the nearest double, lo the rest).

    Double-double keeps the comparison with a subject vectorised: `got - hi` is exact where they are close (Sterbenz),
    and 2**-106 relative is far below any budget. NaN in `hi` means that nothing is known; ±inf that the true value
    lies beyond the doubles.
    """

    hi: np.ndarray
    lo: np.ndarray
    bound: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hi.shape

    @property
    def resolved(self) -> np.ndarray:
        """The value as doubles, with 0 where the bound does not tell it from 0."""
        return np.where(np.abs(self.hi) <= self.bound, 0.0, self.hi)

    def error_of(self, got: np.ndarray) -> np.ndarray:
        """|got - value| in float64; NaN where either is NaN."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.abs((got.astype(np.float64) - self.hi) - self.lo)

    def digits(self, index: tuple[int, ...], n: int = 20) -> str:
        """The entry as decimal text of `n` digits."""
        hi, lo = float(self.hi[index]), float(self.lo[index])
        if not np.isfinite(hi):
            return str(hi)
        return _text(WIDE.add(Decimal(hi), Decimal(lo)), n)


WIDE = Context(prec=45)
"""The decimal digits of a double-double, and some."""


def _text(x: Decimal, n: int) -> str:
    """A number to n digits, as `mpmath.nstr` writes it, which takes ten times as long."""
    if not x:
        return "0.0"
    sign, digits, _ = (rounded := Context(prec=n, rounding=ROUND_HALF_UP).plus(x)).as_tuple()
    text, point = "".join(map(str, digits)).rstrip("0"), rounded.adjusted()
    if not min(-(n // 3), -5) < point < n:
        body = f"{text[0]}.{text[1:] or '0'}e{point:+d}"
    elif point < 0:
        body = f"0.{'0' * (-point - 1)}{text}"
    else:
        body = f"{text[: point + 1].ljust(point + 1, '0')}.{text[point + 1 :] or '0'}"
    return f"{'-' * sign}{body}"


def _split(x: Any) -> tuple[float, float, float]:
    """The nearest double, the double nearest to the rest, and the radius."""
    hi = float(x)
    rest = x - hi
    return hi, float(rest), float(rest.rad())


_SPLIT = np.frompyfunc(_split, 1, 3)


def from_balls(x: np.ndarray) -> Estimate:
    """An object array of arb as an Estimate: midpoints, with the radii as bounds."""
    x = np.asarray(x, dtype=object)
    if x.size == 0:
        zero = np.zeros(x.shape)
        return Estimate(zero, zero.copy(), zero.copy())
    parts = _SPLIT(x)
    hi, lo, radius = (np.asarray(p, dtype=np.float64).reshape(x.shape) for p in parts)
    known = np.isfinite(hi)
    with np.errstate(over="ignore", invalid="ignore"):
        # Radii are rounded up on the way; what two doubles cannot hold (2**-106 relative) belongs to the bound.
        bound = radius * (1 + 2.0**-50) + 2.0**-106 * np.abs(hi) + 2.0**-1074
    return Estimate(hi, np.where(known, lo, 0.0), np.where(known & ~np.isnan(bound), bound, np.inf))
