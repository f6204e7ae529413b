"""Hypotheses about a gradient as a whole: its factor, its place, its cotangent, its entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ...namespaces.dtypes import to_float64
from .constants import factors, named_factor
from .evidence import Evidence
from .registry import WOULD_BE, Guess, bound, hypothesis


@hypothesis(
    "factor", "The gradient is the right one times a constant: -1, p/q, pi, ln 2, the n of an axis, its inverse."
)
def factor(e: Evidence) -> Iterator[Guess]:
    span = factors(e, e.want)
    if span is None:
        return
    named = named_factor(e, span)
    if named:
        c, text, tries = named
        yield Guess("{} the right gradient times " + text, lambda w: {n: c * w.right[n] for n in e.names}, tries)


@hypothesis("unnamed factor", "The gradient is the right one times some number, the same in every entry.", last=True)
def unnamed_factor(e: Evidence) -> Iterator[Guess]:
    span = factors(e, e.want)
    if span is None:
        return
    middle = (span[0] + span[1]) / 2
    if abs(middle) > 2 * (span[1] - span[0]):
        number = f"1 {middle - 1:+.3g}" if abs(middle - 1) < 0.01 else f"{middle:.6g}"
        text = f"{{}} the right gradient times {number} in every entry"
        yield Guess(text, lambda w: {n: middle * w.right[n] for n in e.names}, free=True)


@hypothesis(
    "swapped arguments", "The gradients of two arguments are exchanged, one stands for the other, or each is their sum."
)
def swapped(e: Evidence) -> Iterator[Guess]:
    for a, b in combinations(e.case.wrt, 2):
        if e.want[a].shape != e.want[b].shape:
            continue
        other = {a: b, b: a}
        if not set(e.names) <= {a, b}:
            continue
        if len(e.names) == 2:
            total = bound(lambda w, a, b: dict.fromkeys((a, b), w.right[a] + w.right[b]), a, b)
            yield Guess("{} both the sum of their right gradients", total)
        both = len(e.names) == 2
        text = f"those of {b} and {a}: they are exchanged" if both else f"that of {other[e.names[0]]}"
        yield Guess(f"{{}} {text}", bound(lambda w, other: {n: w.right[other[n]] for n in e.names}, other))


@hypothesis("transposed", "The gradient is transposed in its last two axes, or all of its axes are reversed.")
def transposed(e: Evidence) -> Iterator[Guess]:
    if all(e.want[n].ndim >= 2 and e.want[n].shape[-1] == e.want[n].shape[-2] for n in e.names):
        yield Guess(
            "{} the right gradient, transposed", lambda w: {n: np.swapaxes(w.right[n], -1, -2) for n in e.names}
        )
    if all(e.want[n].ndim >= 3 and e.want[n].shape == e.want[n].shape[::-1] for n in e.names):
        yield Guess("{} the right gradient with its axes reversed", lambda w: {n: w.right[n].T for n in e.names})


_REPLACED: Sequence[tuple[str, str, Callable[[np.ndarray], Any]]] = (
    ("cotangent ignored", "ones for the cotangent: it is ignored", np.ones_like),
    ("cotangent's sign", "the cotangent's sign in its place", np.sign),
    ("cotangent's size", "the cotangent's absolute value in its place", np.abs),
    ("cotangent's mean", "the cotangent's mean in its place", lambda g: np.full(g.shape, g.mean())),
    ("cotangent's sum", "the cotangent's sum in its place", lambda g: np.full(g.shape, g.sum())),
    (
        "cotangent's first entry",
        "the cotangent's first entry in place of all",
        lambda g: np.full(g.shape, g.ravel()[0]),
    ),
    ("cotangent squared", "the cotangent multiplied twice", lambda g: g * g),
    ("cotangent's positive part", "0 for every negative cotangent", lambda g: np.maximum(g, 0.0)),
    ("cotangent clipped", "the cotangent clipped to [-1, 1]", lambda g: np.clip(g, -1.0, 1.0)),
)


def _replaced(change: Callable[[np.ndarray], Any], what: str) -> Callable[[Evidence], Iterator[Guess]]:
    def predict(e: Evidence) -> Iterator[Guess]:
        given = [to_float64(g) for g in e.case.cotangent]
        if e.is_smooth and all(g.size for g in given):
            other = [np.asarray(change(g), dtype=np.float64) for g in given]
            if any(a.any() for a in other) and any(not np.array_equal(a, b) for a, b in zip(other, given)):
                yield Guess(f"{WOULD_BE}with {what}", lambda w: w.given(other))

    return predict


COTANGENT = tuple(
    hypothesis(name, f"The gradient is what it would be with {what}.")(_replaced(change, what))
    for name, what, change in _REPLACED
)


@hypothesis("conjugate", "A conjugate is left out, or taken twice: of a complex input or of the cotangent.")
def conjugate(e: Evidence) -> Iterator[Guess]:
    values = {n: to_float64(v) for n, v in e.case.values.items() if n.endswith(".imag")}
    for n, v in values.items():
        text = WOULD_BE + f"with the conjugate of {n.removesuffix('.imag')} in its place"
        yield Guess(text, bound(lambda w, n, v: w.at({n: -v}), n, v))
    if len(values) > 1:
        text = WOULD_BE + "with the conjugates of all inputs in their place"
        yield Guess(text, lambda w: w.at({n: -v for n, v in values.items()}))
    if e.case.parts and e.is_smooth:
        imaginary = {k for _, k in e.case.parts}
        other = [-to_float64(g) if k in imaginary else to_float64(g) for k, g in enumerate(e.case.cotangent)]
        yield Guess(WOULD_BE + "with the cotangent's conjugate in its place", lambda w: w.given(other))


@hypothesis("cotangents", "The cotangents of two outputs are exchanged, one is ignored, or one is used alone.")
def cotangents(e: Evidence) -> Iterator[Guess]:
    given = [to_float64(g) for g in e.case.cotangent]
    if len(given) < 2 or not e.is_smooth:
        return
    for i, j in combinations(range(len(given)), 2):
        if given[i].shape == given[j].shape:
            other = list(given)
            other[i], other[j] = given[j], given[i]
            text = f"{{}} what it would be with the cotangents of out{i} and out{j} exchanged"
            yield Guess(text, bound(lambda w, other: w.given(other), other))
    for i in range(len(given)):
        other = [0 * g if k == i else g for k, g in enumerate(given)]
        yield Guess(
            f"{{}} what it would be with the cotangent of out{i} ignored (0)",
            bound(lambda w, other: w.given(other), other),
        )
        if len(given) > 2:
            alone = [g if k == i else 0 * g for k, g in enumerate(given)]
            text = f"{{}} what it would be with the cotangent of out{i} alone"
            yield Guess(text, bound(lambda w, alone: w.given(alone), alone))


@hypothesis("convention", "The ops' own rules at a kink of the graph, where the function has another slope.")
def convention(e: Evidence) -> Iterator[Guess]:
    if not e.is_smooth:
        yield Guess("{} what the rules of the single ops give at a kink that the function has not", lambda w: w.by_ops)


@hypothesis("zero", "The gradient is zero: nothing reaches the argument.")
def zero(e: Evidence) -> Iterator[Guess]:
    yield Guess("{} zero in every entry: nothing reaches it", lambda w: {n: 0.0 * w.right[n] for n in e.names})


@hypothesis("clipped", "Every entry is clipped to [-c, c], or to one side of c; in few entries that may show.")
def clipped(e: Evidence) -> Iterator[Guess]:
    for c, sides in _bounds(e):
        below, above = sides
        low, high = below * c if below else -math.inf, above * c if above else math.inf
        where = f"[{low:g}, {high:g}]" if below and above else f"at least {low:g}" if below else f"at most {high:g}"
        predict = bound(lambda w, low, high: {n: np.clip(w.right[n], low, high) for n in e.names}, low, high)
        text = f"{{}} the right gradient, clipped to {where}"
        for digits in (1, 2):  # people clip at round numbers
            if c == float(f"{c:.{digits - 1}e}"):
                yield Guess(text, predict, tries=90 * digits)
                break
        else:
            # Of all sets of so many entries one has those that lie beyond the bound.
            sizes = [(e.failing[n].size, int(e.failing[n].sum())) for n in e.names]
            yield Guess(text, predict, chance=-sum(math.log(math.comb(size, k)) for size, k in sizes))


def _bounds(e: Evidence) -> Iterator[tuple[float, tuple[int, int]]]:
    """Bounds that the entries may be clipped at: c, and the sides (-1 for -c, 1 for c, 0 for none, below and above)."""
    got = np.concatenate([e.got[n].ravel() for n in e.names])
    failing = np.concatenate([e.failing[n].ravel() for n in e.names])
    wrong = got[failing]
    u = 2 * e.format.roundoff
    for sides, c in (
        ((-1, 1), float(np.max(np.abs(got)))),
        ((0, int(np.sign(wrong[0]))), abs(float(np.max(got)))),
        ((int(np.sign(wrong[0])), 0), abs(float(np.min(got)))),
    ):
        short = next((r for d in (0, 1) if abs((r := float(f"{c:.{d}e}")) - c) <= u * c), c)
        if short and (np.abs(np.abs(wrong) - short) <= u * short).all():
            yield short, sides


@hypothesis("left out", "Some entries are 0, as memory that nobody writes is, and all others are right.")
def left_out(e: Evidence) -> Iterator[Guess]:
    zero = {n: (e.got[n] == 0) & e.failing[n] for n in e.names}
    if all((zero[n] == e.failing[n]).all() and not e.failing[n].all() for n in e.names):
        boxes = {n: _box(z) for n, z in zero.items()}
        # One index, or a single stretch along one axis: n (n + 1) / 2 of them.
        tries = sum(n * (n + 1) // 2 for z in zero.values() for n in z.shape)
        if all(boxes.values()):
            where = "; ".join(f"d{n}[{box}]" for n, box in boxes.items())
            text = f"{{}} right but for entries that are 0: {where}"
            yield Guess(text, lambda w: {n: np.where(zero[n], 0.0, w.right[n]) for n in e.names}, tries)


@hypothesis("masked", "Some entries are 0, those where a value lies beyond a threshold, and all others are right.")
def masked(e: Evidence) -> Iterator[Guess]:
    zero = {n: (e.got[n] == 0) & e.failing[n] for n in e.names}
    if any((zero[n] != e.failing[n]).any() or e.failing[n].all() for n in e.names):
        return
    values = {e.label(k): e.plain.values[k] for k in sorted(e.flat.active) if e.flat.nodes[k].kind == "float"}
    values |= {f"cotangent {i}": to_float64(g) for i, g in enumerate(e.case.cotangent)}
    for name, value in values.items():
        for sign, word in ((1.0, "at least"), (-1.0, "at most")):
            v = sign * np.asarray(value, dtype=np.float64)
            if not all(v.shape == z.shape for z in zero.values()):
                continue
            inside = min(float(v[z].min()) for z in zero.values())
            if all(v[~z].max() < inside for z in zero.values()):
                # Of all sets of so many entries one has those, for each order of a value.
                chance = -sum(math.log(math.comb(z.size, int(z.sum()))) for z in zero.values())
                text = f"{{}} right but for entries that are 0: those where {name} is {word} {sign * inside:.6g}"
                yield Guess(text, lambda w: {n: np.where(zero[n], 0.0, w.right[n]) for n in e.names}, chance=chance)


def _box(mask: np.ndarray) -> str:
    """The slice that a mask is, "" where it is none."""
    at = np.argwhere(mask)
    low, high = at.min(axis=0), at.max(axis=0)
    if len(at) < math.prod(high - low + 1):
        return ""
    whole = [a == 0 and b == n - 1 for a, b, n in zip(low, high, mask.shape)]
    return ", ".join(":" if w else str(a) if a == b else f"{a}:{b + 1}" for w, a, b in zip(whole, low, high))
