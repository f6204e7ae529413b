"""`torch.autograd.graph`: hooks on saved tensors, hooks on several gradients, edges."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .. import tape
from ..modes import state
from ..tape import RemovableHandle
from ..tensor import Tensor, wrap
from .gradients import GradientEdge
from .walk import current_walk, will_run

__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip


class _Virtual(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, tape.Node)

    def __subclasscheck__(cls, of: type) -> bool:
        return of is cls or issubclass(of, tape.Node)


class Node(metaclass=_Virtual):
    """What every `grad_fn` is an instance of. As in PyTorch a virtual base class: it is in nobody's mro."""


class saved_tensors_hooks:
    """Inside, what is saved for backward is `pack_hook(tensor)`; backward reads `unpack_hook` of it."""

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if state.no_saved_hooks is not None:
            raise RuntimeError(state.no_saved_hooks)
        state.hook_saved((*state.saved_hooks, (self.pack_hook, self.unpack_hook)))

    def __exit__(self, *exc: object) -> None:
        state.hook_saved(state.saved_hooks[:-1])


class save_on_cpu(saved_tensors_hooks):
    """Inside, tensors saved for backward are kept on the CPU; backward reads them on their own device."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda x: (x.device, x.cpu()), lambda packed: packed[1].to(packed[0]))


class disable_saved_tensors_hooks:
    """Inside, setting hooks on saved tensors is an error with this message."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def __enter__(self) -> None:
        self._before, state.no_saved_hooks = state.no_saved_hooks, self.error_message
        if state.saved_hooks:
            state.no_saved_hooks = self._before
            raise RuntimeError(self.error_message)

    def __exit__(self, *exc: object) -> None:
        state.no_saved_hooks = self._before


class _Saved:
    """A tensor that was saved for backward inside `allow_mutation_on_saved_tensors`."""

    def __init__(self, tensor: Tensor, context: allow_mutation_on_saved_tensors) -> None:
        self.tensor, self.context = tensor, context


class allow_mutation_on_saved_tensors:
    """Inside, saved tensors may be written to: backward reads what was saved, from a copy made before the write.

    The backward pass has to run inside as well. The context is an object of two dictionaries: `cloned`, the copies, by what
    stands on the tape for the saved tensor; and `tid_to_weakhandle`, which of those exist.
    """

    def __enter__(self) -> allow_mutation_on_saved_tensors:
        if state.before_write is not None:
            raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
        self.cloned: weakref.WeakKeyDictionary[_Saved, Tensor] = weakref.WeakKeyDictionary()
        self.tid_to_weakhandle: weakref.WeakValueDictionary[int, _Saved] = weakref.WeakValueDictionary()
        self.is_open = True
        self.hooks = saved_tensors_hooks(self._pack, self._unpack)
        self.hooks.__enter__()
        state.before_write = self._keep
        return self

    def __exit__(self, *exc: object) -> None:
        self.is_open, state.before_write = False, None
        self.hooks.__exit__(*exc)
        self.clear()

    def clear(self) -> None:
        self.cloned.clear()
        self.tid_to_weakhandle.clear()

    def _pack(self, x: Tensor) -> _Saved:
        # What two ops saved of one tensor, with no write between, is kept once.
        array = x._array()
        place = hash((array.__array_interface__["data"][0], array.shape, array.strides, array.dtype, x._cell()[0]))
        saved = self.tid_to_weakhandle.get(place)
        if saved is None or saved.tensor._version_cell is not x._version_cell:
            saved = self.tid_to_weakhandle[place] = _Saved(x, self)
        return saved

    def _unpack(self, saved: _Saved) -> Tensor:
        if not self.is_open:
            raise AssertionError(
                "Trying to backward outside of the 'allow_mutation_on_saved_tensors' context"
                "in which the graph was originally recorded."
            )
        return self.cloned.get(saved, saved.tensor)

    def _keep(self, x: Tensor) -> None:
        """Copy saved tensors that share memory with `x`, before a write to it."""
        for saved in list(self.tid_to_weakhandle.values()):
            if saved.tensor._version_cell is x._version_cell and saved not in self.cloned:
                self.cloned[saved] = wrap(saved.tensor._array().copy())


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where the gradient of `tensor` goes. Raises RuntimeError where it has none."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    edge = GradientEdge(*tensor._gradient_edge())
    edge.made = tuple(tensor._data.shape), tensor._data.dtype
    return edge


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Count a write to the memory of a tensor that no op of the engine did."""
    for x in (tensor,) if isinstance(tensor, Tensor) else tensor:
        x._cell()[0] += 1


class _Handles(RemovableHandle):
    """Several handles as one."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


@dataclass(slots=True)
class _Arrived:
    """What one backward pass has brought so far: the gradients, how many, and of how many."""

    grads: list[Any]
    waiting: int
    seen: int = 0


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[[Any], None], *, mode: str = "all"
) -> RemovableHandle:
    """`fn(grads)` once a backward pass has the gradients of all the tensors that it comes by (None for the others).

    mode  "any": `fn(grad)`, with the first gradient of a backward pass
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    nodes = [x._gradient_edge()[0] for x in tensors]
    lock, under_way = threading.Lock(), dict[Any, _Arrived]()  # backward passes of several threads come by at once

    def arrived(k: int, grad: Any) -> None:
        number = current_walk()
        with lock:
            one = under_way.get(number)
            if one is None:
                one = under_way[number] = _Arrived([None] * len(tensors), sum(will_run(n) for n in nodes))
            one.seen += 1
            one.grads[k] = grad
            first, last = one.seen == 1, one.seen == one.waiting
            if last:
                del under_way[number]
        if mode == "any" and first:
            fn(grad)
        elif mode == "all" and last:
            fn(one.grads)

    return _Handles([x.register_hook(partial(arrived, k)) for k, x in enumerate(tensors)])
