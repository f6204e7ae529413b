"""The oracle: confirmed in one direction, entry by entry, at kinks, and by mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradverify.core.graph import Graph
from gradverify.ops.build import GraphBuilder
from gradverify.oracle import second
from gradverify.oracle import truth as module
from gradverify.oracle.balls import BALLS
from gradverify.oracle.estimate import from_balls
from gradverify.oracle.precision import working
from gradverify.oracle.truth import _Attempt, lowered, truth

RNG = np.random.default_rng(20)


def chain() -> tuple[Graph, dict[str, np.ndarray]]:
    """tanh(exp(x)) * y, with y broadcast and x reused."""
    b = GraphBuilder()
    x, y = b.input("x", (3, 4)), b.input("y", (4,))
    out = b.apply("multiply", b.apply("tanh", b.apply("exp", x)), y)
    graph = b.graph(b.apply("add", out, x))
    return graph, {"x": RNG.standard_normal((3, 4)), "y": RNG.standard_normal(4)}


def one(op: str, *values: object, **params: object) -> tuple[Graph, dict[str, np.ndarray]]:
    b = GraphBuilder()
    arrays = {f"x{i}": np.asarray(v, dtype=np.float64) for i, v in enumerate(values)}
    args = [b.input(n, v.shape) for n, v in arrays.items()]
    return b.graph(b.apply(op, *args, **params)), arrays


def ask(graph: Graph, values: dict[str, np.ndarray], g: object = None, dtype: str = "float64") -> module.Truth:
    shape = graph.nodes[graph.outputs[0]].shape
    cotangent = np.ones(shape) if g is None else np.asarray(g, dtype=np.float64)
    return truth(graph, values, (cotangent,), tuple(values), dtype)


def test_a_whole_gradient_is_confirmed_by_one_direction_and_agrees_with_every_entry() -> None:
    graph, values = chain()
    g = RNG.standard_normal((3, 4))
    found = ask(graph, values, g)
    assert found.method == "confirmed"
    assert found.unresolved < 1e-18
    with working(256):
        attempt = _Attempt(lowered(graph), values, (g,), ("x", "y"), "float64", 256, 0)
        for name, e in found.gradients.items():
            for at in np.ndindex(e.shape):
                entry = from_balls(np.asarray(attempt.entry(name, at), dtype=object))
                gap = abs((e.hi[at] - entry.hi) + (e.lo[at] - entry.lo))
                assert gap <= e.bound[at] + entry.bound
                assert entry.bound < 1e-30


def test_the_bound_holds_against_a_closed_form() -> None:
    x = RNG.standard_normal(50) * 3
    found = ask(*one("tanh", x))
    e = found.gradients["x0"]
    with mpmath.workprec(300):
        for i, v in enumerate(x):
            exact = mpmath.sech(mpmath.mpf(v)) ** 2
            assert abs(exact - mpmath.mpf(e.hi[i]) - mpmath.mpf(e.lo[i])) <= e.bound[i]


def test_the_number_of_evaluations_does_not_grow_with_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    original = module.forward

    def counting(*args: object, **kwargs: object) -> object:
        counts[-1] += 1
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "forward", counting)
    for n in (1, 10, 1000):
        counts.append(0)
        ask(*one("exp", RNG.standard_normal(n)))
    assert counts[0] == counts[1] == counts[2] == 5  # the values, and two differences of two points each


@pytest.mark.parametrize("factor", [1 + 1e-20, -1.0, 0.0])
def test_a_wrong_rule_of_our_own_is_not_believed(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """One entry of the candidate is spoilt: the confirmation refuses it, and the differences still give the truth."""
    graph, values = chain()
    honest = ask(graph, values)
    candidate = _Attempt.candidate

    def spoilt(self: _Attempt, nodes: list[object], dead: bool) -> dict[str, np.ndarray]:
        found = candidate(self, nodes, dead)
        wrong = found["x"].copy()
        wrong[1, 2] = wrong[1, 2] * (1 + BALLS.scalar(10) ** -20 if factor == 1 + 1e-20 else BALLS.scalar(factor))
        return found | {"x": wrong}

    monkeypatch.setattr(_Attempt, "candidate", spoilt)
    found = ask(graph, values)
    assert found.method == "differences"
    assert found.suspects
    np.testing.assert_array_equal(found.gradients["x"].hi, honest.gradients["x"].hi)


def test_a_tail_climbs_the_ladder_instead_of_giving_up() -> None:
    """sech² at 150 is 1e-130: more bits are needed to tell it from rounding next to entries of order one."""
    found = ask(*one("tanh", [0.5, 150.0]))
    e = found.gradients["x0"]
    assert found.bits > module.LADDER[0]
    assert e.bound[1] < 1e-18 * e.hi[1]
    with mpmath.workprec(200):
        assert float(mpmath.sech(150) ** 2) == e.hi[1]


def test_literals_are_rounded_to_the_dtype_before_the_oracle_sees_them() -> None:
    b = GraphBuilder()
    x = b.input("x", ())
    graph = b.graph(b.apply("multiply", x, b.constant(0.1)))
    for dtype in ("float32", "float64"):
        found = ask(graph, {"x": np.asarray(2.0)}, dtype=dtype)
        assert found.gradients["x"].hi == np.asarray(0.1, dtype=dtype).astype(np.float64)


def test_outside_the_domain_there_is_no_value() -> None:
    found = ask(*one("log", [-1.0, 2.0]))
    assert np.isnan(found.outputs[0].hi[0])
    assert found.outputs[0].hi[1] == pytest.approx(np.log(2), rel=1e-15)


@pytest.mark.parametrize(("op", "x"), [("exp", 1e3), ("log", -1.0)])
def test_where_there_is_no_value_no_entry_is_differenced(op: str, x: float, monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[object] = []
    forward = module.forward
    monkeypatch.setattr(module, "forward", lambda *args: (walks.append(args), forward(*args))[1])
    found = ask(*one(op, np.full(50, x)))
    assert not np.isfinite(found.outputs[0].hi).any()
    assert np.isinf(found.gradients["x0"].bound).all()
    assert len(walks) <= len(module.LADDER)  # one a rung


def test_an_input_without_influence_has_a_zero_gradient() -> None:
    b = GraphBuilder()
    x, _ = b.input("x", (2,)), b.input("unused", (3,))
    found = ask(b.graph(b.apply("exp", x)), {"x": np.ones(2), "unused": np.ones(3)})
    assert (found.gradients["unused"].hi == 0).all()


def test_empty_arrays() -> None:
    found = ask(*one("exp", np.zeros((0, 3))))
    assert found.gradients["x0"].shape == (0, 3)
    assert found.unresolved == 0


def test_at_a_kink_the_sides_bound_the_answers() -> None:
    found = ask(*one("abs", [0.0, -2.0]))
    assert found.method == "one-sided"
    assert "abs" in found.kinks
    np.testing.assert_array_equal(found.low["x0"], [-1, -1])
    np.testing.assert_array_equal(found.high["x0"], [1, -1])


def test_a_tie_of_the_maximum() -> None:
    found = ask(*one("maximum", [1.0, 3.0], [1.0, 2.0]))
    np.testing.assert_array_equal(found.low["x0"], [0, 1])
    np.testing.assert_array_equal(found.high["x0"], [1, 1])
    np.testing.assert_array_equal(found.high["x1"], [1, 0])


def test_a_jump_has_no_one_sided_derivative() -> None:
    found = ask(*one("floor", [2.0]))
    # From the right floor is constant; from the left it jumps.
    assert found.low["x0"][0] == found.high["x0"][0] == 0


def test_mpmath_agrees_and_would_say_so_if_not() -> None:
    graph, values = chain()
    found = ask(graph, values)
    assert second.dissent(graph, values, (np.ones((3, 4)),), "float64", found) == ""
    e = found.gradients["x"]
    lie = module.Estimate(e.hi * (1 + 2.0**-52), e.lo, e.bound)
    spoilt = module.Truth(found.outputs, {**found.gradients, "x": lie})
    assert "mpmath" in second.dissent(graph, values, (np.ones((3, 4)),), "float64", spoilt)
    out = found.outputs[0]
    spoilt = module.Truth((module.Estimate(out.hi * (1 + 2.0**-52), out.lo, out.bound),), found.gradients)
    assert "output 0" in second.dissent(graph, values, (np.ones((3, 4)),), "float64", spoilt)


@pytest.mark.parametrize("x", [100.0, 300.0])
def test_mpmath_takes_the_digits_that_a_flat_function_needs(x: float) -> None:
    """tanh's slope at 100 is 2**-286 of its value: at 200 bits mpmath's difference is 0."""
    graph, values = one("tanh", [x])
    found = ask(graph, values)
    assert second.dissent(graph, values, (np.ones(1),), "float64", found) == ""
    e = found.gradients["x0"]
    lie = module.Truth(found.outputs, {"x0": module.Estimate(2 * e.hi, e.lo, e.bound)})
    assert "mpmath" in second.dissent(graph, values, (np.ones(1),), "float64", lie)


def test_precision_is_restored() -> None:
    import flint

    before = flint.ctx.prec, mpmath.mp.prec

    def fails() -> None:
        with working(999):
            assert flint.ctx.prec == mpmath.mp.prec == 999
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (flint.ctx.prec, mpmath.mp.prec) == before


def test_estimates_hold_beyond_the_doubles() -> None:
    with working(200):
        e = from_balls(BALLS.exp(BALLS.asarray(np.array([1000.0, -1000.0, 1.0]))))
    assert np.isinf(e.hi[0])
    assert e.hi[1] == 0
    assert e.bound[1] < 1e-300
    assert e.digits((2,), 25) == "2.718281828459045235360287"


def _ties(rows: int) -> tuple[Graph, dict[str, np.ndarray]]:
    """max of rows of 8, times a product that mixes all of a second input in; one row has three equal maxima."""
    b = GraphBuilder()
    x, w = b.input("x", (rows, 8)), b.input("w", (8,))
    mixed = b.apply("sum", b.apply("sin", b.apply("multiply", x, w)), axis=1)
    graph = b.graph(b.apply("multiply", b.apply("max", x, axis=1), mixed))
    values = {"x": RNG.standard_normal((rows, 8)), "w": RNG.standard_normal(8)}
    values["x"][2, [1, 5, 6]] = 4.0
    return graph, values


def _relus() -> tuple[Graph, dict[str, np.ndarray]]:
    b = GraphBuilder()
    x, w = b.input("x", (4, 5)), b.input("w", (5, 3))
    values = {"x": RNG.standard_normal((4, 5)), "w": RNG.standard_normal((5, 3))}
    values["x"][1] = 0.0
    return b.graph(b.apply("relu", b.apply("matmul", x, w))), values


def _roots() -> tuple[Graph, dict[str, np.ndarray]]:
    """sqrt(x²) at a few zeros: the distance to the kink is of second order there."""
    b = GraphBuilder()
    x = b.input("x", (24,))
    values = {"x": RNG.standard_normal(24)}
    values["x"][[3, 17]] = 0.0
    return b.graph(b.apply("sqrt", b.apply("square", x))), values


@pytest.mark.parametrize("made", [lambda: _ties(6), _relus, _roots])
def test_the_entries_at_a_kink_are_found_and_the_others_are_what_differences_say(
    made: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, values = made()  # type: ignore[operator]
    shape = graph.nodes[graph.outputs[0]].shape
    g = RNG.uniform(1, 2, shape)
    found = ask(graph, values, g)
    monkeypatch.setattr(_Attempt, "at_kink", lambda *_: None)
    every = ask(graph, values, g)
    assert found.method == every.method == "one-sided"
    assert found.kinks == every.kinks
    for n in values:
        for a, b in ((found.low[n], every.low[n]), (found.high[n], every.high[n])):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_few_entries_at_a_kink_cost_few_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = []
    plain = _Attempt.nodes_at
    monkeypatch.setattr(_Attempt, "nodes_at", lambda self, t, u: walks.append(1) or plain(self, t, u))
    found = ask(*_ties(100))
    assert int(sum((found.low[n] < found.high[n]).sum() for n in found.low)) == 3
    # Three entries among 808: two tests for each of ten halvings of each at most, of two walks each; four walks for each
    # entry; the confirmations. Entry by entry it were 4 · 808.
    assert len(walks) < 3 * (2 * 10 * 2 + 4) + 20


def test_a_wrong_rule_beside_a_kink_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, values = _relus()
    right = ask(graph, values)
    plain = _Attempt.candidate

    def wrong(self: _Attempt, nodes: list, dead: bool) -> dict:
        found = plain(self, nodes, dead)
        found["x"][0, 2] = found["x"][0, 2] * 1.01
        return found

    monkeypatch.setattr(_Attempt, "candidate", wrong)
    found = ask(graph, values)
    np.testing.assert_allclose(found.low["x"], right.low["x"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.high["x"], right.high["x"], rtol=1e-12, atol=1e-14)
    assert found.low["x"][0, 2] == pytest.approx(right.gradients["x"].hi[0, 2], rel=1e-12)


def test_more_inputs_than_can_be_differenced_have_kinks_as_well() -> None:
    b = GraphBuilder()
    n = 2 * module.MAX_ENTRIES
    x = b.input("x", (n,))
    values = {"x": np.linspace(-1, 1, n)}
    values["x"][n // 3] = 0.0
    found = ask(b.graph(b.apply("abs", x)), values)
    assert (found.low["x"][n // 3], found.high["x"][n // 3]) == (-1.0, 1.0)
    assert np.array_equal(np.delete(found.low["x"], n // 3), np.delete(np.sign(values["x"]), n // 3))
