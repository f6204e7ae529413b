"""Users' hooks on the way of a gradient. Users see tensors, the walk may carry arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..tape import Node, TensorHooks
from ..tensor import Tensor, wrap


def _to_user(g: Any, tensors: bool) -> Any:
    return g if tensors or g is None else wrap(g)


def _from_user(g: Any, tensors: bool) -> Any:
    return g if tensors or g is None else g._data


def _check(hook: Callable[..., Any], before: Tensor | None, after: Any) -> None:
    """Raises PyTorch's error where a hook's answer cannot stand in for the gradient `before`."""
    if after is None:
        return
    if before is None:
        raise RuntimeError("can't replace a None gradient with a non-None value")
    if not isinstance(after, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(after).__name__}'")
    name = getattr(hook, "__name__", "<unknown>")
    if after._data.dtype != before._data.dtype:
        kinds = f"was {before.type()} got {after.type()}"
        raise RuntimeError(f"hook '{name}' has changed the type of value ({kinds})")
    if after._data.shape != before._data.shape:
        raise RuntimeError(f"hook '{name}' has changed the size of value")


def _answers(hook: Callable[..., Any], before: tuple[Any, ...], changed: Any) -> tuple[Any, ...]:
    """The gradients that a hook of a node returned. Raises RuntimeError where they do not fit those it was given."""
    after = changed if isinstance(changed, tuple) else (changed,)
    if len(after) != len(before):
        name = getattr(hook, "__name__", "<unknown>")
        raise RuntimeError(
            f"hook '{name}' has returned an incorrect number of values (got {len(after)}, but expected {len(before)})"
        )
    for old, new in zip(before, after):
        _check(hook, old, new)
    return after


def run_hooks(hooks: TensorHooks, g: Any, tensors: bool) -> Any:
    """A tensor's hooks, each on what the one before made of its gradient; then that of retain_grad."""
    # They are called with None, too, where a Function returned None for the gradient.
    for hook in list(hooks.user.values()):
        given = _to_user(g, tensors)
        changed = hook(given)
        if changed is not None:
            _check(hook, given, changed)
            g = _from_user(changed, tensors)
    if hooks.retain is not None and g is not None:
        hooks.retain(_to_user(g, tensors))
    return g


def run_tensor_hooks(node: Node, g: Any, tensors: bool) -> Any:
    """The hooks of the tensors that `node` made."""
    assert node.tensor_hooks is not None
    for output, hooks in node.tensor_hooks.items():
        if node.outputs == 1:
            g = run_hooks(hooks, g, tensors)
        else:
            g = [None] * node.outputs if g is None else g
            g[output] = run_hooks(hooks, g[output], tensors)
    return g


def run_pre_hooks(node: Node, g: Any, tensors: bool) -> Any:
    """The node's own hooks, before it runs."""
    assert node.pre_hooks is not None
    many = ([None] * node.outputs if g is None else g) if node.outputs > 1 else [g]
    grads = tuple(_to_user(x, tensors) for x in many)
    for hook in list(node.pre_hooks.values()):
        changed = hook(grads)
        if changed is not None:
            grads = _answers(hook, grads, changed)
    back = [_from_user(x, tensors) for x in grads]
    return back if node.outputs > 1 else back[0]


def run_post_hooks(node: Node, grads: Sequence[Any], g: Any, tensors: bool) -> list[Any]:
    """The node's own hooks, after it ran."""
    assert node.post_hooks is not None
    inputs = tuple(_to_user(x, tensors) for x in grads)
    many = ([None] * node.outputs if g is None else g) if node.outputs > 1 else [g]
    outputs = tuple(_to_user(x, tensors) for x in many)
    for hook in list(node.post_hooks.values()):
        changed = hook(inputs, outputs)
        if changed is not None:
            inputs = _answers(hook, inputs, changed)
    return [_from_user(x, tensors) for x in inputs]
