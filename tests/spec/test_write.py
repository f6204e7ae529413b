"""Cases → spec files → the same cases: equal graphs, equal bits."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradverify.core.case import Case
from gradverify.core.errors import Unsupported
from gradverify.core.graph import Apply, Constant
from gradverify.ops.build import GraphBuilder
from gradverify.spec import SpecError, canonical, dumps, load, loads, parse
from gradverify.spec.write import scalar
from gradverify.strategies import cases

SPECS = sorted((Path(__file__).parents[2] / "specs").glob("*.grad.yaml"))


def bits(a) -> tuple:
    a = np.asarray(a)
    # The sign and the payload of a NaN have no text.
    return (a.dtype, a.shape, np.where(np.isnan(a), np.nan, a).tobytes() if a.dtype.kind == "f" else a.tobytes())


def assert_same(got: Case, want: Case) -> None:
    assert got.graph == canonical(want.graph)
    assert got.dtype == want.dtype
    assert {k: bits(v) for k, v in got.values.items()} == {k: bits(v) for k, v in want.values.items()}
    assert [bits(g) for g in got.cotangent] == [bits(g) for g in want.cotangent]
    assert got.wrt == want.wrt
    assert (got.function, got.expect, got.invariants) == (want.function, want.expect, want.invariants)


def again(case: Case) -> Case:
    return loads(dumps(case)).cases[0].case(case.dtype)


def hand_made(graph, values, dtype="float64", **fields) -> Case:
    shapes = [graph.nodes[o].shape for o in graph.outputs]
    cotangent = fields.pop("cotangent", tuple(np.full(s, 0.1, dtype) for s in shapes))
    wrt = fields.pop("wrt", tuple(n for n, v in values.items() if v.dtype.kind == "f"))
    return Case("a case", graph, values, cotangent, dtype, wrt, **fields)


@settings(max_examples=150, deadline=None)
@given(cases(dtypes=("float32", "float64")))
def test_random_cases_come_back(case):
    assert_same(again(case), case)
    assert dumps(again(case)) == dumps(replace(case, name=again(case).name))


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.name)
def test_shipped_cases_come_back(path):
    for spec in load(path).cases:
        case = spec.case(spec.dtypes[0])
        back = again(case)
        assert_same(back, case)
        assert set(back.claims) == set(case.claims)
        for name, claim in case.claims.items():
            if not _shares(claim):
                assert back.claims[name] == claim


def _shares(graph) -> bool:
    uses = [a for n in graph.nodes if isinstance(n, Apply) for a in n.args]
    return any(uses.count(k) > 1 for k, n in enumerate(graph.nodes) if isinstance(n, Apply))


EXPRESSIONS = [
    "-x", "-(-x)", "x - -1.5", "(x - y) - z", "x - (y - z)", "x / (y / z)", "x / y / z", "x * (y * z)", "(x ** y) ** z",
    "x ** y ** z", "(-x) ** 2", "-x ** 2", "2 ** -x", "(-2.0) ** x", "negative(2.0) * x", "negative(-2.0) * x",
    "-(x + y)", "-(x * y)", "(-x) * y", "x + (y + z)", "(x + y)[1:]", "(-x)[0]", "(x ** 2)[::2, None]", "x[()]",
    "x + inf", "x * -inf", "x + nan", "x + 1e-300", "x + 0.1", "x * [1, 2.5, -3]", "x + [-0.0, 0.0, 1e22]",
    "where((x < y) & (y < z) | ~(x >= z), x, y)", "where((x < y) | (y < z) & (x == z), x, y)",
    "where(~((x < y) | (y < z)), x, y)", "where(True, x, y)", "where([True, False, True], x, 0)",
    "take(x, [2, 0], axis=0)", "take(x, i)", "concat([x, y, [1, 2]])", "stack([x, y], axis=-1)",
    "einsum('i,j->ij', x, y)", "sum(x, axis=(0,))", "sum(x, axis=0, keepdims=True)", "vector_norm(x, ord=inf)",
    "pad(x, pads=((1, 2),))", "embed(x, index=((0, 6, 2), '...'), shape=(6,))", "clip(x, min=-1, max=0.5)",
    "reshape(x, shape=(3, 1)) @ reshape(y, shape=(1, 3))", "x @ y", "x", "sum(x)", "max(x, axis=0)", "gelu(x, 'tanh')",
    "polygamma(abs(x) + 1, 2)",
]  # fmt: skip


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_come_back(text):
    values = {n: np.array([0.5, -1.25, 3.0]) for n in "xyz"} | {"i": np.array([2, 0])}
    kinds = {n: (v.shape, "int" if v.dtype.kind == "i" else "float") for n, v in values.items()}
    case = hand_made(parse(text, kinds), values)
    assert_same(again(case), case)


def test_shared_nodes_stay_shared_and_in_order():
    """A diamond of twenty levels: 2**20 paths, twenty bindings."""
    b = GraphBuilder()
    k = b.input("x", (2,))
    for _ in range(20):
        k = b.apply("add", b.apply("sin", k), b.apply("cos", k))
    case = hand_made(b.graph(k), {"x": np.array([1.0, 2.0])})
    assert_same(again(case), case)
    assert len(dumps(case)) < 2000


def test_arguments_computed_in_another_order_than_they_are_used():
    b = GraphBuilder()
    x = b.input("x", (2,))
    s, c = b.apply("sin", x), b.apply("cos", x)
    case = hand_made(b.graph(b.apply("divide", c, s)), {"x": np.array([1.0, 2.0])})
    assert_same(again(case), case)


def test_a_chain_longer_than_the_depth_of_an_expression():
    b = GraphBuilder()
    k = b.input("x", ())
    for _ in range(500):
        k = b.apply("sin", k)
    case = hand_made(b.graph(k), {"x": np.array(1.0)})
    assert_same(again(case), case)


def test_several_outputs_one_of_them_an_input_another_a_constant():
    b = GraphBuilder()
    x = b.input("x", (2,))
    e = b.apply("exp", x)
    out = (b.apply("sum", e), x, b.constant((1.0, 2.0)), e)
    case = hand_made(b.graph(*out), {"x": np.array([1.0, 2.0])})
    assert_same(again(case), case)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_bit_of_every_value_comes_back(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    special = [
        0.0,
        -0.0,
        math.inf,
        -math.inf,
        math.nan,
        tiny,
        -tiny,
        np.finfo(dtype).max,
        np.finfo(dtype).eps,
        0.1,
        1 / 3,
    ]
    x = np.array(special, dtype=dtype)
    case = hand_made(parse("x * 2", {"x": (x.shape, "float")}), {"x": x}, dtype, cotangent=(x[::-1].copy(),))
    assert_same(again(case), case)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (0, 3), (2, 0), (2, 3), (1, 2, 2), (2, 1, 1, 2)])
@pytest.mark.parametrize("kind", ["float", "int", "bool"])
def test_every_shape_of_every_kind_comes_back(shape, kind):
    a = np.arange(math.prod(shape)).reshape(shape)
    a = a.astype({"float": np.float64, "int": np.int64, "bool": np.bool_}[kind])
    case = hand_made(parse("y + 1", {"x": (shape, kind), "y": (shape, "float")}), {"x": a, "y": np.zeros(shape)})
    assert_same(again(case), case)


def test_everything_else_that_a_case_says_comes_back():
    graph = parse("x * y", {"x": ((2,), "float"), "y": ((2,), "float")})
    claim = parse("g * y", {"x": ((2,), "float"), "y": ((2,), "float"), "g": ((2,), "float")})
    values = {"x": np.array([1.0, 2.0], "f4"), "y": np.array([3.0, 4.0], "f4")}
    case = hand_made(graph, values, "float32", wrt=("y",), function="a.b:c.d", expect="raises", invariants=("purity",))
    assert_same(again(case), case)
    claimed = replace(case, wrt=("x",), claims={"x": claim})
    assert again(claimed).claims == {"x": claim}
    spec = loads(dumps(case, subjects=("torch", "my-own"), note="a: #b\n'\"")).cases[0]
    assert (spec.subjects, spec.dtypes, spec.note) == (("torch", "my-own"), ("float32",), "a: #b\n'\"")


def test_names_that_the_language_does_not_allow_are_changed():
    b = GraphBuilder()
    names = ["layer.weight", "layer_weight", "g", "pi", "1", "", "if", "t1"]
    total = b.input(names[0], ())
    for name in names[1:]:
        total = b.apply("add", b.apply("sin", total), b.input(name, ()))
    case = hand_made(b.graph(total), {n: np.array(float(k)) for k, n in enumerate(names)})
    back = again(case)
    assert list(back.graph.inputs) == ["layer_weight", "layer_weight_", "g_", "pi_", "x1", "x", "if_", "t1"]
    assert [v.tolist() for v in back.values.values()] == [v.tolist() for v in case.values.values()]
    assert [type(n) for n in back.graph.nodes] == [type(n) for n in canonical(case.graph).nodes]


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_scalar_that_comes_back(text):
    text = text.encode("utf-8", "replace").decode()
    if not text.strip():
        return
    document = f"gradverify: 1\ncases: [{{name: n, expr: x, inputs: {{x: [1]}}, note: {scalar(text, flow=True)}}}]"
    assert loads(document).cases[0].note == text
    block = f"gradverify: 1\ncases:\n- name: n\n  expr: x\n  inputs: {{x: [1]}}\n  note: {scalar(text)}\n"
    assert loads(block).cases[0].note == text


def test_what_is_too_large_for_people_is_not_written():
    x = np.zeros(60_000)
    with pytest.raises(Unsupported, match="60001 numbers are too many for a spec file; at most 50000"):
        dumps(hand_made(parse("sum(x)", {"x": (x.shape, "float")}), {"x": x}))


def test_canonical_merges_constants_and_drops_what_nothing_needs():
    b = GraphBuilder()
    dead = b.constant(5.0)
    x = b.input("x", ())
    b.apply("multiply", x, dead)
    graph = b.graph(b.apply("add", x, b.constant(2, "int")))
    nodes = canonical(graph).nodes
    assert [type(n).__name__ for n in nodes] == ["Input", "Constant", "Apply"]
    assert isinstance(nodes[1], Constant)
    assert nodes[1].kind == "float"


def test_a_broken_round_trip_would_be_seen():
    """The comparison above is not vacuous: one bit, one parameter, one edge each make a difference."""
    case = hand_made(parse("sum(x * y)", {"x": ((2,), "float"), "y": ((2,), "float")}), {n: np.ones(2) for n in "xy"})
    for broken in (
        replace(case, values=case.values | {"x": np.array([1.0, np.nextafter(1.0, 2.0)])}),
        replace(case, graph=parse("sum(y * x)", {"x": ((2,), "float"), "y": ((2,), "float")})),
        replace(case, cotangent=(np.array(-0.1),)),
    ):
        with pytest.raises(AssertionError):
            assert_same(again(broken), case)
    with pytest.raises(SpecError):
        loads(dumps(case).replace("x * y", "x * z"))
