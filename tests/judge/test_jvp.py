"""JVPs at kinks, at pseudo-kinks, and by known formulas."""

import numpy as np
import pytest

import gradverify as gv

jax = pytest.importorskip("jax")
jnp = jax.numpy


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def with_jvp(f, jvp):
    g = jax.custom_jvp(f)
    g.defjvp(lambda primals, tangents: (f(*primals), jvp(*primals, *tangents)))
    return g


def forward(f, *args, **options):
    return gv.check(f, *(np.asarray(a) for a in args), modes=("fwd",), **options)


ZERO = np.array([0.0, 1.0])


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_between_the_sides_of_a_kink_every_slope_is_right(slope):
    f = with_jvp(jax.nn.relu, lambda x, t: t * jnp.where(x == 0, slope, 1.0 * (x > 0)))
    assert forward(f, ZERO).outcome is gv.Outcome.PASS


@pytest.mark.parametrize("slope", [-0.1, 1.5])
def test_outside_of_them_none_is(slope):
    f = with_jvp(jax.nn.relu, lambda x, t: t * jnp.where(x == 0, slope, 1.0 * (x > 0)))
    assert forward(f, ZERO).outcome is gv.Outcome.FAIL


@pytest.mark.parametrize(
    ("f", "slope", "outcome"),
    [
        (lambda x: x * jnp.abs(x) + x, 1.0, gv.Outcome.PASS),
        (lambda x: x * jnp.abs(x) + x, 0.0, gv.Outcome.FAIL),
        (jax.nn.softplus, 0.5, gv.Outcome.PASS),
        (jax.nn.softplus, 1.0, gv.Outcome.FAIL),
        (lambda x: jax.nn.relu(x) - jax.nn.relu(-x), 1.0, gv.Outcome.PASS),
        (lambda x: jax.nn.relu(x) - jax.nn.relu(-x), 0.0, gv.Outcome.FAIL),
    ],
)
def test_where_the_function_is_smooth_its_derivative_is_wanted(f, slope, outcome):
    elsewhere = jax.vmap(jax.grad(f))
    rule = with_jvp(f, lambda x, t: t * jnp.where(x == 0, slope, elsewhere(x)))
    assert forward(rule, ZERO).outcome is outcome


def test_ordinary_functions_with_a_kink_in_their_graph():
    assert forward(jax.nn.softplus, np.float32(0)).outcome is gv.Outcome.PASS
    assert forward(jax.nn.logsumexp, [0.3, 1.2, -0.4]).outcome is gv.Outcome.PASS
    assert forward(lambda x: jnp.max(x) ** 2, [0.3, 1.2, -0.4], order=2).outcome is gv.Outcome.PASS
    assert forward(lambda x: jnp.max(x), [1.0, 1.0, 0.0]).outcome is gv.Outcome.PASS


def test_a_direction_in_which_two_kinks_cancel_is_no_smooth_point():
    """|x| - |y| along (1, 1) has the slope 0 on both sides, and 1 or -1 next to the point."""
    assert forward(lambda x: jnp.abs(x[0]) - jnp.abs(x[1]), [0.0, 0.0]).outcome is gv.Outcome.PASS


def test_known_formulas_excuse_jvps():
    known = forward(jnp.tanh, np.array([3.0, 0.5], np.float32))
    assert known.outcome is gv.Outcome.KNOWN
    assert known.known.startswith("tanh")


def test_known_formulas_excuse_no_more_than_they_explain():
    f = with_jvp(jnp.tanh, lambda x, t: t * (1 - jnp.tanh(x) ** 2) * 1.0000001)
    assert forward(f, [2.0, 1.0]).outcome is gv.Outcome.FAIL
