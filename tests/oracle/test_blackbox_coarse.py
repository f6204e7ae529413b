"""Slopes of functions that are coarse: their bound holds, or there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradverify.oracle.blackbox import slope


@pytest.mark.parametrize("big", [2.0**k for k in range(20, 58, 3)])
@pytest.mark.parametrize("x", [0.3, 1.7, -12.5])
def test_next_to_a_large_number(big: float, x: float) -> None:
    """(x + big) - big has the slope 1 of x, and values as coarse as an ulp of `big`."""
    found = slope(lambda t: ((x + t * x) + big) - big, 0.25, 2.0**-53 * abs(x))
    assert found.stair or not math.isfinite(found.bound) or abs(found.value - x) <= found.bound


def test_a_staircase_has_its_first_step() -> None:
    found = slope(lambda t: math.floor(0.3 + t * 0.3), 0.25)
    assert (found.value, found.stair) == (0.0, 1.0)


@pytest.mark.parametrize("f", [lambda t: 2.0, lambda t: max(t - 0.4, 0.0) ** 2], ids=["constant", "flat, then smooth"])
def test_what_stands_still_and_does_not_jump_is_no_staircase(f: object) -> None:
    found = slope(f, 0.25)  # type: ignore[arg-type]
    assert (found.value, found.stair) == (0.0, 0.0)
    assert found.bound < 1e-10


@pytest.mark.parametrize("frequency", [1e4, 1e5, 6e5, 3e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bound_holds_of_waves(frequency: float, dtype: type) -> None:
    rng = np.random.default_rng(0)
    assert sum(_is_bounded(frequency, dtype, rng) for _ in range(60)) or dtype is np.float32


def _is_bounded(frequency: float, dtype: type, rng: np.random.Generator) -> bool:
    """Is there a bound on the slope of a sum of waves? Then it holds."""
    x, g = rng.uniform(0.5, 2, 3).astype(dtype), rng.standard_normal(3)
    u = x * rng.choice([-1, 1], 3) * rng.uniform(0.5, 1, 3)
    wide = x.astype(float)
    true = float(g @ (frequency * np.cos(frequency * wide) * u))

    def phi(t: float) -> float:
        return float(g @ np.sin(dtype(frequency) * (x + t * u).astype(dtype)).astype(float))

    found = slope(phi, 0.25, float(np.finfo(dtype).eps / 2 * np.abs(g).sum()))
    # What the argument of the sine is rounded by shifts the wave itself.
    shift = float(np.finfo(dtype).eps * frequency * np.abs(frequency * g * wide * u).sum())
    assert not math.isfinite(found.bound) or abs(found.value - true) <= found.bound + shift
    return math.isfinite(found.bound)
