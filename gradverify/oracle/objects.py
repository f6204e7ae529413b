"""The vocabulary over NumPy object arrays of scalars that carry their own precision (Arb balls, mpmath numbers).

Shape and indexing kernels are NumPy's own. Masks and indices stay bool and int arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.op import Shape
from ..namespaces.kernels import KERNELS, Column, Kernel, Own, Run, require
from ..namespaces.numpy import NumpyNamespace
from ..ops import OPS

NATIVE = ("add", "subtract", "multiply", "negative")
"""NumPy's own loop over objects is as right as a mapped function here, and twice as fast."""

LINKS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


class ObjectNamespace(NumpyNamespace):
    """The op table's kernels over object arrays of one number type.

    Subclasses give `number` (the scalar type), `scalar` (a number from anything), `functions`, `compare` and `column`
    (their column of the kernels' registry).
    """

    column: Column
    number: Callable[[float], Any]
    functions: dict[str, Callable[..., Any]]

    def __init__(self, name: str) -> None:
        super().__init__(np, name)
        self._lift = np.frompyfunc(self.scalar, 1, 1)
        self._lift_floats = np.frompyfunc(self.number, 1, 1)
        for op, f in self.functions.items():
            setattr(self, op, self._native(getattr(np, op)) if op in NATIVE else self._mapped(f, OPS[op].arity))
        for op in LINKS:
            setattr(self, op, self._comparison(op))
        ours = type(self).__mro__[: type(self).__mro__.index(NumpyNamespace)]
        own = {n for n in KERNELS if n in LINKS or any(n in vars(c) for c in ours)} - self.functions.keys()
        require(self.column, Own.SCALAR, self.functions)
        require(self.column, Own.METHOD, own)

    # what subclasses provide
    def scalar(self, x: Any) -> Any:
        raise NotImplementedError

    def compare(self, x: Any, y: Any) -> int:
        """-1, 0 or 1; a subclass that cannot decide notes it and answers with the midpoints'."""
        raise NotImplementedError

    # lifting
    def asarray(self, x: Any, like: Any = None) -> np.ndarray:
        if isinstance(x, np.ndarray):
            if x.dtype == object:
                return x
            return self._box((self._lift_floats if x.dtype == np.float64 else self._lift)(x))
        return self._box(self._lift(x)) if isinstance(x, list | tuple) else self._box(self.scalar(x))

    @staticmethod
    def _box(value: Any) -> np.ndarray:
        if isinstance(value, np.ndarray):
            return value
        box = np.empty((), dtype=object)
        box[()] = value
        return box

    def _native(self, ufunc: np.ufunc) -> Callable[..., np.ndarray]:
        return lambda *args: self._box(ufunc(*(self.asarray(a) for a in args)))

    def _loop(self, name: str) -> np.ufunc:
        """The binary ufunc behind a reduction."""
        return getattr(np, name) if name in NATIVE else np.frompyfunc(self.functions[name], 2, 1)

    def registered(self, kernel: Kernel) -> Run | None:
        function = kernel.balls if self.column == "balls" else kernel.mp
        return None if isinstance(function, Own) else self._mapped(function, OPS[kernel.name].arity)

    def _mapped(self, f: Callable[..., Any], arity: int) -> Callable[..., np.ndarray]:
        """`f` over arrays, broadcasting; keyword parameters go to every call."""
        plain = np.frompyfunc(f, arity, 1)

        def kernel(*args: Any, **params: Any) -> np.ndarray:
            function = np.frompyfunc(lambda *a: f(*a, **params), arity, 1) if params else plain
            return self._box(function(*(self.asarray(a) for a in args)))

        return kernel

    def _comparison(self, link: str) -> Callable[[Any, Any], np.ndarray]:
        compare = np.frompyfunc(self.compare, 2, 1)
        ufunc = getattr(np, link)

        def kernel(x: Any, y: Any) -> np.ndarray:
            order = compare(self.asarray(x), self.asarray(y))
            return np.asarray(ufunc(np.asarray(order, dtype=np.int64), 0))

        return kernel

    # creation
    def zeros(self, shape: Shape, like: Any = None) -> np.ndarray:
        return self._filled(shape, 0)

    def ones(self, shape: Shape, like: Any = None) -> np.ndarray:
        return self._filled(shape, 1)

    def full_like(self, x: Any, value: Any) -> np.ndarray:
        return self._filled(self.shape(x), value)

    def eye(self, n: int, like: Any = None) -> np.ndarray:
        return self.asarray(np.eye(n))

    def _filled(self, shape: Shape, value: Any) -> np.ndarray:
        out = np.empty(shape, dtype=object)
        out[...] = self.scalar(value)
        return out

    # elementwise
    def where(self, mask: Any, x: Any, y: Any) -> np.ndarray:
        return self._box(np.where(mask, self.asarray(x), self.asarray(y)))

    # reductions: over flattened axes, because an object ufunc reduces several axes at once only where it commutes
    def _reduce(self, name: str, x: Any, axis: Any, keepdims: bool, initial: Any = None) -> np.ndarray:
        array = self.asarray(x)
        axes = tuple(range(array.ndim)) if axis is None else tuple(a % array.ndim for a in np.atleast_1d(axis))
        keep = tuple(i for i in range(array.ndim) if i not in axes)
        together = math.prod(array.shape[a] for a in axes)
        flat = np.transpose(array, keep + axes).reshape([*(array.shape[i] for i in keep), together])
        if flat.shape[-1] == 0:
            if initial is None:
                raise ValueError(f"{name} of no elements has no value")
            out = self._filled(flat.shape[:-1], initial)
        else:
            out = self._box(self._loop(name).reduce(flat, axis=-1))
        return out.reshape([1 if i in axes else n for i, n in enumerate(array.shape)]) if keepdims else out

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> np.ndarray:
        return self._reduce("add", x, axis, keepdims, 0)

    def prod(self, x: Any, axis: Any = None, keepdims: bool = False) -> np.ndarray:
        return self._reduce("multiply", x, axis, keepdims, 1)

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> np.ndarray:
        return self._reduce("maximum", x, axis, keepdims)

    def min(self, x: Any, axis: Any = None, keepdims: bool = False) -> np.ndarray:
        return self._reduce("minimum", x, axis, keepdims)

    def argmax(self, x: Any, axis: int | None = None, keepdims: bool = False) -> np.ndarray:
        """The index of the first largest entry, as in the Array API; into the flattened array for axis=None."""
        x = self.negative(x)
        at = -1 if axis is None else axis
        first = np.take(self.argsort(x.reshape(-1) if axis is None else x, axis=at), [0], axis=at)
        if keepdims:
            return first.reshape((1,) * x.ndim) if axis is None else first
        return np.squeeze(first, at)

    def argmin(self, x: Any, axis: int | None = None, keepdims: bool = False) -> np.ndarray:
        return self.argmax(self.negative(x), axis, keepdims)

    def argsort(self, x: Any, axis: int = -1) -> np.ndarray:
        import functools

        key = functools.cmp_to_key(self.compare)
        x = np.moveaxis(self.asarray(x), axis, -1)
        out = np.empty(x.shape, dtype=np.int64)
        for at in np.ndindex(x.shape[:-1]):
            row = [key(v) for v in x[at]]
            out[at] = sorted(range(len(row)), key=row.__getitem__)
        return np.moveaxis(out, -1, axis)

    def cumulative_sum(self, x: Any, axis: int) -> np.ndarray:
        return self._accumulate("add", x, axis)

    def cumulative_prod(self, x: Any, axis: int) -> np.ndarray:
        return self._accumulate("multiply", x, axis)

    def _accumulate(self, name: str, x: Any, axis: int) -> np.ndarray:
        array = self.asarray(x)
        return self._loop(name).accumulate(array, axis=axis) if array.size else array

    # shape: NumPy's, on lifted arrays
    def _below(self, x: Any, k: int) -> np.ndarray:
        rows, columns = self.shape(x)[-2:]
        return np.tri(rows, columns, k=k, dtype=bool)

    def tril(self, x: Any, k: int = 0) -> np.ndarray:
        return self.where(self._below(x, k), x, 0)

    def triu(self, x: Any, k: int = 0) -> np.ndarray:
        return self.where(~self._below(x, k - 1), x, 0)

    def getitem(self, x: Any, index: Any) -> np.ndarray:
        return self._box(super().getitem(self.asarray(x), index))

    def embed(self, x: Any, index: Any, shape: Shape) -> np.ndarray:
        # [()]: NumPy stores a 0-d object array as an object instead of unpacking it.
        return super().embed(self.asarray(x)[()], index, shape)

    def concat(self, xs: Sequence[Any], axis: int = 0) -> np.ndarray:
        return np.concatenate([self.asarray(x) for x in xs], axis=axis)

    def stack(self, xs: Sequence[Any], axis: int = 0) -> np.ndarray:
        return np.stack([self.asarray(x) for x in xs], axis=axis)

    # linear algebra: schoolbook elimination over a batch of matrices; sizes here are test sizes
    def matmul(self, x: Any, y: Any) -> np.ndarray:
        x, y = self.asarray(x), self.asarray(y)
        a = x[None, :] if x.ndim == 1 else x
        b = y[:, None] if y.ndim == 1 else y
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(f"matmul of shapes {x.shape} and {y.shape}")
        out = np.empty((*batch, a.shape[-2], b.shape[-1]), dtype=object)
        a = np.broadcast_to(a, batch + a.shape[-2:])
        b = np.broadcast_to(b, batch + b.shape[-2:])
        for at in np.ndindex(batch):
            out[at] = self.product(a[at], b[at])
        if x.ndim == 1:
            out = out[..., 0, :]
        if y.ndim == 1:
            out = out[..., 0]
        return self._box(out)

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The product of two matrices."""
        if a.shape[1] == 0:
            return self.zeros((a.shape[0], b.shape[1]))
        return np.asarray(np.matmul(a, b), dtype=object)

    def einsum(self, subscripts: str, *xs: Any) -> np.ndarray:
        arrays = [self.asarray(x) for x in xs]
        out = self._box(np.einsum(subscripts, *arrays))
        # A sum of no terms: NumPy leaves its own zero there.
        return out if all(x.size for x in arrays) else self.zeros(out.shape)

    def solve(self, a: Any, b: Any) -> np.ndarray:
        a, b = self.asarray(a), self.asarray(b)
        columns = b[:, None] if b.ndim == 1 else b
        batch = np.broadcast_shapes(a.shape[:-2], columns.shape[:-2])
        a = np.broadcast_to(a, batch + a.shape[-2:])
        columns = np.broadcast_to(columns, batch + columns.shape[-2:])
        out = np.empty(columns.shape, dtype=object)
        for at in np.ndindex(batch):
            out[at] = self.eliminated(a[at], columns[at])[0]
        return out[..., 0] if b.ndim == 1 else out

    def inv(self, x: Any) -> np.ndarray:
        array = self.asarray(x)
        return self.solve(array, np.broadcast_to(self.eye(array.shape[-1]), array.shape))

    def det(self, x: Any) -> np.ndarray:
        array = self.asarray(x)
        out = np.empty(array.shape[:-2], dtype=object)
        for at in np.ndindex(out.shape):
            out[at] = self.eliminated(array[at], self.zeros((array.shape[-1], 0)))[1]
        return out

    def eliminated(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
        """(a⁻¹ b, det a) by Gaussian elimination with partial pivoting (Golub & Van Loan, §3.4)."""
        a, b = a.copy(), b.copy()
        n = a.shape[0]
        det = self.scalar(1)
        for k in range(n):
            pivot = max(range(k, n), key=lambda i: self.magnitude(a[i, k]))
            if self.magnitude(a[pivot, k]) == 0:
                b[...] = self.scalar(math.nan)  # no solution
                return b, self.scalar(0)
            if pivot != k:
                a[[k, pivot]], b[[k, pivot]] = a[[pivot, k]], b[[pivot, k]]
                det = -det
            det = det * a[k, k]
            for i in range(k + 1, n):
                factor = a[i, k] / a[k, k]
                a[i, k:] = a[i, k:] - factor * a[k, k:]
                b[i] = b[i] - factor * b[k]
        for k in range(n - 1, -1, -1):
            for j in range(k + 1, n):
                b[k] = b[k] - a[k, j] * b[j]
            b[k] = b[k] / a[k, k]
        return b, det

    def magnitude(self, x: Any) -> float:
        """|x| as a float, for choosing pivots only."""
        return abs(float(x))

    def cholesky(self, x: Any) -> np.ndarray:
        """The lower factor, row by row (Golub & Van Loan, §4.2.5)."""
        x = self.asarray(x)
        x = (x + self.matrix_transpose(x)) / 2
        out = self.zeros(x.shape)
        for at in np.ndindex(x.shape[:-2]):
            a, l = x[at], out[at]
            for i in range(a.shape[0]):
                for j in range(i + 1):
                    s = a[i, j]
                    for k in range(j):
                        s = s - l[i, k] * l[j, k]
                    l[i, j] = self.functions["sqrt"](s) if i == j else s / l[j, j]
        return out

    def solve_triangular(self, a: Any, b: Any, upper: bool = False, unit_diagonal: bool = False) -> np.ndarray:
        return super().solve_triangular(self.asarray(a), self.asarray(b), upper, unit_diagonal)
