"""Where a decision turns: a point just beyond it, along one entry of an input, or along all of them together."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.graph import Apply, Constant, Graph
from ..judge.wording import with_line
from ..namespaces.dtypes import floats_in_float64, is_float, rounded, to_float64
from ..namespaces.numpy import NUMPY
from ..namespaces.run import forward, reverse

EQUALITIES = frozenset({"equal", "not_equal"})
STAIRS = frozenset({"floor", "ceil", "round", "trunc"})
"""Ops whose slope is 0: the way to where they step is that of their argument."""

NEWTON = 30
"""Steps of Newton's method, which takes two or three where the compared quantity is nearly linear."""

HALVINGS = 12
"""Of the way from the last point on the old side: the turn to 2**-12 of that way."""

BEYOND = 2.0**-5
"""How far past the turn the other side is asked, as a share of the way there, or of the threshold where that is too far
(|g| < 1e-6): past the rounding of any dtype."""

FAR_BEYOND = 0.5
"""The same for cotangents, of which any are legal: what is clipped shows by as much as it is clipped."""


@dataclass(frozen=True, eq=False)
class Branch:
    """A decision between two values, of which only one side was taken.

    tie  the decision is an equality that some entries take: asked is where one more does
    """

    graph: Graph
    node: int
    values: Mapping[str, np.ndarray]
    tie: bool = False

    @property
    def text(self) -> str:
        return with_line(self.graph, self.node)


@dataclass(frozen=True, eq=False)
class Turn:
    """Another value of one input, at which a decision turns.

    entry  which entry has moved; None where all have
    """

    name: str
    value: np.ndarray
    entry: tuple[int, ...] | None

    @property
    def text(self) -> str:
        if self.entry is None:
            return f"{self.name} moved as a whole"
        where = f"{self.name}[{', '.join(map(str, self.entry))}]" if self.entry else self.name
        return f"{where} = {float(self.value[self.entry]):.6g}"


@dataclass(frozen=True, eq=False)
class _Way:
    """A straight way from the point: an input and the direction in which it moves; `entry` as in `Turn`."""

    name: str
    direction: np.ndarray
    entry: tuple[int, ...] | None


class _Gap:
    """What is compared with 0 where a node decides: the difference of its arguments."""

    def __init__(self, branch: Branch, moving: frozenset[str], dtypes: Mapping[str, str]) -> None:
        node = branch.graph.nodes[branch.node]
        assert isinstance(node, Apply)
        self.shape, self.dtypes, self.args = node.shape, dtypes, node.args
        size = len(branch.graph.nodes)
        self.graph = Graph((*branch.graph.nodes, Apply("subtract", node.args, (), node.shape)), (size,))
        self.smooth = Graph(tuple(_without_stairs(n) for n in self.graph.nodes), (size,))
        self.wrt = tuple(n for n in self.graph.inputs if n in moving and is_float(branch.values[n]))
        self.values = floats_in_float64(branch.values)
        self.is_equality = node.op in EQUALITIES

    def at(self, point: Mapping[str, Any], smooth: bool = False) -> tuple[np.ndarray, list[Any]]:
        nodes = forward(NUMPY, self.smooth if smooth else self.graph, point, "float64")
        return np.asarray(nodes[-1], dtype=np.float64), nodes

    def slopes(self, nodes: list[Any], index: tuple[Any, ...]) -> dict[str, np.ndarray]:
        """The slopes of one entry, as if stairs were their argument."""
        one = np.zeros(self.shape)
        one[index] = 1.0
        adjoint = reverse(NUMPY, self.smooth, nodes, [one], self.wrt)
        inputs = self.graph.inputs
        return {n: np.asarray(adjoint[inputs[n]]) for n in self.wrt if inputs[n] in adjoint}

    def moved(self, way: _Way, s: float) -> dict[str, Any]:
        """The point at the place `s` of a way, rounded to the input's dtype."""
        new = to_float64(rounded(self.values[way.name] + s * way.direction, self.dtypes[way.name]))
        return {**self.values, way.name: new}


def _without_stairs(node: Any) -> Any:
    """The node; of stairs their argument, as an op that changes nothing."""
    if not isinstance(node, Apply) or node.op not in STAIRS:
        return node
    return replace(node, op="reshape", params=(("shape", node.shape),))


def solve(branch: Branch, moving: frozenset[str], dtypes: Mapping[str, str], free: Collection[str] = ()) -> Turn | None:
    """Where the decision turns; None where no way was found that turns it. Inputs in `free` may be any number."""
    gap = _Gap(branch, moving, dtypes)
    with np.errstate(all="ignore"):
        h, nodes = gap.at(gap.values)
        open_ = np.isfinite(h) & (h != 0) if branch.tie else np.isfinite(h)
        if not open_.any():
            return None
        index = tuple(int(i) for i in np.unravel_index(int(np.argmin(np.where(open_, np.abs(h), np.inf))), h.shape))
        start = float(h[index])
        threshold = min(abs(float(np.broadcast_to(nodes[k], gap.shape)[index])) for k in gap.args)
        for way in _ways(gap, index):
            beyond = FAR_BEYOND if way.name in free else BEYOND
            found = _along(gap, way, index, start, threshold, beyond)
            if found is not None:
                return Turn(way.name, found, way.entry)
    return None


def _ways(gap: _Gap, index: tuple[int, ...]) -> Iterator[_Way]:
    """The entry that moves the gap most; then all entries of an input along its slopes, towards 0, and by one number."""
    _, smooth = gap.at(gap.values, smooth=True)
    slopes = {n: np.where(np.isfinite(s), s, 0.0) for n, s in gap.slopes(smooth, index).items() if s.size}
    reach = {n: np.abs(s) * np.maximum(np.abs(gap.values[n]), 1.0) for n, s in slopes.items()}
    for name in sorted((n for n in reach if reach[n].any()), key=lambda n: -float(reach[n].max())):
        entry = tuple(int(i) for i in np.unravel_index(int(np.argmax(reach[name])), reach[name].shape))
        one = np.zeros(reach[name].shape)
        one[entry] = 1.0
        yield _Way(name, one, entry)
        if np.count_nonzero(slopes[name]) > 1:
            yield _Way(name, slopes[name] / np.max(np.abs(slopes[name])), None)
            yield _Way(name, gap.values[name] * (slopes[name] != 0), None)
        if one.size > 1:
            yield _Way(name, np.full(one.shape, np.sign(slopes[name][entry])), None)
        break


def _along(
    gap: _Gap, way: _Way, index: tuple[int, ...], start: float, threshold: float, beyond: float
) -> np.ndarray | None:
    """The input's value just beyond the turn on this way; None where it is not reached."""
    if gap.is_equality:
        s = _newton(gap, way, index, 0.0, lambda h: h == 0)
        return None if s is None else np.asarray(gap.moved(way, s)[way.name])
    sign = -math.copysign(1.0, start) if start else -1.0
    turned = lambda h: h != 0 and np.sign(h) == sign
    # Of stairs the whole next step is beyond the turn.
    for past in dict.fromkeys((beyond * max(abs(start), 1.0), BEYOND * threshold, 1.0)):
        s = _newton(gap, way, index, sign * past, turned) if past else None
        if s is not None:
            return np.asarray(gap.moved(way, _near(gap, way, index, s, beyond, turned))[way.name])
    return None


def _newton(gap: _Gap, way: _Way, index: tuple[int, ...], target: float, is_there: Any) -> float | None:
    """A place of the way where the gap is as wanted."""
    s = 0.0
    for _ in range(NEWTON):
        point = gap.moved(way, s)
        if is_there(gap.at(point)[0][index]):
            return s
        h, nodes = gap.at(point, smooth=True)
        slope = float(np.sum(gap.slopes(nodes, index).get(way.name, np.zeros(1)) * way.direction))
        step = (target - float(h[index])) / slope if slope else math.nan
        if not math.isfinite(step):
            return None
        s += step
    return None


def _near(gap: _Gap, way: _Way, index: tuple[int, ...], there: float, beyond: float, turned: Any) -> float:
    """A place between the turn and `there`, past the turn by a share of the way to it: Newton may step far beyond."""
    before, after = 0.0, there
    for _ in range(HALVINGS):
        middle = (before + after) / 2
        before, after = (before, middle) if turned(gap.at(gap.moved(way, middle))[0][index]) else (middle, after)
    near = after * (1 + beyond)
    return near if abs(near) < abs(there) and turned(gap.at(gap.moved(way, near))[0][index]) else there


def solve_together(
    branches: Sequence[Branch], moving: frozenset[str], dtypes: Mapping[str, str], free: Collection[str] = ()
) -> Turn | None:
    """Where several decisions turn together, each in the entry nearest to it; None where they are of several inputs."""
    turn, values = None, branches[0].values
    for branch in branches:
        found = solve(replace(branch, values=values), moving, dtypes, free)
        if found is None or (turn is not None and found.name != turn.name):
            return None
        turn, values = replace(found, entry=None), {**values, found.name: found.value}
    return turn


_CENTRE = {"floor": 0.5, "ceil": -0.5, "round": 0.0}
"""Where the argument of a stair is in the middle of a step, from its height."""

WITHIN = 0.25
"""Of that middle an argument is safely on the step."""


def at_steps(
    branch: Branch, moving: frozenset[str], dtypes: Mapping[str, str], wanted: Sequence[int]
) -> list[tuple[Turn, list[int]]]:
    """Points at which a stair takes these heights, and which of them each has: several entries of one input at once."""
    found: list[tuple[Turn, list[int]]] = []
    left = list(wanted)
    with np.errstate(all="ignore"):
        while left:
            turn, reached = _at_some_steps(branch, moving, dtypes, left)
            if turn is None:
                break
            found.append((turn, reached))
            left = [m for m in left if m not in reached]
    return found


def _at_some_steps(
    branch: Branch, moving: frozenset[str], dtypes: Mapping[str, str], wanted: Sequence[int]
) -> tuple[Turn | None, list[int]]:
    stair = branch.graph.nodes[branch.node]
    assert isinstance(stair, Apply)
    turn, reached, used = None, list[int](), set[tuple[int, ...] | None]()
    values = branch.values
    for index, m in zip(np.ndindex(stair.shape), wanted):
        gap = _Gap(_from_middle(branch, stair, m, values), moving, dtypes)
        way = next(_ways(gap, index), None)
        if way is None or way.entry in used or (turn and turn.name != way.name):
            continue
        s = _newton(gap, way, index, 0.0, lambda h: abs(h) < WITHIN)
        if s is not None:
            values = gap.moved(way, s)
            turn = Turn(way.name, np.asarray(values[way.name]), None)
            reached.append(m)
            used.add(way.entry)
    return turn, reached


def _from_middle(branch: Branch, stair: Apply, height: int, values: Mapping[str, Any]) -> Branch:
    """How far the argument of a stair is from the middle of a step."""
    middle = height + _CENTRE.get(stair.op, float(np.sign(height)) / 2)
    size = len(branch.graph.nodes)
    less = Apply("less", (stair.args[0], size), (), stair.shape, "bool")
    return Branch(Graph((*branch.graph.nodes, Constant(middle), less), (size + 1,)), size + 1, values)
