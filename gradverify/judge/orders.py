"""The definition of a derivative of order k: that of order k - 1, differentiated by the op table.

What a framework computes as a first derivative may be right at a point and no function around it: a rule that takes a
branch there (of a zero factor, of a singular matrix) leaves a trace of that branch, and the derivative of the trace is
that of another function. The VJP texts compose to a graph of the gradient that the forward definition has; where the
two differ, the definition wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import ShapeError, Unsupported
from ..core.graph import Apply, Graph, Input, Node
from ..core.op import Shape
from ..namespaces.dtypes import FORMATS
from ..namespaces.run import Table
from ..ops import OPS
from ..ops.build import lowered
from ..ops.complex.lowering import is_complex
from ..oracle.truth import Truth
from .compare import compare
from .jvp import pushforward, vjp_graph
from .reference import Reference, in_doubles, reference, truth_of


@dataclass(frozen=True, eq=False)
class Below:
    """The order below.

    case       of the function that was differentiated
    arguments  which of its inputs are arguments
    forward    was its JVP taken, not its VJP?
    custom     is that a user's rule?
    elsewhere  arguments, as arrays of the framework -> the order below at these; None where it cannot be traced there
    """

    case: Case
    arguments: tuple[str, ...]
    forward: bool = False
    custom: bool = False
    elsewhere: Callable[[Sequence[Any]], Below | None] | None = None

    def at(self, args: Sequence[Any]) -> Below | None:
        """The order below where the arguments of its derivative are `args`: its own arguments, then what it was pulled back
        or pushed forward along."""
        return self.elsewhere(args[: len(self.arguments)]) if self.elsewhere else None


def by_definition(below: Below, names: Sequence[str], case: Case, *, seed: int = 0) -> Case:
    """`case`, or the same question to the derivative of the definition below, where that has another answer.

    `names` are the inputs of `case` that stand for the arguments below and then for the cotangents, or tangents.
    """
    try:
        other = definition_of(below, names, case, seed=seed)
        if other is None:
            return case
        own, true = reference(case, seed=seed), truth_of(other, seed=seed)
        smooth = not (truth_of(below.case, seed=seed).kinks or own.truth.kinks or true.kinks)
        if smooth and _reads(case) >= _reads(other) and _has_other_values(case, other, seed):
            return other
    except Unsupported:
        return case
    return other if _differ(own, true, case) else case


def _reads(case: Case) -> frozenset[str]:
    """The inputs that the graph reads. One tensor for two arguments is one input, and another question."""
    return frozenset(n for n, k in case.graph.inputs.items() if k in case.graph.active)


def _has_other_values(case: Case, other: Case, seed: int) -> bool:
    """Is the derivative below, as it was traced, off by more than rounding in doubles?

    What the case's dtype hides does not matter here: under create_graph a backward pass may have another formula. At a kink
    its value may be a convention, and is not asked.
    """
    own, true = reference(in_doubles(case), seed=seed), truth_of(in_doubles(other), seed=seed)
    found = zip(true.outputs, own.truth.outputs, own.budget.outputs)
    return any(bool(compare("", e.hi, want, b, FORMATS["float64"]).failing.any()) for e, want, b in found)


def definition_of(below: Below, names: Sequence[str], case: Case, *, seed: int = 0, table: Table = OPS) -> Case | None:
    """The question of `case` to the derivative of the definition below; None and Unsupported as `derivative` has them."""
    shapes = [case.graph.nodes[o].shape for o in case.graph.outputs]
    found = None if is_complex(case.graph) else derivative(below, names, case.values, shapes, seed=seed, table=table)
    return None if found is None else replace(case, graph=found[0], values=found[1])


def derivative(
    below: Below,
    names: Sequence[str],
    values: Mapping[str, np.ndarray],
    shapes: Sequence[Shape],
    *,
    seed: int = 0,
    table: Table = OPS,
) -> tuple[Graph, dict[str, np.ndarray]] | None:
    """The graph of the definition's derivative, over inputs of these names, and the values of all its inputs.

    With other texts in `table` it is the derivative by these.

    None where it does not fit: it is another point, where a trace may be another one; or the framework leaves out a
    gradient that is zero; or the conventions of the definition's ops come to another gradient than the function has.
    Raises Unsupported where a rule cannot be recorded.
    """
    lower = below.case
    if is_complex(lower.graph) or not _means_itself(reference(lower, seed=seed).truth):
        return None
    if below.forward:
        graph, seeds = pushforward(lower.graph, lower.wrt, table), tuple(f"{n}'" for n in lower.wrt)
    else:
        try:
            graph, seeds = vjp_graph(lowered(lower.graph, table), lower.wrt, "{}*", lambda k: k, table)
        except (AttributeError, TypeError, ShapeError, KeyError) as e:
            raise Unsupported(f"the rule of an op cannot be recorded ({type(e).__name__}: {e})") from e
    known = dict(zip((*below.arguments, *seeds), names))
    if len(known) != len(names) or not set(names) <= set(values):
        return None
    same_point = all(np.array_equal(lower.values[n], values[known[n]]) for n in below.arguments if n in lower.values)
    if not same_point or [graph.nodes[o].shape for o in graph.outputs] != list(shapes):
        return None
    values = dict(values)
    for n, k in graph.inputs.items():
        if n not in known and k in graph.active:  # captured below
            known[n] = next(name for name in _labels(n) if name not in values)
            values[known[n]] = lower.values[n]
    graph = _renamed(graph, known, names)
    return graph, {n: values[n] for n in graph.inputs}


def _means_itself(true: Truth) -> bool:
    """Do the ops' conventions come to the gradient, wherever it is smooth?"""
    for n, m in true.smooth.items():
        e = true.gradients[n]
        # Both are doubles of numbers known to far more digits: they agree, or a convention is off by a slope.
        if (m & ~(np.abs(true.taken[n] - e.hi) <= 2.0**-50 * np.abs(e.hi) + 2 * e.bound)).any():
            return False
    return True


def _labels(name: str) -> list[str]:
    return [name, *(f"{name} ({k})" for k in range(2, 100))]


def _renamed(graph: Graph, names: Mapping[str, str], first: Sequence[str]) -> Graph:
    """With other names for its inputs, and without those that have none.

    The inputs `first` (new names) lead, in that order: a function is called with the values of a case by position.
    """
    place, nodes = count(), list[Node]()
    new: dict[int, int] = {}
    rank = {n: k for k, n in enumerate(first)}

    def leading(k: int) -> int:
        node = graph.nodes[k]
        return rank.get(names.get(node.name, ""), len(rank)) if isinstance(node, Input) else len(rank)

    for k in sorted(range(len(graph.nodes)), key=leading):
        node = graph.nodes[k]
        if isinstance(node, Input):
            if node.name not in names:
                continue
            node = replace(node, name=names[node.name])
        elif k not in graph.active:
            continue
        elif isinstance(node, Apply):
            node = replace(node, args=tuple(new[a] for a in node.args))
        new[k] = next(place)
        nodes.append(node)
    return Graph(tuple(nodes), tuple(new[o] for o in graph.outputs))


def _differ(own: Reference, true: Truth, case: Case) -> bool:
    """Would the definition's derivatives be called wrong by the trace? Not where its values are other ones: at a kink the
    graph of a gradient may have a value by convention, which is no limit of its own."""
    fmt = FORMATS[case.dtype]
    for e, want, allowed in zip(true.outputs, own.truth.outputs, own.budget.outputs):
        if not compare("", e.hi, want, allowed, fmt).passing.all():
            return False
    wrong = False
    for n, e in true.gradients.items():
        low, high = own.truth.low.get(n), own.truth.high.get(n)
        found = compare("", e.hi, own.truth.gradients[n], own.budget.gradients[n], fmt, low, high)
        # Nothing is held against the trace where the definition has a kink of its own.
        one = true.low[n] == true.high[n] if n in true.low else np.isfinite(e.hi)
        known = one & (e.bound <= np.abs(e.hi) + own.budget.gradients[n])
        unknown = ~np.isfinite(own.truth.gradients[n].hi) if low is None else np.isnan(low)
        wrong |= bool(((found.failing | unknown) & known).any())
    return wrong
