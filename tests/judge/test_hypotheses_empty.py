"""A wrong gradient beside arrays without entries is a FAIL: the search for the mistake does not divide by their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradverify.core.case import Case
from gradverify.core.outcome import Outcome
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.ops.build import GraphBuilder
from gradverify.run.runner import Settings, judge_case
from tests.mutants.declared import DECLARED
from tests.mutants.harness import engine_with

WRONG = next(m for m in DECLARED if m.op == "sin")

Build = Callable[[GraphBuilder, int, int], tuple[int, ...]]

EMPTY: dict[str, Build] = {
    "softmax": lambda b, x, y: (b.apply("sin", x), b.apply("softmax", y, axis=-1)),
    "a sum": lambda b, x, y: (b.apply("sin", x), b.apply("sum", b.apply("exp", y), axis=0)),
    "tile": lambda b, x, y: (b.apply("tile", b.apply("sin", x), repetitions=(0, 2)),
                             b.apply("exp2", b.apply("sin", x)), b.apply("exp", y)),
    "a broadcast": lambda b, x, y: (b.apply("sin", x), b.apply("add", y, b.apply("sum", y, axis=0, keepdims=True))),
    "a product with its sum": lambda b, x, y: (
        b.apply("sin", x), b.apply("multiply", y, b.apply("mean", b.apply("concat", y, y, axis=1), axis=1, keepdims=True))
    ),
    "logsumexp": lambda b, x, y: (b.apply("sin", x), b.apply("logsumexp", b.apply("tanh", y), axis=-1)),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_a_wrong_gradient_beside_empty_arrays_is_a_fail(name: str) -> None:
    b = GraphBuilder()
    x, y = b.input("x", (2, 2)), b.input("y", (0, 3))
    graph = b.graph(*EMPTY[name](b, x, y))
    values: dict[str, Any] = {"x": np.array([[0.5, -1.25], [0.75, 1.5]]), "y": np.ones((0, 3))}
    shapes = [graph.nodes[o].shape for o in graph.outputs]
    case = Case("a", graph, values, tuple(np.full(s, 0.75) for s in shapes), "float64", ("x", "y"))
    with engine_with(WRONG):
        verdict = judge_case(case, EngineFramework(), Settings(shrink=False))
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert judge_case(case, EngineFramework(), Settings(shrink=False)).outcome is Outcome.PASS
