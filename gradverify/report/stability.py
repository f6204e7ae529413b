"""The digits that rounding leaves of a definition, drawn node by node."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..core.case import Case
from ..judge.complex_case import real_case
from ..judge.stability import digits_left
from ..namespaces.dtypes import FORMATS
from ..ops.build import lowered
from ..ops.complex.lowering import is_complex

WIDTH = 79
CALL, BAR = 40, 17
"""Columns of a call and of its bar; what is left of a line says what was lost."""

SHOWN = 1.0
"""Digits that a node loses at least before that is said: an op by itself costs some roundings."""


def stability_lines(case: Case, seed: int) -> Iterator[str]:
    """A line for each node of the definition: how many decimal digits rounding leaves of it, and how many it loses."""
    if is_complex(case.graph):
        case = real_case(case)
    graph = lowered(case.graph)
    full = -math.log10(FORMATS[case.dtype].roundoff)
    yield f"digits that rounding in {case.dtype} leaves, of {full:.1f}"
    for k, (left, lost) in digits_left(case, graph, seed).items():
        call = f"%{k} = {graph.call(k)}"
        shown = call if len(call) <= CALL else f"{call[: CALL - 1]}…"
        bar = "█" * round(BAR * left / full)
        said = f"loses {lost:.1f}" if lost >= SHOWN else ""
        yield f"{shown:{CALL}} {left:4.1f} {bar:{BAR}} {said}".rstrip()
