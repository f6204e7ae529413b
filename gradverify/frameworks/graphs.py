"""A graph over the op table as a function of a framework's arrays: most of an adapter's `function`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..core.errors import Unsupported
from ..core.graph import Apply, Constant, Graph, Input
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
    # What the nodes themselves say is read once: laws run the function again and again.
    steps: list[tuple[Any, ...]] = [
        (k, node, *_changes(graph, node), bound[node.op], params)
        if isinstance(node, Apply)
        else (k, node, (), (), None, {})
        for k, node, params in graph.steps
    ]

    def run(*arrays: Any) -> Any:
        given = dict(zip(names, arrays))
        values: list[Any] = [None] * len(graph.nodes)
        for k, node, literals, widened, function, params in steps:
            if not isinstance(node, Apply):
                values[k] = given[node.name] if isinstance(node, Input) else constant(node)
                continue
            args = [values[a] for a in node.args]
            for i, literal in literals:
                args[i] = constant(literal)
            for i in widened:
                args[i] = widen(args[i])
            values[k] = function(*args, **params)
        outs = tuple(values[o] for o in graph.outputs)
        return outs[0] if len(outs) == 1 else outs

    return over_pairs(run, graph, bind) if is_complex(graph) else run


def _changes(graph: Graph, node: Apply) -> tuple[tuple[tuple[int, Constant], ...], tuple[int, ...]]:
    """The arguments that are literals of another kind, and those that are made complex first.

    An integer literal may stand where a float is wanted: frameworks promote it, some to float32.
    """
    spec, given = spec_of(node.op), [graph.nodes[a] for a in node.args]
    literals = tuple(
        (i, replace(n, kind="float"))
        for i, n in enumerate(given)
        if isinstance(n, Constant) and n.kind == "int" and spec.argument(i) == "float"
    )
    kinds = [n.kind for n in given]
    widened = "complex" in kinds and not spec.broadcasts
    return literals, tuple(i for i, kind in enumerate(kinds) if widened and kind == "float")


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
