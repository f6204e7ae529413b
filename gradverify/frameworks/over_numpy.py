"""The trace of a framework whose arrays hold NumPy's: recorded arrays take their place while the function runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.errors import JUDGED
from ..trace import Traced
from ..trace.calls import FlatCall, Found, arguments, confirmed, finished, leaves, traced
from .base import Framework
from .numpy.tracer import NumpyTracer


def trace_over_numpy(
    framework: Framework,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    wrap: Callable[[np.ndarray], Any],
    unwrap: Callable[[Any], np.ndarray],
    seed: int = 0,
    confirm: bool = True,
    strict: bool = True,
) -> Traced:
    """The graph of `fn(*args, **kwargs)` around this point: most of an adapter's `trace`.

    `wrap` makes the framework's array around one of NumPy's, which it must keep as it is (a subclass that records);
    `unwrap` gives it back. Real arrays alone.
    """

    def value(x: Any) -> np.ndarray:
        return np.array(np.ndarray.view(unwrap(x), np.ndarray))

    call = FlatCall(fn, tuple(args), dict(kwargs), framework.is_array, seed)
    xp = NumpyTracer()
    given = arguments(xp, call, value, lambda x: unwrap(x).dtype.name, lambda x: False)
    opaque: list[str] = []
    try:
        inputs = [wrap(xp.argument(n, value(a))) for n, a in zip(call.names, call.arrays)]
        with xp.recording():
            result = call.run(inputs)
    except JUDGED as e:
        xp.closed = True
        opaque.append(f"it raised {type(e).__name__} on recorded arrays: {e}")
        result = call.run(
            [framework.put(value(a)) for a in call.arrays]
        )  # what the function itself raises is the caller's
    found = []
    for path, leaf in leaves(result):
        if not framework.is_array(leaf):
            found.append(Found(path, None, type(leaf).__name__))
        elif opaque:
            found.append(Found(path, value(leaf), value(leaf).dtype.name))
        else:
            found.append(xp.result(path, unwrap(leaf)))
    out = traced(xp, framework.name, given, found, call.flat, opaque)
    if out.graph is not None and confirm:
        put = lambda new, like: framework.put(np.asarray(new).astype(unwrap(like).dtype))
        why = confirmed(out, xp, put, call.arrays, value, seed, f"{framework.title}'s sight")
        if why:
            out = replace(out, graph=None, opaque=(*out.opaque, why))
    return finished(out, xp, strict)
