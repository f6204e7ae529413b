"""Whether arguments with other numbers of rows are another batch, or another function's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Graph
from ..namespaces.dtypes import is_float, to_float64
from ..namespaces.numpy import NUMPY
from ..namespaces.run import forward


def why_no_batch(given: Case, other: Case) -> str:
    """Why the rows of `other` are no batch of the function of `given`; empty where they may be one.

    Rows that the function does not read belong to nobody: a function of x[0] and x[1] takes pairs, and a third entry is
    another function's. A row that is stretched over what had as many entries before meets an array that is no batch.
    """
    if _are_unread(given, other):
        return "the function does not read the rows that were appended: they are no batch"
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
    values = {n: to_float64(v) if is_float(v) else v for n, v in other.values.items()}
    spoilt = dict(values)
    for n, rows in grown.items():
        spoilt[n] = np.array(values[n])
        spoilt[n][rows:] = np.nan
    with np.errstate(all="ignore"):
        here, there = (_outputs(other.graph, v, other.literal_dtype) for v in (values, spoilt))
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(here, there))


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
