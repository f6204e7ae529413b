"""Structure that a record has exactly, and that another point would not have: then it is only asked where it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checker.question import Question
from ..frameworks.recognise import owner


def has_structure(q: Question) -> bool:
    """Is an argument symmetric, a set of probabilities, sorted, triangular, or of one sign?"""
    return any(any(test(x) for test in (_symmetric, _triangular, _simplex, _sorted)) for x in _arrays(q.args))


def _arrays(args: tuple[Any, ...]) -> list[np.ndarray]:
    found = []
    for a in args:
        framework = owner(a)
        if framework is not None:
            x = framework.get(a)
            found.append(x.astype(np.float32) if x.dtype.name == "bfloat16" else x)
    return [x for x in found if x.dtype.kind == "f" and x.size > 1]


def _square(x: np.ndarray) -> bool:
    return x.ndim >= 2 and x.shape[-1] == x.shape[-2] > 1


def _symmetric(x: np.ndarray) -> bool:
    return _square(x) and np.array_equal(x, np.swapaxes(x, -1, -2))


def _triangular(x: np.ndarray) -> bool:
    return _square(x) and (not np.tril(x, -1).any() or not np.triu(x, 1).any())


def _simplex(x: np.ndarray) -> bool:
    """Is it a distribution, or is each row one? Sums are 1 to the rounding of the dtype."""
    if x.min() < 0:
        return False
    close = x.shape[-1] * np.finfo(x.dtype).eps
    return bool((abs(x.sum(-1) - 1) <= close).all()) or bool(abs(x.sum() - 1) <= x.size * np.finfo(x.dtype).eps)


def _sorted(x: np.ndarray) -> bool:
    """Does every row of more than three entries go up, or down?"""
    steps = np.diff(x, axis=-1)
    return x.shape[-1] > 3 and (bool((steps >= 0).all()) or bool((steps <= 0).all()))
