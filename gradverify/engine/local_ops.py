"""Ops of the engine's own: copies and conversions, which are no mathematics, and indices that are arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.op import OpSpec, Param
from ..ops import OPS
from ..ops.reduction import shared_among
from . import wirtinger

LOCAL: Mapping[str, OpSpec] = {
    spec.name: spec
    for spec in (
        OpSpec(
            name="clone", doc="the same values in memory of their own, in the order of the old or of rows",
            example="clone(x)", shape=lambda s, **_: s, params={"order": Param("string", "K")},
            define=lambda xp, x, order="K": xp.module.array(x, order=order if is_gapless(x) else "C"),
            vjp=(lambda xp, g, out, x, order="K": g,),
        ),
        OpSpec(
            name="cast", doc="the same values in another dtype; the cotangent is cast back by the tape",
            example="cast(x, to=float64)", shape=lambda s, **_: s,
            define=lambda xp, x, to: x.astype(to), vjp=(lambda xp, g, out, x, to: g,), params={"to": Param("string")},
        ),
        OpSpec(
            name="pick_value", doc="the entry at a place of the flattened array; those equal to it share its cotangent",
            example="pick_value(x, at=0)", shape=lambda s, **_: (), params={"at": Param("int")},
            define=lambda xp, x, at: x.reshape(-1)[at],
            vjp=(lambda xp, g, out, x, at: shared_among(xp, g, _same(xp, x, out), x, None),),
        ),
        OpSpec(
            name="bce_of_each", doc="binary cross-entropy, each logarithm cut off at -100, as PyTorch has it",
            example="bce_of_each(x, y)", arity=2, shape=lambda s, t, **_: s,
            define=lambda xp, x, y: -(y * _low(xp, xp.log(x)) + (1 - y) * _low(xp, xp.log1p(-x))),
            # The derivative is PyTorch's too, which is finite at 0 and 1: its denominator is at least 1e-12.
            vjp=(lambda xp, g, out, x, y: g * (x - y) / xp.maximum((1 - x) * x, _like(xp, x, 1e-12)),
                 lambda xp, g, out, x, y: g * (xp.log1p(-x) - xp.log(x))),
        ),
        OpSpec(
            name="index", doc="x[at] for a native index that holds arrays", example="index(x, at=...)",
            shape=lambda s, **_: s, params={"at": Param("index")},
            define=lambda xp, x, at: x[at],
            vjp=(lambda xp, g, out, x, at: xp.index_put_add(g, at, xp.shape(x)),),
        ),
        OpSpec(
            name="index_put_add", doc="zeros of `shape` with x added at [at]: the adjoint of index",
            example="index_put_add(x, at=..., shape=(3,))",
            shape=lambda s, shape, **_: shape, params={"at": Param("index"), "shape": Param("shape")},
            define=lambda xp, x, at, shape: _put_add(xp, x, at, shape),
            vjp=(lambda xp, g, out, x, at, shape: xp.index(g, at),),
        ),
        OpSpec(
            name="index_put", doc="x with values written at [at]", example="index_put(x, v, at=...)", arity=2,
            shape=lambda s, v, **_: s, params={"at": Param("index")},
            define=lambda xp, x, v, at: _put(xp, x, v, at),
            vjp=(lambda xp, g, out, x, v, at: xp.index_put(g, 0.0, at),
                 lambda xp, g, out, x, v, at: xp.sum_to(xp.index(g, at), xp.shape(v))),
        ),
        OpSpec(
            name="as_strided", doc="entries of the memory that x is part of, by sizes, strides and an offset",
            example="as_strided(x, size=(2,), stride=(1,), offset=0, ...)", shape=lambda s, size, **_: size,
            params={"size": Param("shape"), "stride": Param("shape"), "offset": Param("int")} | {
                name: Param("index") for name in ("slots", "at", "reached", "slot")
            },
            define=lambda xp, x, size, stride, offset, **_: strided(x, size, stride, offset),
            vjp=(lambda xp, g, out, x, slots, at, reached, slot, **_: _unstrided(xp, g, x, slots, at, reached, slot),),
        ),
        OpSpec(
            name="lay_out", doc="the same values in memory of their own, of a size, at an offset and with strides",
            example="lay_out(x, memory=4, offset=0, stride=(1,))", shape=lambda s, **_: s,
            params={"memory": Param("int"), "offset": Param("int"), "stride": Param("shape")},
            define=lambda xp, x, memory, offset, stride: lay_out(x, memory, offset, stride),
            vjp=(lambda xp, g, out, x, **_: g,),
        ),
    )
} | wirtinger.OPS  # fmt: skip


def flat_memory(x: np.ndarray) -> np.ndarray:
    """All the memory of the array that owns that of x, flat, as entries of x's dtype."""
    owner: Any = x
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    flat = owner.ravel(order="K")
    return flat if flat.dtype == x.dtype else flat.view(x.dtype)


def strides_of(x: np.ndarray) -> tuple[int, ...]:
    """The strides, in entries."""
    return tuple(s // x.itemsize for s in x.strides)


def strided(x: np.ndarray, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> np.ndarray:
    """Entries of the memory that x is part of. Shares it."""
    memory = flat_memory(x)
    if 0 in size:
        return memory[:0].reshape(size)
    return np.ndarray(size, x.dtype, memory, offset * x.itemsize, tuple(s * x.itemsize for s in stride))


def _unstrided(xp: Any, g: Any, x: Any, slots: int, at: Any, reached: Any, slot: Any) -> Any:
    """The adjoint of `strided`: what each place in memory gets, shared by the entries of x that lie there."""
    flat = xp.reshape(g, (-1,))
    if reached is not None:
        flat = xp.index(flat, (reached,))
    there = xp.index(xp.index_put_add(flat, (at,), (slots,)), (slot.reshape(-1),))
    if slots < slot.size:
        there = there / np.bincount(slot.reshape(-1))[slot.reshape(-1)].astype(
            there.dtype if isinstance(there, np.ndarray) else there._data.dtype
        )
    return xp.reshape(there, xp.shape(x))


def lay_out(x: np.ndarray, memory: int, offset: int, stride: tuple[int, ...]) -> np.ndarray:
    out = strided(np.zeros(memory, x.dtype), x.shape, stride, offset)
    out[...] = x
    return out


def _same(xp: Any, x: Any, value: Any) -> Any:
    """Where x equals the value, NaN counting as equal to NaN."""
    is_nan = lambda a: xp.not_equal(a, a)
    return xp.logical_or(xp.equal(x, value), xp.logical_and(is_nan(x), is_nan(value)))


def _like(xp: Any, x: Any, value: float) -> Any:
    return xp.full_like(x, value)


def _low(xp: Any, x: Any) -> Any:
    return xp.maximum(x, _like(xp, x, -100.0))


def _put_add(xp: Any, x: Any, at: Any, shape: Any) -> Any:
    out = xp.zeros(shape, like=x)
    xp.module.add.at(out, at, x)
    return out


def _put(xp: Any, x: Any, values: Any, at: Any) -> Any:
    out = xp.module.array(x)
    out[at] = values
    return out


def spec_of(name: str) -> OpSpec | None:
    """The declaration of an op, of the table or the engine's own."""
    return OPS.get(name) or LOCAL.get(name)


def is_gapless(x: np.ndarray) -> bool:
    """Is the memory dense: every entry once, in whatever order of the axes?"""
    step = x.itemsize
    for stride, n in sorted((s, n) for s, n in zip(x.strides, x.shape) if n > 1):
        if stride != step:
            return False
        step *= n
    return True
