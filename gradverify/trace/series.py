"""Special functions as series in the words of the op table, exact to any precision.

Each takes the values at the point to see how many terms are needed there: until what is left is below 2^-BITS of the
sum. All terms are of one sign, so that nothing cancels in doubles either. DLMF is the NIST Digital Library of
Mathematical Functions, https://dlmf.nist.gov.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from .base import Tracer, Value

BITS = 112
"""An entry of a gradient is compared with 1e-16 at most; the rest is for what the graph around the function cancels."""

MOST_TERMS = 1500
"""Each is some four nodes of the graph."""


def counted(xp: Tracer, ratio: Callable[[int], np.ndarray], what: str) -> int:
    """Return how many terms of 1 + t1 + t1 t2 + … are needed, where t_n = `ratio(n)`."""
    term, total = np.float64(1.0), np.float64(1.0)
    with np.errstate(all="ignore"):
        logarithm = np.zeros(())
        for n in range(1, MOST_TERMS):
            t = np.abs(ratio(n))
            logarithm = logarithm + np.log2(np.maximum(t, 1e-300))
            term, total = term, np.maximum(total, logarithm)
            # From a ratio below 9/10 on, what is left is less than ten times the next term.
            if np.all((logarithm < total - BITS - 4) & (t < 0.9)):
                return n
    xp.require(False, f"{what} where its series needs more than {MOST_TERMS} terms")
    return 0


Points = Sequence[np.ndarray]


def lower_gamma(xp: Tracer, a: Value, x: Value, at: Points) -> Value:
    """P(a, x), the regularised lower incomplete gamma function."""
    return _gamma(xp, a, x, at, _gamma_series, lambda *args: 1.0 - _gamma_fraction(*args))


def upper_gamma(xp: Tracer, a: Value, x: Value, at: Points) -> Value:
    """Q(a, x) = 1 - P(a, x)."""
    return _gamma(xp, a, x, at, lambda *args: 1.0 - _gamma_series(*args), _gamma_fraction)


def _gamma(
    xp: Tracer, a: Value, x: Value, at: Points, inside: Callable[..., Value], outside: Callable[..., Value]
) -> Value:
    """Return P or Q by `inside` up to x = a + 1, and by `outside` beyond.

    There Q is small, and must keep its digits."""
    far = at[1] > at[0] + 1.0
    if far.all() or not far.any():
        return (outside if far.any() else inside)(xp, a, x, at)
    beyond = xp.concrete(far)
    near = inside(xp, a, xp.where(beyond, a, x), (at[0], np.where(far, at[0], at[1])))
    return xp.where(
        beyond, outside(xp, a, xp.where(beyond, x, a + 2.0), (at[0], np.where(far, at[1], at[0] + 2.0))), near
    )


def _gamma_series(xp: Tracer, a: Value, x: Value, at: Points) -> Value:
    """P(a, x), DLMF 8.7.1."""
    terms = counted(xp, lambda n: at[1] / (at[0] + n), "the incomplete gamma function")
    return _gamma_scale(xp, a, x) * _gamma_sum(xp, a, x, terms)


def _gamma_fraction(xp: Tracer, a: Value, x: Value, at: Points) -> Value:
    """Q(a, x) by Legendre's continued fraction (DLMF 8.9.2), whose n-th convergent errs by about exp(-4 sqrt(n x))."""
    levels = int(np.ceil((BITS * np.log(2.0) / 4.0) ** 2 / np.min(at[1]))) + 8
    xp.require(levels <= MOST_TERMS, "the incomplete gamma function where its continued fraction is too long")
    out = x + (2.0 * levels + 1.0) - a
    for n in range(levels, 0, -1):
        out = x + (2.0 * n - 1.0) - a - (float(n) - a) * float(n) / out
    return xp.exp(xp.xlogy(a, x) - x - xp.lgamma(a)) / out


def _gamma_scale(xp: Tracer, a: Value, x: Value) -> Value:
    """x^a e^-x / Gamma(a + 1)."""
    return xp.exp(xp.xlogy(a, x) - x - xp.lgamma(a + 1.0))


def _gamma_sum(xp: Tracer, a: Value, x: Value, terms: int) -> Value | float:
    """1 + x/(a+1) + x²/((a+1)(a+2)) + …, by Horner's rule."""
    out: Value | float = 1.0
    for n in range(terms, 0, -1):
        out = 1.0 + x / (a + float(n)) * out
    return out


def gamma_slope(xp: Tracer, a: Value, x: Value, at: Points) -> Value:
    """dP/da: the series of P, its logarithm differentiated term by term."""
    terms = counted(xp, lambda n: at[1] / (at[0] + n), "the derivative of the incomplete gamma function")
    total: Value | float = 1.0
    slope: Any = 0.0
    # Horner's rule, and its derivative in a.
    for n in range(terms, 0, -1):
        factor = x / (a + float(n))
        slope = factor * (slope - total / (a + float(n)))
        total = 1.0 + factor * total
    scale = _gamma_scale(xp, a, x)
    return scale * ((xp.log(x) - xp.digamma(a + 1.0)) * total + slope)


def incomplete_beta(xp: Tracer, a: Value, b: Value, x: Value, at: Points) -> Value:
    """I_x(a, b), regularised (DLMF 8.17.8); beyond (a+1)/(a+b+2) as 1 - I_{1-x}(b, a) (DLMF 8.17.4)."""
    p, q, z = at
    far = z > (p + 1.0) / (p + q + 2.0)
    if far.any() and not far.all():
        beyond = xp.concrete(far)
        middle = (p + 1.0) / (p + q + 2.0)
        inner = incomplete_beta(xp, a, b, xp.where(beyond, xp.concrete(middle), x), (p, q, np.where(far, middle, z)))
        above = np.nextafter(middle, 1.0)
        outer = incomplete_beta(xp, a, b, xp.where(beyond, x, xp.concrete(above)), (p, q, np.where(far, z, above)))
        return xp.where(beyond, outer, inner)
    if far.any():
        return 1.0 - _beta_series(xp, b, a, 1.0 - x, (q, p, 1.0 - z))
    return _beta_series(xp, a, b, x, at)


def _beta_series(xp: Tracer, a: Value, b: Value, x: Value, at: Points) -> Value:
    p, q, z = at
    terms = counted(xp, lambda n: z * (p + q + n - 1.0) / (p + n), "the incomplete beta function")
    out: Value | float = 1.0
    for n in range(terms, 0, -1):
        out = 1.0 + x * (a + b + (n - 1.0)) / (a + float(n)) * out
    beta = xp.lgamma(a) + xp.lgamma(b) - xp.lgamma(a + b)
    return xp.exp(xp.xlogy(a, x) + xp.xlog1py(b, -x) - beta) / a * out


def bessel_i(xp: Tracer, order: int, x: Value, at: np.ndarray, scaled: bool = True) -> Value | float:
    """I_n(x), n = 0 or 1 (DLMF 10.25.2); `scaled` by exp(-|x|)."""
    xp.require(np.max(np.abs(at), initial=0.0) <= 700.0, "a Bessel function whose series leaves the doubles")
    terms = counted(xp, lambda k: at * at / (4.0 * k * (k + order)), "a Bessel function")
    quarter = xp.square(x) * 0.25
    out: Value | float = 1.0
    for k in range(terms, 0, -1):
        out = 1.0 + quarter / (float(k) * (k + order)) * out
    value = out if order == 0 else x * 0.5 * out
    return xp.exp(-xp.abs(x)) * value if scaled else value


SHIFT, CORRECTIONS = 100, 24
"""Hurwitz's zeta is summed up to q + 100, and 24 terms of Euler and Maclaurin are added: the first one that is left out is
about 2 (2j)! / (2 pi (q + 100))^2j of the sum for j = 25, below 2^-240, times (s/2j)^2j where s is above that."""


def hurwitz_zeta(xp: Tracer, s: Any, q: Any) -> Value:
    """sum of (q + k)^-s over k >= 0, for s > 1 and q > 0 (DLMF 25.11.5)."""
    total: Value | None = None
    for k in range(SHIFT):
        term = xp.pow(q + float(k), -s)
        total = term if total is None else total + term
    end = q + float(SHIFT)
    out = total + xp.pow(end, 1.0 - s) / (s - 1.0) + xp.pow(end, -s) * 0.5
    # B_2j/(2j)! s (s+1) … (s+2j-2) end^(-s-2j+1)
    factor = s * xp.pow(end, -s - 1.0)
    for j, b in enumerate(_bernoulli(CORRECTIONS), 1):
        out = out + factor * exact(xp, b)
        factor = factor * (s + (2.0 * j - 1.0)) * (s + 2.0 * j) / xp.square(end)
    return out


def _bernoulli(count: int) -> Iterable[Fraction]:
    """B_2j/(2j)! for j = 1 … count, from t/(e^t - 1) · (e^t - 1)/t = 1."""
    inverse_factorials = [Fraction(1)]
    for k in range(1, 2 * count + 2):
        inverse_factorials.append(inverse_factorials[-1] / k)
    coefficients: list[Fraction] = []
    for n in range(2 * count + 1):
        rest = sum((coefficients[k] * inverse_factorials[n - k + 1] for k in range(n)), Fraction(0))
        coefficients.append((Fraction(1) if n == 0 else Fraction(0)) - rest)
    return coefficients[2::2]


DIGIT = 2**20
"""Whole numbers up to here are exact literals in float32 and float64."""


def exact(xp: Tracer, value: Fraction) -> Value:
    """A rational number to any precision: a literal has the digits of its dtype only."""

    def whole(n: int) -> Any:
        head = xp.concrete(np.float64(n // DIGIT)) if n < DIGIT**2 else whole(n // DIGIT)
        return head * float(DIGIT) + float(n % DIGIT)

    size = whole(abs(value.numerator)) / whole(value.denominator)
    return size if value > 0 else -size
