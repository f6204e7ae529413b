"""The honesty rules, on a subject whose every fault is known: NumPy with the op table's own texts, then spoilt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from gradverify.core.case import Case
from gradverify.core.errors import Unsupported
from gradverify.core.graph import Graph
from gradverify.core.verdict import FailKind, Outcome, Reason
from gradverify.frameworks.base import Form, Framework, Observation
from gradverify.judge.decide import decide
from gradverify.namespaces import NUMPY
from gradverify.namespaces.run import forward, reverse
from gradverify.ops.build import GraphBuilder, lowered
from gradverify.oracle.truth import truth
from gradverify.run.runner import judge_case

RNG = np.random.default_rng(7)


class NumpyFramework(Framework):
    """The reference texts in the case's own dtype; `spoil` changes the observation on its way out."""

    name = "numpy"
    dtypes = ("float32", "float64")

    def __init__(self, spoil: Callable[[Observation, int], Observation] = lambda seen, call: seen) -> None:
        self.spoil, self.calls = spoil, 0

    def unavailable(self) -> str | None:
        return None

    def function(self, graph: Graph, dtype: str) -> Any:
        return lowered(graph), dtype

    def run_vjp(
        self, function: Any, values: Any, wrt: tuple[str, ...], cotangent: tuple[np.ndarray, ...]
    ) -> Observation:
        graph, dtype = function
        with np.errstate(all="ignore"):
            nodes = forward(NUMPY, graph, values, dtype)
            adjoint = reverse(NUMPY, graph, nodes, cotangent, wrt)
        self.calls += 1
        seen = Observation(
            tuple(np.asarray(nodes[o]).astype(dtype) for o in graph.outputs),
            {n: np.asarray(adjoint.get(graph.inputs[n], np.zeros_like(values[n]))).astype(dtype) for n in wrt},
        )
        return self.spoil(seen, self.calls)


def case(
    expr: Callable[..., int], values: Mapping[str, Any], g: Any = None, dtype: str = "float64", **more: Any
) -> Case:
    b = GraphBuilder()
    arrays = {n: np.asarray(v, dtype=dtype) for n, v in values.items()}
    out = expr(b, *(b.input(n, a.shape) for n, a in arrays.items()))
    graph = b.graph(out)
    shape = graph.nodes[out].shape
    cotangent = RNG.standard_normal(shape) if g is None else np.asarray(g)
    return Case("c", graph, arrays, (cotangent.astype(dtype),), dtype, more.pop("wrt", tuple(arrays)), **more)


def chain(dtype: str = "float64", **more: Any) -> Case:
    def expr(b: GraphBuilder, x: int, y: int) -> int:
        return b.apply("multiply", b.apply("exp", x), y)

    return case(expr, {"x": RNG.uniform(-1, 1, (3, 4)), "y": RNG.uniform(1, 2, 4)}, dtype=dtype, **more)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> NumpyFramework:
    def spoil(seen: Observation, call: int) -> Observation:
        got = np.array(seen.gradients[name])
        return Observation(seen.outputs, {**seen.gradients, name: change(got)})

    return NumpyFramework(spoil)


def at(index: Any, factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(g: np.ndarray) -> np.ndarray:
        g[index] *= factor
        return g

    return change


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_gradient_passes_and_says_what_would_have_been_caught(dtype: str) -> None:
    verdict = decide(chain(dtype), NumpyFramework())
    assert verdict.outcome is Outcome.PASS
    assert bool(verdict)
    roundoff = np.finfo(dtype).eps / 2
    assert roundoff < verdict.power < 1e3 * roundoff
    assert 0 < verdict.share <= 1
    assert [c.of for c in verdict.comparisons] == ["out", "dx", "dy"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_stated_power_is_kept(dtype: str, sign: int) -> None:
    """An error just above the stated power, in any one entry, is caught."""
    c = chain(dtype)
    passed = decide(c, NumpyFramework())
    for comparison in passed.comparisons[1:]:
        name = comparison.of[1:]
        for index in np.ndindex(c.values[name].shape):
            # One ulp of room: the spoilt entry is itself rounded.
            factor = 1 + sign * (comparison.power + np.finfo(dtype).eps)
            assert decide(c, changed(name, at(index, factor))).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda g: -g, FailKind.WRONG),
        (lambda g: 0 * g, FailKind.WRONG),
        (lambda g: g * (1 + 1e-12), FailKind.WRONG),
        (at((1, 2), 1 + 1e-12), FailKind.PRECISION),
        (lambda g: g.astype(np.float32).astype(np.float64), FailKind.PRECISION),
        (at((0, 0), np.nan), FailKind.NON_FINITE),
        (at((0, 0), np.inf), FailKind.NON_FINITE),
        (lambda g: g[:2], FailKind.STRUCTURE),
        (lambda g: g.astype(np.float32), FailKind.STRUCTURE),
    ],
    ids=["sign", "zero", "factor", "one entry", "float32", "nan", "inf", "shape", "dtype"],
)
def test_kinds_of_failure(change: Callable[[np.ndarray], np.ndarray], kind: FailKind) -> None:
    verdict = decide(chain(), changed("x", change))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.kind is kind, verdict.text()
    assert not verdict


def test_the_worst_entry_is_named() -> None:
    verdict = decide(chain(), changed("x", at((2, 1), 1.5)))
    assert "dx[2, 1]" in verdict.message
    [bad] = [c for c in verdict.comparisons if c.failing]
    assert (bad.of, bad.failing, bad.size) == ("dx", 1, 12)
    assert bad.worst is not None
    assert bad.worst.index == (2, 1)
    assert float(bad.worst.want) * 1.5 == pytest.approx(float(bad.worst.got), rel=1e-15)


def test_a_wrong_forward_value_fails_too() -> None:
    def spoil(seen: Observation, call: int) -> Observation:
        return Observation((seen.outputs[0] * (1 + 1e-10),), seen.gradients)

    verdict = decide(chain(), NumpyFramework(spoil))
    assert verdict.outcome is Outcome.FAIL
    assert [c.of for c in verdict.comparisons if c.failing] == ["out"]


def test_none_is_right_only_where_the_truth_is_zero() -> None:
    def drop(seen: Observation, call: int) -> Observation:
        return Observation(seen.outputs, {**seen.gradients, "y": None})

    assert decide(chain(), NumpyFramework(drop)).kind is FailKind.STRUCTURE

    def expr(b: GraphBuilder, x: int, y: int) -> int:
        return b.apply("exp", x)

    unused = case(expr, {"x": [1.0, 2.0], "y": [3.0]})
    assert decide(unused, NumpyFramework(drop)).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("spoil", "law"),
    [
        (lambda s, k: s if k == 1 else Observation(s.outputs, {"x": s.gradients["x"] * 1.5, "y": s.gradients["y"]}),
         "repeat"),
        (lambda s, k: Observation(s.outputs, s.gradients, mutated=("cotangent 0",)), "purity"),
    ],
    ids=["second call", "mutates"],
)  # fmt: skip
def test_laws(spoil: Callable[[Observation, int], Observation], law: str) -> None:
    verdict = decide(chain(), NumpyFramework(spoil))
    assert verdict.kind is FailKind.LAW
    assert law in verdict.message


@pytest.mark.parametrize(
    "misuse", [np.abs, np.square, lambda g: np.clip(g, -1, 1), np.ones_like], ids=["abs", "square", "clip", "ignored"]
)
def test_a_misused_cotangent_is_caught_even_where_it_is_one(misuse: Callable[[np.ndarray], np.ndarray]) -> None:
    class Misusing(NumpyFramework):
        def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
            return super().run_vjp(function, values, wrt, tuple(misuse(g) for g in cotangent))

    def expr(b: GraphBuilder, x: int) -> int:
        return b.apply("sum", b.apply("exp", x))

    verdict = decide(case(expr, {"x": [0.5, 1.5]}, g=1.0), Misusing())
    assert verdict.kind is FailKind.LAW
    assert "scaling" in verdict.message


def test_raising_is_a_failure_inside_the_domain_only() -> None:
    def crash(seen: Observation, call: int) -> Observation:
        return Observation(raised=RuntimeError("boom\nmore"), stage="backward")

    verdict = decide(chain(), NumpyFramework(crash))
    assert verdict.kind is FailKind.RAISED
    assert "RuntimeError: boom" in verdict.message

    def expr(b: GraphBuilder, x: int) -> int:
        return b.apply("log", x)

    outside = case(expr, {"x": [-1.0]})
    assert decide(outside, NumpyFramework(crash)).reason is Reason.DOMAIN
    assert decide(outside, NumpyFramework()).reason is Reason.DOMAIN


def test_what_cannot_be_run_is_inconclusive_with_its_reason() -> None:
    class Lacking(NumpyFramework):
        def function(self, graph: Graph, dtype: str) -> Any:
            raise Unsupported("no counterpart of the op 'exp'")

    class Absent(NumpyFramework):
        def unavailable(self) -> str | None:
            return "not installed"

    for subject, reason in ((Lacking(), Reason.SUBJECT), (Absent(), Reason.UNAVAILABLE)):
        verdict = decide(chain(), subject)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert verdict.reason is reason
        assert not verdict
    half = Case(**{**chain().__dict__, "dtype": "float16"})
    assert decide(half, NumpyFramework()).reason is Reason.SUBJECT


def test_where_no_digit_is_left_nothing_is_claimed() -> None:
    """d/dx of exp(x + 1e17 - 1e17): the addition rounds x away."""

    def expr(b: GraphBuilder, x: int, y: int) -> int:
        return b.apply("exp", b.apply("subtract", b.apply("add", x, y), y))

    assert decide(case(expr, {"x": [1.0], "y": [1e17]}, wrt=("x",)), NumpyFramework()).reason is Reason.CONDITION


def test_overflow_in_the_dtype_is_no_wrong_gradient() -> None:
    """exp(x) - exp(x)·y overflows float32 at x = 100, and its gradient with it, though the truth is finite."""

    def expr(b: GraphBuilder, x: int) -> int:
        return b.apply("log", b.apply("exp", x))

    verdict = decide(case(expr, {"x": [100.0]}, dtype="float32"), NumpyFramework())
    assert verdict.reason is Reason.RANGE


@pytest.mark.parametrize(
    ("answer", "status"), [(0.0, "PASS"), (1.0, "PASS"), (0.5, "PASS"), (1.5, "FAIL"), (-1e-9, "FAIL")]
)
def test_at_a_kink_any_answer_between_the_sides_is_right(answer: float, status: str) -> None:
    def expr(b: GraphBuilder, x: int) -> int:
        return b.apply("relu", x)

    def spoil(g: np.ndarray) -> np.ndarray:
        g[0] = answer * factor
        return g

    c = case(expr, {"x": [0.0, 2.0]}, g=[1.0, 1.0])
    subject = changed("x", spoil)
    factor = 1.0
    original = subject.run_vjp

    def vjp(function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
        nonlocal factor
        factor = float(cotangent[0][0])
        return original(function, values, wrt, cotangent)

    subject.run_vjp = vjp  # type: ignore[method-assign]
    verdict = decide(c, subject)
    assert verdict.outcome.value == status, verdict.text()
    if status == "PASS":
        assert "kink" in verdict.notes[0]


def test_a_claim_is_held_against_the_oracle() -> None:
    def expr(b: GraphBuilder, x: int) -> int:
        return b.apply("exp", x)

    def claim(op: str) -> Graph:
        b = GraphBuilder()
        x, g = b.input("x", (2,)), b.input("g", (2,))
        return b.graph(b.apply("multiply", g, b.apply(op, x)))

    good = case(expr, {"x": [0.5, 1.0]}, claims={"x": claim("exp")})
    bad = case(expr, {"x": [0.5, 1.0]}, claims={"x": claim("sinh")})
    assert decide(good, NumpyFramework()).outcome is Outcome.PASS
    verdict = decide(bad, NumpyFramework())
    assert verdict.outcome is Outcome.FAIL
    assert verdict.kind is FailKind.CLAIM
    assert "the claimed gradient of x" in verdict.message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:f", "cannot be imported: ModuleNotFoundError"),
        ("math:pi", "no function but a float"),
        ("math:f(1, x", "no call"),
    ],
)
def test_a_function_that_cannot_be_called_is_a_fail(name: str, said: str) -> None:
    verdict = decide(chain(function=name), NumpyFramework())
    assert verdict.kind is FailKind.RAISED
    assert said in verdict.message


def test_a_known_formula_explains_a_loss_and_nothing_else() -> None:
    def expr(b: GraphBuilder, x: int) -> int:
        return b.apply("tanh", x)

    c = case(expr, {"x": [0.5, 6.0]}, g=[1.0, 1.0])
    out = np.tanh(c.values["x"])

    class FromOutput(NumpyFramework):
        forms = {"tanh": Form("from the rounded output", vjp=(lambda xp, g, out, x: g * (1 - out * out),))}

        def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
            seen = super().run_vjp(function, values, wrt, cotangent)
            return self.spoil(Observation(seen.outputs, {"x": cotangent[0] * (1 - out * out)}), 0)

    verdict = decide(c, FromOutput())
    assert verdict.outcome is Outcome.KNOWN
    assert verdict.kind is FailKind.PRECISION
    assert "from the rounded output" in verdict.known
    wrong = FromOutput(lambda s, k: Observation(s.outputs, {"x": s.gradients["x"] * (1 + 1e-10)}))
    assert decide(c, wrong).known == ""


def test_the_culprit_is_named_and_isolated() -> None:
    class WrongExp(NumpyFramework):
        """Any graph with exp gets a gradient of x that is 1 % too large."""

        def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
            seen = super().run_vjp(function, values, wrt, cotangent)
            if not any(getattr(n, "op", "") == "exp" for n in function[0].nodes):
                return seen
            first = next(iter(wrt))
            return Observation(seen.outputs, {**seen.gradients, first: seen.gradients[first] * 1.01})

    def expr(b: GraphBuilder, x: int, y: int) -> int:
        return b.apply("sum", b.apply("multiply", b.apply("exp", b.apply("sin", x)), y))

    verdict = judge_case(case(expr, {"x": [0.5, 1.0], "y": [2.0, 3.0]}, g=1.0), WrongExp())
    assert verdict.culprit is not None
    assert verdict.culprit.op == "exp"
    assert verdict.culprit.reduced.count(" = ") == 1
    assert "expr: exp(" in verdict.culprit.spec


def test_a_fault_in_the_combination_has_no_culprit() -> None:
    class Forgetful(NumpyFramework):
        """Overwrites instead of accumulating: half the gradient where an input is used twice."""

        def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
            seen = super().run_vjp(function, values, wrt, cotangent)
            twice = len(function[0].consumers(function[0].inputs["x"])) > 1 if "x" in wrt else False
            return Observation(seen.outputs, {n: g / 2 if twice and n == "x" else g for n, g in seen.gradients.items()})

    def expr(b: GraphBuilder, x: int) -> int:
        return b.apply("add", b.apply("exp", x), b.apply("exp", x))

    verdict = judge_case(case(expr, {"x": [0.5, 1.0]}), Forgetful())
    assert verdict.outcome is Outcome.FAIL
    assert verdict.culprit is None
    assert "every op is right by itself" in verdict.notes[0]


# ---- ties: what is right entry by entry need not be so together ------------------------------------------------------


def tied(x: Any = (0.5, 0.5), y: Any = (0.5, -1.0), g: Any = (1.3, -0.7)) -> Case:
    return case(lambda b, x, y: b.apply("maximum", x, y), {"x": x, "y": y}, g)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 0.3])
def test_a_tie_may_be_shared_in_any_way(share: float) -> None:
    def spoil(seen: Observation, call: int) -> Observation:
        # The laws scale the cotangent; whatever it is, x[0] and y[0] share one entry of it.
        whole = np.asarray(seen.gradients["x"])[0] + np.asarray(seen.gradients["y"])[0]
        dx, dy = (np.array(seen.gradients[n]) for n in "xy")
        dx[0], dy[0] = share * whole, (1 - share) * whole
        return Observation(seen.outputs, {"x": dx, "y": dy})

    assert decide(tied(), NumpyFramework(spoil)).outcome is Outcome.PASS


@pytest.mark.parametrize("both", [0.0, 1.0])
def test_a_tie_is_not_counted_twice_or_never(both: float) -> None:
    def spoil(seen: Observation, call: int) -> Observation:
        whole = np.asarray(seen.gradients["x"])[0] + np.asarray(seen.gradients["y"])[0]
        dx, dy = (np.array(seen.gradients[n]) for n in "xy")
        dx[0] = dy[0] = both * whole
        return Observation(seen.outputs, {"x": dx, "y": dy})

    verdict = decide(tied(), NumpyFramework(spoil))
    assert verdict.kind is FailKind.WRONG
    assert "all together are not" in verdict.message


def test_a_bound_of_clip_stays_where_it_is_while_a_tie_moves() -> None:
    def expr(b: GraphBuilder, x: int) -> int:
        return b.apply("max", b.apply("clip", x, min=-1.0, max=1.0))

    seen = truth(
        (c := case(expr, {"x": [0.3, 0.3, -1.0, 0.1]}, 1.5)).graph, c.values, c.cotangent, c.wrt, c.dtype
    )  # fmt: skip
    along = seen.along[0]
    u = along.direction["x"]
    assert u[0] == u[1] != 0
    assert u[2] == 0
    assert abs(along.slope - 1.5 * u[0]) <= along.bound + 1e-15


# ---- the branch that was not taken -------------------------------------------------------------------------------------


@pytest.mark.parametrize("leak", [False, True])
def test_a_dead_branch_that_leaks_nan_fails_and_one_that_does_not_passes(leak: bool) -> None:
    def expr(b: GraphBuilder, x: int) -> int:
        mask = b.apply("greater", x, b.constant(0.0))
        return b.apply("where", mask, b.apply("sqrt", x), b.apply("negative", x))

    def mended(seen: Observation, call: int) -> Observation:
        out = np.where(np.array([-1.0, 2.0]) > 0, np.asarray(seen.outputs[0]), 1.0)
        dx = np.array(seen.gradients["x"])
        if not leak:
            scale = dx[1] / (0.5 / np.sqrt(2.0))  # the cotangent's second entry, whatever the law made of it
            dx[0] = -scale * (1.3 / 0.8)
        return Observation((out,), {"x": dx})

    verdict = decide(case(expr, {"x": [-1.0, 2.0]}, [1.3, 0.8], invariants=()), NumpyFramework(mended))
    assert verdict.kind is (FailKind.NON_FINITE if leak else None), verdict
    if leak:
        assert "dx[0] is nan where the true value is -1.3" in verdict.message


def test_each_of_two_maxima_may_choose_for_itself() -> None:
    """max(x[:2]) and max(x[1:]) of equal entries, with cotangents 1 and -2: x[1] may win the one and lose the other."""

    def expr(b: GraphBuilder, x: int) -> int:
        windows = [b.apply("getitem", x, index=((k, k + 2, 1),)) for k in (0, 1)]
        return b.apply("stack", *(b.apply("max", w) for w in windows), axis=0)

    c = case(expr, {"x": [1.0, 1.0, 1.0]}, [1.0, -2.0])
    seen = truth(c.graph, c.values, c.cotangent, c.wrt, c.dtype)
    assert seen.low["x"].tolist() == [0.0, -2.0, -2.0]
    assert seen.high["x"].tolist() == [1.0, 1.0, 0.0]
