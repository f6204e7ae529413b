"""Every generated graph is valid, stays in its domains and intervals, and reaches the whole op table."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from gradverify import strategies
from gradverify.core.errors import UnknownName
from gradverify.core.graph import Apply, Graph, Input
from gradverify.core.interval import Interval
from gradverify.generate import campaign
from gradverify.generate.digits import INT_BITS, OP_BITS, Digits
from gradverify.generate.fitting import BOUND, MARGIN, fitting, shaped, tried
from gradverify.generate.structure import Plan, limits, plan
from gradverify.generate.values import fill, node_values
from gradverify.ops import OPS
from gradverify.ops.build import GraphBuilder

ROUNDING = 2.0**-40
"""Intervals hold real arithmetic; NumPy's float64 adds at most a few thousand of its roundoffs, 2**-53, relative to the
sums' and products' own scale, which BOUND limits."""


def sample(seed: int, n: int, **settings):
    """Plans with values, as `seeded_cases` draws them."""
    bounds = limits(**settings)
    out = []
    i = 0
    while len(out) < n:
        draw = campaign.Random(f"{seed}/{i}")
        made = plan(campaign._ints(draw, bounds.max_ops), bounds)
        i += 1
        if made is not None:
            case = fill(made, i, "float64", bounds.kinks)
            if case is not None:
                out.append((made, case))
    return out


@pytest.fixture(scope="module")
def drawn() -> list:
    return sample(0, 800)


def rebuilt(graph: Graph) -> Graph:
    """Through the checked door: shapes, kinds and parameters are what the op table says, or this raises."""
    builder = GraphBuilder()
    for node in graph.nodes:
        if isinstance(node, Input):
            builder.input(node.name, node.shape, node.kind)
        elif isinstance(node, Apply):
            builder.apply(node.op, *node.args, **dict(node.params))
        else:
            builder.constant(node.value, node.kind)
    return builder.graph(*graph.outputs)


def test_graphs_are_what_the_builder_would_build(drawn):
    for made, _ in drawn:
        assert rebuilt(made.graph) == made.graph


def test_numpy_agrees_on_shapes_and_kinds(drawn):
    for made, case in drawn:
        for node, value in zip(made.graph.nodes, node_values(made, case.values)):
            if value is not None:
                assert np.shape(value) == node.shape, made.graph.text()
                assert {"f": "float", "i": "int", "b": "bool"}[np.asarray(value).dtype.kind] == node.kind


def test_values_stay_in_the_propagated_intervals(drawn):
    for made, case in drawn:
        for k, value in enumerate(node_values(made, case.values)):
            if value is None or not np.size(value):
                continue
            i, slack = made.intervals[k], ROUNDING * BOUND
            low, high = np.min(value), np.max(value)
            assert i.lo - slack <= low <= high <= i.hi + slack, f"%{k} of\n{made.graph.text()}\nis not in {i}"


def test_arguments_stay_clear_of_the_ends_of_domains(drawn):
    for made, _ in drawn:
        for node in made.graph.nodes:
            if isinstance(node, Apply) and not shaped(OPS[node.op]) and OPS[node.op].result == "float":
                intervals = [made.intervals[a] for a in node.args]
                shapes = tuple(made.graph.nodes[a].shape for a in node.args)
                assert fitting(OPS[node.op], intervals, shapes, dict(node.params), False) is not None
    # The same predicate says no where it must.
    log = OPS["log"]
    at = lambda lo: fitting(log, [Interval(lo, 1.0)], ((),), {}, False)
    assert at(MARGIN * 2) is not None
    assert at(MARGIN / 2) is None
    assert at(-1.0) is None


def test_nothing_is_dead_and_nothing_exceeds_the_limits(drawn):
    for made, _ in drawn:
        graph = made.graph
        needed = graph.active | {graph.inputs[n] for g in made.guards for n in g.inputs}
        assert needed == set(range(len(graph.nodes)))
        assert 1 <= graph.ops <= 8
        assert list(graph.inputs) == [f"x{i}" for i in range(len(graph.inputs))]
        assert all(math.prod(n.shape) <= 48 and len(n.shape) <= 3 for n in graph.nodes)


@pytest.mark.parametrize(
    "bounds", [{"max_ops": 2, "max_elements": 4, "max_rank": 1, "inputs": 2}, {"ops": ("exp", "log"), "max_rank": 0}]
)
def test_narrower_limits_hold(bounds):
    for made, _ in sample(1, 200, **bounds):
        graph = made.graph
        assert graph.ops <= bounds.get("max_ops", 8)
        assert len(graph.inputs) <= bounds.get("inputs", 6)
        assert all(len(n.shape) <= bounds["max_rank"] for n in graph.nodes)
        assert all(math.prod(n.shape) <= bounds.get("max_elements", 48) for n in graph.nodes)
        if "ops" in bounds:
            assert {n.op for n in graph.nodes if isinstance(n, Apply)} <= set(bounds["ops"])


def test_every_generatable_op_occurs():
    bounds = limits()
    plans = (plan(campaign._ints(campaign.Random(i), bounds.max_ops), bounds) for i in range(3000))
    counts = Counter(n.op for p in plans if p for n in p.graph.nodes if isinstance(n, Apply))
    assert set(bounds.ops) <= set(counts), f"never drawn: {set(bounds.ops) - set(counts)}"
    # Draws are uniform over the ops; what is pruned, or finds no room, costs an op less than most of its share.
    share = sum(counts.values()) / len(bounds.ops)
    rare = {op: counts[op] for op in bounds.ops if counts[op] < share / 8}
    assert not rare, f"of {share:.0f} on average: {rare}"


def test_unplaceable_plans_are_rare():
    bounds = limits()
    draws = [campaign._ints(campaign.Random(i), bounds.max_ops) for i in range(800)]
    plans = [plan(d, bounds) for d in draws]
    assert sum(p is None for p in plans) <= 0.02 * len(plans)
    kept = [fill(p, i, "float64", False) for i, p in enumerate(plans) if p is not None]
    # Ties that the structure itself makes, as in max(broadcast_to(x, …)), cannot be drawn away.
    assert sum(c is None for c in kept) <= 0.05 * len(kept)


@given(strategies.graphs())
@settings(max_examples=50, deadline=None)
def test_graphs_strategy(graph):
    assert isinstance(graph, Graph)
    assert rebuilt(graph) == graph


@given(st.lists(st.integers(0, (1 << INT_BITS) - 1), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_integers_decode_to_a_plan_or_to_none(ints):
    made = plan(ints, limits())
    assert made is None or isinstance(made, Plan)
    assert made == plan(ints, limits())


def test_bad_limits_are_refused_at_once():
    with pytest.raises(UnknownName, match="did you mean 'exp'"):
        strategies.graphs(ops=("expp",))
    with pytest.raises(ValueError, match="max_ops must be at least 1"):
        strategies.cases(max_ops=0)
    with pytest.raises(ValueError, match="max_rank"):
        strategies.cases(max_rank=-1)
    with pytest.raises(ValueError, match="at least one op"):
        strategies.graphs(ops=())
    with pytest.raises(ValueError, match="float8"):
        strategies.cases(dtypes=("float8",))
    with pytest.raises(ValueError, match="none"):
        strategies.cases(dtypes=())


def test_digits():
    assert [Digits(5).take(n) for n in (3, 7, 2)] == [0, 0, 0], "an integer of low bits alone is all zeros"
    ops = Counter(Digits(i).op(100) for i in range(1 << OP_BITS))
    assert set(ops) == set(range(100))
    assert max(ops.values()) <= min(ops.values()) + 1
    long = Digits((1 << INT_BITS) - 1)
    assert len({long.take(16) for _ in range(12)}) > 3, "digits go on past the integer's own bits"


def minimal(strategy: st.SearchStrategy[Graph], wanted) -> Graph:
    quiet = settings(max_examples=5000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    return find(strategy, wanted, settings=quiet, random=campaign.Random(3))


@pytest.mark.parametrize("op", ["exp", "multiply", "where", "max", "cholesky", "take"])
def test_failures_shrink_to_the_op_alone(op):
    """A property that is false of any graph with `op` shrinks to that op, and at most what feeds it: 4 nodes."""
    graph = minimal(strategies.graphs(), lambda g: any(isinstance(n, Apply) and n.op == op for n in g.nodes))
    assert len(graph.nodes) <= 4, graph.text()
    assert graph.ops <= 2, graph.text()


def test_a_pair_of_ops_shrinks_to_the_pair():
    def composed(g: Graph) -> bool:
        sums = [n for n in g.nodes if isinstance(n, Apply) and n.op == "sum"]
        return any(getattr(g.nodes[n.args[0]], "op", "") == "exp" for n in sums)

    graph = minimal(strategies.graphs(ops=("add", "tanh", "exp", "log", "sum", "max", "matmul")), composed)
    assert [getattr(n, "op", "leaf") for n in graph.nodes] == ["leaf", "exp", "sum"], graph.text()


def test_the_same_seed_makes_the_same_cases():
    for one, two in zip(strategies.seeded_cases(3, 30), strategies.seeded_cases(3, 30)):
        assert one.graph == two.graph
        assert all(np.array_equal(one.values[n], two.values[n]) for n in one.values)
        assert all(np.array_equal(a, b) for a, b in zip(one.cotangent, two.cotangent))
    texts = lambda seed: [c.graph.text() for c in islice(strategies.seeded_cases(seed, 30), 30)]
    assert texts(3) != texts(4)


def test_what_has_no_relative_error_is_not_asked_for():
    """A constant by repetition has a gradient of rounding errors only; one of data movement or of no data has not."""
    shape, pair = (3,), ((3,), (3,))
    assert tried("divide", pair, (), (0, 0)) is None
    assert tried("divide", pair, (), (0, 1)) is not None
    assert tried("multiply", pair, (), (0, 0)) is not None
    assert tried("divide", ((0,), (0,)), (), (0, 0)) is not None
    axis = (("axis", None), ("keepdims", False), ("correction", 0.0))
    assert tried("std", ((1,),), axis, (0,)) is None
    assert tried("std", (shape,), axis, (0,)) is not None
    assert tried("sum", ((0, 2),), (("axis", None), ("keepdims", False)), (0,)) is not None
    assert tried("mean", ((0, 2),), (("axis", None), ("keepdims", False)), (0,)) is None, "0/0"
    assert tried("matmul", ((3, 2), (3, 2)), (), (0, 1)) is None, "shapes that do not fit"
