"""JAX's custom gradients as they run: functions of `custom_vjp` and `custom_jvp`.

Under `grad` the values stand behind the tracers, and the call is copied before it runs; which cotangents arrive is not seen
there: they are drawn. Under `jit`, `vmap` and `scan` there are no values yet: the rules hand them over when they run
(`staged`). What was compiled before the watch began is not seen.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import weakref
from collections.abc import Callable, Iterator
from threading import Lock
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
    is_anybody_judging,
    line_of,
    named,
    signature_of,
    source_of,
)
from .staged import Arrived, Cotangents, is_plain, staged

MOST_BYTES = 2**22
"""What the values of one call may take that a compiled rule hands over: they are copied each time it runs."""


TRACES = 32
"""Calls with hidden values of one definition that are all watched; of later ones those whose number is a power of two. Each
costs a callback whenever its compiled rule runs."""


@contextlib.contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """Tell `recorder` the custom gradients that run in this block."""
    kinds: tuple[Any, ...] = (jax.custom_vjp, jax.custom_jvp)
    given = [(kind, kind.__call__) for kind in kinds]
    hidden = _Hidden(recorder)
    for kind, original in given:
        kind.__call__ = _watched(original, recorder, hidden)
    try:
        yield
    finally:
        for kind, original in given:
            kind.__call__ = original
        hidden.end()


def _watched(original: Callable[..., Any], recorder: Recorder, hidden: _Hidden) -> Callable[..., Any]:
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
        values = [_value(x) for x in leaves]
        if any(isinstance(x, jax.core.Tracer) for x in values):
            twin = hidden.twin(self, definition, entry, structure)
            return original(self if twin is None else twin, *args, **kwargs)
        sample = None
        if entry.is_due():
            try:
                places = [k for k, x in enumerate(leaves) if isinstance(x, jax.core.Tracer) and _floating(values[k])]
                sample = _sample(self, definition, entry, values, structure, places, recorder.place())
            except Exception as e:  # what is recorded must never break a test
                entry.miss(f"its arguments cannot be copied ({type(e).__name__})")
        out = original(self, *args, **kwargs)
        if sample is not None:
            sample.pulled = 1
            outs = [x for x in jax.tree.leaves(out) if jax.numpy.issubdtype(x.dtype, jax.numpy.floating)]
            sample.outputs = tuple((tuple(x.shape), str(x.dtype)) for x in outs)
            entry.keep(sample)
        return out

    return call


class _Hidden:
    """Custom gradients that were called with hidden values: what their rules hand over becomes samples.

    Compiled code outlives the watch, and reaches this: what was recorded is held weakly.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = weakref.ref(recorder)
        self.is_over = False
        self.lock = Lock()
        self.kept: list[tuple[Sample, list[Any]]] = []

    def twin(self, fn: Any, definition: Definition, entry: Entry, structure: Any) -> Any:
        """The copy to be called in the place of `fn`; None where its rules cannot hand over values."""
        try:
            return self._twin(fn, definition, entry, structure)
        except Exception as e:  # what is recorded must never break a test
            entry.miss(f"its rules cannot be watched ({type(e).__name__})")
            return None

    def _twin(self, fn: Any, definition: Definition, entry: Entry, structure: Any) -> Any:
        rules = (getattr(fn, "fwd", None), getattr(fn, "bwd", None), getattr(fn, "jvp", None))
        if not ((rules[0] and rules[1]) or rules[2]):
            return None  # JAX says that a rule is missing
        if getattr(fn, "optimize_remat", False):
            entry.miss("it ran under jit, vmap or scan, and JAX chooses its residuals (optimize_remat)")
            return None
        known = fn.__dict__.get(TWINS)
        if known is None or known[0] is not self or known[1] != rules:
            fn.__dict__.pop(TWINS, None)
            listener = _Listener(self, weakref.ref(fn), definition, entry)
            known = (self, rules, listener, staged(fn, listener, MOST_BYTES))
            fn.__dict__[TWINS] = known  # its own: rules reach the function that they belong to, and go with it
        _, _, listener, (zeros, plain) = known
        recorder = self.recorder()
        if recorder is None or not listener.is_called(entry, recorder.place()):
            return None
        return zeros if is_plain(structure) else plain

    def end(self) -> None:
        """Wait for what still runs; make arrays of JAX of what arrived."""
        with contextlib.suppress(Exception):  # an error of the program's, which it has been told already
            jax.effects_barrier()
        self.is_over = True
        with jax.enable_x64(True):
            for sample, values in self.kept:
                values[:] = [jax.numpy.asarray(v) if isinstance(v, np.ndarray) else v for v in values]
                whole = dict(zip((name for name, _ in sample.whole), values))
                sample.whole, sample.args = tuple(whole.items()), tuple(whole[n] for n in sample.names)
        self.kept = []


TWINS = "__gradverify_twins__"


class _Listener:
    """Makes samples of what the rules of one custom gradient hand over.

    untraced  calls whose rule was not traced so far; as long as it is not, nothing differentiates them
    unrun     traced rules that have not run so far: the trace was counted as their execution
    """

    def __init__(self, hidden: _Hidden, fn: weakref.ref[Any], definition: Definition, entry: Entry) -> None:
        self.hidden, self.fn, self.definition, self.entry = hidden, fn, definition, weakref.ref(entry)
        self.called = self.untraced = self.unrun = 0
        self.place = ""

    def is_called(self, entry: Entry, place: str) -> bool:
        """Count a call, at this place. Is it watched?"""
        self.called += 1
        if self.called > TRACES and self.called & (self.called - 1):
            return False
        self.place = self.place or place  # a rule may call the function itself
        self.untraced += 1
        entry.undifferentiated += 1
        return True

    def begins(self) -> None:
        entry = self._open()
        if entry is not None and self.untraced:
            self.untraced -= 1
            self.unrun += 1
            entry.undifferentiated -= 1

    def misses(self, why: str) -> None:
        entry = self._open()
        if entry is not None:
            entry.miss(why)

    def is_due(self) -> bool:
        entry = self._open()
        if entry is None:
            return False
        if is_anybody_judging():
            entry.checked = True
            return False
        if self.unrun:
            self.unrun -= 1
        else:
            entry.executed += 1
        return entry.is_due()

    def arrives(self, call: Arrived, values: list[Any], cotangents: Cotangents | None) -> None:
        hidden, entry, fn, recorder = self.hidden, self._open(), self.fn(), self.hidden.recorder()
        if entry is None or fn is None or recorder is None:
            return
        with hidden.lock:
            place = recorder.place(self.place)
            sample = _sample(fn, self.definition, entry, values, call.structure, call.places, place)
            if sample is None:
                return
            sample.outputs = call.outputs
            if cotangents is None:
                sample.pulled = 1
            else:
                sample.note_cotangent(lambda: cotangents)
            hidden.kept.append((sample, values))
            entry.keep(sample)

    def _open(self) -> Entry | None:
        """The entry, while the watch goes on."""
        return None if self.hidden.is_over else self.entry()


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
    fn: Any, definition: Definition, entry: Entry, values: list[Any], structure: Any, places: list[int], place: str
) -> Sample | None:
    """A sample of the call on these leaves of `(args, kwargs)`; None where it is not wanted."""
    paths = jax.tree_util.tree_flatten_with_path(jax.tree.unflatten(structure, list(range(len(values)))))[0]
    names = [_name(fn, path) for path, _ in paths]
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
        tuple(values[k] for k in places), first=place, whole=tuple(zip(names, values)), size=size, seat=seat,
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
