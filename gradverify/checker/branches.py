"""The branches of a backward pass, each asked on both sides.

A comparison, a clamp or a maximum in the backward pass is a branch, and one that no value has taken hides whatever stands
behind it; so is a comparison that Python decided on (`if x.max() > 88`). The compared quantity is a graph, so that the point
where it turns can be solved for (`turning`). What `where(x < -3, 0, ...)` does is found by its threshold, not by luck.

Two kinds are asked beside these. An equality that some entries take (`x == x.max()`) is asked for one entry more: at a tie.
A stair (`floor`, as an index into a table) is asked for at each height up to where it is clamped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Constant, Graph, Input
from ..core.interval import Interval
from ..core.verdict import Coverage
from ..frameworks.registry import of_functions
from ..judge.exact import BackwardPass, cotangent_names
from ..namespaces.dtypes import FORMATS, floats_in_float64, is_float, rounded, to_float64
from ..namespaces.numpy import NUMPY
from ..namespaces.run import forward
from ..ops import OPS
from ..ops.build import lowered
from ..trace import Traced
from ..trace.call_site import of_node
from .complex_adapter import to_native
from .probes import Given, OtherCase, Probe, Variant, has_case, has_own_backward, register_probe
from .question import PASSES, Question
from .turning import EQUALITIES, STAIRS, Branch, Turn, at_steps, solve, solve_together

COMPARISONS = frozenset({"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"})
DECISIONS = COMPARISONS | {"maximum", "minimum"}
ENDS: Mapping[str, tuple[float, ...]] = {
    **dict.fromkeys(("abs", "sign", "relu", "leaky_relu", "elu", "selu"), (0.0,)),
    "relu6": (0.0, 6.0), "hardtanh": (-1.0, 1.0), "hardsigmoid": (-3.0, 3.0), "hardswish": (-3.0, 3.0),
}  # fmt: skip
"""Where ops of one argument turn that are made of pieces."""

MOST_HEIGHTS = 16
"""Of a stair (`floor`) that are asked for, the nearest to those that were taken."""

JOINED = {"logical_and": True, "logical_or": False}
"""Ops of masks -> the side that both arguments have to take for theirs."""

MOST_BRANCHES = {"normal": 6, "thorough": 24}


def _backward(
    q: Question, traced: Traced, case: Case, backward_pass: BackwardPass
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The backward pass as a graph, with the case's names for its primals, and its inputs' values."""
    subject, function = to_native(of_functions(traced.framework, q.device), traced)
    with q.limit_time(PASSES):
        backward = backward_pass.at(case, subject, function)
    assert backward.graph is not None
    return lowered(backward.graph), dict(backward.values)


def open_branches(graph: Graph, values: Mapping[str, np.ndarray], moving: frozenset[str]) -> tuple[list[Branch], int]:
    """The decisions that depend on `moving` and took one side only; and how many decisions there are."""
    found = _decisions(graph, values, moving)
    return [branch for branch, sides in found if len(sides) == 1], len(found)


def sides_taken(q: Question, traced: Traced, case: Case) -> dict[str, tuple[str, frozenset[bool]]]:
    """The sides that the case takes of each decision of the backward pass: op and line -> (text, sides).

    Decisions of which no value can take the other side are left out. Raises Unsupported and BadInput where the backward pass
    has no graph.
    """
    graph, values = _backward(q, traced, case, BackwardPass())
    found: dict[str, tuple[str, frozenset[bool]]] = {}
    for branch, sides in _decisions(graph, values, frozenset(graph.inputs)):
        if len(sides) == 1 and not is_reachable(branch):
            continue
        node = branch.graph.nodes[branch.node]
        assert isinstance(node, Apply)
        key = f"{node.op}{of_node(node)}" if node.site else branch.text
        found[key] = (branch.text, sides | found[key][1] if key in found else sides)
    return found


def _decisions(
    graph: Graph, values: Mapping[str, np.ndarray], moving: frozenset[str]
) -> list[tuple[Branch, frozenset[bool]]]:
    """The decisions that depend on `moving`, and the sides that each took."""
    graph = _with_ends(graph)
    decisions = [k for k, n in enumerate(graph.nodes) if isinstance(n, Apply) and n.op in DECISIONS]
    graph = Graph(graph.nodes, (*graph.outputs, *decisions))  # also those that nothing but Python read
    with np.errstate(all="ignore"):
        nodes = forward(NUMPY, graph, floats_in_float64(values), "float64")
    reached = _dependent(graph, moving)
    found = []
    for k in sorted(reached & graph.active):
        node = graph.nodes[k]
        if isinstance(node, Apply) and node.op in DECISIONS:
            a, b = (np.asarray(nodes[i], dtype=np.float64) for i in node.args)
            turned = a == b if node.op in EQUALITIES else a > b
            found.append((Branch(graph, k, values), frozenset(map(bool, np.unique(turned)))))
    return found


def _dependent(graph: Graph, moving: frozenset[str]) -> set[int]:
    """The nodes that depend on some inputs, with these."""
    reached = {graph.inputs[n] for n in moving if n in graph.inputs}
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Apply) and any(a in reached for a in node.args):
            reached.add(k)
    return reached


def _ties(graph: Graph, values: Mapping[str, np.ndarray], moving: frozenset[str]) -> list[Branch]:
    """The equalities of two moving values that some entries take, and not all."""
    found = []
    for branch, sides in _decisions(graph, values, moving):
        node, reached = branch.graph.nodes[branch.node], _dependent(branch.graph, moving)
        assert isinstance(node, Apply)
        if node.op in EQUALITIES and len(sides) == 2 and all(a in reached for a in node.args):
            found.append(replace(branch, tie=True))
    return found


def _conjunctions(graph: Graph, values: Mapping[str, np.ndarray], moving: frozenset[str]) -> list[list[Branch]]:
    """The comparisons joined by `and` or `or` in masks that turn only if two or more of them do."""
    comparisons = {b.node: b for b, _ in _decisions(graph, values, moving)}
    masks = [k for k, n in enumerate(graph.nodes) if isinstance(n, Apply) and n.op in JOINED]
    if not masks:
        return []
    given = floats_in_float64(values)
    with np.errstate(all="ignore"):
        nodes = forward(NUMPY, Graph(graph.nodes, tuple(masks)), given, "float64")
    found = []
    for k in masks:
        mask = graph.nodes[k]
        assert isinstance(mask, Apply)
        # Of an `and` those parts have to turn of which no entry is true, of an `or` those of which none is false.
        still = [a for a in _joined(graph, k, mask.op) if not np.any(np.asarray(nodes[a]) == JOINED[mask.op])]
        if len(still) > 1 and all(a in comparisons for a in still):
            found.append([comparisons[a] for a in still])
    return found


def _joined(graph: Graph, k: int, op: str) -> list[int]:
    """The parts that a mask is joined of by one op."""
    node = graph.nodes[k]
    return [p for a in node.args for p in _joined(graph, a, op)] if isinstance(node, Apply) and node.op == op else [k]


def _stairs(graph: Graph, values: Mapping[str, np.ndarray], moving: frozenset[str]) -> list[tuple[Branch, list[int]]]:
    """The stairs that depend on `moving`, and heights that none of their entries has.

    Those up to the numbers that the stair is compared with or clamped to, or else as many as it has entries.
    """
    reached = _dependent(graph, moving)
    stairs = [k for k, n in enumerate(graph.nodes) if isinstance(n, Apply) and n.op in STAIRS and k in reached]
    if not stairs:
        return []
    whole = Graph(graph.nodes, tuple(stairs))
    with np.errstate(all="ignore"):
        nodes = forward(NUMPY, whole, floats_in_float64(values), "float64")
    found = []
    for k in stairs:
        taken = {int(v) for v in np.ravel(nodes[k]) if math.isfinite(v)}
        limits = [int(v) for v in _limits(graph, k) if math.isfinite(v) and v == round(v)]
        if taken:
            entries = math.prod(graph.nodes[k].shape)  # so many heights cost one question
            low, high = (edge([*taken, *limits]) for edge in (min, max))
            low, high = (low, high) if limits else (low - (entries + 1) // 2, high + (entries + 1) // 2)
            near = {t + d for t in taken for d in range(-MOST_HEIGHTS, MOST_HEIGHTS + 1)} - taken
            beside = sorted(m for m in near if low <= m <= high)
            nearest = sorted(beside, key=lambda m: min(abs(m - t) for t in taken))
            found.append((Branch(whole, k, values), nearest[:MOST_HEIGHTS]))
    return found


def _limits(graph: Graph, k: int) -> Iterator[float]:
    """The numbers that a node is compared with or clamped to."""
    for node in graph.nodes:
        if isinstance(node, Apply) and k in node.args:
            if node.op == "clip":
                yield from (float(v) for n, v in node.params if n in ("min", "max") and v is not None)
            elif node.op in DECISIONS:
                others = (graph.nodes[a] for a in node.args if a != k)
                yield from (float(n.value) for n in others if isinstance(n, Constant) and np.size(n.value) == 1)


def _with_ends(graph: Graph) -> Graph:
    """Add a comparison for each end of a clamp, and for each place where an op turns."""
    nodes = list(graph.nodes)
    for node in graph.nodes:
        if not isinstance(node, Apply):
            continue
        params = dict(node.params)
        ends = [params.get("min"), params.get("max")] if node.op == "clip" else ENDS.get(node.op, ())
        for end in ends:
            if isinstance(end, int | float):
                nodes.append(Constant(float(end)))
                shape = graph.nodes[node.args[0]].shape
                nodes.append(Apply("less", (node.args[0], len(nodes) - 1), (), shape, "bool", node.site))
    return Graph(tuple(nodes), graph.outputs)


def is_reachable(branch: Branch) -> bool:
    """Can finite values take the other side? By intervals; floating-point inputs may be any number."""
    node = branch.graph.nodes[branch.node]
    assert isinstance(node, Apply)
    if _are_one(branch.graph, *node.args):  # x != x, a test for NaN: of one value every comparison is decided
        return False
    a, b = (_range_of(branch.graph, k, branch.values) for k in node.args)
    low, high = a.lo - b.hi, a.hi - b.lo
    if math.isnan(low) or math.isnan(high):
        return True
    match node.op:
        case "less" | "greater_equal":
            return low < 0 <= high
        case "equal" | "not_equal":
            return low <= 0 <= high and (low, high) != (0.0, 0.0)
        case _:
            return low <= 0 < high


def _are_one(graph: Graph, a: int, b: int) -> bool:
    """Are two nodes the same value: one node, or the same op of the same values, written twice?"""
    if a == b:
        return True
    x, y = graph.nodes[a], graph.nodes[b]
    if not (isinstance(x, Apply) and isinstance(y, Apply)):
        return False
    if (x.op, x.params, len(x.args)) != (y.op, y.params, len(y.args)):
        return False
    known = graph.found.setdefault("one", {})
    if (a, b) not in known:
        known[a, b] = all(_are_one(graph, i, j) for i, j in zip(x.args, y.args))
    return bool(known[a, b])


def _range_of(graph: Graph, k: int, values: Mapping[str, np.ndarray]) -> Interval:
    """An interval that holds all that a node may come to."""
    if k not in graph.found.setdefault("ranges", {}):
        graph.found["ranges"][k] = _range(graph, k, values)
    return cast("Interval", graph.found["ranges"][k])


def _range(graph: Graph, k: int, values: Mapping[str, np.ndarray]) -> Interval:
    node = graph.nodes[k]
    if isinstance(node, Apply):
        images = [_range_of(graph, a, values) for a in node.args]
        shapes = tuple(graph.nodes[a].shape for a in node.args)
        op, params = node.op, dict(node.params)
        if op == "multiply" and node.args[0] == node.args[1]:  # of one variable, not of two
            op, images, shapes = "square", images[:1], shapes[:1]
        try:
            return OPS[op].image(*images, shapes=shapes, **params)
        except (ArithmeticError, ValueError):  # outside of the domain an image need not exist
            return Interval()
    given = np.asarray(node.value) if isinstance(node, Constant) else np.asarray(values[node.name])
    is_free = isinstance(node, Input) and is_float(given) and not node.name.startswith("captured")
    if is_free or not given.size or not np.isfinite(to_float64(given) if is_float(given) else given).all():
        return Interval()
    return Interval(float(np.min(given)), float(np.max(given)))


def _at_branches(given: Given) -> Iterator[Variant]:
    """The function where a branch that was not taken is; `given.found` then says which were."""
    case = given.case
    assert case is not None
    graph, values = _backward(given.question, given.traced, case, given.backward)
    arguments = frozenset(a.name for a in given.traced.arguments if a.role == "argument" and not a.part)
    cotangents = {name: k for k, name in enumerate(cotangent_names(case))}
    moving = frozenset(case.wrt) & arguments | cotangents.keys()
    dtypes = {n: str(values[n].dtype) for n in moving & values.keys()}
    branches, count = open_branches(graph, values, moving)
    unreachable = [b for b in branches if not is_reachable(b)]
    branches = [b for b in branches if b not in unreachable]
    most = MOST_BRANCHES.get(given.effort, 0)
    missed = branches[most:]
    for branch in branches[:most]:
        found = solve(branch, moving, dtypes, cotangents)
        label = f"{found.text}, where {branch.text} turns" if found else ""
        variants = list(_beyond(given, case, cotangents, branch, found, label)) if found else []
        missed += [] if variants else [branch]
        given.found.coverage = _coverage(count, missed, unreachable)
        yield from variants
    given.found.coverage = _coverage(count, missed, unreachable)
    for together in _conjunctions(graph, values, moving)[:most]:
        if (found := solve_together(together, moving, dtypes, cotangents)) is not None:
            text = " and ".join(b.text for b in together)
            label = f"{found.text}, where {text} turn together"
            yield from _beyond(given, case, cotangents, together[0], found, label)
    for branch in _ties(graph, values, moving)[:most]:
        if (found := solve(branch, moving, dtypes, cotangents)) is not None:
            label = f"{found.text}, where {branch.text} holds for one entry more"
            yield from _beyond(given, case, cotangents, branch, found, label)
    for branch, heights in _stairs(graph, values, moving)[:most]:
        for found, reached in at_steps(branch, moving, dtypes, heights)[:most]:
            text = f"{branch.text} is {', '.join(map(str, reached))}"
            yield from _beyond(given, case, cotangents, branch, found, f"{found.name} where {text}")


def _beyond(
    given: Given, case: Case, cotangents: Mapping[str, int], branch: Branch, found: Turn, label: str
) -> Iterator[Variant]:
    """The function at the point, or with the cotangent, that was found; none where a cast has no value."""
    if _leaves_range(case, branch, found):
        return
    if found.name in cotangents:
        others = list(case.cotangent)
        k = cotangents[found.name]
        others[k] = rounded(found.value, str(others[k].dtype))
        yield OtherCase(replace(case, cotangent=tuple(others)), label=label, exact=True)
        return
    for variant in given.changed(_Put(case.values[found.name], found.value)):
        yield replace(variant, label=label)


def _leaves_range(case: Case, branch: Branch, found: Turn) -> bool:
    """Does some number overflow the case's narrowest format at the turn, and not at the given point?

    Where the function casts to that format, it has no value there.
    """
    huge = FORMATS[case.dtype].huge
    given = floats_in_float64(branch.values)
    with np.errstate(all="ignore"):
        here, there = (
            forward(NUMPY, branch.graph, {**given, **moved}, "float64") for moved in ({}, {found.name: found.value})
        )
        within = lambda x: np.abs(np.asarray(x, dtype=np.float64)) <= huge
        return any(bool((within(a) & ~within(b)).any()) for a, b in zip(here, there) if np.shape(a) == np.shape(b))


def _coverage(count: int, missed: Sequence[Branch], unreachable: Sequence[Branch]) -> Coverage:
    texts = [tuple(dict.fromkeys(b.text for b in of)) for of in (missed, unreachable)]
    return Coverage(count, count - len(missed) - len(unreachable), *texts)


class _Put:
    """Puts other values in the place of the first array that holds these."""

    def __init__(self, like: np.ndarray, value: np.ndarray) -> None:
        self.like, self.value, self.done = to_float64(like), value, False

    def __call__(self, x: np.ndarray) -> np.ndarray | None:
        if self.done or x.dtype.kind != "f" or x.shape != self.like.shape:
            return None
        if not np.array_equal(x.astype(np.float64), self.like, equal_nan=True):
            return None
        self.done = True
        return self.value.astype(x.dtype)


register_probe(
    Probe(
        "branches of the backward pass", _at_branches, requires=(has_case, has_own_backward), noted=True, last=True,
        key="branches",
    )
)  # fmt: skip
