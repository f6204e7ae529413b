"""Changes of what the backward pass reads: arrays of its own, parts of arrays, values that nothing uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...core.graph import Apply, Constant, Graph, Input
from ..exact import MOVES
from ..wording import UNSEEN, with_line
from .search import Near, Repair, Search

FEW = 12
"""Arrays of the definition that are tried for one of the backward pass, the nearest first."""

SHIFTS = 16
"""Other places that are tried for a part of an array, the nearest first."""


# ---- arrays that the backward pass has made ---------------------------------------------------------------------------


def other_arrays(s: Search) -> Iterator[Repair]:
    """Arrays that the backward pass has made of no argument (a mask, a table, indices) are the definition's.

    One of them, then all together: of an angle cosine and sine are both made.
    """
    own = s.own_arrays
    nearest: dict[int, np.ndarray] = {}
    for k, array in own.items():
        others = _of_definition(s, array)
        if others:
            nearest[k] = others[0][0]
        for other, words in others[:FEW]:
            text = f"with {words} for the array of {_differing(array, other)} that is read there"
            yield Repair(_reader(s.graph, k), {k: partial(_given, other)}, text, 4)
        if array.dtype == bool:
            text = "with the other side of the mask that is read there"
            yield Repair(_reader(s.graph, k), {k: np.logical_not}, text, 4)
        elif array.dtype.kind in "iu":
            for by in (1, -1):
                text = f"with indices {abs(by)} {'more' if by > 0 else 'less'} than those that are read there"
                yield Repair(_reader(s.graph, k), {k: partial(_given, array + by)}, text, 4)
    if len(nearest) > 1:
        first = min(nearest, key=lambda k: _reader(s.graph, k))
        changes = {k: partial(_given, other) for k, other in nearest.items()}
        text = (
            f"with the definition's arrays for {len(nearest)} that the backward pass has made itself, the first there"
        )
        yield Repair(_reader(s.graph, first), changes, text, 4)


def _of_definition(s: Search, array: np.ndarray) -> list[tuple[np.ndarray, str]]:
    """The definition's arrays that are like this one, the nearest first; each with what it is called."""
    graph = s.true_graph
    at = {f"literal {k}" if isinstance(n, Constant) else n.name: k for k, n in enumerate(graph.nodes)
          if isinstance(n, Constant | Input)}  # fmt: skip
    found = [
        (made, f"{how}the definition's array, which {with_line(graph, _reader(graph, at[n]))} reads,")
        for n, a in s.arrays_of_definition.items()
        if a.dtype.kind == array.dtype.kind and n in at and at[n] in graph.active
        if a.size == array.size
        for how, made in _forms(a, array.shape)
    ]
    return sorted(found, key=lambda f: float(np.sum(np.abs(f[0].astype(np.float64) - array.astype(np.float64)))))


def _forms(array: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """An array of as many entries as a backward pass may have it: as it is, with the other sign, transposed."""
    ways = [("", array), ("the transpose of ", array.T)] if array.T.shape == shape and array.ndim > 1 else [("", array)]
    for how, a in ways:
        yield how, a.reshape(shape)
        if a.dtype.kind == "f":
            yield f"minus {how}", -a.reshape(shape)


def _differing(array: np.ndarray, other: np.ndarray) -> str:
    n = int(np.count_nonzero(array != other))
    return f"which {n} of {array.size} entries are others"


def _reader(graph: Graph, k: int) -> int:
    """The first step that reads an array, other than to move it; the array itself where there is none."""
    for j, node in enumerate(graph.nodes):
        if isinstance(node, Apply) and j in graph.active and k in node.args:
            return _reader(graph, j) if node.op in UNSEEN | MOVES else j
    return k


def _given(value: Any, _: Any) -> Any:
    return value


# ---- parts ------------------------------------------------------------------------------------------------------------


def unsliced(s: Search, k: int) -> Iterator[Repair]:
    """The step takes a part of an array, all of which should be added up.

    With all parts that are taken on its line, and with the arrays that are a part of one of the definition's.
    """
    node = s.node(k)
    if node.op != "getitem" or node.kind != "float":
        return
    parts = _parts(s)
    beside = tuple(j for j in s.steps if s.node(j).op == "getitem" and s.node(j).site == node.site is not None)
    for group in dict.fromkeys([(k,), beside]):
        if not group or k != group[0]:
            continue
        for also in (_NONE, parts) if parts else (_NONE,):
            given = {j: s.values[s.node(j).args[0]] for j in group} | dict(also)
            changes = {j: partial(_given, value) for j, value in given.items()}
            lengths = [(a, b) for j, v in given.items() for a, b in zip(np.shape(s.values[j]), np.shape(v)) if a != b]
            text = f"with all of {s.words(node.args[0])}, of which a part is taken there"
            yield Repair(k, changes, text, 2, dict(lengths))


_NONE: Mapping[int, np.ndarray] = {}


def _parts(s: Search) -> dict[int, np.ndarray]:
    """The arrays that lack a part of one of the definition's, at one end of one axis: node -> the whole one."""
    found: dict[int, np.ndarray] = {}
    for k, array in s.own_arrays.items():
        for whole in s.arrays_of_definition.values():
            for view in (whole, whole.T, whole.reshape(-1)):
                if k not in found and view.dtype.kind == array.dtype.kind and _is_end_of(array, view):
                    found[k] = view
    return found


def _is_end_of(cut: np.ndarray, whole: np.ndarray) -> bool:
    if cut.ndim != whole.ndim:
        return False
    shorter = [axis for axis in range(cut.ndim) if cut.shape[axis] != whole.shape[axis]]
    if len(shorter) != 1 or cut.shape[shorter[0]] > whole.shape[shorter[0]]:
        return False
    (axis,) = shorter
    n, m = whole.shape[axis], cut.shape[axis]
    return any(
        np.array_equal(np.take(whole, range(first, first + m), axis), cut, equal_nan=cut.dtype.kind == "f")
        for first in (0, n - m)
    )


def shifted(s: Search, k: int) -> Iterator[Repair]:
    """The step takes as large a part of an array at another place."""
    node = s.node(k)
    if node.op != "getitem" or node.kind != "float":
        return
    for _, text, index in places(s, k)[:SHIFTS]:
        yield Repair(k, {}, text, 3, remade={k: partial(part, index)})


def places(s: Search, k: int) -> list[tuple[int, str, tuple[Any, ...]]]:
    """Other parts of the same length along one axis, the nearest first: how far on, in words, and as an index."""
    node = s.node(k)
    index = tuple(dict(node.params)["index"])
    source, found = s.graph.nodes[node.args[0]].shape, []
    for axis, entry in enumerate(index[: len(source)]):
        n = source[axis]
        if isinstance(entry, int):
            first, length = entry % n if n else 0, 1
        elif _is_stretch(entry, n):
            first, length = entry[0] or 0, (n if entry[1] is None else entry[1]) - (entry[0] or 0)
        else:
            continue
        for start in range(n - length + 1):
            if start != first:
                new = start if isinstance(entry, int) else slice(start, start + length)
                was, now = (f"[{f}]" if length == 1 else f"[{f}:{f + length}]" for f in (first, start))
                text = f"with {now} for {was} along axis {axis} of {s.words(node.args[0])}"
                whole = tuple(slice(*e) if isinstance(e, tuple) else e for e in index)
                found.append((start - first, text, (*whole[:axis], new, *whole[axis + 1 :])))
    return sorted(found, key=lambda f: abs(f[0]))


def _is_stretch(entry: Any, n: int) -> bool:
    if not isinstance(entry, tuple) or entry[2] not in (None, 1):
        return False
    first, last = entry[0] or 0, n if entry[1] is None else entry[1]
    return 0 <= first < last <= n and last - first < n


def part(index: tuple[Any, ...], args: Sequence[Any]) -> Any:
    return np.asarray(args[0])[index]


# ---- what nothing uses -------------------------------------------------------------------------------------------------


def unused(s: Search) -> Iterator[Repair]:
    """Repairs that use what the backward pass computes and leaves unused: added to a step, or taken from it.

    Of the values that the definition has as well those count that other turns of the loop do use.
    """
    left = {k: v for k, v in s.unused.items() if v.dtype == np.float64 and np.isfinite(v).all() and np.any(v)}
    used = {(n.op, n.site) for k in s.steps if (n := s.node(k)).site is not None}
    # A gradient that lacks a term may be another term, whose value is true.
    places_to_add = sorted({*s.suspects, *(set(s.graph.outputs) & set(s.steps))})
    alive = Near([v for k in s.steps if (v := np.asarray(s.values[k])).dtype == np.float64]).has
    for k, v in left.items():
        node = s.node(k)
        if node.op in UNSEEN | MOVES or alive(v) or (s.known_values.has(v) and (node.op, node.site) not in used):
            continue
        for j in places_to_add:
            yield from _put_beside(s, k, v, j)
            if np.shape(s.values[j]) == v.shape and s.node(j).kind == "float":
                for sign, how in ((1.0, "added to it"), (-1.0, "taken from it")):
                    text = f"with {with_line(s.graph, k)}, which nothing uses, {how}"
                    yield Repair(j, {j: partial(_plus, sign * v)}, text, 3)


def _put_beside(s: Search, k: int, value: np.ndarray, j: int) -> Iterator[Repair]:
    """A value put together with the others of a stack or a concatenation, at its end."""
    node = s.node(j)
    if node.op not in ("stack", "concat"):
        return
    axis, shape = dict(node.params)["axis"], s.graph.nodes[node.args[0]].shape
    more = value if value.shape == shape or node.op == "stack" else np.expand_dims(value, axis)
    if more.shape == shape:
        n = node.shape[axis]
        text = f"with {with_line(s.graph, k)}, which nothing uses, beside what is put together there"
        grown = {n: n + (1 if node.op == "stack" else shape[axis])}
        yield Repair(j, {}, text, 2, grown, {j: lambda args: s.applied(j, [*args, more])})


def _plus(term: np.ndarray, value: Any) -> Any:
    return value + term
