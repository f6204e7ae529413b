"""What XLA compiled for a law serves again, for the same program alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest

from gradverify.frameworks.jax import adapter, programs
from gradverify.frameworks.registry import of_functions

JAX = of_functions("jax")
X, Y, G = np.array([0.3, 0.8]), np.array([-0.5, 1.1]), np.array([2.0, 3.0])


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    before = dict(programs._EXECUTABLES)
    programs._EXECUTABLES.clear()
    yield
    programs._EXECUTABLES.clear()
    programs._EXECUTABLES.update(before)


def gradients(fn: Callable[..., Any], wrt: tuple[str, ...] = ("x", "y"), **values: np.ndarray) -> list[np.ndarray]:
    given = {"x": X, "y": Y} | values
    cotangent = G.astype(given["x"].dtype)
    seen = JAX.run_vjp_by(adapter.JITTED, fn, given, wrt, (cotangent,))
    assert seen.raised is None, seen.raised
    return [np.asarray(seen.gradients[n]) for n in wrt]


def test_another_point_is_not_compiled_anew() -> None:
    fn = lambda x, y: jax.numpy.sin(x) * y
    for x in (X, 2 * X):
        dx, dy = gradients(lambda x, y: fn(x, y), x=x)
        np.testing.assert_allclose(dx, G * np.cos(x) * Y)
        np.testing.assert_allclose(dy, G * np.sin(x))
    assert len(programs._EXECUTABLES) == 1
    gradients(fn, x=X.astype(np.float32), y=Y.astype(np.float32))
    assert len(programs._EXECUTABLES) == 2


def test_what_one_function_leaves_out_and_the_other_one_reads_is_no_matter_of_chance() -> None:
    """Both have one sine of one array of two; of which, a text without the other one would not say."""
    for _ in range(2):
        dx, dy = gradients(lambda x, y: jax.numpy.sin(x))
        np.testing.assert_allclose((dx, dy), (G * np.cos(X), 0 * G))
        dx, dy = gradients(lambda x, y: jax.numpy.sin(y))
        np.testing.assert_allclose((dx, dy), (0 * G, G * np.cos(Y)))
        (dy,) = gradients(lambda x, y: jax.numpy.sin(x) * y, wrt=("y",))
        np.testing.assert_allclose(dy, G * np.sin(X))
        (dx,) = gradients(lambda x, y: jax.numpy.sin(y) * x, wrt=("x",))
        np.testing.assert_allclose(dx, G * np.sin(Y))


def test_a_number_in_the_code_is_part_of_the_program() -> None:
    for c in (2.0, 3.0):
        np.testing.assert_allclose(gradients(lambda x, y, c=c: c * x * y), (c * G * Y, c * G * X))
        closed = jax.numpy.asarray(np.arange(1.0, 3.0) * c)
        np.testing.assert_allclose(gradients(lambda x, y, a=closed: a * x * y)[0], np.arange(1.0, 3.0) * c * G * Y)


def test_what_calls_python_is_compiled_each_time() -> None:
    def fn(x: Any, y: Any, factor: float) -> Any:
        held = jax.pure_callback(lambda y: np.asarray(factor * y), jax.ShapeDtypeStruct(y.shape, y.dtype), Y)
        return x * held

    for factor in (1.0, 2.0, 3.0):
        (dx,) = gradients(lambda x, y, factor=factor: fn(x, y, factor), wrt=("x",))
        np.testing.assert_allclose(dx, factor * G * Y)
    assert not programs._EXECUTABLES


def test_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "EXECUTABLES", 2)
    for c in (1.0, 2.0, 3.0):
        gradients(lambda x, y, c=c: c * x * y)
    assert len(programs._EXECUTABLES) == 2


@pytest.mark.parametrize("captured", [True, False])
def test_a_large_constant_is_part_of_the_program_to_its_last_entry(captured: bool) -> None:
    x, a = np.linspace(1.0, 2.0, 50_000), np.zeros(50_000)
    for k in (3, 25_000, 49_999):
        a[k] += 0.5  # exact in the 32 bits that JAX may make of it
        given = jax.numpy.asarray(a) if captured else a.copy()
        seen = JAX.run_vjp_by(adapter.JITTED, lambda x, a=given: a * x, {"x": x}, ("x",), (np.ones_like(x),))
        np.testing.assert_array_equal(seen.gradients["x"], a)
    assert len(programs._EXECUTABLES) == 3
