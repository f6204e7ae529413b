"""The branches of a backward pass, each asked on both sides.

A comparison, a clamp or a maximum in the backward pass is a branch, and one that no value has taken hides whatever stands
behind it; so is a comparison that Python decided on (`if x.max() > 88`). The compared quantity is a graph, so that the point
where it turns can be solved for: Newton's method along the one entry of the inputs that moves it most. What
`where(x < -3, 0, ...)` does is found by its threshold, not by luck.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Constant, Graph, Input
from ..core.interval import Interval
from ..core.verdict import Coverage
from ..frameworks.registry import of_functions
from ..judge.exact import BackwardPass, cotangent_names
from ..judge.wording import with_line
from ..namespaces.dtypes import is_float, rounded, to_float64
from ..namespaces.numpy import NUMPY
from ..namespaces.run import forward, reverse
from ..ops import OPS
from ..ops.build import lowered
from ..trace import Traced
from ..trace.call_site import of_node
from .complex_adapter import to_native
from .probes import Given, OtherCase, Probe, Variant, has_case, is_custom, register_probe
from .question import PASSES, Question

COMPARISONS = frozenset({"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"})
DECISIONS = COMPARISONS | {"maximum", "minimum"}
TURN_AT_0 = frozenset({"abs", "sign", "relu"})
EQUALITIES = frozenset({"equal", "not_equal"})

STEPS = 30
"""Of Newton's method, which takes two or three where the compared quantity is nearly linear."""

MOST_BRANCHES = {"normal": 6, "thorough": 24}

BEYOND = 2.0**-5
"""How far past the turn the other side is asked, as a share of the way there, or of the threshold where that is too far
(|g| < 1e-6): past the rounding of any dtype."""

FAR_BEYOND = 0.5
"""The same for cotangents, of which any are legal: what is clipped shows by as much as it is clipped."""


@dataclass(frozen=True, eq=False)
class Branch:
    """A decision between two values, of which only one side was taken."""

    graph: Graph
    node: int
    values: Mapping[str, np.ndarray]

    @property
    def text(self) -> str:
        return with_line(self.graph, self.node)


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
        nodes = forward(NUMPY, graph, {n: to_float64(v) if is_float(v) else v for n, v in values.items()}, "float64")
    reached = {graph.inputs[n] for n in moving if n in graph.inputs}
    found = []
    for k, node in enumerate(graph.nodes):
        if not isinstance(node, Apply) or k not in graph.active:
            continue
        if any(a in reached for a in node.args):
            reached.add(k)
        if node.op not in DECISIONS or k not in reached:
            continue
        a, b = (np.asarray(nodes[i], dtype=np.float64) for i in node.args)
        turned = a == b if node.op in EQUALITIES else a > b
        found.append((Branch(graph, k, values), frozenset(map(bool, np.unique(turned)))))
    return found


def _with_ends(graph: Graph) -> Graph:
    """Add a comparison for each end of a clamp, and one with 0 for each op that turns there."""
    nodes = list(graph.nodes)
    for node in graph.nodes:
        if not isinstance(node, Apply):
            continue
        params = dict(node.params)
        ends = [params.get("min"), params.get("max")] if node.op == "clip" else [0.0] if node.op in TURN_AT_0 else []
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


def solve(
    branch: Branch, moving: frozenset[str], dtypes: Mapping[str, str], free: Collection[str] = ()
) -> tuple[str, tuple[int, ...], float] | None:
    """(input, entry, value) where the decision turns; None where no single entry was found that turns it.

    Inputs in `free` may be any number: they are moved farther.
    """
    node = branch.graph.nodes[branch.node]
    assert isinstance(node, Apply)
    a, b = node.args
    shape = branch.graph.nodes[branch.node].shape
    graph = Graph((*branch.graph.nodes, Apply("subtract", (a, b), (), shape)), (len(branch.graph.nodes),))
    wrt = tuple(n for n in graph.inputs if n in moving and is_float(branch.values[n]))
    values = {n: to_float64(v) if is_float(v) else v for n, v in branch.values.items()}
    inputs = graph.inputs

    def gap(point: Mapping[str, Any]) -> tuple[np.ndarray, list[Any]]:
        nodes = forward(NUMPY, graph, point, "float64")
        return np.asarray(nodes[-1], dtype=np.float64), nodes

    with np.errstate(all="ignore"):
        h, nodes = gap(values)
        if not h.size or not np.isfinite(h).any():
            return None
        at = np.unravel_index(int(np.nanargmin(np.where(np.isfinite(h), np.abs(h), np.nan))), h.shape)
        one = np.zeros(h.shape)
        one[at] = 1.0

        def slopes(nodes: list[Any]) -> dict[str, np.ndarray]:
            adjoint = reverse(NUMPY, graph, nodes, [one], wrt)
            return {n: np.asarray(adjoint[inputs[n]]) for n in wrt if inputs[n] in adjoint}

        reach = {n: np.abs(s) * np.maximum(np.abs(values[n]), 1.0) for n, s in slopes(nodes).items()}
        reach = {n: np.where(np.isfinite(r), r, 0.0) for n, r in reach.items() if r.size}
        if not reach or not any(r.any() for r in reach.values()):
            return None
        name = max(reach, key=lambda n: float(reach[n].max()))
        entry = tuple(int(i) for i in np.unravel_index(int(np.argmax(reach[name])), reach[name].shape))
        threshold = min(abs(float(np.broadcast_to(nodes[k], shape)[at])) for k in (a, b))
        beyond = FAR_BEYOND if name in free else BEYOND
        ways = (beyond * max(abs(float(h[at])), 1.0), BEYOND * threshold)
        start = h, nodes
        for way in ways if node.op not in EQUALITIES else ways[:1]:
            (h, nodes), point = start, dict(values)
            target = 0.0 if node.op in EQUALITIES else -float(np.sign(h[at])) * way
            for _ in range(STEPS):
                turned = h[at] == 0 if node.op in EQUALITIES else h[at] != 0 and np.sign(h[at]) == np.sign(target)
                if turned:
                    return name, entry, float(point[name][entry])
                slope = float(slopes(nodes).get(name, np.zeros(values[name].shape))[entry])
                step = (target - float(h[at])) / slope if slope else np.nan
                if not np.isfinite(step):
                    break
                moved = point[name].copy()
                moved[entry] += step
                moved = to_float64(rounded(moved, dtypes[name]))
                point = {**point, name: moved}
                h, nodes = gap(point)
                if not np.isfinite(h[at]):
                    break
    return None


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
        variants = list(_beyond(given, case, cotangents, branch, found)) if found else []
        missed += [] if variants else [branch]
        given.found.coverage = _coverage(count, missed, unreachable)
        yield from variants
    given.found.coverage = _coverage(count, missed, unreachable)


def _beyond(
    given: Given, case: Case, cotangents: Mapping[str, int], branch: Branch, found: tuple[str, tuple[int, ...], float]
) -> Iterator[Variant]:
    """The function at the point, or with the cotangent, where a branch turns."""
    name, entry, value = found
    where = f"{name}[{', '.join(map(str, entry))}]" if entry else name
    label = f"{where} = {value:.6g}, where {branch.text} turns"
    if name in cotangents:
        others = list(case.cotangent)
        others[cotangents[name]] = put = np.array(others[cotangents[name]])
        put[entry] = value
        yield OtherCase(replace(case, cotangent=tuple(others)), label=label, exact=True)
        return
    for variant in given.changed(_Put(case.values[name], entry, value)):
        yield replace(variant, label=label)


def _coverage(count: int, missed: Sequence[Branch], unreachable: Sequence[Branch]) -> Coverage:
    texts = [tuple(dict.fromkeys(b.text for b in of)) for of in (missed, unreachable)]
    return Coverage(count, count - len(missed) - len(unreachable), *texts)


class _Put:
    """Puts a value into the first array that holds these values."""

    def __init__(self, like: np.ndarray, entry: tuple[int, ...], value: float) -> None:
        self.like, self.entry, self.value, self.done = to_float64(like), entry, value, False

    def __call__(self, x: np.ndarray) -> np.ndarray | None:
        if self.done or x.dtype.kind != "f" or x.shape != self.like.shape:
            return None
        if not np.array_equal(x.astype(np.float64), self.like, equal_nan=True):
            return None
        self.done = True
        new = np.array(x)
        new[self.entry] = self.value
        return new


register_probe(
    Probe(
        "branches of the backward pass", _at_branches, requires=(has_case, is_custom), noted=True, last=True,
        key="branches",
    )
)  # fmt: skip
