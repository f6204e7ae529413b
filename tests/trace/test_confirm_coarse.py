"""A function that rounds more than its op is its graph all the same; what leaves the framework's sight is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from gradverify.frameworks.recognise import trace
from gradverify.ops.build import GraphBuilder
from gradverify.trace.confirm import disagreement, farther, nearby

jax = pytest.importorskip("jax")
jnp = jax.numpy

RANK_1 = np.array([[36, -42, 18], [-42, 49, -21], [18, -21, 9]], dtype=np.float32)
"""Of rank 1: JAX adds up six products of up to 15876, where the determinant moves by the square of what the entries do."""

COARSE = {
    "symmetric": RANK_1,
    "unsymmetric": np.outer([12, 7, 31], [5, 11, 3]).astype(np.float32),
    "two of them": np.stack([RANK_1, np.outer([3, 50, 2], [9, 40, 1]).astype(np.float32)]),
    "of two sizes": np.outer([1000, 7, 3], [2, 500, 11]).astype(np.float32),
}


@pytest.mark.parametrize("name", COARSE)
def test_a_determinant_by_its_products_is_its_op(name: str) -> None:
    assert trace(jnp.linalg.det, jnp.asarray(COARSE[name]), options={"strict": False}).graph is not None


U = 2.0**-24


def why_not(fn: Callable[[np.ndarray], Any], x: np.ndarray) -> str | None:
    """What speaks against det as the graph of `fn`, in float32."""
    builder = GraphBuilder()
    graph = builder.graph(builder.apply("det", builder.input("a", x.shape)))

    def run_at(point: Mapping[str, np.ndarray]) -> tuple[Mapping[str, np.ndarray], list[np.ndarray]]:
        return point, [np.asarray(fn(point["a"]))]

    values = {"a": x}
    moved, there = run_at(nearby(values, ["a"], U, 0))
    further = lambda step: run_at(farther(values, ["a"], step, 0))
    return disagreement(graph, values, moved, [np.asarray(fn(x))], there, U, "float32", (), further)


def by_products(a: np.ndarray) -> np.float32:
    x = a.astype(np.float32)
    return np.float32(
        x[0, 0] * x[1, 1] * x[2, 2] + x[0, 1] * x[1, 2] * x[2, 0] + x[0, 2] * x[1, 0] * x[2, 1]
        - x[0, 2] * x[1, 1] * x[2, 0] - x[0, 0] * x[1, 2] * x[2, 1] - x[0, 1] * x[1, 0] * x[2, 2]
    )  # fmt: skip


def test_its_own_rounding_speaks_against_nothing() -> None:
    assert why_not(by_products, RANK_1) is None


@pytest.mark.parametrize("detour", [lambda a: a[0, 0], lambda a: np.sin(a[1, 2]), lambda a: 1e-1 * a.sum()])
def test_what_the_graph_does_not_have_speaks_against_it(detour: Callable[[np.ndarray], Any]) -> None:
    assert why_not(lambda a: by_products(a) + np.float32(detour(a)), RANK_1)
