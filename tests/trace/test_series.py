"""The series that stand for special functions, at 40 digits, against mpmath's own functions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from gradverify.core.errors import Unsupported
from gradverify.namespaces.run import forward
from gradverify.oracle.mp import MPMATH
from gradverify.trace import series
from gradverify.trace.base import Tracer

POINTS = np.array([0.05, 0.6, 1.0, 2.4, 9.0])
SHAPES = np.array([0.2, 1.7, 3.0, 0.5, 12.0])
CHANCES = np.array([0.001, 0.3, 0.5, 0.9, 0.999])


class Recording(Tracer):
    def require(self, fine: bool, what: str) -> None:
        if not fine:
            raise Unsupported(what)


def evaluated(make: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """`make(xp, *Values)` recorded, and run in mpmath at the precision at work."""
    xp = Recording()
    inputs = [xp.input(f"x{i}", a, True) for i, a in enumerate(arrays)]
    graph = xp.builder.graph(make(xp, *inputs).index)
    nodes = forward(MPMATH, graph, {n: MPMATH.asarray(v) for n, v in xp.values.items()}, "float64")
    return np.asarray(MPMATH.asarray(nodes[graph.outputs[0]]))


def slope_of_gamma(a: Any, x: Any) -> Any:
    return mpmath.diff(lambda b: mpmath.gammainc(b, 0, x, regularized=True), a)


CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "lower_gamma": (
        lambda xp, a, x: series.lower_gamma(xp, a, x, (SHAPES, POINTS)),
        lambda a, x: mpmath.gammainc(a, 0, x, regularized=True), (SHAPES, POINTS)),
    "lower_gamma, far out": (
        lambda xp, a, x: series.lower_gamma(xp, a, x, (SHAPES[:1], np.array([60.0]))),
        lambda a, x: mpmath.gammainc(a, 0, x, regularized=True), (SHAPES[:1], np.array([60.0]))),
    "upper_gamma, both sides": (
        lambda xp, a, x: series.upper_gamma(xp, a, x, (SHAPES, POINTS)),
        lambda a, x: mpmath.gammainc(a, x, mpmath.inf, regularized=True), (SHAPES, POINTS)),
    "upper_gamma, in the tail": (
        lambda xp, a, x: series.upper_gamma(xp, a, x, (SHAPES[:2], np.array([40.0, 300.0]))),
        lambda a, x: mpmath.gammainc(a, x, mpmath.inf, regularized=True), (SHAPES[:2], np.array([40.0, 300.0]))),
    "gamma_slope": (
        lambda xp, a, x: series.gamma_slope(xp, a, x, (SHAPES, POINTS)), slope_of_gamma, (SHAPES, POINTS)),
    "incomplete_beta": (
        lambda xp, a, b, x: series.incomplete_beta(xp, a, b, x, (SHAPES, POINTS, CHANCES)),
        lambda a, b, x: mpmath.betainc(a, b, 0, x, regularized=True), (SHAPES, POINTS, CHANCES)),
    "bessel_i0": (
        lambda xp, x: series.bessel_i(xp, 0, x, -POINTS), lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), (-POINTS,)),
    "bessel_i1": (
        lambda xp, x: series.bessel_i(xp, 1, x, -POINTS), lambda x: mp.besseli(1, x) * mp.exp(-abs(x)), (-POINTS,)),
    "hurwitz_zeta": (series.hurwitz_zeta, mpmath.zeta, (1.0 + SHAPES, POINTS)),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_series_is_the_function(name: str) -> None:
    make, known, arrays = CASES[name]
    with mp.workprec(300):
        got = evaluated(make, *arrays)
        for i in np.ndindex(got.shape):
            want = known(*(mpf(float(a[i])) for a in arrays))
            # What is left is below 2^-BITS of the sum; a derivative has a factor of up to MOST_TERMS < 2^11 on it.
            assert abs(got[i] - want) < mpf(2) ** -(series.BITS - 12) * abs(want), (i, got[i], want)


def test_a_point_beyond_the_series_is_refused() -> None:
    x = np.array([5000.0])
    with pytest.raises(Unsupported, match="more than"):
        evaluated(lambda xp, v: series.gamma_slope(xp, v, v, (np.array([0.5]), x)), x)
    with pytest.raises(Unsupported, match="leaves the doubles"):
        evaluated(lambda xp, v: series.bessel_i(xp, 0, v, x), x)


@pytest.mark.parametrize("value", [Fraction(-7, 3), Fraction(10**40 + 1, 3**50), Fraction(5)])
def test_a_rational_number_is_exact(value: Fraction) -> None:
    with mp.workprec(300):
        (got,) = evaluated(lambda xp, x: x * series.exact(xp, value), np.ones(1))
        assert abs(got * value.denominator - value.numerator) <= mpf(2) ** -290 * abs(value.numerator)


def test_a_running_logsumexp_needs_no_shift() -> None:
    x = np.array([[-800.0, 0.0, 900.0, 1.0, 2.0]])
    with mp.workprec(300):
        got = evaluated(lambda xp, v: xp.call("cumulative_logsumexp", v, axis=1), x)
        total = mpf(0)
        for i, v in enumerate(x[0]):
            total += mp.exp(mpf(float(v)))
            assert abs(got[0, i] - mp.log(total)) < mpf(2) ** -250 * (1 + abs(mp.log(total)))
