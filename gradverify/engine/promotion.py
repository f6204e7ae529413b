"""Bringing operands to one dtype: PyTorch's promotion, and halves that are computed in float32."""

from __future__ import annotations

from typing import Any

from . import dtypes
from .dtypes import F32, F64
from .op_facts import REAL
from .rules import Rule
from .tape import Ghost

HALF = {d.numpy for name, d in dtypes.DTYPES.items() if name in ("float16", "bfloat16")}


def half_among(raws: list[Any]) -> Any:
    """The 16-bit dtype of the operands, or None.

    They agree by now. The last one may be a number, or the indices of a loss: then the first one decides.
    """
    last = getattr(raws[-1], "dtype", None)
    if last is F32 or last is F64:
        return None
    return next((d for d in (last, getattr(raws[0], "dtype", None)) if d in HALF), None)


def widen(x: Any) -> Any:
    """A half in float32; anything else as it is."""
    if getattr(x, "dtype", None) not in HALF:
        return x
    return Ghost(x.shape, F32) if isinstance(x, Ghost) else x.astype(F32)


def promote(rule: Rule, raws: list[Any]) -> list[Any]:
    """The operands in the dtype that PyTorch computes this op in; nothing happens where they agree already."""
    d = getattr(raws[0], "dtype", None)
    if (d is F32 or d is F64) and (rule.primitive or len(raws) == 1):
        for other in raws[1:]:
            if getattr(other, "dtype", d) is not d or type(other) is complex:
                break
        else:
            return raws
    floats = [rule.spec.argument(i) == "float" for i in range(len(raws))]  # masks and indices stay what they are
    to = dtypes.result_type([x for x, is_float in zip(raws, floats) if is_float])
    if rule.promotion is REAL and dtypes.CATEGORY[to] < dtypes.FLOAT:
        to = dtypes.default_numpy()
    if rule.counts and dtypes.CATEGORY[to] == dtypes.BOOL:
        to = dtypes.I64

    def cast(x: Any) -> Any:
        if hasattr(x, "dtype"):
            return x if x.dtype == to else x.astype(to)
        return to.type(x)

    return [cast(x) if is_float else x for x, is_float in zip(raws, floats)]
