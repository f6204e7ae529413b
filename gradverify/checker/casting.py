"""A call in another dtype: `check(..., dtype="bfloat16")`.

Floating-point arrays among the arguments, and a module's parameters and buffers, are converted; complex ones to the complex
dtype of that precision. What a function closes over stays as it is.
"""

from __future__ import annotations

import contextlib
from typing import Any

from ..core.errors import BadInput
from ..frameworks.base import Call
from ..frameworks.registry import of_functions
from ..namespaces.dtypes import FORMATS

__all__ = ["Call", "context", "dtype_name", "in_dtype"]


def dtype_name(dtype: Any) -> str:
    """ "float32" for "float32", torch.float32, np.float32, np.dtype("float32"), jnp.float32. Raises BadInput for no
    floating-point dtype that can be judged."""
    name = str(getattr(dtype, "__name__", dtype)).rpartition(".")[2]
    if name not in FORMATS:
        raise BadInput(f"dtype must be one of {', '.join(FORMATS)}, got {dtype!r}")
    return name


def in_dtype(call: Call, framework: str, dtype: str) -> Call:
    """The call with its floating-point arrays in `dtype`. Raises BadInput where the framework has no such dtype."""
    return of_functions(framework).cast(call, dtype)


def context(framework: str | None, dtype: str | None) -> contextlib.AbstractContextManager[Any]:
    """Within the block, the framework has this dtype."""
    if framework is None or dtype is None:
        return contextlib.nullcontext()
    return of_functions(framework).enabling(dtype)
