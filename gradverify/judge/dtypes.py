"""What the judge must know of a dtype: unit roundoff and range (IEEE 754-2019, table 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """`roundoff` is 2**-p for p bits of significand: the largest relative error of one rounding to nearest."""

    name: str
    roundoff: float
    tiny: float
    huge: float


FORMATS: Mapping[str, FloatFormat] = MappingProxyType(
    {
        "float16": FloatFormat("float16", 2.0**-11, 2.0**-14, 65504.0),
        "bfloat16": FloatFormat("bfloat16", 2.0**-8, 2.0**-126, (2.0 - 2.0**-7) * 2.0**127),
        "float32": FloatFormat("float32", 2.0**-24, 2.0**-126, (2.0 - 2.0**-23) * 2.0**127),
        "float64": FloatFormat("float64", 2.0**-53, 2.0**-1022, float(np.finfo(np.float64).max)),
    }
)


def ulp(x: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """The distance between neighbours of `fmt` around |x| (that of the smallest normal below it)."""
    _, exponent = np.frexp(np.maximum(np.abs(x), fmt.tiny))
    return np.ldexp(2 * fmt.roundoff, exponent - 1)
