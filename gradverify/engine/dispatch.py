"""Running an op: bring the operands to one dtype, run the kernel, and leave a node behind if someone wants gradients.

The one idea: the forward kernel and the backward rule come from the same declaration in the op table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from . import dtypes
from .dtypes import F32, F64
from .kernels import gpu, kernels_for, quiet
from .messages import translate_error
from .modes import state
from .nodes import OpNode, runner
from .op_facts import KEEP
from .promotion import half_among, promote, widen
from .rules import Plan, Rule, rule
from .saving import pack_saved
from .tape import Edge, NotImplementedGradient, Together, named, sequence
from .tensor import Tensor, track, wrap

Params = Mapping[str, Any]
NONE: Params = {}


def has_tangent(x: Tensor) -> bool:
    """Has it one at a level of forward mode that is open?"""
    return x._tangents is not None and not x._tangents.keys().isdisjoint(state.duals)


def apply(rule: Rule, args: Sequence[Any], params: Mapping[str, Any] = NONE) -> Tensor:
    """Run an op on tensors and Python numbers, and record it.

    It is recorded where grad mode is on and an argument requires grad.
    """
    args = tuple(args)
    if state.way and not rule.composite and gpu.kernels is None and _agree(args):
        return _apply_plain(rule, args, params)
    for a in args:
        if a._data.dtype.kind == "c" if isinstance(a, Tensor) else type(a) is complex:
            rule = rule.on_complex(a._data.dtype if isinstance(a, Tensor) else dtypes.default_complex())
            break
    if state.duals and any(isinstance(a, Tensor) and has_tangent(a) for a in args):
        return above.apply_dual(rule, args, params)
    if rule.composite and state.enabled and any(isinstance(a, Tensor) and a.requires_grad for a in args):
        return above.record_composite(rule, args, params)
    if rule.view:
        args[0]._array()  # a view of a NumPy scalar would share nothing
    raws = [a._data if isinstance(a, Tensor) else a for a in args]
    half = None
    if rule.promotion is not KEEP:
        raws = promote(rule, raws)
    if rule.computes:
        # Halves are computed in float32 and rounded once, as PyTorch does.
        half = half_among(raws)
        if half is not None:
            raws = [widen(x) for x in raws]
    kernel = rule.kernel if gpu.kernels is None else rule.kernel_in(kernels_for(*raws))
    try:
        data = quiet.run(kernel, *raws, **params)
    except (ValueError, TypeError, ShapeError, np.exceptions.AxisError) as error:
        raise translate_error(rule, raws, error) from None
    if half is not None and data.dtype == F32:
        data = data.astype(half)
    out = wrap(data)
    if state.enabled and rule.differentiable and data.dtype.kind not in "biu":
        record(rule, args, params, out)
    if rule.view:
        out._inference, out._level = args[0]._inference, args[0]._level
        track(args[0], out, ViewStep(rule, params))
    return out


def _agree(args: tuple[Any, ...]) -> bool:
    """Are all of them tensors of float32, or all of float64? Then nothing is to be promoted or widened."""
    first = None
    for a in args:
        if not isinstance(a, Tensor):
            return False
        d = a._data.dtype
        if d is not first:
            if first is not None or (d is not F32 and d is not F64):
                return False
            first = d
    return True


def _apply_plain(rule: Rule, args: tuple[Tensor, ...], params: Params) -> Tensor:
    if rule.view:
        args[0]._array()
    raws = [a._data for a in args]
    try:
        data = quiet.run(rule.kernel, *raws, **params)
    except (ValueError, TypeError, ShapeError, np.exceptions.AxisError) as error:
        raise translate_error(rule, raws, error) from None
    out = wrap(data)
    if state.enabled and rule.differentiable:
        # An op that does not broadcast gives each argument a cotangent of its shape.
        record(rule, args, params, out, not rule.broadcasts and data.dtype is raws[0].dtype)
    if rule.view:
        out._inference, out._level = args[0]._inference, args[0]._level
        track(args[0], out, ViewStep(rule, params))
    return out


class _Above:
    """Two ways to run an op that need the walk, which stands above this file: they are entered here.

    record_composite  an op that is a composition of others (`composite`)
    apply_dual        an op of which an argument has a tangent (`forward`)
    """

    record_composite: Callable[[Rule, Sequence[Any], Params], Tensor]
    apply_dual: Callable[[Rule, Sequence[Any], Params], Tensor]


above = _Above()


class ViewStep:
    """An op on the way from a base to its view, to be taken again."""

    __slots__ = ("params", "rule")

    def __init__(self, rule: Rule, params: Params) -> None:
        self.rule, self.params = rule, params

    def __call__(self, x: Tensor) -> Tensor:
        return apply(self.rule, (x,), self.params)

    def on_array(self, x: np.ndarray) -> np.ndarray:
        return self.rule.kernel(x, **self.params)


def record(rule: Rule, args: tuple[Any, ...], params: Mapping[str, Any], out: Tensor, alike: bool = False) -> None:
    """Give the result a node, if an argument requires grad.

    alike  do all cotangents have the shape and dtype of their argument, as the rule gives them?
    """
    edges: list[Edge | None] = []
    wanted, bit = 0, 1
    idle = False  # recorded all the same: an argument requires grad, but nothing leads on from it
    for a in args:
        edge = None
        if isinstance(a, Tensor):
            if a._view is not None:
                a._view.refresh(a)
                if a._borrows and a._view.base._requires_grad:
                    idle = True
                    # PyTorch's nodes of one input do not ask whether it leads anywhere: they save, and free, all the same.
                    if rule.spec.arity == 1 or (
                        rule.name == "pow" and len(edges) == 0 and not isinstance(args[1], Tensor)
                    ):
                        wanted |= bit
            if a._requires_grad and not (rule.frozen and len(edges) in rule.frozen):
                edge = a._edge or a._gradient_edge()
                wanted |= bit
        edges.append(edge)
        bit += bit
    if wanted or idle:
        leave_node(rule, wanted, edges, args, out, params, alike)


def leave_node(
    rule: Rule, wanted: int, edges: Sequence[Edge | None], args: tuple[Any, ...], out: Tensor, params: Params = NONE,
    alike: bool = True,
) -> None:  # fmt: skip
    """Make the node of a result. wanted: the arguments that are to get cotangents, as a bit mask."""
    plan = rule.plans.get(wanted) or rule.plan(wanted, len(edges))
    # What `cls(...)` with an `__init__` would do, in half the time.
    node: OpNode = _create(plan.node or _node_class(rule, plan, args, params))
    node.sequence, node.edges = next(sequence), edges
    if params:
        node.params = params
    if plan.saves:
        node._save(plan, args, out)
        if state.saved_hooks:
            pack_saved(node, out)
    if not alike:
        node._note_dtypes(args, out)
    out._requires_grad = True
    out._edge = (node, 0)


_create = object.__new__


def leaver(rule: Rule, wanted: int, n: int) -> Callable[[Sequence[Any], tuple[Any, ...], Tensor], None]:
    """`leave_node` for tensors of the result's shape and dtype while nothing but recording holds: built once per plan."""
    plan = rule.plan(wanted, n)
    if not isinstance(rule.node_name, str):
        rule.leaves[wanted] = named_by_call = lambda edges, args, out: leave_node(rule, wanted, edges, args, out)
        return named_by_call
    cls, saves = _node_class(rule, plan, (), NONE), plan.saves
    only_arguments = plan.everything and not plan.shapes and not plan.output

    def leave(edges: Sequence[Any], args: tuple[Any, ...], out: Tensor) -> None:
        node: Any = _create(cls)
        node.sequence, node.edges = next(sequence), edges
        if saves:
            x, y = args[0], args[-1]
            if only_arguments and x._version_cell is None is y._version_cell and not (x._inference or y._inference):
                node.saved = args  # which nobody has written to or looks at through a view: no versions to note
            else:
                node._save(plan, args, out)
        out._requires_grad = True
        out._edge = (node, 0)

    rule.leaves[wanted] = leave
    return leave


def _node_class(rule: Rule, plan: Plan, args: Sequence[Any], params: Params) -> type[OpNode]:
    """The class of the node, called as PyTorch calls it: one per rule and plan, so that an instance need not hold them."""
    name = rule.node_name if isinstance(rule.node_name, str) else rule.node_name(args, params)
    cls = plan.nodes.get(name)
    if cls is None:
        run = runner(plan, len(args) or len(plan.blank))
        cls = plan.nodes[name] = type(name, (OpNode,), {
            "__module__": "gradverify.engine.autograd", "rule": rule, "plan": plan, "keeps": plan.keeps,
            "saved": plan.blank,
        } | ({} if run is None else {"run": run}))  # fmt: skip
    if isinstance(rule.node_name, str):
        plan.node = cls
    return cls


def under_one_node(name: str, outs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The results of one call, each of one op, as outputs of one node. Where they are not recorded nothing changes."""
    edges = [out._edge for out in outs]
    if len(edges) > 1 and all(e is not None for e in edges):
        node = named(Together, name)(edges)
        for k, out in enumerate(outs):
            out._edge = (node, k)
    return tuple(outs)


def without_derivative(out: Tensor, function: str, *inputs: Tensor) -> Tensor:
    """`out`, as the result of a function whose derivative is not written: backward raises NotImplementedError."""
    if state.enabled and any(x.requires_grad for x in inputs):
        edges = [x._gradient_edge() if x.requires_grad else None for x in inputs]
        out._edge, out._requires_grad = (named(NotImplementedGradient, "NotImplemented")(edges, function), 0), True
    return out


def cast(x: Tensor, to: np.dtype) -> Tensor:
    """Convert a tensor to another dtype; the conversion is recorded."""
    return apply(rule("cast"), (x,), {"to": to})
