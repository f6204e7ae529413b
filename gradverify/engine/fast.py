"""`apply` without its detours, for what everyone calls most: one floating-point tensor, or two that agree.

The one idea: where the operands are NumPy's float32 or float64 already, nothing is to be promoted, widened or translated;
the kernel runs and the op is recorded. Everything else is handed to `apply`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from .dispatch import NONE, apply, leave_node, record
from .dtypes import F32, F64
from .kernels import quiet
from .messages import translate_error
from .modes import state
from .rules import Rule
from .tensor import Tensor

SCALARS = {np.float32, np.float64}
"""The types of 0-d results. To ask one for its dtype takes longer than to add two of them."""

NUMBERS, FLOATS = {int, float}, {F32, F64}

_create = object.__new__  # `wrap`, where nothing marks new tensors


def apply_one(rule: Rule, x: Tensor) -> Tensor:
    """`apply` for an elementwise op of one tensor."""
    raw = x._data
    if (type(raw) in SCALARS or (type(raw) is ndarray and raw.dtype in FLOATS)) and state.plain:
        out = _create(Tensor)
        out._data = quiet.run(rule.kernel, raw)
        if state.enabled:
            if x._view is not None:
                record(rule, (x,), NONE, out, True)
            elif x._requires_grad:
                leave_node(rule, 1, [x._edge or x._gradient_edge()], (x,), out)
        return out
    return apply(rule, (x,))


def apply_two(rule: Rule, x: Any, y: Any) -> Tensor:
    """`apply` for a broadcasting primitive of two operands."""
    a = x._data if isinstance(x, Tensor) else x
    b = y._data if isinstance(y, Tensor) else y
    kind, other = type(a), type(b)
    if kind is ndarray and other is ndarray:
        d = a.dtype
        known, alike = d is b.dtype and (d is F32 or d is F64), a.shape == b.shape
    elif kind in SCALARS:
        known = alike = other is kind or other in NUMBERS
    elif other in SCALARS:
        known, alike = kind in NUMBERS, False
    elif other in NUMBERS:
        known, alike = kind is ndarray and a.dtype in FLOATS, True
    else:
        known, alike = kind in NUMBERS and other is ndarray and b.dtype in FLOATS, False
    if known and state.plain:
        out = _create(Tensor)
        try:
            out._data = quiet.run(rule.kernel, a, b)
        except ValueError as error:
            raise translate_error(rule, (a, b), error) from None
        if state.enabled:
            if alike and other is kind and x._view is None is y._view:
                _record_two(rule, x, y, out)
            else:
                record(rule, (x, y), NONE, out, alike)
        return out
    return apply(rule, (x, y))


def _record_two(rule: Rule, x: Tensor, y: Tensor, out: Tensor) -> None:
    """`record` for two tensors of one shape and dtype, neither of them a view."""
    if x._requires_grad:
        left = x._edge or x._gradient_edge()
        if y._requires_grad:
            leave_node(rule, 3, [left, y._edge or y._gradient_edge()], (x, y), out)
        else:
            leave_node(rule, 1, [left, None], (x, y), out)
    elif y._requires_grad:
        leave_node(rule, 2, [None, y._edge or y._gradient_edge()], (x, y), out)
