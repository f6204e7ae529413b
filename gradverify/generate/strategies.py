"""The Hypothesis strategies. The only module of `generate` that imports Hypothesis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from ..core.case import Case
from ..core.graph import Graph
from ..namespaces.dtypes import PRECISION
from .campaign import decode
from .complex_graphs import allowed
from .digits import INT_BITS
from .structure import every_op, limits, plan
from .values import DTYPES

_PACKED = st.integers(0, (1 << INT_BITS) - 1)
_SEEDS = st.integers(0, (1 << 32) - 1)


def _ints(max_ops: int) -> st.SearchStrategy[list[int]]:
    """A head and at least one node; Hypothesis's lists ask "stop?" after each. `plan` stops at `max_ops` by itself."""
    return st.lists(_PACKED, min_size=2, max_size=2 * max_ops + 1)


def graphs(
    *,
    ops: Iterable[str] | None = None,
    max_ops: int = 8,
    max_elements: int = 48,
    max_rank: int = 3,
    inputs: int = 6,
) -> st.SearchStrategy[Graph]:
    """Random graphs over the op table; every node stays in its op's domain when the inputs do (see `cases`).

    ops           names of the ops to draw from; all generatable ones by default
    max_ops       how many ops a graph applies at most, helpers (constants apart) included
    max_elements  of any node
    max_rank      number of axes of any node
    inputs        how many leaves at most

    Raises UnknownName and ValueError, at once, for ops that the table lacks and for sizes below one.
    """
    bounds = limits(ops, max_ops=max_ops, max_elements=max_elements, max_rank=max_rank, inputs=inputs)
    return (
        _ints(max_ops).map(lambda ints: plan(ints, bounds)).filter(lambda p: p is not None).map(lambda p: p.graph)  # type: ignore[union-attr]
    )


def cases(
    *,
    dtypes: Sequence[str] = ("float64",),
    ops: Iterable[str] | None = None,
    max_ops: int = 8,
    max_elements: int = 48,
    max_rank: int = 3,
    inputs: int = 6,
    kinks: bool = False,
) -> st.SearchStrategy[Case]:
    """Random cases: graphs as from `graphs`, with values, a cotangent and a dtype out of `dtypes`.

    complex64 and complex128 mean graphs of complex ops, in float32's and float64's precision, away from cuts and poles
    (`complex_graphs`).

    Values are exact in the case's dtype. With `kinks=False` every op stays 2**-10 of its arguments' scale away from
    its kinks (ties of max, zeros of abs, nearly equal sides of a comparison); with `kinks=True` zeros and ties are
    placed without regard to kinks, and closed ends of domains may be touched.

    Raises as `graphs` does, and ValueError for a dtype that NumPy lacks.
    """
    known = (*DTYPES, *PRECISION)
    unknown = [d for d in dtypes if d not in known]
    if unknown or not dtypes:
        raise ValueError(f"dtypes must be some of {', '.join(known)}, got {', '.join(map(repr, dtypes)) or 'none'}")
    bounds = limits(ops, max_ops=max_ops, max_elements=max_elements, max_rank=max_rank, inputs=inputs, kinks=kinks)
    choices = tuple(dtypes)
    if set(choices) & set(PRECISION):
        allowed(bounds, every_op())

    def made(drawn: tuple[list[int], int, str]) -> Case | None:
        return decode(*drawn, bounds)

    dtype = st.just(choices[0]) if len(choices) == 1 else st.sampled_from(choices)
    return st.tuples(_ints(max_ops), _SEEDS, dtype).map(made).filter(bool)  # type: ignore[return-value]
