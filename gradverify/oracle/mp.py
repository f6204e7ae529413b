"""mpmath: the second opinion, an implementation of every function that shares nothing with Arb.

Real contexts only: what leaves the reals (log(-1)) becomes NaN instead of silently turning complex.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

from .objects import ObjectNamespace


def _real(f: Callable[..., Any]) -> Callable[..., Any]:
    def one(x: Any) -> Any:
        try:
            y = f(x)
        except (ValueError, ZeroDivisionError):
            return mp.nan
        return y if isinstance(y, mpf) else mp.nan

    return one


def _divide(x: Any, y: Any) -> Any:
    if y == 0:
        return mp.nan if x == 0 or mp.isnan(x) else mp.inf * mp.sign(x)
    return x / y


def _pow(x: Any, y: Any) -> Any:
    try:
        out = mp.power(x, int(y)) if mp.isint(y) else mp.power(x, y)
    except (ValueError, ZeroDivisionError):
        return mp.nan
    return out if isinstance(out, mpf) else mp.nan


def _ierfcx(x: Any, n: int) -> Any:
    """exp(x²) times the n-th repeated integral of erfc."""
    if n and x > 0.5:
        return mp.hyperu(mpf(n + 1) / 2, mpf(1) / 2, x * x) / (2**n * mp.sqrt(mp.pi))
    before, out = 2 / mp.sqrt(mp.pi), mp.exp(x * x) * mp.erfc(x)
    for k in range(n):
        before, out = out, (before - 2 * x * out) / (2 * (k + 1))
    return out


def _dsinc(x: Any, n: int) -> Any:
    """The n-th derivative of sin(πx)/(πx): by the recurrence of x s(x) = sin(πx)/π far from 0, by the series near it."""
    if abs(x) > 1:
        out = mp.sincpi(x)
        for k in range(1, n + 1):
            turned = (mp.sinpi(x), mp.cospi(x), -mp.sinpi(x), -mp.cospi(x))[k % 4]
            out = (mp.pi ** (k - 1) * turned - k * out) / x
        return out
    z, low = mp.pi * x, (n + 1) // 2
    terms = (mpf(-1) ** k / ((2 * k + 1) * mp.factorial(2 * k - n)) * z ** (2 * k - n) for k in range(low, n + mp.prec))
    return mp.pi**n * mp.fsum(terms)


def _squareplus(x: Any, b: float) -> Any:
    root = mp.sqrt(x * x + b)
    return b / (2 * (root - x)) if x < 0 else (x + root) / 2


def _round(x: Any) -> Any:
    low = mp.floor(x)
    rest = x - low
    return low + 1 if rest > 0.5 or (rest == 0.5 and not mp.isint(low / 2)) else low


_SAME = "sqrt exp expm1 log log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erfinv digamma"


class MpNamespace(ObjectNamespace):
    column = "mp"
    number = mpf
    functions = {name: _real(getattr(mp, name)) for name in _SAME.split()} | {
        "add": lambda x, y: x + y,
        "subtract": lambda x, y: x - y,
        "multiply": lambda x, y: x * y,
        "divide": lambda x, y: _divide(x, y),
        "pow": lambda x, y: _pow(x, y),
        "negative": lambda x: -x,
        "abs": lambda x: abs(x),
        "sign": lambda x: mp.sign(x),
        "square": lambda x: x * x,
        "reciprocal": lambda x: _divide(mpf(1), x),
        "exp2": lambda x: mp.power(2, x),
        "log2": lambda x: _real(lambda v: mp.log(v) / mp.ln2)(x),
        "log10": lambda x: _real(lambda v: mp.log(v) / mp.ln10)(x),
        "atan2": lambda y, x: mp.atan2(y, x),
        "hypot": lambda x, y: mp.hypot(x, y),
        "maximum": lambda x, y: max(x, y),
        "minimum": lambda x, y: min(x, y),
        "floor": lambda x: mp.floor(x),
        "ceil": lambda x: mp.ceil(x),
        "trunc": lambda x: mp.floor(x) if x >= 0 else mp.ceil(x),
        "round": lambda x: _round(x),
        "lgamma": lambda x: _real(lambda v: mp.log(abs(mp.gamma(v))))(x) if x < 0 else _real(mp.loggamma)(x),
        "polygamma": lambda x, n=1: _real(lambda v: mpmath.polygamma(n, v))(x),
        "erfcx": lambda x: _ierfcx(x, 0),
        "ierfcx": lambda x, n=1: _ierfcx(x, n),
        "log_ndtr": lambda x: (
            mp.log1p(-mp.erfc(x / mp.sqrt(2)) / 2) if x > -1 else mp.log(mp.erfc(-x / mp.sqrt(2)) / 2)
        ),
        "sinc": lambda x: mp.sincpi(x),
        "dsinc": lambda x, n=1: _dsinc(x, n),
        "bessel_i": lambda x, n=0: _real(lambda v: mp.besseli(n, v))(x),
        "squareplus": lambda x, b=4.0: _squareplus(x, b),
    }

    def __init__(self) -> None:
        super().__init__("mpmath")

    pi = property(lambda self: +mp.pi)
    ln2 = property(lambda self: +mp.ln2)
    ln10 = property(lambda self: +mp.ln10)
    sqrt2 = property(lambda self: mp.sqrt(2))

    def scalar(self, x: Any) -> Any:
        return x if isinstance(x, mpf) else mpf(int(x) if isinstance(x, bool | np.integer | np.bool_) else x)

    def compare(self, x: Any, y: Any) -> int:
        return 1 if x > y else -1 if x < y else 0

    def isfinite(self, x: Any) -> np.ndarray:
        return np.asarray(np.frompyfunc(mp.isfinite, 1, 1)(self.asarray(x)), dtype=bool)


MPMATH = MpNamespace()
