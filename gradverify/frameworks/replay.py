"""A framework's own recorded graph, run again in NumPy on recorded arrays: what the tracers of MLX and tinygrad share.

Neither hands its operations to others while a function runs, but both keep a graph of what was computed. Each of its
operations is a line of NumPy in a table; run on a `Recorded`, it becomes an operation of the op table. Integers, masks and
whatever does not depend on an input need no further thought: NumPy computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..core.errors import JUDGED, Unsupported
from ..namespaces.numpy import NUMPY
from ..trace.calls import FlatCall, Found, arguments, confirmed, finished, leaves, traced
from ..trace.value import Traced
from .numpy.tracer import NumpyTracer, Recorded, plain

Program = Callable[[Sequence[Any]], list[Any]]
"""From arrays to the arrays among the leaves of the result, in order; raises Unsupported."""


@dataclass(frozen=True)
class Arrays:
    """A framework's arrays: what a replay needs to know of them.

    value, dtype  as NumPy's values, and as a name
    put           one like another, with other values
    halves, join  a complex one as its real and imaginary part, and back, by the framework's own differentiable functions;
                  None where complex ones are refused
    """

    value: Callable[[Any], np.ndarray]
    dtype: Callable[[Any], str]
    put: Callable[[np.ndarray, Any], Any]
    halves: Callable[[Any], tuple[Any, ...]] | None = None
    join: Callable[[Any, Any], Any] | None = None


def trace_by_replay(
    call: FlatCall, framework: str, sight: str, program: Callable[[], Program], arrays: Arrays, *,
    confirm: bool, strict: bool,
) -> Traced:  # fmt: skip
    """Trace a call whose graph `program` gives, once the function has run."""
    value, put = arrays.value, arrays.put
    result = call.run([put(value(a), a) for a in call.arrays])  # what the function itself raises is the caller's
    xp = NumpyTracer()
    xp.takes_complex = arrays.join is not None
    given = arguments(xp, call, value, arrays.dtype, lambda a: False)
    opaque: list[str] = []
    got: list[Any] = []
    try:
        steps = program()
        inputs = [xp.argument(n, value(a)) for n, a in zip(call.names, call.arrays)]
        with xp.recording(), np.errstate(all="ignore"):
            got = steps(inputs)
    except Unsupported as e:
        opaque.append(str(e))
    except JUDGED as e:
        opaque.append(f"replaying its graph failed ({type(e).__name__}: {e})")
    found = []
    rest = iter(got)
    for path, leaf in leaves(result):
        if not call.is_array(leaf):
            found.append(Found(path, None, type(leaf).__name__))
            continue
        array = value(leaf)
        there = xp.result(path, next(rest)) if not opaque else Found(path, array, "")
        found.append(replace(there, array=array, what=arrays.dtype(leaf)))
    out = traced(xp, framework, given, found, partial(_over_parts, call, arrays), opaque)
    if any(a.part for a in out.arguments) or any(o.part for o in out.outputs):
        kept = tuple(k for k, f in enumerate(found) if f.array is not None and f.array.dtype.kind in "fcV")
        out = replace(out, native=call.flat(kept))
    if out.graph is not None and confirm:
        like = [half for a in call.arrays for half in _halves(arrays, a)]
        why = confirmed(out, xp, put, like, value, call.seed, sight)
        if why:
            out = replace(out, graph=None, opaque=(*out.opaque, why))
    return finished(out, xp, strict)


def _halves(arrays: Arrays, x: Any) -> tuple[Any, ...]:
    return (x,) if arrays.halves is None else arrays.halves(x)


def _over_parts(call: FlatCall, arrays: Arrays, kept: tuple[int, ...]) -> Callable[..., tuple[Any, ...]]:
    """Return the call as a function of flat arrays, two for each complex one."""
    native, join = call.flat(kept), arrays.join
    if join is None:
        return native
    pairs = [len(_halves(arrays, a)) == 2 for a in call.arrays]

    def function(*given: Any) -> tuple[Any, ...]:
        rest = iter(given)
        whole = [join(next(rest), next(rest)) if pair else next(rest) for pair in pairs]
        return tuple(half for out in native(*whole) for half in _halves(arrays, out))

    return function


def op(name: str, numpy: Callable[..., Any] | None = None, **params: Any) -> Callable[..., Any]:
    """An op of the table, over recorded arrays and ordinary ones: for what NumPy itself has no name for. `numpy` computes
    what the table's own namespace lacks."""

    def run(*xs: Any) -> Any:
        xp = next((x.xp for x in xs if isinstance(x, Recorded) and x.xp), None)
        with nullcontext() if xp is None else xp.busy(True):
            values = [np.asarray(plain(x)) for x in xs]
            result = np.asarray((numpy or getattr(NUMPY, name))(*values, **params))
            kind = np.result_type(*values)
            result = result.astype(kind if result.dtype.kind == kind.kind else np.zeros(0, kind).real.dtype)
            if xp is None or not xp.live_in(xs):
                return result
            (made,) = xp.mapped(name, lambda xp, *args: xp.call(name, *args, **params), xp.entered(xs), {}, [result])
            return xp.returned(result, made)

    return run


__all__ = ["Arrays", "Program", "op", "trace_by_replay"]
