"""Hooks of PyTorch that replace gradients: on tensors, and backward hooks and pre-hooks of modules.

A hook runs as it would have; what it returned is held against what it was given. Hooks of graph nodes
(`grad_fn.register_hook`) are not seen.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import torch

from ..watching import Definition, Recorder, is_anybody_judging, line_of, source_of

OURS = ("torch", "gradverify")
"""Packages whose hooks are nobody's."""

COMPARED = 64
"""Values that a hook returned that are held against what it was given, until others are found: some return a copy."""

_SEEN = "__gradverify_hook__"


@contextlib.contextmanager
def watching_hooks(recorder: Recorder) -> Iterator[None]:
    """Tell `recorder` the hooks that replace gradients in this block."""
    watch = _Watch(recorder)
    module = torch.nn.Module
    register, hooks, before = torch.Tensor.register_hook, module._get_backward_hooks, module._get_backward_pre_hooks

    @functools.wraps(register)
    def register_hook(self: torch.Tensor, hook: Callable[..., Any]) -> Any:
        return register(self, hook if torch.compiler.is_compiling() else watch.seen(hook))

    @functools.wraps(hooks)
    def backward_hooks(self: torch.nn.Module) -> Any:
        full, old = hooks(self)
        if torch.compiler.is_compiling():
            return full, old
        return [watch.seen(h) for h in full], [watch.seen(h) for h in old]

    @functools.wraps(before)
    def backward_pre_hooks(self: torch.nn.Module) -> Any:
        found = before(self)
        return found if torch.compiler.is_compiling() else [watch.seen(h) for h in found]

    ours = {"_get_backward_hooks": backward_hooks, "_get_backward_pre_hooks": backward_pre_hooks}
    torch.Tensor.register_hook = register_hook  # type: ignore[method-assign]
    for name, function in ours.items():
        setattr(module, name, function)
    try:
        yield
    finally:
        watch.is_over = True
        if torch.Tensor.register_hook is register_hook:
            torch.Tensor.register_hook = register  # type: ignore[method-assign]
        for name, function, theirs in zip(ours, ours.values(), (hooks, before)):
            if getattr(module, name) is function:
                setattr(module, name, theirs)


class _Watch:
    """What one watch knows of hooks. A tensor that outlives it holds this, and not what was recorded."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = ref(recorder)
        self.is_over = False
        self.compared: dict[str, int] = {}

    def seen(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """The hook, whose results are looked at."""
        if hasattr(hook, _SEEN) or not callable(hook):
            return hook

        @functools.wraps(hook)
        def call(*given: Any) -> Any:
            if self.is_over or is_anybody_judging():
                return hook(*given)
            grads = given[0] if len(given) == 1 else given[1]
            before = _versions(grads)
            found = hook(*given)
            with contextlib.suppress(Exception):  # what is looked at must never break a test
                self._look(hook, grads, found, before)
            return found

        setattr(call, _SEEN, True)
        return call

    def _look(self, hook: Callable[..., Any], grads: Any, found: Any, before: list[int]) -> None:
        is_written = _versions(grads) != before
        if found is None and not is_written:
            return
        pairs = list(zip(_tensors(grads), _tensors(found)))
        if not is_written and all(a is b for a, b in pairs):
            return
        definition = definition_of(hook)
        recorder = self.recorder()
        if definition is None or recorder is None:
            return
        key = f"{definition.name}:{definition.backward}"
        if not is_written:
            self.compared[key] = self.compared.get(key, 0) + 1
            if self.compared[key] > COMPARED or not any(_differ(a, b) for a, b in pairs):
                return
            self.compared[key] = 0
        recorder.replaces(definition)


def definition_of(hook: Callable[..., Any]) -> Definition | None:
    """Where a hook is written; None for PyTorch's and gradverify's own."""
    inner: Any = hook
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    if inspect.ismethod(inner):
        inner = inner.__func__
    if not hasattr(inner, "__code__"):
        inner = type(inner).__call__  # an object
    module = getattr(inner, "__module__", None) or ""
    if module.split(".")[0] in OURS or not hasattr(inner, "__code__"):
        return None
    source = source_of(inner)
    name = f"{module}.{inner.__qualname__.replace('.<locals>', '')}"
    return Definition(name, "torch", module, source[0], "", line_of(source))


def _tensors(grads: Any) -> tuple[Any, ...]:
    return tuple(grads) if isinstance(grads, (tuple, list)) else (grads,)


def _versions(grads: Any) -> list[int]:
    """How often each gradient has been written to."""
    return [g._version if isinstance(g, torch.Tensor) and not g.is_inference() else 0 for g in _tensors(grads)]


def _differ(a: Any, b: Any) -> bool:
    """Do two gradients differ in a value? Where that cannot be told, they are other tensors."""
    if a is b:
        return False
    if a is None or b is None or torch._C._len_torch_dispatch_stack():
        return True
    try:
        with torch._C.DisableTorchFunction(), torch._C._DisableFuncTorch(), torch.no_grad():
            return not torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
    except RuntimeError:
        return True
