"""Hooks on what is saved for backward: packed when it is saved, unpacked when backward reads it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from .modes import state
from .tape import Edge
from .tensor import Tensor, wrap

Hook = Callable[[Any], Any]


class Packed:
    """What a pack hook made of a saved tensor, and where that tensor stood in the graph."""

    __slots__ = ("edge", "is_leaf", "packed", "requires_grad", "unpack")

    def __init__(self, x: Tensor, edge: Edge | None) -> None:
        pack, self.unpack = state.saved_hooks[-1]
        self.requires_grad, self.is_leaf, self.edge = x._requires_grad, edge is None or edge[0].ends, edge
        given = x.detach() if x._requires_grad else x
        before, enabled, version = state.saved_hooks, state.enabled, given._cell()[0]
        state.hook_saved((), enabled=False)  # what a hook computes is not saved in turn
        try:
            self.packed = pack(given)
        finally:
            state.hook_saved(before, enabled=enabled)
        if given._cell()[0] != version:
            raise RuntimeError(
                "A saved tensor pack hook is modifying its input in place. Tensors provided as input to pack hook can not "
                "be modified by in-place operations as this can lead to unexpected side-effects. Please open an issue if "
                "you need to perform in-place operations on the input to a pack hook."
            )

    def tensor(self) -> Tensor:
        """The saved tensor again. Raises TypeError where the hook returns none."""
        x = self.unpack(self.packed)
        if not isinstance(x, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type " + type(x).__name__
            )
        if not self.requires_grad and not x._requires_grad and self.edge is None:
            return x  # as PyTorch: there is no history to give it
        out = wrap(x._data)
        out._version_cell, out._requires_grad = x._version_cell, self.requires_grad
        if self.edge is not None and self.is_leaf:
            accumulator = self.edge[0]
            out._accumulator = lambda: accumulator  # type: ignore[assignment]
        elif self.edge is not None:
            out._edge = self.edge
        return out


class SavedTensor:
    """What a node has saved at one place, to set hooks on: `node._raw_saved_self`."""

    _edge: Edge | None
    _get: Callable[[], Any]
    _put: Callable[[Packed], None]

    def __init__(self) -> None:
        raise RuntimeError("Trying to create a SavedTensor object from Python is forbidden.")

    @classmethod
    def at(cls, get: Callable[[], Any], put: Callable[[Packed], None], edge: Edge | None) -> SavedTensor:
        """`get` gives what is saved (a tensor, a Packed or None), `put` sets it; `edge` is where the tensor comes from."""
        out = object.__new__(cls)
        out._get, out._put, out._edge = get, put, edge
        return out

    def register_hooks(self, *hooks: Hook) -> None:
        """Pack what is saved; backward reads it unpacked.

        Raises TypeError for other than two functions, RuntimeError where nothing is saved, or hooks are set already.
        """
        if len(hooks) != 2 or not all(callable(hook) for hook in hooks):
            raise TypeError(
                "register_hooks(): incompatible function arguments. The following argument types are supported:\n"
                "    1. (self: SavedTensor, pack_hook: Callable, unpack_hook: Callable) -> None"
            )
        value = self._get()
        if value is None:
            raise RuntimeError("Calling register_hooks on a saved tensor with value None is forbidden")
        if isinstance(value, Packed):
            raise RuntimeError(
                "Calling register_hooks on a saved tensor whose hooks have already been set. Hint: only one pair of hooks "
                "is allowed at a time."
            )
        before = state.saved_hooks
        state.hook_saved((hooks,))
        try:
            self._put(Packed(value, self._edge))
        finally:
            state.hook_saved(before)


def pack_saved(node: Any, out: Tensor) -> None:
    """Pack what an op's node has saved."""
    plan = node.plan
    saved = list(node.saved)
    for k in plan.values:
        if isinstance(saved[k], Tensor):
            saved[k] = Packed(saved[k], node.edges[k])
    node.saved, node.versions = saved, None
    if node.cell is not None:
        node.output, node.cell = Packed(out.detach(), None), None
        node.packs_output = True
    node.packed = node.special = True


def unpacked(node: Any) -> Any:
    """A node like this one, with what it saved unpacked."""
    out = copy.copy(node)
    out.packed = False
    out.saved = [s.tensor() if isinstance(s, Packed) else s for s in node.saved]
    # What a hook gives counts as it is, whatever was written to it since.
    versions = {k: v._cell()[0] for k, (v, s) in enumerate(zip(out.saved, node.saved)) if isinstance(s, Packed)}
    out.versions = (node.versions or {}) | versions
    if node.packs_output:
        tensor = node.output.tensor()
        out.output, out.cell, out.version = tensor._data, tensor._cell(), tensor._cell()[0]
    return out
