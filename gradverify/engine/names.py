"""Where PyTorch's names meet the op table: the functions and methods that need no translation, by list.

The one idea: everything here is data. `install` turns the lists into functions of the module and methods of Tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import OPS
from . import complexes, dtypes, functions
from .dispatch import apply, apply_one, apply_two, quiet
from .rules import rule
from .tensor import Tensor, wrap
from .views import check_overlap, overwrite, write

# PyTorch's name -> the op's, where one tensor goes in (or two), and PyTorch and the table agree on the rest.
ALIASES: dict[str, str] = {
    "neg": "negative", "negative": "negative", "absolute": "abs",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "arctan2": "atan2", "subtract": "subtract", "multiply": "multiply", "divide": "divide", "true_divide": "divide",
    "expit": "sigmoid", "logsigmoid": "log_sigmoid",
}  # fmt: skip

COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "not_equal": "not_equal", "less": "less", "less_equal": "less_equal", "greater": "greater",
    "greater_equal": "greater_equal",
}  # fmt: skip

# Ops that keep their own name, one or two tensors in, no parameters.
SAME = (
    "abs sign square sqrt reciprocal rsqrt exp exp2 expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh "
    "asinh acosh atanh erf erfc erfinv lgamma digamma sigmoid floor ceil round trunc logit atan2 hypot logaddexp "
    "logaddexp2 xlogy xlog1py maximum minimum fmod relu trace i0 i1 sinc "
    "logical_and logical_or logical_not isfinite"
).split()

# Not differentiated: NumPy's own function does.
PLAIN = "isnan isinf logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not".split()

FUNCTIONS = (
    "add sub rsub mul div floor_divide remainder lerp pow matmul mm bmm mv dot addmm addcmul "
    "addcdiv outer einsum tensordot clamp where isclose allclose equal sum mean prod max min amax amin argmax "
    "argmin var std norm logsumexp cumsum cumprod any all sort argsort topk median reshape flatten unflatten "
    "permute transpose t movedim unsqueeze squeeze broadcast_to broadcast_tensors cat stack hstack vstack unbind "
    "split chunk narrow select flip roll tril triu diagonal diag tile repeat_interleave meshgrid index_select "
    "gather take_along_dim scatter_add index_add masked_fill masked_select nonzero inverse det cholesky "
    "matrix_power clone detach is_tensor numel"
).split()

MORE_FUNCTIONS = {"concat": "cat", "clip": "clamp", "swapaxes": "transpose", "moveaxis": "movedim", "ger": "outer"}

METHODS_ONLY = (
    "view view_as reshape_as expand expand_as repeat contiguous to type_as copy_ zero_ fill_ masked_fill_ detach_"
).split()

NOT_METHODS = set(
    "einsum tensordot broadcast_tensors cat stack hstack vstack meshgrid is_tensor concat tile_ where_ numel".split()
)

# name -> function of (tensor, ...) whose result is written back: x.add_(y)
IN_PLACE = (
    "add sub mul div lerp pow neg abs exp log sqrt rsqrt sin cos tan tanh sigmoid relu square reciprocal floor "
    "ceil round trunc clamp expm1 log1p exp2 log2 log10 erf asin acos atan sinh cosh remainder addcmul addcdiv index_add "
    "scatter_add tril triu cumsum cumprod clip floor_divide fmod"
).split()

# Where no recording is needed, an in-place op is NumPy's own with out=.
OUT = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide}

CASTS = "half float double int long short bool cfloat cdouble bfloat16".split()


def functions_by_name() -> dict[str, Callable[..., Any]]:
    """Every function of the module `torch` that runs an op, under PyTorch's names."""
    table: dict[str, Callable[..., Any]] = {}
    for name in SAME:
        if name in OPS:
            table[name] = _direct(name, name)
    for name, op in (ALIASES | COMPARISONS).items():
        if op in OPS:
            table[name] = _direct(name, op)
    for name in PLAIN:
        table[name] = _plain(name)
    table |= {name: getattr(functions, name) for name in FUNCTIONS}
    table |= {name: getattr(functions, f) for name, f in MORE_FUNCTIONS.items()}
    table |= {name: getattr(complexes, name) for name in complexes.__all__}
    return table


def _direct(name: str, op: str) -> Callable[..., Any]:
    r, spec = rule(op), OPS[op]
    if spec.arity == 1 and spec.result == "float" and not spec.composite:

        def one(input: Tensor) -> Any:
            return apply_one(r, input)

        call: Callable[..., Any] = one
    elif spec.arity == 1:
        call = lambda input: apply(r, (input,))
    else:

        def two(input: Any, other: Any) -> Any:
            return apply(r, (input, other))

        call = two
    call.__name__ = call.__qualname__ = name
    call.__doc__ = spec.doc
    return call


def _plain(name: str) -> Callable[..., Any]:
    kernel = getattr(np, name)

    def call(*args: Any) -> Any:
        return wrap(kernel(*(a._data if isinstance(a, Tensor) else a for a in args)))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Elementwise {name}; not differentiable."
    return call


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
                overwritable(self)
                quiet.run(kernel, data, other, data)
                self._cell()[0] += 1
                return self
        return write(self, lambda x: function(x, *args, **kwargs))

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"`{name}`, written into the tensor's own memory."
    return method


def overwritable(x: Tensor) -> None:
    from .views import _check_writable

    _check_writable(x)


def _recording(x: Tensor, other: Any) -> bool:
    from .modes import state

    return state.enabled and (x.requires_grad or (isinstance(other, Tensor) and other.requires_grad))


def _to(name: str) -> Callable[..., Any]:
    def method(self: Tensor) -> Tensor:
        return functions.to(self, dtypes.DTYPES[name])

    method.__name__ = method.__qualname__ = name
    return method


_NUMBER = (int, float, complex, np.generic)


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

    def method(self: Tensor, other: Any) -> Any:
        if isinstance(other, Tensor) or type(other) is float or type(other) is int:
            return apply_two(r, other, self) if reverse else apply_two(r, self, other)
        return slow(self, other)

    slow = _operator(lambda a, b: apply(r, (a, b)), reverse)
    return method


def install(table: dict[str, Callable[..., Any]]) -> None:
    """Give Tensor its operators and methods."""
    methods: dict[str, Any] = {n: f for n, f in table.items() if n not in NOT_METHODS and n not in complexes.__all__}
    methods |= {n: getattr(functions, n) for n in METHODS_ONLY}
    methods |= {
        "type": functions.type_,
        "cpu": lambda self: functions.to(self, "cpu"),
        "cuda": _cuda,
        "new_zeros": _new(np.zeros),
        "new_ones": _new(np.ones),
    }
    methods |= {n: _to(n) for n in CASTS if n in dtypes.DTYPES}
    for name in IN_PLACE:
        if name in table:
            methods[f"{name}_"] = _in_place(name, table[name])
    for name, op in (
        ("__add__", "add"), ("__sub__", "subtract"), ("__mul__", "multiply"), ("__truediv__", "divide"),
    ):  # fmt: skip
        methods[name] = _arithmetic(op)
    f = functions
    methods |= {
        "__radd__": _arithmetic("add", True), "__rmul__": _arithmetic("multiply", True),
        "__rsub__": _operator(f.sub, True),
        "__rtruediv__": _operator(lambda a, b: f.mul(table["reciprocal"](b), a), True),
        "__pow__": _operator(f.pow), "__rpow__": _operator(f.pow, True),
        "__matmul__": _operator(f.matmul), "__rmatmul__": _operator(f.matmul, True),
        "__floordiv__": _operator(f.floor_divide), "__rfloordiv__": _operator(f.floor_divide, True),
        "__mod__": _operator(f.remainder),
        "__neg__": table["neg"], "__pos__": lambda self: self, "__abs__": table["abs"],
        "__getitem__": f.getitem, "__setitem__": f.setitem,
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
        "T": lambda self: functions.permute(self, tuple(reversed(range(self._data.ndim)))),
        "mT": lambda self: functions.transpose(self, -2, -1),
    }.items():
        setattr(Tensor, name, property(getter))
    complexes.install(table)


def _cuda(self: Tensor, device: int | None = None) -> Tensor:
    return functions.to(self, dtypes.device("cuda", device))


def _new(make: Any) -> Callable[..., Tensor]:
    def method(self: Tensor, *size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
        kind = self._data.dtype if dtype is None else dtype.numpy
        return wrap(make(functions.sizes_of(size), kind)).requires_grad_(requires_grad)

    return method


__all__ = ["functions_by_name", "install", "overwrite"]
