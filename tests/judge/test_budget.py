"""The budget: the error model of each operation, and what it does at the edges of a dtype."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradverify.core.case import Case
from gradverify.core.graph import Graph
from gradverify.judge.budget import RERUNS, SAFETY, budget
from gradverify.judge.reference import allowance, reference
from gradverify.namespaces.dtypes import FORMATS, ulp
from gradverify.namespaces.nudged import Noise, NudgedNamespace
from gradverify.ops import OPS
from gradverify.ops.build import GraphBuilder

U = FORMATS["float64"].roundoff
REPEATS = 4000


def namespace(dtype: str = "float64", seed: int = 0) -> NudgedNamespace:
    noise = Noise(FORMATS[dtype])
    noise.restart(seed)
    return NudgedNamespace(noise)


def scatter(run: Any, dtype: str = "float64") -> np.ndarray:
    """Standard deviation of a computation over many reruns."""
    xp = namespace(dtype)
    return np.std([np.asarray(run(xp)) for _ in range(REPEATS)], axis=0)


# A standard deviation from 4000 draws is right to 1.1 %; five times that.
CLOSE = {"rel": 0.056}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["exp", "sin", "sqrt", "tanh", "erf", "lgamma"])
def test_elementwise_results_are_nudged_by_their_declared_accuracy(op: str, dtype: str) -> None:
    x = 2.5
    got = scatter(lambda xp: getattr(xp, op)(xp.asarray(np.array(x))), dtype)
    value = abs(float(getattr(namespace(), op)(namespace().asarray(np.array(x)))))
    assert got == pytest.approx(2 * OPS[op].ulps * FORMATS[dtype].roundoff * value, **CLOSE)


def test_a_sum_is_nudged_by_its_terms_not_by_its_result() -> None:
    """The terms cancel to 0: nothing relative to the result would be left."""
    x = np.array([1e8, -1e8, 3.0, -3.0])
    got = scatter(lambda xp: xp.sum(xp.asarray(x)))
    assert got == pytest.approx(np.sqrt(3) * U * np.abs(x).sum(), **CLOSE)


def test_a_matrix_product_is_nudged_by_its_terms() -> None:
    a, b = np.array([[1.0, 1e6, -1e6]]), np.array([[2.0], [1.0], [1.0]])
    got = scatter(lambda xp: xp.matmul(xp.asarray(a), xp.asarray(b)))
    assert got[0, 0] == pytest.approx(np.sqrt(3) * U * (np.abs(a) @ np.abs(b))[0, 0], **CLOSE)


@pytest.mark.parametrize(
    "exact",
    [
        lambda xp, x: -x,
        lambda xp, x: xp.abs(x),
        lambda xp, x: xp.maximum(x, 0.0),
        lambda xp, x: xp.reshape(x, (1, 3)),
        lambda xp, x: x - 1.0,  # by Sterbenz's lemma, or because both are integers
        lambda xp, x: xp.where(xp.greater(x, 1.0), x, 0.0),
    ],
    ids=["negative", "abs", "maximum", "reshape", "exact difference", "where"],
)
def test_exact_operations_are_not_nudged(exact: Any) -> None:
    x = np.array([1.5, 2.0, 7.0])
    assert (scatter(lambda xp: exact(xp, xp.asarray(x))) == 0).all()


def test_an_inexact_difference_is_nudged() -> None:
    assert scatter(lambda xp: xp.asarray(np.array(0.1)) - 0.30000000000000004) > 0


def test_nudges_survive_kernels_that_are_no_ufunc() -> None:
    """The last product is nudged only if its operands still are what `where`, `take` and `concat` were given."""
    x = np.array([1.5, 2.0, 7.0])

    def run(xp: NudgedNamespace) -> Any:
        y = xp.where(xp.greater(xp.asarray(x), 0.0), xp.asarray(x), 0.0)
        y = xp.concat([xp.take(y, np.array([0, 1]), axis=0), y])
        return np.asarray(y) * 0 + np.asarray(y * 3.1)

    assert (scatter(run) > 0).all()


def test_range_of_the_dtype() -> None:
    xp = namespace("float32")
    assert np.isinf(xp.exp(xp.asarray(np.array(100.0))))
    tiny = [float(xp.exp(xp.asarray(np.array(-100.0)))) for _ in range(200)]
    # 3.8e-44 is a subnormal number of float32: it may be flushed, or keep one digit.
    assert min(np.abs(tiny)) < 3e-45
    wide = namespace("float64")
    assert np.isfinite(wide.exp(wide.asarray(np.array(100.0))))


def test_an_infinity_stays_one() -> None:
    xp = namespace()
    assert all(float(xp.cosh(xp.asarray(np.array(800.0)))) == math.inf for _ in range(50))


def case_of(graph: Graph, values: dict[str, np.ndarray], cotangent: np.ndarray) -> Case:
    return Case("c", graph, values, (cotangent,), "float64", tuple(values))


def graph_of(expr: Any, *shapes: tuple[int, ...]) -> Any:
    b = GraphBuilder()
    return b.graph(expr(b, *(b.input(f"x{i}", s) for i, s in enumerate(shapes))))


def test_the_budget_is_safety_times_the_scatter() -> None:
    graph = graph_of(lambda b, x: b.apply("exp", x), (1000,))
    x = np.linspace(-1, 1, 1000)
    found = budget(case_of(graph, {"x0": x}, np.ones(1000)), (np.exp(x),), {"x0": np.exp(x)})
    assert found.reruns == RERUNS
    assert not found.branches
    # exp errs by 2·ulps·u; the floor adds u of the result.
    nudge = 2 * OPS["exp"].ulps * U * np.exp(x)
    assert np.median(found.outputs[0] / (SAFETY * (nudge + U * np.exp(x)))) == pytest.approx(1, rel=0.1)


def test_zeros_have_an_ulp_of_an_ulp_and_nothing_else_has() -> None:
    graph = graph_of(lambda b, x: b.apply("relu", x), (3,))
    x = np.array([-1.0, 2.0, 1e-25])
    g = np.array([0.0, 1.0, 1.0])
    found = budget(case_of(graph, {"x0": x}, np.ones(3)), (np.maximum(x, 0),), {"x0": g})
    b = found.gradients["x0"]
    assert 0 < b[0] < 10 * U**2 * 3
    assert found.outputs[0][2] < 1e-12 * 1e-25 * 100


def test_a_branch_within_rounding_is_reported() -> None:
    """(x + 1e9) - 1e9 loses x, and relu takes either side."""

    def expr(b: GraphBuilder, x: int) -> int:
        big = b.constant(1e9)
        return b.apply("relu", b.apply("subtract", b.apply("add", x, big), big))

    x = np.array([1e-9])
    clear = np.array([10.0])
    for values, expected in ((x, True), (clear, False)):
        found = budget(case_of(graph_of(expr, (1,)), {"x0": values}, np.ones(1)), (values,), {"x0": np.ones(1)})
        assert found.branches is expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ulp(dtype: str) -> None:
    x = np.array([1.0, 1.5, 2.0, 1e-3, 12345.678], dtype=dtype)
    np.testing.assert_array_equal(ulp(x.astype(np.float64), FORMATS[dtype]), np.spacing(x).astype(np.float64))


@pytest.mark.parametrize("x", [-600.0, 600.0])
def test_the_budget_next_to_the_ends_of_the_range_has_its_size(x: float) -> None:
    """The square of an error of 1e-14·e^600 is no double, and that of 1e-14·e^-600 is 0."""
    build = GraphBuilder()
    graph = build.graph(build.apply("exp", build.input("x", (1,))))
    value = np.exp(np.array([x]))
    got = budget(case_of(graph, {"x": np.array([x])}, np.ones(1)), (value,), {"x": value})
    # The input is moved by u·|x|, and exp's result by 2·ulps·u: both enter relative to the value.
    expected = SAFETY * U * (np.hypot(x, 2 * OPS["exp"].ulps) + 1)
    scatter_of_an_rms = 1 / np.sqrt(2 * RERUNS)
    assert got.gradients["x"][0] / value[0] == pytest.approx(expected, rel=5 * scatter_of_an_rms)


def test_an_input_that_is_no_number_costs_the_others_nothing() -> None:
    """What a masked reduction passes over: the entries left have the budget that they have without it."""
    b = GraphBuilder()
    x, keep = b.input("x", (3,)), b.constant((True, False, True), "bool")
    graph = b.graph(b.apply("sum", b.apply("where", keep, x, b.constant(0.0)), axis=None, keepdims=False))
    values = {"x": np.array([1.0, np.nan, 3.0])}
    found = budget(case_of(graph, values, np.array(1.5)), (np.array(4.0),), {"x": np.array([1.5, 0.0, 1.5])})
    assert np.isfinite(found.gradients["x"]).all()
    assert found.gradients["x"].max() < 1e-14
    assert np.isfinite(found.outputs[0])


def test_what_cancels_may_be_left_out() -> None:
    """p (g - Σ g p) for a softmax by hand: it rounds otherwise than the graph, in which the maximum has a cotangent that
    comes to 0."""
    rng = np.random.default_rng(3)
    x, g = rng.standard_normal((2, 300, 4))
    b = GraphBuilder()
    at = b.input("x", x.shape)
    top = b.apply("max", at, axis=-1, keepdims=True)
    powers = b.apply("exp", b.apply("subtract", at, top))
    graph = b.graph(b.apply("divide", powers, b.apply("sum", powers, axis=-1, keepdims=True)))
    case = Case("softmax by hand", graph, {"x": x}, (g,), "float64", ("x",))
    ref = reference(case)
    assert top in ref.truth.idle
    e = np.exp(x - x.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    by_hand = p * (g - (g * p).sum(-1, keepdims=True))
    allowed = ref.budget.gradients["x"]
    assert (ref.truth.gradients["x"].error_of(by_hand) <= allowed).all()
    plain = allowance(case, replace(ref.truth, idle=frozenset())).gradients["x"]
    assert (allowed >= plain).all()
    assert np.median(allowed / plain) < 4
