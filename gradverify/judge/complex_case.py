"""Complex cases: judged as the cases of real numbers that they stand for.

The one idea: oracle, budget and laws never see a complex number. A complex case becomes the real case of its parts
(`ops.pairs`), and the subject's function, complex inside, becomes one of those parts; so a subject is right if its
conjugates come out right, whichever convention it has for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Constant, Graph, Input, Node
from ..frameworks.base import Framework
from ..namespaces.dtypes import complex_name, numpy_dtype, rounded, to_float64
from ..namespaces.numpy import NUMPY
from ..namespaces.run import forward
from ..ops.complex.lowering import is_complex, lowered_with_places, names_of, real_graph


def dtype_name(case: Case) -> str:
    """The case's dtype as users write it: complex128 for a complex case in float64."""
    return complex_name(case.dtype) if is_complex(case.graph) else case.dtype


def real_case(case: Case) -> Case:
    """The case over parts: `z` is `z.real` and `z.imag`, a complex output two outputs.

    A claim for z, dL/d(Re z) + i dL/d(Im z) in the convention of PyTorch, becomes one for each part; the cotangent that it
    names `g` is in that convention too. Raises Unsupported for an op that has no rule over pairs, and for a precision
    that has no complex dtype.
    """
    complex_name(case.dtype)
    names = names_of(case.graph)
    claims: dict[str, Graph] = {}
    for name, claim in case.claims.items():
        whole = real_graph(claim, _cotangent_names(case.graph))
        for part, output in zip(names[name], whole.outputs, strict=True):
            claims[part] = Graph(whole.nodes, (output,))
    kinds = [case.graph.nodes[o].kind for o in case.graph.outputs]
    starts = np.cumsum([0, *(2 if k == "complex" else 1 for k in kinds)]).tolist()
    return replace(
        case,
        graph=real_graph(case.graph),
        parts=tuple((i, i + 1) for i, k in zip(starts, kinds) if k == "complex"),
        values={n: v for name, whole in case.values.items() for n, v in zip(names[name], _parts(whole, case.dtype))},
        cotangent=tuple(part for g in case.cotangent for part in _parts(g, case.dtype)),
        wrt=tuple(n for name in case.wrt for n in names[name]),
        claims=claims,
        function=None,
    )


def _parts(a: Any, dtype: str) -> tuple[np.ndarray, ...]:
    a = np.asarray(a)
    return (rounded(a.real, dtype), rounded(a.imag, dtype)) if a.dtype.kind == "c" else (a,)


def _cotangent_names(graph: Graph) -> dict[str, str]:
    """Names of cotangent parts: those in a complex claim -> those in the real case's claims."""
    labels: list[str] = []
    for i, o in enumerate(graph.outputs):
        name = "g" if len(graph.outputs) == 1 else f"g{i}"
        labels += [f"{name}.real", f"{name}.imag"] if graph.nodes[o].kind == "complex" else [name]
    return dict(zip(labels, ["g"] if len(labels) == 1 else [f"g{i}" for i in range(len(labels))]))


def to_function_of_parts(case: Case, subject: Framework, own: Callable[..., Any] | None) -> Callable[..., Any]:
    """The subject's function over real and imaginary parts.

    It comes from the function `own` of complex arrays; without one, from the graph run on the subject.

    Raises Unsupported where the subject knows no complex numbers.
    """
    if own is None:
        return subject.function(case.graph, case.dtype)
    return subject.pairs(own, case.graph)


def suspects(case: Case) -> Iterator[tuple[int, Case]]:
    """Yield each op of a complex case alone, from the output backwards, at its own values.

    Its cotangent is random: the true one is unknown, since the ops of the real graph are others.
    """
    graph = case.graph
    real, places = lowered_with_places(graph)
    real = Graph(real.nodes, tuple(range(len(real.nodes))))  # also the part of a pair that no output needs
    with np.errstate(all="ignore"):
        given = {n: to_float64(v) if v.dtype.kind not in "bi" else v for n, v in real_case(case).values.items()}
        flat = forward(NUMPY, real, given, case.dtype)
    values = [flat[p[0]] if len(p) == 1 else flat[p[0]] + 1j * flat[p[1]] for p in places]
    rng = np.random.default_rng(0)
    for k in sorted(graph.active, reverse=True):
        node = graph.nodes[k]
        if isinstance(node, Apply) and node.kind in ("float", "complex"):
            alone = _alone(case, k, node, values, rng)
            if alone is not None:
                yield k, alone


def _alone(case: Case, k: int, node: Apply, values: list[Any], rng: np.random.Generator) -> Case | None:
    nodes: list[Node] = []
    new: dict[int, int] = {}
    given: dict[str, np.ndarray] = {}
    for a in node.args:
        old = case.graph.nodes[a]
        if a in new:
            continue
        if not isinstance(old, Constant):
            name = old.name if isinstance(old, Input) else f"v{a}"
            given[name] = np.array(np.broadcast_to(values[a], old.shape), dtype=numpy_dtype(case.dtype, old.kind))
            old = Input(name, old.shape, old.kind)
        new[a] = len(nodes)
        nodes.append(old)
    nodes.append(replace(node, args=tuple(new[a] for a in node.args)))
    wrt = tuple(n.name for n in nodes if isinstance(n, Input) and n.kind in ("float", "complex"))
    if not wrt:
        return None
    g = rng.standard_normal(node.shape)
    if node.kind == "complex":
        g = g + 1j * rng.standard_normal(node.shape)
    cotangent = np.array(g, dtype=numpy_dtype(case.dtype, node.kind))
    graph = Graph(tuple(nodes), (len(nodes) - 1,))
    return Case(f"{case.name}: {node.op} alone", graph, given, (cotangent,), case.dtype, wrt, source=case.source)
