"""Images of intervals under functions that several declarations share. Bounds may be loose; never too small."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..core.interval import INF, Interval, value_at

Function = Callable[[float], float]

# Functions put together from several libm calls are off by a few ulps; 2^-46 is 64 of them.
SLACK = 2.0**-46


def loosened(x: Interval, slack: float = SLACK) -> Interval:
    """A little more at either end, relative to that end."""
    return Interval(x.lo - abs(x.lo) * slack if math.isfinite(x.lo) else x.lo,
                    x.hi + abs(x.hi) * slack if math.isfinite(x.hi) else x.hi)  # fmt: skip


def monotone(f: Function) -> Callable[[Interval], Interval]:
    """Increasing; infinite where `f` fails."""
    return lambda x: loosened(x.increasing(f))


def dip(f: Function, at: float, least: float) -> Callable[[Interval], Interval]:
    """Decreasing up to about `at`, increasing from there, and never below `least`."""

    def image(x: Interval) -> Interval:
        if x.lo >= at + 1e-3:
            return loosened(x.increasing(f))
        if x.hi <= at - 1e-3:
            return loosened(x.decreasing(f))
        return loosened(Interval(least, max(value_at(f, x.lo, INF), value_at(f, x.hi, INF), least)))

    return image


def hump(f: Function, at: float, most: float) -> Callable[[Interval], Interval]:
    """Increasing up to about `at`, decreasing from there, and never above `most`."""
    below = dip(lambda v: -f(v), at, -most)
    return lambda x: -below(x)


def wave(f: Function, peak: float) -> Callable[[Interval], Interval]:
    """sin and cos: 1 at `peak` + 2 pi k, -1 half a turn later."""

    def image(x: Interval) -> Interval:
        if not x.is_bounded or x.magnitude > 1e8 or x.hi - x.lo >= 2 * math.pi:
            return Interval(-1.0, 1.0)
        ends = loosened(Interval(min(f(x.lo), f(x.hi)), max(f(x.lo), f(x.hi))), 1e-7).clipped(-1.0, 1.0)
        top = _passes(x, peak)
        bottom = _passes(x, peak + math.pi)
        return Interval(-1.0 if bottom else ends.lo, 1.0 if top else ends.hi)

    return image


def _passes(x: Interval, point: float) -> bool:
    """Does the interval, or its close neighbourhood, hold point + 2 pi k?"""
    turn = 2 * math.pi
    k = math.ceil((x.lo - 1e-6 - point) / turn)
    return point + k * turn <= x.hi + 1e-6


def sigmoid(v: float) -> float:
    if v == -INF:
        return 0.0
    return 1.0 / (1.0 + math.exp(-v)) if v > 0 else math.exp(v) / (1.0 + math.exp(v))


def softplus(v: float) -> float:
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))


def silu(v: float) -> float:
    return 0.0 if v == -INF else v * sigmoid(v)


def gelu(v: float) -> float:
    return 0.0 if v == -INF else v * 0.5 * math.erfc(-v / math.sqrt(2.0))


def gelu_tanh(v: float) -> float:
    if abs(v) > 1e3:
        return max(v, 0.0)
    return v * sigmoid(2.0 * math.sqrt(2.0 / math.pi) * (v + 0.044715 * v**3))


def mish(v: float) -> float:
    return 0.0 if v == -INF else v * math.tanh(softplus(v))


def power(x: Interval, y: Interval) -> Interval:
    """x**y for x > 0, or for a fixed integer y: monotone in each argument, so the extremes stand at the corners."""
    if y.is_point and float(y.lo).is_integer():
        n = y.lo
        ends = [_raised(v, n) for v in (x.lo, x.hi)]
        if x.lo < 0.0 < x.hi or 0.0 in (x.lo, x.hi):
            if n < 0:
                return Interval()
            ends.append(0.0 if n else 1.0)
    elif x.lo >= 0.0:
        ends = [_raised(a, b) for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
        if y.lo <= 0.0 <= y.hi or x.lo <= 1.0 <= x.hi:
            ends.append(1.0)
    else:
        return Interval()
    return loosened(Interval(min(ends), max(ends)))


def _raised(x: float, y: float) -> float:
    try:
        return float(x) ** float(y)  # a bound written as an int must not bring long arithmetic along
    except OverflowError:
        return -INF if x < 0 and y % 2 else INF
    except ZeroDivisionError:
        return INF
