"""Factors that have a name, and the factor that an answer shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from ...core.graph import Apply
from ...namespaces.run import needed
from ...ops import OPS
from ..budget import SAFETY
from .evidence import Arrays, Evidence

CONSTANTS = {
    "pi": math.pi, "1/pi": 1 / math.pi, "2 pi": 2 * math.pi, "1/(2 pi)": 0.5 / math.pi, "ln 2": math.log(2),
    "1/ln 2": 1 / math.log(2), "ln 10": math.log(10), "1/ln 10": 1 / math.log(10), "sqrt(2)": math.sqrt(2),
    "1/sqrt(2)": math.sqrt(0.5), "sqrt(pi)": math.sqrt(math.pi), "1/sqrt(pi)": 1 / math.sqrt(math.pi),
    "2/sqrt(pi)": 2 / math.sqrt(math.pi), "sqrt(pi)/2": math.sqrt(math.pi) / 2, "sqrt(2 pi)": math.sqrt(2 * math.pi),
    "1/sqrt(2 pi)": 1 / math.sqrt(2 * math.pi), "sqrt(2/pi)": math.sqrt(2 / math.pi),
    "sqrt(pi/2)": math.sqrt(math.pi / 2), "e": math.e, "1/e": 1 / math.e, "180/pi": 180 / math.pi, "pi/180": math.pi / 180,
}  # fmt: skip
"""Factors that formulas have, or lose."""

_LARGEST = 12
"""Of numerator and denominator: up to there people write fractions."""


def _fractions() -> dict[str, float]:
    found = {Fraction(p, q) for p in range(1, _LARGEST + 1) for q in range(1, _LARGEST + 1)} - {Fraction(1)}
    ordered = sorted(found, key=lambda f: (f.numerator + f.denominator, f))
    return {str(f): float(f) for f in ordered}


FRACTIONS = _fractions()


def counts(e: Evidence) -> dict[int, str]:
    """The numbers of entries that the graph's reductions and broadcasts go over -> where."""
    found: dict[int, str] = {}
    needs = needed(e.flat, e.case.wrt)
    for k in sorted(e.flat.active, reverse=True):
        node = e.flat.nodes[k]
        if not isinstance(node, Apply):
            continue
        size = math.prod(node.shape)
        for a in (a for a in node.args if a in needs):
            inner = math.prod(e.flat.nodes[a].shape)
            reduces = dict(node.params).keys() & {"axis", "axes"} and size and inner % size == 0 and inner > size
            spreads = OPS[node.op].broadcasts and inner and size % inner == 0 and size > inner
            if reduces or spreads:
                found.setdefault(inner // size if reduces else size // inner, f"the entries of {e.call(k)}")
    return found


def scalars(e: Evidence) -> Iterator[tuple[float, str]]:
    """The single numbers of the graph, and their inverses."""
    for k in sorted(e.flat.active):
        node, value = e.flat.nodes[k], e.plain.values[k]
        if node.kind == "float" and np.size(value) == 1:
            v = float(np.reshape(value, ()))
            if math.isfinite(v) and v and not (4 * v).is_integer():  # those are fractions
                yield v, f"{v:.6g}, the value of {e.label(k)}"
                yield 1 / v, f"1/({v:.6g}), the inverse of {e.label(k)}"


def nice(e: Evidence) -> list[tuple[float, str]]:
    """Return the factors that have a name, the simplest first, each with its name."""
    values: list[tuple[float, str]] = [(-1.0, "-1: its sign is flipped"), (2.0, "2"), (0.5, "1/2")]
    for n, where in counts(e).items():
        values.append((float(n), f"{n}, as of a sum for a mean over {where}"))
        values.append((1.0 / n, f"1/{n}, as of a mean for a sum over {where}"))
        values += [(math.sqrt(n), f"sqrt({n}), of {where}"), (1 / math.sqrt(n), f"1/sqrt({n}), of {where}")]
    values += scalars(e)
    for table in (FRACTIONS, CONSTANTS):
        values += [(sign * v, ("-" if sign < 0 else "") + name) for name, v in table.items() for sign in (1.0, -1.0)]
    return values


def factors(e: Evidence, part: Arrays) -> tuple[float, float] | None:
    """The interval of factors c for which truth + (c - 1)·part agrees with the answer within two budgets; None if empty.

    Twice, since the answer rounds as the truth does, and the part as well.
    """
    low, high = -math.inf, math.inf
    for n in e.names:
        got, want, b, p = e.got[n], e.want[n], e.budget[n], part[n]
        use = np.isfinite(b) & np.isfinite(got)
        with np.errstate(all="ignore"):
            c = 1.0 + (got - want) / p
            # A c of hundreds makes errors of hundreds.
            width = 2 * (b + SAFETY * e.format.roundoff * np.abs(got)) * np.maximum(1.0, np.abs(c)) / np.abs(p)
        moves = use & (p != 0) & np.isfinite(c) & np.isfinite(width)
        if (use & ~moves & e.failing[n]).any() or not moves.any():
            return None
        low, high = max(low, float((c - width)[moves].max())), min(high, float((c + width)[moves].min()))
    return (low, high) if low <= high else None


def named_factor(e: Evidence, span: tuple[float, float]) -> tuple[float, str, int] | None:
    """The simplest named factor within the interval; its text; and how many were tried until then."""
    for tries, (value, text) in enumerate(nice(e), 1):
        if span[0] <= value <= span[1]:
            return value, text, tries
    return None
