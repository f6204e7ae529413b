"""Functions that read one triangle of a matrix, as a Cholesky factor's does: their gradient is a convention.

Such a function is constant in the other triangle, and its rule may give the symmetric part of the gradient, as PyTorch's own
do: right along every symmetric change. Of a matrix that is symmetric by chance the function reads both triangles.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..frameworks.base import Framework, Observation
from ..namespaces.dtypes import FORMATS

NOTE = "it reads one triangle of a matrix that is symmetric: held against symmetric changes, it is right"


def is_square(x: np.ndarray) -> bool:
    """Is it a square matrix of two rows at least, or a batch of such?"""
    return x.ndim >= 2 and x.shape[-1] == x.shape[-2] > 1


def is_symmetric(x: np.ndarray) -> bool:
    """Is it a symmetric matrix up to the rounding of a product A·Aᵀ, or are all of a batch?

    Each of two entries that are mirrored is off by nu·sqrt(d_i·d_j) at most, d the diagonal (Higham 2002, section 3.5).
    """
    if not is_square(x) or str(x.dtype) not in FORMATS:
        return False
    n, size = x.shape[-1], float(np.max(np.abs(x), initial=0.0))
    gap = np.abs(x - np.swapaxes(x, -1, -2))
    return bool((gap <= 2 * n * FORMATS[str(x.dtype)].roundoff * size).all())


def triangles_read(framework: Framework, fn: Callable[..., Any], values: Mapping[str, np.ndarray]) -> dict[str, str]:
    """ "lower" or "upper", for each matrix that one triangle of is read.

    It is where the outputs stay the same to the last bit while each entry of the other triangle moves by half of the
    matrix's largest.
    """

    def outputs(values: Mapping[str, np.ndarray]) -> list[bytes] | None:
        seen = framework.run_vjp(fn, values, (), ())
        return None if seen.raised is not None else [o.tobytes() for o in seen.outputs]

    found: dict[str, str] = {}
    as_given = outputs(values)
    for name, x in values.items() if as_given is not None else ():
        if x.dtype.kind != "f" or not is_square(x):
            continue
        step = np.full_like(x, abs(x).max() / 2)
        moved = {"lower": x + np.triu(step, 1), "upper": x + np.tril(step, -1)}
        read = [t for t, y in moved.items() if outputs({**values, name: y.astype(x.dtype)}) == as_given]
        if len(read) == 1:  # of two, the function reads the diagonal
            found[name] = read[0]
    return found


@dataclass(frozen=True)
class Symmetrised:
    """A framework in which the function is one of the symmetric parts of some of its matrices."""

    inner: Any
    names: Collection[str]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run_vjp(self, fn: Any, values: Mapping[str, np.ndarray], wrt: Any, cotangent: Any, **how: Any) -> Observation:
        even = {n: _even(x) if n in self.names else x for n, x in values.items()}
        seen = self.inner.run_vjp(fn, even, wrt, cotangent, **how)
        even = {n: _even(g) if n in self.names and g is not None else g for n, g in seen.gradients.items()}
        return replace(seen, gradients=even)


def _even(x: np.ndarray) -> np.ndarray:
    return ((x + np.swapaxes(x, -1, -2)) / 2).astype(x.dtype)
