"""A graph over a namespace: forward, then in reverse. The oracle and the budget are this walk with other arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..core.graph import Apply, Constant, Graph, Input, dependents, walk_back
from ..core.op import OpSpec
from ..ops import OPS
from .dtypes import NUMPY_KINDS, rounded, to_float64
from .kernels import ELEMENTWISE

Table = Mapping[str, OpSpec]


def constant_array(node: Constant, dtype: str) -> np.ndarray:
    """The literal as the subject sees it: a float rounded to `dtype`, as float64 (which represents it exactly)."""
    if node.kind != "float":
        return np.asarray(node.value, dtype=NUMPY_KINDS[node.kind])
    return to_float64(rounded(np.asarray(node.value, dtype=np.float64), dtype))


def forward(
    xp: Any,
    graph: Graph,
    values: Mapping[str, Any],
    dtype: str,
    table: Table = OPS,
    *,
    literal: Callable[[Constant], Any] | None = None,
    before: Callable[[Apply], None] | None = None,
) -> list[Any]:
    """Every node's value, with leaves taken from `values` (already arrays of `xp`) and literals rounded to `dtype`.

    `literal` makes the arrays of floating-point literals instead; `before` is told each op before it is applied.
    """

    def constant(node: Constant) -> Any:
        if literal is not None and node.kind == "float":
            return literal(node)
        key = "constant", id(node), dtype
        if key not in graph.found:
            graph.found[key] = constant_array(node, dtype)
        array = graph.found[key].copy()  # whose it is from here on is not known here
        return xp.asarray(array) if node.kind == "float" else array

    found: list[Any] = [None] * len(graph.nodes)
    for k, node, params in graph.steps:
        if not isinstance(node, Apply):
            found[k] = values[node.name] if isinstance(node, Input) else constant(node)
            continue
        spec = table[node.op]
        if before is not None:
            before(node)
        args = [found[a] for a in node.args]
        for i, a in enumerate(args):
            # An integer literal may stand where a float is wanted.
            if (
                isinstance(a, np.ndarray)
                and a.dtype.kind == "i"
                and a.dtype == np.int64
                and spec.argument(i) == "float"
            ):
                args[i] = xp.asarray(np.asarray(a, dtype=np.float64))
        found[k] = spec.define(xp, *args, **params)
    return found


def carries(node: Apply, i: int) -> bool:
    """Does argument `i` of the node have a cotangent?"""
    return OPS[node.op].differentiable(i)


def _once(graph: Graph, wrt: Iterable[str], what: str, find: Callable[[tuple[str, ...]], Any]) -> Any:
    """The result of `find` for the graph, cached: a budget walks one graph seventeen times, and the op table stays."""
    key = what, tuple(wrt)
    if key not in graph.found:
        graph.found[key] = find(key[1])
    return graph.found[key]


def needed(graph: Graph, wrt: Iterable[str]) -> frozenset[int]:
    """Nodes whose adjoints lead to the inputs `wrt`."""
    return _once(graph, wrt, "needed", lambda wrt: dependents(graph, [graph.inputs[name] for name in wrt], carries))


def reverse(
    xp: Any,
    graph: Graph,
    values: list[Any],
    cotangent: Iterable[Any],
    wrt: Iterable[str],
    table: Table = OPS,
    *,
    dead: bool | Mapping[int, Any] = False,
    without: frozenset[int] = frozenset(),
    before: Callable[[Apply], None] | None = None,
    arriving: Callable[[Any, int, int], Any] | None = None,
) -> dict[int, Any]:
    """Node index -> adjoint, for every node between the outputs and the inputs `wrt`.

    The graph must be lowered (`ops.build.lowered`): every op on the way needs a VJP text of its own.

    With `dead` an entry whose cotangent is exactly 0 passes 0 on through elementwise ops, where their rules would make
    0·inf or 0·NaN of it: the branch that a `where` did not take may have no derivative, and needs none. Where numbers
    underflow a 0 may be something else; there `dead` gives the entries, node index -> mask, as found without underflow.
    Nodes in `without` pass nothing on. `before` is told each op before its rules are applied; `arriving` turns the
    cotangent that comes from one node to another, (cotangent, from, to), into the one that is added there.
    """
    needs = needed(graph, wrt)
    adjoint: dict[int, Any] = {}

    def accumulate(k: int, g: Any) -> None:
        adjoint[k] = xp.add(adjoint[k], g) if k in adjoint else g

    for o, g in zip(graph.outputs, cotangent):
        if o in needs:
            accumulate(o, g)
    for k in walk_back(graph, needs):
        if k not in adjoint or k in without:
            continue
        node = graph.nodes[k]
        assert isinstance(node, Apply)
        args = tuple(values[a] for a in node.args)
        spec = table[node.op]
        mask = None
        if before is not None:
            before(node)
        if dead and node.op in ELEMENTWISE:
            mask = dead.get(k) if isinstance(dead, Mapping) else np.asarray(adjoint[k]) == 0
        for i, a in enumerate(node.args):
            if a in needs and spec.differentiable(i):
                g = spec.cotangent(xp, i, adjoint[k], values[k], args, dict(node.params), mask)
                accumulate(a, g if arriving is None else arriving(g, k, a))
                if before is not None and arriving is not None:
                    before(node)
    return adjoint


def kink_distances(xp: Any, graph: Graph, values: list[Any], wrt: Iterable[str]) -> dict[int, Any]:
    """Node index -> its distances to the nearest non-smooth point, for the non-smooth ops on the way.

    On the way are all ops that depend on `wrt` at all: a comparison has no cotangent, but the branch that it chooses
    has a kink where it flips.
    """
    moving = _once(graph, wrt, "kinks", lambda wrt: _with_kinks(graph, wrt))
    return {k: kinks(xp, *(values[a] for a in node.args), **dict(node.params)) for k, node, kinks in moving}


def _with_kinks(graph: Graph, wrt: tuple[str, ...]) -> list[tuple[int, Apply, Callable[..., Any]]]:
    """The non-smooth ops that depend on `wrt`, outputs first."""
    moving = dependents(graph, (graph.inputs[name] for name in wrt), lambda node, i: True)
    nodes = ((k, graph.nodes[k]) for k in walk_back(graph, moving))
    found = ((k, n, OPS[n.op].kinks) for k, n in nodes if isinstance(n, Apply))
    return [(k, node, kinks) for k, node, kinks in found if kinks is not None]


def float_inputs(graph: Graph) -> tuple[str, ...]:
    return tuple(n.name for n in graph.nodes if isinstance(n, Input) and n.kind == "float")
