"""`torch.testing`: are two results close?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .tensor import Tensor

__all__ = ["assert_close"]

TOLERANCES = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip
"""(rtol, atol) by dtype, from the documentation of torch.testing.assert_close. Integers are to be equal."""


def assert_close(
    actual: Any, expected: Any, *, rtol: float | None = None, atol: float | None = None, equal_nan: bool = False,
    check_dtype: bool = True, msg: str | Callable[[str], str] | None = None,
) -> None:  # fmt: skip
    """Raises AssertionError unless |actual - expected| <= atol + rtol |expected| in every entry.

    Takes tensors, numbers, and sequences and mappings of them. Where dtypes differ (`check_dtype=False`), the tolerance
    is the larger of the two. Raises ValueError where only one of the tolerances is given.
    """
    if (rtol is None) != (atol is None):
        raise ValueError("Both 'rtol' and 'atol' must be either specified or unspecified.")

    def compare(a: Any, b: Any, at: str) -> str | None:
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if set(a) != set(b):
                return f"The keys of the mappings do not match{at}: {sorted(a, key=str)} != {sorted(b, key=str)}"
            return next((e for k in a if (e := compare(a[k], b[k], f" at {k!r}"))), None)
        if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
            if len(a) != len(b):
                return f"The length of the sequences mismatch{at}: {len(a)} != {len(b)}"
            return next((e for k, (x, y) in enumerate(zip(a, b)) if (e := compare(x, y, f" at {k}"))), None)
        return _difference(a, b, at)

    def _difference(a: Any, b: Any, at: str) -> str | None:
        x, y = _as_array(a), _as_array(b)
        if x.shape != y.shape:
            return f"The values for attribute 'shape' do not match{at}: {list(x.shape)} != {list(y.shape)}."
        if isinstance(a, Tensor) and isinstance(b, Tensor) and check_dtype and a.dtype != b.dtype:
            return f"The values for attribute 'dtype' do not match{at}: {a.dtype} != {b.dtype}."
        kinds = [
            str(t.dtype).removeprefix("torch.") if isinstance(t, Tensor) else str(_as_array(t).dtype) for t in (a, b)
        ]
        both = [TOLERANCES.get(kind, (0.0, 0.0)) for kind in kinds]
        r, t = (max(p[0] for p in both), max(p[1] for p in both)) if rtol is None or atol is None else (rtol, atol)
        close = np.isclose(x, y, r, t, equal_nan)
        if close.all():
            return None
        with np.errstate(all="ignore"):
            largest = float(np.max(np.abs(np.where(close, 0, x.astype(complex) - y.astype(complex)))))
        return (
            f"Tensor-likes are not close{at}!\n\nMismatched elements: {int((~close).sum())} / {close.size}\n"
            f"Greatest absolute difference: {largest} (up to {t} allowed, and {r} of the expected entry)"
        )

    error = compare(actual, expected, "")
    if error is not None:
        raise AssertionError(error if msg is None else msg(error) if callable(msg) else msg)


def _as_array(x: Any) -> np.ndarray:
    if isinstance(x, Tensor):
        x = x.detach()
        return (x.float() if x._data.dtype.kind == "V" else x).cpu().numpy()
    return np.asarray(x)
