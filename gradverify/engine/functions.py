"""PyTorch's functions: its names and signatures over the op table.

The one idea: a function here only translates a call (`dim` to `axis`, `unsqueeze` to `expand_dims`); what is computed and
how it is differentiated stands in the op table. Ops that take arguments as the table does (exp, maximum, ...) need no
function at all: `names` lists them.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import dtypes
from .dispatch import apply, apply_two, cast, quiet
from .modes import state
from .namespace import ENGINE
from .rules import KERNELS, rule
from .tape import Node, named
from .tensor import Size, Tensor, wrap
from .views import check_overlap, overwrite, same_place, write
from .wirtinger import refusal

Dim = int | Sequence[int] | None


def run(op: str, *args: Any, **params: Any) -> Any:
    """An op of the table on tensors; parameters by keyword, the op's defaults filled in."""
    r = rule(op)
    return apply(r, args, r.params | params if r.params else params)


def run_as(node_name: str, op: str, *args: Any, **params: Any) -> Any:
    """The same, where PyTorch calls the backward node something else here."""
    r = rule(op, node_name)
    return apply(r, args, r.params | params if r.params else params)


def _axis(dim: Dim) -> Any:
    return tuple(dim) if isinstance(dim, list | tuple) else dim


def _axis_or_all(dim: Dim) -> Any:
    """PyTorch takes dim=() as all."""
    return None if isinstance(dim, list | tuple) and not dim else _axis(dim)


def normal_dim(dim: int, ndim: int) -> int:
    n = builtins.max(ndim, 1)
    if not isinstance(dim, int):
        raise TypeError(f"dim must be an int, not {type(dim).__name__}")
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n


def sizes_of(sizes: Any) -> tuple[int, ...]:
    """`f(2, 3)`, `f((2, 3))` and `f(torch.Size([2, 3]))` alike."""
    if len(sizes) == 1 and isinstance(sizes[0], list | tuple):
        sizes = sizes[0]
    return tuple(int(n) for n in sizes)


def _tensor(x: Any, like: Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else wrap(np.asarray(x, dtype=dtypes.result_type([like._data, x])))


def _result_dtype(x: Tensor, dtype: Any) -> Tensor:
    return x if dtype is None or x._data.dtype == dtype.numpy else cast(x, dtype.numpy)


# ---- arithmetic -----------------------------------------------------------------------------------------------------


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    return apply_two(_ADD, input, other if alpha == 1 else mul(other, alpha))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    _no_bool_minus(input, other)
    return apply_two(_SUB, input, other if alpha == 1 else mul(other, alpha))


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    return sub(other, input if alpha == 1 else mul(input, alpha))


def mul(input: Any, other: Any) -> Tensor:
    return apply_two(_MUL, input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    if rounding_mode is None:
        return apply_two(_DIV, input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return run("trunc", apply_two(_DIV, input, other))
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def floor_divide(input: Any, other: Any) -> Tensor:
    a, b = _raw(input), _raw(other)
    to = dtypes.result_type([a, b])
    if to.kind == "c":
        raise refusal("floor_divide", to)
    return wrap(quiet.run(np.floor_divide, np.asarray(a, to), np.asarray(b, to)))


def remainder(input: Any, other: Any) -> Tensor:
    """input - floor(input / other) * other, with the sign of `other`."""
    to = dtypes.result_type([_raw(input), _raw(other)])
    if dtypes.CATEGORY[to] < dtypes.FLOAT:
        return wrap(quiet.run(np.remainder, *(np.asarray(_raw(x), to) for x in (input, other))))
    return run("remainder", input, other)


def pow(input: Any, exponent: Any) -> Tensor:
    whole = isinstance(input, Tensor) and input._data.dtype.kind in "iu"
    if whole and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return apply(_POW, (input, exponent))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    if not input._data.ndim or not other._data.ndim:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {input._data.ndim}D and {other._data.ndim}D"
        )
    if input._data.dtype is not other._data.dtype and input._data.dtype != other._data.dtype:
        names = [_CPP_NAMES.get(t.dtype.name, t.dtype.name) for t in (input, other)]
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {names[0]} != {names[1]}")
    return apply(_MATMUL, (input, other))


_CPP_NAMES = {"float32": "float", "float64": "double", "complex64": "c10::complex<float>",
              "complex128": "c10::complex<double>"}  # fmt: skip


def _ordered(name: str, *tensors: Any) -> None:
    """Complex numbers have no order; NumPy would take one all the same."""
    for x in tensors:
        if isinstance(x, Tensor) and x._data.dtype.kind == "c":
            raise refusal(name, x._data.dtype)


def _ranked_matmul(name: str, ranks: tuple[int, int], node: str | None = None) -> Any:
    def product(input: Tensor, other: Tensor) -> Tensor:
        for which, x, n in ("self", input, ranks[0]), ("mat2", other, ranks[1]):
            if x._data.ndim != n:
                raise RuntimeError(f"{name}: {which} must be a {n}-D tensor, but got {x._data.ndim}-D")
        return matmul(input, other) if node is None else run_as(node, "matmul", input, other)

    product.__name__ = product.__qualname__ = name
    product.__doc__ = f"matmul of a {ranks[0]}-D and a {ranks[1]}-D tensor; no broadcasting."
    return product


mm = _ranked_matmul("mm", (2, 2))
bmm = _ranked_matmul("bmm", (3, 3), "BmmBackward0")
mv = _ranked_matmul("mv", (2, 1))


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    for x in (input, tensor):
        if x._data.ndim != 1:
            raise RuntimeError(f"1D tensors expected, but got {input._data.ndim}D and {tensor._data.ndim}D tensors")
    return matmul(input, tensor)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    product = mm(mat1, mat2) if alpha == 1 else mul(mm(mat1, mat2), alpha)
    return run_as("AddmmBackward0", "add", input if beta == 1 else mul(input, beta), product)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    return run("addcmul", input, tensor1, tensor2, value=float(value))


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    return add(input, mul(div(tensor1, tensor2), value))


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight (end - input)."""
    return run("lerp", input, end, weight)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    return run("outer", input, vec2)


def einsum(equation: str, *operands: Any) -> Tensor:
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    return ENGINE.einsum(equation.replace(" ", ""), *operands)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    if isinstance(dims, int):
        dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
    left, right = ([normal_dim(d, x.ndim) for d in ds] for x, ds in zip((a, b), dims))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    names_a = [next(letters) for _ in range(a.ndim)]
    names_b = [names_a[left[right.index(k)]] if k in right else next(letters) for k in range(b.ndim)]
    out = [n for k, n in enumerate(names_a) if k not in left] + [n for k, n in enumerate(names_b) if k not in right]
    return einsum(f"{''.join(names_a)},{''.join(names_b)}->{''.join(out)}", a, b)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        out = input if min is None else run_as("ClampBackward0", "maximum", input, min)
        return out if max is None else run_as("ClampBackward0", "minimum", out, max)
    if input.dtype.category < dtypes.FLOAT:
        return wrap(np.clip(input._data, min, max))
    bounds = {k: v if v is None else float(v) for k, v in (("min", min), ("max", max))}
    return run("clip", input, **bounds)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    if input is None:
        return nonzero(condition, as_tuple=True)
    return run("where", condition, input, other)


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    return wrap(np.isclose(input._data, _raw(other), rtol, atol, equal_nan))


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    return bool(np.allclose(input._data, _raw(other), rtol, atol, equal_nan))


def equal(input: Tensor, other: Tensor) -> bool:
    """Same shape and same values, as one bool (the elementwise comparison is `eq`)."""
    return input._data.shape == other._data.shape and bool((input._data == other._data).all())


# ---- reductions -----------------------------------------------------------------------------------------------------


def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None, axis: Dim = None) -> Tensor:
    return run("sum", _result_dtype(input, dtype), axis=_axis_or_all(axis if dim is None else dim), keepdims=keepdim)


def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None, axis: Dim = None) -> Tensor:
    x = _result_dtype(input, dtype)
    if x.dtype.category < dtypes.FLOAT:
        name = x.dtype.tensor_type.removesuffix("Tensor")
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {name}"
        )
    return run("mean", x, axis=_axis_or_all(axis if dim is None else dim), keepdims=keepdim)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return run("prod", _result_dtype(input, dtype), axis=dim, keepdims=keepdim)


class _Pair(tuple):
    """(values, indices), by name too."""

    def __new__(cls, values: Tensor, indices: Tensor, kind: str = "max") -> _Pair:
        out = tuple.__new__(cls, (values, indices))
        out.kind = kind
        return out

    kind: str
    values = property(lambda self: self[0])
    indices = property(lambda self: self[1])

    def __repr__(self) -> str:
        return f"torch.return_types.{self.kind}(\nvalues={self[0]!r},\nindices={self[1]!r})"


def _picked(name: str, node: str, input: Tensor, indices: Any, dim: int, keepdim: bool, kind: str) -> _Pair:
    """Entries chosen by index along a dim: only the chosen one gets the gradient."""
    if not input._data.ndim:
        return _Pair(run_as(node, "reshape", input, shape=()), wrap(np.asarray(indices)), kind)
    at = wrap(np.expand_dims(indices, dim))
    values = run_as(node, "take_along_axis", input, at, axis=dim)
    if keepdim:
        return _Pair(values, at, kind)
    shape = tuple(n for k, n in enumerate(input._data.shape) if k != dim % input._data.ndim)
    return _Pair(run_as(node, "reshape", values, shape=shape), wrap(np.asarray(indices)), kind)


def _extreme(name: str, op: str) -> Any:
    pick = "argmax" if op == "max" else "argmin"

    def extreme(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if isinstance(dim, Tensor) or other is not None:
            return run(f"{op}imum", input, dim if other is None else other)
        if dim is None:
            return run(op, input)
        _ordered(f"{op} along a dim", input)
        at = normal_dim(dim, input._data.ndim)
        if not input._data.ndim:
            return _picked(op, f"{op.capitalize()}Backward0", input, np.int64(0), 0, keepdim, op)
        return _picked(
            op, f"{op.capitalize()}Backward0", input, getattr(np, pick)(input._data, axis=at), at, keepdim, op
        )

    extreme.__name__ = extreme.__qualname__ = name
    extreme.__doc__ = f"The {name} of all; of each row along `dim` with its index; or of two tensors, entry by entry."
    return extreme


max = _extreme("max", "max")
min = _extreme("min", "min")


def amax(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    return run_as("AmaxBackward0", "max", input, axis=_axis_or_all(dim), keepdims=keepdim)


def amin(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    return run_as("AminBackward0", "min", input, axis=_axis_or_all(dim), keepdims=keepdim)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return run("argmax", input, axis=dim, keepdims=keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return run("argmin", input, axis=dim, keepdims=keepdim)


def _dispersion(name: str) -> Any:
    def dispersion(
        input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
    ) -> Tensor:
        if isinstance(dim, bool):  # var(x, False)
            dim, unbiased = None, dim
        if correction is None:
            correction = 1 if unbiased is None or unbiased else 0
        return run(name, input, axis=_axis_or_all(dim), keepdims=keepdim, correction=float(correction))

    dispersion.__name__ = dispersion.__qualname__ = name
    dispersion.__doc__ = f"The {name} over `dim`, divided by n - correction; correction=1 by default."
    return dispersion


var = _dispersion("var")
std = _dispersion("std")


def norm(input: Tensor, p: Any = 2.0, dim: Dim = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    order = 2.0 if p in (None, "fro") else float(p)
    return run("vector_norm", _result_dtype(input, dtype), axis=_axis_or_all(dim), keepdims=keepdim, ord=order)


def vector_norm(x: Tensor, ord: Any = 2, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return norm(x, ord, dim, keepdim, dtype)


def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    return run("logsumexp", input, axis=_axis_or_all(dim), keepdims=keepdim)


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    return run("cumulative_sum", _result_dtype(input, dtype), axis=normal_dim(dim, input._data.ndim))


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    return run("cumulative_prod", _result_dtype(input, dtype), axis=normal_dim(dim, input._data.ndim))


def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return wrap(np.any(input._data, axis=_axis(dim), keepdims=keepdim))


def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return wrap(np.all(input._data, axis=_axis(dim), keepdims=keepdim))


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> _Pair:
    order = argsort(input, dim, descending)
    if not input._data.ndim:
        return _Pair(clone(input), order, "sort")
    return _Pair(run_as("SortBackward0", "take_along_axis", input, order, axis=dim), order, "sort")


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    _ordered("argsort", input)
    if not input._data.ndim:
        return wrap(np.int64(0))
    data = input._data
    if not descending:
        return wrap(np.argsort(data, axis=dim, kind="stable"))
    # Descending and stable: sort the reversed array, and count from the other end.
    backwards = np.argsort(np.flip(data, dim), axis=dim, kind="stable")
    return wrap(np.flip(data.shape[dim] - 1 - backwards, dim).copy())


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> _Pair:
    _ordered("topk", input)
    order = argsort(input, dim, descending=largest)._data
    chosen = wrap(np.take(order, np.arange(k), axis=dim))
    return _Pair(run_as("TopkBackward0", "take_along_axis", input, chosen, axis=dim), chosen, "topk")


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median, as PyTorch's."""
    _ordered("median", input)
    if dim is None:
        flat = np.argsort(input._data, axis=None, kind="stable")[(input._data.size - 1) // 2]
        return run_as("MedianBackward0", "take", reshape(input, (-1,)), wrap(flat), axis=0)
    middle = np.take(np.argsort(input._data, axis=dim, kind="stable"), (input._data.shape[dim] - 1) // 2, axis=dim)
    return _picked("median", "MedianBackward0", input, middle, dim, keepdim, "median")


# ---- shape ----------------------------------------------------------------------------------------------------------


def reshape(input: Tensor, *shape: Any) -> Tensor:
    sizes = sizes_of(shape)
    name = "ViewBackward0" if input._array().flags.c_contiguous else "UnsafeViewBackward0"
    return _reshaped(name, input, sizes)


def _reshaped(name: str, input: Tensor, sizes: tuple[int, ...]) -> Tensor:
    size = input._data.size
    known = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if (known != size) if -1 not in sizes else (known == 0 or size % known):
        raise RuntimeError(f"shape '{list(sizes)}' is invalid for input of size {size}")
    if -1 in sizes:
        sizes = tuple(size // known if n == -1 else n for n in sizes)
    return run_as(name, "reshape", input, shape=sizes)


def view(input: Tensor, *shape: Any) -> Tensor:
    if len(shape) == 1 and isinstance(shape[0], dtypes.dtype):
        return wrap(input._array().view(shape[0].numpy))
    sizes = sizes_of(shape)
    out = _reshaped("ViewBackward0", input, sizes)
    if out._view is None and input._data.size and not np.may_share_memory(out._data, input._array()):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return out


def view_as(input: Tensor, other: Tensor) -> Tensor:
    return view(input, other.shape)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    return reshape(input, other.shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    if not input._data.ndim:
        return reshape(input, 1)
    a, b = normal_dim(start_dim, input._data.ndim), normal_dim(end_dim, input._data.ndim)
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if a == b:
        return input
    shape = input._data.shape
    return reshape(input, (*shape[:a], math.prod(shape[a : b + 1]), *shape[b + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    at = normal_dim(dim, input._data.ndim)
    shape = input._data.shape
    known = math.prod(n for n in sizes if n != -1)
    full = tuple(shape[at] // known if n == -1 else n for n in sizes)
    return view(input, (*shape[:at], *full, *shape[at + 1 :]))


def permute(input: Tensor, *dims: Any) -> Tensor:
    order = sizes_of(dims)
    if len(order) != input._data.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {input._data.ndim} is not equal to len(dims) = {len(order)}"
        )
    order = tuple(normal_dim(d, input._data.ndim) for d in order)
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return run("permute_dims", input, axes=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    n = input._data.ndim
    order = list(range(n))
    a, b = normal_dim(dim0, n), normal_dim(dim1, n)
    if n:
        order[a], order[b] = order[b], order[a]
    return run_as("TransposeBackward0", "permute_dims", input, axes=tuple(order))


def t(input: Tensor) -> Tensor:
    if input._data.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input._data.ndim}D")
    return run_as("TBackward0", "permute_dims", input, axes=tuple(reversed(range(input._data.ndim))))


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    n = input._data.ndim
    a, b = (([normal_dim(d, n) for d in ([x] if isinstance(x, int) else x)]) for x in (source, destination))
    rest = [d for d in range(n) if d not in a]
    for to, d in sorted(zip(b, a)):
        rest.insert(to, d)
    return permute(input, tuple(rest))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    return run("expand_dims", input, axis=normal_dim(dim, input._data.ndim + 1))


def squeeze(input: Tensor, dim: Dim = None) -> Tensor:
    shape = input._data.shape
    if dim is None:
        return run_as("SqueezeBackward0", "squeeze", input)
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    # PyTorch leaves a dim of another size alone.
    axes = tuple(d for d in (normal_dim(d, input._data.ndim) for d in dims) if shape and shape[d] == 1)
    return run_as("SqueezeBackward1" if isinstance(dim, int) else "SqueezeBackward2", "squeeze", input, axis=axes)


def expand(input: Tensor, *sizes: Any) -> Tensor:
    want = sizes_of(sizes)
    have = input._data.shape
    lead = len(want) - len(have)
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.{input.dtype.tensor_type}{{{list(have)}}}, size={list(want)}): the number of sizes provided "
            f"({len(want)}) must be greater or equal to the number of dimensions in the tensor ({len(have)})"
        )
    full = tuple(have[k - lead] if n == -1 else n for k, n in enumerate(want))
    for k, n in enumerate(full):
        if k >= lead and have[k - lead] not in (1, n):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have[k - lead]}) at non-singleton "
                f"dimension {k}.  Target sizes: {list(want)}.  Tensor sizes: {list(have)}"
            )
    if full == have:  # NumPy's broadcast views cannot be written to; this one can
        return run_as("ExpandBackward0", "reshape", input, shape=full)
    return run("broadcast_to", input, shape=full)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    return expand(input, other.shape)


def broadcast_to(input: Tensor, *size: Any) -> Tensor:
    return expand(input, *size)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    shape = np.broadcast_shapes(*(x._data.shape for x in tensors))
    return tuple(expand(x, shape) for x in tensors)


def _list(tensors: Any) -> list[Tensor]:
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("expected a non-empty list of Tensors")
    return tensors


def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    parts = _list(tensors)
    dim = dim if axis is None else axis
    if builtins.any(x._data.ndim == 0 for x in parts):
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    kept = [x for x in parts if x._data.shape != (0,)] or parts[:1]  # PyTorch skips the legacy empty tensor
    to = dtypes.result_type([x._data for x in kept])
    kept = [x if x._data.dtype == to else cast(x, to) for x in kept]
    return run("concat", *kept, axis=normal_dim(dim, kept[0]._data.ndim))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    parts = _list(tensors)
    for k, x in enumerate(parts):
        if x._data.shape != parts[0]._data.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(parts[0].shape)} at entry 0 and "
                f"{list(x.shape)} at entry {k}"
            )
    to = dtypes.result_type([x._data for x in parts])
    parts = [x if x._data.dtype == to else cast(x, to) for x in parts]
    return run("stack", *parts, axis=normal_dim(dim, parts[0]._data.ndim + 1))


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    parts = [x if x._data.ndim else reshape(x, 1) for x in tensors]
    return cat(parts, 0 if parts[0]._data.ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    return cat([x if x._data.ndim > 1 else reshape(x, 1, -1) for x in tensors], 0)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    at = normal_dim(dim, input._data.ndim)
    lead = ((None, None, None),) * at
    if not input._data.ndim:
        _ = input.grad_fn  # a view that must not be used any more says so first
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    node = "UnbindBackward0"
    return _siblings(node, [run_as(node, "getitem", input, index=(*lead, k)) for k in range(input._data.shape[at])])


def _siblings(node: str, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Views that one call made together: none of them may be written to while recording (PyTorch's CreationMeta)."""
    for k, part in enumerate(parts):
        if part._view is not None and part._view.forbidden is None:
            part._view.forbidden = (
                f"Output {k} of {node} is a view and is being modified inplace. This view is the output of a function that "
                "returns multiple views. Such functions do not allow the output views to be modified inplace. You should "
                "replace the inplace operation by an out-of-place one."
            )
    return tuple(parts)


def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    if not input._data.ndim:
        _ = input.grad_fn
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    at = normal_dim(dim, input._data.ndim)
    n = input._data.shape[at]
    sizes = split_size_or_sections
    node = "SplitBackward0" if isinstance(sizes, int) else "SplitWithSizesBackward0"
    if isinstance(sizes, int):
        sizes = [builtins.min(sizes, n - k) for k in range(0, n, sizes)] or [0]
    if builtins.sum(sizes) != n:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {at}), but got "
            f"split_sizes={list(sizes)}"
        )
    lead, parts, start = ((None, None, None),) * at, [], 0
    for size in sizes:
        parts.append(run_as(node, "getitem", input, index=(*lead, (start, start + size, 1))))
        start += size
    return _siblings(node, parts)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    if not input._data.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    n = input._data.shape[normal_dim(dim, input._data.ndim)]
    return split(input, builtins.max(-(-n // chunks), 1), dim)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    at = normal_dim(dim, input._data.ndim)
    lead = ((None, None, None),) * at
    return run_as("SliceBackward0", "getitem", input, index=(*lead, (start, start + length, 1)))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    at = normal_dim(dim, input._data.ndim)
    return run_as("SelectBackward0", "getitem", input, index=(*((None, None, None),) * at, index))


def flip(input: Tensor, *dims: Any) -> Tensor:
    return run("flip", input, axis=sizes_of(dims))


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    if isinstance(shifts, list | tuple):
        for s, d in zip(shifts, dims):
            input = run("roll", input, shift=s, axis=d)
        return input
    return run("roll", input, shift=shifts, axis=dims[0] if isinstance(dims, list | tuple) else dims)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    return run("tril", input, k=diagonal)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    return run("triu", input, k=diagonal)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    n = input._data.ndim
    a, b = normal_dim(dim1, n), normal_dim(dim2, n)
    order = (*(d for d in range(n) if d not in (a, b)), a, b)
    x = input if order == tuple(range(n)) else permute(input, order)
    if offset:
        rows, columns = (
            ((-offset, None, None), (None, None, None)) if offset < 0 else ((None,) * 3, (offset, None, None))
        )
        x = run("getitem", x, index=("...", rows, columns))
    return run("diagonal", x)


def diag(input: Tensor, diagonal_: int = 0) -> Tensor:
    if input._data.ndim == 1 and diagonal_ == 0:
        return run("diag_embed", input)
    if input._data.ndim == 2:
        if diagonal_:
            return clone(diagonal(input, diagonal_))
        out = run_as("DiagonalBackward0_copy", "diagonal", input)  # PyTorch's name for the op that copies
        out._view, out._version_cell, out._data = None, None, np.array(out._data)
        return out
    raise RuntimeError("diag: Supports 1D or 2D tensors")


def repeat(input: Tensor, *sizes: Any) -> Tensor:
    return run("tile", input, repetitions=sizes_of(sizes))


def tile(input: Tensor, *dims: Any) -> Tensor:
    return run("tile", input, repetitions=sizes_of(dims))


def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    x = flatten(input) if dim is None else input
    return run("repeat", x, repeats=int(repeats), axis=0 if dim is None else normal_dim(dim, x._data.ndim))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = tuple(tensors[0])
    n = len(tensors)
    shape = tuple(x._data.size for x in tensors)
    grids = []
    for k, x in enumerate(tensors):
        grids.append(expand(reshape(x, tuple(-1 if j == k else 1 for j in range(n))), shape))
    return tuple(transpose(g, 0, 1) for g in grids) if indexing == "xy" else tuple(grids)


# ---- indexing -------------------------------------------------------------------------------------------------------


def _plain(index: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The index in the vocabulary's terms, if it is basic (ints, slices, None, ...); None if it needs arrays."""
    out: list[Any] = []
    for entry in index:
        if entry is Ellipsis:
            out.append("...")
        elif isinstance(entry, slice):
            if entry.step is not None and int(entry.step) <= 0:
                raise ValueError("step must be greater than zero")
            out.append(tuple(None if v is None else int(v) for v in (entry.start, entry.stop, entry.step)))
        elif entry is None:
            out.append(None)
        elif isinstance(entry, bool | np.bool_ | list | np.ndarray):
            return None
        elif isinstance(entry, Tensor):
            if entry._data.ndim or entry._data.dtype.kind not in "iu":
                return None
            out.append(int(entry._data))
        elif hasattr(entry, "__index__"):
            out.append(entry.__index__())
        else:
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
                f"(got {type(entry).__name__})"
            )
    return tuple(out)


def _native(index: tuple[Any, ...]) -> tuple[Any, ...]:
    def one(entry: Any) -> Any:
        if isinstance(entry, Tensor):
            if entry._data.dtype.kind == "f":
                raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
            return entry._array()
        return np.asarray(entry) if isinstance(entry, list) else entry

    return tuple(one(e) for e in index)


def _index_node(index: tuple[Any, ...]) -> str:
    """PyTorch takes an index apart entry by entry; the last step names the node."""
    for entry in reversed(index):
        if isinstance(entry, int):
            return "SelectBackward0"
        if entry is None:
            return "UnsqueezeBackward0"
        if isinstance(entry, tuple) and entry != (None, None, None):
            return "SliceBackward0"
    return "AliasBackward0" if "..." in index or not index else "SliceBackward0"


def getitem(input: Tensor, index: Any) -> Tensor:
    entries = tuple(index) if isinstance(index, tuple) else (index,)
    plain = _plain(entries)
    try:
        if plain is not None:
            _check_index(plain, input._data.shape)
            return run_as(_index_node(plain), "getitem", input, index=plain)
        return run_as("IndexBackward0", "index", input, at=_native(entries))
    except IndexError:
        raise
    except RuntimeError as error:
        raise IndexError(str(error)) from None


def _check_index(index: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    used = [e for e in index if e is not None and e != "..."]
    if len(used) > len(shape):
        if not shape:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a "
                "0-dim tensor to a number"
            )
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    dim = 0
    for k, e in enumerate(index):
        if e == "...":
            dim = len(shape) - builtins.sum(x is not None for x in index[k + 1 :])
        elif isinstance(e, int):
            if not -shape[dim] <= e < shape[dim]:
                raise IndexError(f"index {e} is out of bounds for dimension {dim} with size {shape[dim]}")
            dim += 1
        elif e is not None:
            dim += 1


def _whole(entries: tuple[Any, ...], shape: tuple[int, ...]) -> bool:
    """Does the index take everything, axis by axis?"""
    if entries == (Ellipsis,):
        return True
    full = builtins.all(isinstance(e, slice) and e.indices(n) == (0, n, 1) for e, n in zip(entries, shape))
    return full and len(entries) <= len(shape)


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """`input[index] = value`: a write through a view, or, with arrays in the index, a scatter."""
    entries = tuple(index) if isinstance(index, tuple) else (index,)
    plain = _plain(entries)
    if plain is not None:
        _check_index(plain, input._data.shape)
        whole = _whole(entries, input._data.shape)  # PyTorch makes no view then
        part = input if whole else run("getitem", input, index=plain)
        if isinstance(value, Tensor):  # leading dims of size 1 do not count here
            while value._data.ndim > part._data.ndim and value._data.shape[0] == 1:
                value = run("squeeze", value, axis=0)
        if isinstance(value, Tensor) and (value._data.ndim or not part._data.ndim):
            if value._data.size == part._data.size:
                check_overlap(part, wrap(value._array().reshape(part._data.shape)))
            spread = value if value._data.shape == part._data.shape else _spread(value, part)
            _copied(part, value, alike=spread is not None and same_place(part, spread))
        else:
            fill_(part, value, "FillBackward3", alike=False)
        return
    at = _native(entries)
    filled = value if isinstance(value, Tensor) else wrap(np.asarray(value, dtype=input._data.dtype))
    if filled._data.dtype != input._data.dtype:
        filled = cast(filled, input._data.dtype)
    write(input, lambda x: run_as("IndexPutBackward0", "index_put", x, filled, at=at))


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    return run("take", input, index, axis=normal_dim(dim, input._data.ndim))


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    at = normal_dim(dim, input._data.ndim)
    if input._data.ndim != index._data.ndim:
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    # PyTorch lets the index be smaller than the input on the other dims.
    if builtins.any(n < m for d, (n, m) in enumerate(zip(index._data.shape, input._data.shape)) if d != at):
        cut = tuple((None, None, None) if d == at else (0, n, None) for d, n in enumerate(index._data.shape))
        input = run("getitem", input, index=cut)
    return run("take_along_axis", input, index, axis=at)


def take_along_dim(input: Tensor, indices: Tensor, dim: int) -> Tensor:
    return run("take_along_axis", input, indices, axis=dim)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    if src._data.shape != index._data.shape:
        src = run("getitem", src, index=tuple((0, n, None) for n in index._data.shape))
    return run("scatter_add", input, index, src, axis=normal_dim(dim, input._data.ndim))


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    return run("index_add", input, index, source if alpha == 1 else mul(source, alpha), axis=dim)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    return run_as("MaskedFillBackward0", "where", mask, value, input)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    return run_as("MaskedSelectBackward0", "index", input, at=(mask._array(),))


def nonzero(input: Tensor, as_tuple: bool = False) -> Any:
    found = np.nonzero(input._array())
    return tuple(map(wrap, found)) if as_tuple else wrap(np.stack(found, -1) if found else np.zeros((1, 0), np.int64))


# ---- linear algebra -------------------------------------------------------------------------------------------------


def inverse(input: Tensor) -> Tensor:
    return run("inv", input)


def solve(A: Tensor, B: Tensor) -> Tensor:
    return run("solve", A, B)


def det(input: Tensor) -> Tensor:
    return run("det", input)


def cholesky(input: Tensor) -> Tensor:
    return run("cholesky", input)


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, unitriangular: bool = False) -> Tensor:
    return run("solve_triangular", A, B, upper=upper, unit_diagonal=unitriangular)


def matrix_power(input: Tensor, n: int) -> Tensor:
    return run("matrix_power", input, n=n)


# ---- copies, conversions --------------------------------------------------------------------------------------------


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    return apply(rule("clone"), (input,))


def detach(input: Tensor) -> Tensor:
    """The same memory, outside of the graph. The version counter is shared, so that writes to it are noticed."""
    out = wrap(input._array())
    out._version_cell = input._cell()
    return out


def detach_(input: Tensor) -> Tensor:
    if input._view is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for "
            "training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence detach_() "
            "cannot be called on these gradients. To fix this error, please refer to the Optimizer.zero_grad() function in "
            "torch/optim/optimizer.py as a solution."
        )
    input._edge, input._requires_grad = None, False
    return input


def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    return input if input.is_contiguous() else clone(input)


def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`."""
    dtype, device, copy = kwargs.get("dtype"), kwargs.get("device"), kwargs.get("copy", False)
    for a in args:
        if isinstance(a, dtypes.dtype):
            dtype = a
        elif isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, str | dtypes.device):
            device = a
    from .devices import move

    out = input if device is None else move(input, dtypes.device(device))
    if dtype is not None and out._data.dtype != dtype.numpy:
        return cast(out, dtype.numpy)
    return clone(out) if copy and out is input else out


def type_as(input: Tensor, other: Tensor) -> Tensor:
    return to(input, other.dtype)


def type_(input: Tensor, dtype: Any = None) -> Any:
    if dtype is None:
        return f"torch.{'cuda.' if input.is_cuda else ''}{input.dtype.tensor_type}"
    if isinstance(dtype, str):
        dtype = next(d for d in dtypes.DTYPES.values() if dtype.endswith(d.tensor_type))
    return to(input, dtype)


# ---- in place -------------------------------------------------------------------------------------------------------


def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    source = src if isinstance(src, Tensor) else wrap(np.asarray(src, dtype=input._data.dtype))
    check_overlap(input, source)
    return _copied(input, source)


def _spread(x: Tensor, like: Tensor) -> Tensor | None:
    """`x` expanded to the shape of `like`, with no history; None where it does not fit."""
    try:
        return wrap(np.broadcast_to(x._array(), like._data.shape))
    except ValueError:
        return None


def _copied(input: Tensor, source: Tensor, node: str = "CopyBackwards", alike: bool | None = None) -> Tensor:
    def copied(x: Tensor) -> Tensor:
        y = source if source._data.dtype == x._data.dtype else cast(source, x._data.dtype)
        return _overwritten(node, x, y)

    if alike is None:
        alike = input._data.shape == source._data.shape and same_place(input, source)
    return write(input, copied, alike)


def zero_(input: Tensor) -> Tensor:
    return fill_(input, 0, "ZeroBackward0")


def fill_(input: Tensor, value: Any, node: str = "FillBackward2", alike: bool = True) -> Tensor:
    """Every entry becomes `value`; the old values get gradient 0 from here on.

    alike  may an expanded tensor be filled, since its entries agree? PyTorch: with a number yes, through an index no.
    """
    if isinstance(value, Tensor):  # over the same memory too: PyTorch clones the value then
        return _copied(input, value, "FillBackward3")
    if not (state.enabled and input.requires_grad):
        overwrite(input, value, alike)
        return input
    return write(input, lambda x: _overwritten(node, x, _full_like(x, value)), alike)


class _Overwrite(Node):
    """[gradient of the old values: zeros, gradient of what took their place]. It saves nothing."""

    def __init__(self, edges: Sequence[Any], shape: tuple[int, ...]) -> None:
        super().__init__(edges)
        self.shape = shape

    def backward(self, g: Any, create_graph: bool) -> Sequence[Any]:
        xp: Any = ENGINE if create_graph else KERNELS
        zeros = wrap(np.zeros_like(g._data)) if create_graph else np.zeros_like(g)
        return [zeros, xp.sum_to(g, self.shape)]


def _overwritten(name: str, x: Tensor, y: Tensor) -> Tensor:
    """The values of `y` in the shape of `x`, with both as its inputs."""
    if y._data.ndim > x._data.ndim or builtins.any(
        n not in (1, m) for n, m in zip(y._data.shape[::-1], x._data.shape[::-1])
    ):
        expand(y, tuple(x._data.shape))  # raises
    out = wrap(np.array(np.broadcast_to(y._data, x._data.shape)))
    edges = [t._gradient_edge() if state.enabled and t.requires_grad else None for t in (x, y)]
    if builtins.any(edges):
        out._edge, out._requires_grad = (named(_Overwrite, name)(edges, tuple(y._data.shape)), 0), True
    return out


def _full_like(x: Tensor, value: Any) -> Tensor:
    return wrap(np.full(x._data.shape, value, dtype=x._data.dtype))


def masked_fill_(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    return write(input, lambda x: masked_fill(x, mask, value))


def _raw(x: Any) -> Any:
    return x._data if isinstance(x, Tensor) else x


def _no_bool_minus(a: Any, b: Any) -> None:
    if isinstance(a, Tensor) and isinstance(b, Tensor) and "b" in a._data.dtype.kind + b._data.dtype.kind:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )


def numel(input: Tensor) -> int:
    return input._data.size


def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


def size(*shape: int) -> Size:
    return Size(shape)


_ADD, _SUB, _MUL, _DIV, _POW, _MATMUL = map(rule, ("add", "subtract", "multiply", "divide", "pow", "matmul"))
