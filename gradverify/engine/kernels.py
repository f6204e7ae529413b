"""The forward kernels: the vocabulary of the op table over NumPy (or CuPy) arrays, silent where PyTorch is."""

from __future__ import annotations

import contextvars
import operator
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..namespaces.numpy import NumpyNamespace, native_index
from ..ops.neural import convolve2d, max_pool2d, patch_indices
from . import wirtinger
from .local_ops import LOCAL


def _counting(x: Any) -> Any:
    """PyTorch adds up bools and integers of any size in int64, NumPy unsigned ones in uint64."""
    return np.int64 if x.dtype.kind in "biu" else None


class Kernels(NumpyNamespace):
    """The forward kernels, where PyTorch's result differs from NumPy's in memory rather than in value.

    The operators are Python's: on NumPy's 0-d scalars they are several times faster than the ufunc itself.
    """

    add = staticmethod(operator.add)
    subtract = staticmethod(operator.sub)
    multiply = staticmethod(operator.mul)
    divide = staticmethod(operator.truediv)
    negative = staticmethod(operator.neg)

    @staticmethod
    def square(x: Any) -> Any:
        return x * x

    def __getattr__(self, name: str) -> Any:
        if name in LOCAL:
            return partial(LOCAL[name].define, self)
        plain = super().__getattr__(name)
        if name not in wirtinger.FORMS:
            return plain
        form = partial(wirtinger.FORMS[name].spec.define, self)
        return lambda x, *rest, **params: (form if x.dtype.kind == "c" else plain)(x, *rest, **params)

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.sum(x, axis=axis, keepdims=keepdims, dtype=_counting(x))

    def prod(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.prod(x, axis=axis, keepdims=keepdims, dtype=_counting(x))

    def flip(self, x: Any, axis: Any = None) -> Any:
        return super().flip(x, axis).copy()  # a copy in PyTorch, a view in NumPy

    def getitem(self, x: Any, index: Any) -> Any:
        at = native_index(index)
        return x[at] if Ellipsis in at else x[(*at, Ellipsis)]  # the Ellipsis keeps a 0-d result a view

    def im2col(self, x: Any, kernel: Any, stride: Any = (1, 1), dilation: Any = (1, 1)) -> Any:
        """The definition's patches, laid out in memory as the matrix that a convolution multiplies: no copy there."""
        _, c, h, w = x.shape
        places = patch_indices(h, w, kernel, stride, dilation)
        images = self.module.ascontiguousarray(x.transpose(1, 2, 3, 0))
        out: Any = None
        for k, (_, rows, columns) in enumerate(map(native_index, places)):
            part = images[:, rows, columns]
            if out is None:
                out = self.module.empty((c, len(places), *part.shape[1:]), x.dtype)
            out[:, k] = part
        return out.transpose(4, 0, 1, 2, 3)

    def conv2d(self, x: Any, w: Any, **params: Any) -> Any:
        """The definition's entries, in PyTorch's order in memory."""
        return self.module.ascontiguousarray(convolve2d(self, x, w, **params))

    def col2im(self, x: Any, size: Any, kernel: Any, stride: Any = (1, 1), dilation: Any = (1, 1)) -> Any:
        """The definition's sum of patches, added up in the layout that `im2col` makes."""
        n, c = x.shape[:2]
        out = self.zeros((c, *size, n), like=x)
        places = patch_indices(size[0], size[1], kernel, stride, dilation)
        for k, (_, rows, columns) in enumerate(map(native_index, places)):
            out[:, rows, columns] += x[:, :, k].transpose(1, 2, 3, 0)
        return self.module.ascontiguousarray(out.transpose(3, 0, 1, 2))

    def max_pool2d(self, x: Any, **params: Any) -> Any:
        """The definition's entries, in PyTorch's order in memory."""
        return self.module.ascontiguousarray(max_pool2d(self, x, **params))


_add_up: Callable[..., Any] = np.add.reduce
_largest: Callable[..., Any] = np.maximum.reduce
_smallest: Callable[..., Any] = np.minimum.reduce
SHORT, SMALL = 32, 4096
BITS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


class NumpyKernels(Kernels):
    """By the methods of arrays and ufuncs, which NumPy's functions of these names call in the end: 1 us rather than 4."""

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return _add_up(x, axis, _counting(x), None, keepdims)

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return _largest(x, axis, None, None, keepdims)

    def min(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return _smallest(x, axis, None, None, keepdims)

    def argmax(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        """The first of the largest: along a short axis in a pass per entry, as NumPy's goes by a branch per entry."""
        if axis is None or not 0 < x.shape[axis] <= SHORT or x.size < SMALL:
            return super().argmax(x, axis, keepdims)
        best, nowhere = np.maximum.reduce(x, axis), 127
        at = np.full(best.shape, nowhere, np.int8)
        for k, entry in enumerate(np.moveaxis(x, axis, 0)):
            np.minimum(at, nowhere - (entry == best).view(np.int8) * np.int8(nowhere - k), out=at)
        if (at == nowhere).any():  # where the largest is NaN
            return super().argmax(x, axis, keepdims)
        return (np.expand_dims(at, axis) if keepdims else at).astype(np.int64)

    def where(self, mask: Any, x: Any, y: Any) -> Any:
        """By the bits of x and y: NumPy's goes by a branch per entry, of which the processor guesses half wrongly."""
        bits = BITS.get(getattr(x, "dtype", None))
        if bits is None or x.dtype != getattr(y, "dtype", None) or max(x.size, y.size) < SMALL or mask.dtype != bool:
            return super().where(mask, x, y)
        of_x, of_y = np.asarray(x).view(bits), np.asarray(y).view(bits)
        out = of_x ^ of_y
        if mask.shape != out.shape[out.ndim - mask.ndim :]:  # a mask that would stretch what it selects from
            return super().where(mask, x, y)
        out &= -mask.view(np.int8).astype(bits)  # all bits, or none
        out ^= of_y
        return out.view(x.dtype)

    def reshape(self, x: Any, shape: Any) -> Any:
        return x.reshape(shape)

    def permute_dims(self, x: Any, axes: Any) -> Any:
        return x.transpose(axes)

    def matrix_transpose(self, x: Any) -> Any:
        return x.swapaxes(-1, -2)

    def broadcast_to(self, x: Any, shape: Any) -> Any:
        if x.size != 1 or x.ndim > len(shape):
            return super().broadcast_to(x, shape)
        out: np.ndarray = np.ndarray(shape, x.dtype, np.asarray(x).reshape(()), 0, (0,) * len(shape))
        out.flags.writeable = False
        return out


KERNELS = NumpyKernels()


BLOCK = 32768


def by_blocks(text: Callable[..., Any], first: int) -> Callable[..., Any]:
    """An elementwise text of several passes, which runs over large arrays block by block.

    What it makes on its way then stays in the cache; whole arrays would be new memory from the system for each pass.

    first  the arrays among the arguments start here; one of them may be None
    """

    def run(*args: Any, **params: Any) -> Any:
        arrays, x = args[first:], args[-1]
        if type(x) is not np.ndarray or x.size < 2 * BLOCK or x.dtype.kind != "f":
            return text(*args, **params)
        if any(a is not None and not (a.shape == x.shape and a.flags.c_contiguous) for a in arrays):
            return text(*args, **params)
        out, flat = np.empty(x.size, x.dtype), [None if a is None else a.reshape(-1) for a in arrays]
        for k in range(0, x.size, BLOCK):
            block = slice(k, k + BLOCK)
            out[block] = text(*args[:first], *(None if a is None else a[block] for a in flat), **params)
        return out.reshape(x.shape)

    return run


class _Device:
    """Holds the kernels over CuPy; None until there is a tensor on a GPU, so that a run without one does not look."""

    def __init__(self) -> None:
        self.kernels: Kernels | None = None


gpu = _Device()


def kernels_for(*raws: Any) -> Kernels:
    """The kernels over NumPy, or over CuPy if one of the arrays lies on a GPU."""
    on_gpu = (hasattr(r, "device") and not isinstance(r, np.ndarray | np.generic) for r in raws)
    if gpu.kernels is not None and any(on_gpu):
        return gpu.kernels
    return KERNELS


class _Quiet(threading.local):
    """NumPy warns where PyTorch is silent (log(0), overflow). Its error state lives in a context variable, so a context
    that has it switched off runs a kernel silently for some 15 ns, where `np.errstate` would take 900."""

    def __init__(self) -> None:
        context = contextvars.copy_context()
        context.run(lambda: np.seterr(all="ignore"))
        self.run: Callable[..., Any] = context.run


quiet = _Quiet()
