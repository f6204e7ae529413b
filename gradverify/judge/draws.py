"""Random cotangents and tangents, for callers that give none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.case import Case
from ..namespaces.dtypes import rounded


def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A cotangent or tangent, in float64: signed, of order one, never ±1. What ignores, squares or clips it does not look
    right, and nothing cancels out by symmetry."""
    return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(1.1, 2.0, shape))


def tangents_of(case: Case, seed: Sequence[int]) -> dict[str, np.ndarray]:
    """A random tangent for every differentiated input, in the inputs' order and dtypes."""
    rng = np.random.default_rng(seed)
    return {n: rounded(draw(rng, np.shape(v)), case.dtype_of(n)) for n, v in case.values.items() if n in case.wrt}
