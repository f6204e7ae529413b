"""Random cases without Hypothesis: for campaigns of a hundred thousand graphs, where nothing needs shrinking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from random import Random
from typing import Any

from ..core.case import Case
from ..namespaces.dtypes import PRECISION
from . import complex_graphs
from .digits import INT_BITS
from .structure import Limits, Plan, every_op, limits, plan
from .values import fill


def decode(ints: Sequence[int], seed: int, dtype: str, limits: Limits) -> Case | None:
    """Decode a case from `ints` (a head, then one integer per node) and the `seed` of its values.

    The one decoding function: Hypothesis and `seeded_cases` both draw its arguments. None where the integers place no
    op, or where the values cannot be kept off a kink.
    """
    if dtype in PRECISION:
        return complex_graphs.decode(ints, seed, dtype, limits, every_op())
    made = _planned(tuple(ints), limits)
    return None if made is None else fill(made, seed, dtype, limits.kinks)


@lru_cache(maxsize=8)
def _planned(ints: tuple[int, ...], limits: Limits) -> Plan | None:
    """The plan of these integers: one graph in several dtypes is one graph, and what walks found out of it is kept."""
    return plan(ints, limits)


def seeded_cases(
    seed: int, n: int, dtype: str = "float64", *, ops: Iterable[str] | None = None, **settings: Any
) -> Iterator[Case]:
    """`n` cases, the same for the same seed; `settings` as for `gradverify.strategies.cases`.

    The i-th case depends on `seed` and i alone, so a campaign can be split among processes by slices of i (see
    `seeded_case`).
    """
    bounds = limits(ops, **settings)
    for i in range(n):
        yield seeded_case(seed, i, dtype, bounds)


def seeded_case(seed: int, i: int, dtype: str, bounds: Limits) -> Case:
    """The i-th case of `seed`."""
    draw = Random(f"{seed}/{i}")  # a string seeds through SHA-512, the same in every process
    while True:
        case = decode(_ints(draw, bounds.max_ops), draw.getrandbits(32), dtype, bounds)
        if case is not None:
            return case


def _ints(draw: Random, max_ops: int) -> list[int]:
    """Draw a list as Hypothesis draws one: geometric in length, of the mean that it aims at for 2 to 2 max_ops + 1."""
    mean = min(7.0, 0.5 * (2 * max_ops + 3))
    n = 2
    while n <= 2 * max_ops and draw.random() < (mean - 2) / (mean - 1):
        n += 1
    return [draw.getrandbits(INT_BITS) for _ in range(n)]
