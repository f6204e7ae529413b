"""Arithmetic of a kernel, element by element, and moves of lanes: as nodes of a graph, or as moved codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter as ti

from ...namespaces.dtypes import ROUNDOFF
from ...trace.decompositions import fmod, logical_xor
from ...trace.lanes import KNOWN, Codes
from ...trace.value import Value
from ..torch.tracer import INTEGERS
from .bounds import MOVES, Handle
from .interpreter import MISSING, floats, is_float
from .marks import DTYPES, Marks, codes_of, dtype_of, exact, widen

UNARY: dict[Any, str] = {
    np.cos: "cos", np.sin: "sin", np.exp: "exp", np.exp2: "exp2", np.log: "log", np.log2: "log2", np.sqrt: "sqrt",
    np.floor: "floor", np.ceil: "ceil", np.abs: "abs",
}  # fmt: skip
BINARY: dict[Any, str] = {
    np.add: "add", np.subtract: "subtract", np.multiply: "multiply", np.divide: "divide", np.minimum: "minimum",
    np.maximum: "maximum", np.less: "less", np.less_equal: "less_equal", np.greater: "greater",
    np.greater_equal: "greater_equal", np.equal: "equal", np.not_equal: "not_equal", np.bitwise_and: "logical_and",
    np.bitwise_or: "logical_or",
}  # fmt: skip
DECOMPOSED: dict[Any, Callable[..., Value]] = {np.fmod: fmod, np.bitwise_xor: logical_xor}

DEVICE: dict[str, Callable[..., Value]] = {
    "fast_expf": lambda xp, x: xp.exp(x), "fast_logf": lambda xp, x: xp.log(x), "rint": lambda xp, x: xp.round(x),
    "fast_dividef": lambda xp, x, y: xp.divide(x, y), "div_rn": lambda xp, x, y: xp.divide(x, y),
    "fma": lambda xp, x, y, z: x * y + z,
}  # fmt: skip
"""The functions of libdevice that the op table has under another name."""


class Ops:
    """Hooks of the builder's methods that take handles to handles, lane by lane."""

    def __init__(self, marks: Marks) -> None:
        self.marks, self.xp, self.lanes = marks, marks.xp, marks.lanes

    def hooks(self) -> dict[str, Callable[[Any], Any]]:
        """By the name of the method of the builder."""
        xp = self.xp
        return {
            "unary_op": self._unary, "binary_op": self._binary, "ternary_op": self._ternary, "cast_impl": self._cast,
            "create_fp_to_fp": self._cast, "create_bitcast": self._bitcast, "create_int_to_ptr": self._bitcast,
            "create_ptr_to_int": self._bitcast, "create_addptr": self._addptr, "create_device_function": self._device,
            "create_fma": self._elementary(lambda x, y, z: x * y + z, lambda x, y, z: x * y + z),
            "create_rsqrt": self._elementary(lambda x: xp.rsqrt(x), lambda x: 1 / np.sqrt(x)),
            "create_erf": self._elementary(lambda x: xp.erf(x), MISSING["erf"]),
            "create_fabs": self._elementary(lambda x: xp.abs(x), np.abs),
            **{f"create_{name}": self._move for name in MOVES.split()},
            **{name: self._literal for name in ("get_fp16", "get_bf16", "get_fp32", "get_fp64")},
        }  # fmt: skip

    def _unary(self, old: Any) -> Any:
        def unary(builder: Any, arg: Handle, op: Any) -> Handle:
            out = old(builder, arg, op)
            widen(out, op, arg)
            name = UNARY.get(op)
            return (
                self.marks.operation(out, lambda x: self.xp.call(name, x), [arg])
                if name
                else self.marks.refuse(out, op, [arg])
            )

        return unary

    def _binary(self, old: Any) -> Any:
        def binary(builder: Any, a: Handle, b: Handle, op: Any) -> Handle:
            out = old(builder, a, b, op)
            if "codes" not in a.attr and "codes" not in b.attr:
                widen(out, op, a, b)
                self.marks.taint(out, (a, b))
                return out
            codes, only = _folded(op, a, b, out)
            make = self._maker(op)
            if make is None:
                return self.marks.refuse(out, op, [a, b])
            operands = [(h.attr.get("codes"), exact(h)) for h in (a, b)]
            made = self.lanes.elementwise(make, operands, out.data.shape, dtype_of(out), only)
            return self.marks.mark(out, np.where(only, KNOWN if made is None else made, codes))

        return binary

    def _maker(self, op: Any) -> Callable[..., Value] | None:
        if op in BINARY:
            return lambda x, y: self.xp.call(BINARY[op], x, y)
        if op in DECOMPOSED:
            return lambda x, y: DECOMPOSED[op](self.xp, x, y)
        return None

    def _ternary(self, old: Any) -> Any:
        def ternary(builder: Any, a: Handle, b: Handle, c: Handle, op: Any) -> Handle:
            out = old(builder, a, b, c, op)
            if op is np.where:
                return self._select(out, a, b, c)
            if op is np.clip:
                widen(out, op, a, b, c)
                return self.marks.operation(
                    out, lambda x, lo, hi: self.xp.minimum(self.xp.maximum(x, lo), hi), [a, b, c]
                )
            return self.marks.refuse(out, op, [a, b, c])

        return ternary

    def _select(self, out: Handle, cond: Handle, a: Handle, b: Handle) -> Handle:
        self.marks.taint(out, (a, b))
        if "codes" not in cond.attr:
            widen(out, lambda x, y: np.where(cond.data, x, y), a, b)
        if not (is_float(out) or out.data.dtype == np.bool_):
            if "codes" in cond.attr:
                self.xp.note(INTEGERS)
            return out
        shape = out.data.shape
        which, left, right = (np.broadcast_to(codes_of(h), shape) for h in (cond, a, b))
        codes = np.where(np.broadcast_to(cond.data, shape), left, right)
        x, y = (np.broadcast_to(floats(h), shape) for h in (a, b))
        differ = (left != right) | ((left == KNOWN) & (x != y))
        live = (which != KNOWN) & differ
        operands = [(which, cond.data), (left, exact(a)), (right, exact(b))]
        made = self.lanes.elementwise(self._where, operands, shape, dtype_of(out), live)
        return self.marks.mark(out, codes if made is None else np.where(live, made, codes))

    def _where(self, c: Value, x: Value, y: Value) -> Value:
        if x.kind == "bool" or y.kind == "bool":
            return self.xp.logical_or(self.xp.logical_and(c, x), self.xp.logical_and(self.xp.logical_not(c), y))
        return self.xp.where(c, x, y)

    def _elementary(self, make: Callable[..., Value], exactly: Any = None) -> Callable[[Any], Any]:
        """A builder's method of handles alone, recorded as `make` of them, and in doubles `exactly` of known ones."""

        def wrap(old: Any) -> Any:
            def method(builder: Any, *args: Any) -> Handle:
                return self.marks.operation(
                    old(builder, *args), make, [a for a in args if isinstance(a, ti.TensorHandle)]
                )

            return method

        return wrap

    def _device(self, old: Any) -> Any:
        def device(builder: Any, name: str, handles: list[Handle]) -> Handle:
            out = old(builder, name, handles)
            widen(out, MISSING[name], *handles)
            make = DEVICE.get(name, lambda xp, *args: xp.call(name, *args))
            return self.marks.operation(out, lambda *args: make(self.xp, *args), handles)

        return device

    def _cast(self, old: Any) -> Any:
        def cast(builder: Any, src: Handle, to: Any, *rest: Any) -> Handle:
            out = old(builder, src, to, *rest)
            for name in ("codes", "exact"):
                out.attr.pop(name, None)
            self.marks.taint(out, (src,))
            known = "codes" not in src.attr and "taint" not in src.attr
            if is_float(out) and known and ("exact" in src.attr or not is_float(src)):
                out.attr["exact"] = np.asarray(exact(src), dtype=np.float64)
            if "codes" not in src.attr:
                return out
            if not is_float(out):
                self.xp.note(INTEGERS)
                return out
            codes, source, target = src.attr["codes"], DTYPES.get(src.dtype.scalar), DTYPES.get(out.dtype.scalar)
            if src.data.dtype == np.bool_:
                return self.marks.operation(out, lambda x: self.xp.as_kind(x, "float"), [src])
            if source and target and ROUNDOFF[source] != ROUNDOFF[target]:
                recast = lambda x: self.xp.recast(x, source, target)
                codes = self.lanes.elementwise(recast, [(codes, floats(src))], codes.shape, target)
            return self.marks.mark(out, codes)

        return cast

    def _bitcast(self, old: Any) -> Any:
        def bitcast(builder: Any, src: Handle, to: Any) -> Handle:
            out = old(builder, src, to)
            self.marks.taint(out, (src,))
            if "codes" in src.attr:
                if src.dtype.scalar == out.dtype.scalar:
                    return self.marks.mark(out, src.attr["codes"])
                why = f"{self.marks.here()} computes with the bits of floating-point numbers"
                out.attr["taint"] = why
                self.marks.taint(out, (out,))
            return out

        return bitcast

    def _move(self, old: Any) -> Any:
        def move(builder: Any, *args: Any) -> Any:
            out = old(builder, *args)
            handles = [a for a in args if isinstance(a, ti.TensorHandle)]
            outs = out if isinstance(out, tuple) else (out,)
            for o in outs:
                self.marks.taint(o, handles)
            _move_exact(old, builder, args, outs)
            if any("codes" in h.attr for h in handles):
                of = [ti.TensorHandle(codes_of(a), tl.int64) if _is_moved(a) else a for a in args]
                moved = old(builder, *of)
                for o, m in zip(outs, moved if isinstance(moved, tuple) else (moved,)):
                    self.marks.mark(o, m.data)
            return out

        return move

    def _addptr(self, old: Any) -> Any:
        def addptr(builder: Any, ptr: Handle, offset: Handle) -> Handle:
            out = old(builder, ptr, offset)
            if "taint" in offset.attr:
                self.xp.note(INTEGERS)
            return out

        return addptr

    def other(self, old: Any) -> Any:
        def method(builder: Any, *args: Any) -> Any:
            given = [a for a in args if isinstance(a, ti.TensorHandle)]
            return self.marks.refuse(old(builder, *args), old, given)

        return method

    def _literal(self, old: Any) -> Any:
        """A literal means the number that is written, not what its dtype makes of it."""

        def literal(builder: Any, value: Any) -> Handle:
            out = old(builder, value)
            out.attr["exact"] = np.array([float(value)])
            return out

        return literal

    def argument(self, old: Any) -> Any:
        def convert(arg: Any) -> Any:
            out = old(arg)
            if isinstance(arg, float):
                out.handle.attr["exact"] = np.array([arg])
            return out

        return convert


def _move_exact(old: Any, builder: Any, args: Sequence[Any], outs: Sequence[Handle]) -> None:
    """Move what is known in doubles as the numbers are moved."""
    if not any(isinstance(a, ti.TensorHandle) and "exact" in a.attr for a in args):
        return
    if not all(is_float(a) for a in args if isinstance(a, ti.TensorHandle)):
        return
    wide = [ti.TensorHandle(np.asarray(exact(a), np.float64), tl.float64) if isinstance(a, ti.TensorHandle) else a
            for a in args]  # fmt: skip
    moved = old(builder, *wide)
    for o, m in zip(outs, moved if isinstance(moved, tuple) else (moved,)):
        o.attr["exact"] = m.data


def _is_moved(a: Any) -> bool:
    """Does a move move this argument? It does not move the indices of a gather."""
    return isinstance(a, ti.TensorHandle) and (is_float(a) or a.data.dtype == np.bool_)


def _folded(op: Any, a: Handle, b: Handle, out: Handle) -> tuple[Codes, np.ndarray]:
    """What needs no node: the codes of lanes in which one operand is known and neutral, and where a node is needed.

    x + 0 and x * 1 are x, 0 * x is 0 (of finite x), max(x, -inf) is x; infinity plus anything is infinity.
    """
    shape = out.data.shape
    left, right = (np.broadcast_to(codes_of(h), shape) for h in (a, b))
    x, y = (np.broadcast_to(floats(h), shape) for h in (a, b))
    k, m = left == KNOWN, right == KNOWN
    codes = np.full(shape, KNOWN, dtype=np.int64)
    needed = ~(k & m)
    no = np.zeros(shape, dtype=bool)
    takes_left, takes_right, is_known = no, no, no
    if op is np.add:
        takes_left, takes_right = m & (y == 0), k & (x == 0)
        is_known = (k & np.isinf(x)) | (m & np.isinf(y))
    elif op is np.subtract:
        takes_left = m & (y == 0)
        is_known = (k & np.isinf(x)) | (m & np.isinf(y))
    elif op is np.multiply:
        takes_left, takes_right = m & (y == 1), k & (x == 1)
        is_known = ((k & (x == 0)) | (m & (y == 0))) & (floats(out) == 0)
    elif op is np.divide:
        takes_left = m & (y == 1)
        is_known = k & (x == 0) & (floats(out) == 0)
    elif op in (np.maximum, np.minimum):
        neutral = -np.inf if op is np.maximum else np.inf
        takes_left, takes_right = m & (y == neutral), k & (x == neutral)
    for takes, of in ((takes_left, left), (takes_right, right)):
        codes = np.where(needed & takes, of, codes)
        needed = needed & ~takes
    return codes, needed & ~is_known
