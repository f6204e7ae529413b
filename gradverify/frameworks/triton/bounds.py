"""Where pointers came from, so that an access beyond the end of a tensor's memory does not happen.

The interpreter reads and writes whatever a pointer says. Here every pointer handle keeps the memory of the tensor that it
was made of (`attr["base"]`: its first address and its size), and lanes that leave it are taken out of the access.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter as ti

Handle = Any
"""The interpreter's TensorHandle: `data` (a NumPy array), `dtype` (Triton's), `attr` (a dict of our own)."""

Base = tuple[int, int]

MOVES = "reshape trans expand_dims broadcast cat join split splat unsplat gather"
"""The builder's methods that move lanes and compute nothing."""


def patch_bounds(patches: Any) -> None:
    builder = ti.InterpreterBuilder
    patches.set(ti, "_implicit_cvt", _argument(ti._implicit_cvt))
    for name in ("create_addptr", "create_bitcast", *(f"create_{m}" for m in MOVES.split())):
        patches.wrap(builder, name, _following)
    patches.wrap(builder, "ternary_op", _selecting)
    patches.wrap(builder, "create_masked_load", _masked(1))
    patches.wrap(builder, "create_masked_store", _masked(2))
    patches.wrap(builder, "create_atomic_rmw", _masked_atomic)


def mask_of(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A copy of a mask (the interpreter passes handles, and arrays, and None)."""
    data = mask.data if isinstance(mask, ti.TensorHandle) else True if mask is None else mask
    return np.array(np.broadcast_to(np.asarray(data, dtype=bool), shape))


def within(ptrs: Handle) -> np.ndarray | None:
    """Which lanes point into the memory that they came from; None where that is not known."""
    base = ptrs.attr.get("base")
    if base is None:
        return None
    start, size = base
    itemsize = ti._get_np_dtype(ptrs.get_element_ty()).itemsize
    offset = ptrs.data.astype(np.int64) - start
    return (offset >= 0) & (offset + itemsize <= size)


def _argument(old: Any) -> Any:
    def convert(arg: Any) -> Any:
        out = old(arg)
        if hasattr(arg, "data_ptr") and isinstance(out, tl.tensor):
            storage = ti._unwrap_tensor(arg).untyped_storage()
            out.handle.attr["base"] = (storage.data_ptr(), storage.nbytes())
        return out

    return convert


def _following(old: Any) -> Any:
    def method(self: Any, *args: Any) -> Any:
        out = old(self, *args)
        bases = {a.attr.get("base") for a in args if isinstance(a, ti.TensorHandle)}
        base = args[0].attr.get("base") if isinstance(args[0], ti.TensorHandle) else next(iter(bases), None)
        if base is not None and bases <= {base, None}:
            for o in out if isinstance(out, tuple) else (out,):
                o.attr["base"] = base
        return out

    return method


def _selecting(old: Any) -> Any:
    def method(self: Any, a: Handle, b: Handle, c: Handle, op: Any) -> Handle:
        out = old(self, a, b, c, op)
        if op is np.where and b.attr.get("base") is not None and b.attr.get("base") == c.attr.get("base"):
            out.attr["base"] = b.attr["base"]
        return out

    return method


def _masked(at: int) -> Any:
    """A load or a store, whose mask is argument `at`."""

    def wrap(old: Any) -> Any:
        def method(self: Any, ptrs: Handle, *args: Any, **options: Any) -> Any:
            inside = within(ptrs)
            if inside is not None and not inside.all():
                mask = ti.TensorHandle(mask_of(args[at - 1], ptrs.data.shape) & inside, tl.int1)
                args = (*args[: at - 1], mask, *args[at:])
            return old(self, ptrs, *args, **options)

        return method

    return wrap


def _masked_atomic(old: Any) -> Any:
    def method(self: Any, op: Any, ptrs: Handle, value: Handle, mask: Any, *rest: Any) -> Any:
        inside = within(ptrs)
        if inside is not None and not inside.all():
            mask = ti.TensorHandle(mask_of(mask, ptrs.data.shape) & inside, tl.int1)
        return old(self, op, ptrs, value, mask, *rest)

    return method
