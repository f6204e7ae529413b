"""Functions that need no translation, made from lists; and all functions of the module `torch`, by name."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ...ops import OPS
from ..dispatch import apply, apply_one
from ..rules import rule
from ..tensor import Tensor, wrap
from . import (
    comparison,
    complex_numbers,
    conversion,
    elementwise,
    indexing,
    joining,
    linalg,
    reduction,
    selection,
    shape,
)

FAMILIES: tuple[ModuleType, ...] = (
    elementwise, comparison, reduction, selection, linalg, shape, joining, indexing, conversion, complex_numbers,
)  # fmt: skip

# PyTorch's name -> the op's, where one tensor goes in (or two), and PyTorch and the table agree on the rest.
ALIASES: dict[str, str] = {
    "neg": "negative", "negative": "negative", "absolute": "abs",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "arctan2": "atan2", "subtract": "subtract", "multiply": "multiply", "divide": "divide", "true_divide": "divide",
    "expit": "sigmoid", "logsigmoid": "log_sigmoid",
}  # fmt: skip

COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "not_equal": "not_equal", "less": "less", "less_equal": "less_equal", "greater": "greater",
    "greater_equal": "greater_equal",
}  # fmt: skip

# Ops that keep their own name, one or two tensors in, no parameters.
SAME = (
    "abs sign square sqrt reciprocal rsqrt exp exp2 expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh "
    "asinh acosh atanh erf erfc erfinv lgamma digamma sigmoid floor ceil round trunc logit atan2 hypot logaddexp "
    "logaddexp2 xlogy xlog1py maximum minimum relu trace logical_and logical_or logical_not"
).split()

# Not differentiated: NumPy's own function does.
PLAIN = "isnan isinf logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not".split()

# A second name of a function that translates.
SYNONYMS = {"concat": "cat", "clip": "clamp", "swapaxes": "transpose", "moveaxis": "movedim", "ger": "outer"}


def functions_by_name() -> dict[str, Callable[..., Any]]:
    """Every function of the module `torch` that runs an op, under PyTorch's names."""
    table: dict[str, Callable[..., Any]] = {}
    for name, op in (dict(zip(SAME, SAME)) | ALIASES | COMPARISONS).items():
        table[name] = _run_op(name, op)
    for name in PLAIN:
        table[name] = _run_numpy(name)
    for family in FAMILIES:
        table |= {name: getattr(family, name) for name in family.__all__}
    return table | {name: table[f] for name, f in SYNONYMS.items()}


def _run_op(name: str, op: str) -> Callable[..., Any]:
    r, spec = rule(op), OPS[op]
    if spec.arity == 1 and spec.result == "float" and not spec.composite:

        def one(input: Tensor) -> Any:
            return apply_one(r, input)

        call: Callable[..., Any] = one
    elif spec.arity == 1:
        call = lambda input: apply(r, (input,))
    else:

        def two(input: Any, other: Any) -> Any:
            return apply(r, (input, other))

        call = two
    call.__name__ = call.__qualname__ = name
    call.__doc__ = spec.doc
    return call


def _run_numpy(name: str) -> Callable[..., Any]:
    kernel = getattr(np, name)

    def call(*args: Any) -> Any:
        return wrap(kernel(*(a._data if isinstance(a, Tensor) else a for a in args)))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Elementwise {name}; not differentiable."
    return call
