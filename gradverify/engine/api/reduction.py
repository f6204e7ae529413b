"""Sums, means, extremes and norms along dims."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..dispatch import under_one_node
from ..tensor import Tensor, wrap
from .call import Dim, axes_or_all, normal_dim, run, run_as, to_dtype

__all__ = [
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "logsumexp", "mean", "norm", "prod", "std",
    "std_mean", "sum", "var", "var_mean",
]  # fmt: skip


def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return run("sum", to_dtype(input, dtype), axis=axes_or_all(input, dim), keepdims=keepdim)


def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    x = to_dtype(input, dtype)
    if x.dtype.category < dtypes.FLOAT:
        name = x.dtype.tensor_type.removesuffix("Tensor")
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {name}"
        )
    return run("mean", x, axis=axes_or_all(input, dim), keepdims=keepdim)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return run("prod", to_dtype(input, dtype), axis=axes_or_all(input, dim), keepdims=keepdim)


def amax(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    return run_as("AmaxBackward0", "max", input, axis=axes_or_all(input, dim), keepdims=keepdim)


def amin(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    return run_as("AminBackward0", "min", input, axis=axes_or_all(input, dim), keepdims=keepdim)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return run("argmax", input, axis=axes_or_all(input, dim), keepdims=keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return run("argmin", input, axis=axes_or_all(input, dim), keepdims=keepdim)


def _make_dispersion(name: str) -> Any:
    def dispersion(
        input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
    ) -> Tensor:
        if isinstance(dim, bool):  # var(x, False)
            dim, unbiased = None, dim
        if correction is None:
            correction = 1 if unbiased is None or unbiased else 0
        return run(name, input, axis=axes_or_all(input, dim), keepdims=keepdim, correction=float(correction))

    dispersion.__name__ = dispersion.__qualname__ = name
    dispersion.__doc__ = f"The {name} over `dim`, divided by n - correction; correction=1 by default."
    return dispersion


var, std = _make_dispersion("var"), _make_dispersion("std")


def var_mean(input: Tensor, dim: Any = None, *args: Any, keepdim: bool = False, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """(var, mean) over `dim`."""
    both = var(input, dim, *args, keepdim=keepdim, **kwargs), _mean_beside(input, dim, keepdim)
    return under_one_node("VarMeanBackward0", both)  # type: ignore[return-value]


def std_mean(input: Tensor, dim: Any = None, *args: Any, keepdim: bool = False, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """(std, mean) over `dim`."""
    both = std(input, dim, *args, keepdim=keepdim, **kwargs), _mean_beside(input, dim, keepdim)
    return under_one_node("StdMeanBackward0", both)  # type: ignore[return-value]


def _mean_beside(input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    return mean(input, None if isinstance(dim, bool) else dim, keepdim)


def norm(input: Tensor, p: Any = 2.0, dim: Dim = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    order = 2.0 if p in (None, "fro") else float(p)
    if order == 0:  # the number of entries that are not 0, which no small change of one changes
        x = to_dtype(input, dtype)
        one = run("where", wrap(x._data != 0), wrap(np.ones_like(x._data)), run("multiply", x, 0.0))
        return run("sum", one, axis=axes_or_all(input, dim), keepdims=keepdim)
    if order == -math.inf:
        return run("min", run("abs", to_dtype(input, dtype)), axis=axes_or_all(input, dim), keepdims=keepdim)
    return run("vector_norm", to_dtype(input, dtype), axis=axes_or_all(input, dim), keepdims=keepdim, ord=order)


def vector_norm(x: Tensor, ord: Any = 2, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return norm(x, ord, dim, keepdim, dtype)


def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    return run("logsumexp", input, axis=axes_or_all(input, dim), keepdims=keepdim)


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    return run("cumulative_sum", to_dtype(input, dtype), axis=normal_dim(dim, input._data.ndim))


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    return run("cumulative_prod", to_dtype(input, dtype), axis=normal_dim(dim, input._data.ndim))
