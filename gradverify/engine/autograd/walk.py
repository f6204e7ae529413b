"""The backward pass: one walk over the tape, outputs first.

The one idea: gradients are sent along edges and summed where they meet; a node runs when everything that used its result has
run, which is what descending creation order gives. The walk is a loop, so a chain of any length works.

With create_graph the gradients are tensors and every sum is recorded (in forward mode they are tensors as well, with
tangents); otherwise they are plain arrays. The text is the same.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from ...namespaces.base import Namespace
from ..api.writing import overwrite_with
from ..local_ops import is_gapless
from ..modes import in_thread, state
from ..namespace import ENGINE
from ..tape import Edge, Node
from ..tensor import Tensor, wrap
from ..views import CopySlices
from . import anomaly
from .hooks import run_hooks, run_post_hooks, run_pre_hooks, run_tensor_hooks

_by_sequence = attrgetter("sequence")


DEEP = 40
"""Walks within walks on one stack. A level takes some ten frames, and Python allows a thread 1,000."""


def will_run(node: Node) -> bool:
    """Does the backward pass that is under way come by this node? PyTorch's _will_engine_execute_node.

    Raises RuntimeError for a leaf whose gradient `grad` was asked for: it is returned, and the leaf's node does not run.
    """
    order, goals, needed, leaves = _nested.running
    if node.ends:
        if (node, 0) in goals.places:
            raise RuntimeError(
                "A leaf node was passed to _will_engine_execute_node but we are currently running autograd.grad(). This is "
                "currently not supported."
            )
        return node in leaves and goals.accumulates(node)
    return node in needed if needed is not None else node in order


_numbers = itertools.count()


def current_walk() -> int | None:
    """The number of the backward pass that is under way; None outside of all."""
    return _nested.number


def queue_callback(callback: Callable[[], Any]) -> None:
    """Call it when the backward pass that is under way has come to its end. Raises RuntimeError outside of all."""
    if _nested.number is None:
        raise RuntimeError("Final callbacks can only be installed during backward pass.")
    if _nested.callbacks is None:
        _nested.callbacks = []
    _nested.callbacks.append(callback)


def is_whole() -> bool:
    """Does the backward pass that is under way go to all leaves, rather than to those that were asked for?"""
    return _nested.running[2] is None


class GraphRoot(Node):
    """Where a walk starts: its edges are the roots, its backward gives their gradients."""

    runs_on_none = True

    def __init__(self, roots: Sequence[tuple[Edge, Any]]) -> None:
        super().__init__([edge for edge, _ in roots])
        self.seeds = [g for _, g in roots]

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        return list(self.seeds)


@dataclass(frozen=True, slots=True)
class Goals:
    """Where gradients are to end up.

    places    edges whose gradients are captured, and at which place of `captured`
    captured  what was captured so far
    leaves    the leaves (their AccumulateGrad nodes) that accumulate; None: all
    """

    places: Mapping[Edge, int]
    captured: list[Any]
    leaves: set[Node] | None

    def accumulates(self, leaf: Node) -> bool:
        """Does the gradient of this leaf go to its `.grad`?"""
        return self.leaves is None or leaf in self.leaves


class _Nested(threading.local):
    """What the thread's walks are.

    walks    how many it is in
    running  the nodes of the innermost one, its goals, those of its nodes that are needed (None: all), and its leaves
    number   the number of the innermost one, which no other has; None outside of all
    callbacks  what is called when the innermost one has come to its end
    """

    walks = 0
    number: int | None = None
    running: tuple[Sequence[Node], Goals, set[Node] | None, Mapping[Node, int]]
    callbacks: list[Callable[[], Any]] | None = None

    def __init__(self) -> None:
        self.running = (), Goals({}, [], None), None, {}


_nested = _Nested()


def walk(
    roots: Sequence[tuple[Edge, Any]],
    *,
    retain_graph: bool,
    create_graph: bool,
    capture: Sequence[Edge] | None = None,
    accumulate_only: set[Node] | None = None,
) -> list[Any]:
    """Send the roots' gradients back; return those of the captured edges.

    capture          edges whose gradients are returned (None where nothing arrived); then no leaf accumulates,
                     unless accumulate_only names it
    accumulate_only  leaves (their AccumulateGrad nodes) that accumulate; None: all

    A backward may call for a walk of its own (checkpoints do). Python's stack ends after some hundred of them: every
    `DEEP` of them the next one gets a thread, and with it a stack, of its own, as in PyTorch.
    """
    go = partial(_walk, roots, retain_graph, create_graph, capture, accumulate_only)
    _nested.walks += 1
    try:
        return go() if _nested.walks % DEEP else in_thread(go)
    finally:
        _nested.walks -= 1


def _walk(
    roots: Sequence[tuple[Edge, Any]],
    retain_graph: bool,
    create_graph: bool,
    capture: Sequence[Edge] | None,
    accumulate_only: set[Node] | None,
) -> list[Any]:
    root = GraphRoot(roots)
    order, uses = _reachable(root)
    needed = _leading_to(order, capture, accumulate_only)
    places = {edge: k for k, edge in enumerate(capture or ())}  # the same edge may be asked for twice
    leaves = set() if accumulate_only is None and capture is not None else accumulate_only
    goals = Goals(places, [None] * len(capture or ()), leaves)
    wanted = {node for node, _ in places}
    tensors = create_graph or bool(state.duals)
    over = ENGINE if tensors else None
    pending: dict[Node, Any] = {}  # what has arrived at a node so far
    checked = anomaly.state.enabled
    plain, free = needed is None and not checked, not retain_graph

    def visit(node: Node, g: Any) -> Any:
        """Run a node that somebody watches, or that nothing arrived at. Returns None where it is only captured."""
        if node.tensor_hooks is not None:
            g = run_tensor_hooks(node, g, tensors)
        if node in wanted:
            _capture(node, g, goals)
        if needed is not None and node not in needed:
            return None
        if node.pre_hooks:
            g = run_pre_hooks(node, g, tensors)
        grads: Any = [None] * len(node.edges)
        if g is not None or node.runs_on_none:
            grads = node.backward(g, over)
        else:
            node.run_on_none()
        if checked and node is not root:
            anomaly.check(node, grads)
        return run_post_hooks(node, grads, g, tensors) if node.post_hooks else grads

    before, hooks = state.enabled, state.saved_hooks
    state.enabled = create_graph
    silent = np.errstate(all="ignore")  # NumPy warns where PyTorch is silent
    silent.__enter__()
    outer, _nested.running = (_nested.running, _nested.number, _nested.callbacks), (order, goals, needed, uses)
    _nested.number, _nested.callbacks = next(_numbers), None
    try:
        grads: Any
        for node in order:
            g = pending.pop(node, None)
            done = False
            if g is not None and plain and not node.hooked:
                if over is None:
                    grads, done = node.run(g, free), True
                else:
                    grads = node.backward(g, over)
            elif needed is None or node in needed or node in wanted:
                grads = visit(node, g)
            else:
                continue
            if grads is None:
                continue
            if free and not done and node.keeps:
                node.release()
            g = None
            for k, edge in enumerate(node.edges):
                if edge is None:
                    continue
                target, output = edge
                d = grads[k]
                if d is not None:
                    if target.outputs == 1:  # never in place: others may hold the same array
                        have = pending.get(target)
                        pending[target] = d if have is None else have + d
                    else:
                        slots = pending.setdefault(target, [None] * target.outputs)
                        slots[output] = d if slots[output] is None else slots[output] + d
                if target.ends:
                    uses[target] -= 1
                    if not uses[target]:
                        d = grads[k] = have = None  # see `_is_unshared`
                        _finish_leaf(target, pending, goals, tensors)
        if _nested.callbacks is not None:
            for callback in _nested.callbacks:  # which may queue others
                callback()
    finally:
        silent.__exit__(None, None, None)
        _nested.running, _nested.number, _nested.callbacks = outer
        state.enabled = before
        if state.saved_hooks is not hooks:  # what a hook opened and did not close ends with the pass
            state.hook_saved(hooks)
    return [goals.captured[places[edge]] for edge in capture or ()]


def _capture(node: Node, g: Any, goals: Goals) -> None:
    """Keep the gradients of the outputs of `node` that are to be captured."""
    for output in range(node.outputs):
        k = goals.places.get((node, output))
        if k is not None:
            goals.captured[k] = g if node.outputs == 1 else (g or [None] * node.outputs)[output]


def _reachable(root: GraphRoot) -> tuple[list[Node], dict[Node, int]]:
    """The nodes that the root leads to, last one first, and per leaf the number of edges that lead to it.

    The leaves' own nodes are not among the nodes: a leaf is finished when its last edge was used.
    """
    uses: dict[Node, int] = {}
    found: list[Node] = [root]
    seen = set(found)
    for node in found:  # which grows
        for edge in node.edges:
            if edge is not None:
                target = edge[0]
                if target.ends:
                    uses[target] = uses.get(target, 0) + 1
                elif target not in seen:
                    seen.add(target)
                    found.append(target)
    return sorted(found, key=_by_sequence, reverse=True), uses


def _leading_to(
    order: Sequence[Node], capture: Sequence[Edge] | None, accumulate_only: set[Node] | None
) -> set[Node] | None:
    """The nodes on a path to a captured edge or a named leaf; None where all are needed."""
    if capture is None and accumulate_only is None:
        return None
    goals = {node for node, _ in capture or ()} | (accumulate_only or set())
    # backward(inputs=…) runs, and frees, the node of an inner tensor too, like PyTorch: its retained gradient is a hook.
    found: set[Node] = set() if accumulate_only is None else {node for node, _ in capture or () if not node.ends}
    for node in reversed(order):
        if any(edge is not None and (edge[0] in goals or edge[0] in found) for edge in node.edges):
            found.add(node)
    # A write through a view is run whole, what was written included: in PyTorch the one node holds the other.
    return found | {node.edges[1][0] for node in found if isinstance(node, CopySlices) and node.edges[1] is not None}


def _finish_leaf(node: Any, pending: dict[Node, Any], goals: Goals, tensors: bool) -> None:
    """Run the hooks of a leaf on its whole gradient, and add it to `.grad` (or keep it in `captured`)."""
    g = pending.pop(node, None)
    k = goals.places.get((node, 0))
    if k is None and not goals.accumulates(node):
        return
    leaf = node.variable
    if g is not None and g.dtype != leaf.dtype and not tensors and g.dtype != leaf._data.dtype:
        g = g.astype(leaf._data.dtype)
    if leaf._hooks is not None:
        g = run_hooks(leaf._hooks, g, tensors)
    if k is not None:
        goals.captured[k] = g
        return
    if leaf._edge is not None:
        raise RuntimeError("leaf variable has been moved into the graph interior")
    if node.pre_hooks:
        g = run_pre_hooks(node, g, tensors)
    have = leaf._grad
    if g is None or not leaf._requires_grad:
        pass  # frozen since it was used; its hooks run all the same
    elif tensors:
        leaf._grad = overwrite_with("CopyBackwards", wrap(g._data), g) if have is None else have + g
    elif have is None:
        leaf._grad = wrap(g if _is_unshared(g) and _has_layout_of(leaf, g) else _copy_for(leaf, g))
    else:
        into = have._array()
        into += g
        have._cell()[0] += 1
    if leaf._post_accumulate:
        for hook in list(leaf._post_accumulate.values()):
            if hook(leaf) is not None:
                raise RuntimeError("Tensor post accumulate grad hooks should return None.")
    if node.post_hooks:
        run_post_hooks(node, [], g, tensors)


def _has_layout_of(leaf: Tensor, g: Any) -> bool:
    """Do the gradient's entries lie in memory as those of a leaf without gaps? Then updates run through both in order."""
    return isinstance(g, np.generic) or g.strides == leaf._data.strides or not is_gapless(leaf._array())


def _copy_for(leaf: Tensor, g: Any) -> Any:
    if _has_layout_of(leaf, g):
        return g.copy()
    out = np.empty_like(leaf._data, dtype=g.dtype)
    out[...] = g
    return out


COUNTED = sys.version_info < (3, 14)
"""Does a reference count see every holder? From Python 3.14 on, the interpreter's stack borrows."""


def _is_unshared(g: Any) -> bool:
    """Can a leaf take this gradient for its `.grad` without a copy?

    Only if nobody else can see the array. Others may: `add` gives one gradient to both its inputs, and a root's gradient is
    the user's. A NumPy scalar cannot be written to. An array is ours if it may be written to and has three references: the
    caller's `g`, this function's `g`, and the argument of `getrefcount`; and if it owns its memory, or is all of an array
    that only it refers to (a product in another shape). For that the walk lets go of `d`, `have` and `grads[k]` before it
    finishes a leaf, and `pending` gives up its own when the gradient is taken out.
    """
    if isinstance(g, np.generic):
        return True
    if not COUNTED or type(g) is not np.ndarray or sys.getrefcount(g) > 3:
        return False
    if not (g.flags.c_contiguous and g.flags.writeable):  # what is broadcast may not be written to
        return False
    if g.base is None:
        return True
    if not g.flags.writeable:  # one entry that was broadcast
        return False
    base = g.base
    return type(base) is np.ndarray and base.base is None and base.size == g.size and sys.getrefcount(base) <= 3
