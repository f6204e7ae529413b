"""Laws that any VJP keeps: who breaks one is caught, who is right only within rounding, or not twice the same, is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradverify import check
from gradverify.core.case import Case
from gradverify.core.verdict import FailKind, Outcome, Reason, Verdict
from gradverify.frameworks.base import Framework, Observation
from gradverify.frameworks.numpy.adapter import NumpyFramework
from gradverify.frameworks.registry import find
from gradverify.judge.decide import decide
from gradverify.judge.laws import vjp as laws
from gradverify.judge.laws.registry import Trial
from gradverify.judge.laws.registry import find as find_law
from gradverify.judge.laws.vjp import in_range, to_reversed
from gradverify.judge.reference import reference
from gradverify.spec.document import loads

SPEC = """
gradverify: 1
cases:
  - {name: exp, expr: exp(x), inputs: {x: {shape: [3, 4]}}}
  - {name: tail, expr: exp(x), inputs: {x: [-80.0, -2.0]}}
  - {name: two, expr: [exp(x), x * x], inputs: {x: {shape: [5]}}}
  - {name: sums, expr: "sum(x * y, axis=0)", inputs: {x: {shape: [6, 3]}, y: {shape: [6, 3]}}}
  - {name: root, expr: sqrt(x), inputs: {x: [0.0, 2.0]}, cotangent: [1.0, 1.5]}
"""
CASES = {spec.name: spec for spec in loads(SPEC).cases}

Back = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Exp(Framework):
    """exp, with a backward pass (g, exp(x)) -> gradient of anybody's."""

    name, dtypes = "mine", ("float16", "bfloat16", "float32", "float64")

    def __init__(self, back: Back) -> None:
        self.back, self.calls = back, 0

    def unavailable(self) -> None:
        return None

    def function(self, graph: Any, dtype: str) -> Callable[..., Any]:
        return np.exp

    def run_vjp(
        self, function: Any, values: Mapping[str, np.ndarray], wrt: tuple[str, ...], cotangent: tuple[np.ndarray, ...]
    ) -> Observation:
        self.calls += 1
        out = np.exp(values["x"])
        with np.errstate(all="ignore"):
            gradient = np.asarray(self.back(cotangent[0], out), dtype=out.dtype)
        return Observation(outputs=(out,), gradients={"x": gradient})


def case_of(name: str = "exp", dtype: str = "float64", *invariants: str) -> Case:
    return replace(CASES[name].case(dtype), invariants=invariants)


def judged(back: Back, *invariants: str, dtype: str = "float64", name: str = "exp") -> Verdict:
    return decide(case_of(name, dtype, *invariants), Exp(back))  # type: ignore[arg-type]


def right(g: np.ndarray, out: np.ndarray) -> np.ndarray:
    return g * out


# ---- far cotangents -------------------------------------------------------------------------------------------------

SHOWS_FAR_OUT: dict[str, Back] = {
    "adds 1e-20": lambda g, out: (g + 1e-20) * out,
    "float32 where g is small": lambda g, out: np.where(np.abs(g) < 1e-4, np.float64(np.float32(g)), g) * out,
    "clips at 1e6": lambda g, out: np.clip(g, -1e6, 1e6) * out,
    "flushes below 1e-8": lambda g, out: np.where(np.abs(g) < 1e-8, 0.0, g) * out,
    "float16 beyond 65504": lambda g, out: np.where(np.abs(g) > 65504, np.inf * g, g) * out,
}


@pytest.mark.parametrize("name", SHOWS_FAR_OUT)
def test_what_shows_for_large_or_tiny_cotangents_only_is_caught_by_default(name: str) -> None:
    verdict = judged(SHOWS_FAR_OUT[name])
    assert verdict.kind is FailKind.LAW
    assert "far_scaling is broken" in verdict.message
    assert "2^" in verdict.message.partition("): ")[2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_far_cotangents_in_other_dtypes(dtype: str) -> None:
    def clips(g: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.clip(g.astype(np.float32), -1e4, 1e4).astype(out.dtype) * out

    assert "far_scaling" in judged(clips, dtype=dtype).message
    assert judged(right, dtype=dtype)


def test_a_number_that_leaves_the_range_is_not_held_against_anybody() -> None:
    """exp(-80) is 2^-115: in float32 a cotangent of 2^-20 makes a subnormal number of it, which may be flushed."""

    def flushed(g: np.ndarray, out: np.ndarray) -> np.ndarray:
        product = g * out
        return np.where(np.abs(product) < np.finfo(np.float32).tiny, 0, product)

    assert judged(flushed, dtype="float32", name="tail")
    named = judged(right, "exact_scaling", dtype="float32", name="tail")
    assert named.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE)
    case = case_of("tail", "float32")
    assert not in_range(case, 2.0**-20)
    assert in_range(case_of("tail"), 2.0**-40)  # in float64 there is room


def test_the_range_is_that_of_the_narrowest_dtype() -> None:
    assert in_range(case_of("exp", "float32"), 2.0**20)
    assert not in_range(case_of("exp", "float16"), 2.0**13)
    assert not in_range(case_of("root"), 2.0)  # a zero's square root has an infinite derivative


# ---- to the bit -----------------------------------------------------------------------------------------------------


def through_logarithms(g: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Right within rounding, as torch.logcumsumexp's backward pass is."""
    return np.sign(g) * np.exp(np.log(np.abs(g)) + np.log(out))


def test_bits_fail_who_is_asked_for_them_and_are_a_note_otherwise() -> None:
    def nearly(g: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.where(np.abs(g) < 1e-8, np.nextafter(g, 0), g) * out

    exact = judged(nearly, "exact_scaling")
    assert exact.kind is FailKind.LAW
    assert "repeated calls agree" in exact.message
    verdict = judged(nearly)
    assert verdict
    assert any("not to the bit" in n for n in verdict.notes)
    assert judged(right, "exact_scaling")
    assert judged(right).notes == ()


def test_log_space_is_right_and_not_exact() -> None:
    verdict = judged(through_logarithms)
    assert verdict, verdict.message
    assert any("not to the bit" in n for n in verdict.notes)
    assert judged(through_logarithms, "exact_scaling").kind is FailKind.LAW


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("subject", ["engine", "torch", "jax"])
@pytest.mark.parametrize("name", ["exp", "sums"])
def test_frameworks_are_exact(subject: str, dtype: str, name: str) -> None:
    if subject != "engine":
        pytest.importorskip(subject)
    verdict = decide(case_of(name, dtype, "exact_scaling"), find(subject))
    assert verdict or verdict.reason is Reason.SUBJECT, verdict.message
    assert verdict or dtype == "float16"


class Stochastic:
    """Rounds up or down by chance, to the neighbour at most."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)

    def __call__(self, g: np.ndarray, out: np.ndarray) -> np.ndarray:
        product = g * out
        return np.where(self.rng.random(g.shape) < 0.5, product, np.nextafter(product, 0))


def any_order(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """A sum over the first axis in an order of its own each time, as atomic additions are."""

    def total(terms: np.ndarray) -> np.ndarray:
        first = np.zeros((1, *terms.shape[1:]), terms.dtype)
        return np.add.accumulate(np.concatenate([first, terms[rng.permutation(len(terms))]]), axis=0)[-1]

    return total


def test_what_is_not_deterministic_is_not_asked_for_bits_and_its_spread_is_told() -> None:
    verdict = judged(Stochastic())
    assert verdict, verdict.message
    assert any(n.startswith("repeated calls") and "1 ulp" in n for n in verdict.notes)
    named = judged(Stochastic(), "exact_scaling")
    assert (named.outcome, named.reason) == (Outcome.INCONCLUSIVE, Reason.SUBJECT)
    assert "repeated calls differ by up to 1 ulp" in named.message


def test_atomic_additions_in_torch() -> None:
    torch = pytest.importorskip("torch")
    total, rng = any_order(np.random.default_rng(3)), np.random.default_rng(4)

    class Shift(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, b: Any) -> Any:
            return x + b

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return g, torch.from_numpy(total(g.detach().numpy()))

    x, b = torch.from_numpy(rng.standard_normal((400, 3))), torch.zeros(3, dtype=torch.float64)
    verdict = check(Shift.apply, x.requires_grad_(), b.requires_grad_())
    assert verdict, verdict.message
    assert any("repeated calls with the same arguments differ, within rounding" in n for n in verdict.notes)


def test_ulps() -> None:
    case = case_of("tail", "float32")
    first = Observation(gradients={"x": np.array([1.0, 1e-38], np.float32)})
    t = Trial(None, None, case, first, {})  # type: ignore[arg-type]

    def off(a: float, b: float, factor: float = 1.0) -> float:
        return t.ulps(Observation(gradients={"x": np.array([a, b], np.float32)}), factor)

    assert off(1.0, 1e-38) == 0.0
    assert off(1.0 + 2**-22, 1e-38) == 2.0
    assert off(-2.0, 0.0, -2.0) == 0.0  # 1e-38 is subnormal: not comparable to the bit
    assert off(1.0, 0.0) > 0.0  # but a repeat with the same arguments is
    assert off(np.nan, 1e-38) == np.inf
    assert t.ulps(Observation(gradients={"x": None})) == np.inf
    assert t.ulps(Observation(raised=ValueError())) == np.inf


# ---- zero, one-hot, expanded, undefined -----------------------------------------------------------------------------


def test_a_zero_cotangent_is_asked_by_default() -> None:
    def loss_scaled(g: np.ndarray, out: np.ndarray) -> np.ndarray:
        scale = 2.0 ** -np.floor(np.log2(np.abs(g).max()))
        return g * scale * out / scale

    verdict = judged(loss_scaled)
    assert "zero_cotangent is broken" in verdict.message
    assert verdict.kind is FailKind.LAW


def test_zero_times_an_infinite_derivative_is_no_fault() -> None:
    case = CASES["root"].case("float64")
    for subject in ("engine", "torch"):
        if subject == "torch":
            pytest.importorskip("torch")
        verdict = decide(case, find(subject))
        assert verdict.kind is not FailKind.LAW, verdict.message


def test_none_is_a_zero() -> None:
    class Idle(Exp):
        def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
            seen = super().run_vjp(function, values, wrt, cotangent)
            return seen if cotangent[0].any() else replace(seen, gradients={"x": None})

    assert decide(case_of(), Idle(right))  # type: ignore[arg-type]


def test_one_entry_of_the_cotangent_alone_is_asked_by_default() -> None:
    def sparse(g: np.ndarray, out: np.ndarray) -> np.ndarray:
        return g * out * (2.0 if np.count_nonzero(g) == 1 else 1.0)

    assert "one_hot is broken" in judged(sparse).message


def test_a_cotangent_of_strides_0() -> None:
    def first_block(g: np.ndarray, out: np.ndarray) -> np.ndarray:
        return g * out * (0.5 if g.strides == (0, 0) else 1.0)

    assert judged(first_block)
    assert "expanded is broken" in judged(first_block, "expanded").message
    assert judged(right, "expanded")


def test_outputs_without_a_cotangent() -> None:
    torch = pytest.importorskip("torch")
    from gradverify.frameworks.torch.adapter import TorchFramework

    def pair(faulty: bool) -> Any:
        class Two(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.save_for_backward(x)
                ctx.set_materialize_grads(False)
                return x.exp(), x * x

            @staticmethod
            def backward(ctx: Any, a: Any, b: Any) -> Any:
                (x,) = ctx.saved_tensors
                left = torch.zeros_like(x) if a is None else a * x.exp()
                return left + (0 if b is None or (faulty and a is None) else 2 * b * x)

        return Two.apply

    case = case_of("two", "float64", "undefined")
    assert decide(case, TorchFramework(), function=pair(False))
    assert "undefined is broken" in decide(case, TorchFramework(), function=pair(True)).message
    assert decide(replace(case, invariants=()), TorchFramework(), function=pair(True))


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_backwards() -> None:
    x = np.arange(6.0).reshape(2, 3)
    turned = to_reversed(x)
    assert np.array_equal(turned, x)
    assert all(s < 0 for s in turned.strides)
    assert to_reversed(np.float64(3.0).reshape(())).item() == 3.0
    put = NumpyFramework().put(turned)
    assert put.strides == turned.strides
    assert np.array_equal(put, x)


@pytest.mark.parametrize("which", ["g", "x"])
def test_negative_strides_for_functions_of_numpy(which: str) -> None:
    """Who reads memory from where an array begins, by the sizes of its strides."""

    def raw(a: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.as_strided(a, a.shape, [abs(s) for s in a.strides], writeable=False)

    def vjp(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        if which == "g" and g.size and g.strides[0] < 0:
            g = raw(g[::-1])
        if which == "x" and x.size and x.strides[0] < 0:
            x = raw(x[::-1])
        return g * np.cos(x)

    verdict = check(np.sin, np.linspace(-1.0, 2.0, 7), vjp=vjp)
    assert verdict.kind is FailKind.LAW
    assert "layout" in verdict.message
    assert check(np.sin, np.linspace(-1.0, 2.0, 7), vjp=lambda g, x: g * np.cos(x))


# ---- what an earlier call left --------------------------------------------------------------------------------------


def remembers(key: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """A backward pass with scratch memory for all calls: of the dtype of the latest call of another shape."""
    kept: dict[str, Any] = {}

    def vjp(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        kept.setdefault("first", key(x))
        if key(x) != kept["first"]:
            kept["spoilt"] = True
        factor = 1.001 if kept.get("spoilt") and key(x) == kept["first"] else 1.0
        return g * np.cos(x) * factor

    return vjp


def test_what_another_shape_left_behind_is_found_at_the_given_point() -> None:
    x = np.linspace(-1.0, 2.0, 12).reshape(3, 4)
    values = x.tobytes()
    verdict = check(np.sin, x, vjp=remembers(lambda a: a.shape))
    assert not verdict
    # Only the given values, asked once more after all others, show this one.
    verdict = check(np.sin, x, vjp=remembers(lambda a: (a.shape, a.dtype) if a.tobytes() == values else "other"))
    assert verdict.kind is not None
    assert check(np.sin, x, vjp=lambda g, x: g * np.cos(x)).facts["tried"][-1] == "as given, once more"


def test_a_law_is_asked_with_the_first_answers_budget() -> None:
    case = case_of()
    first = Exp(right).run_vjp(None, case.values, case.wrt, case.cotangent)
    budget = dict(reference(case).budget.gradients)
    trial = Trial(Exp(right), np.exp, case, first, budget)  # type: ignore[arg-type]
    assert all(find_law(name).check(trial) == "" for name in laws.LAWS)


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_custom_function_of_the_engine_that_writes_to_its_cotangent(spoilt: bool) -> None:
    from gradverify import engine

    class Sine(engine.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            result = g * ctx.saved_tensors[0].cos()
            if spoilt:
                memory = g.detach().numpy()
                memory *= 1.5
            return result

    verdict = check(Sine.apply, engine.from_numpy(np.linspace(-1.0, 2.0, 6)).requires_grad_(True))
    assert bool(verdict) != spoilt
    assert ("purity is broken: cotangent 0 changed" in verdict.message) == spoilt


@pytest.mark.parametrize(
    "layout",
    [
        laws.to_strided,
        laws.to_padded_rows,
        laws.to_column_major,
        to_reversed,
        lambda x: np.broadcast_to(x[:1], x.shape),
    ],
)
def test_the_engine_is_given_the_layout_that_is_asked_for(layout: Callable[[np.ndarray], np.ndarray]) -> None:
    seen = []

    def function(x: Any) -> Any:
        seen.append(x.detach().numpy().strides)
        return x * 2

    given = layout(np.arange(12.0).reshape(3, 4))
    found = find("engine").run_vjp(function, {"x": given}, ("x",), (np.ones((3, 4)),))
    assert seen == [given.strides]
    assert np.array_equal(found.outputs[0], 2 * given)
    assert found.mutated == ()


@pytest.mark.parametrize("shared", [False, True])
def test_a_workspace_that_the_next_call_writes_over(shared: bool) -> None:
    buffers: dict[Any, Any] = {}

    def vjp(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        buffer = buffers.setdefault((x.shape, x.dtype), np.empty_like(x)) if shared else np.empty_like(x)
        return np.multiply(g, np.cos(x), out=buffer)

    verdict = check(np.sin, np.linspace(-1.0, 2.0, 7), vjp=vjp)
    assert bool(verdict) != shared
    assert ("aliasing is broken" in verdict.message) == shared


def test_far_cotangents_are_not_asked_where_products_leave_the_range():
    """3e300 times 2^40 is no double: g·x/r overflows on its way to g·(x/r)."""
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (3e300, 1e300))
    assert check(torch.hypot, x, y, effort="quick").outcome is Outcome.PASS
