"""CuPy: the function run on NumPy's arrays, with NumPy in the place of CuPy.

CuPy's functions take none but CuPy's arrays, but have NumPy's names and meaning: the definition is the same program over
NumPy. The modules that a function refers to as `cupy` are exchanged for NumPy while it is recorded; what NumPy does not
have (raw kernels, `cupyx`) makes the function opaque. The graph is held against the function itself, on the GPU.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import cupy
import numpy as np

from ...core.errors import JUDGED
from ...trace.calls import FlatCall, Found, arguments, change_arrays, confirmed, finished, leaves, mapped, traced
from ...trace.value import Traced
from ..numpy.handwritten import Flat, HandWritten
from ..numpy.tracer import NumpyTracer, traced_call


def trace(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    confirm: bool = True,
    strict: bool = True,
) -> Traced:
    """The graph of `fn(*args, **kwargs)` around this point; see `numpy.trace`."""
    call = FlatCall(fn, tuple(args), dict(kwargs or {}), is_array, seed)
    flat = functools.partial(Flat, call) if isinstance(fn, HandWritten) else call.flat
    numbers = mapped(value, (call.args, call.kwargs))
    twin = FlatCall(fn, numbers[0], numbers[1], lambda x: isinstance(x, np.ndarray), seed)
    xp = NumpyTracer()
    try:
        with numpy_for_cupy(fn):
            found = traced_call(twin, "cupy", flat, confirm=False, strict=False)
    except JUDGED as e:
        given = arguments(xp, call, value, lambda a: a.dtype.name, lambda a: False)
        result = call.run([a.copy() for a in call.arrays])  # what the function itself raises is the caller's
        outs = [_found(path, leaf) for path, leaf in leaves(result)]
        why = f"it does not run with NumPy in the place of CuPy ({type(e).__name__}: {e})"
        found = traced(xp, "cupy", given, outs, flat, [why])
    if found.graph is not None and confirm:
        why_not = confirmed(found, xp, put, call.arrays, value, seed, "NumPy's sight")
        if why_not:
            found = replace(found, graph=None, opaque=(*found.opaque, why_not))
    for note in found.notes:
        xp.note(note)
    return finished(found, xp, strict)


def replaced(change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with some of their arrays changed: for `judge.variations`."""
    return change_arrays(is_array, value, lambda new, like: cupy.asarray(new), change, args)


def is_array(x: Any) -> bool:
    return isinstance(x, cupy.ndarray)


def value(x: Any) -> Any:
    """CuPy's arrays as NumPy's; anything else as it is."""
    return cupy.asnumpy(x) if is_array(x) else x


def put(new: np.ndarray, like: Any) -> Any:
    return cupy.asarray(np.asarray(new).astype(like.dtype))


def _found(path: str, leaf: Any) -> Found:
    if not is_array(leaf):
        return Found(path, None, type(leaf).__name__)
    return Found(path, value(leaf), leaf.dtype.name)


class _AsNumpy(types.ModuleType):
    """NumPy under CuPy's name, with the few functions that only CuPy has."""

    asnumpy = staticmethod(np.asarray)

    def get_array_module(self, *_: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextmanager
def numpy_for_cupy(fn: Any) -> Iterator[None]:
    """In the globals of the function's module, and in its cells. (An import inside the function gets CuPy itself.)"""
    if isinstance(fn, HandWritten):
        fn = fn.forward
    fn = getattr(fn, "__func__", fn)
    shim = _AsNumpy("cupy")
    names = getattr(fn, "__globals__", {})
    before = {n: v for n, v in names.items() if v is cupy}
    cells = [c for c in getattr(fn, "__closure__", None) or () if _contents(c) is cupy]
    try:
        names.update(dict.fromkeys(before, shim))
        for cell in cells:
            cell.cell_contents = shim
        yield
    finally:
        names.update(before)
        for cell in cells:
            cell.cell_contents = cupy


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None
