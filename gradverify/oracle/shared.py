"""What the truths of several cotangents at one point have in common: all but the reverse pass.

The definition's values at the point, and at the ends of the differences along one random direction, do not depend on the
cotangent: with another one the reverse pass is walked again, and four sums of products with the ends confirm it. The
direction is drawn before the other cotangent is known: that errors cancel along it is as unlikely as before (`CHANCE`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.graph import Graph


@dataclass(frozen=True, eq=False)
class Point:
    """A graph at a point, in balls.

    key        what the values depend on
    nodes      every node's value
    direction  input name -> the direction of the differences
    size       input name -> its absolute value, in doubles
    ends       the outputs at the ends of the differences: at h, -h, h/2 and -h/2
    """

    key: bytes
    nodes: list[Any]
    direction: Mapping[str, np.ndarray]
    size: Mapping[str, np.ndarray]
    ends: tuple[tuple[Any, ...], ...]


def key_of(values: Mapping[str, np.ndarray], wrt: tuple[str, ...], dtype: str, bits: int, seed: int) -> bytes:
    """What the values of a graph's nodes, and the direction, depend on."""
    parts = [repr((wrt, dtype, bits, seed)).encode()]
    for name, v in values.items():
        v = np.ascontiguousarray(v)
        parts.append(repr((name, v.dtype.str, v.shape)).encode() + v.tobytes())
    return b"|".join(parts)


def find(graph: Graph, key: bytes) -> Point | None:
    """The point that the graph was last asked at, if it is this one."""
    found: Point | None = graph.found.get("point")
    return found if found is not None and found.key == key else None


def keep(graph: Graph, point: Point) -> None:
    """Keep a point of the graph in place of the one before it."""
    graph.found["point"] = point
