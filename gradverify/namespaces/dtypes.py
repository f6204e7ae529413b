"""Dtype names and NumPy's dtypes: the one place that knows that bfloat16 is not NumPy's own (ml_dtypes adds it), and
what each format holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.errors import Unsupported
from ..core.op import Kind

try:
    import ml_dtypes
except ImportError:  # the engine stands alone on NumPy
    ml_dtypes = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """A floating-point format (IEEE 754-2019, table 3.5; bfloat16: the upper half of a float32).

    roundoff     2**-p for p bits of significand: the largest relative error of one rounding to nearest
    tiny         the smallest normal number
    huge         the largest number
    arithmetic   the roundoff that one operation is computed with, a sum included, before it is rounded to the format.
                 The 16-bit formats are formats of storage: PyTorch (`opmath_type`, `acc_type`), XLA, NumPy's float16,
                 ml_dtypes and cuBLAS compute in float32 and round once, at the end
    gradual      results below `tiny` keep the absolute accuracy of `tiny`. For float16 this is what hardware does:
                 F16C's conversions ignore the flush-to-zero modes (Intel SDM, VCVTPS2PH), and CUDA's half arithmetic has
                 subnormals at full speed. In the wider formats they may be flushed to zero, and bfloat16 has the range
                 and the arithmetic of float32
    """

    name: str
    roundoff: float
    tiny: float
    huge: float
    arithmetic: float
    gradual: bool = False

    @property
    def stores(self) -> bool:
        """Is this a storage format, whose arithmetic runs in a wider one?"""
        return self.arithmetic < self.roundoff

    @property
    def underflow(self) -> float:
        """The largest error of a result that underflows: all of it, or half the distance of subnormal numbers."""
        return self.roundoff * self.tiny if self.gradual else self.tiny


FORMATS: Mapping[str, FloatFormat] = MappingProxyType(
    {
        "float16": FloatFormat("float16", 2.0**-11, 2.0**-14, 65504.0, 2.0**-24, gradual=True),
        "bfloat16": FloatFormat("bfloat16", 2.0**-8, 2.0**-126, (2.0 - 2.0**-7) * 2.0**127, 2.0**-24),
        "float32": FloatFormat("float32", 2.0**-24, 2.0**-126, (2.0 - 2.0**-23) * 2.0**127, 2.0**-24),
        "float64": FloatFormat("float64", 2.0**-53, 2.0**-1022, float(np.finfo(np.float64).max), 2.0**-53),
    }
)

ROUNDOFF: Mapping[str, float] = MappingProxyType({name: fmt.roundoff for name, fmt in FORMATS.items()})
"""The unit roundoff of each format."""

COMPLEX: Mapping[str, str] = MappingProxyType({"float32": "complex64", "float64": "complex128"})
"""The complex dtype of a precision."""

PRECISION: Mapping[str, str] = MappingProxyType({c: p for p, c in COMPLEX.items()})
"""And the precision of a complex dtype."""


def complex_name(dtype: str) -> str:
    """The complex dtype of a precision. Raises Unsupported for those that have none."""
    if dtype not in COMPLEX:
        raise Unsupported(f"there are no complex numbers of {dtype} (there are of {' and '.join(COMPLEX)})")
    return COMPLEX[dtype]


NUMPY_KINDS = {"int": np.dtype(np.int64), "bool": np.dtype(np.bool_)}
_ADDED: Mapping[str, np.dtype[Any]] = {"bfloat16": np.dtype(ml_dtypes.bfloat16)} if ml_dtypes else {}


def numpy_dtype(name: str, kind: Kind = "float") -> np.dtype[Any]:
    """The NumPy dtype of an array of a kind, in a case of the dtype `name`. Raises TypeError for an unknown name,
    and Unsupported for bfloat16 where ml_dtypes is not installed."""
    if kind == "complex":
        return np.dtype(complex_name(name))
    if kind != "float":
        return NUMPY_KINDS[kind]
    if name == "bfloat16" and not _ADDED:
        raise Unsupported("bfloat16 in NumPy needs the package ml_dtypes")
    return _ADDED.get(name) or np.dtype(name)


def is_float(x: Any) -> bool:
    """Are an array's entries floating-point numbers? (`dtype.kind` is "V" for bfloat16.)"""
    dtype = np.asarray(x).dtype
    return dtype.kind == "f" or dtype in _ADDED.values()


def to_float64(x: Any) -> np.ndarray:
    """The same numbers in float64, which represents all of these formats exactly."""
    return np.asarray(x).astype(np.float64)


def floats_in_float64(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays by their names: those of floats in float64, all others as they are."""
    return {n: to_float64(v) if is_float(v) else v for n, v in values.items()}


def rounded(values: Any, name: str) -> np.ndarray:
    """Float64 values rounded to the dtype `name`, to nearest; C-contiguous. Too large numbers become infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=numpy_dtype(name)).reshape(np.shape(values))


def ulp(x: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """The distance between neighbours of `fmt` around |x| (that of the smallest normal below it)."""
    _, exponent = np.frexp(np.maximum(np.abs(x), fmt.tiny))
    return np.ldexp(2 * fmt.roundoff, exponent - 1)
