"""A call in another dtype: `check(..., dtype="bfloat16")`.

Floating-point arrays among the arguments, and a module's parameters and buffers, are converted; complex ones to the complex
dtype of that precision. What a function closes over stays as it is.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import BadInput
from ..frameworks.recognise import tracer
from ..namespaces.dtypes import FORMATS, complex_name, numpy_dtype


class Call(NamedTuple):
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def dtype_name(dtype: Any) -> str:
    """ "float32" for "float32", torch.float32, np.float32, np.dtype("float32"), jnp.float32. Raises BadInput for no
    floating-point dtype that can be judged."""
    name = str(getattr(dtype, "__name__", dtype)).removeprefix("torch.")
    if name not in FORMATS:
        raise BadInput(f"dtype must be one of {', '.join(FORMATS)}, got {dtype!r}")
    return name


def in_dtype(call: Call, framework: str, dtype: str) -> Call:
    """The call with its floating-point arrays in `dtype`. Raises BadInput where the framework has no such dtype."""
    if framework == "torch":
        return _torch(call, dtype)
    if framework == "jax":
        return _jax(call, dtype)
    if dtype not in ("float32", "float64"):
        raise BadInput(f"dtype: arrays of {framework} are converted to float32 and float64, not to {dtype}")

    def converted(x: np.ndarray) -> np.ndarray | None:
        return x.astype(_like(x.dtype.kind == "c", dtype)) if x.dtype.kind in "fc" else None

    replaced = tracer(framework).replaced
    names = list(call.kwargs)
    values = replaced(converted, tuple(call.kwargs[n] for n in names))
    return Call(call.fn, replaced(converted, call.args), dict(zip(names, values)))


def context(framework: str | None, dtype: str | None) -> contextlib.AbstractContextManager[Any]:
    """JAX has float64 only where it is enabled."""
    if framework == "jax" and dtype == "float64":
        import jax

        return jax.enable_x64(True)
    return contextlib.nullcontext()


def _like(is_complex: bool, dtype: str) -> np.dtype[Any]:
    return numpy_dtype(dtype, "complex" if is_complex else "float")


def _torch(call: Call, dtype: str) -> Call:
    import torch
    from torch.utils import _pytree

    def one(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
            return x
        new = getattr(torch, complex_name(dtype) if x.is_complex() else dtype)
        return x if x.dtype == new else x.detach().to(new).requires_grad_(x.requires_grad)

    def function(fn: Any) -> Any:
        if isinstance(fn, functools.partial):
            return functools.partial(function(fn.func), *_pytree.tree_map(one, fn.args), **tree(fn.keywords))
        if isinstance(fn, torch.nn.Module):
            return copy.deepcopy(fn).to(getattr(torch, dtype))
        owner = getattr(fn, "__self__", None)
        return getattr(function(owner), fn.__name__) if isinstance(owner, torch.nn.Module) else fn

    def tree(x: Any) -> Any:
        return _pytree.tree_map(one, x)

    return Call(function(call.fn), tree(call.args), tree(dict(call.kwargs)))


def _jax(call: Call, dtype: str) -> Call:
    import jax
    import jax.numpy as jnp

    def one(x: Any) -> Any:
        if not isinstance(x, jax.Array | np.ndarray | np.generic) or not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        return jnp.asarray(x).astype(_like(bool(jnp.issubdtype(x.dtype, jnp.complexfloating)), dtype))

    with context("jax", dtype):
        return Call(*jax.tree_util.tree_map(one, (call.fn, call.args, dict(call.kwargs))))
