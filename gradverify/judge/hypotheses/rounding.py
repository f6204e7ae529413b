"""The hypothesis about a narrower dtype: of the result, of a saved value, of a cotangent, of an input."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...namespaces.dtypes import FORMATS, is_float, rounded, to_float64
from ..budget import SAFETY
from .evidence import Evidence, rms
from .registry import Guess, bound, hypothesis

NARROWER = {"float64": ("float32", "bfloat16", "float16"), "float32": ("bfloat16", "float16")}


@hypothesis("narrower dtype", "The gradient, a saved value or a cotangent has been rounded to a narrower dtype.")
def narrower(e: Evidence) -> Iterator[Guess]:
    for narrow in NARROWER.get(e.case.dtype, ()):
        if _is_computed_in(e, narrow):
            bits = math.log(FORMATS[narrow].roundoff / e.format.roundoff)
            yield Guess(
                f"{{}} computed in {narrow}, or rounded to it: its entries are all numbers of {narrow}",
                lambda w: {n: e.got[n] for n in e.names},
                chance=-bits * sum(int((e.failing[n] & (e.got[n] != 0)).sum()) for n in e.names),
            )
        yield Guess(
            f"{{}} the right gradient, rounded to {narrow}",
            bound(
                lambda w, narrow: {
                    n: _cast(e.want[n], narrow) if not w.nudged else _near(e, n, narrow) for n in e.names
                },
                narrow,
            ),
        )
        for k in sorted(e.flat.active):
            value = e.plain.values[k]
            if e.flat.nodes[k].kind == "float" and not np.array_equal(value, _cast(value, narrow)):
                label = e.label(k)
                text = f"{{}} what it would be with {label} saved in {narrow}"
                low = _cast(value, narrow)
                yield Guess(text, bound(lambda w, k, low: w.saved(k, low), k, low))
        for k, g in e.plain.adjoint.items():
            lost = _cast(g, narrow) - np.asarray(g)
            if lost.any():
                text = f"{{}} what it would be with the cotangent of {e.label(k)} rounded to {narrow}"
                yield Guess(text, bound(lambda w, k, lost: w.plus(1.0, w.from_node(k, lost)), k, lost))
        inputs = {n: _cast(v, narrow) for n, v in e.case.values.items() if is_float(v)}
        for n, low in inputs.items():
            if not np.array_equal(low, to_float64(e.case.values[n])):
                text = f"{{}} what it would be at {n} rounded to {narrow}"
                yield Guess(text, bound(lambda w, n, low: w.at({n: low}), n, low))
        yield Guess(f"{{}} what it would be with all inputs rounded to {narrow}", bound(lambda w, at: w.at(at), inputs))


def _is_computed_in(e: Evidence, narrow: str) -> bool:
    """Are all entries numbers of a dtype, and as near to the truth as rounding in it keeps them?"""
    if not all(np.array_equal(e.got[n], _cast(e.got[n], narrow)) for n in e.names):
        return False
    u, walks = FORMATS[narrow].roundoff, e.nudged(narrow)
    return all(
        (np.abs(e.got[n] - w) <= e.budget[n] + SAFETY * (rms([x.right[n] - w for x in walks]) + u * np.abs(w))).all()
        for n in e.names
        for w in [e.want[n]]
    )


def _cast(x: Any, dtype: str) -> np.ndarray:
    return to_float64(rounded(np.asarray(x, dtype=np.float64), dtype))


def _near(e: Evidence, n: str, narrow: str) -> np.ndarray:
    """What rounding makes of an answer that is within the budget: the other neighbour, where a tie is that close."""
    b = np.where(np.isfinite(e.budget[n]), e.budget[n], 0.0)
    low, high = _cast(e.want[n] - b, narrow), _cast(e.want[n] + b, narrow)
    usual = _cast(e.want[n], narrow)
    return np.where(low != usual, low, high)
