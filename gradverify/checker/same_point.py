"""Probes at the given point: other cotangents, subsets of inputs and outputs, other ways of asking, the second order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.graph import Graph
from ..core.verdict import Reason
from ..frameworks.recognise import recompiled
from ..frameworks.registry import of_functions
from ..judge.laws import Extent
from ..judge.reference import restrict_wrt
from ..trace import Traced
from ..trace.value import HandWrittenFunction
from .complex_adapter import group_parts
from .orders import next_order
from .probes import (
    Given,
    OtherCase,
    OtherFunction,
    OtherQuestion,
    Probe,
    Variant,
    has_case,
    has_one_definition,
    has_own_gradient,
    is_custom,
    register_probe,
)

SUBSETS = 4
"""Of so many inputs each is differentiated alone, and each left out, and of so many outputs each is asked alone; of more
inputs the first and the last one are."""


# ---- cotangents -----------------------------------------------------------------------------------------------------
# Each has its own truth and budget: what normalises, divides by, takes a short cut around, or misreads a cotangent is right
# for most and wrong for one of these. (Large, tiny, zero and one-hot ones are asked at every point, by the laws.)


def _with_cotangent(given: Given, cotangent: Sequence[np.ndarray]) -> Iterator[Variant]:
    assert given.case is not None
    yield OtherCase(replace(given.case, cotangent=tuple(cotangent)))


def _half_zeros(given: Given) -> Iterator[Variant]:
    """Zeros in the first half of the entries: whole rows, where there are several."""

    def halved(g: np.ndarray) -> np.ndarray:
        return np.where(np.arange(g.size).reshape(g.shape) < g.size // 2, g.dtype.type(0), g)

    assert given.case is not None
    return _with_cotangent(given, [halved(g) for g in given.case.cotangent])


def _expanded(given: Given) -> Iterator[Variant]:
    """A constant, expanded in memory (stride 0), as from the backward pass of a sum."""
    assert given.case is not None
    return _with_cotangent(given, [np.broadcast_to(g.dtype.type(1.0), g.shape) for g in given.case.cotangent])


def _has_entries_to_tell_apart(given: Given) -> bool:
    return given.case is not None and any(g.size > 1 for g in given.case.cotangent)


def _has_derivatives(given: Given) -> bool:
    """Does the function have a derivative at the point, if one-sided? Where it has none (the root of 0) nothing fails, and 0
    times it is a convention."""
    return given.verdict.reason is not Reason.KINK or any(c.failing for c in given.verdict.comparisons)


register_probe(
    Probe(
        "a cotangent that is half zeros",
        _half_zeros,
        legal=True,
        requires=(has_case, _has_entries_to_tell_apart, _has_derivatives),
        extent=Extent.NONE,
    )
)
register_probe(
    Probe(
        "a constant, expanded cotangent",
        _expanded,
        legal=True,
        requires=(has_case, _has_entries_to_tell_apart),
        extent=Extent.NONE,
    )
)


# ---- subsets of inputs, ways of asking, outputs ---------------------------------------------------------------------


def _subsets_of_inputs(given: Given) -> Iterator[Variant]:
    """Some arguments differentiated, the others frozen."""
    case = given.case
    assert case is not None
    groups = dict(group_parts(case.wrt, given.traced))
    for names in _subsets(list(groups)):
        label = f"only {' and '.join(names)} {'require' if len(names) > 1 else 'requires'} grad"
        inputs = tuple(i for n in names for i in groups[n])
        yield OtherCase(restrict_wrt(case, inputs, seed=given.question.seed), label=label)


def _subsets(names: list[str]) -> list[tuple[str, ...]]:
    """Every one of up to SUBSETS inputs alone, and all but one; of more inputs the first and the last one."""
    if len(names) < 2:
        return []
    turns = names if len(names) <= SUBSETS else [names[0], names[-1]]
    return list(dict.fromkeys([(n,) for n in turns] + [tuple(m for m in names if m != n) for n in turns]))


def _other_pull_modes(given: Given) -> Iterator[Variant]:
    """The laws of pull modes, and where the caller keeps the gradients, of aliasing, independent calls and second graphs."""
    assert given.case is not None
    laws = ["pull_modes"]
    if of_functions(given.traced.framework).keeps_results(given.traced.custom):
        laws += ["aliasing", "independence"]
        laws += ["second_graph"] if given.question.above else []
    yield OtherCase(replace(given.case, invariants=tuple(laws)))


def _single_outputs(given: Given) -> Iterator[Variant]:
    """One output alone: the other outputs' cotangents are undefined then, not zero."""
    assert given.case is not None
    groups = given.traced.leaves
    for k, group in enumerate(groups[:SUBSETS] if len(groups) > 1 else ()):
        yield OtherCase(_single_output(given.case, group), _only(given.traced, k, group), label=f"output {k} alone")


def _single_output(case: Case, group: tuple[int, ...]) -> Case:
    graph = Graph(case.graph.nodes, tuple(case.graph.outputs[i] for i in group))
    cotangent = tuple(case.cotangent[i] for i in group)
    mixed = case.mixed and replace(case.mixed, outputs=tuple(case.mixed.outputs[i] for i in group))
    return replace(case, graph=graph, cotangent=cotangent, mixed=mixed, parts=((0, 1),) if len(group) == 2 else ())


def _only(traced: Traced, k: int, group: tuple[int, ...]) -> Traced:
    """The function with one of its outputs: the graph's outputs `group`, two for a complex one."""
    function, native = traced.function, traced.native
    if isinstance(function, HandWrittenFunction):  # its VJP asks for all cotangents
        return replace(traced, function=function.only(k))
    if native is None:
        return replace(traced, function=lambda *arrays: (function(*arrays)[k],))
    kept = [o for o in traced.outputs if o.position in group]
    return replace(
        traced,
        outputs=tuple(replace(o, position=i) for i, o in enumerate(kept)),
        function=lambda *arrays: tuple(function(*arrays)[i] for i in group),
        native=lambda *arrays: (native(*arrays)[k],),
    )


register_probe(Probe("subsets of the inputs", _subsets_of_inputs, legal=True, requires=(has_case,)))
register_probe(Probe("other ways of asking", _other_pull_modes, requires=(has_case,), extent=Extent.NONE))
register_probe(Probe("one output alone", _single_outputs, legal=True, requires=(has_case,)))


# ---- the second order, other functions ------------------------------------------------------------------------------


def _second_order(given: Given) -> Iterator[Variant]:
    """The VJP of the VJP, where the backward pass is custom."""
    assert given.case is not None
    stops = bool(given.verdict.facts.get("held"))
    above = next_order(given.question, given.traced, given.case, "rev", stop_gradients=stops)
    yield OtherQuestion(above, growth=1.0)


def _wants_second_order(given: Given) -> bool:
    return given.question.second


def _one_as_two(given: Given) -> Iterator[Variant]:
    """One and the same tensor as two arguments, as with tied weights."""
    shared = of_functions(given.traced.framework).shared(given.question.fn, given.arguments, can_stand_in)
    if shared is not None:
        yield OtherFunction(shared)


def can_stand_in(a: Any, b: Any) -> bool:
    """Are the values of `a` likely to be legal in place of `b`? They lie in the range of `b`, or share its signs."""
    if str(a.dtype).rpartition(".")[2].startswith("complex"):
        return can_stand_in(a.real, b.real) and can_stand_in(a.imag, b.imag)
    within = b.min() <= a.min() and a.max() <= b.max()
    return bool(within or (b.min() < 0 < b.max()) or (a.min() > 0 and b.min() > 0) or (a.max() < 0 and b.max() < 0))


def _has_no_parameters(given: Given) -> bool:
    """Is the function without parameters? A wrapped module would lose theirs."""
    return all(a.role != "parameter" for a in given.traced.arguments)


def _compiled(given: Given) -> Iterator[Variant]:
    """The function, compiled by its framework."""
    framework = given.traced.framework
    fn = recompiled(framework, given.question.fn)
    if fn is not None:
        yield OtherFunction(fn, label=of_functions(framework).compiler)


def _may_differ_compiled(given: Given) -> bool:
    return given.asks_whether_compiled or given.effort == "thorough"


def _is_somebodys(given: Given) -> bool:
    """Did a user write the function, rather than derive it?"""
    return not given.question.derived


def _once_more(given: Given) -> Iterator[Variant]:
    """The given case again: other shapes and dtypes in between may have left something behind."""
    assert given.case is not None
    yield OtherCase(given.case)


register_probe(
    Probe("the second order", _second_order, requires=(has_case, is_custom, has_own_gradient, _wants_second_order),
          noted=True)
)  # fmt: skip
register_probe(
    Probe("one tensor as two arguments", _one_as_two, requires=(_has_no_parameters, has_one_definition), most=None)
)
register_probe(
    Probe("compiled", _compiled, requires=(_may_differ_compiled, _is_somebodys, has_own_gradient), most=None)
)
register_probe(
    Probe("as given, once more", _once_more, legal=True, requires=(has_case,), extent=Extent.NONE, last=True)
)
