"""Tensor's operators and methods.

The one idea: everything here is data. `install` turns lists of names into methods of Tensor; an in-place method is the
function, written into the tensor's own memory.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.gradients import backward
from ..dispatch import apply
from ..fast import binary
from ..kernels import quiet
from ..modes import state
from ..op_facts import FACTS
from ..printing import text
from ..rules import rule
from ..tensor import Size, Tensor, wrap
from ..views import check_overlap, check_writable, write
from . import complex_numbers, conversion, drawing, elementwise, indexing, linalg, shape, strided, writing
from .call import sizes_of, with_other_keywords
from .creation import bernoulli, tensor

METHODS_ONLY: dict[ModuleType, str] = {
    shape: "view view_as reshape_as expand expand_as repeat",
    conversion: "contiguous to type_as detach_",
    writing: "copy_ zero_ fill_ masked_fill_",
    drawing: " ".join(drawing.__all__),
}
"""Functions that are methods of Tensor only, by family."""

NOT_METHODS = set(
    "var_mean std_mean einsum tensordot broadcast_tensors cat stack hstack vstack meshgrid is_tensor concat numel "
    "atleast_1d atleast_2d atleast_3d block_diag bucketize cdist column_stack dstack searchsorted empty_strided trapezoid "
    "trapz".split()
)

IN_PLACE = [name for facts in FACTS.values() for name in facts.in_place.split()] + [
    "addcdiv", "floor_divide", "clamp_min", "clamp_max", "fmod", "frac", "copysign", "nan_to_num", "index_fill",
    "index_copy", "scatter", "masked_scatter", "baddbmm", "addmv", "addmm", "deg2rad", "rad2deg",
]  # fmt: skip
"""Functions of (tensor, ...) whose result is also written back: `x.add_(y)`. The last ones are no ops of the table."""

# Where no recording is needed, an in-place op is NumPy's own with out=.
OUT = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide}

CASTS = "half float double int long short bool cfloat cdouble bfloat16".split()


def _in_place(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    kernel = OUT.get(name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        for a in args:
            check_overlap(self, a)
        if kernel is not None and len(args) == 1 and not kwargs and not _recording(self, args[0]):
            other = args[0]._data if isinstance(args[0], Tensor) else args[0]
            data = self._data
            if type(data) is np.ndarray and data.flags.writeable and (
                getattr(other, "dtype", data.dtype) == data.dtype and not isinstance(other, complex)
            ) and data.dtype.kind == "f" and getattr(other, "shape", ()) in ((), data.shape):  # fmt: skip
                check_writable(self)
                if state.before_write is not None:
                    state.before_write(self)
                quiet.run(kernel, data, other, data)
                self._cell()[0] += 1
                return self
        return write(self, lambda x: function(x, *args, **kwargs))

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"`{name}`, written into the tensor's own memory."
    return method


def _recording(x: Tensor, other: Any) -> bool:
    if state.duals:  # in forward mode the tangents are written as well
        return True
    return state.enabled and (x.requires_grad or (isinstance(other, Tensor) and other.requires_grad))


def _to(name: str) -> Callable[..., Any]:
    def method(self: Tensor) -> Tensor:
        return conversion.to(self, dtypes.DTYPES[name])

    method.__name__ = method.__qualname__ = name
    return method


_NUMBER = (int, float, complex, np.generic)
_OPERANDS = {Tensor, float, int}


def _operator(function: Callable[..., Any], reverse: bool = False) -> Callable[..., Any]:
    """A binary operator: NotImplemented for what it does not know, so that the other operand has its turn."""

    def method(self: Tensor, other: Any) -> Any:
        if isinstance(other, Tensor):
            return function(self, other)
        if isinstance(other, _NUMBER):
            other = other.item() if isinstance(other, np.generic) else other
        elif isinstance(other, np.ndarray):
            other = wrap(other)
        else:
            return NotImplemented
        return function(other, self) if reverse else function(self, other)

    return method


def _arithmetic(op: str, reverse: bool = False) -> Callable[..., Any]:
    """The operators that everyone uses most, without a detour."""
    r = rule(op)
    run = binary(r)

    def method(self: Tensor, other: Any) -> Any:
        if type(other) in _OPERANDS or isinstance(other, Tensor):
            return run(other, self) if reverse else run(self, other)
        return slow(self, other)

    slow = _operator(lambda a, b: apply(r, (a, b)), reverse)
    return method


def install(table: dict[str, Callable[..., Any]]) -> None:
    """Give Tensor its operators and methods."""
    methods: dict[str, Any] = {
        n: f for n, f in table.items() if n not in NOT_METHODS and n not in complex_numbers.__all__
    }
    methods |= {
        n: with_other_keywords(getattr(family, n)) for family, names in METHODS_ONLY.items() for n in names.split()
    }
    methods |= strided.METHODS
    methods |= {
        "type": conversion.type_,
        "cpu": lambda self: conversion.to(self, "cpu"),
        "cuda": _cuda,
        "new": _new_by_kind,
        "bernoulli": bernoulli,
        "unsafe_chunk": _writable(table["chunk"]),
        "unsafe_split": _writable(table["split"]),
        "unsafe_split_with_sizes": _writable(table["split"]),
        "new_zeros": _new(np.zeros),
        "new_ones": _new(np.ones),
        "new_empty": _new(np.empty),
        "new_full": _new_full,
        "new_tensor": _new_tensor,
        "backward": _backward,
        "__repr__": text,
    }
    methods |= {n: _to(n) for n in CASTS if n in dtypes.DTYPES}
    for name in IN_PLACE:
        if name in table:
            methods[f"{name}_"] = _in_place(name, table[name])
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        methods[f"{name}_"] = _compare_in_place(name, table[name])
    for name, op in (
        ("__add__", "add"), ("__sub__", "subtract"), ("__mul__", "multiply"), ("__truediv__", "divide"),
    ):  # fmt: skip
        methods[name] = _arithmetic(op)
    methods |= {
        "__radd__": _arithmetic("add", True), "__rmul__": _arithmetic("multiply", True),
        "__rsub__": _operator(elementwise.sub, True),
        "__rtruediv__": _operator(lambda a, b: elementwise.mul(table["reciprocal"](b), a), True),
        "__pow__": _operator(elementwise.pow), "__rpow__": _operator(elementwise.pow, True),
        "__matmul__": _operator(linalg.matmul), "__rmatmul__": _operator(linalg.matmul, True),
        "__floordiv__": _operator(elementwise.floor_divide), "__rfloordiv__": _operator(elementwise.floor_divide, True),
        "__mod__": _operator(elementwise.remainder),
        "__neg__": table["neg"], "__pos__": lambda self: self, "__abs__": table["abs"],
        "__getitem__": indexing.getitem, "__setitem__": writing.setitem,
        "__invert__": lambda self: wrap(np.invert(self._data)),
    }  # fmt: skip
    for name, op in (
        ("__eq__", "eq"), ("__ne__", "ne"), ("__lt__", "lt"), ("__le__", "le"), ("__gt__", "gt"), ("__ge__", "ge"),
    ):  # fmt: skip
        methods[name] = _operator(table[op])
    for name, op in (("__and__", "bitwise_and"), ("__or__", "bitwise_or"), ("__xor__", "bitwise_xor")):
        methods[name] = _operator(table[op])
    for name, op in (
        ("__iadd__", "add_"), ("__isub__", "sub_"), ("__imul__", "mul_"), ("__itruediv__", "div_"), ("__ipow__", "pow_"),
    ):  # fmt: skip
        methods[name] = methods[op]
    for name, method in methods.items():
        if method is not None:
            setattr(Tensor, name, method)
    for name, getter in {
        "T": lambda self: shape.permute(self, tuple(reversed(range(self._data.ndim)))),
        "mT": lambda self: shape.transpose(self, -2, -1),
    }.items():
        setattr(Tensor, name, property(getter))
    complex_numbers.install(table)


def _backward(
    self: Tensor,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradient of this tensor to the `.grad` of every leaf that it was computed from."""
    backward(self, gradient, retain_graph, create_graph, inputs=inputs)


_backward.__name__ = _backward.__qualname__ = "backward"


def _compare_in_place(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The truth values as numbers of the tensor's dtype. The gradient is 0: no small change of an entry changes them."""

    def method(self: Tensor, other: Any) -> Tensor:
        def compared(x: Tensor) -> Tensor:
            found = wrap(function(x, other)._data.astype(x._data.dtype))
            return apply(rule("where"), (wrap(np.ones(x._data.shape, bool)), found, x))

        return write(self, compared)

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"`{name}`, written into the tensor's own memory."
    return method


def _writable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of several views that may be written to: they are said not to overlap, and are taken for no views."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        parts = function(self, *args, **kwargs)
        for part in parts:
            part._view = part._version_cell = None
        return parts

    return method


def _new_by_kind(self: Tensor, *args: Any) -> Tensor:
    """`x.new(2, 3)` is uninitialised, `x.new([1, 2])` holds the data; of the dtype of x. From before `new_empty`."""
    if len(args) == 1 and not isinstance(args[0], int | Size):
        return wrap(np.array(args[0]._data if isinstance(args[0], Tensor) else args[0], dtype=self._data.dtype))
    return wrap(np.zeros(sizes_of(args) if args else (0,), self._data.dtype))


def _cuda(self: Tensor, device: int | None = None) -> Tensor:
    return conversion.to(self, dtypes.device("cuda", device))


def _new(make: Any) -> Callable[..., Tensor]:
    def method(self: Tensor, *size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
        kind = self._data.dtype if dtype is None else dtype.numpy
        return wrap(make(sizes_of(size), kind)).requires_grad_(requires_grad)

    return method


def _new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    kind = self._data.dtype if dtype is None else dtype.numpy
    return wrap(np.full(sizes_of((size,)), fill_value, kind)).requires_grad_(requires_grad)


def _new_tensor(self: Tensor, data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    made = tensor(data, dtype=dtypes.OF_NUMPY[self._data.dtype] if dtype is None else dtype)
    return made.requires_grad_(requires_grad)
