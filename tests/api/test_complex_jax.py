"""`check` on complex functions of JAX, whose gradients are the conjugates of PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

from gradverify import check  # noqa: E402
from gradverify.core.verdict import FailKind, Outcome  # noqa: E402
from gradverify.jax import check_grads  # noqa: E402


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def z(*shape: int, seed: int = 0) -> Any:
    rng = np.random.default_rng([seed, *shape])
    return jnp.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


def x(*shape: int, seed: int = 1) -> Any:
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape))


def quick(fn: Any, *args: Any, **options: Any) -> Any:
    return check(fn, *args, effort="quick", **options)


def custom(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    @jax.custom_vjp
    def f(*args: Any) -> Any:
        return forward(*args)

    f.defvjp(lambda *args: (forward(*args), args), lambda args, g: backward(g, *args))
    return f


RIGHT: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]] = {
    "abs": (jnp.abs, lambda: (z(3),)),
    "product with a conjugate": (lambda z, w: z * jnp.conj(w), lambda: (z(3), z(3, seed=1))),
    "holomorphic": (lambda z: jnp.exp(jnp.sin(z)) / z, lambda: (z(3),)),
    "powers": (lambda z: z**3 + z**0.5 + z ** (1 - 1j), lambda: (z(3),)),
    "real to complex": (lambda x: jax.lax.complex(x, x * x) ** 2, lambda: (x(3),)),
    "real times complex": (lambda x, z: x * z, lambda: (x(3), z(3))),
    "real loss": (lambda z: jnp.sum(jnp.abs(z) ** 2), lambda: (z(3),)),
    "fft": (lambda z: jnp.fft.fft(z), lambda: (z(6),)),
    "spectral filter": (lambda x: jnp.fft.irfft(jnp.fft.rfft(x) * 2j, n=5), lambda: (x(5),)),
    "matmul": (lambda z, w: z @ w.conj().T, lambda: (z(2, 3), z(2, 3, seed=1))),
    "solve": (jnp.linalg.solve, lambda: (z(2, 2), z(2))),
    "scan": (lambda z: jax.lax.scan(lambda c, v: (c * v, c + v), z[0], z)[1], lambda: (z(3),)),
    "right by hand": (custom(lambda z: z * z, lambda g, z: (g * 2 * z,)), lambda: (z(3),)),
    "modulus squared by hand": (
        custom(lambda z: jnp.real(z * jnp.conj(z)), lambda g, z: (2 * g * jnp.conj(z),)), lambda: (z(3),)),
    "real argument by hand": (
        custom(lambda x, z: x * z, lambda g, x, z: (jnp.real(g * z), g * x)), lambda: (x(3), z(3))),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_pass(name: str) -> None:
    fn, args = RIGHT[name]
    verdict = quick(fn, *args())
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert verdict.dtype == ("float64" if name == "spectral filter" else "complex128")


WRONG: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]] = {
    "PyTorch's convention": (custom(lambda z: z * z, lambda g, z: (g * jnp.conj(2 * z),)), lambda: (z(3),)),
    "conj passes g on": (custom(jnp.conj, lambda g, z: (g,)), lambda: (z(3),)),
    "imaginary part dropped": (
        custom(lambda z: z * z, lambda g, z: (jnp.real(g * 2 * z).astype(z.dtype),)), lambda: (z(3),)),
    "half of it": (
        custom(lambda z: jnp.real(z * jnp.conj(z)), lambda g, z: (g * jnp.conj(z),)), lambda: (z(3),)),
    "modulus for a real argument": (
        custom(lambda x, z: x * z, lambda g, x, z: (jnp.abs(g * z), g * x)), lambda: (x(3), z(3))),
    "fft's backward turns the other way": (
        custom(lambda z: jnp.fft.fft(z), lambda g, z: (jnp.fft.ifft(g, norm="forward"),)), lambda: (z(6),)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones_fail(name: str) -> None:
    fn, args = WRONG[name]
    verdict = quick(fn, *args())
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert verdict.kind is FailKind.WRONG


def test_other_values_of_a_complex_function() -> None:
    verdict = check(lambda z: z * jnp.conj(z) + z**2, z(2))
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert {"other values", "float32"} <= set(verdict.facts["tried"])


def test_a_cotangent_is_read_in_jaxs_convention() -> None:
    """A pair (a, b) is a - ib: a backward that turns the sign of the imaginary part is seen by an imaginary cotangent."""
    wrong = custom(lambda z: z * 1, lambda g, z: (jnp.conj(g),))
    assert quick(wrong, z(2), cotangent=np.array([1.5 + 0j, 0])).outcome is Outcome.PASS
    assert quick(wrong, z(2), cotangent=np.array([1.5j, 0])).outcome is Outcome.FAIL


def test_second_order_and_forward_mode() -> None:
    verdict = quick(lambda z: jnp.sum(jnp.abs(z) ** 3), z(2), order=2, modes=("rev", "fwd"))
    assert verdict.outcome is Outcome.PASS, verdict.text()


def test_check_grads_takes_complex_arrays() -> None:
    check_grads(lambda z: z * jnp.exp(z), (z(2),), order=2)
    wrong = custom(lambda z: z * z, lambda g, z: (g * jnp.conj(2 * z),))
    with pytest.raises(AssertionError, match=r"got .*, want "):
        check_grads(wrong, (z(2),), order=1, modes=["rev"])


def test_two_defects_of_jax() -> None:
    """JAX 0.10: `sign` of complex numbers has a gradient of zero, and `acosh` the wrong sign where Re z < 0."""
    assert quick(jnp.sign, z(2)).kind is FailKind.WRONG
    assert quick(jnp.arccosh, jnp.asarray([0.5 + 0.3j])).outcome is Outcome.PASS
    assert quick(jnp.arccosh, jnp.asarray([-0.5 + 0.3j])).kind is FailKind.WRONG
