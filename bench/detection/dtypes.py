"""An entry of the catalogue in another dtype: its arrays, and its module, cast; and why some cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .catalogue import HALF, Entry
from .tools import NotApplicable

DTYPES = ("float64", "float32", "bfloat16", "float16", "complex64")


def in_dtype(entry: Entry, dtype: str) -> Entry:
    """The entry with every floating-point array in this dtype; with complex ones beside real ones in complex64 and float32.

    Its `make` raises NotApplicable, with the reason, where that is not possible.
    """

    def make() -> tuple[Callable[..., Any], tuple[Any, ...]]:
        fn, args = entry.make()
        kinds = [k for k in map(_kind, args) if k]
        if dtype == "complex64" and "c" not in kinds:
            raise NotApplicable("it is a function of real numbers")
        if dtype != "complex64" and "c" in kinds and dtype != "float64":
            raise NotApplicable("it is a function of complex numbers" + (", which have no 16 bits" * (dtype in HALF)))
        if not kinds:
            raise NotApplicable("none of its arguments is an array")
        if dtype in entry.none_in:
            raise NotApplicable("it is no mistake in this dtype")
        real = "float32" if dtype == "complex64" else dtype
        cast = {"torch": _torch, "jax": _jax, "numpy": _numpy}[entry.framework]
        fn = fn.to(getattr(torch, real)) if isinstance(fn, torch.nn.Module) else fn
        made = tuple(cast(a, real) for a in args)
        if any(map(_is_elsewhere, args, made)):
            raise NotApplicable(f"an argument leaves the range of {real}")
        _refuse_what_raises(entry, fn, made, real)
        return fn, made

    return replace(entry, make=make)


def _kind(x: Any) -> str:
    """ "f" of a real array, "c" of a complex one, else ""."""
    if isinstance(x, torch.Tensor):
        return "c" if x.is_complex() else "f" if x.is_floating_point() else ""
    kind = getattr(getattr(x, "dtype", None), "kind", "")
    return kind if kind in ("f", "c") else ""


def _is_elsewhere(x: Any, made: Any) -> bool:
    """Is a number another one in the narrower dtype: 0 or infinite, where it was neither?"""
    if not _kind(x):
        return False
    old, new = (np.abs(_wide(a)) for a in (x, made))
    return bool((((new == 0) & (old != 0)) | (np.isinf(new) & np.isfinite(old))).any())


def _is_infinite(out: Any) -> bool:
    """Is a value infinite or NaN?"""
    outs = out if isinstance(out, tuple | list) else (out,)
    return any(not np.isfinite(_wide(o)).all() for o in outs if _kind(o))


def _wide(x: Any) -> np.ndarray:
    if isinstance(x, torch.Tensor):
        x = x.detach().to(torch.complex128 if x.is_complex() else torch.float64).resolve_conj().resolve_neg().numpy()
    return np.asarray(x).astype(np.complex128 if _kind(x) == "c" else np.float64)


def _torch(x: Any, real: str) -> Any:
    if not _kind(x):
        return x
    if x.is_complex():
        dtype = torch.complex128 if real == "float64" else torch.complex64
    else:
        dtype = getattr(torch, real)
    return x.detach().to(dtype).requires_grad_(x.requires_grad)


def _jax(x: Any, real: str) -> Any:
    if not _kind(x):
        return x
    return x.astype(("complex128" if real == "float64" else "complex64") if _kind(x) == "c" else real)


def _numpy(x: Any, real: str) -> Any:
    if not _kind(x):
        return x
    if real == "bfloat16":
        raise NotApplicable("NumPy has no bfloat16")
    return np.asarray(x).astype(("complex128" if real == "float64" else "complex64") if _kind(x) == "c" else real)


def _refuse_what_raises(entry: Entry, fn: Callable[..., Any], args: tuple[Any, ...], real: str) -> None:
    """Raise NotApplicable where the forward pass takes no such arrays, or has no finite value of them, unlike of its own."""
    try:
        out = _run(entry, fn, args)
    except Exception as e:
        try:
            _run(entry, *entry.make())
        except Exception:
            return  # to raise is what it does
        raise NotApplicable(f"its forward pass raises in {real}: {type(e).__name__}") from e
    if _is_infinite(out) and not _is_infinite(_run(entry, *entry.make())):
        raise NotApplicable(f"its value leaves the range of {real}")
    if entry.framework == "torch" and not entry.bug:
        _refuse_what_cannot_go_back(entry, real)


def _run(entry: Entry, fn: Any, args: tuple[Any, ...]) -> Any:
    """The result of the forward pass."""
    return fn.split(fn.forward(*args))[0] if entry.framework == "numpy" else fn(*args)


def _refuse_what_cannot_go_back(entry: Entry, real: str) -> None:
    """Raise NotApplicable where a right backward pass raises in this dtype, as one over NumPy does in bfloat16."""
    fn, args = entry.make()
    fn = fn.to(getattr(torch, real)) if isinstance(fn, torch.nn.Module) else fn
    out = fn(*(_torch(a, real) for a in args))
    outs = [o for o in (out if isinstance(out, tuple | list) else (out,)) if getattr(o, "requires_grad", False)]
    try:
        torch.autograd.backward(outs, [torch.ones_like(o) for o in outs])
    except (TypeError, NotImplementedError) as e:
        raise NotApplicable(f"its backward pass raises in {real}: {type(e).__name__}") from e
