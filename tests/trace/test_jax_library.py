"""JAX's own functions that are ops of the table, and those of the same name that are not."""

import numpy as np
import pytest

import gradverify as gv
from gradverify.frameworks.recognise import trace

jax = pytest.importorskip("jax")
jnp = jax.numpy
special = jax.scipy.special


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def ops(f, *values):
    graph = trace(f, *(np.asarray(v) for v in values), options={"framework": "jax"}).graph
    return [n.op for n in graph.nodes if hasattr(n, "op")]


X = [0.3, 1.7]


@pytest.mark.parametrize(
    ("f", "op"),
    [
        (jnp.sinc, "sinc"), (jnp.i0, "bessel_i"), (jax.nn.squareplus, "squareplus"), (special.erfcx, "erfcx"),
        (special.log_ndtr, "log_ndtr"), (special.logit, "logit"),
    ],
)  # fmt: skip
def test_recognised(f, op):
    assert ops(f, [0.3, 0.7]) == [op]


def test_the_parameter_of_squareplus():
    graph = trace(lambda x: jax.nn.squareplus(x, 2.0), np.array(X), options={"framework": "jax"}).graph
    assert [dict(n.params) for n in graph.nodes if hasattr(n, "op")] == [{"b": 2.0}]


def test_a_function_of_the_same_name_is_its_own():
    @jax.jit
    def sinc(x):
        return jnp.sin(x) * x

    assert ops(sinc, X) == ["sin", "multiply"]


@pytest.mark.parametrize(("f", "x"), [(jnp.sinc, 1e-7), (jnp.i0, 1e-9), (jax.nn.squareplus, -1e6)])
def test_what_their_formulas_lose_is_found(f, x):
    assert gv.check(f, np.array([x, 0.5]), effort="quick").outcome in (gv.Outcome.FAIL, gv.Outcome.WEAK)


@pytest.mark.parametrize("f", [jnp.sinc, jnp.i0, jax.nn.squareplus])
def test_ordinary_points_are_right(f):
    assert gv.check(f, np.array([0.7, -1.3, 2.2]), effort="quick").outcome is gv.Outcome.PASS


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4), (1, 1), (2, 2, 2, 2)])
def test_derivatives_of_slogdet_are_not_slogdet(shape: tuple[int, ...]) -> None:
    """They bear its name in a jaxpr, with other operands and results."""
    a = jnp.asarray(np.random.default_rng(3).normal(size=shape))
    weights = jnp.arange(1.0, 1.0 + a[..., 0, 0].size).reshape(shape[:-2])
    backward = lambda a: jax.grad(lambda a: (weights * jnp.linalg.slogdet(a)[1]).sum())(a)
    forward = lambda a: jax.jvp(lambda a: jnp.linalg.slogdet(a)[1], (a,), (jnp.cos(a),))[1]
    for derivative in (backward, forward):
        assert trace(derivative, a).graph is not None
