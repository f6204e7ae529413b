"""Closed and open real intervals: an op's domain and image, and what the generator propagates.

Bounds are doubles rounded outwards by one ulp where an operation rounds, so an image is never too small by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

INF = math.inf


@dataclass(frozen=True, slots=True)
class Interval:
    """The reals from `lo` to `hi`; an end in `open` ("", "l", "r", "lr") is not part of it. Infinite ends are open."""

    lo: float = -INF
    hi: float = INF
    open: str = ""

    def __post_init__(self) -> None:
        if not self.lo <= self.hi:
            raise ValueError(f"an interval needs lo <= hi, got [{self.lo}, {self.hi}]")

    @staticmethod
    def point(x: float) -> Interval:
        return Interval(float(x), float(x))

    @property
    def is_point(self) -> bool:
        return self.lo == self.hi

    @property
    def is_bounded(self) -> bool:
        return math.isfinite(self.lo) and math.isfinite(self.hi)

    @property
    def magnitude(self) -> float:
        """The largest |x| of the interval."""
        return max(abs(self.lo), abs(self.hi))

    def __contains__(self, x: float) -> bool:
        above = self.lo < x if "l" in self.open else self.lo <= x
        below = x < self.hi if "r" in self.open else x <= self.hi
        return above and below

    def within(self, other: Interval) -> bool:
        """Is every point of this interval a point of `other`?"""
        low = self.lo > other.lo or (self.lo == other.lo and ("l" not in other.open or "l" in self.open))
        high = self.hi < other.hi or (self.hi == other.hi and ("r" not in other.open or "r" in self.open))
        return low and high

    def hull(self, other: Interval) -> Interval:
        return Interval(min(self.lo, other.lo), max(self.hi, other.hi))

    def widened(self) -> Interval:
        """One ulp more at each finite end."""
        return Interval(_down(self.lo), _up(self.hi))

    # Interval arithmetic (Moore, Kearfott & Cloud, "Introduction to Interval Analysis", 2009, ch. 2).
    def __add__(self, other: Interval) -> Interval:
        return Interval(self.lo + other.lo, self.hi + other.hi).widened()

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        products = [p for a in (self.lo, self.hi) for b in (other.lo, other.hi) for p in _times(a, b)]
        return Interval(min(products), max(products)).widened()

    def __truediv__(self, other: Interval) -> Interval:
        if other.lo <= 0.0 <= other.hi:
            return Interval()
        return self * Interval(1.0 / other.hi, 1.0 / other.lo).widened()

    def __abs__(self) -> Interval:
        low = 0.0 if self.lo <= 0.0 <= self.hi else min(abs(self.lo), abs(self.hi))
        return Interval(low, self.magnitude)

    def scaled(self, k: float) -> Interval:
        return self * Interval.point(k)

    def increasing(self, f: Callable[[float], float]) -> Interval:
        """The image under an increasing function; ends where `f` fails (pole, overflow) become infinite."""
        return Interval(_down(value_at(f, self.lo, -INF)), _up(value_at(f, self.hi, INF)))

    def decreasing(self, f: Callable[[float], float]) -> Interval:
        return Interval(_down(value_at(f, self.hi, -INF)), _up(value_at(f, self.lo, INF)))

    def clipped(self, lo: float = -INF, hi: float = INF) -> Interval:
        """The part of a *bound* that lies in [lo, hi]: for images known to stay there."""
        return Interval(min(max(self.lo, lo), hi), max(min(self.hi, hi), lo))

    def __str__(self) -> str:
        left = "(" if "l" in self.open or self.lo == -INF else "["
        right = ")" if "r" in self.open or self.hi == INF else "]"
        return f"{left}{self.lo:g}, {self.hi:g}{right}"


# A domain is a union of intervals.
Domain = tuple[Interval, ...]

REAL: Domain = (Interval(),)
POSITIVE: Domain = (Interval(0.0, INF, "l"),)
NONNEGATIVE: Domain = (Interval(0.0, INF),)
NONZERO: Domain = (Interval(0.0, INF, "l"), Interval(-INF, 0.0, "r"))
UNIT: Domain = (Interval(0.0, 1.0),)


def admits(domain: Domain, interval: Interval) -> bool:
    """Does one of the domain's intervals hold all of `interval`? (Sufficient, not necessary.)"""
    return any(interval.within(part) for part in domain)


def _down(x: float) -> float:
    return math.nextafter(x, -INF) if math.isfinite(x) and x != 0.0 else x


def _up(x: float) -> float:
    return math.nextafter(x, INF) if math.isfinite(x) and x != 0.0 else x


def _times(a: float, b: float) -> tuple[float, ...]:
    """Bounds of a*b: 0 times infinity is 0 here; a product that underflows lies between 0 and the smallest double."""
    if a == 0.0 or b == 0.0:
        return (0.0,)
    return (a * b,) if a * b != 0.0 else (0.0, math.copysign(math.ulp(0.0), a * b))


def value_at(f: Callable[[float], float], x: float, on_failure: float) -> float:
    """f(x), or `on_failure` where `f` fails (a pole, an overflow, a NaN)."""
    try:
        y = f(x)
    except (ValueError, OverflowError, ZeroDivisionError):
        return on_failure
    return on_failure if math.isnan(y) else y
