"""Arithmetic entry by entry, where PyTorch's signature is not the table's."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..fast import binary
from ..kernels import quiet
from ..rules import rule
from ..tensor import Tensor, wrap
from ..wirtinger import refusal
from .call import raw_of, run, run_as

__all__ = [
    "add", "addcdiv", "addcmul", "clamp", "div", "floor_divide", "lerp", "mul", "pow", "remainder", "rsub", "sub",
]  # fmt: skip


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    return _ADD(input, other if alpha == 1 else mul(other, alpha))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    _refuse_bool_minus(input, other)
    return _SUB(input, other if alpha == 1 else mul(other, alpha))


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    return sub(other, input if alpha == 1 else mul(input, alpha))


def mul(input: Any, other: Any) -> Tensor:
    return _MUL(input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    if rounding_mode is None:
        return _DIV(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return run("trunc", _DIV(input, other))
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def floor_divide(input: Any, other: Any) -> Tensor:
    a, b = raw_of(input), raw_of(other)
    to = dtypes.result_type([a, b])
    if to.kind == "c":
        raise refusal("floor_divide", to)
    return wrap(quiet.run(np.floor_divide, np.asarray(a, to), np.asarray(b, to)))


def remainder(input: Any, other: Any) -> Tensor:
    """input - floor(input / other) * other, with the sign of `other`."""
    to = dtypes.result_type([raw_of(input), raw_of(other)])
    if dtypes.CATEGORY[to] < dtypes.FLOAT:
        return wrap(quiet.run(np.remainder, *(np.asarray(raw_of(x), to) for x in (input, other))))
    return run("remainder", input, other)


def pow(input: Any, exponent: Any) -> Tensor:
    whole = isinstance(input, Tensor) and input._data.dtype.kind in "iu"
    if whole and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return _POW(input, exponent)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    return run("addcmul", input, tensor1, tensor2, value=float(value))


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    return add(input, mul(div(tensor1, tensor2), value))


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight (end - input)."""
    return run("lerp", input, end, weight)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        out = input if min is None else run_as("ClampBackward0", "maximum", input, min)
        return out if max is None else run_as("ClampBackward0", "minimum", out, max)
    if input.dtype.category < dtypes.FLOAT:
        return wrap(np.clip(input._data, min, max))
    bounds = {k: v if v is None else float(v) for k, v in (("min", min), ("max", max))}
    return run("clip", input, **bounds)


def _refuse_bool_minus(a: Any, b: Any) -> None:
    if isinstance(a, Tensor) and isinstance(b, Tensor) and "b" in a._data.dtype.kind + b._data.dtype.kind:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )


_ADD, _SUB, _MUL, _DIV, _POW = (binary(rule(op)) for op in ("add", "subtract", "multiply", "divide", "pow"))
