"""Functions that need no translation, made from the ops' records; and all functions of the module `torch`, by name."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ...ops import OPS
from ..dispatch import apply
from ..fast import unary
from ..op_facts import FACTS
from ..rules import rule
from ..tensor import Tensor, wrap
from . import (
    comparison,
    complex_numbers,
    composed,
    conversion,
    elementwise,
    indexing,
    joining,
    linalg,
    reduction,
    selection,
    shape,
    strided,
)
from .call import with_other_keywords
from .into import takes_out

FAMILIES: tuple[ModuleType, ...] = (
    elementwise, comparison, reduction, selection, linalg, shape, joining, indexing, conversion, complex_numbers,
    composed, strided,
)  # fmt: skip

# Not differentiated: NumPy's own function does.
PLAIN = "isnan isinf isin signbit logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not".split()

NO_OUT = set("split chunk unbind tensor_split broadcast_tensors meshgrid var_mean std_mean einsum".split())
"""Functions of no view either that PyTorch gives no `out=`."""

# A second name of a function that translates.
SYNONYMS = {"concat": "cat", "clip": "clamp", "swapaxes": "transpose", "moveaxis": "movedim", "ger": "outer"}


def functions_by_name() -> dict[str, Callable[..., Any]]:
    """Every function of the module `torch` that runs an op, under PyTorch's names."""
    table: dict[str, Callable[..., Any]] = {}
    for op, facts in FACTS.items():
        table |= {name: _run_op(name, op) for name in facts.functions.split()}
    for name in PLAIN:
        table[name] = _run_numpy(name)
    for family in FAMILIES:
        table |= {name: getattr(family, name) for name in family.__all__}
    table |= {name: with_other_keywords(f) for name, f in table.items()}
    return table | {name: table[f] for name, f in SYNONYMS.items()}


def functions_of_the_module(table: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """The functions as `torch.NAME`: those of values take `out=`, which methods do not."""
    views = {*shape.__all__, *strided.__all__, *indexing.__all__, *conversion.__all__, *complex_numbers.__all__}
    return {name: f if name in views or name in NO_OUT else takes_out(name, f) for name, f in table.items()}


def _run_op(name: str, op: str) -> Callable[..., Any]:
    r, spec = rule(op), OPS[op]
    if spec.arity == 1 and spec.result == "float" and not spec.composite:
        call: Callable[..., Any] = unary(r)
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
