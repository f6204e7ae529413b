"""Functions without a definition: the gradient against slopes of the forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradverify.checker.black_box import Opaque
from gradverify.checker.opaque import judge_opaque
from gradverify.core.verdict import FailKind, Outcome, Reason
from gradverify.frameworks.base import Framework, Observation

RNG = np.random.default_rng(11)


class HandWritten(Framework):
    """(forward, backward) in NumPy as a subject: `function` is the pair."""

    name, dtypes = "hand", ("float32", "float64")

    def unavailable(self) -> str | None:
        return None

    def function(self, graph: Any, dtype: str) -> Any:
        raise NotImplementedError

    def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
        forward, backward = function
        out = np.asarray(forward(*values.values()))
        if not wrt:
            return Observation((out,))
        return Observation((out,), dict(zip(wrt, backward(cotangent[0], *values.values()))))


def verdict(
    forward: Callable[..., Any], backward: Callable[..., Any], *values: np.ndarray, dtype: str = "float64"
) -> Any:
    named = {f"x{i}": v.astype(dtype) for i, v in enumerate(values)}
    shape = np.shape(forward(*named.values()))
    g = RNG.uniform(1, 2, shape).astype(dtype)
    box = Opaque(HandWritten(), (forward, backward), named, tuple(named), (g,), dtype)
    return judge_opaque("f", box, ("opaque",))


X = RNG.uniform(0.5, 2, 20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_gradients_pass_and_say_what_would_have_been_seen(dtype: str) -> None:
    found = verdict(
        lambda x: np.log(x) * x.sum(), lambda g, x: (g / x * x.sum() + (g * np.log(x)).sum(),), X, dtype=dtype
    )
    assert found.outcome is Outcome.PASS, found.text()
    assert found.power < (1e-6 if dtype == "float64" else 0.1)
    assert "no definition" in found.notes[-1]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda d: -d,
        lambda d: d * (1 + 1e-6),
        lambda d: np.where(np.arange(d.size) == 7, d * 1.001, d),
        lambda d: np.zeros_like(d),
    ],
    ids=["sign", "factor", "one entry", "zero"],
)
def test_wrong_gradients_fail(wrong: Callable[[np.ndarray], np.ndarray]) -> None:
    found = verdict(np.sin, lambda g, x: (wrong(g * np.cos(x)),), X)
    assert found.kind is FailKind.WRONG
    [c] = found.comparisons
    assert c.failing


def test_the_wrong_entry_is_named() -> None:
    def backward(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
        d = g * np.exp(x)
        d[3] *= 1.01
        return (d,)

    [c] = verdict(np.exp, backward, X).comparisons
    assert c.failing == 1
    assert c.worst.index == (3,)


def test_the_stated_power_is_kept() -> None:
    """An error just above it, in any one entry, is seen."""
    right = lambda g, x: (g * np.cos(x),)
    passed = verdict(np.sin, right, X)
    [c] = passed.comparisons
    for k in range(X.size):

        def backward(g: np.ndarray, x: np.ndarray, k: int = k) -> tuple[np.ndarray]:
            d = g * np.cos(x)
            d[k] *= 1 + 2.5 * c.power
            return (d,)

        assert verdict(np.sin, backward, X).outcome is Outcome.FAIL


def test_noise_is_no_wrong_gradient() -> None:
    rng = np.random.default_rng(0)
    found = verdict(lambda x: np.sin(x) + 1e-6 * rng.standard_normal(x.shape), lambda g, x: (g * np.cos(x),), X)
    assert found.outcome is Outcome.PASS
    assert found.power > 1e-7


def test_small_entries_are_looked_at_one_by_one() -> None:
    """A term of 1e-9 beside one of 1: invisible in the sum, wrong by itself."""
    f = lambda x, y: np.array([np.sin(x[0]), 1e-9 * np.sin(y[0])])
    right = lambda g, x, y: (np.array([g[0] * np.cos(x[0])]), np.array([1e-9 * g[1] * np.cos(y[0])]))
    wrong = lambda g, x, y: (right(g, x, y)[0], -right(g, x, y)[1])
    x, y = np.array([0.7]), np.array([0.9])
    assert verdict(f, right, x, y).outcome is Outcome.PASS
    assert verdict(f, wrong, x, y).outcome is Outcome.FAIL


def test_structure_and_crashes() -> None:
    assert verdict(np.sin, lambda g, x: (g[:3],), X).kind is FailKind.STRUCTURE
    assert verdict(np.sin, lambda g, x: (np.full_like(x, np.nan),), X).kind is FailKind.NON_FINITE
    found = verdict(np.abs, lambda g, x: (g * np.sign(x),), np.zeros(3))
    assert found.outcome is Outcome.INCONCLUSIVE
    flat = verdict(np.square, lambda g, x: (2 * g * x,), np.zeros(3))
    assert flat.outcome is Outcome.PASS


@pytest.mark.parametrize(("spoilt", "status"), [(1.0, Outcome.PASS), (1 + 1e-6, Outcome.FAIL)])
def test_check_falls_back_to_differences_where_values_leave_the_framework(spoilt: float, status: Outcome) -> None:
    torch = pytest.importorskip("torch")
    import gradverify

    class ThroughNumpy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.from_numpy(np.sin(x.detach().numpy()))

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * x.cos() * spoilt

    x = torch.linspace(0.3, 1.2, 6, dtype=torch.float64, requires_grad=True)
    found = gradverify.check(ThroughNumpy.apply, x)
    assert found.outcome is status, found.text()
    assert any("no definition" in n for n in found.notes)


def test_a_backward_that_does_not_exist_is_no_wrong_gradient() -> None:
    def refusing(g: np.ndarray, x: np.ndarray) -> Any:
        raise NotImplementedError("no such rule")

    class Refusing(HandWritten):
        def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
            try:
                return super().run_vjp(function, values, wrt, cotangent)
            except NotImplementedError as e:
                return Observation(raised=e, stage="backward")

    box = Opaque(Refusing(), (np.exp, refusing), {"x0": X}, ("x0",), (np.ones(20),), "float64")
    found = judge_opaque("f", box, ("opaque",))
    assert found.reason is Reason.NO_RULE
    assert "no such rule" in found.message


def test_at_kinks_that_cancel_along_a_direction_nothing_is_claimed() -> None:
    """|x| - 0.9|y| at 0, with a slope of each entry that is defensible: along (1, 1) the kinks cancel nearly."""
    found = verdict(
        lambda x: np.abs(x[0]) - 0.9 * np.abs(x[1]) + 0 * x,
        lambda g, x: (np.array([1.0, -0.9]) * g.sum(),),
        np.zeros(2),
    )
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason in (Reason.KINK, Reason.ORACLE)


def test_a_value_that_is_not_finite_is_outside_the_domain() -> None:
    with np.errstate(divide="ignore"):
        found = verdict(lambda x: np.log(np.abs(x - 1)), lambda g, x: (g / (x - 1),), np.array([1.0, 2.0]))
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.DOMAIN)


@pytest.mark.parametrize(("dtype", "passes"), [("float32", True), ("float64", False)])
def test_what_rounding_next_to_one_swallows_is_no_wrong_gradient(dtype: str, passes: bool) -> None:
    """log(1 + e^-20) is 0 in float32 wherever one looks; its slope, -2e-9 there, is right all the same. In float64 the
    function moves, and a slope of twice that is found."""

    def forward(x: np.ndarray) -> np.ndarray:
        return np.log(1 + np.exp(-x))

    factor = 1.0 if dtype == "float32" else 2.0
    found = verdict(forward, lambda g, x: (-factor * g * np.exp(-x),), np.full(3, 20.0), dtype=dtype)
    assert (found.outcome is not Outcome.FAIL) == passes, found.text()


def test_a_gradient_of_order_one_of_a_function_that_does_not_move_is_wrong() -> None:
    found = verdict(lambda x: 0 * x, lambda g, x: (g,), X, dtype="float32")
    assert found.kind is FailKind.WRONG


def test_values_of_few_digits_stand_still_for_small_steps() -> None:
    """In float32 the smallest steps move nothing: that is no slope of 0 (PyTorch's ctc_loss was told so)."""
    x = np.array([1.2161, 0.3, -0.7])
    found = verdict(
        lambda x: np.exp(x * np.float32(1e-3)).sum(),
        lambda g, x: (g * np.float32(1e-3) * np.exp(x * np.float32(1e-3)),),
        x,
        dtype="float32",
    )
    assert found.outcome is not Outcome.FAIL, found.text()
