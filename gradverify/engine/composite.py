"""Ops that are compositions of others, without a rule of their own: recorded as one node with a tape inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..namespaces.base import Namespace
from .autograd.gradients import grad
from .modes import recording
from .namespace import ENGINE
from .rules import Rule
from .tape import Edge, Node, named
from .tensor import Tensor, wrap


class CompositeNode(Node):
    """An op that is a composition of others: one node outside, a small tape inside.

    Forward runs the definition on stand-ins for the arguments and keeps the recording; backward differentiates that. With
    create_graph the definition is run again on views of the true arguments, so that it is recorded where they came from:
    on views, since an argument may be another one, or come of it, and its own cotangent is without that.
    """

    def __init__(
        self, rule: Rule, edges: Sequence[Edge | None], args: Sequence[Any], params: Mapping[str, Any]
    ) -> None:
        Node.__init__(self, edges)
        self.rule, self.params, self.args = rule, params, args
        self.standins: list[Any] = []
        for a, edge in zip(args, edges):
            if isinstance(a, Tensor):
                stand = wrap(a._data)
                stand._version_cell = a._cell()
                stand._requires_grad = edge is not None
                a = stand
            self.standins.append(a)
        self.inner: Tensor = rule.spec.define(ENGINE, *self.standins, **params)

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        wanted = [i for i, e in enumerate(self.edges) if e is not None]
        with recording():
            if over is not None:
                inputs = [a.view_as(a) if e is not None else a for a, e in zip(self.args, self.edges)]
                inner = self.rule.spec.define(over, *inputs, **self.params)
            else:
                inner, inputs, g = self.inner, self.standins, wrap(g)
            found = grad(
                inner,
                [inputs[i] for i in wanted],
                g,
                retain_graph=True,
                create_graph=over is not None,
                allow_unused=True,
            )
        grads: list[Any] = [None] * len(self.edges)
        for i, d in zip(wanted, found):
            grads[i] = d if over is not None or d is None else d._data
        return grads

    def release(self) -> None:
        """What the inner tape saved goes; where it saved nothing, backward can run again."""
        stack = [self.inner._edge[0]] if self.inner._edge is not None else []
        seen = set(stack)
        while stack:
            node = stack.pop()
            node.release()
            new = {e[0] for e in node.edges if e is not None} - seen
            seen |= new
            stack += new


def record_composite(rule: Rule, args: Sequence[Any], params: Mapping[str, Any]) -> Tensor:
    """Run a composite op and leave one node behind; an argument requires grad."""
    edges = [a._gradient_edge() if isinstance(a, Tensor) and a.requires_grad else None for a in args]
    name = rule.node_name if isinstance(rule.node_name, str) else rule.node_name(args, params)
    node = named(CompositeNode, name)(rule, edges, args, params)
    out = wrap(node.inner._data)
    out._requires_grad, out._edge = True, (node, 0)
    return out
