"""What a record has exactly, and another point has to keep: symmetry, triangles, order, probabilities; and what arrays of a
call were made of its differentiated ones."""

from __future__ import annotations

import numpy as np

from ..checker.symmetric import is_square, is_symmetric


def keep_structure(given: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """The changed array, made symmetric, definite, triangular, a distribution, or sorted where the given one is."""
    x = given.astype(np.float64) if given.dtype.kind != "c" else given
    if given.dtype.kind not in "fc" and given.dtype.name != "bfloat16":
        return changed
    if x.dtype.kind == "c" or x.shape != changed.shape or x.size < 2 or not np.isfinite(x).all():
        return changed
    return _kept(x, changed.astype(np.float64)).astype(changed.dtype)


def _kept(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if _simplex(x):
        axis = -1 if _rows_are_simplex(x) else None
        y = abs(y)
        total = y.sum(axis, keepdims=True)
        return y / total if total.all() else x
    if np.ptp(x) == 0:  # of equal entries nothing else is meant
        return y
    if is_symmetric(x):
        y = (y + np.swapaxes(y, -1, -2)) / 2
        if _smallest(x) > 0:  # as far from singular, next to its size, as the given one
            low = _smallest(x) / abs(x).max() * abs(y).max()
            y = y + max(low - _smallest(y), 0.0) * np.eye(y.shape[-1])
        return y
    if is_square(x):
        for part in (np.tril, np.triu):
            if np.array_equal(x, part(x)):
                return np.asarray(part(y))
    if is_sorted(x):
        y = np.sort(y, axis=-1)
        return y if (np.diff(x, axis=-1) >= 0).all() else y[..., ::-1]
    return y


def _smallest(x: np.ndarray) -> float:
    """The smallest eigenvalue of symmetric matrices."""
    return float(np.linalg.eigvalsh(x).min()) if np.isfinite(x).all() else -np.inf


def _rows_are_simplex(x: np.ndarray) -> bool:
    return x.ndim > 0 and bool((abs(x.sum(-1) - 1) <= x.shape[-1] * EPS).all())


def _simplex(x: np.ndarray) -> bool:
    """Is it a distribution, or is each row one?"""
    return bool(x.min() >= 0) and (_rows_are_simplex(x) or bool(abs(x.sum() - 1) <= x.size * EPS))


EPS = 2.0**-23
"""The rounding that a sum to 1 may have, per term: that of float32, in which most programs normalise."""


def is_sorted(x: np.ndarray) -> bool:
    """Does every row of more than three entries go up, or down?"""
    steps = np.diff(x, axis=-1) if x.ndim else x
    return x.ndim > 0 and x.shape[-1] > 3 and (bool((steps >= 0).all()) or bool((steps <= 0).all()))


def is_made_of(other: np.ndarray, x: np.ndarray) -> bool:
    """Was an integer or boolean array computed from `x`: its signs, its argmax or argmin, or its sort order?

    What small moves of `x` change in floating-point numbers shows by itself; these stay as they are, until they do not.
    """
    if not x.size or not other.size or x.dtype.kind != "f":
        return False
    if other.dtype.kind == "b" and other.shape == x.shape and other.any() and not other.all():
        return any(np.array_equal(other, mask) or np.array_equal(~other, mask) for mask in (x > 0, x < 0, x == 0))
    if other.dtype.kind not in "iu":
        return False
    for axis in range(x.ndim):
        for ends in (x.argmax(axis), x.argmin(axis)):
            if ends.size > 1 and np.array_equal(other.reshape(-1), ends.reshape(-1)):
                return True
    rows = np.sort(other, axis=-1) if other.ndim else other
    return other.shape == x.shape and other.ndim > 0 and bool((rows == np.arange(other.shape[-1])).all())
