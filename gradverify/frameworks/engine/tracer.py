"""The reference engine: its tensors over recorded arrays, its kernels by the name of their op.

Every op of the engine runs one kernel over the arrays of its operands. Where the kernel is that of an op of the table, the
op is recorded and the kernel is not looked into (it may approximate what the op defines); the others, copies and index
arithmetic, are NumPy and are recorded as that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ... import engine
from ...core.errors import JUDGED
from ...engine import dispatch, modes, nn, rules
from ...ops import OPS
from ...trace.call_site import called_from
from ...trace.calls import FlatCall, Found, arguments, change_arrays, confirmed, finished, leaves, traced
from ...trace.value import Traced
from ..numpy.tracer import NumpyTracer, as_array, copied, plain, put, same

DETACHED = "a value was detached (detach, no_grad) on its way; the definition differentiates through it"
STOPPED = "a value was detached on its way; the definition holds it fixed"


def trace(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    stop_detached: bool = False,
    confirm: bool = True,
    strict: bool = True,
) -> Traced:
    """The graph of `fn(*args, **kwargs)` around this point.

    Tensors among the arguments (nested in tuples, lists and dicts) become inputs, and so do the parameters of a module.
    `stop_detached` holds detached values fixed, as the engine's backward does, instead of following the forward
    definition through them. Raises as `numpy.trace` does.
    """
    call = _Call(fn, tuple(args), dict(kwargs or {}), _is_tensor, seed)
    xp = EngineTracer(stop_detached)
    count = len(call.arrays) - len(call.parameters)
    given = [
        replace(a, role="parameter" if k >= count else "argument")
        for k, a in enumerate(
            arguments(xp, call, lambda t: as_array(t._array()), _dtype, lambda t: bool(t.requires_grad))
        )
    ]
    inputs = [_with(t, xp.argument(n, t._array())) for n, t in zip(call.names, call.arrays)]
    opaque: list[str] = []
    try:
        with xp.recording(), xp.watching():
            result = call.run(inputs)
    except JUDGED as e:
        xp.closed = True
        result = call.run([_with(t, copied(t._array())) for t in call.arrays])
        opaque.append(f"it raised {type(e).__name__} on recorded arrays: {e}")
    found = [_found(xp, path, leaf, bool(opaque)) for path, leaf in leaves(result)]
    written = [n for n, t in zip(call.names, inputs) if not same(plain(t._array()), xp.values[n])]
    for n in written:
        xp.note(f"the function writes to its argument {n}")
    out = traced(xp, "engine", given, found, call.flat, opaque, written=tuple(written),
                 detaches=bool({DETACHED, STOPPED} & xp.notes.keys()), detach_sites=tuple(xp.detach_sites),
                 custom=xp.custom)  # fmt: skip
    if out.graph is not None and confirm and not stop_detached:
        remade = lambda value, like: _with(like, put(value, like._array()))
        why = confirmed(
            out, xp, remade, call.arrays, lambda t: as_array(t.detach()._array()), seed, "the engine's sight"
        )
        if why:
            out = replace(out, graph=None, opaque=(*out.opaque, why))
    return finished(out, xp, strict)


def replaced(change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with some of their arrays changed: for `judge.variations`."""
    return change_arrays(_is_tensor, lambda x: x._array(), lambda new, like: _with(like, new), change, args)


def _is_tensor(x: Any) -> bool:
    return isinstance(x, engine.Tensor)


def _dtype(t: Any) -> str:
    return str(t.dtype).rpartition(".")[2]


def _with(t: Any, array: Any) -> Any:
    """A leaf like `t` over another array."""
    return engine.from_numpy(array if isinstance(array, np.ndarray) else np.array(array)).requires_grad_(
        t.requires_grad
    )


def _found(xp: EngineTracer, path: str, leaf: Any, lost: bool) -> Found:
    if not _is_tensor(leaf):
        return Found(path, None, type(leaf).__name__)
    if lost:
        return Found(path, as_array(leaf._array()), _dtype(leaf))
    found = xp.result(path, leaf._array())
    # Where the engine keeps no gradient of it although it depends on what requires grad.
    detached = found.node is not None and xp.flagged and not leaf.requires_grad
    return replace(found, what=_dtype(leaf), detached=detached)


class _Call(FlatCall):
    """A call whose arrays end with the parameters of the module that it calls."""

    def __post_init__(self) -> None:
        super().__post_init__()
        owner = getattr(self.fn, "__self__", self.fn)
        self.module = owner if isinstance(owner, nn.Module) else None
        self.parameters = {} if self.module is None else dict(self.module.named_parameters())
        for name, p in self.parameters.items():
            self.names.append(f"self.{name}" if name in self.names else name)
            self.owners.append(name)
            self.arrays.append(p)

    def run(self, arrays: Sequence[Any]) -> Any:
        count = len(self.arrays) - len(self.parameters)
        with _exchanged(self.module, dict(zip(self.parameters, arrays[count:]))):
            return super().run(arrays[:count])


@contextmanager
def _exchanged(module: Any, parameters: Mapping[str, Any]) -> Iterator[None]:
    """A module with other tensors for its parameters."""
    before = []
    for name, tensor in parameters.items():
        path, _, last = name.rpartition(".")
        owner = module
        for part in path.split(".") if path else ():
            owner = getattr(owner, part)
        before.append((owner._parameters, last, owner._parameters[last]))
        owner._parameters[last] = tensor
    try:
        yield
    finally:
        for table, last, old in before:
            table[last] = old


class EngineTracer(NumpyTracer):
    """The tracer of NumPy, to which the engine tells its ops."""

    def __init__(self, stop_detached: bool) -> None:
        super().__init__()
        self.stop_detached = stop_detached
        self.depth = 0
        self.custom = False
        self.flagged = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        tensors: Any = engine.Tensor
        run, detach, apply = dispatch.quiet.run, tensors.detach, engine.autograd.Function.__dict__["apply"]

        def kernel(body: Callable[..., Any], *raws: Any, **params: Any) -> Any:
            return self.kernel(run, body, raws, params)

        def cut(tensor: Any) -> Any:
            if self.closed or not self.is_live(tensor._array()):
                return detach(tensor)
            self.note(STOPPED if self.stop_detached else DETACHED)
            self.detach_sites[f"{called_from()} (detach)"] = None
            return engine.from_numpy(np.array(plain(tensor._array()))) if self.stop_detached else detach(tensor)

        def applied(cls: Any, *args: Any) -> Any:
            self.depth += 1
            self.custom = True
            try:
                return apply.__func__(cls, *args)
            finally:
                self.depth -= 1

        dispatch.quiet.run, tensors.detach = kernel, cut
        engine.autograd.Function.apply = classmethod(applied)  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            dispatch.quiet.run, tensors.detach = run, detach
            engine.autograd.Function.apply = apply  # type: ignore[method-assign]

    def kernel(self, run: Callable[..., Any], body: Callable[..., Any], raws: tuple[Any, ...], params: Any) -> Any:
        """One kernel, recorded as the op of the table that it computes."""
        if self.closed or not self.live_in(raws):
            return run(body, *raws, **params)
        if not modes.state.enabled and not self.depth:
            self.note(STOPPED if self.stop_detached else DETACHED)
            self.detach_sites[f"{called_from()} (under no_grad)"] = None
            if self.stop_detached:
                return run(body, *plain(raws), **params)
        known = rules.rule_of(body)
        if known is None or known.name not in OPS or rules.rule(known.name).view:
            return run(body, *raws, **params)
        name = known.name
        with self.busy(True):
            entered = self.entered(raws)
            result = run(body, *plain(raws), **params)
            mapping: Any = lambda xp, *xs, **more: xp.call(name, *xs, **more)
            (value,) = self.mapped(f"the engine's {name}", mapping, entered, params, [result])
            return self.returned(result, value)
