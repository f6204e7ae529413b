"""Values are exact in the dtype, inside their intervals, away from kinks or on them as asked; edge values do occur."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings

from gradverify import strategies
from gradverify.core.graph import Apply, Constant, Graph, Input, evaluate
from gradverify.generate import campaign, values
from gradverify.generate.fitting import PALETTE
from gradverify.generate.structure import Leaf, Plan, limits, plan
from gradverify.namespaces import NUMPY
from gradverify.ops import OPS
from gradverify.ops.build import GraphBuilder

DTYPES = ("float16", "float32", "float64")


def nodes_of(case) -> list:
    return evaluate(
        case.graph,
        leaf=lambda n: case.values[n.name].astype(np.float64) if n.kind == "float" else case.values[n.name],
        constant=lambda n: np.asarray(n.value, dtype=np.float64),
        apply=lambda n, args: OPS[n.op].define(NUMPY, *args, **dict(n.params)),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_have_the_case_dtype_and_shape(dtype):
    for case in strategies.seeded_cases(1, 150, dtype):
        assert case.dtype == dtype
        for name, k in case.graph.inputs.items():
            node, value = case.graph.nodes[k], case.values[name]
            assert value.shape == node.shape
            assert value.dtype == {"float": np.dtype(dtype), "int": np.int64, "bool": np.bool_}[node.kind]
        assert [g.dtype.name for g in case.cotangent] == [dtype] * len(case.graph.outputs)
        assert [g.shape for g in case.cotangent] == [case.graph.nodes[o].shape for o in case.graph.outputs]
        assert set(case.wrt) == {n for n, k in case.graph.inputs.items() if case.graph.nodes[k].kind == "float"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("style", sorted({s.__name__ for s in values.STYLES}))
def test_styles_stay_in_the_interval_after_rounding(dtype, style):
    draw = next(s for s in values.STYLES if s.__name__ == style)
    rng = np.random.default_rng(0)
    for interval in PALETTE:
        for shape in ((), (0,), (2, 50)):
            x = draw(rng, interval, shape).astype(dtype) if shape else np.asarray(draw(rng, interval, shape), dtype)
            assert x.shape == shape
            assert np.all((interval.lo <= x) & (x <= interval.hi)), (style, interval)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_node_is_finite(dtype):
    for case in strategies.seeded_cases(2, 200, dtype):
        for value in nodes_of(case):
            assert value is None or np.all(np.isfinite(value)), case.graph.text()


def distances(case) -> list[float]:
    """Of each kinked op with entries: its smallest distance to a kink, over the scale of its arguments."""
    nodes, out = nodes_of(case), []
    for node in case.graph.nodes:
        if isinstance(node, Apply) and OPS[node.op].kinks is not None:
            args = [nodes[a] for a in node.args]
            d = np.asarray(OPS[node.op].kinks(NUMPY, *args, **dict(node.params)))
            if d.size:
                out.append(float(np.min(d)))
    return out


def test_kinks_are_avoided_by_default_and_met_on_request():
    away = [d for c in strategies.seeded_cases(3, 400) for d in distances(c)]
    assert len(away) > 30
    assert min(away) >= 2.0**-10
    met = [d for c in strategies.seeded_cases(3, 400, kinks=True) for d in distances(c)]
    assert sum(d == 0 for d in met) > 0.1 * len(met)


def test_a_tie_that_cannot_be_drawn_away_gives_up():
    b = GraphBuilder()
    k = b.apply("max", b.apply("broadcast_to", b.input("x0", ()), shape=(3,)))
    made = Plan(b.graph(k), (PALETTE[0],) * 3, {"x0": Leaf(PALETTE[0])}, (), 0)
    assert values.fill(made, 0, "float64", kinks=False) is None
    assert values.fill(made, 0, "float64", kinks=True) is not None


def test_unknown_dtypes_are_refused():
    made = plan([0, 0], limits())
    assert made is not None
    with pytest.raises(ValueError, match="float8"):
        values.fill(made, 0, "float8", kinks=False)


def diamond(graph: Graph) -> bool:
    """An inner node used by two ops (or twice by one)."""
    uses = Counter(a for n in graph.nodes if isinstance(n, Apply) for a in n.args)
    return any(uses[k] > 1 and isinstance(n, Apply) for k, n in enumerate(graph.nodes))


def traits(case) -> set[str]:
    graph, out = case.graph, set()
    leaves = {n: case.values[n] for n in case.wrt}
    applied = [n for n in graph.nodes if isinstance(n, Apply)]
    shapes = [n.shape for n in graph.nodes]
    for x in leaves.values():
        if np.any(x == 0):
            out.add("zero")
        if x.size > 1 and len(np.unique(x)) < x.size:
            out.add("tie")
        if np.any(np.abs(x) == 1):
            out.add("one")
        if np.any((x != 0) & (np.abs(x) < 2.0**-9)):
            out.add("tiny")
    if () in [graph.nodes[graph.inputs[n]].shape for n in leaves]:
        out.add("0-d")
    if any(0 in s for s in shapes):
        out.add("empty")
    if diamond(graph):
        out.add("diamond")
    if any(isinstance(graph.nodes[a], Input) and n.args.count(a) > 1 for n in applied for a in n.args):
        out.add("same leaf in two slots")
    if any(OPS[n.op].broadcasts and any(shapes[a] != n.shape and not isinstance(graph.nodes[a], Constant)
                                        for a in n.args) for n in applied):  # fmt: skip
        out.add("broadcasting")
        if any(OPS[n.op].broadcasts and any(1 in shapes[a] and len(shapes[a]) == len(n.shape) != shapes[a] != n.shape
                                            for a in n.args) for n in applied):  # fmt: skip
            out.add("size-1 broadcasting")
    if len(leaves) > 1:
        out.add("several inputs")
    if len(graph.outputs) > 1:
        out.add("several outputs")
    if any(isinstance(n, Constant) for n in graph.nodes):
        out.add("constant")
    g = np.concatenate([c.ravel() for c in case.cotangent])
    if g.size:
        for name, is_so in (
            ("negative cotangent", np.all(g < 0)),
            ("large cotangent", np.max(np.abs(g)) >= 2.0**9),
            ("tiny cotangent", 0 < np.max(np.abs(g)) < 2.0**-12),
            ("zeros in the cotangent", np.any(g == 0)),
            ("cotangent of ones", np.all(g == 1)),
        ):
            if is_so:
                out.add(name)
    return out


# At least so many of a hundred cases; each is far below what the drawn styles and shapes imply, so that only a
# mechanism that stopped working fails here.
RATES = {
    "zero": 5, "tie": 5, "one": 4, "tiny": 2, "0-d": 4, "empty": 2, "diamond": 2, "same leaf in two slots": 1,
    "broadcasting": 2, "size-1 broadcasting": 0.5, "several inputs": 20, "several outputs": 5, "constant": 1,
    "negative cotangent": 3, "large cotangent": 3, "tiny cotangent": 3, "zeros in the cotangent": 5,
    "cotangent of ones": 2,
}  # fmt: skip


def test_edge_values_and_shapes_occur():
    n = 1000
    counts = Counter(t for case in strategies.seeded_cases(11, n) for t in traits(case))
    short = {t: 100 * counts[t] / n for t, rate in RATES.items() if 100 * counts[t] / n < rate}
    assert not short, f"percent of cases: {short}"


def test_the_traits_are_told_apart():
    """The counter itself: a plain case has none of the traits."""
    b = GraphBuilder()
    k = b.apply("tanh", b.input("x0", (2,)))
    plain = SimpleNamespace(graph=b.graph(k), values={"x0": np.array([0.3, 0.7])}, wrt=("x0",),
                            cotangent=(np.array([0.5, -1.5]),))  # fmt: skip
    assert traits(plain) == set()


@given(strategies.cases(dtypes=("float32", "float64")))
@settings(max_examples=100, deadline=None)
def test_cases_strategy(case):
    assert case.dtype in ("float32", "float64")
    assert case.source.kind == "generated"
    with np.errstate(all="ignore"):
        assert all(v is None or np.all(np.isfinite(v)) for v in nodes_of(case))


def test_a_campaign_can_be_split():
    bounds = limits()
    whole = list(strategies.seeded_cases(5, 20))
    assert [c.graph for c in whole[10:]] == [campaign.seeded_case(5, i, "float64", bounds).graph for i in range(10, 20)]
