"""`apply` without its detours, for what everyone calls most: one floating-point tensor, or two that agree.

The one idea: where the operands are float32 or float64 already and no GPU is in use, nothing is to be promoted, widened or
translated; the kernel runs and the op is recorded. Everything else is handed to `apply`.
"""

from __future__ import annotations

from typing import Any

from .dispatch import NONE, apply, record
from .dtypes import F32, F64
from .kernels import gpu, quiet
from .messages import translate_error
from .modes import state
from .rules import Rule
from .tensor import Tensor, wrap


def apply_one(rule: Rule, x: Tensor) -> Tensor:
    """`apply` for an elementwise op of one tensor."""
    raw = x._data
    d = raw.dtype
    if (d is F32 or d is F64) and gpu.kernels is None and not state.duals:
        out = wrap(quiet.run(rule.kernel, raw))
        if state.enabled:
            record(rule, (x,), NONE, out, True)
        return out
    return apply(rule, (x,))


def apply_two(rule: Rule, x: Any, y: Any) -> Tensor:
    """`apply` for a broadcasting primitive of two operands."""
    a = x._data if isinstance(x, Tensor) else x
    b = y._data if isinstance(y, Tensor) else y
    plain = type(b) is float or type(b) is int
    d = a.dtype if plain else getattr(b, "dtype", None)  # a complex number has none
    known = plain or type(a) is float or type(a) is int or getattr(a, "dtype", None) is d
    if known and (d is F32 or d is F64) and gpu.kernels is None and not state.duals:
        try:
            out = wrap(quiet.run(rule.kernel, a, b))
        except ValueError as error:
            raise translate_error(rule, (a, b), error) from None
        if state.enabled:
            record(rule, (x, y), NONE, out, plain or (getattr(a, "shape", None) == b.shape))
        return out
    return apply(rule, (x, y))
