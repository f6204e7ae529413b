"""`apply` without its detours, for what everyone calls most: one floating-point tensor, or two that agree.

The one idea: where the operands are NumPy's float32 or float64 already, nothing is to be promoted, widened or translated;
the kernel runs and the op is recorded. Everything else is handed to `apply`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from .dispatch import NONE, apply, leaver, record
from .dtypes import F32, F64
from .kernels import quiet
from .messages import translate_error
from .modes import state
from .rules import Rule
from .tape import Edge
from .tensor import Tensor

SCALARS = {np.float32, np.float64}
"""The types of 0-d results. To ask one for its dtype takes longer than to add two of them."""

NUMBERS, FLOATS = {int, float}, {F32, F64}

_create = object.__new__  # `wrap`, where nothing marks new tensors


def unary(rule: Rule) -> Callable[[Tensor], Tensor]:
    """`apply` for an elementwise op of one tensor, built once for the op."""
    kernel, leaves = rule.kernel, rule.leaves

    def call(input: Tensor) -> Tensor:
        raw = input._data
        if type(raw) in SCALARS or (type(raw) is ndarray and ((d := raw.dtype) is F32 or d is F64)):
            way = state.way
            if way:
                out = _create(Tensor)
                out._data = quiet.run(kernel, raw)
                if way == 2:
                    if input._view is not None:
                        record(rule, (input,), NONE, out, True)
                    elif input._requires_grad:
                        leave = leaves.get(1) or leaver(rule, 1, 1)
                        leave((input._edge or input._gradient_edge(),), (input,), out)
                return out
        return apply(rule, (input,))

    return call


def binary(rule: Rule) -> Callable[[Any, Any], Tensor]:
    """`apply` for a broadcasting primitive of two operands, built once for the op.

    Two tensors of one shape and dtype, neither of them a view, take the shortest way.
    """
    kernel, leaves = rule.kernel, rule.leaves

    def call(x: Any, y: Any) -> Tensor:
        if type(x) is Tensor and type(y) is Tensor:
            a, b = x._data, y._data
            kind = type(a)
            if kind is type(b) and (
                kind in SCALARS
                or (kind is ndarray and (d := a.dtype) is b.dtype and (d is F32 or d is F64) and a.shape == b.shape)
            ):
                way = state.way
                if way and x._view is None is y._view:
                    out = _create(Tensor)
                    out._data = quiet.run(kernel, a, b)
                    if way == 2:
                        edges: tuple[Edge | None, Edge | None]
                        if x._requires_grad:
                            if y._requires_grad:
                                wanted, edges = 3, (x._edge or x._gradient_edge(), y._edge or y._gradient_edge())
                            else:
                                wanted, edges = 1, (x._edge or x._gradient_edge(), None)
                        elif y._requires_grad:
                            wanted, edges = 2, (None, y._edge or y._gradient_edge())
                        else:
                            return out
                        leave = leaves.get(wanted) or leaver(rule, wanted, 2)
                        leave(edges, (x, y), out)
                    return out
        return _of_two(rule, x, y)

    return call


def _of_two(rule: Rule, x: Any, y: Any) -> Tensor:
    """The same for a number beside a tensor, and for tensors that are views or of two shapes."""
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
            record(rule, (x, y), NONE, out, alike)
        return out
    return apply(rule, (x, y))
