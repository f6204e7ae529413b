"""Triton's interpreter, mended: what it computes otherwise than the language says, put right while we run a kernel.

* bfloat16 and the float8 formats are kept as bits. Arithmetic, dots and reductions of them compute with the bits as with
  integers, and casts to them cut digits off. Here they compute in float32 and round to nearest, as the hardware does.
* A Python float among the arguments is no tensor (`'float' object has no attribute 'to'`). Here it is a float32 scalar,
  which is what the compiler makes of it.
* The functions of libdevice are missing.
* Configurations of an autotuned kernel are timed on a GPU. Here the first is taken, or the one that `runs` says.
* Atomic additions of these formats are refused. Here each lane in turn is added and rounded.
* The index of a loop is a Python number, and has no `.to`. Here it is one that has.
* An access beyond the end of a tensor's memory reads, or overwrites, what lies there (`bounds`).

`TRITON_INTERPRET=1` must have been set where the kernels were defined; else they are compiled, and need a GPU.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FunctionType
from typing import Any

import ml_dtypes
import numpy as np
import triton.language as tl
from triton.language.extra import libdevice
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter as ti

from .bounds import Handle, mask_of, patch_bounds
from .runs import patch_runs

NARROW: dict[Any, np.dtype[Any]] = {
    tl.bfloat16: np.dtype(ml_dtypes.bfloat16),
    tl.float8e5: np.dtype(ml_dtypes.float8_e5m2),
    tl.float8e4nv: np.dtype(ml_dtypes.float8_e4m3fn),
    tl.float8e4b8: np.dtype(ml_dtypes.float8_e4m3fnuz),
    tl.float8e5b16: np.dtype(ml_dtypes.float8_e5m2fnuz),
}
"""The formats that the interpreter keeps as bits, and NumPy's dtypes of them."""


class Patches:
    """Attributes of classes and modules that are replaced, and put back."""

    def __init__(self) -> None:
        self.before: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        here = getattr(owner, name) if isinstance(owner, FunctionType) else vars(owner).get(name, self)
        self.before.append((owner, name, here))
        setattr(owner, name, value)

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace a method by `make(method)`; nothing where this version of Triton has no such method."""
        if hasattr(owner, name):
            self.set(owner, name, make(getattr(owner, name)))

    def undo(self) -> None:
        while self.before:
            owner, name, value = self.before.pop()
            if value is self:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


def is_narrow(h: Handle) -> bool:
    return h.data.dtype != np.bool_ and h.dtype.scalar in NARROW


def is_float(h: Handle) -> bool:
    """Does the handle hold floating-point numbers? (A comparison has the dtype of what it compared, over booleans.)"""
    return h.data.dtype != np.bool_ and h.dtype.scalar.is_floating()


def floats(h: Handle) -> np.ndarray:
    """The numbers of a handle, those of the formats kept as bits as float32, which holds them."""
    data = np.asarray(h.data)
    if not is_narrow(h):
        return data
    return np.ascontiguousarray(data).view(NARROW[h.dtype.scalar]).astype(np.float32)


def widened(h: Handle) -> Handle:
    return ti.TensorHandle(floats(h), tl.float32, h.attr) if is_narrow(h) else h


def rounded(values: np.ndarray, dtype: Any) -> Handle:
    """A handle of these numbers in one of Triton's dtypes, rounded to nearest."""
    if dtype in NARROW:
        with np.errstate(over="ignore"):
            narrow = np.ascontiguousarray(values).astype(NARROW[dtype])
        return ti.TensorHandle(narrow.view(f"u{narrow.itemsize}").reshape(np.shape(values)), dtype)
    return ti.TensorHandle(np.asarray(values).astype(ti._get_np_dtype(dtype)), dtype)


def _in_float32(old: Any) -> Any:
    """The builder's method, with narrow handles computed with in float32."""

    def method(self: Any, *args: Any) -> Any:
        narrow = next((a.dtype.scalar for a in args if isinstance(a, ti.TensorHandle) and is_narrow(a)), None)
        if narrow is None:
            return old(self, *args)
        out = old(self, *(widened(a) if isinstance(a, ti.TensorHandle) else a for a in args))
        if out.data.dtype == np.bool_ or out.dtype.scalar != tl.float32:
            return out
        return rounded(out.data, narrow)

    return method


def _dot(old: Any) -> Any:
    def method(self: Any, a: Handle, b: Handle, d: Handle, *rest: Any) -> Any:
        return old(self, widened(a), widened(b), d, *rest)

    return method


def _atomic(old: Any) -> Any:
    """Additions and exchanges in the narrow formats, lane by lane."""

    def method(self: Any, op: Any, ptrs: Handle, value: Handle, mask: Any, *rest: Any) -> Handle:
        kinds = ti._ir.ATOMIC_OP
        if not is_narrow(value) or op not in (kinds.ADD, kinds.FADD, kinds.XCHG):
            return old(self, op, ptrs, value, mask, *rest)
        shape = ptrs.data.shape
        numbers = np.broadcast_to(floats(value), shape).ravel()
        lanes = np.nonzero(mask_of(mask, shape).ravel())[0]
        bits = np.zeros(numbers.size, dtype=value.data.dtype)
        word: Any = np.ctypeslib.as_ctypes_type(bits.dtype)
        for k in lanes:
            memory = word.from_address(int(ptrs.data.ravel()[k]))
            bits[k] = memory.value
            before = floats(ti.TensorHandle(bits[k : k + 1], value.dtype))
            after = numbers[k : k + 1] if op == kinds.XCHG else before + numbers[k : k + 1]
            memory.value = int(rounded(after, value.dtype.scalar).data[0])
        return ti.TensorHandle(bits.reshape(shape), value.dtype.scalar)

    return method


def _cast(old: Any) -> Any:
    def method(self: Any, src: Handle, dst: Any, *rounding: Any) -> Any:
        to = dst.scalar
        towards_zero = rounding and rounding[0] == ti._ir.ROUNDING_MODE.RTZ
        if towards_zero or isinstance(to, tl.pointer_type) or not (is_narrow(src) or to in NARROW):
            return old(self, src, dst, *rounding)
        return rounded(floats(src), to)

    return method


_others: list[Any] = []
"""The `other` of each load that runs, innermost last."""


def _noting_other(old: Any) -> Any:
    """TritonSemantic._load_legacy: under the interpreter it takes a scalar `other` that is 0 for none."""

    def load(self: Any, ptr: Any, mask: Any, other: Any, *rest: Any) -> Any:
        _others.append(None if other is None or other.type.is_block() else other)
        try:
            return old(self, ptr, mask, other, *rest)
        finally:
            _others.pop()

    return load


def scalar_other(dtype: Any) -> Handle | None:
    """The handle of a scalar `other` in this dtype, where the load that runs was given one."""
    other = _others[-1] if _others else None
    return None if other is None else ti.interpreter_semantic.cast(other, dtype).handle


def _whole(old: Any) -> Any:
    """ReduceOps.apply and ScanOps.apply, over narrow blocks in float32."""

    def method(self: Any, given: Any) -> Any:
        several = given if isinstance(given, tuple) else (given,)
        if not any(is_narrow(t.handle) for t in several):
            return old(self, given)
        wide = tuple(_as(t, tl.float32) if is_narrow(t.handle) else t for t in several)
        out = old(self, wide)
        back = tuple(_as(o, t.dtype) if is_narrow(t.handle) else o for o, t in zip(out, several))
        return back if isinstance(given, tuple) else back[0]

    return method


def _as(t: Any, dtype: Any) -> Any:
    """The tensor in another dtype, by the builder: recorded, where somebody records."""
    shape = list(t.handle.data.shape)
    to = tl.block_type(dtype, shape) if t.type.is_block() else dtype
    return tl.tensor(ti.interpreter_builder.create_fp_to_fp(t.handle, to, None), to)


def _argument(old: Any) -> Any:
    def convert(arg: Any) -> Any:
        if isinstance(arg, float):
            return tl.tensor(ti.TensorHandle(np.array([arg], np.float32), tl.float32), tl.float32)
        return old(arg)

    return convert


MISSING: dict[str, Callable[..., Any]] = {
    "tanh": np.tanh, "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "exp": np.exp, "exp2": np.exp2, "log": np.log, "log2": np.log2,
    "log1p": np.log1p, "expm1": np.expm1, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "sin": np.sin,
    "cos": np.cos, "tan": np.tan, "sinh": np.sinh, "cosh": np.cosh, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "pow": np.power,
    "abs": np.abs, "fast_expf": np.exp, "fast_logf": np.log, "fast_dividef": np.divide, "floor": np.floor,
    "ceil": np.ceil, "rint": np.rint, "trunc": np.trunc, "div_rn": np.divide,
    "lgamma": np.vectorize(math.lgamma, otypes=[np.float64]),
    "atan2": np.arctan2, "fma": lambda x, y, z: x * y + z,
}  # fmt: skip
"""The functions of libdevice that kernels use, by their names without the prefix of a vendor."""


def device_function(name: str, args: list[Any]) -> Any:
    """A function of libdevice, applied to tensors; its result has their dtype."""
    semantic = ti.interpreter_semantic
    tensors = [semantic.to_tensor(a) for a in args]
    for t in tensors[1:]:
        tensors[0], _ = semantic.broadcast_impl_value(tensors[0], t)
    tensors = [semantic.broadcast_impl_value(t, tensors[0])[0] for t in tensors]
    out = ti.interpreter_builder.create_device_function(name, [t.handle for t in tensors])
    return tl.tensor(out, tensors[0].type)


def _create_device_function(self: Any, name: str, handles: list[Handle]) -> Handle:
    """What the interpreter's builder has no method for: a function of libdevice over handles of one shape."""
    dtype = handles[0].dtype.scalar
    with np.errstate(all="ignore"):
        return rounded(MISSING[name](*map(floats, handles)), dtype)


def _extern(old: Any) -> Any:
    def method(self: Any, library: Any, path: Any, symbol: str, args: list[Handle], *rest: Any) -> Any:
        name = symbol.removeprefix("__nv_").removeprefix("__ocml_").removesuffix("_f32").removesuffix("_f64")
        name = name if name in MISSING else name.removesuffix("f")
        if name not in MISSING:
            raise NotImplementedError(f"{symbol} is not known under the interpreter")
        return self.create_device_function(name, args)

    return method


def _stub(name: str) -> Callable[..., Any]:
    """A function with the body of a libdevice function: kernels hold the functions, so that these get another body."""
    scope: dict[str, Any] = {}
    arity = {"pow": 2, "atan2": 2, "fast_dividef": 2, "div_rn": 2, "fma": 3}.get(name, 1)
    args = ", ".join(f"arg{i}" for i in range(arity))
    text = f"def {name}({args}):\n from gradverify.frameworks.triton.interpreter import device_function\n"
    exec(f"{text} return device_function({name!r}, [{args}])", scope)
    return scope[name]


class LoopIndex(int):
    """The index of a kernel's loop: a number, with `to`, which gives a tensor as in a compiled kernel."""

    def to(self, dtype: Any, *_: Any, **__: Any) -> Any:
        return ti.interpreter_semantic.to_tensor(int(self)).to(dtype)


def _of_indices(name: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        out = getattr(int, name)(self, other)
        return LoopIndex(out) if isinstance(out, int) else out

    return method


for _name in "add radd sub rsub mul rmul floordiv rfloordiv mod rmod".split():
    setattr(LoopIndex, f"__{_name}__", _of_indices(f"__{_name}__"))


def _indices(*bounds: Any, **options: Any) -> Iterator[LoopIndex]:
    """`range`, and `tl.range` with its hints for the compiler."""
    start, stop, step = (0, *bounds, 1) if len(bounds) == 1 else bounds if len(bounds) == 3 else (*bounds, 1)
    return map(LoopIndex, range(start, stop, options.get("step") or (1 if step is None else step)))


class _Language:
    """What `_patch_lang` does once for each call of each device function, done once for each launch, and undone after it."""

    def __init__(self) -> None:
        self.done: set[int] = set()
        self.scopes: list[Any] = []
        self.loops: list[tuple[dict[str, Any], Any]] = []

    def patching(self, old: Any) -> Any:
        def patch(fn: Any) -> Any:
            scope = fn.__globals__
            if scope.get("range") is not _indices:
                self.loops.append((scope, scope.get("range", self)))
                scope["range"] = _indices
            modules = {id(m) for m in fn.__globals__.values() if m is tl or m is tl.core}
            if not modules or not modules <= self.done:  # without the language, the old one says so
                self.scopes.append(old(fn))
                for module in {id(m): m for m in fn.__globals__.values() if m is tl or m is tl.core}.values():
                    self.scopes[-1].set_attr(module, "range", _indices)
                self.done |= modules
            return ti._LangPatchScope()

        return patch

    def launching(self, old: Any) -> Any:
        def launch(executor: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return old(executor, *args, **kwargs)
            finally:
                self.done.clear()
                while self.scopes:
                    self.scopes.pop().restore()
                while self.loops:
                    scope, before = self.loops.pop()
                    if before is self:
                        del scope["range"]
                    else:
                        scope["range"] = before

        return launch


_depth = 0
_patches = Patches()


@contextlib.contextmanager
def mended() -> Iterator[None]:
    """Within the block, the interpreter computes what the language says. Blocks may be nested."""
    global _depth
    if _depth == 0:
        _mend(_patches)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            _patches.undo()


def _mend(patches: Patches) -> None:
    builder = ti.InterpreterBuilder
    for name in ("binary_op", "unary_op", "ternary_op", "create_fma", "create_rsqrt", "create_erf"):
        patches.wrap(builder, name, _in_float32)
    patches.wrap(builder, "create_dot", _dot)
    casts = ("cast_impl", "create_fp_to_fp")
    for name in casts:
        patches.wrap(builder, name, _cast)
    patches.wrap(builder, "create_extern_elementwise", _extern)
    patches.set(builder, "create_device_function", _create_device_function)
    if not hasattr(builder, "get_bf16"):
        patches.set(builder, "get_bf16", lambda self, value: rounded(np.array([value], np.float32), tl.bfloat16))
    for kind in (ti.ReduceOps, ti.ScanOps):
        patches.set(kind, "apply", _whole(kind.apply))
    patches.set(ti, "_implicit_cvt", _argument(ti._implicit_cvt))
    patches.wrap(builder, "create_atomic_rmw", _atomic)
    patches.wrap(TritonSemantic, "_load_legacy", _noting_other)
    patch_bounds(patches)
    patch_runs(patches)
    language = _Language()
    patches.set(ti, "_patch_lang", language.patching(ti._patch_lang))
    patches.set(ti.GridExecutor, "__call__", language.launching(ti.GridExecutor.__call__))
    # The check of every integer operation for overflow costs a third of a run.
    patches.set(ti.interpreter_builder, "options", replace(ti.interpreter_builder.options, sanitize_overflow=False))
    for name in MISSING:
        found = getattr(libdevice, name, None)
        if isinstance(found, FunctionType) and found.__code__.co_argcount == _stub(name).__code__.co_argcount:
            patches.set(found, "__code__", _stub(name).__code__)
