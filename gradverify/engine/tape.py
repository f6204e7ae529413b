"""The tape: what an op leaves behind so that it can be differentiated later.

The one idea: a recorded op is a `Node`, plain data: which rule, which saved values, and edges to the nodes that made its
inputs. A tensor points to its node, a node to earlier nodes, nothing points forward; so dropping the result drops the
tape. Leaves that require grad end the walk with an `AccumulateGrad`.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..namespaces.base import Namespace

# An edge names one output of a node: the place where a gradient is to be sent. None: no gradient wanted.
Edge = tuple["Node", int]

sequence = itertools.count()

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access saved "
    "tensors after calling backward."
)


class Ghost:
    """Stands for an input of which the VJP reads the shape and dtype, but not the value."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)


class RemovableHandle:
    """What registering a hook returns; `remove()` (or leaving a `with`) takes the hook out again."""

    _ids = itertools.count()

    def __init__(self, hooks: OrderedDict[int, Any]) -> None:
        self.id, self._hooks = next(self._ids), hooks
        self.hooks_dict_ref = lambda: hooks  # PyTorch's name for where the hook is kept

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def hook_into(hooks: OrderedDict[int, Any], hook: Any) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


class Node:
    """One recorded op. Subclasses say how a gradient passes through it: `backward`.

    edges      where the gradient of each input goes
    sequence   creation order; an edge always leads to a smaller number, so descending order is a reverse topological one
    """

    outputs = 1
    """How many outputs it has; `backward` gets one gradient where this is 1, else a list of them."""
    runs_on_none = False
    """Whether it is run where no gradient arrived (None): users' functions are, with zeros."""

    keeps = True
    """Does it hold values that `release` forgets?"""
    ends = False
    """Is it the end of the line, the AccumulateGrad of a leaf?"""

    # None until someone registers a hook; `hooked` says whether there is any.
    hooked = False
    tensor_hooks: dict[int, TensorHooks] | None = None
    pre_hooks: OrderedDict[int, Any] | None = None
    post_hooks: OrderedDict[int, Any] | None = None

    def __init__(self, edges: Sequence[Edge | None]) -> None:
        self.edges = edges
        self.sequence = next(sequence)

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        """The gradients for `edges`: arrays, or, with a namespace `over` tensors, tensors: what it does is recorded."""
        raise NotImplementedError

    def run(self, g: Any, free: bool) -> Sequence[Any]:
        """`backward` over arrays, and `release` where saved values are to be freed: what most nodes are asked for."""
        grads = self.backward(g, None)
        if free and self.keeps:
            self.release()
        return grads

    def run_on_none(self) -> None:
        """No gradient arrived: nothing is to be computed, but what `backward` would complain about, this does too."""

    def release(self) -> None:
        """Forget saved values: `backward` ran without retain_graph."""

    # PyTorch's face of a node
    def __call__(self, *grads: Any) -> Any:
        """The gradients for its inputs, given those of its outputs. Raises TypeError for another number of them."""
        if len(grads) != self.outputs:
            raise TypeError(f"expected {self.outputs} arguments, got {len(grads)} instead")
        found = call_with.tensors(self, grads[0] if len(grads) == 1 else list(grads))
        return found[0] if len(found) == 1 else found

    def name(self) -> str:
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        return tuple((None, 0) if e is None else e for e in self.edges)

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dict of the user's own."""
        return self.__dict__.setdefault("_metadata", {})

    @property
    def requires_grad(self) -> bool:
        return True

    def _sequence_nr(self) -> int:
        return self.sequence

    def register_hook(self, hook: Callable[[Any, Any], Any]) -> RemovableHandle:
        """`hook(grad_inputs, grad_outputs)` after this node ran; what it returns replaces grad_inputs."""
        self.hooked = True
        if self.post_hooks is None:
            self.post_hooks = OrderedDict()
        return hook_into(self.post_hooks, hook)

    def register_prehook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """`hook(grad_outputs)` before this node runs; what it returns replaces grad_outputs."""
        self.hooked = True
        if self.pre_hooks is None:
            self.pre_hooks = OrderedDict()
        return hook_into(self.pre_hooks, hook)

    def hooks_of(self, output: int) -> TensorHooks:
        self.hooked = True
        if self.tensor_hooks is None:
            self.tensor_hooks = {}
        return self.tensor_hooks.setdefault(output, TensorHooks())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


class _Calling:
    """What a call of a node needs from above this file, entered there: its `backward` over tensors."""

    tensors: Callable[[Node, Any], tuple[Any, ...]]


call_with = _Calling()


class TensorHooks:
    """Hooks on one tensor's gradient: first the user's, in order, then those of retain_grad."""

    __slots__ = ("retain", "user")

    def __init__(self) -> None:
        self.user: OrderedDict[int, Any] = OrderedDict()
        self.retain: Callable[[Any], None] | None = None


class Nowhere(Node):
    """Takes a gradient and drops it: the history of a view whose base has none (any more)."""

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        return [None] * len(self.edges)


class Together(Node):
    """One node for the tensors of one call, as `unbind` has it in PyTorch: hooks on it see the gradients of all of them.

    Behind it stand the nodes of the ops that made them one by one.
    """

    def __init__(self, edges: Sequence[Edge | None]) -> None:
        super().__init__(edges)
        self.outputs = len(edges)

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        return [None] * self.outputs if g is None else list(g)

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        first = self.edges[0]
        return () if first is None else first[0].next_functions


class NotImplementedGradient(Node):
    """The end of a result that is differentiable, but whose derivative nobody has written."""

    def __init__(self, edges: Sequence[Edge | None], function: str) -> None:
        super().__init__(edges)
        self.function = function

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        raise NotImplementedError(f"the derivative for '{self.function}' is not implemented.")


_classes: dict[tuple[type, str], type] = {}


def named(base: type, name: str) -> type:
    """The subclass of a node class that carries PyTorch's name for an op: `PowBackward0`."""
    key = (base, name)
    if key not in _classes:
        _classes[key] = type(name, (base,), {"__module__": "gradverify.engine.autograd"})
    return _classes[key]


def op_of(node: Node) -> str:
    """The node's name without Backward0, as error messages have it."""
    name = node.name()
    return name.rstrip("0123456789").removesuffix("Backward") if name[-1].isdigit() else name
