"""What walks of a graph keep with it."""

from __future__ import annotations

import copy
import pickle

import numpy as np

from gradverify.namespaces import NUMPY
from gradverify.namespaces.run import forward, kink_distances, needed, reverse
from gradverify.ops.build import GraphBuilder


def test_what_was_found_stays_behind_when_a_graph_is_copied() -> None:
    b = GraphBuilder()
    graph = b.graph(b.apply("multiply", b.apply("abs", b.input("x", (2,))), b.constant(3.0)))
    assert sorted(needed(graph, ("x",))) == [0, 1, 3]
    forward(NUMPY, graph, {"x": np.ones(2)}, "float64")
    kink_distances(NUMPY, graph, [np.ones(2), np.ones(2), 3.0, np.ones(2)], ("x",))
    assert len(graph.found) == 3
    for other in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph)):
        assert (other, hash(other), other.found) == (graph, hash(graph), {})


def test_a_literal_is_not_shared() -> None:
    b = GraphBuilder()
    graph = b.graph(b.constant((3.0, 0.1)))
    (first,) = forward(NUMPY, graph, {}, "float64")
    first[...] = 4.0
    assert forward(NUMPY, graph, {}, "float64")[0].tolist() == [3.0, 0.1]
    assert forward(NUMPY, graph, {}, "float16")[0].tolist() == [3.0, 0.0999755859375]


def test_what_was_found_is_of_the_inputs_asked_for() -> None:
    b = GraphBuilder()
    graph = b.graph(b.apply("add", b.apply("abs", b.input("x", ())), b.apply("sin", b.input("y", ()))))
    nodes = forward(NUMPY, graph, {"x": np.array(-2.0), "y": np.array(0.0)}, "float64")
    for _ in range(2):
        assert sorted(needed(graph, ("x",))) == [0, 1, 4]
        assert sorted(needed(graph, iter(["y"]))) == [2, 3, 4]
        assert reverse(NUMPY, graph, nodes, [np.array(1.0)], ("x", "y")) == {4: 1, 1: 1, 3: 1, 0: -1, 2: 1}
        assert kink_distances(NUMPY, graph, nodes, ("x",)) == {1: 2.0}
        assert kink_distances(NUMPY, graph, nodes, ("y",)) == {}
