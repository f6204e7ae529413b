"""Views and in-place ops: tensors that share memory, and how the tape follows a write.

The one idea: a view remembers its base and the ops that lead from the base to it. A write through a view becomes a write to
the base (`CopySlices`: the part that was written gets its gradient from the new value, the rest from the old base); the next
time anyone asks the view for its `grad_fn`, it is made anew from the base.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..namespaces.base import Namespace
from . import dtypes
from .dispatch import ViewStep, apply, cast
from .local_ops import flat_memory, is_gapless, lay_out, strides_of
from .modes import state
from .namespace import ENGINE
from .rules import rule
from .tape import FREED, Edge, Node, call_with
from .tensor import Step, Tensor, forbidden_write, move_history, wrap


def write(x: Tensor, make: Callable[[Tensor], Tensor], alike: bool = False) -> Tensor:
    """In place: `x` becomes `make(x)`, in its own memory, and its history says so. Returns `x`.

    alike  entries that share memory are written alike, so that an expanded tensor may be written to

    Raises RuntimeError as PyTorch does: for a leaf that requires grad (or a view of one), for a result that does not fit.
    """
    check_writable(x)
    requires = x.requires_grad
    new = make(_old_value(x) if state.saved_hooks and state.enabled and requires else x)
    if dtypes.CATEGORY[new._data.dtype] > dtypes.CATEGORY[x._data.dtype]:
        raise RuntimeError(
            f"result type {new.dtype.tensor_type.removesuffix('Tensor')} can't be cast to the desired output type "
            f"{x.dtype.tensor_type.removesuffix('Tensor')}"
        )
    if new._data.shape != x._data.shape:
        raise RuntimeError(f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(new.shape)}")
    if new._data.dtype != x._data.dtype and new._requires_grad:
        new = cast(new, x._data.dtype)
    recorded = new._requires_grad and state.enabled
    if recorded and x._view is not None and x._view.forbidden is not None:
        raise forbidden_write(x)
    if recorded:
        _keep_old_value(new, x)
    overwrite(x, new._data, alike)
    if state.duals:
        _write_tangents(x, new)
    if recorded:
        rebase(x, new)
    elif requires and state.enabled and new is not x:
        # what came out does not depend on x any more (zero_, fill_ of a constant)
        rebase(x, new)
    return x


def _old_value(x: Tensor) -> Tensor:
    """A copy of `x` with its history: what hooks on saved tensors may take for the value before the write."""
    old = wrap(x._array().copy())
    if x.grad_fn is not None:
        old._edge, old._requires_grad = x._edge, True
    old._tangents = x._tangents
    return old


def _write_tangents(x: Tensor, new: Tensor) -> None:
    """The tangents of what was written become those of `x`; for a view they are written into those of its base."""
    base, steps = (x, ()) if x._view is None else x._view.tangent_base(x)
    for level in {**(x._tangents or {}), **(new._tangents or {})}:
        if not base._tangents or level not in base._tangents:
            base._tangents = (base._tangents or {}) | {level: wrap(np.zeros_like(base._array()))}
        part = base._tangents[level]
        for step in steps:
            part = step(part)
        d = (new._tangents or {}).get(level)
        write(part, partial(_as_written, d))
        x._tangents = (x._tangents or {}) | {level: part}


def _as_written(d: Tensor | None, into: Tensor) -> Tensor:
    """A tangent as the new value of `into`; zeros where there is none."""
    if d is None:
        return wrap(np.zeros_like(into._array()))
    return d if d._data.dtype == into._data.dtype else cast(d, into._data.dtype)


def set_versions(tensors: Sequence[Tensor], versions: Sequence[int]) -> None:
    """Set version counters. For whoever wrote to memory and made sure that the saved values are as they were."""
    for x, version in zip(tensors, versions):
        if version < 0:
            raise RuntimeError(f"Cannot set a version_counter to a value below 0: {version}")
        x._cell()[0] = version


class preserved_versions:
    """Writes inside leave the version counters of the tensors as they were."""

    def __init__(self, tensors: Tensor | Sequence[Tensor]) -> None:
        self.tensors = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
        self.versions = [x._version for x in self.tensors]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        set_versions(self.tensors, self.versions)


class replay_views:
    """Whether a view that is made anew has the nodes of its ops; at once, and as a context manager until the block ends."""

    def __init__(self, mode: bool) -> None:
        self._before, state.replays_views = state.replays_views, bool(mode)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        state.replays_views = self._before


SHARED = (
    "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please "
    "clone() the tensor before performing the operation."
)


def overwrite(x: Tensor, data: Any, alike: bool = False) -> None:
    """Write into the memory of `x`, without recording."""
    check_writable(x)
    if state.before_write is not None:
        state.before_write(x)
    _store(x._array(), data, alike)
    x._cell()[0] += 1


def _store(into: np.ndarray, data: Any, alike: bool = False) -> None:
    if into.flags.writeable:
        into[...] = data
        return
    # NumPy locks what broadcasting made, and every part of it; what has each of its entries once may be written to.
    if not alike and any(n > 1 and s == 0 for n, s in zip(into.shape, into.strides)):
        raise RuntimeError(SHARED)
    into.flags.writeable = True
    into[...] = data
    into.flags.writeable = False


def check_overlap(x: Tensor, other: Any) -> None:
    """Raises RuntimeError, as PyTorch's TensorIterator does, where `other` lies partly in the memory that is written to.

    The rule is that of at::get_overlap_status: two tensors without gaps over one memory either are the same place with the
    same strides, or are apart, or it is an error; where one of them has gaps nobody looks.
    """
    if not isinstance(other, Tensor) or other is x:
        return
    a, b = x._data, other._data
    if type(a) is not np.ndarray or type(b) is not np.ndarray or not np.may_share_memory(a, b):
        return  # a NumPy scalar is nobody else's; what lies on a GPU is not looked at
    if not (is_gapless(a) and is_gapless(b)):
        return
    if a.nbytes != b.nbytes or not same_place(x, other):
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )


def same_place(x: Tensor, other: Tensor) -> bool:
    """Do the two have the same memory with the same strides?"""
    a, b = x._array(), other._array()
    if type(a) is not np.ndarray or type(b) is not np.ndarray:
        return x is other
    return a.__array_interface__["data"][0] == b.__array_interface__["data"][0] and a.strides == b.strides


def check_writable(x: Tensor, done: bool = False) -> None:
    if x._inference and not state.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a "
            "normal tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details."
        )
    if state.level and x._level != state.level:
        raise RuntimeError(
            "During a grad (vjp, jvp, grad, etc) transform, the function provided attempted to call in-place operation that "
            "would mutate a captured Tensor. This is not supported; please rewrite the function being transformed to "
            "explicitly accept the mutated Tensor(s) as inputs."
        )
    if not state.enabled:
        return
    if x._view is not None:
        if x._view.forbidden is not None and x.requires_grad:
            raise forbidden_write(x)
        if x._view.base._edge is None and x.requires_grad:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    elif x._requires_grad and x._edge is None:
        verb = "has been" if done else "is being"
        raise RuntimeError(f"a leaf Variable that requires grad {verb} used in an in-place operation.")


def _keep_old_value(new: Tensor, x: Tensor) -> None:
    """Give the op that is about to overwrite `x` a copy of the old value, if it saved `x`."""
    node: Any = new._edge[0] if new._edge is not None else None
    saved = getattr(node, "saved", None)
    # Only as the first operand, like PyTorch: y.mul_(y) has saved y as the second one too, and fails in backward.
    if isinstance(saved, list | tuple) and saved and saved[0] is x:
        old = wrap(x._array().copy())
        old._requires_grad, old._edge = x._requires_grad, x._edge
        node.saved = [old, *saved[1:]]
        if node.versions is not None:
            node.versions.pop(0, None)


def rebase(x: Tensor, new: Tensor) -> None:
    """Make `x` the result of the node that made `new`."""
    node: Any = new._edge[0] if new._edge is not None else None
    cell = x._cell()
    if node is not None and getattr(node, "cell", None) is not None:  # the node saved its output: that is x now
        node.output, node.cell, node.version = x._data, cell, cell[0]
    if x._view is None:
        move_history(x, new._edge, new._requires_grad)
        return
    base, steps = x._view.base, x._view.path()
    if not (base._requires_grad or new._requires_grad):
        return
    if node is not None and x._edge is not None and x._edge[0].hooked:
        _lead_past(node, x._edge, len(steps))
    old = base._gradient_edge() if base._requires_grad else None
    move_history(base, (CopySlices(old, new._edge, steps, base), 0), True)
    x._view.version = -1
    x._view.refresh(x)


def _lead_past(node: Node, old: Edge, steps: int) -> None:
    """Lead the gradient of the view's old value to the base, past the hooks of the view."""
    first = at = _without_hooks(old[0])
    for _ in range(steps - 1):
        edge = at.edges[0]
        if edge is None:
            break
        following = _without_hooks(edge[0])
        at.edges = [(following, edge[1]), *at.edges[1:]]
        at = following
    node.edges = [(first, old[1]) if edge == old else edge for edge in node.edges]


def _without_hooks(node: Node) -> Node:
    """The same node, as if nobody had registered a hook on it."""
    out = copy.copy(node)
    out.hooked, out.tensor_hooks, out.pre_hooks, out.post_hooks = False, None, None, None
    return out


def _call(node: Node, g: Any) -> tuple[Any, ...]:
    """A node run by hand: recorded where ops are."""
    if state.enabled:
        return tuple(node.backward(g, ENGINE))
    raws = [None if d is None else d._data for d in g] if isinstance(g, list) else g._data
    return tuple(None if d is None else wrap(d) for d in node.backward(raws, None))


call_with.tensors = _call


class CopySlices(Node):
    """A write through a view, seen from the base: [gradient of the old base, gradient of what was written]."""

    layout: dict[str, Any] | None = None  # the base's place in memory, where a step goes by memory rather than by shape

    def __init__(self, old: Edge | None, written: Edge | None, steps: Sequence[Step], base: Tensor) -> None:
        super().__init__((old, written))
        self.steps: Sequence[Step] | None = steps
        if any(isinstance(step, ViewStep) and step.rule.name == "as_strided" for step in steps):
            memory, data = flat_memory(base._array()), base._array()
            start = data.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
            place = start // data.itemsize
            self.layout = {"memory": memory.size, "offset": place, "stride": strides_of(data)}

    def release(self) -> None:
        self.steps = None

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        if self.steps is None:
            raise RuntimeError(FREED)
        if over is not None:
            rest = over.clone(g) if self.layout is None else apply(rule("lay_out"), (g,), self.layout)
            part = rest
            for step in self.steps:
                part = step(part)
            new = over.clone(part)
            write(part, lambda t: wrap(np.zeros_like(t._data)))
            return [rest, new]
        whole = np.array(g) if self.layout is None else lay_out(g, **self.layout)
        there: Any = whole
        for step in self.steps:
            there = step.on_array(there)
        written = there.copy()
        _store(there, 0)
        return [whole, written]
