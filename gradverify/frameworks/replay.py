"""A framework's own recorded graph, run again in NumPy on recorded arrays: what the tracers of MLX and tinygrad share.

Neither hands its operations to others while a function runs, but both keep a graph of what was computed. Each of its
operations is a line of NumPy in a table; run on a `Recorded`, it becomes an operation of the op table. Integers, masks and
whatever does not depend on an input need no further thought: NumPy computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.errors import Unsupported
from ..namespaces.numpy import NUMPY
from ..trace.base import Traced
from ..trace.calls import FlatCall, Found, arguments, confirmed, finished, leaves, traced
from .numpy.tracer import NumpyTracer, Recorded, plain

Program = Callable[[Sequence[Any]], list[Any]]
"""From arrays to the arrays among the leaves of the result, in order; raises Unsupported."""


def trace_by_replay(
    call: FlatCall, framework: str, sight: str, program: Callable[[], Program], *, value: Callable[[Any], np.ndarray],
    dtype: Callable[[Any], str], put: Callable[[np.ndarray, Any], Any], confirm: bool, strict: bool,
) -> Traced:  # fmt: skip
    """Trace a call whose graph `program` gives, once the function has run.

    value, dtype  of the framework's arrays, as NumPy's values and as a name; `put` makes one like another
    """
    result = call.run([put(value(a), a) for a in call.arrays])  # what the function itself raises is the caller's
    xp = NumpyTracer()
    given = arguments(xp, call, value, dtype, lambda a: False)
    written: list[str] = []
    opaque: list[str] = []
    got: list[Any] = []
    try:
        steps = program()
        inputs = [xp.argument(n, value(a)) for n, a in zip(call.names, call.arrays)]
        with xp.recording():
            got = steps(inputs)
    except Unsupported as e:
        opaque.append(str(e))
    except Exception as e:
        opaque.append(f"replaying its graph failed ({type(e).__name__}: {e})")
    found = []
    arrays = iter(got)
    for path, leaf in leaves(result):
        if not call.is_array(leaf):
            found.append(Found(path, None, type(leaf).__name__))
            continue
        array = value(leaf)
        there = xp.result(path, next(arrays)) if not opaque else Found(path, array, "")
        found.append(replace(there, array=array, what=dtype(leaf)))
    out = traced(xp, framework, given, found, call.flat, opaque, written=tuple(written))
    if out.graph is not None and confirm:
        why = confirmed(out, xp, put, call.arrays, value, call.seed, sight)
        if why:
            out = replace(out, graph=None, opaque=(*out.opaque, why))
    return finished(out, xp, strict)


def op(name: str, **params: Any) -> Callable[..., Any]:
    """An op of the table, over recorded arrays and ordinary ones: for what NumPy itself has no name for."""

    def run(*xs: Any) -> Any:
        xp = next((x.xp for x in xs if isinstance(x, Recorded) and x.xp), None)
        with nullcontext() if xp is None else xp.busy(True):
            values = [np.asarray(plain(x)) for x in xs]
            result = np.asarray(getattr(NUMPY, name)(*values, **params), dtype=np.result_type(*values))
            if xp is None or not xp.live_in(xs):
                return result
            (made,) = xp.mapped(name, lambda xp, *args: xp.call(name, *args, **params), xp.entered(xs), {}, [result])
            return xp.returned(result, made)

    return run


__all__ = ["Program", "op", "trace_by_replay"]
