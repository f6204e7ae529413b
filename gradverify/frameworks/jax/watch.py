"""JAX's custom gradients as they run: functions of `custom_vjp` and `custom_jvp`, where their values can be seen.

Under `grad` the values stand behind the tracers; under `jit`, `vmap` and `scan` there are none, and the call is counted as
missed. Which cotangents arrive is not seen: they are drawn.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ...trace.callee import positional
from ..watching import (
    MEANT,
    Call,
    Definition,
    Described,
    Entry,
    Met,
    Recorder,
    Sample,
    line_of,
    named,
    signature_of,
    source_of,
)


@contextlib.contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """Tell `recorder` the custom gradients that run in this block."""
    kinds: tuple[Any, ...] = (jax.custom_vjp, jax.custom_jvp)
    given = [(kind, kind.__call__) for kind in kinds]
    for kind, original in given:
        kind.__call__ = _watched(original, recorder)
    try:
        yield
    finally:
        for kind, original in given:
            kind.__call__ = original


def _watched(original: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    met = Met(recorder, definition_of)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        known = met.entry(self)
        if known is None:
            return original(self, *args, **kwargs)
        definition, entry = known
        entry.executed += 1
        leaves, structure = jax.tree.flatten((args, kwargs))
        if not any(isinstance(x, jax.core.Tracer) for x in leaves):
            entry.undifferentiated += 1
            return original(self, *args, **kwargs)
        sample = None
        if entry.is_due():
            try:
                sample = _sample(self, definition, entry, leaves, structure, recorder)
            except Exception as e:  # what is recorded must never break a test
                entry.miss(f"its arguments cannot be copied ({type(e).__name__})")
        out = original(self, *args, **kwargs)
        if sample is not None:
            outs = [x for x in jax.tree.leaves(out) if jax.numpy.issubdtype(x.dtype, jax.numpy.floating)]
            sample.outputs = tuple((tuple(x.shape), str(x.dtype)) for x in outs)
            entry.keep(sample)
        return out

    return call


def definition_of(fn: Any) -> Definition | None:
    """Where a custom function is written; None for JAX's own: those whose rule is JAX's as well."""
    inner = inspect.unwrap(fn.fun) if callable(getattr(fn, "fun", None)) else None
    if inner is None:
        return None
    rule = getattr(fn, "bwd", None) or getattr(fn, "jvp", None)
    modules = [getattr(f, "__module__", None) or "" for f in (inner, rule) if f is not None]
    module = next((m for m in modules if m.split(".")[0] not in ("jax", "jaxlib", "gradverify")), None)
    if module is None:
        return None
    forward, backward = source_of(inner), source_of(rule)
    backward = backward if backward[0] else forward
    return Definition(
        f"{module}.{getattr(inner, '__qualname__', 'custom').replace('.<locals>', '')}", "jax", module,
        backward[0], line_of(forward), line_of(backward), meant=getattr(fn, MEANT, None),
    )  # fmt: skip


def _sample(
    fn: Any, definition: Definition, entry: Entry, leaves: list[Any], structure: Any, recorder: Recorder
) -> Sample | None:
    """A copy of the call; None where it is not wanted, or has no values."""
    values = [_value(x) for x in leaves]
    if any(isinstance(x, jax.core.Tracer) for x in values):
        entry.miss("it ran under jit, vmap or scan")
        return None
    paths = jax.tree_util.tree_flatten_with_path(jax.tree.unflatten(structure, list(range(len(leaves)))))[0]
    names = [_name(fn, path) for path, _ in paths]
    places = [k for k, x in enumerate(leaves) if isinstance(x, jax.core.Tracer) and _floating(values[k])]
    arrays = {k for k, v in enumerate(values) if isinstance(v, jax.Array | np.ndarray)}
    signature = signature_of((names[k], str(values[k].dtype), values[k].shape, k in places) for k in sorted(arrays))
    fixed = ", ".join(f"{names[k]}={v!r:.60}" for k, v in enumerate(values) if k not in arrays)
    size = sum(values[k].nbytes for k in arrays)
    if not places:
        return None
    described = Described(signature, fixed, [names[k] for k in sorted(arrays)])
    call = Call((signature, fixed), size, lambda: [np.asarray(values[k]) for k in sorted(arrays)])
    seat = entry.weigh(call, lambda: described)
    if seat is None:
        return None

    def function(*given: Any) -> Any:
        full = list(values)
        for k, x in zip(places, given):
            full[k] = x
        args, kwargs = jax.tree.unflatten(structure, full)
        return fn(*args, **kwargs)

    title = definition.name.rpartition(".")[2]
    return Sample(
        definition, signature, fixed, named(function, title, [names[k] for k in places]), tuple(names[k] for k in places),
        tuple(values[k] for k in places), first=recorder.place(), pulled=1, whole=tuple(zip(names, values)), size=size,
        seat=seat,
    )  # fmt: skip


def _value(x: Any) -> Any:
    """The value behind the tracers of differentiation."""
    while isinstance(x, jax.core.Tracer) and hasattr(x, "primal"):
        x = x.primal
    return x


def _floating(x: Any) -> bool:
    return bool(jax.numpy.issubdtype(x.dtype, jax.numpy.floating))


def _name(fn: Any, path: tuple[Any, ...]) -> str:
    """`x`, `params['w']`: by the function's own parameter names."""
    where, first, *rest = path
    head = str(first.key) if where.idx == 1 else positional(fn.fun, first.idx)
    return head + jax.tree_util.keystr(tuple(rest))
