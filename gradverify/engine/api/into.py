"""`out=`: a function's result written into the memory of a tensor that is given for it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import CATEGORY, OF_NUMPY
from ..modes import state
from ..tensor import Tensor
from ..views import overwrite


def takes_out(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with PyTorch's `out=`: one tensor, which is returned.

    Raises RuntimeError where the result would have to be recorded, or does not fit the kind of dtype, NotImplementedError
    in forward mode. A tensor of another shape is resized, with a warning unless it is empty.
    """

    @functools.wraps(function)
    def call(*args: Any, out: Tensor | None = None, **kwargs: Any) -> Any:
        if out is None:
            return function(*args, **kwargs)
        given = [x for x in (*args, *kwargs.values(), out) if isinstance(x, Tensor)]
        if state.duals and any(x._tangents for x in given):
            raise NotImplementedError(
                f"Trying to use forward AD with {name}_out that does not support it because it is an out= function"
            )
        if state.enabled and any(x.requires_grad for x in given):
            raise RuntimeError(
                f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
                "arguments requires grad."
            )
        result = function(*args, **kwargs)
        if not isinstance(result, Tensor):
            raise NotImplementedError(f"{name}: out= is not supported by this engine for several results")
        return _put(result, out)

    return call


def _put(result: Tensor, out: Tensor) -> Tensor:
    have, want = result._data.dtype, out._data.dtype
    if CATEGORY[have] > CATEGORY[want]:
        first, second = (str(OF_NUMPY[d]).removeprefix("torch.") for d in (have, want))
        raise RuntimeError(
            f"result type {_TITLES.get(first, first)} can't be cast to the desired output type {_TITLES.get(second, second)}"
        )
    if result._data.shape != out._data.shape:
        if out._data.size:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(out.shape)}, which does not "
                f"match the required output shape {list(result.shape)}. This behavior is deprecated, and in a future "
                "PyTorch release outputs will not be resized unless they have zero elements.",
                UserWarning,
                stacklevel=3,
            )
        out._data = np.empty(result._data.shape, want)
    overwrite(out, result._data)
    return out


_TITLES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int",
    "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip
"""PyTorch's other names of dtypes, which its messages say."""
