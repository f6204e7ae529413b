"""16-bit dtypes through the spine: formats, budgets, verdicts, on the engine and on known faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from gradverify.api import check
from gradverify.core.verdict import FailKind, Outcome, Reason
from gradverify.frameworks.base import Observation
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.frameworks.registry import find
from gradverify.generate.campaign import seeded_cases
from gradverify.judge.budget import SAFETY, Conditions, budget
from gradverify.judge.decide import decide
from gradverify.judge.reference import reference
from gradverify.namespaces.dtypes import FORMATS, is_float, numpy_dtype, rounded, to_float64
from gradverify.namespaces.nudged import Noise
from gradverify.spec.document import loads
from gradverify.spec.from_expression import expression_case
from gradverify.spec.write import dumps

HALF = ("float16", "bfloat16")
BOTH = pytest.mark.parametrize("dtype", HALF)


@pytest.mark.parametrize("dtype", list(FORMATS))
def test_formats_are_what_the_libraries_say(dtype: str) -> None:
    info, fmt = ml_dtypes.finfo(numpy_dtype(dtype)), FORMATS[dtype]
    assert (2 * fmt.roundoff, fmt.tiny, fmt.huge) == (float(info.eps), float(info.smallest_normal), float(info.max))
    assert is_float(np.zeros(2, numpy_dtype(dtype)))
    assert rounded([1 / 3], dtype).dtype == numpy_dtype(dtype)


def test_rounding_is_to_nearest_even_and_overflow_is_infinite() -> None:
    assert to_float64(rounded([1 + 2.0**-8, 1 + 3 * 2.0**-8], "bfloat16")).tolist() == [1.0, 1 + 2.0**-6]
    assert to_float64(rounded([65519.0, 65520.0], "float16")).tolist() == [65504.0, np.inf]


class Spoilt(EngineFramework):
    """The engine, its gradient of x changed on the way out."""

    def __init__(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self.change = change

    def run_vjp(self, *args: object) -> Observation:  # type: ignore[override]
        seen = super().run_vjp(*args)  # type: ignore[arg-type]
        x = np.asarray(seen.gradients["x"])
        return Observation(seen.outputs, {**seen.gradients, "x": self.change(to_float64(x)).astype(x.dtype)})


X = np.linspace(0.6, 1.9, 7)


@BOTH
def test_a_right_gradient_passes_with_the_power_that_the_dtype_leaves(dtype: str) -> None:
    verdict = decide(expression_case("exp(x) * sin(x)", {"x": X}, dtype), EngineFramework())
    assert verdict.outcome is Outcome.PASS, verdict
    assert FORMATS[dtype].roundoff < verdict.power < 0.5


@BOTH
def test_an_error_above_the_stated_power_is_caught(dtype: str) -> None:
    case = expression_case("exp(x) * y", {"x": X, "y": X[::-1].copy()}, dtype)
    power = decide(case, EngineFramework()).power
    factor = 1 + power + 2 * FORMATS[dtype].roundoff  # one ulp of room: the spoilt entry is itself rounded
    verdict = decide(case, Spoilt(lambda g: g * factor))
    assert verdict.outcome is Outcome.FAIL


@BOTH
def test_stagnating_sums_fail_as_a_loss_of_digits(dtype: str) -> None:
    """x is in thousands of products, so that its gradient is a sum: added up in 16 bits, it stops growing."""
    n = 4096 if dtype == "float16" else 1600
    case = expression_case("x * y", {"x": 1.0, "y": np.ones(n)}, dtype, cotangent=1.0)

    def stepwise(g: np.ndarray) -> np.ndarray:
        total = np.zeros((), numpy_dtype(dtype))
        for _ in range(n):
            total = (total + np.ones((), total.dtype)).astype(total.dtype)
        return to_float64(total)

    right = decide(case, EngineFramework())
    assert right.outcome is Outcome.PASS, right
    wrong = decide(case, Spoilt(stepwise))
    assert (wrong.outcome, wrong.kind) == (Outcome.FAIL, FailKind.PRECISION)
    assert f"digits are lost, no more than by accumulating sums in {dtype}" in wrong.message


@BOTH
def test_a_wrong_sum_is_no_accumulation(dtype: str) -> None:
    case = expression_case("sum(x) * sum(x)", {"x": X}, dtype)
    verdict = decide(case, Spoilt(lambda g: -g))
    assert (verdict.outcome, verdict.kind) == (Outcome.FAIL, FailKind.WRONG)


def test_overflow_of_an_intermediate_is_said_and_not_blamed() -> None:
    case = expression_case("sqrt(sum(x * x))", {"x": [300.0, 400.0]}, "float16")
    verdict = decide(case, EngineFramework())
    assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, Reason.RANGE)
    assert decide(expression_case("sqrt(sum(x * x))", {"x": [300.0, 400.0]}, "bfloat16"), EngineFramework())


def test_subnormal_numbers_of_float16_are_held_to_their_own_distance() -> None:
    """Not to the smallest normal number: 6e-5 would excuse any gradient of that size."""
    case = expression_case("x * y", {"x": [1.0], "y": [2.0**-16]}, "float16", cotangent=1.0)
    allowed = reference(case).budget.gradients["x"]
    assert allowed[0] <= 4 * SAFETY * 2.0**-25
    assert decide(case, EngineFramework())
    assert decide(case, Spoilt(lambda g: 0 * g)).outcome is Outcome.FAIL


def test_a_law_that_leaves_the_range_is_not_broken() -> None:
    """The gradient is 40 000: that of twice the cotangent overflows."""
    case = expression_case("x * 40000.0", {"x": [0.5]}, "float16", cotangent=1.0)
    verdict = decide(case, EngineFramework())
    assert verdict.outcome is not Outcome.FAIL, verdict


@BOTH
def test_a_literal_may_be_rounded_or_not(dtype: str) -> None:
    noise = Noise(FORMATS[dtype])
    moved = np.array([noise.literal(0.1) for _ in range(400)])
    step = float(to_float64(rounded(0.1, dtype))) - 0.1
    assert abs(np.std(moved) / abs(step) - 1) < 5 / np.sqrt(2 * 400)  # the sampling error of a standard deviation
    assert noise.literal(0.5) == 0.5
    assert noise.literal(1e300) == 1e300  # held by no 16-bit format: left alone


@BOTH
def test_accumulators_are_wider_than_what_they_store(dtype: str) -> None:
    """The scatter of a sum with cancellation is that of float32's accumulator, and of the rounding at the end."""
    x = np.tile([1.0, -1.0], 512)
    x[0] = 1.5
    case = expression_case("sum(x)", {"x": x}, dtype)
    truth = reference(case).truth

    def allowed(**how: bool) -> float:
        outputs, gradients = tuple(e.hi for e in truth.outputs), {n: e.hi for n, e in truth.gradients.items()}
        return float(budget(case, outputs, gradients, Conditions(**how)).outputs[0])

    model = np.sqrt(1023) * 2.0**-24 * np.abs(x).sum() + 2 * FORMATS[dtype].roundoff * 0.5
    assert allowed() < 2 * SAFETY * model  # 2: five standard errors of the rms of 16 reruns, each 1/√32
    assert allowed(stepwise=True) > 1024 * FORMATS[dtype].roundoff


@BOTH
def test_random_graphs_on_the_engine(dtype: str) -> None:
    verdicts = [decide(c, EngineFramework()) for c in seeded_cases(3, 25, dtype)]
    assert not [v for v in verdicts if v.outcome is Outcome.FAIL]
    assert sum(bool(v) for v in verdicts) >= 20


@BOTH
def test_cases_survive_their_spec(dtype: str) -> None:
    for case in seeded_cases(4, 10, dtype):
        again = loads(dumps(case)).cases[0].case(dtype)
        assert [v.tobytes() for v in again.values.values()] == [v.tobytes() for v in case.values.values()]
        assert [g.tobytes() for g in again.cotangent] == [g.tobytes() for g in case.cotangent]


@BOTH
def test_torch_says_what_it_lacks(dtype: str) -> None:
    pytest.importorskip("torch")
    from gradverify.frameworks.torch.adapter import TorchFramework

    case = expression_case("inv(x)", {"x": np.eye(2)}, dtype)
    verdict = decide(case, TorchFramework())
    assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, Reason.SUBJECT)
    assert "Low precision dtypes not supported" in verdict.message


@pytest.mark.parametrize("name", ["torch", "jax"])
@BOTH
def test_frameworks_return_the_dtype_and_the_layout_reaches_them(name: str, dtype: str) -> None:
    pytest.importorskip(name)
    from gradverify.frameworks.registry import find

    case = expression_case("x @ y", {"x": np.ones((2, 3)), "y": np.ones((3, 2))}, dtype)
    subject = find(name)
    values = {n: v.T.copy().T for n, v in case.values.items()}
    seen = subject.run_vjp(subject.function(case.graph, dtype), values, case.wrt, case.cotangent)
    assert seen.raised is None
    assert {str(a.dtype) for a in (*seen.outputs, *seen.gradients.values()) if a is not None} == {dtype}
    assert decide(case, subject)


@pytest.mark.parametrize("through", ["check", "graph"])
def test_a_formula_of_the_framework_explains_before_an_accumulation_does(through: str) -> None:
    """PyTorch saves the mean of a layer_norm in float16. Next to rows that hardly differ from their mean it shows, and it
    is nothing about sums; in a graph it is known for the op that layer_norm is made of."""
    torch = pytest.importorskip("torch")
    x = np.stack([1 + np.arange(40) / 40, np.linspace(-1, 1, 40)], axis=1)
    w = np.array([[10.0, 10.5, 10.3], [0.5, -1.0, 0.25]])
    if through == "check":
        leaves = [torch.tensor(a, dtype=torch.float16, requires_grad=True) for a in (x, w)]
        verdict = check(lambda x, w: torch.nn.functional.layer_norm(x @ w, (3,)), *leaves, effort="quick")
    else:
        affine = {"s": np.ones(3), "b": np.zeros(3)}
        case = expression_case("layer_norm(x @ w, s, b)", {"x": x, "w": w, **affine}, "float16")
        verdict = decide(case, find("torch"))
    assert verdict.outcome is Outcome.KNOWN, verdict
    assert verdict.known.startswith("standardize: ")
    assert "accumulating" not in verdict.message


def test_partial_sums_that_are_rounded_are_known_of_who_declares_it() -> None:
    """lax.reduce_sum, by which the gradient of a broadcast is added up, has 2^-8 where 2^-7 is right."""
    pytest.importorskip("jax")
    cotangent = np.array([1.0, 2.0**-8, -1.0, 2.0**-8])
    case = expression_case("x + y", {"x": np.zeros(1), "y": np.zeros(4)}, "bfloat16", cotangent=cotangent)
    known = decide(case, find("jax"))
    assert known.known.startswith("sums in 16 bits")
    assert known.outcome is Outcome.KNOWN
    assert decide(case, EngineFramework()).outcome is Outcome.PASS
    half = decide(case, Spoilt(lambda g: g / 2))
    assert (half.outcome, half.known) == (Outcome.FAIL, "")


def test_a_framework_whose_loss_adds_up_in_16_bits_is_known_for_it() -> None:
    pytest.importorskip("torch")
    terms = np.array([1.265625, -0.54296875, 0.765625, -1.46875])
    case = expression_case("nll_loss(x, t)", {"x": terms[:, None], "t": np.zeros(4, dtype=np.int64)}, "bfloat16")
    known = decide(case, find("torch"))
    assert known.known.startswith("nll_loss: ")
    assert known.outcome is Outcome.KNOWN
    assert decide(case, EngineFramework()).outcome is Outcome.PASS


def test_a_form_of_some_dtypes_explains_in_those_alone() -> None:
    """PyTorch's erf in 16 bits is 0 near 0; in float32 it is right there, and the formula no excuse."""
    pytest.importorskip("torch")
    x = {"x": np.array([2.0**-40, 0.5])}
    half = decide(expression_case("erf(x)", x, "bfloat16"), find("torch"))
    assert half.outcome is Outcome.PASS or half.known.startswith("erf: ")  # which kernel runs depends on the processor

    class Zero(EngineFramework):
        forms = {"erf": replace(find("torch").forms["erf"], dtypes=("float32",))}  # type: ignore[attr-defined]

        def run_vjp(self, *args: object) -> Observation:
            seen = super().run_vjp(*args)  # type: ignore[arg-type]
            return Observation(tuple(np.where(o < 1e-9, o.dtype.type(0), o) for o in seen.outputs), seen.gradients)

    assert decide(expression_case("erf(x)", x, "float32"), Zero()).known.startswith("erf: ")
    assert decide(expression_case("erf(x)", x, "float64"), Zero()).known == ""


def test_an_outer_product_is_rounded_as_a_broadcasting_one_is() -> None:
    """Products that are stored in 16 bits before they are added up are as right as a matrix product."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        x, y, g = rng.uniform(-2, 2, 4), rng.uniform(-2, 2, 4), rng.normal(size=(4, 4)) * 1e-4
        g[1] -= y * (g[1] @ y) / (y @ y)  # what cancels shows it
        case = expression_case("outer(x, y)", {"x": x, "y": y}, "bfloat16", cotangent=g)
        assert decide(case, Unfused()).outcome is not Outcome.FAIL


class Unfused(EngineFramework):
    """Its gradient of x is made of products that are rounded first."""

    def run_vjp(self, function: object, values: dict, wrt: object, cotangent: tuple) -> Observation:  # type: ignore[override]
        seen = super().run_vjp(function, values, wrt, cotangent)  # type: ignore[arg-type]
        g, y = cotangent[0], values["y"]
        return Observation(seen.outputs, {**seen.gradients, "x": rounded(to_float64(g * y).sum(axis=1), str(g.dtype))})


@pytest.mark.parametrize("name", ["engine", "torch", "jax"])
def test_lerp_next_to_its_end(name: str) -> None:
    """Found by a random graph: of g - w g, the slope of x + w (y - x), float16 has one digit left at w = 1 - 1/200."""
    subject = find(name)
    if subject.unavailable():
        pytest.skip(subject.unavailable())
    values = {"x": [1.76, -0.5, 1e-3], "y": [1.7119, 2.0, -1e-3], "w": [0.9951171875, 0.998, 0.25]}
    case = expression_case("lerp(x, y, w)", values, "float16", cotangent=[1.046875, -0.896, 0.64])
    assert decide(case, subject), decide(case, subject)
