"""Changes of a single step of the backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from ...core.graph import Apply, Constant
from ...namespaces.numpy import NUMPY
from ...ops import OPS
from ..budget import casts
from ..exact import MOVES
from ..wording import SIGNS, UNSEEN, called, with_line
from .search import IMPOSSIBLE, Changes, Repair, Search, has_name, number

NEAR = 1e-4
"""A number of few digits that is so near to a fitted one is tried as well: where the gradients hardly depend on it (an eps),
a fit has few digits."""

SIMPLE = (1.0, 2.0, 3.0, 4.0, 0.5, 0.25, 1 / 3)
"""What a literal may be multiplied by before it is used elsewhere: 3 · 0.044715 beside 0.044715."""


def before_writes(s: Search) -> Iterator[Repair]:
    """What an array held before it was written to."""
    for k, old in s.overwrites.items():
        if k in s.graph.active and s.values[old] is not None:
            text = f"With what that held before, {s.words(old)}, the gradients are right"
            yield replaced(k, s.values[old], text, 0)


def replaced(k: int, value: Any, text: str, rank: int) -> Repair:
    return Repair(k, {k: lambda _: value}, text, rank)


# ---- numbers ---------------------------------------------------------------------------------------------------------


def scaled(s: Search, k: int) -> Iterator[Repair]:
    """Try other numbers for the literals of the step, then a multiple of its result."""
    node = s.node(k)
    if node.kind != "float" or node.op in UNSEEN:
        return
    for i, a in enumerate(() if casts(s.graph, node) else node.args):
        literal = s.graph.nodes[a]
        if isinstance(literal, Constant) and literal.kind == "float" and math.prod(literal.shape) == 1:
            yield from _other_literal(s, k, i, float(np.ravel(literal.value)[0]))
    yield from multiple(s, k)


def _other_literal(s: Search, k: int, i: int, was: float) -> Iterator[Repair]:
    """Another number in this step alone, wherever the number stands, or wherever that or a multiple of it does."""
    shape = s.graph.nodes[s.node(k).args[i]].shape
    alone = lambda c: {k: lambda _: s.with_argument(k, i, np.full(shape, c))}
    for at in (alone, *map(everywhere, twins(s, was))):
        yield from of_number(s, k, at, was)


def of_number(s: Search, k: int, at: Callable[[float], Changes], was: float) -> Iterator[Repair]:
    """Another number where `at` puts it."""
    c = s.fitted(at, was)
    for new in [] if c is None else _meant(c):
        if new != was:
            yield Repair(k, at(new), f"with {number(new)} for {was:.6g}", int(not has_name(new)))


def twins(s: Search, was: float) -> list[dict[int, float]]:
    """Literals that are this number, and those that are a small multiple or part of it: node -> how many times it."""
    if not was or not math.isfinite(was) or was == round(was):  # of small integers all are multiples
        return [{k: 1.0 for k, v in s.literals.items() if v == was}]
    ratios = {k: v / was for k, v in s.literals.items() if v}
    same = {k: 1.0 for k, r in ratios.items() if r == 1}
    simple = {k: m for k, r in ratios.items() for m in SIMPLE if abs(r - m) <= 4 * 2.0**-24 * m}
    return [same, simple] if len(simple) > len(same) else [same]


def everywhere(times: Mapping[int, float]) -> Callable[[float], Changes]:
    def changes(c: float) -> Changes:
        return {k: partial(_filled, c * m) for k, m in times.items()}

    return changes


def multiple(s: Search, k: int, group: Collection[int] = ()) -> Iterator[Repair]:
    """A multiple of the result of a step, or of all those of one line."""
    at = lambda c: {j: lambda v: c * v for j in group or (k,)}
    c = s.fitted(at, 1.0)
    if c is None or c == 1.0:
        return
    text = "without it" if c == 0 else "with the other sign of it" if c == -1 else f"with {number(c)} times its value"
    yield Repair(k, at(c), f"{text}, in all {len(group)} turns" if len(group) > 1 else text, 2)


def _filled(c: float, like: Any) -> np.ndarray:
    return np.full(np.shape(like), c)


def _meant(c: float) -> list[float]:
    """The numbers that a fit may mean: of up to three digits, where one is near, and itself."""
    short = [float(f"{c:.{n}e}") for n in range(3)]
    return list(dict.fromkeys([*(s for s in short if abs(s - c) <= NEAR * abs(c)), c]))


# ---- operations and arguments ----------------------------------------------------------------------------------------


def other_operations(s: Search, k: int) -> Iterator[Repair]:
    """The step is another operation on the same arguments, or on fewer."""
    for text, make in operations(s, k):
        yield Repair(k, {}, text, 3, remade={k: make})


def operations(s: Search, k: int) -> Iterator[tuple[str, Callable[[list[Any]], Any]]]:
    """What a step may have been: in words, and its result from its arguments."""
    node, args = s.node(k), s.args(k)
    op = node.op
    words = [s.words(a) for a in node.args]
    for other in _OTHERS.get(op, ()):
        sign = SIGNS.get(other)
        text = f"with {words[0]} {sign} {words[1]} in its place" if sign else f"with {other} for {op}"
        yield text, partial(s.applied, k, op=other)
    if op == "add":
        yield f"with {words[1]} - {words[0]} in its place", lambda a: s.applied(k, a[::-1], "subtract")
    if op in ("sum", "mean", "max", "min") and dict(node.params).get("axis") is not None:
        for axis in range(np.ndim(args[0])):
            yield f"with that over axis {axis} in its place", partial(_over, s, k, axis)
    if op == "where":
        yield "with the mask inverted", lambda a: np.where(a[0], a[2], a[1])
    if op in ("subtract", "divide", "matmul", "pow"):
        yield "with its arguments exchanged", lambda a: s.applied(k, a[::-1])
    for i, a in enumerate(args):
        given = s.graph.nodes[node.args[i]]
        if given.kind != "float" or (isinstance(given, Constant) and math.prod(given.shape) == 1):
            continue
        if node.kind == "float" and np.shape(a) == node.shape:
            yield f"with {words[i]} alone", partial(_one_of, i, 1.0)
            yield f"with -({words[i]})", partial(_one_of, i, -1.0)
        for text, change in _CHANGES.items():
            yield f"with {text.format(words[i])} for {words[i]}", partial(_changed, s, k, i, change)
        if op == "matmul" and np.ndim(a) >= 2:
            yield f"with {words[i]} transposed", partial(_changed, s, k, i, _transposed)


def _over(s: Search, k: int, axis: int, args: list[Any]) -> Any:
    """A reduction over one axis."""
    node = s.node(k)
    params = dict(node.params)
    return OPS[node.op].define(
        NUMPY, *args, **{**params, "axis": (axis,) if isinstance(params["axis"], tuple) else axis}
    )


def _one_of(i: int, sign: float, args: list[Any]) -> Any:
    return sign * args[i]


def _changed(s: Search, k: int, i: int, change: Callable[[Any], Any], args: list[Any]) -> Any:
    return s.applied(k, [change(a) if j == i else a for j, a in enumerate(args)])


def _transposed(a: Any) -> np.ndarray:
    return np.swapaxes(np.asarray(a), -1, -2)


def other_arguments(s: Search, k: int) -> Iterator[Repair]:
    """An argument of the step is another value of the definition or of the backward pass, of the same shape."""
    node = s.node(k)
    depends = {k, *s.after(k)}
    for i, a in enumerate(node.args):
        was = np.asarray(s.values[a])
        if was.dtype != np.float64 or not was.ndim:
            continue
        own = [
            (v, lambda j=j: s.words(j))
            for j, v in enumerate(s.values)
            if v is not None and j not in depends and j != a and s.graph.nodes[j].kind == "float"
        ]
        own += [(v, lambda j=j: s.words(j)) for j, v in s.unused.items() if j < k and not s.known.has(v)]
        true = [(v, lambda j=j: f"the definition's {called(s.true_graph, j, 1)}") for j, v in s.true_arrays.items()]
        for rank, others in ((4, own), (5, true)):
            for other, words in others:
                if np.shape(other) == was.shape and not np.array_equal(other, was):
                    try:
                        made = s.with_argument(k, i, other)
                    except IMPOSSIBLE:
                        continue
                    yield replaced(k, made, f"with {words()} for {s.words(a)}", rank)


# ---- true values -----------------------------------------------------------------------------------------------------


def true_values(s: Search, k: int) -> Iterator[Repair]:
    """Repairs that put a true value in a step's place: a value or cotangent of the definition, or one edge's part of it.

    A gradient itself is not replaced: the true one is right in its place, which names nothing.
    """
    if k in gradients(s):
        return
    shape = np.shape(s.values[k])
    values, cotangents, sent = s.definition
    for j, v in values.items():
        if v.shape == shape and v.ndim:
            yield replaced(k, v, f"with the value of {with_line(s.true_graph, j)} in its place", 5)
    for j, g in cotangents.items():
        if g.shape == shape and not isinstance(s.true_graph.nodes[j], Constant):
            yield replaced(k, g, f"with the cotangent of {with_line(s.true_graph, j)} in its place", 6)
    for (j, i), g in sent.items():
        if g.shape == shape:
            text = f"with the cotangent that {with_line(s.true_graph, j)} passes to its argument {i + 1} in its place"
            yield replaced(k, g, text, 7)


def gradients(s: Search) -> frozenset[int]:
    """The outputs, and the steps before them that only cast or move."""
    found = set()
    for k in s.graph.outputs:
        while k not in found:
            found.add(k)
            node = s.graph.nodes[k]
            if isinstance(node, Apply) and (node.op in MOVES or casts(s.graph, node)):
                k = (casts(s.graph, node) or node.args)[0]
    return frozenset(found)


def blamed(s: Search, repair: Repair) -> Repair:
    """The repair by a true value, laid to the earliest step that explains it.

    Of a sum, difference, product or quotient with one argument whose value is true, it is the other one that is wrong.
    """
    if repair.rank < 5 or list(repair.changes) != [repair.node]:
        return repair
    node = s.graph.nodes[repair.node]
    undo = _UNDONE.get(node.op) if isinstance(node, Apply) else None
    if undo is None:
        return repair
    k, value = repair.node, repair.changes[repair.node](None)
    wrong = [i for i, a in enumerate(s.node(k).args) if not _is_true(s, a)]
    if len(wrong) != 1:
        return repair
    (i,) = wrong
    a = s.node(k).args[i]
    needed = np.asarray(undo(i, value, s.args(k)[1 - i]))
    if needed.shape != np.shape(s.values[a]) or not isinstance(s.graph.nodes[a], Apply):
        return repair
    needed = np.where(np.isfinite(needed), needed, s.values[a])
    text = f"{repair.text.removesuffix(' in its place')} in the place of {called(s.graph, k)}, which it is a part of"
    earlier = Repair(a, {a: lambda _: needed}, text, repair.rank)
    return blamed(s, earlier) if s.holds(earlier) else repair


def _is_true(s: Search, k: int) -> bool:
    """Is it a value of the definition, or an argument, or a single number that is written?"""
    node = s.graph.nodes[k]
    return s.is_known(k) or (isinstance(node, Constant) and math.prod(node.shape) == 1) or node.kind != "float"


_UNDONE: Mapping[str, Callable[[int, Any, Any], Any]] = {
    "add": lambda i, value, other: value - other,
    "subtract": lambda i, value, other: value + other if i == 0 else other - value,
    "multiply": lambda i, value, other: value / other,
    "divide": lambda i, value, other: value * other if i == 0 else other / value,
}
"""What an argument has to be for a value of the step: its place, that value, and the other argument."""

_OTHERS: Mapping[str, tuple[str, ...]] = {
    "add": ("subtract", "multiply"), "subtract": ("add",), "multiply": ("divide", "add"), "divide": ("multiply",),
    "less": ("less_equal", "greater", "greater_equal"), "less_equal": ("less", "greater", "greater_equal"),
    "greater": ("greater_equal", "less", "less_equal"), "greater_equal": ("greater", "less", "less_equal"),
    "equal": ("not_equal",), "not_equal": ("equal",), "maximum": ("minimum",), "minimum": ("maximum",),
    "sin": ("cos",), "cos": ("sin",), "sinh": ("cosh",), "cosh": ("sinh",), "sqrt": ("rsqrt",), "rsqrt": ("sqrt",),
    "tanh": ("sigmoid",), "sigmoid": ("tanh",), "exp": ("expm1",), "log": ("log1p",), "sign": ("abs",), "abs": ("sign",),
}  # fmt: skip
"""What an operation is taken for."""

_CHANGES: Mapping[str, Callable[[Any], Any]] = {
    "the square of {}": lambda a: a * a,
    "the root of {}": np.sqrt,
    "the inverse of {}": lambda a: 1 / a,
    "1 - ({})": lambda a: 1 - a,
    "1 + ({})": lambda a: 1 + a,
    "the cube of {}": lambda a: a**3,
}
"""What an argument should have been."""
