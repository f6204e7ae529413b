"""What a case of a spec file may take: entries of arrays, and multiply-adds, counted from its graph before any is made.

A judgement computes a graph a dozen times: in the dtype, in balls of 200 bits, nudged, and each of them backward. Measured
with the engine in float64 (cases of one op), that is 25 to 50 µs and 1.1 KB an entry, 0.5 µs a multiply-add of a product of
matrices and 12 µs one of an inverse. So a case at one of the limits below takes about a minute, or 1.2 GB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.graph import Apply, Graph
from ..core.op import Shape

MAX_ENTRIES = 1 << 20
"""Over all nodes of a case's graph."""

MAX_MULTIPLY_ADDS = 100_000_000
"""Over all nodes of a case's graph; one of a factorisation counts `FACTORISED` times."""

FACTORISED = 24
"""What a multiply-add of a factorisation costs, in those of a product (12 µs / 0.5 µs)."""

PRODUCTS = ("matmul", "tensordot", "outer", "vecdot", "scaled_dot_product_attention", "bilinear")
FACTORISATIONS = ("matrix_power", "det", "logabsdet", "inv", "solve", "cholesky", "solve_triangular")


def entries(graph: Graph) -> int:
    """The entries of all arrays of a graph."""
    return sum(math.prod(n.shape) for n in graph.nodes)


def multiply_adds(graph: Graph) -> int:
    """The multiply-adds of a graph's forward pass; an upper bound for products with batches."""
    ops = (n for n in graph.nodes if isinstance(n, Apply))
    return sum(_of(n.op, [graph.nodes[a].shape for a in n.args], n.shape, dict(n.params)) for n in ops)


def _of(op: str, shapes: Sequence[Shape], out: Shape, params: Mapping[str, Any]) -> int:
    if op == "einsum":
        letters = str(params.get("subscripts", "")).replace(" ", "").partition("->")[0].split(",")
        sizes = {name: n for names, shape in zip(letters, shapes) for name, n in zip(names, shape)}
        return math.prod(sizes.values())
    if op in PRODUCTS:  # m·k, k·n and m·n entries: the root of their product is m·k·n
        return math.isqrt(math.prod(math.prod(s) for s in (*shapes[:2], out)))
    if op == "conv2d":
        return math.prod(out) * math.prod(shapes[1][1:])
    if op in FACTORISATIONS and shapes[0]:
        return FACTORISED * shapes[0][-1] * max(math.prod(s) for s in shapes)
    return 0


def too_much(graph: Graph) -> str:
    """Why a case is too large to be judged; "" where it is not."""
    many, work = entries(graph), multiply_adds(graph)
    if many > MAX_ENTRIES:
        return f"the arrays of this case have {many:,} entries; at most {MAX_ENTRIES:,} are judged"
    if work > MAX_MULTIPLY_ADDS:
        return f"this case takes about {work:,} multiply-adds; at most {MAX_MULTIPLY_ADDS:,} are judged"
    return ""
