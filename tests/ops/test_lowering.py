"""Lowering: composite ops become their definitions, all the way down, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.core.errors import ShapeError, UnknownName
from gradverify.core.graph import Apply, Constant, Graph
from gradverify.namespaces import NUMPY
from gradverify.namespaces.run import forward, reverse
from gradverify.ops import OPS
from gradverify.ops.build import GraphBuilder, lowered
from gradverify.oracle.balls import BALLS
from gradverify.oracle.precision import working


def names(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes if isinstance(n, Apply)]


def test_a_graph_of_plain_ops_is_itself():
    b = GraphBuilder()
    graph = b.graph(b.apply("exp", b.input("x", (3,))))
    assert lowered(graph) is graph


def test_a_composition_of_compositions_reaches_plain_ops():
    b = GraphBuilder()
    x, w, c = b.input("x", (2, 3)), b.input("w", (3,)), b.input("c", (3,))
    graph = lowered(b.graph(b.apply("layer_norm", x, w, c)))
    assert "standardize" not in names(graph)
    assert {"mean", "square", "sqrt", "divide", "multiply"} <= set(names(graph))
    assert not any(OPS[n].composite for n in names(graph))
    assert list(graph.inputs) == ["x", "w", "c"]
    assert graph.nodes[graph.outputs[0]].shape == (2, 3)


def test_every_composite_op_ends_in_ops_with_rules():
    """Each lowers on some shape, keeps its shape, and has the value of its own definition."""
    shapes = {
        "repeat": ([(2, 3)], {"repeats": 2}), "tile": ([(2, 3)], {"repetitions": (2,)}),
        "tensordot": ([(2, 3), (3, 2)], {"axes": 1}), "cross": ([(2, 3)] * 2, {}), "trace": ([(3, 3)], {}),
        "matrix_power": ([(2, 2)], {"n": 5}), "standardize": ([(2, 3)], {}),
        "layer_norm": ([(2, 3), (3,), (3,)], {}), "rms_norm": ([(2, 3), (3,)], {}), "normalize": ([(2, 3)], {}),
        "cosine_similarity": ([(2, 3)] * 2, {}), "linear": ([(2, 3), (4, 3), (4,)], {}),
        "scaled_dot_product_attention": ([(2, 3), (4, 3), (4, 5)], {}), "mse_loss": ([(2, 3)] * 2, {}),
        "huber_loss": ([(2, 3)] * 2, {}), "cross_entropy": ([(2, 3), (2,)], {}),
        "cumulative_logsumexp": ([(2, 3)], {}),
    }  # fmt: skip
    here = {"shape", "linalg", "compositions"}
    from gradverify.ops import FAMILIES

    assert set(shapes) == {s.name for f in here for s in FAMILIES[f] if s.composite}
    rng = np.random.default_rng(0)
    for op, (arguments, params) in shapes.items():
        b = GraphBuilder()
        spec = OPS[op]
        leaves = [b.input(f"x{i}", s, spec.argument(i)) for i, s in enumerate(arguments)]
        whole = b.graph(b.apply(op, *leaves, **params))
        graph = lowered(whole)
        assert not any(OPS[n].composite for n in names(graph)), op
        values = {
            f"x{i}": rng.normal(size=s) if spec.argument(i) == "float" else rng.integers(0, 3, size=s)
            for i, s in enumerate(arguments)
        }
        with working():
            lifted = {k: BALLS.asarray(v) if v.dtype.kind == "f" else v for k, v in values.items()}
            want = forward(BALLS, whole, lifted, "float64")[whole.outputs[0]]
            got = forward(BALLS, graph, lifted, "float64")[graph.outputs[0]]
            assert np.shape(got) == np.shape(want) == graph.nodes[graph.outputs[0]].shape
            for a, w in zip(np.ravel(got), np.ravel(want)):
                assert a.overlaps(w), op
                assert a.rad() < 1e-50, op


def test_parameters_reach_the_definition():
    b = GraphBuilder()
    graph = lowered(b.graph(b.apply("standardize", b.input("x", (2, 3)), axis=0, eps=0.25)))
    assert any(isinstance(n, Constant) and n.value == 0.25 for n in graph.nodes)
    means = [n for n in graph.nodes if isinstance(n, Apply) and n.op == "mean"]
    assert [dict(n.params) for n in means] == [{"axis": 0, "keepdims": True}] * 2


def test_shared_arguments_stay_shared():
    """The same node in both slots, used again outside: its adjoint adds up."""
    b = GraphBuilder()
    x = b.input("x", (3,))
    e = b.apply("exp", x)
    out = b.apply("add", b.apply("mse_loss", e, x), b.apply("sum", e))
    graph = lowered(b.graph(out))
    assert names(graph).count("exp") == 1
    v = np.array([0.5, -1.0, 2.0])
    values = forward(NUMPY, graph, {"x": v}, "float64")
    got = reverse(NUMPY, graph, values, [np.array(1.0)], ["x"])[graph.inputs["x"]]
    want = 2 / 3 * (np.exp(v) - v) * (np.exp(v) - 1) + np.exp(v)
    np.testing.assert_allclose(got, want, rtol=2.0**-49)


def test_a_definition_that_is_its_own_argument():
    b = GraphBuilder()
    x = b.input("x", (2, 2))
    graph = lowered(b.graph(b.apply("matrix_power", x, n=1)))
    assert names(graph) == []
    assert graph.outputs == (graph.inputs["x"],)


def test_several_outputs_and_constants_survive():
    b = GraphBuilder()
    x = b.input("x", (3,))
    first = b.apply("multiply", x, b.constant(3.0))
    graph = lowered(b.graph(b.apply("mse_loss", x, first), first))
    values = forward(NUMPY, graph, {"x": np.array([1.0, 2.0, 3.0])}, "float64")
    assert values[graph.outputs[0]] == pytest.approx(4 * 14 / 3)
    assert values[graph.outputs[1]].tolist() == [3, 6, 9]


def test_what_a_builder_refuses():
    b = GraphBuilder()
    x, i = b.input("x", (2, 3)), b.input("i", (2,), "int")
    with pytest.raises(UnknownName, match="did you mean 'softmax'"):
        b.apply("sofmax", x)
    with pytest.raises(ShapeError, match="matmul: shapes"):
        b.apply("matmul", x, x)
    with pytest.raises(ShapeError, match="argument 1 must be float, got int"):
        b.apply("softmax", i)
    with pytest.raises(ShapeError, match="argument 2 must be int, got float"):
        b.apply("take", x, x)
    with pytest.raises(ShapeError, match="takes 2 arguments, got 1"):
        b.apply("matmul", x)
    with pytest.raises(ShapeError, match="needs at least one argument"):
        b.apply("concat")
    with pytest.raises(ShapeError, match="has no parameter 'dim'"):
        b.apply("sum", x, dim=0)
    with pytest.raises(ShapeError, match="needs the parameter 'shape'"):
        b.apply("reshape", x)
    with pytest.raises(ShapeError, match="axis must be of kind axes"):
        b.apply("sum", x, axis=1.0)
    with pytest.raises(ShapeError, match="elements"):
        b.apply("broadcast_to", x, shape=(1 << 30, 2, 3))
