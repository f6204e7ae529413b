"""The samples of `torch.testing._internal.common_methods_invocations.op_db`, each as a function and its arguments.

A sample is drawn by `make_tensor` from PyTorch's global generator, which is seeded before an operator's list of samples
is made: the same operator, dtype and index give the same numbers in every process. The function is what PyTorch's own
gradient tests differentiate: `gradcheck_wrapper` (which makes a matrix symmetric where the operator reads one triangle)
around the operator, then the sample's `output_process_fn_grad`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

SEED = 20_24
DTYPES = ("float64", "complex128")
PER_OPERATOR = 4


@dataclass(frozen=True, order=True)
class Place:
    """Where a sample stands: `index` in the operator's list for this dtype."""

    dtype: str
    operator: str
    index: int

    def __str__(self) -> str:
        return f"{self.operator}[{self.index}] {self.dtype}"


@functools.cache
def operators() -> dict[str, Any]:
    """Every OpInfo that supports autograd, by its name and variant."""
    from torch.testing._internal.common_methods_invocations import op_db

    return {op.formatted_name: op for op in op_db if op.supports_autograd}


def family(operator: str) -> str:
    """The namespace of an operator, or for torch's own the class of its OpInfo."""
    op = operators()[operator]
    namespace, dot, _ = op.name.rpartition(".")
    return namespace if dot else type(op).__name__.removesuffix("Info").removesuffix("Ufunc") or "Op"


@functools.lru_cache(maxsize=2)
def _drawn(operator: str, dtype: str) -> list[Any]:
    torch.manual_seed(SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(operators()[operator].sample_inputs("cpu", getattr(torch, dtype), requires_grad=True))


def places(per_operator: int = PER_OPERATOR, only: str = "") -> Iterator[Place]:
    """Up to `per_operator` samples of each operator in each dtype, evenly over its list."""
    for dtype in DTYPES:
        for name, op in operators().items():
            if only in name and op.supports_dtype(getattr(torch, dtype), "cpu"):
                yield from (Place(dtype, name, k) for k in evenly(len(_drawn(name, dtype)), per_operator))


def evenly(count: int, wanted: int) -> list[int]:
    """Up to `wanted` of the numbers below `count`, evenly spaced, the first and the last among them."""
    if count <= wanted:
        return list(range(count))
    return [k * (count - 1) // max(wanted - 1, 1) for k in range(wanted)]


@dataclass(frozen=True)
class Sample:
    """`fn(*args, **kwargs)` as the operator is called; `of_leaves` is the same over the tensors that require grad."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [t for t in pytree.tree_leaves((self.args, self.kwargs)) if _takes_gradient(t)]

    def of_leaves(self, *tensors: torch.Tensor) -> Any:
        rest = iter(tensors)
        swap = lambda x: next(rest) if _takes_gradient(x) else x
        args, kwargs = pytree.tree_map(swap, (self.args, self.kwargs))
        return self.fn(*args, **kwargs)


def _takes_gradient(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.requires_grad


def sample(place: Place) -> Sample:
    op = operators()[place.operator]
    drawn = _drawn(place.operator, place.dtype)[place.index]

    def call(*args: Any, **kwargs: Any) -> Any:
        out = op.gradcheck_wrapper(op.get_op(), *args, **kwargs)
        return drawn.output_process_fn_grad(out) if drawn.output_process_fn_grad is not None else out

    call.__name__ = op.formatted_name
    return Sample(call, (drawn.input, *drawn.args), dict(drawn.kwargs))
