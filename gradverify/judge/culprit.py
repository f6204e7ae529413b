"""The culprit of a FAIL: the op that is wrong by itself, and the smallest case that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Constant, Graph, Input
from ..core.verdict import Culprit
from ..frameworks.base import Framework
from ..namespaces.dtypes import floats_in_float64, rounded, to_float64
from ..namespaces.numpy import NUMPY
from ..namespaces.run import carries, forward, needed, reverse, walk_back
from ..ops.build import lowered
from ..ops.complex.lowering import PARTS, is_complex
from . import complex_case as pairs
from .decide import decide


def single_op(case: Case, k: int, adjoint: np.ndarray, values: list[np.ndarray]) -> Case | None:
    """Node `k` of the case alone: its arguments become inputs, its adjoint the cotangent. None where nothing moves."""
    node = case.graph.nodes[k]
    assert isinstance(node, Apply)
    nodes: list[Input | Constant | Apply] = []
    new: dict[int, int] = {}
    given: dict[str, np.ndarray] = {}
    for a in node.args:
        if a in new:
            continue
        new[a] = len(nodes)
        old = case.graph.nodes[a]
        if isinstance(old, Constant):
            nodes.append(old)
            continue
        name = old.name if isinstance(old, Input) else f"v{a}"
        while name in given:
            name += "_"
        nodes.append(Input(name, old.shape, old.kind))
        given[name] = rounded(values[a], case.dtype) if old.kind == "float" else np.asarray(values[a])
    nodes.append(Apply(node.op, tuple(new[a] for a in node.args), node.params, node.shape, node.kind))
    graph = Graph(tuple(nodes), (len(nodes) - 1,))
    reach = needed(graph, [n for n, at in graph.inputs.items() if graph.nodes[at].kind == "float"])
    wrt = tuple(
        n for n, at in graph.inputs.items()
        if graph.nodes[at].kind == "float" and any(
            carries(graph.nodes[-1], i) and a == at for i, a in enumerate(graph.nodes[-1].args)  # type: ignore[arg-type, union-attr]
        )
    )  # fmt: skip
    if not wrt or len(nodes) - 1 not in reach:
        return None
    cotangent = rounded(np.nan_to_num(np.asarray(adjoint, dtype=np.float64)), case.dtype)
    return Case(f"{case.name}: {node.op} alone", graph, given, (cotangent,), case.dtype, wrt, source=case.source)


def suspects(case: Case) -> Iterator[tuple[int, Case]]:
    """Yield each op of the case alone, from the output backwards."""
    flat = lowered(case.graph)
    with np.errstate(all="ignore"):
        given = floats_in_float64(case.values)
        graph = case.graph
        values = forward(NUMPY, graph, given, case.dtype)
        cotangent = [to_float64(g) for g in case.cotangent]
        if flat is graph:
            adjoints = reverse(NUMPY, graph, values, cotangent, case.wrt)
        else:
            # A composite op has no VJP text: its own cotangent is not to be had node by node, a random one serves.
            rng = np.random.default_rng(0)
            adjoints = {k: rng.standard_normal(n.shape) for k, n in enumerate(graph.nodes)}
            adjoints |= dict(zip(graph.outputs, cotangent))
    for k in walk_back(graph, needed(graph, case.wrt)):
        if k in adjoints:
            alone = single_op(case, k, np.broadcast_to(adjoints[k], graph.nodes[k].shape), values)
            if alone is not None:
                yield k, alone


def find_culprit(case: Case, subject: Framework, spec_text: Callable[[Case], str], *, seed: int = 0) -> Culprit | None:
    """The first op, seen from the output, that fails alone, with the case that shows it.

    None where every op is right by itself: then the fault is in how they are combined (accumulation over
    several uses, state between calls), and the whole graph is the evidence.
    """
    if case.function is not None:
        return None
    for k, alone in pairs.suspects(case) if is_complex(case.graph) else suspects(case):
        verdict = decide(alone, subject, seed=seed)
        if verdict.outcome.has_kind:
            node = case.graph.nodes[k]
            assert isinstance(node, Apply)
            broken = [i for i, a in enumerate(alone.graph.nodes[-1].args)  # type: ignore[union-attr]
                      if any(c.failing and c.of in names for c in verdict.comparisons
                             for names in [{f"d{alone.graph.label(a)}{part}" for part in ("", *PARTS)}])]  # fmt: skip
            text = f"{node.op} (%{k} = {case.graph.call(k)})"
            text += f", the gradient of its argument {broken[0] + 1}" if broken else ""
            return Culprit(k, node.op, broken[0] if broken else 0, text, alone.graph.text(), spec_text(alone))
    return None
