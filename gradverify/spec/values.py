"""The values of a case's leaves: literals as they stand, the rest drawn from the case's and the input's names.

Draws come from SHAKE-256, whose output is the same on every platform and in every release of every library.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ..core.interval import Interval
from ..core.op import Shape
from ..namespaces.dtypes import PRECISION, rounded, to_float64

Range = tuple[Interval, ...]
"""Where a value lies: one or two intervals."""


@dataclass(frozen=True)
class Domain:
    """Where a drawn input lies: intervals, and for matrices a structure that intervals cannot express."""

    parts: Range
    doc: str = ""
    shape: Callable[[np.ndarray], np.ndarray] | None = None


def dominant(v: np.ndarray) -> np.ndarray:
    """Rows made strictly diagonally dominant: every such matrix is invertible (Levy–Desplanques theorem)."""
    n = v.shape[-1]
    own = np.eye(n, dtype=bool)
    rest = np.sum(np.where(own, 0.0, np.abs(v)), axis=-1)
    diagonal = np.where(np.einsum("...ii->...i", v) < 0, -1.0, 1.0) * (rest + 1.0)
    return np.where(own, diagonal[..., None], v)


def positive_definite(v: np.ndarray) -> np.ndarray:
    """Symmetric, diagonally dominant, positive on the diagonal: hence positive definite (Gershgorin)."""
    a = (v + np.swapaxes(v, -1, -2)) / 2
    return np.where(np.eye(v.shape[-1], dtype=bool), np.abs(dominant(a)), a)


# Away from 0 and from the ends, so that rounding to any dtype leaves nothing outside.
DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "real": Domain((Interval(-2.0, 2.0),), "[-2, 2]"),
        "nonzero": Domain((Interval(-2.0, -0.25), Interval(0.25, 2.0)), "[-2, -1/4] or [1/4, 2]"),
        "positive": Domain((Interval(0.25, 2.0),), "[1/4, 2]"),
        "negative": Domain((Interval(-2.0, -0.25),), "[-2, -1/4]"),
        "nonnegative": Domain((Interval(0.0, 2.0),), "[0, 2]"),
        "unit": Domain((Interval(0.0625, 0.9375),), "[1/16, 15/16], inside (0, 1)"),
        "symmetric_unit": Domain((Interval(-0.9375, 0.9375),), "[-15/16, 15/16], inside (-1, 1)"),
        "above_one": Domain((Interval(1.0625, 3.0),), "[17/16, 3]"),
        "wide": Domain((Interval(-20.0, 20.0),), "[-20, 20]"),
        "invertible": Domain((Interval(-2.0, 2.0),), "square matrices, diagonally dominant", dominant),
        "positive_definite": Domain(
            (Interval(-2.0, 2.0),), "symmetric positive definite matrices", positive_definite
        ),
    }
)  # fmt: skip


_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|\.inf|\.nan"
COMPLEX_NUMBER = rf"^(?:([-+]?(?:{_NUMBER}))(?=[-+]))?([-+]?(?:{_NUMBER}))j$"
"""A complex number in YAML: 1+2j, -2j, .inf-1e-3j. No blanks: it is one plain scalar."""


def complex_number(text: str) -> complex | None:
    """The number that `text` is, signs of zeros included; None where it is none."""
    match = re.match(COMPLEX_NUMBER, text)
    if match is None or text.endswith("\n"):
        return None
    real, imag = (float((part or "0").replace(".inf", "inf").replace(".nan", "nan")) for part in match.groups())
    return complex(real, imag)


def uniform(key: tuple[object, ...], shape: Shape) -> np.ndarray:
    """Float64 numbers in [0, 1), multiples of 2**-53, that depend on `key` alone."""
    n = math.prod(shape)
    text = "\0".join(map(str, key)).encode("utf-8", "surrogatepass")
    raw = np.frombuffer(hashlib.shake_256(text).digest(8 * n), dtype="<u8")
    return (raw >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53


def draw(parts: Range, key: tuple[object, ...], shape: Shape) -> np.ndarray:
    """Uniform in one of the intervals, each as likely; ends included or not, as rounding has it."""
    u = uniform((*key, "value"), shape)
    which = np.minimum((uniform((*key, "part"), shape) * len(parts)).astype(int), len(parts) - 1)
    lo = np.array([p.lo for p in parts])[which]
    hi = np.array([p.hi for p in parts])[which]
    return lo + (hi - lo) * u


def draw_integers(lo: int, hi: int, key: tuple[object, ...], shape: Shape) -> np.ndarray:
    """int64 in [lo, hi], both included."""
    return lo + np.floor(uniform((*key, "value"), shape) * (hi - lo + 1)).astype(np.int64)


def signed(key: tuple[object, ...], shape: Shape) -> np.ndarray:
    """A cotangent: magnitudes in [1/2, 2) with either sign, so that no rule that drops it or its sign can hide."""
    return draw((Interval(-2.0, -0.5), Interval(0.5, 2.0)), key, shape)


def signed_complex(key: tuple[object, ...], shape: Shape) -> np.ndarray:
    """The same for both parts."""
    return signed((*key, "real"), shape) + 1j * signed((*key, "imag"), shape)


def overflows(values: np.ndarray, dtype: str) -> np.ndarray:
    """Which finite values become infinite in `dtype`."""
    if values.dtype.kind == "c":
        return overflows(values.real, dtype) | overflows(values.imag, dtype)
    dtype = PRECISION.get(dtype, dtype)
    return np.isfinite(values) & ~np.isfinite(to_float64(rounded(values, dtype)))
