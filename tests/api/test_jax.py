"""gradverify.jax: JAX's signature and behaviour, and what JAX's own check lets pass."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax import lax, test_util  # noqa: E402

import gradverify  # noqa: E402
from gradverify.core.errors import GradverifyNote, Unsupported  # noqa: E402
from gradverify.core.verdict import FailKind, Outcome, Reason  # noqa: E402
from gradverify.jax import check_grads  # noqa: E402

X = np.linspace(0.1, 1.0, 6).reshape(2, 3).astype(np.float32)


@jax.custom_jvp
def exp_off(x: Any) -> Any:
    return jnp.exp(x)


exp_off.defjvp(lambda primals, tangents: (jnp.exp(primals[0]), tangents[0] * jnp.exp(primals[0]) * (1 + 1e-4)))


@jax.custom_vjp
def clipped(x: Any) -> Any:
    """The tutorial's gradient clipping, as the derivative of what it is not."""
    return x * 1.0


clipped.defvjp(lambda x: (x * 1.0, None), lambda _, g: (jnp.clip(g, -1, 1),))


def test_the_signature_is_jaxs() -> None:
    """And two options more, by keyword."""
    (*ours, more, most), theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
        for f in (check_grads, test_util.check_grads)
    )
    assert ours == theirs
    assert more == ("stop_gradients", inspect.Parameter.KEYWORD_ONLY, False)
    assert most == ("effort", inspect.Parameter.KEYWORD_ONLY, None)


def test_a_stopped_gradient_is_wrong_unless_it_is_meant() -> None:
    stopped = lambda x: x * lax.stop_gradient(jnp.exp(x))
    for check in (test_util.check_grads, check_grads):
        with pytest.raises(AssertionError):
            check(stopped, (X,), 1)
    check_grads(stopped, (X,), 2, stop_gradients=True)


def test_right_derivatives_of_any_mode_and_order() -> None:
    assert check_grads(lambda x: jnp.tanh(x) ** 2, (X,), 2) is None
    assert check_grads(lambda p: jnp.tanh(p["a"] @ p["b"]), ({"a": X, "b": X.T},), 1) is None
    assert check_grads(jax.jit(jnp.sin), (X,), 1, modes=["rev"]) is None


@pytest.mark.parametrize(("n", "batch"), [(5, (2,)), (7, (3,)), (8, ()), (6, (2, 2))])
def test_the_determinant_of_a_singular_matrix_in_forward_mode(n: int, batch: tuple[int, ...]) -> None:
    """Its gradient needs no inverse: zero, and one dimension short."""
    x = np.random.default_rng(n).normal(size=(*batch, n, n)).astype(np.float32)
    x[(0,) * len(batch)] = 0
    x[(-1,) * len(batch)][:, -1] = 0
    check_grads(jnp.linalg.det, (x,), 1, modes=["fwd"], effort="quick")


@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_jaxs_determinant_with_a_column_of_zeros_before_the_last(mode: str) -> None:
    """JAX takes care of a last pivot that is 0; of an earlier one it makes zeros, where the column has cofactors."""
    x = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
    x[:, 0] = 0
    with pytest.raises(AssertionError, match="off by"):
        check_grads(jnp.linalg.det, (x,), 1, modes=[mode], effort="quick")


def test_a_wrong_one_that_jax_lets_pass() -> None:
    test_util.check_grads(exp_off, (X,), 1)
    with pytest.raises(AssertionError, match="JVP is wrong"):
        check_grads(exp_off, (X,), 1, modes=["fwd"])
    with pytest.raises(AssertionError, match=r"^VJP: FAIL"):
        check_grads(exp_off, (X,), 1, modes=["rev"])


def test_a_cotangent_that_is_clipped() -> None:
    with pytest.raises(AssertionError, match=r"^VJP: FAIL"):
        check_grads(clipped, (X,), 1, modes=["rev"])


def test_options_without_a_meaning_are_noted() -> None:
    with pytest.warns(GradverifyNote, match="atol, rtol, eps"):
        check_grads(jnp.sin, (X,), 1, ("rev",), 1e-1, 1e-1, 1e-2)


def test_what_cannot_be_honoured_is_refused() -> None:
    with pytest.raises(Unsupported, match="no mode lin"):
        check_grads(jnp.sin, (X,), 1, modes=["lin"])
    with pytest.raises(Unsupported, match="no forward mode"):
        check_grads(clipped, (X,), 1, modes=["fwd"])


def test_what_the_function_raises_is_the_callers() -> None:
    def refusing(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        check_grads(refusing, (X,), 1)


def test_check_takes_modes_and_orders() -> None:
    verdict = gradverify.check(
        lambda x: jnp.sin(x) @ x.T, jnp.asarray(X), order=2, modes=("fwd", "rev"), effort="quick"
    )
    assert verdict, verdict.text()
    assert not gradverify.check(exp_off, jnp.asarray(X), modes="fwd")


def _solver(factor: float):
    """√a by Newton's iteration to six digits, with the implicit gradient 1/(2√a), times `factor`."""

    @jax.custom_vjp
    def root(a):
        going = lambda x: jnp.any(jnp.abs(x * x - a) > 1e-6 * a)
        return jax.lax.while_loop(going, lambda x: (x + a / x) / 2, a)

    def forward(a):
        x = root(a)
        return x, x

    root.defvjp(forward, lambda x, g: (factor * g / (2 * x),))
    return root


def test_a_solver_is_no_more_precise_than_its_last_step() -> None:
    """Its rule is the gradient of what it converges to, not of the trips that were taken."""
    with jax.enable_x64(True):
        a = jnp.asarray([2.0, 3.0, 5.0])
        right = gradverify.check(_solver(1.0), a, effort="quick")
        wrong = gradverify.check(_solver(1.5), a, effort="quick")
    assert (right.outcome, right.reason) == (Outcome.INCONCLUSIVE, Reason.ORACLE)
    assert "stops once it has converged" in right.message
    assert (wrong.outcome, wrong.kind) == (Outcome.FAIL, FailKind.WRONG)


def test_a_loop_that_need_not_end_nearby_is_not_run_there() -> None:
    """Next to 0 lies what has no root: the iteration would not end, and XLA cannot be interrupted."""
    with jax.enable_x64(True):
        verdict = gradverify.check(_solver(1.0), jnp.asarray([4.0, 0.0]), effort="quick")
    assert verdict.outcome is Outcome.INCONCLUSIVE
