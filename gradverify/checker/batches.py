"""Whether arguments with other numbers of rows are another batch, or another function's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import zip_longest
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Constant, Graph
from ..namespaces.dtypes import floats_in_float64, is_float
from ..namespaces.numpy import NUMPY
from ..namespaces.run import forward


def why_no_batch(given: Case, other: Case) -> str:
    """Why the rows of `other` are no batch of the function of `given`; empty where they may be one.

    Rows that the function does not read belong to nobody: a function of x[0] and x[1] takes pairs, and a third entry is
    another function's; so do the last slices of an array that was read to its end, where a function of pairs leaves the odd
    one out. A row that is stretched over what had as many entries before meets an array that is no batch.
    """
    if _are_unread(given, other):
        return "the function does not read the rows that were appended: they are no batch"
    unread = _end_unread(given, other)
    if unread:
        return f"the function does not read {unread} to its end, as it does at the given size: it has a remainder left"
    if _is_stretched(given.graph, other.graph):
        return "one row is stretched over an array that has as many entries as before: it is no batch"
    return ""


def _are_unread(given: Case, other: Case) -> bool:
    """Does no output change its value where the appended rows are NaN?"""
    grown = {
        n: len(given.values[n])
        for n, v in other.values.items()
        if is_float(v) and n in given.values and v.ndim and given.values[n].ndim and len(v) > len(given.values[n])
    }
    if not grown:
        return False
    return not _reads(other, {n: np.s_[rows:] for n, rows in grown.items()})


def _end_unread(given: Case, other: Case) -> str:
    """The input whose last slice along some axis `given` reads and `other` does not; "" if there is none."""
    for n in other.wrt:
        if n not in given.values or given.values[n].ndim != other.values[n].ndim:
            continue
        for axis in range(other.values[n].ndim):
            last = {n: (slice(None),) * axis + (-1,)}
            if other.values[n].size and given.values[n].size and not _reads(other, last) and _reads(given, last):
                return n
    return ""


def _reads(case: Case, at: Mapping[str, Any]) -> bool:
    """Does some output change where the entries `at` (input name -> index) are NaN, or far off to either side?"""
    values = floats_in_float64(case.values)
    with np.errstate(all="ignore"):
        here = _outputs(case.graph, values, case.literal_dtype)
        for sign in (np.nan, 1.0, -1.0):
            spoilt = dict(values)
            for n, index in at.items():
                spoilt[n] = np.array(values[n])
                spoilt[n][index] = sign * (1.0 + 2.0 * np.abs(values[n][index]))
            there = _outputs(case.graph, spoilt, case.literal_dtype)
            if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(here, there)):
                return True
    return False


def why_no_parts(given: Graph, doubled: Graph, old: int, new: int) -> str:
    """Why axes of length `new` cannot be cut as the function cuts those of length `old`; empty where they can be.

    `doubled` is its graph for axes of twice the length. An array that doubles with them, and is a fraction of them, is one
    of a fixed number of equal parts: halves that are rotated, pairs, windows that do not overlap. What is no multiple of
    that number has no such parts; where the function does not raise there, it is another one. (A tile has the same length
    whatever that of the axis is, and there are more of them.)
    """
    if [type(n) for n in given.nodes] != [type(n) for n in doubled.nodes]:
        return ""
    parts: set[int] = set()
    for a, b in zip(given.nodes, doubled.nodes):
        if isinstance(a, Apply) and isinstance(b, Apply):
            if a.op != b.op or len(a.shape) != len(b.shape):
                return ""
            parts |= {Fraction(n, old).denominator for n, m in zip(a.shape, b.shape) if n and m == 2 * n}
    cut = next((p for p in sorted(parts) if new % p), 0)
    return f"the function cuts axes of length {old} into {cut} equal parts, which {new} has not" if cut else ""


def why_no_index(given: Case, old: int, new: int) -> str:
    """Why axes of length `old` cannot be cut to `new`: integers that the function holds may name an entry that is gone.

    Targets name their classes so. A function that masks a target out of range away computes something else: one part of a
    loss, of which other processes compute the rest. Empty where there are no such integers.
    """
    held = [np.asarray(n.value) for n in given.graph.nodes if isinstance(n, Constant) and n.kind == "int"]
    held += [v for v in given.values.values() if v.dtype.kind in "iu"]
    held += _indices_along(given.graph, old)
    if any(((v >= new) & (v < old)).any() for v in held):
        return f"integers of the function name entries of axes of length {old}, which {new} has not"
    return ""


def _indices_along(graph: Graph, old: int) -> Iterator[np.ndarray]:
    """The indices along axes of length `old` of entries that are taken from several axes as one: x[arange(n), targets]."""
    for node in graph.nodes:
        if not isinstance(node, Apply) or node.op != "take":
            continue
        flat, index = (graph.nodes[a] for a in node.args[:2])
        if not isinstance(index, Constant) or not isinstance(flat, Apply) or flat.op != "reshape":
            continue
        before, axis = graph.nodes[flat.args[0]].shape, dict(node.params)["axis"] % len(flat.shape)
        ends = len(before) - (len(flat.shape) - 1 - axis)
        merged = before[axis:ends]
        if before[:axis] == flat.shape[:axis] and math.prod(merged) == flat.shape[axis] > 0:
            found = np.unravel_index(np.asarray(index.value) % flat.shape[axis], merged)
            yield from (np.asarray(v) for v, n in zip(found, merged) if n == old)


def _outputs(graph: Graph, values: dict[str, np.ndarray], dtype: str) -> list[np.ndarray]:
    nodes = forward(NUMPY, graph, values, dtype)
    return [np.asarray(nodes[o], dtype=np.float64) for o in graph.outputs]


def _is_stretched(given: Graph, other: Graph) -> bool:
    """Does some operation of `other` repeat an axis of length 1 that the same one of `given` takes as it is?"""
    if [type(n) for n in given.nodes] != [type(n) for n in other.nodes]:
        return False
    for k, (a, b) in enumerate(zip(given.nodes, other.nodes)):
        if isinstance(a, Apply) and isinstance(b, Apply):
            if a.op != b.op:
                return False
            if set(_stretches(other, k)) - set(_stretches(given, k)):
                return True
    return False


def _stretches(graph: Graph, k: int) -> Iterator[tuple[int, int]]:
    """(argument, axis from the end) wherever a broadcasting operation repeats an axis of length 1."""
    node = graph.nodes[k]
    assert isinstance(node, Apply)
    shapes = [graph.nodes[a].shape for a in node.args]
    try:
        if np.broadcast_shapes(*shapes) != node.shape:
            return
    except ValueError:
        return
    for i, shape in enumerate(shapes):
        for axis, (n, m) in enumerate(zip_longest(reversed(shape), reversed(node.shape), fillvalue=0)):
            if n == 1 and m > 1:
                yield i, axis
