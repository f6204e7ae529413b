"""A call of JAX in another dtype."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from ...namespaces.dtypes import numpy_dtype
from ..base import Call


def enabling(dtype: str | None) -> contextlib.AbstractContextManager[Any]:
    """JAX has float64 only where it is enabled."""
    if dtype != "float64":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(True)


def needs_x64(*arrays: np.ndarray) -> bool:
    """Must JAX's 64-bit mode be on? It must if the caller has it on, or if float32 cannot hold one of the arrays."""
    import jax

    theirs = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    return theirs or any(a.dtype.name in ("float64", "complex128") for a in arrays)


def cast(call: Call, dtype: str) -> Call:
    """The call with its arrays, and those that its function holds as a tree, in `dtype`."""
    import jax
    import jax.numpy as jnp

    def one(x: Any) -> Any:
        if not isinstance(x, jax.Array | np.ndarray | np.generic) or not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        return jnp.asarray(x).astype(
            numpy_dtype(dtype, "complex" if jnp.issubdtype(x.dtype, jnp.complexfloating) else "float")
        )

    with enabling(dtype):
        return Call(*jax.tree_util.tree_map(one, (call.fn, call.args, dict(call.kwargs))))
