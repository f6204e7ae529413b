"""One-sided derivatives at kinks: of many entries together, and the same as of each alone."""

import numpy as np
import pytest

from gradverify.oracle import sides
from gradverify.oracle.truth import _Attempt, truth
from gradverify.spec.from_expression import expression_case


def graph_of(expression, n):
    return expression_case(expression, {"x": np.zeros(n)}).graph


@pytest.mark.parametrize(
    "expression",
    ["relu(x) - 0.5 * relu(-x)", "sum(relu(x))", "mean(abs(x) + x)", "sum(relu(x) * relu(x + 1))", "x * abs(x)"],
)
def test_together_as_alone(expression, monkeypatch):
    graph = graph_of(expression, 12)
    g = tuple(np.full(graph.nodes[o].shape, 1.5) for o in graph.outputs)
    found = [truth(graph, {"x": np.zeros(12)}, g, ("x",), "float64") for _ in monkeypatched(monkeypatch)]
    for field in ("low", "high", "smooth"):
        together, alone = (getattr(f, field) for f in found)
        assert together.keys() == alone.keys()
        for name in together:
            np.testing.assert_array_equal(together[name], alone[name])


def monkeypatched(monkeypatch):
    yield
    monkeypatch.setattr(sides, "FEW", 1000)
    yield


def test_entries_that_share_a_term_are_moved_alone():
    graph = graph_of("max(x)", 12)
    found = truth(graph, {"x": np.zeros(12)}, (np.array(1.0),), ("x",), "float64")
    np.testing.assert_array_equal(found.low["x"], 0.0)
    np.testing.assert_array_equal(found.high["x"], 1.0)


def test_walks_grow_with_the_logarithm(monkeypatch):
    walks = []
    original = _Attempt.nodes_at
    monkeypatch.setattr(_Attempt, "nodes_at", lambda self, *a: walks.append(1) or original(self, *a))
    counts = []
    for n in (64, 512):
        walks.clear()
        attempt = attempt_at(n)
        sides.SideSlopes(attempt, {"x": np.ones(n, dtype=bool)})
        counts.append(len(walks))
    assert counts[1] < 2 * counts[0]


def attempt_at(n):
    graph = graph_of("sum(relu(x))", n)
    return _Attempt(graph, {"x": np.zeros(n)}, (np.array(1.0),), ("x",), "float64", 256, 0)
