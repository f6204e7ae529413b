"""An entry of the catalogue in another dtype: its arrays, and its module, cast; and why some cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gradverify.namespaces.dtypes import FORMATS, ulp

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
        made = _cast(entry, args, real)
        if any(map(_is_elsewhere, args, made)):
            raise NotApplicable(f"an argument leaves the range of {real}")
        _refuse_what_raises(entry, real)
        if entry.bug == LOST_DIGITS and entry.correct is not None and not _loses_digits(entry, real):
            raise NotApplicable("at its point no digit is lost in this dtype")
        return _moved(fn, real), made

    return replace(entry, make=make)


def _moved(fn: Callable[..., Any], real: str) -> Callable[..., Any]:
    return fn.to(getattr(torch, real)) if isinstance(fn, torch.nn.Module) else fn


def _cast(entry: Entry, args: tuple[Any, ...], real: str) -> tuple[Any, ...]:
    cast = {"torch": _torch, "jax": _jax, "numpy": _numpy}[entry.framework]
    return tuple(cast(a, real) for a in args)


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


def _refuse_what_raises(entry: Entry, real: str) -> None:
    """Raise NotApplicable where the forward pass refuses arrays of this dtype, or is finite in its own dtype alone.

    The functions are made for this alone: some keep what they made in their first call.
    """
    fn, args = entry.make()
    try:
        out = _run(entry, _moved(fn, real), _cast(entry, args, real))
    except Exception as e:
        try:
            _run(entry, *entry.make())
        except Exception:
            return  # to raise is what it does
        raise NotApplicable(f"its forward pass raises in {real}: {type(e).__name__}") from e
    if _is_infinite(out) and not _is_infinite(_run(entry, *entry.make())):
        raise NotApplicable(f"its value leaves the range of {real}")
    if entry.framework == "torch":
        _refuse_what_cannot_go_back(entry, real)


LOST_DIGITS = 11
"""The class of mistakes that lose digits: where they do not, as in a tail that underflows, there is none at that point."""


def _loses_digits(entry: Entry, real: str) -> bool:
    """Is the gradient of the wrong function further off than that of the mended one, by more than an ulp in some entry?

    The truth is the mended function's in float64, at the same numbers.
    """
    assert entry.correct is not None
    args = _cast(entry, entry.make()[1], real)
    wide = _cast(entry, args, "float64")
    try:
        true = _gradients(entry, entry.correct()[0], wide)
        found = _gradients(entry, _moved(entry.make()[0], real), args)
        mended = _gradients(entry, _moved(entry.correct()[0], real), args)
    except Exception:
        return True
    with np.errstate(all="ignore"):
        for t, a, b in zip(true, found, mended, strict=True):
            if not (np.abs(a - t) <= np.abs(b - t) + ulp(np.abs(t), FORMATS[real])).all():
                return True
    return False


def _gradients(entry: Entry, fn: Any, args: tuple[Any, ...]) -> list[np.ndarray]:
    """The gradients for a cotangent of ones, in float64 or complex128."""
    if entry.framework == "numpy":
        out, residuals = fn.split(fn.forward(*args))
        found = fn.pull(residuals, np.ones_like(out), args, {})
        found = found if isinstance(found, tuple) else (found,)
    elif entry.framework == "jax":
        import jax

        with jax.enable_x64(True):
            out, back = jax.vjp(fn, *args)
            found = back(jax.numpy.ones_like(out))
    else:
        out = fn(*args)
        needs = [a for a in args if getattr(a, "requires_grad", False)]
        found = torch.autograd.grad(out, needs, torch.ones_like(out))
    return [_wide(g) for g in found]


def _run(entry: Entry, fn: Any, args: tuple[Any, ...]) -> Any:
    """The result of the forward pass."""
    return fn.split(fn.forward(*args))[0] if entry.framework == "numpy" else fn(*args)


def _refuse_what_cannot_go_back(entry: Entry, real: str) -> None:
    """Raise NotApplicable where the backward pass raises in this dtype, as one over NumPy does in bfloat16; of a mutant
    only where PyTorch has no kernel for the dtype: to raise may be the mistake."""
    fn, args = entry.make()
    out = _moved(fn, real)(*_cast(entry, args, real))
    outs = [o for o in (out if isinstance(out, tuple | list) else (out,)) if getattr(o, "requires_grad", False)]
    try:
        torch.autograd.backward(outs, [torch.ones_like(o) for o in outs])
    except NotImplementedError as e:
        raise NotApplicable(f"its backward pass raises in {real}: {type(e).__name__}") from e
    except Exception as e:
        if not entry.bug and isinstance(e, TypeError):
            raise NotApplicable(f"its backward pass raises in {real}: {type(e).__name__}") from e
