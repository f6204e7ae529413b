"""JVPs of functions that cannot be traced, held against differences."""

import numpy as np
import pytest

import gradverify as gv

jax = pytest.importorskip("jax")
jnp = jax.numpy
A = np.array([[1.0, 2.0], [0.5, 3.0]])


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def forward(f, *args):
    return gv.check(f, *args, modes=("fwd",), effort="quick")


def callback(x):
    """Out of the tracer's sight: x³ by NumPy."""
    return jax.pure_callback(lambda v: np.asarray(v) ** 3, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def cube(slope):
    f = jax.custom_jvp(callback)
    f.defjvp(lambda primals, tangents: (callback(*primals), slope(primals[0]) * tangents[0]))
    return f


def test_right():
    assert forward(cube(lambda x: 3 * x * x), np.array([0.5, -1.2, 2.0])).outcome is gv.Outcome.PASS


@pytest.mark.parametrize(
    "slope", [lambda x: 3 * x * x * 1.001, lambda x: 3 * x, lambda x: jnp.where(x > 1, 0.0, 3 * x * x)]
)
def test_wrong(slope):
    verdict = forward(cube(slope), np.array([0.5, -1.2, 2.0]))
    assert verdict.outcome is gv.Outcome.FAIL
    assert "random direction" in verdict.message


def test_a_composition_that_is_opaque_within():
    f = lambda x: jnp.sin(cube(lambda v: 3 * v * v)(x)).sum() * x
    assert forward(f, np.array([0.5, -1.2, 0.3])).outcome is gv.Outcome.PASS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_in_the_dtype_that_the_outputs_have(dtype, factor):
    """Weights in another dtype than the outputs' are refused by JAX, so that no slope could be had."""

    @jax.custom_jvp
    def solved(d):
        ones = jnp.ones_like(d)
        return jax.lax.linalg.tridiagonal_solve(0 * ones, d, 0 * ones, ones[:, None])[:, 0]

    solved.defjvp(lambda primals, tangents: (solved(*primals), -factor * tangents[0] / primals[0] ** 2))
    v = forward(solved, np.array([2.0, 3.0, 4.0], dtype=dtype))
    assert v.outcome is (gv.Outcome.PASS if factor == 1.0 else gv.Outcome.FAIL)
    assert any("held against differences" in n for n in v.notes)
