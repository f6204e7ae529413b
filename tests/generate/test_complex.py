"""Random complex graphs: valid, inside their rectangles, away from cuts and poles, and with every op in them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings

from gradverify import strategies
from gradverify.core.case import Case
from gradverify.core.graph import Apply, Graph, Input
from gradverify.generate import campaign, complex_graphs
from gradverify.generate.complex_graphs import Planner, Region, graph_of, within
from gradverify.generate.fitting import BOUND
from gradverify.generate.structure import every_op, limits
from gradverify.judge.complex_case import real_case
from gradverify.namespaces import NUMPY
from gradverify.namespaces.run import forward
from gradverify.ops.complex.lowering import lowered_with_places, takes_complex

CASES = list(campaign.seeded_cases(11, 250, "complex128"))


def node_values(case: Case) -> list[np.ndarray]:
    """Every node of the complex graph, in doubles."""
    real, places = lowered_with_places(case.graph)
    real = Graph(real.nodes, tuple(range(len(real.nodes))))  # also what no output needs
    flat = forward(NUMPY, real, real_case(case).values, "float64")
    return [flat[p[0]] if len(p) == 1 else flat[p[0]] + 1j * flat[p[1]] for p in places]


def test_every_graph_is_complex_and_small() -> None:
    for case in CASES:
        graph = case.graph
        assert any(n.kind == "complex" for n in graph.nodes)
        assert graph.ops >= 1
        assert all(np.prod(n.shape) <= 48 for n in graph.nodes)
        assert all(k in graph.active for n, k in graph.inputs.items()), "an input that nothing uses"
        assert case.wrt == tuple(graph.inputs)


def test_every_op_occurs() -> None:
    seen = Counter(n.op for case in CASES for n in case.graph.nodes if isinstance(n, Apply))
    missing = {op for op in complex_graphs.OPS if op != "literal"} - set(seen)
    assert not missing
    assert all(takes_complex(op) or op in ("add", "multiply", "sum", "reshape") for op in seen)


def test_no_value_is_large_or_missing() -> None:
    for case in CASES:
        for node, value in zip(case.graph.nodes, node_values(case)):
            if not isinstance(node, Input):
                assert np.isfinite(value).all(), case.graph.text()
                assert np.abs(value).max(initial=0.0) <= 4 * BOUND


CUT = {"log", "log2", "log10", "sqrt", "rsqrt", "angle", "reciprocal", "abs", "pow", "log1p"}


def test_arguments_stay_away_from_cuts_and_poles() -> None:
    checked = 0
    for case in CASES:
        values = node_values(case)
        for node in case.graph.nodes:
            if not isinstance(node, Apply):
                continue
            z = values[node.args[1]] if node.op == "divide" else values[node.args[0]]
            if (node.op in CUT and case.graph.nodes[node.args[0]].kind == "complex") or node.op == "divide":
                assert np.real(z).min(initial=1.0) >= 0.5 - 1e-9, case.graph.text()
                checked += 1
            elif node.op in ("asin", "acos", "atan", "asinh", "atanh"):
                assert np.abs(z).max(initial=0.0) <= 0.71
                checked += 1
            elif node.op in ("tan", "tanh"):
                assert max(np.abs(z.real).max(initial=0.0), np.abs(z.imag).max(initial=0.0)) <= 1.0
                checked += 1
    assert checked > 100


def test_regions_hold_their_values() -> None:
    """What the planner believes of each node, against points of its inputs' rectangles."""
    rng = np.random.default_rng(5)
    bounds = limits()
    held = 0
    for i in range(60):
        draw = campaign.Random(f"regions/{i}")
        ints = campaign._ints(draw, bounds.max_ops)
        planner = Planner(bounds, (3,))
        for packed in ints[1:]:
            digits = complex_graphs.Digits(packed)
            try:
                planner.place(complex_graphs.OPS[digits.op(len(complex_graphs.OPS))], digits)
            except complex_graphs.ShapeError:
                continue
        ends = [k for k in planner.regions if isinstance(planner.builder.nodes[k], Apply)]
        if not ends:
            continue
        graph = planner.builder.graph(*ends)
        case = complex_graphs.fill(graph, int(rng.integers(1 << 30)), 0, "complex128")
        values = node_values(case)
        for k in ends:
            region, z = planner.regions[k], values[k]
            slack = 1e-9 * max(region.modulus, 1.0)
            assert np.real(z).min(initial=np.inf) >= region.re.lo - slack, graph.text()
            assert np.real(z).max(initial=-np.inf) <= region.re.hi + slack, graph.text()
            if np.iscomplexobj(z):
                assert np.imag(z).min(initial=np.inf) >= region.im.lo - slack, graph.text()
                assert np.imag(z).max(initial=-np.inf) <= region.im.hi + slack, graph.text()
            held += 1
    assert held > 100


def test_rectangles_multiply_as_complex_numbers_do() -> None:
    rng = np.random.default_rng(0)
    lo, hi = np.sort(rng.uniform(-2, 2, (2, 4)), axis=0)
    a, b = (
        Region(complex_graphs.Interval(lo[i], hi[i]), complex_graphs.Interval(lo[i + 1], hi[i + 1])) for i in (0, 2)
    )  # fmt: skip
    product = a * b
    for _ in range(200):
        z, w = (complex(rng.uniform(r.re.lo, r.re.hi), rng.uniform(r.im.lo, r.im.hi)) for r in (a, b))
        assert (z * w).real in product.re
        assert (z * w).imag in product.im
    assert within(2.0).modulus >= 2.0


def test_values_are_of_the_dtype_that_was_asked_for() -> None:
    for dtype, real, made in (("complex64", "float32", np.complex64), ("complex128", "float64", np.complex128)):
        for case in campaign.seeded_cases(3, 20, dtype):
            assert case.dtype == real
            for name, k in case.graph.inputs.items():
                assert case.values[name].dtype == (made if case.graph.nodes[k].kind == "complex" else np.dtype(real))
            for g, o in zip(case.cotangent, case.graph.outputs):
                assert g.dtype == (made if case.graph.nodes[o].kind == "complex" else np.dtype(real))


def test_the_same_seed_draws_the_same_case() -> None:
    bounds = limits()
    one, two = (campaign.seeded_case(4, 17, "complex128", bounds) for _ in range(2))
    assert one.graph == two.graph
    assert all(one.values[n].tobytes() == two.values[n].tobytes() for n in one.values)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.cases(dtypes=("complex128", "float64")))
def test_the_strategy_mixes_dtypes(case: Case) -> None:
    kinds = {n.kind for n in case.graph.nodes}
    assert case.dtype == "float64"
    assert all(v.dtype.kind == "c" for n, v in case.values.items() if n.startswith("z")) or "complex" not in kinds


def test_ops_may_be_named() -> None:
    for case in campaign.seeded_cases(0, 20, "complex128", ops=["exp", "multiply"]):
        assert {n.op for n in case.graph.nodes if isinstance(n, Apply)} <= {"exp", "multiply"}
    with pytest.raises(ValueError, match="have none of the ops relu"):
        strategies.cases(dtypes=("complex128",), ops=["relu"])


def test_what_fails_shrinks_to_the_op_alone() -> None:
    found: Graph = find(
        strategies.cases(dtypes=("complex128",)),
        lambda case: any(isinstance(n, Apply) and n.op == "exp" for n in case.graph.nodes),
        settings=settings(max_examples=2000, database=None, deadline=None),
    ).graph
    assert [n.op for n in found.nodes if isinstance(n, Apply)] == ["exp"]


def test_integers_that_place_nothing_make_no_case() -> None:
    shape = complex_graphs.SHAPES.index((3,))
    assert graph_of([shape, complex_graphs.OPS.index("exp")], limits(), complex_graphs.OPS) is not None
    assert graph_of([shape, complex_graphs.OPS.index("exp")], limits(max_elements=1), complex_graphs.OPS) is None
    assert complex_graphs.allowed(limits(), every_op()) == complex_graphs.OPS


def test_what_came_out_too_large_hides_nothing_that_was_kept() -> None:
    """An op that is refused for its shape stays in the builder, and uses its argument there."""
    case = campaign.seeded_case(2026, 772, "complex64", limits(None))
    assert case.graph.ops
    cases = [campaign.seeded_case(772, i, "complex128", limits(None, max_ops=3)) for i in range(300)]
    assert all(c.graph.ops for c in cases)
