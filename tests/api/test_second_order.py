"""The second order where nobody asks for it: of a backward pass that is somebody's own, if it can be differentiated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify
from gradverify.core.verdict import FailKind, Outcome

torch = pytest.importorskip("torch")

X = torch.tensor([[0.4, -1.1, 0.7]], dtype=torch.float64)
SECOND = "the second order"


def function(backward: Any, once: bool = False) -> Any:
    """sin with the given backward(x, g)."""

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(ctx.saved_tensors[0], g)

    if once:
        Sine.backward = staticmethod(torch.autograd.function.once_differentiable(Sine.backward))
    return Sine.apply


def raises(x: Any, g: Any) -> Any:
    if torch.is_grad_enabled():
        raise NotImplementedError("no double backward")
    return g * x.cos()


@torch.no_grad()
def quietly(x: Any, g: Any) -> Any:
    return g * x.cos()


def asked(verdict: gradverify.Verdict) -> tuple[bool, str]:
    """Was the second order judged? And why not, if not."""
    why = [s for s in verdict.facts["skipped"] if s.startswith(SECOND)]
    return SECOND in verdict.facts["tried"], why[0] if why else ""


def test_a_right_one_passes() -> None:
    verdict = gradverify.check(function(lambda x, g: g * x.cos()), X)
    assert verdict, verdict.text()
    assert asked(verdict) == (True, "")


@pytest.mark.parametrize(
    "backward",
    [
        lambda x, g: g * x.detach().cos(),
        lambda x, g: g.detach() * x.cos(),
        lambda x, g: g * torch.from_numpy(np.cos(x.detach().numpy())),
    ],
    ids=["x detached", "g detached", "through NumPy"],
)
def test_a_wrong_one_fails_though_the_gradient_is_right(backward: Any) -> None:
    f = function(backward)
    assert gradverify.check(f, X, order=1)
    verdict = gradverify.check(f, X)
    assert verdict.outcome is Outcome.FAIL
    assert f"(found with {SECOND})" in verdict.message
    assert verdict.case == "VJP of Sine, as given"
    assert "dx" in verdict.text() or "for x " in verdict.message or "for cotangent " in verdict.message


@pytest.mark.parametrize(
    ("f", "why"),
    [
        (function(lambda x, g: g * x.cos(), once=True), "once_differentiable"),
        (function(raises), "no double backward"),
    ],
    ids=["once_differentiable", "raises"],
)
def test_one_that_cannot_be_differentiated_is_noted(f: Any, why: str) -> None:
    verdict = gradverify.check(f, X)
    assert verdict, verdict.text()
    judged, said = asked(verdict)
    assert not judged
    assert why in said
    assert any(SECOND in n for n in verdict.notes)


def test_one_that_computes_without_a_graph_fails() -> None:
    """Differentiated alone it would raise; in a sum with anything else its part is lost, and nothing says so."""
    verdict = gradverify.check(function(quietly), X)
    assert verdict.kind is FailKind.DETACHED, verdict.text()
    assert "comes without a graph" in verdict.message
    assert "(mul, under no_grad)" in verdict.message
    assert f"(found with {SECOND})" in verdict.message
    assert gradverify.check(function(quietly), X, order=1)
    quick = gradverify.check(function(quietly), X, order=2, effort="quick")
    assert quick.kind is FailKind.DETACHED
    for found in (verdict, quick):  # the first order is right, and what to do about the second one is said
        assert found.message.startswith("order 1 PASS; order 2 FAIL: ")
        assert "marked once_differentiable" in found.message
        assert "order=1" in found.message


def test_once_differentiable_behind_something_else() -> None:
    """Its mark is not at the end of the graph then; asked for outright, the second order is undecided."""
    f = function(lambda x, g: g * x.cos(), once=True)
    behind = lambda x: f(2 * x) + x**2
    verdict = gradverify.check(behind, X)
    assert verdict, verdict.text()
    assert "once_differentiable" in asked(verdict)[1]
    second = gradverify.check(behind, X, order=2)
    assert second.outcome is Outcome.INCONCLUSIVE
    assert "once_differentiable" in second.message


def test_pytorchs_own_backward_passes_are_not_asked() -> None:
    for f in (torch.sin, lambda x: torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=True)):
        verdict = gradverify.check(f, X.clone().requires_grad_())
        assert verdict, verdict.text()
        assert asked(verdict) == (False, "")


def test_the_order_that_is_asked_for_is_the_one_that_is_judged() -> None:
    wrong = function(lambda x, g: g * x.detach().cos())
    assert gradverify.check(wrong, X, order=1)
    assert gradverify.check(wrong, X, effort="quick")
    assert gradverify.check(wrong, X, order=2, effort="quick").outcome is Outcome.FAIL


def test_what_the_function_stops_on_purpose_stays_stopped() -> None:
    sine = function(lambda x, g: g * x.cos())
    verdict = gradverify.check(lambda x: sine(x) * x.detach(), X, stop_gradients=True)
    assert verdict, verdict.text()
    assert asked(verdict) == (True, "")


def test_a_custom_operator() -> None:
    @torch.library.custom_op("gradverify_tests::sine2", mutates_args=())
    def sine(x: torch.Tensor) -> torch.Tensor:
        return x.sin()

    sine.register_autograd(
        lambda ctx, g: g * ctx.saved_tensors[0].detach().cos(),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    )
    assert SECOND in gradverify.check(sine, X).message


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    def sine(backward: Any) -> Any:
        f = jax.custom_vjp(lambda x: jnp.sin(x))
        f.defvjp(lambda x: (jnp.sin(x), x), backward)
        return f

    with jax.enable_x64(True):
        x = jnp.asarray(X.numpy())
        right = gradverify.check(sine(lambda x, g: (g * jnp.cos(x),)), x)
        wrong = gradverify.check(sine(lambda x, g: (g * jax.lax.stop_gradient(jnp.cos(x)),)), x)
        own = gradverify.check(jax.nn.relu, x)  # a custom_jvp of JAX's
    assert right, right.text()
    assert asked(right) == (True, "")
    assert wrong.outcome is Outcome.FAIL
    assert f"(found with {SECOND})" in wrong.message
    assert asked(own) == (False, "")


def test_what_jax_stops_is_held_fixed_where_it_is_meant() -> None:
    """The straight-through idiom, and a rule whose own stop_gradient excuses nothing."""
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    with jax.enable_x64(True):
        x = jnp.asarray(X.numpy())
        estimator = lambda x: x + jax.lax.stop_gradient(jnp.round(x) - x)
        undeclared = gradverify.check(estimator, x)
        assert undeclared.kind is FailKind.DETACHED
        assert "test_second_order.py" in undeclared.message
        assert gradverify.check(estimator, x, surrogate_of=lambda x: x)
        through = gradverify.check(estimator, x, stop_gradients=True)
        assert through, through.text()
        assert any("holds" in n and "fixed" in n for n in through.notes)
        wrong = jax.custom_vjp(lambda x: x * jax.lax.stop_gradient(x))
        wrong.defvjp(lambda x: (x * x, x), lambda x, g: (g * x,))
        assert gradverify.check(wrong, x, effort="quick").outcome is Outcome.FAIL
