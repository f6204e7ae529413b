"""The distance of a dtype's neighbours. (What a format holds is in `namespaces.dtypes`.)"""

from __future__ import annotations

import numpy as np

from ..namespaces.dtypes import FORMATS, FloatFormat

__all__ = ["FORMATS", "FloatFormat", "ulp"]


def ulp(x: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """The distance between neighbours of `fmt` around |x| (that of the smallest normal below it)."""
    _, exponent = np.frexp(np.maximum(np.abs(x), fmt.tiny))
    return np.ldexp(2 * fmt.roundoff, exponent - 1)
