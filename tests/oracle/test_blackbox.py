"""Slopes of opaque functions: right to within their bound, whatever the noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradverify.oracle.blackbox import noise_of, slope

SMOOTH = {
    "sin": (lambda t: math.sin(1.3 + t), lambda: math.cos(1.3)),
    "exp": (lambda t: math.exp(2 + 3 * t), lambda: 3 * math.exp(2)),
    "pole nearby": (lambda t: 1 / (1.7 + t), lambda: -1 / 1.7**2),
    "tanh in the tail": (lambda t: math.tanh(4 + t), lambda: 1 / math.cosh(4) ** 2),
    "linear": (lambda t: 5 - 2 * t, lambda: -2.0),
    "large offset": (lambda t: 1e8 + math.sin(t), lambda: 1.0),
    "constant": (lambda t: 3.0, lambda: 0.0),
    "cubic": (lambda t: t**3, lambda: 0.0),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions(name: str) -> None:
    f, true = SMOOTH[name]
    found = slope(f)
    assert abs(found.value - true()) <= found.bound
    scale = max(abs(f(0.0)), abs(true()), 1e-3)
    assert found.bound < 1e-9 * scale


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_no_kink(name: str) -> None:
    assert slope(SMOOTH[name][0]).kink == 0


@pytest.mark.parametrize("f", [abs, lambda t: math.sin(t) + 1e-4 * abs(t), lambda t: max(3 * t, math.exp(t) - 1)])
def test_kinks_are_told(f: Any) -> None:
    apart = abs((f(1e-7) - f(0.0)) - (f(0.0) - f(-1e-7))) / 1e-7
    assert slope(f).kink == pytest.approx(apart, rel=1e-3)


@pytest.mark.parametrize("name", ["sin", "exp", "pole nearby"])
def test_float32_functions(name: str) -> None:
    f, true = SMOOTH[name]
    found = slope(lambda t: float(np.float32(f(float(t)))))
    assert abs(found.value - true()) <= found.bound < 1e-3 * abs(true())


@given(st.integers(0, 2**32 - 1), st.floats(-14, -3), st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=300, deadline=None)
def test_the_bound_holds_under_noise(seed: int, exponent: float, a: float, b: float) -> None:
    """a·sin + b·exp with uniform noise of a given size: never outside the bound."""
    rng = np.random.default_rng(seed)
    size = 10.0**exponent
    found = slope(lambda t: a * math.sin(0.4 + t) + b * math.exp(t / 2) + size * rng.uniform(-1, 1))
    assert abs(found.value - (a * math.cos(0.4) + b / 2)) <= found.bound


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e-4])
def test_the_noise_is_measured(size: float) -> None:
    rng = np.random.default_rng(3)
    found = [noise_of(lambda t: math.sin(t) + size * rng.standard_normal(), 1.0) for _ in range(20)]
    assert size / 2 < np.median(found) < 2 * size


@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_a_kink_at_the_point_has_no_slope(size: float) -> None:
    found = slope(lambda t: math.sin(t) + size * abs(t))
    assert found.bound > 0.9 * size


def test_no_slope_at_a_jump_or_where_noise_is_all_there_is() -> None:
    assert slope(lambda t: float(t > 0)).bound > 0.1
    rng = np.random.default_rng(0)
    assert slope(lambda t: t + 100 * rng.standard_normal()).bound > 1


def test_a_function_that_leaves_its_domain_says_so() -> None:
    assert math.isinf(slope(lambda t: math.nan).bound)


def test_a_sawtooth_from_afar_has_no_slope() -> None:
    """Its teeth are far below every step: what is measured is the mean, which is flat."""
    x, y = 1e17 + 3, 0.7
    found = slope(lambda t: 1.6 * math.fmod(x * (1 + 0.7 * t), y), 0.25)
    assert found.bound == math.inf
    assert found.noise > 0.1


def test_a_constant_with_rounding_noise_is_flat() -> None:
    """Noise of a unit roundoff is resolved: its bound says how flat."""
    rng = np.random.default_rng(0)
    found = slope(lambda t: 1.0 + 2.0**-52 * rng.integers(-1, 2), 0.25)
    assert abs(found.value) <= found.bound < 1e-12
