"""The backward pass in exact arithmetic: a formula is right, wrong, or off by less than it resolves, in every dtype."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradverify
from gradverify import FailKind, Outcome
from gradverify.core.verdict import Verdict
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")

DTYPES = ("bfloat16", "float16", "float32", "float64")


def rms_norm(error: float = 0.0, narrow: bool = False) -> Any:
    """RMSNorm with float32 inside; one term of its backward pass is off by 1 + error. `narrow` rounds 1/rms to the dtype."""

    class RMSNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            r = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
            ctx.save_for_backward(x, w, r)
            return (x.float() * r * w.float()).to(x.dtype)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, w, r = ctx.saved_tensors
            r = r.to(x.dtype).float() if narrow else r
            h, gw = x.float() * r, g.float() * w.float()
            dx = r * (gw - h * (gw * h).mean(-1, keepdim=True) * (1 + error))
            return dx.to(x.dtype), (g.float() * h).sum(0).to(w.dtype)

    return RMSNorm.apply


def point(dtype: str, rows: int = 4) -> tuple[Any, Any]:
    torch.manual_seed(0)
    return tuple(torch.randn(s).to(getattr(torch, dtype)).requires_grad_() for s in ((rows, 16), (16,)))  # type: ignore[return-value]


def formula(verdict: Verdict) -> Any:
    assert verdict.formula is not None, verdict.text()
    return verdict.formula


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_right_formula_is_right_in_every_dtype(dtype: str) -> None:
    verdict = judge(rms_norm(), *point(dtype))
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert formula(verdict).right
    assert verdict.power < 1e-12
    assert "the formula is right to" in " ".join(verdict.text().split())
    assert verdict.power_of_values > verdict.power


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_a_16_bit_gradient_hides_fails(dtype: str) -> None:
    verdict = judge(rms_norm(1e-3), *point(dtype))
    assert verdict.kind is FailKind.WRONG, verdict.text()
    assert "in exact arithmetic" in verdict.message
    assert f"rounding in {dtype} hides it" in verdict.message


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("error", [1e-9, 1e-12])
def test_less_than_its_own_arithmetic_resolves_is_weak(dtype: str, error: float) -> None:
    """It computes in float32, whatever its arguments are."""
    verdict = judge(rms_norm(error), *point(dtype))
    assert verdict.outcome is Outcome.WEAK, verdict.text()
    assert verdict
    assert formula(verdict).error > error


def test_the_entry_is_that_of_the_exact_backward_pass() -> None:
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    verdict = judge(custom(torch.tanh, lambda g, x: g * (1 - torch.tanh(x) ** 2) * (1 + 2.0**-20)), x)
    worst = formula(verdict).worst
    with mpmath.workdps(30):
        [k] = worst.index
        slope = 1 - mpmath.tanh(mpmath.mpf(float(x[k]))) ** 2
        assert abs(mpmath.mpf(worst.got) / mpmath.mpf(worst.want) - 1 - mpmath.mpf(2) ** -20) < 1e-18
        ratio = mpmath.mpf(worst.want) / slope
        assert abs(ratio - mpmath.nint(ratio * 2**24) / 2**24) < 1e-15  # the cotangent, a float32


@settings(max_examples=25, deadline=None)
@given(dtype=st.sampled_from(DTYPES), exponent=st.floats(-13.5, -1.0), seed=st.integers(0, 99))
def test_an_error_above_the_stated_power_is_reported(dtype: str, exponent: float, seed: int) -> None:
    """FAIL or WEAK for a term that is so much of the gradient; one of a thousandth of the power passes."""
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.uniform(0.5, 2.0, 5)).to(getattr(torch, dtype)).requires_grad_()
    fn = lambda error: custom(
        lambda x: torch.exp(-x) * x, lambda g, x: g * torch.exp(-x) * (1 - x) + error * g * torch.exp(-x) * (1 - x)
    )
    right = judge(fn(0.0), x, seed=seed)
    if not right.formula or not right.formula.right:
        return
    assert right.power < 1e-12
    found = judge(fn(10.0**exponent), x, seed=seed)
    assert found.outcome in (Outcome.WEAK, Outcome.FAIL), found.text()
    assert judge(fn(right.power / 1000), x, seed=seed).outcome is Outcome.PASS


def test_literals_are_as_good_as_their_digits() -> None:
    """Constants of a few double operations are right; one typed to float32's digits is not, and float32 hides it."""
    gelu = lambda scale: custom(
        torch.nn.functional.gelu,
        lambda g, x: g * (0.5 * torch.erfc(-x * math.sqrt(0.5)) + x * torch.exp(-x * x / 2) * scale),
    )
    x = torch.linspace(-2, 2, 7, requires_grad=True)
    assert judge(gelu(1 / math.sqrt(2 * math.pi)), x).outcome is Outcome.PASS
    assert judge(gelu(math.sqrt(2 / math.pi) / 2), x).outcome is Outcome.PASS
    verdict = judge(gelu(0.3989423), x)
    assert verdict.outcome is Outcome.WEAK
    assert 1e-9 < formula(verdict).error < 1e-6


def test_a_literal_of_the_definition_is_the_same_number() -> None:
    x = torch.linspace(0.1, 2, 7).bfloat16().requires_grad_()
    run = lambda x: (0.1 * x + 0.3) ** 2.7
    back = lambda g, x: g * 2.7 * 0.1 * (0.1 * x + 0.3) ** 1.7
    assert judge(custom(run, back), x).outcome is Outcome.PASS


@pytest.mark.parametrize("near", [1 + 2.0**-51, 1 - 2.0**-53, 1 + 1e-12])
def test_a_literal_that_the_dtype_rounds_to_another_is_not_taken_for_it(near: float) -> None:
    """1 + 2**-51 is 1 in float32; 1.0 in the backward pass is 1 all the same."""
    verdict = judge(
        custom(lambda x: torch.sin(x * near) * 1.0, lambda g, x: g * near * (1.0 * torch.cos(x * near))),
        torch.tensor([0.3, 2.0], dtype=torch.float32),
    )
    assert verdict.outcome is Outcome.PASS, verdict
    assert verdict.formula is not None
    assert verdict.formula.right


def gauss(f: Any, a: Any, b: Any, n: int) -> Any:
    nodes, weights = (torch.tensor(v) for v in np.polynomial.legendre.leggauss(n))
    return (b - a) / 2 * (weights * f((b - a) / 2 * nodes + (a + b) / 2)).sum()


COSINES = torch.tensor(np.cos(np.pi * (2 * np.arange(8) + 1) * np.arange(8)[:, None] / 16) / 2)
COSINES[0] /= math.sqrt(2)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        # what a quadrature of three nodes integrates exactly, by the integrand at its ends
        (
            custom(
                lambda a, b: gauss(lambda x: 1 + x + x**2, a, b, 3),
                lambda g, a, b: (-g * (1 + a + a**2), g * (1 + b + b**2)),
            ),
            (torch.tensor(-0.7, dtype=torch.float64), torch.tensor(4.2, dtype=torch.float64)),
        ),
        # decimal fractions that cancel
        (custom(lambda x: 1e3 * (0.1 * x) - 99 * x, lambda g, x: g * 1.0), (torch.tensor(0.7, dtype=torch.float64),)),
        # an orthogonal matrix and its transpose
        (custom(lambda x: COSINES.T @ (COSINES @ x), lambda g, x: g * 1.0), (torch.linspace(1, 2, 8).double(),)),
    ],
)
def test_numbers_of_the_definition_alone_are_as_good_as_their_digits(function: Any, args: tuple[Any, ...]) -> None:
    """The backward pass has the derivative of what nodes, weights and fractions stand for, and none of these numbers."""
    verdict = judge(function, *args, order=1)
    assert verdict.outcome is Outcome.PASS, verdict
    assert verdict.formula is not None
    assert verdict.formula.right


def test_numbers_of_the_definition_alone_hide_no_error() -> None:
    verdict = judge(
        custom(lambda x: COSINES.T @ (COSINES @ x), lambda g, x: g * (1 + 1e-11)), torch.linspace(1, 2, 8).double()
    )
    assert verdict.outcome is Outcome.FAIL, verdict


def test_what_was_traced_is_not_what_ran() -> None:
    """A factor that grows with every call is in the values, in none of the formulas."""
    calls = []

    def back(g: Any, x: Any) -> Any:
        calls.append(None)
        return g * torch.cos(x) * (1.5 if len(calls) == 1 else 1.0)

    verdict = judge(custom(torch.sin, back), torch.linspace(0, 1, 5, requires_grad=True))
    assert verdict.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE), verdict.text()


def test_an_untraceable_backward_pass_is_judged_by_values() -> None:
    def back(g: Any, x: Any) -> Any:
        return g * torch.from_numpy(np.cos(x.detach().numpy()))

    verdict = judge(custom(torch.sin, back), torch.linspace(0, 1, 5, dtype=torch.float64, requires_grad=True))
    assert verdict.outcome is Outcome.PASS
    assert formula(verdict).right is None
    assert formula(verdict).why
    assert verdict.power == verdict.power_of_values


def test_once_differentiable_is_no_obstacle() -> None:
    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.sin(x)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return g * torch.cos(ctx.saved_tensors[0]) * (1 + 2.0**-15)

    verdict = judge(Sine.apply, torch.linspace(0, 1, 5).bfloat16().requires_grad_())
    assert verdict.outcome is Outcome.WEAK  # all of it is computed in bfloat16
    assert formula(verdict).error == pytest.approx(2.0**-15)


# ---- digits lost ----------------------------------------------------------------------------------------------------


def test_a_right_formula_that_loses_digits_is_weak() -> None:
    """1 - tanh² keeps 10 of 16 digits at 6."""
    x = torch.full((3,), 6.0, dtype=torch.float64, requires_grad=True)
    verdict = judge(custom(torch.tanh, lambda g, x: g * (1 - torch.tanh(x) ** 2)), x)
    assert verdict.outcome is Outcome.WEAK, verdict.text()
    assert formula(verdict).right
    assert "digits that need not be lost" in verdict.message


def test_below_half_of_the_digits_it_fails() -> None:
    x = torch.full((3,), 14.0, dtype=torch.float64, requires_grad=True)
    verdict = judge(custom(torch.tanh, lambda g, x: g * (1 - torch.tanh(x) ** 2)), x)
    assert verdict.kind is FailKind.PRECISION, verdict.text()
    assert formula(verdict).right


def test_a_factor_rounded_to_16_bits_fails_where_float32_is_computed_in() -> None:
    assert judge(rms_norm(), *point("bfloat16", rows=64)).outcome is Outcome.PASS
    verdict = judge(rms_norm(narrow=True), *point("bfloat16", rows=64))
    assert verdict.kind is FailKind.PRECISION, verdict.text()


# ---- other frameworks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [0.0, 1e-3])
def test_jax_custom_vjp(error: float) -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    @jax.custom_vjp
    def swish(x: Any) -> Any:
        return x * jax.nn.sigmoid(x)

    def back(x: Any, g: Any) -> Any:
        x, g = x.astype(jnp.float32), g.astype(jnp.float32)
        s = 1 / (1 + jnp.exp(-x))
        return ((g * s * (1 + x * (1 - s)) + g * s * error).astype(jnp.bfloat16),)

    swish.defvjp(lambda x: (swish(x), x), back)
    verdict = judge(swish, jnp.linspace(-2, 2, 6, dtype=jnp.bfloat16))
    assert formula(verdict).right is (error == 0)
    assert verdict.outcome is (Outcome.FAIL if error else Outcome.PASS), verdict.text()


@pytest.mark.parametrize(("error", "outcome"), [(0.0, Outcome.PASS), (1e-9, Outcome.WEAK)])
def test_numpy_by_hand(error: float, outcome: Outcome) -> None:
    x = np.linspace(-1, 1, 6, dtype=np.float32)
    vjp = lambda g, x: g * (1 - np.tanh(x) ** 2) + g * x * error
    assert judge(np.tanh, x, vjp=vjp).outcome is outcome


@pytest.mark.parametrize("names", ["engine", "autograd", "mlx"])
def test_frameworks_of_their_own_rules(names: str) -> None:
    if names == "engine":
        import gradverify.engine as engine

        verdict = judge(lambda x: engine.tanh(x) * x, engine.tensor([0.5, 1.5], requires_grad=True))
    elif names == "autograd":
        anp = pytest.importorskip("autograd.numpy")
        verdict = judge(lambda x: anp.tanh(x) * x, np.array([0.5, 1.5]))
    else:
        mx = pytest.importorskip("mlx.core")
        verdict = judge(lambda x: mx.tanh(x) * x, mx.array([0.5, 1.5]))
    assert verdict.outcome is Outcome.PASS
    assert formula(verdict).right


def test_complex_functions() -> None:
    z = torch.tensor([0.3 + 0.2j, -1.0 + 0.5j], dtype=torch.complex64, requires_grad=True)
    right = lambda g, z: g * torch.exp(z).conj()
    assert formula(judge(custom(torch.exp, right), z)).right
    off = judge(custom(torch.exp, lambda g, z: right(g, z) * (1 + 2.0**-30)), z)
    assert off.outcome is Outcome.WEAK, off.text()


# ---- formats of the backward pass ---------------------------------------------------------------------------------------


def _through(dtype: torch.dtype, of: str) -> type[torch.autograd.Function]:
    """x * w over rows, with the terms, the sum or the cotangent of its gradient passing through `dtype`."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x, w)
            return x * w

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x, w = ctx.saved_tensors
            dx = g * w
            g = g.to(dtype) if of == "cotangent" else g
            terms = g.float() * x.float()
            terms = terms.to(dtype).float() if of == "terms" else terms
            total = terms.sum(0)
            return dx, (total.to(dtype) if of == "sum" else total).to(w.dtype)

    return Scaled


@pytest.mark.parametrize("of", ["terms", "sum", "cotangent"])
def test_a_coarser_format_than_any_of_the_functions(of: str) -> None:
    x = torch.tensor([[0.3, -1.2], [2.1, 0.7], [-0.4, 1.6]], dtype=torch.float16, requires_grad=True)
    w = torch.tensor([0.5, -1.5], dtype=torch.float16, requires_grad=True)
    v = gradverify.check(_through(torch.bfloat16, of).apply, x, w, effort="quick")
    assert v.outcome in (Outcome.WEAK, Outcome.FAIL)
    assert "bfloat16" in v.message
    assert gradverify.check(_through(torch.float16, of).apply, x, w, effort="quick").outcome is Outcome.PASS
    assert gradverify.check(_through(torch.float32, of).apply, x, w, effort="quick").outcome is Outcome.PASS


def test_float32_within_float64() -> None:
    x = torch.tensor([[0.3, -1.2], [2.1, 0.7]], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([0.5, -1.5], dtype=torch.float64, requires_grad=True)
    v = gradverify.check(_through(torch.float32, "sum").apply, x, w, effort="quick")
    assert (v.outcome, v.kind) == (Outcome.FAIL, FailKind.PRECISION)


class Masked(torch.autograd.Function):
    """max(x, 0), whose backward pass multiplies by what `mask` makes of x."""

    @staticmethod
    def forward(ctx: Any, x: Any, mask: Any) -> Any:
        ctx.save_for_backward(x)
        ctx.mask = mask
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return ctx.mask(x) * g, None


SIDES = torch.tensor([0.3, -1.2, 2.1, -0.7], dtype=torch.float64)


@pytest.mark.parametrize(
    "mask",
    [
        lambda x: (x >= 0).float(),
        lambda x: (x >= 0).bfloat16(),
        lambda x: ((x.sign() + 1) / 2).half(),
        lambda x: torch.where(x > 0, torch.ones(4), torch.zeros(4)),
        lambda x: (x > 0).float() * torch.ones(4),
    ],
    ids=["float32", "bfloat16", "signs", "two literals", "two masks"],
)
def test_a_mask_in_a_coarser_format_loses_nothing(mask: Any) -> None:
    v = gradverify.check(lambda x: Masked.apply(x, mask), SIDES, order=1, effort="quick")
    assert v.outcome is Outcome.PASS, v.message


@pytest.mark.parametrize(
    "mask",
    [lambda x: (x > 0).float() * x.float() / x.float(), lambda x: torch.where(x > 0, x.float(), torch.zeros(4)) / x],
    ids=["a quotient", "a masked value"],
)
def test_a_value_behind_a_mask_is_rounded(mask: Any) -> None:
    v = gradverify.check(lambda x: Masked.apply(x, mask), SIDES, order=1, effort="quick")
    assert v.outcome is not Outcome.PASS
    assert "float32" in v.message


def sum_with_a_floor(weights: Any, floor: float) -> Any:
    return weights.sum(-1, keepdim=True) + floor


class Blockwise(torch.autograd.Function):
    """softmax(scores) v, with a floor under the sum that the backward pass does not know of."""

    @staticmethod
    def forward(ctx: Any, scores: Any, v: Any, floor: float) -> Any:
        top = scores.amax(-1, keepdim=True)
        total = sum_with_a_floor((scores - top).exp(), floor)
        out = (scores - top).exp() @ v / total
        ctx.save_for_backward(scores, v, out, total.log() + top)
        return out

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        scores, v, out, lse = ctx.saved_tensors
        p = (scores - lse).exp()
        return p * (g @ v.T - (g * out).sum(-1, keepdim=True)), p.T @ g, None


@pytest.mark.parametrize("masked", [0, 1, 2])
def test_a_formula_that_is_off_below_its_arithmetic_keeps_the_excuse_of_its_rounding(masked: int) -> None:
    """In float32: the floor is below its digits; the first row sees one key alone, so that its true gradient is 0."""
    torch.manual_seed(masked)
    seen = torch.ones(3, 3, dtype=torch.bool).tril() if masked < 2 else torch.eye(3, dtype=torch.bool)
    hidden = torch.zeros(3, 3).masked_fill(~seen, -1e30)
    f = lambda q, v: Blockwise.apply(q * 3 + hidden, v, 1e-10)
    v = gradverify.check(f, torch.randn(3, 3), torch.randn(3, 4) * 10.0**masked, order=1)
    assert v.outcome is Outcome.WEAK, v.message
    f = lambda q, v: Blockwise.apply(q * 3 + hidden, v, 1e-3)
    v = gradverify.check(f, torch.randn(3, 3), torch.randn(3, 4) * 10.0**masked, order=1)
    assert v.outcome is Outcome.FAIL, v.message
