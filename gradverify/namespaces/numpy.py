"""The vocabulary over NumPy, or over any module with NumPy's interface (CuPy)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from ..core.op import Shape
from . import special
from .base import Namespace
from .kernels import KERNELS, Kernel, Own, Run, names, require

# Array API names that NumPy took over in 2.0 and other modules may still spell the old way.
LEGACY = {
    "acos": "arccos", "asin": "arcsin", "atan": "arctan", "acosh": "arccosh", "asinh": "arcsinh", "atanh": "arctanh",
    "atan2": "arctan2", "pow": "power", "concat": "concatenate", "permute_dims": "transpose",
}  # fmt: skip

UFUNCS = names("numpy", Own.UFUNC)


def native_index(index: Any) -> Any:
    """A graph's index (ints, None, "...", (start, stop, step) triples) as Python's own."""
    entries = index if isinstance(index, tuple) else (index,)

    def one(entry: Any) -> Any:
        if isinstance(entry, tuple):
            return slice(*entry)
        return Ellipsis if entry == "..." else entry

    return tuple(one(e) for e in entries)


class StrideTricks(Protocol):
    """The module `lib` of NumPy or CuPy."""

    @property
    def stride_tricks(self) -> ArrayModule: ...


class ArrayModule(Protocol):
    """NumPy, CuPy, or another module with their functions."""

    add: np.ufunc

    @property
    def linalg(self) -> ArrayModule: ...
    @property
    def fft(self) -> ArrayModule: ...
    @property
    def lib(self) -> StrideTricks: ...
    def __getattr__(self, name: str, /) -> Callable[..., Any]: ...


@cache
def _ufuncs(kind: type, module: Any) -> Mapping[str, Callable[..., Any]]:
    """The module's ufuncs by the vocabulary's names, but for those that a namespace of this kind has methods for."""
    found = {u: getattr(module, u, None) or getattr(module, LEGACY.get(u, u)) for u in UFUNCS if not hasattr(kind, u)}
    return MappingProxyType(found)


class NumpyNamespace(Namespace):
    """NumPy's kernels under the vocabulary's names."""

    def __init__(self, module: Any = np, name: str = "numpy") -> None:
        self.module: ArrayModule = module
        self.name = name
        kind: Any = type(self)
        vars(self).update(_ufuncs(kind, module))

    def registered(self, kernel: Kernel) -> Run | None:
        return None if isinstance(kernel.numpy, Own) else kernel.numpy

    # creation
    def asarray(self, x: Any, like: Any = None) -> Any:
        return self.module.asarray(x, dtype=None if like is None else like.dtype)

    def zeros(self, shape: Shape, like: Any) -> Any:
        return self.module.zeros(shape, dtype=like.dtype)

    def ones(self, shape: Shape, like: Any) -> Any:
        return self.module.ones(shape, dtype=like.dtype)

    def zeros_like(self, x: Any) -> Any:
        return self.zeros(self.shape(x), like=x)

    def ones_like(self, x: Any) -> Any:
        return self.ones(self.shape(x), like=x)

    def full_like(self, x: Any, value: Any) -> Any:
        return self.module.full_like(x, value)

    def eye(self, n: int, like: Any) -> Any:
        return self.module.eye(n, dtype=like.dtype)

    def arange(self, n: int) -> Any:
        return self.module.arange(n)

    # elementwise
    def round(self, x: Any) -> Any:
        return self.module.rint(x)

    def where(self, mask: Any, x: Any, y: Any) -> Any:
        return self.module.where(mask, x, y)

    # special: ours over NumPy, CuPy's own (SciPy's interface) over CuPy
    def _special(self, name: str) -> Any:
        if self.module is np:
            return getattr(special, name)
        return getattr(importlib.import_module("cupyx.scipy.special"), {"lgamma": "gammaln"}.get(name, name))

    def erf(self, x: Any) -> Any:
        return self._special("erf")(x)

    def erfc(self, x: Any) -> Any:
        return self._special("erfc")(x)

    def erfinv(self, x: Any) -> Any:
        return self._special("erfinv")(x)

    def lgamma(self, x: Any) -> Any:
        return self._special("lgamma")(x)

    def digamma(self, x: Any) -> Any:
        return self._special("digamma")(x)

    def polygamma(self, x: Any, n: int = 1) -> Any:
        if self.module is np:
            return special.polygamma(x, n)
        return self._special("polygamma")(n, x).astype(x.dtype)

    def erfcx(self, x: Any) -> Any:
        return self._special("erfcx")(x)

    def log_ndtr(self, x: Any) -> Any:
        return self._special("log_ndtr")(x)

    def sinc(self, x: Any) -> Any:
        return special.sinc(x) if self.module is np else self.module.sinc(x)

    def ierfcx(self, x: Any, n: int = 1) -> Any:
        return self._on_host(special.ierfcx, x, n)

    def dsinc(self, x: Any, n: int = 1) -> Any:
        return self._on_host(special.dsinc, x, n)

    def bessel_i(self, x: Any, n: int = 0) -> Any:
        return self._on_host(special.bessel_i, x, n)

    def squareplus(self, x: Any, b: float = 4.0) -> Any:
        return self._on_host(special.squareplus, x, b)

    def _on_host(self, kernel: Any, x: Any, *args: Any) -> Any:
        """By NumPy's kernel, where no other module has one."""
        if self.module is np:
            return kernel(x, *args)
        fetch = getattr(self.module, "asnumpy", np.asarray)
        return self.module.asarray(kernel(fetch(x), *args))

    # reductions
    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.sum(x, axis=axis, keepdims=keepdims)

    def prod(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.prod(x, axis=axis, keepdims=keepdims)

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.max(x, axis=axis, keepdims=keepdims)

    def min(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.min(x, axis=axis, keepdims=keepdims)

    def any(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.any(x, axis=axis, keepdims=keepdims)

    def all(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.all(x, axis=axis, keepdims=keepdims)

    def argmax(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return self.module.argmax(x, axis=axis, keepdims=keepdims)

    def argmin(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return self.module.argmin(x, axis=axis, keepdims=keepdims)

    def argsort(self, x: Any, axis: int = -1) -> Any:
        return self.module.argsort(x, axis=axis, kind="stable")

    def cumulative_sum(self, x: Any, axis: int) -> Any:
        return self.module.cumsum(x, axis=axis)

    def cumulative_prod(self, x: Any, axis: int) -> Any:
        return self.module.cumprod(x, axis=axis)

    # shape
    def reshape(self, x: Any, shape: Shape) -> Any:
        return self.module.reshape(x, shape)

    def permute_dims(self, x: Any, axes: Shape) -> Any:
        return self.module.transpose(x, axes)

    def matrix_transpose(self, x: Any) -> Any:
        return self.module.swapaxes(x, -1, -2)

    def expand_dims(self, x: Any, axis: Any) -> Any:
        return self.module.expand_dims(x, axis)

    def squeeze(self, x: Any, axis: Any = None) -> Any:
        return self.module.squeeze(x, axis)

    def broadcast_to(self, x: Any, shape: Shape) -> Any:
        return self.module.broadcast_to(x, shape)

    def concat(self, xs: Sequence[Any], axis: int = 0) -> Any:
        return self.module.concatenate(xs, axis=axis)

    def stack(self, xs: Sequence[Any], axis: int = 0) -> Any:
        return self.module.stack(xs, axis=axis)

    def flip(self, x: Any, axis: Any = None) -> Any:
        return self.module.flip(x, axis)

    def roll(self, x: Any, shift: Any, axis: Any = None) -> Any:
        return self.module.roll(x, shift, axis)

    def pad(self, x: Any, pads: Sequence[tuple[int, int]]) -> Any:
        shape = tuple(b + n + a for (b, a), n in zip(pads, self.shape(x)))
        return self.embed(x, tuple((b, b + n, 1) for (b, _), n in zip(pads, self.shape(x))), shape)

    def tril(self, x: Any, k: int = 0) -> Any:
        return self.module.tril(x, k)

    def triu(self, x: Any, k: int = 0) -> Any:
        return self.module.triu(x, k)

    def diagonal(self, x: Any) -> Any:
        return self.module.diagonal(x, axis1=-2, axis2=-1)

    # indexing
    def getitem(self, x: Any, index: Any) -> Any:
        return x[native_index(index)]

    def embed(self, x: Any, index: Any, shape: Shape) -> Any:
        out = self.zeros(shape, like=x)
        out[native_index(index)] = x
        return out

    def take(self, x: Any, indices: Any, axis: int) -> Any:
        return self.module.take(x, indices, axis=axis)

    def index_add(self, x: Any, indices: Any, updates: Any, axis: int) -> Any:
        out = self.module.array(x)
        at = (slice(None),) * (axis % len(self.shape(x))) + (indices,)
        self.module.add.at(out, at, updates)
        return out

    def take_along_axis(self, x: Any, indices: Any, axis: int) -> Any:
        return self.module.take_along_axis(x, indices, axis)

    def scatter_add(self, x: Any, indices: Any, updates: Any, axis: int) -> Any:
        out = self.module.array(x)
        shape = self.shape(indices)
        grid = [self.module.arange(n).reshape([-1 if i == j else 1 for j in range(len(shape))])
                for i, n in enumerate(shape)]  # fmt: skip
        grid[axis % len(shape)] = indices
        self.module.add.at(out, tuple(grid), updates)
        return out

    # linear algebra
    def matmul(self, x: Any, y: Any) -> Any:
        return self.module.matmul(x, y)

    def einsum(self, subscripts: str, *xs: Any) -> Any:
        return self.module.einsum(subscripts, *xs)

    def inv(self, x: Any) -> Any:
        return self.module.linalg.inv(x)

    def det(self, x: Any) -> Any:
        return self.module.linalg.det(x)

    def solve(self, a: Any, b: Any) -> Any:
        """The x of a @ x = b, for a stack of matrices b, or one vector where b has one axis (the Array API's rule)."""
        if len(self.shape(b)) == 1:  # NumPy 1 and CuPy decide by b.ndim == a.ndim - 1 instead
            return self.module.linalg.solve(a, b[:, None])[..., 0]
        return self.module.linalg.solve(a, b)

    def cholesky(self, x: Any) -> Any:
        """Of the symmetric part, which is x itself, bit for bit, for a symmetric x."""
        return self.module.linalg.cholesky((x + self.matrix_transpose(x)) / 2)

    def solve_triangular(self, a: Any, b: Any, upper: bool = False, unit_diagonal: bool = False) -> Any:
        """Substitution row by row, over any batch: NumPy has no triangular solver."""
        n, batches = self.shape(a)[-1], (self.shape(a)[:-2], self.shape(b)[:-2])
        if batches[0] != batches[1]:
            batch = np.broadcast_shapes(*batches)
            b = self.broadcast_to(b, batch + self.shape(b)[-2:])
        rows: list[Any] = [None] * n
        order = range(n - 1, -1, -1) if upper else range(n)
        for i in order:
            done = range(i + 1, n) if upper else range(i)
            rest = b[..., i, :]
            for j in done:
                rest = rest - a[..., i, j, None] * rows[j]
            rows[i] = rest if unit_diagonal else rest / a[..., i, i, None]
        return self.stack(rows, axis=-2) if n else b * 1


require("numpy", Own.METHOD, (n for n in KERNELS if hasattr(NumpyNamespace, n)))

NUMPY = NumpyNamespace()
