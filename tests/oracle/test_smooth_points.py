"""Points at which the graph has a kink and the function has none, and those at which both have: the derivative, and the
conventions, each where it belongs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradverify.core.graph import Graph
from gradverify.ops.build import GraphBuilder
from gradverify.oracle.truth import Truth, truth

Built = tuple[Graph, dict[str, np.ndarray]]


def built(make: Callable[..., int], *values: object) -> Built:
    b = GraphBuilder()
    arrays = {f"x{i}": np.asarray(v, dtype=np.float64) for i, v in enumerate(values)}
    return b.graph(make(b, *(b.input(n, v.shape) for n, v in arrays.items()))), arrays


def ask(case: Built, g: object = None) -> Truth:
    graph, values = case
    shape = graph.nodes[graph.outputs[0]].shape
    return truth(graph, values, (np.ones(shape) if g is None else np.asarray(g),), tuple(values), "float64")


def identity(b: GraphBuilder, x: int) -> int:
    return b.apply("subtract", b.apply("relu", x), b.apply("relu", b.apply("negative", x)))


def signed_erf(b: GraphBuilder, x: int) -> int:
    return b.apply("multiply", b.apply("sign", x), b.apply("erf", b.apply("abs", x)))


def signed_square(b: GraphBuilder, x: int) -> int:
    return b.apply("multiply", x, b.apply("abs", x))


def ratio(b: GraphBuilder, x: int) -> int:
    """expm1(x)/x, and 1 at 0."""
    at = b.apply("equal", x, b.constant(0.0))
    safe = b.apply("where", at, b.constant(1.0), x)
    return b.apply("where", at, b.constant(1.0), b.apply("divide", b.apply("expm1", safe), safe))


def entropy(b: GraphBuilder, x: int) -> int:
    """x log x, and 0 at 1."""
    masked = b.apply("equal", x, b.constant(1.0))
    return b.apply("where", masked, b.constant(0.0), b.apply("multiply", x, b.apply("log", x)))


def range_of(b: GraphBuilder, x: int) -> int:
    """relu(Σx) - relu(-Σx): every entry moves both kinks."""
    return identity(b, b.apply("sum", x))


SMOOTH = {
    "relu(x) - relu(-x)": (identity, [0.0, 2.0, -1.0], [1, 1, 1]),
    "sign(x) erf|x|": (signed_erf, [0.0], [2 / np.sqrt(np.pi)]),
    "x|x|": (signed_square, [0.0, -2.0], [0, 4]),
    "expm1(x)/x": (ratio, [0.0, 1.0], [0.5, 1.0]),
    "x log x": (entropy, [1.0, 2.0], [1, 1 + np.log(2)]),
    "a sum": (range_of, [1.0, -3.0, 2.0], [1, 1, 1]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_where_the_function_is_smooth_its_slope_is_the_truth(name: str) -> None:
    make, x, slope = SMOOTH[name]
    found = ask(built(make, x))
    assert found.kinks
    np.testing.assert_allclose(found.gradients["x0"].hi, slope, rtol=1e-15, atol=1e-40)
    np.testing.assert_array_equal(found.low["x0"], found.high["x0"])
    assert found.smooth["x0"][0]
    # Zeros are held to u², and what is smooth is to be told from them.
    assert (found.gradients["x0"].bound <= 1e-31 * np.maximum(np.abs(slope), 1)).all()


def test_where_the_op_says_another_thing_that_is_kept_apart() -> None:
    found = ask(built(identity, [0.0]))
    assert found.taken["x0"] == 0  # relu'(0) = 0, twice
    assert found.gradients["x0"].hi == 1


KINKS = {
    "relu": (lambda b, x: b.apply("relu", x), [0.0], 0, 1),
    "abs": (lambda b, x: b.apply("abs", x), [0.0], -1, 1),
    "clip": (lambda b, x: b.apply("clip", x, min=-1.0, max=1.0), [1.0], 0, 1),
    "|x| + relu(x)": (lambda b, x: b.apply("add", b.apply("abs", x), b.apply("relu", x)), [0.0], -1, 2),
    "nearly straight": (lambda b, x: b.apply("leaky_relu", x, negative_slope=1 - 1e-9), [0.0], 1 - 1e-9, 1),
}


@pytest.mark.parametrize("name", KINKS)
def test_where_the_function_has_a_kink_the_sides_bound_the_answers(name: str) -> None:
    make, x, low, high = KINKS[name]
    found = ask(built(make, x))
    assert (found.low["x0"][0], found.high["x0"][0]) == pytest.approx((low, high), abs=1e-15)
    assert not any(m.any() for m in found.smooth.values())


def test_outputs_whose_kinks_cancel_have_them_all_the_same() -> None:
    """relu(x) and -relu(-x) side by side, weighed alike: each has its own convention."""
    b = GraphBuilder()
    x = b.input("x0", ())
    other = b.apply("negative", b.apply("relu", b.apply("negative", x)))
    graph = b.graph(b.apply("stack", b.apply("relu", x), other, axis=0))
    found = ask((graph, {"x0": np.asarray(0.0)}))
    assert (found.low["x0"], found.high["x0"]) == (0, 2)
    assert not found.smooth.get("x0")


def test_a_value_that_is_not_the_limit_is_a_jump() -> None:
    def jumps(b: GraphBuilder, x: int) -> int:
        return b.apply("where", b.apply("equal", x, b.constant(0.0)), b.constant(2.0), b.apply("cos", x))

    found = ask(built(jumps, [0.0]))
    assert np.isnan(found.low["x0"][0])
    assert not any(m.any() for m in found.smooth.values())


def test_a_smooth_entry_beside_a_kink_is_smooth_and_the_kink_stays_one() -> None:
    def both(b: GraphBuilder, x: int, y: int) -> int:
        return b.apply("add", identity(b, x), b.apply("relu", y))

    found = ask(built(both, [0.0, 1.0], [0.0, 0.0]))
    assert found.smooth["x0"][0]
    assert found.gradients["x0"].hi.tolist() == [1, 1]
    assert "x1" not in found.smooth or not found.smooth["x1"].any()
    assert found.low["x1"].tolist() == [0, 0]
    assert found.high["x1"].tolist() == [1, 1]


@pytest.mark.parametrize("n", [3, 5, 9])
def test_each_of_many_equal_entries_may_be_the_median(n: int) -> None:
    """Moved alone, none of them changes it; a median that is one of them is right all the same."""
    median = lambda b, x: b.apply("getitem", b.apply("sort", x), index=(n // 2,))
    found = ask(built(median, np.zeros(n)))
    assert "x0" not in found.smooth or not found.smooth["x0"].any()
    assert found.low["x0"].tolist() == [0] * n
    assert found.high["x0"].tolist() == [1] * n


def test_kinks_that_no_entry_shows_alone() -> None:
    """|x - y| - |x| - |y| has no partial derivative that is not 0 at 0, and a kink along (1, 1)."""

    def make(b: GraphBuilder, x: int, y: int) -> int:
        apart = b.apply("abs", b.apply("subtract", x, y))
        return b.apply("subtract", b.apply("subtract", apart, b.apply("abs", x)), b.apply("abs", y))

    found = ask(built(make, 0.0, 0.0))
    assert not any(m.any() for m in found.smooth.values())
    assert found.low["x0"] == found.low["x1"] == -2


@pytest.mark.parametrize("x", [[0.0, 0.0], [3.0, 3.0], [0.0, 0.0, -1.0]])
def test_the_entries_of_a_tie_add_up(x: list[float]) -> None:
    found = ask(built(lambda b, x: b.apply("max", x), x))
    tied = np.asarray(x) == max(x)
    assert found.along
    for along in found.along:
        u = along.direction["x0"]
        assert along.slope == pytest.approx(u[tied][0], abs=1e-15)
        assert len(set(u[tied])) == 1
    assert any(along.direction["x0"][tied].all() for along in found.along)


def test_many_smooth_entries_cost_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradverify.oracle.truth import _Attempt

    walks = []
    plain = _Attempt.nodes_at
    monkeypatch.setattr(_Attempt, "nodes_at", lambda self, t, u: walks.append(1) or plain(self, t, u))
    found = ask(built(identity, np.zeros(50)))
    assert found.smooth["x0"].all()
    # Four walks for each entry's sides; the search for entries at a kink, each with its siblings; 17 for the neighbours.
    assert len(walks) < 4 * 50 + 4 * 50 + 40


def sort(b: GraphBuilder, x: int) -> int:
    return b.apply("sort", x, axis=-1, descending=False)


def test_of_three_equal_entries_each_may_have_any_of_their_places_in_a_sorted_array() -> None:
    """Moved alone the middle one is the first or the last: its own place shows where all of them move."""
    true = ask(built(sort, [2.0, 1.0, 2.0, 5.0, 2.0]), [7.0, 1.0, -3.0, 2.0, 0.5])
    assert np.array_equal(true.low["x0"], [-3.0, 7.0, -3.0, 0.5, -3.0])
    assert np.array_equal(true.high["x0"], [3.0, 7.0, 3.0, 0.5, 3.0])  # the first and the last place: 1 + 2


def test_of_two_equal_entries_the_sides_tell_all() -> None:
    true = ask(built(sort, [2.0, 1.0, 2.0]), [7.0, 1.0, -3.0])
    assert np.array_equal(true.low["x0"], [-3.0, 7.0, -3.0])
    assert np.array_equal(true.high["x0"], [1.0, 7.0, 1.0])


def test_ties_of_a_maximum_are_not_widened() -> None:
    def largest(b: GraphBuilder, x: int) -> int:
        return b.apply("max", x, axis=(0,), keepdims=False)

    true = ask(built(largest, [3.0, 1.0, 3.0, 3.0]))
    assert np.array_equal(true.low["x0"], [0.0, 0.0, 0.0, 0.0])
    assert np.array_equal(true.high["x0"], [1.0, 0.0, 1.0, 1.0])
