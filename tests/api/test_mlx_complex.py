"""Complex functions of MLX, in complex64: the convention is PyTorch's, dL/d(Re z) + i dL/d(Im z)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradverify import check
from gradverify.core.verdict import FailKind, Outcome

mx = pytest.importorskip("mlx.core")

RNG = np.random.default_rng(5)
Z, W = ((RNG.normal(size=3) + 1j * RNG.normal(size=3)).astype(np.complex64) for _ in range(2))
G = (RNG.normal(size=3) + 1j * RNG.normal(size=3)).astype(np.complex64)

RIGHT: dict[str, Callable[..., Any]] = {
    "exp": lambda z, w: mx.exp(z) * w,
    "log": lambda z, w: mx.log(z) + w,
    "multiply": lambda z, w: z * w * z,
    "divide": lambda z, w: z / w,
    "conjugate": lambda z, w: mx.conj(z) * w,
    "to reals": lambda z, w: (mx.abs(z), mx.real(z * w), mx.imag(w)),
    "matmul": lambda z, w: mx.matmul(z.reshape(1, 3), w),
    "a sum": lambda z, w: mx.sum(z * w) * z[1:],
}


def arrays(*values: np.ndarray) -> list[Any]:
    with mx.stream(mx.cpu):
        return [mx.array(v) for v in values]


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_pass(name: str) -> None:
    verdict = check(RIGHT[name], *arrays(Z, W), effort="quick")
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert verdict.dtype == "complex64"
    assert verdict.power < 1e-3


def test_around_the_point_and_from_reals() -> None:
    (x,) = arrays(Z.real.copy())
    assert check(lambda x: mx.exp(x * 1j), x).outcome is Outcome.PASS


def test_a_rule_that_forgets_to_conjugate_fails() -> None:
    @mx.custom_function
    def square(z: Any) -> Any:
        return z * z

    @square.vjp
    def pulled(primals: Any, cotangent: Any, output: Any) -> Any:
        return cotangent * 2 * primals

    verdict = check(square, *arrays(Z), effort="quick")
    assert verdict.kind is FailKind.WRONG, verdict.text()


def test_the_gradient_of_power_lacks_the_conjugate() -> None:
    """In MLX, d(z**w) comes as g w z**(w - 1), and dw as g z**w log z; the convention of all its other ops wants the
    conjugates of these factors."""
    with mx.stream(mx.cpu):
        z, w, g = (mx.array(v) for v in (Z, W, G))
        _, (dz, dw) = mx.vjp(mx.power, [z, w], [g])
        found = np.array(dz), np.array(dw)
    z64, w64 = Z.astype(complex), W.astype(complex)
    factors = w64 * z64 ** (w64 - 1), z64**w64 * np.log(z64)
    if all(np.allclose(d, G * np.conj(f), rtol=1e-4) for d, f in zip(found, factors)):
        pytest.skip("this MLX conjugates")
    for d, f in zip(found, factors):
        np.testing.assert_allclose(d, G * f, rtol=1e-4)
    verdict = check(lambda z, w: mx.power(z, w), *arrays(Z, W), effort="quick")
    assert verdict.kind is FailKind.WRONG, verdict.text()
