"""The engine's custom gradients as they run: `autograd.Function.apply`."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ...core.imports import importable
from ...engine.autograd.function import Function
from ...engine.modes import state
from ...engine.tensor import Tensor
from ...trace.callee import positional_names
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
    given = Function.__dict__["apply"]
    original = given.__func__
    if getattr(original, "recorder", None) is recorder:  # of a framework that is the engine under another name
        yield
        return
    met = Met(recorder, definition_of)

    @functools.wraps(original)
    def apply(cls: type[Function], *args: Any) -> Any:
        known = met.entry(cls)
        if known is None:
            return original(cls, *args)
        definition, entry = known
        entry.executed += 1
        if not state.enabled or not any(isinstance(a, Tensor) and a.requires_grad for a in args):
            entry.undifferentiated += 1
            return original(cls, *args)
        sample = _sample(cls, definition, entry, args, recorder) if entry.is_due() else None
        out = original(cls, *args)
        if sample is not None:
            entry.keep(sample)
            _follow(sample, out)
        return out

    apply.recorder = recorder  # type: ignore[attr-defined]
    Function.apply = classmethod(apply)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Function.apply = given  # type: ignore[method-assign]


def definition_of(cls: type[Function]) -> Definition:
    """Where a Function is written."""
    forward, backward = source_of(cls.forward), source_of(cls.backward)
    return Definition(
        f"{cls.__module__}.{cls.__qualname__.replace('.<locals>', '')}", "engine", cls.__module__, backward[0],
        line_of(forward), line_of(backward), importable(f"{cls.__module__}:{cls.__qualname__}", cls),
        meant=getattr(cls, MEANT, None),
    )  # fmt: skip


def _sample(
    cls: type[Function], definition: Definition, entry: Entry, args: tuple[Any, ...], recorder: Recorder
) -> Sample | None:
    """A copy of the call; None where it is not wanted."""
    names = positional_names(cls.apply, len(args))
    places = [k for k, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    arrays = {k: a.detach().numpy().copy() for k, a in enumerate(args) if isinstance(a, Tensor)}
    signature = signature_of((names[k], str(x.dtype), x.shape, k in places) for k, x in arrays.items())
    fixed = ", ".join(f"{names[k]}={a!r:.60}" for k, a in enumerate(args) if k not in arrays)
    size = sum(x.nbytes for x in arrays.values())
    described = Described(signature, fixed, [names[k] for k in arrays])
    seat = entry.weigh(Call((signature, fixed), size, lambda: list(arrays.values())), lambda: described)
    if seat is None:
        return None
    from ... import engine

    values = [engine.from_numpy(arrays[k]) if k in arrays else a for k, a in enumerate(args)]

    def function(*tensors: Any) -> Any:
        full = [v.clone() if isinstance(v, Tensor) else v for v in values]
        for k, t in zip(places, tensors):
            full[k] = t
        return cls.apply(*full)

    return Sample(
        definition, signature, fixed, named(function, cls.__name__, [names[k] for k in places]),
        tuple(names[k] for k in places), tuple(values[k] for k in places), first=recorder.place(),
        whole=tuple(zip(names, values)), size=size, seat=seat,
    )  # fmt: skip


def _follow(sample: Sample, out: Any) -> None:
    """Note the outputs, and the cotangents when they arrive at the node."""
    outputs = [o for o in (out if isinstance(out, tuple) else (out,)) if isinstance(o, Tensor)]
    sample.outputs = tuple((tuple(o.shape), str(o._data.dtype)) for o in outputs if o._data.dtype.kind == "f")
    node: Any = next((o._edge[0] for o in outputs if o._edge is not None), None)
    if node is None or len(sample.outputs) != len(outputs):
        return
    backward: Callable[..., Any] = type(node).backward

    def noted(g: Any, over: Any) -> Any:
        sample.create_graph |= over is not None
        grads = [g] if node_outputs == 1 else g
        sample.note_cotangent(lambda: tuple(None if d is None else _array(d) for d in grads))
        return backward(reference(), g, over)

    node_outputs, reference = len(outputs), weakref.ref(node)  # a node that its own attribute holds would not be freed
    node.backward = noted


def _array(g: Any) -> Any:
    return (g.detach().numpy() if isinstance(g, Tensor) else g).copy()
