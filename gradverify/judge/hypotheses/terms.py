"""Hypotheses about a term: what comes along one edge of the graph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from ...core.graph import Apply
from ...namespaces.kernels import ELEMENTWISE
from ...namespaces.numpy import NUMPY
from ...ops import OPS
from ..turns import steps_of_turns
from .constants import factors, named_factor
from .evidence import Arrays, Edge, Evidence, Walk
from .registry import WOULD_BE, Guess, bound, hypothesis

Parts = tuple[tuple[Edge, ...], str]
"""A term: the edges that it comes along, and what they are called."""


@hypothesis("missing term", "The term that comes through a node is missing.")
def missing_term(e: Evidence) -> Iterator[Guess]:
    yield from _missing(e, _terms(e))


@hypothesis("sign of a term", "The term that comes through a node has the wrong sign.")
def sign_of_term(e: Evidence) -> Iterator[Guess]:
    yield from _with_other_sign(e, _terms(e))


@hypothesis(
    "term of one step", "What one step of a loop adds is missing in all turns, or has the wrong sign.", last=True
)
def term_of_one_step(e: Evidence) -> Iterator[Guess]:
    yield from _missing(e, _steps(e))
    yield from _with_other_sign(e, _steps(e))


def _missing(e: Evidence, terms: Iterator[Parts]) -> Iterator[Guess]:
    for parts, where, span in _weights(e, terms):
        if span[0] <= 0 <= span[1]:
            yield _weighted(parts, 0.0, f"without the term that comes through {where}")


def _with_other_sign(e: Evidence, terms: Iterator[Parts]) -> Iterator[Guess]:
    for parts, where, span in _weights(e, terms):
        if span[0] <= -1 <= span[1]:
            yield _weighted(parts, -1.0, f"with the wrong sign of the term that comes through {where}")


@hypothesis("factor of a term", "The term that comes through a node is counted twice, or has a wrong factor.")
def factor_of_term(e: Evidence) -> Iterator[Guess]:
    for parts, where, span in _weights(e, _terms(e)):
        if span[0] <= 0 <= span[1] or span[0] <= -1 <= span[1]:
            continue
        named = named_factor(e, span)
        if named:
            c, text, tries = named
            counted = "counted twice" if c == 2 else f"times {text}"
            yield _weighted(parts, c, f"with the term that comes through {where}, {counted}", tries)


def _weights(e: Evidence, terms: Iterator[Parts]) -> Iterator[tuple[tuple[Edge, ...], str, tuple[float, float]]]:
    """Yield each term that explains the answer: its edges, where it comes from, and the weights it needs."""
    for parts, where in terms:
        part = {n: sum(e.plain.through(p)[n] for p in parts) for n in e.names}
        if all(np.allclose(part[n], e.want[n], rtol=math.sqrt(e.format.roundoff), atol=0) for n in e.names):
            continue  # it is all of the gradient: a factor of it is one of the whole
        e.tried += 1
        span = factors(e, part)
        if span is not None and not span[0] <= 1 <= span[1]:
            yield parts, where, span


def _weighted(parts: tuple[Edge, ...], c: float, text: str, tries: int = 1) -> Guess:
    predict = bound(lambda w, parts, c: w.plus(c - 1, *(w.through(p) for p in parts)), parts, c)
    return Guess(WOULD_BE + text, predict, tries)


def _terms(e: Evidence) -> Iterator[tuple[tuple[Edge, ...], str]]:
    """Yield single edges, then all edges of one node, then those that all turns of a loop (or instances of a kernel) share.

    Of a chain every edge has the same part. People know a term by its reduction or product, so that those come first.
    """
    for edge in sorted(e.edges, key=lambda edge: e.node(edge[0]).op in ELEMENTWISE):
        yield (edge,), e.edge_text(edge)
    for k in dict.fromkeys(k for k, _ in e.edges):
        mine = tuple(edge for edge in e.edges if edge[0] == k)
        if len(mine) > 1:
            yield mine, e.call(k)
    for edges in _alike(e, {}):
        yield edges, _in_all_turns(e, edges)


def _steps(e: Evidence) -> Iterator[Parts]:
    """Yield the edges of one step of a loop, where that is less than all of its op and line; then all of each such step."""
    step = steps_of_turns(e.flat)
    known = set(_alike(e, {}))
    for whole in (False, True):
        for edges in _alike(e, step, whole):
            if edges not in known:
                known.add(edges)
                yield edges, _in_all_turns(e, edges)


def _alike(e: Evidence, step: Mapping[int, int], whole: bool = False) -> list[tuple[Edge, ...]]:
    """The edges of one op, line and step that are the same argument; with `whole`, any. Those of one node are left out."""
    found: dict[Any, list[Edge]] = {}
    for k, i in e.edges:
        node = e.node(k)
        if node.site is not None:
            key = node.op, node.site, node.shape, step.get(k, 0), None if whole else i
            found.setdefault(key, []).append((k, i))
    several = [tuple(edges) for edges in found.values() if len({k for k, _ in edges}) > 1]
    return sorted(several, key=lambda edges: e.node(edges[0][0]).op in ELEMENTWISE)


def _in_all_turns(e: Evidence, edges: tuple[Edge, ...]) -> str:
    """What edges of one line are called: by the last of them, or by their op where they are several steps of a turn."""
    step = steps_of_turns(e.flat)
    nodes = dict.fromkeys(k for k, _ in edges)
    steps = len({step.get(k, 0) for k in nodes})
    turns = f"in all {len(nodes) // steps} turns"
    last = e.edge_text(edges[-1]) if len(nodes) == len(edges) else e.call(edges[-1][0])
    return f"{last}, {turns}" if steps == 1 else f"the {steps} nodes {e.node(edges[-1][0]).op} beside {last}, {turns}"


_MASKS = frozenset("where relu clip maximum minimum leaky_relu relu6 hardtanh tril triu".split())


@hypothesis("straight through", "The derivative of an op is replaced by 1; of a mask or a clamp: it is ignored.")
def straight_through(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        node = e.node(k)
        if e.flat.nodes[node.args[i]].shape == node.shape:
            what = "with the mask ignored of" if node.op in _MASKS else "with 1 for the derivative of"
            text = f"{{}} what it would be {what} {e.edge_text((k, i))}"
            yield Guess(text, bound(lambda w, k, i: w.instead((k, i), w.adjoint[k]), k, i))


@hypothesis(
    "read at the result", "The derivative of an op is taken at its result, as if that had been saved for its argument."
)
def at_result(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        node = e.node(k)
        if e.flat.nodes[node.args[i]].shape == node.shape and node.op in ELEMENTWISE and len(node.args) == 1:
            text = f"{{}} what it would be with the derivative of {e.call(k)} taken at its result"
            yield Guess(text, bound(lambda w, k, i: w.instead((k, i), w.sent((k, i), {i: w.values[k]})), k, i))


@hypothesis("not transposed", "A matrix product's cotangent is multiplied by the other matrix without transposing it.")
def not_transposed(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        node = e.node(k)
        if node.op not in ("matmul", "solve") or len(node.args) != 2:
            continue
        j = 1 - i if node.op == "matmul" else 0
        shape = e.flat.nodes[node.args[j]].shape
        if len(shape) >= 2 and shape[-1] == shape[-2]:
            text = f"{{}} what it would be without the transpose of {e.label(node.args[j])} in the VJP of {e.call(k)}"
            yield Guess(
                text,
                bound(
                    lambda w, k, i, j: w.instead(
                        (k, i), w.sent((k, i), {j: w.xp.matrix_transpose(w.argument((k, j)))})
                    ),
                    k,
                    i,
                    j,
                ),
            )


@hypothesis(
    "forward again", "An op is applied to the cotangent instead of its transpose: rolled or summed up the same way."
)
def forward_again(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        node = e.node(k)
        if len(node.args) == 1 and e.flat.nodes[node.args[i]].shape == node.shape and node.op not in ELEMENTWISE:
            text = f"{{}} what it would be with {e.call(k)} applied to the cotangent, and not its transpose"
            yield Guess(text, bound(lambda w, k, i: w.instead((k, i), w.applied(k, w.adjoint[k])), k, i))
    (out, *more), cotangent = e.flat.outputs, e.plain.cotangent[0]
    for n in e.names if not more and len(e.names) == 1 else ():
        if e.want[n].shape == cotangent.shape:
            text = "{} what it would be with the function itself applied to the cotangent, and not its transpose"
            yield Guess(text, bound(lambda w, n, out: {n: np.asarray(w.forward({n: w.cotangent[0]})[out])}, n, out))


@hypothesis("written, not added", "Where an index repeats, its cotangents overwrite one another instead of adding up.")
def written(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        taken = _entries_taken(e, k) if i == 0 else None
        if taken is not None and len(np.unique(taken)) < taken.size:
            for which, order in (("last", slice(None)), ("first", slice(None, None, -1))):
                where = f"where an index repeats in {e.call(k)}"
                text = f"{{}} what it would be with the {which} cotangent {where}, and not their sum"
                yield Guess(text, bound(lambda w, at, t, o: w.instead(at, _write(w, at, t, o)), (k, i), taken, order))


def _entries_taken(e: Evidence, k: int) -> np.ndarray | None:
    """Which entry of its first argument each entry of a node is, flat; None for a node that does more than move entries."""
    node, args = e.node(k), [e.plain.values[a] for a in e.node(k).args]
    x = np.asarray(args[0])
    if node.op in ELEMENTWISE or any(e.flat.nodes[a].kind == "float" for a in node.args[1:]) or not x.size:
        return None
    count = np.arange(x.size, dtype=np.float64).reshape(x.shape)
    try:
        at = np.asarray(OPS[node.op].define(NUMPY, count, *args[1:], **dict(node.params)))
    except (ValueError, TypeError, IndexError):
        return None
    if at.size == 0 or (at != np.round(at)).any() or at.min() < 0 or at.max() >= x.size:
        return None
    flat = at.astype(np.intp).ravel()
    return flat if np.array_equal(x.ravel()[flat], np.ravel(e.plain.values[k])) else None


def _write(w: Walk, edge: Edge, taken: np.ndarray, order: slice) -> np.ndarray:
    """The cotangent of a node, written to the entries that were taken."""
    found = np.zeros(np.shape(w.argument(edge)))
    found.ravel()[taken[order]] = np.ravel(np.asarray(w.adjoint[edge[0]]))[order]
    return found


@hypothesis(
    "reduction", "A broadcast argument's cotangent is not summed, is summed over another axis, or one slice is used."
)
def reduction(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        node = e.node(k)
        shape = e.flat.nodes[node.args[i]].shape
        if not OPS[node.op].broadcasts or shape == node.shape:
            continue
        where = e.edge_text((k, i))
        for what, reduce in (("the first slice", 0), ("the last slice", -1)):
            text = f"{{}} what it would be with {what} for the sum over the broadcast axes of {where}"
            yield Guess(
                text,
                bound(
                    lambda w, k, i, at, to: w.instead((k, i), _slice(w.xp, w.unsummed((k, i)), to, at)),
                    k,
                    i,
                    reduce,
                    shape,
                ),
            )
        for axis in _other_axes(node.shape, shape):
            text = f"{{}} what it would be with the sum over axis {axis} for that over the broadcast axes of {where}"
            yield Guess(
                text,
                bound(
                    lambda w, k, i, axis, to: w.instead(
                        (k, i), w.xp.reshape(w.xp.sum(w.unsummed((k, i)), axis=axis), to)
                    ),
                    k,
                    i,
                    axis,
                    shape,
                ),
            )
        yield from _at_the_input(e, (k, i))
        inner = e.flat.nodes[node.args[i]]
        if not isinstance(inner, Apply) or inner.op not in ("sum", "mean") or 0 in node.shape:
            continue
        if e.flat.nodes[inner.args[0]].shape == node.shape:
            scale = 1.0 if inner.op == "sum" else math.prod(shape) / math.prod(node.shape)
            text = f"{{}} what it would be without the sum over the broadcast axes of {where}"
            yield Guess(
                text,
                bound(lambda w, k, i, a, s: w.moved((k, i), a, s * w.unsummed((k, i))), k, i, inner.args[0], scale),
            )


def _at_the_input(e: Evidence, edge: Edge) -> Iterator[Guess]:
    """The sum over another axis, taken of an input's cotangent after all elementwise steps of it, which broadcasts first."""
    k, i = edge
    chain = [e.node(k).args[i]]
    while isinstance(step := e.flat.nodes[chain[-1]], Apply) and step.op in ELEMENTWISE and len(step.args) == 1:
        chain.append(step.args[0])
    shape = e.flat.nodes[chain[-1]].shape
    if isinstance(step, Apply) or len(chain) == 1 or shape != e.flat.nodes[chain[0]].shape:
        return
    for axis in _other_axes(e.node(k).shape, shape):
        text = f"{{}} what it would be with the sum over axis {axis} for that over the broadcast axes of {e.edge_text(edge)}"
        yield Guess(text, bound(_summed_last, edge, tuple(chain), axis, shape))


def _summed_last(w: Walk, edge: Edge, chain: tuple[int, ...], axis: int, shape: tuple[int, ...]) -> Arrays:
    k = edge[0]
    wide = lambda j: w.xp.broadcast_to(w.values[j], w.e.node(k).shape)
    g = w.unsummed(edge)
    for out, inner in pairwise(chain):
        node = w.e.node(out)
        g = OPS[node.op].cotangent(w.xp, 0, g, wide(out), (wide(inner),), dict(node.params), None)
    return w.moved(edge, chain[-1], w.xp.reshape(w.xp.sum(g, axis=axis), shape))


def _slice(xp: Any, x: Any, shape: tuple[int, ...], at: int) -> Any:
    """One entry along each axis that a broadcast added or widened."""
    extra = x.ndim - len(shape)
    index = tuple(at if k < extra else slice(None) for k in range(x.ndim))
    x = x[index]
    for k, n in enumerate(shape):
        if n == 1 and x.shape[k] != 1:
            x = xp.take(x, np.array([at if at == 0 else x.shape[k] - 1]), axis=k)
    return x


def _other_axes(wide: tuple[int, ...], narrow: tuple[int, ...]) -> Iterator[int]:
    """The single axes whose sum has as many entries in the same order of lengths, but for the right ones."""
    lengths = [n for n in narrow if n != 1]
    padded = (1,) * (len(wide) - len(narrow)) + narrow
    right = [k for k, (a, b) in enumerate(zip(wide, padded)) if a != b]
    for axis in range(len(wide)):
        if [axis] != right and [n for k, n in enumerate(wide) if k != axis and n != 1] == lengths:
            yield axis


@hypothesis(
    "two terms",
    "The terms that come through two nodes are missing together, as those of a mean and a variance.",
    last=True,
)
def two_terms(e: Evidence) -> Iterator[Guess]:
    nodes = list(dict.fromkeys(k for k, _ in e.edges))
    for pair in combinations(nodes, 2):
        text = f"{{}} what it would be without the terms that come through {e.call(pair[0])} and {e.call(pair[1])}"
        yield Guess(text, bound(lambda w, pair: w.without(frozenset(pair)), pair))
