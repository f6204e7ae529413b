"""A graph over the op table as a function of a framework's arrays: most of an adapter's `function`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..core.errors import Unsupported
from ..core.graph import Apply, Constant, Graph, Input, evaluate
from ..ops.complex.lowering import is_complex, spec_of
from .values import several

Binding = Mapping[str, Callable[..., Any]]


def compiled(
    graph: Graph,
    bind: Callable[[str], Callable[..., Any]],
    constant: Callable[[Constant], Any],
    widen: Callable[[Any], Any] = lambda x: x,
) -> Callable[..., Any]:
    """The graph as a callable over a framework's arrays: most of an adapter's `function`.

    `bind(op)` gives the framework's function for an op, called as op(*args, **params); it raises Unsupported.
    `constant` makes the framework's array of a literal. Every op is bound at once, so that what is unsupported is
    known before anything runs.

    A complex graph is computed in complex arithmetic, and the callable is over pairs of real arrays all the same (see
    `over_pairs`). `widen` makes a complex array of a real one that meets complex ones outside of elementwise ops, for
    frameworks that ask their users to.
    """
    bound = {n.op: bind(n.op) for n in graph.nodes if isinstance(n, Apply)}
    names = list(graph.inputs)

    def run(*arrays: Any) -> Any:
        given = dict(zip(names, arrays))

        def leaf(node: Input) -> Any:
            return given[node.name]

        def apply(node: Apply, args: list[Any]) -> Any:
            for i, a in enumerate(node.args):
                literal = graph.nodes[a]
                # An integer literal may stand where a float is wanted: frameworks promote it, some to float32.
                if isinstance(literal, Constant) and literal.kind == "int" and spec_of(node.op).argument(i) == "float":
                    args[i] = constant(replace(literal, kind="float"))
            kinds = [graph.nodes[a].kind for a in node.args]
            if "complex" in kinds and not spec_of(node.op).broadcasts:
                args = [widen(x) if kind == "float" else x for x, kind in zip(args, kinds)]
            return bound[node.op](*args, **dict(node.params))

        values = evaluate(graph, leaf=leaf, constant=constant, apply=apply)
        outs = tuple(values[o] for o in graph.outputs)
        return outs[0] if len(outs) == 1 else outs

    return over_pairs(run, graph, bind) if is_complex(graph) else run


def over_pairs(
    function: Callable[..., Any], graph: Graph, bind: Callable[[str], Callable[..., Any]]
) -> Callable[..., Any]:
    """Return a function of complex inputs as one of their parts, in order; complex outputs are
    split in turn. Joined and split by the framework's own differentiable functions, so that its derivatives of those
    turn its convention for complex gradients into the partial derivatives by the parts."""
    join, real, imag = bind("complex"), bind("real"), bind("imag")
    kinds = [graph.nodes[k].kind for k in graph.inputs.values()]

    def run(*arrays: Any) -> Any:
        left = iter(arrays)
        result = function(*(join(next(left), next(left)) if kind == "complex" else next(left) for kind in kinds))
        outs = several(result)
        split = []
        for o, out in zip(graph.outputs, outs):
            split += [real(out), imag(out)] if graph.nodes[o].kind == "complex" else [out]
        return split[0] if len(split) == 1 else tuple(split)

    return run


def lookup(table: Binding, *modules: Any) -> Callable[[str], Callable[..., Any]]:
    """`bind` for `compiled`: an adapter's own table first, then the framework's functions of the same name."""

    def bind(op: str) -> Callable[..., Any]:
        if op in table:
            return table[op]
        for module in modules:
            if hasattr(module, op):
                return getattr(module, op)
        raise Unsupported(f"no counterpart of the op {op!r}")

    return bind
