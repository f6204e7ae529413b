"""Formulas that several frameworks share, as texts of the op vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..core.op import Array, Vocabulary
from .base import HolomorphicForm

# B_2k / 2k for k = 1 ... 7: the asymptotic series of digamma (DLMF 5.11.2).
DIGAMMA_SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def digamma(xp: Vocabulary, x: Array) -> Array:
    """Cephes' psi: ten steps of the recurrence, then the asymptotic series. Terms of size 1 cancel next to the root at
    1.4616, where an absolute error of an ulp of 1 is what is left."""
    result = xp.zeros_like(x)
    for _ in range(10):
        result = result - 1.0 / x
        x = x + 1.0
    z = 1.0 / (x * x)
    series = xp.zeros_like(x)
    for c in reversed(DIGAMMA_SERIES):
        series = series * z + c
    return xp.log(x) - 0.5 / x - z * series + result


def gelu_tanh(xp: Vocabulary, x: Array) -> Array:
    return 0.5 * x * (1.0 + xp.tanh(_inner(xp, x)))


def gelu_tanh_vjp(xp: Vocabulary, g: Array, x: Array) -> Array:
    """The product rule on x (1 + tanh u) / 2: both 1 + tanh u and 1 - tanh² u cancel in the tails."""
    t = xp.tanh(_inner(xp, x))
    slope = _scale(xp) * (1.0 + 3 * 0.044715 * x * x)
    return g * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope)


def softsign_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    """The quotient rule on x / (1 + |x|), whose two terms cancel far out."""
    d = 1.0 + xp.abs(x)
    return g / d - g * x / (d * d) * xp.sign(x)


def _scale(xp: Vocabulary) -> Array:
    return xp.sqrt(2.0 / xp.pi)


def _inner(xp: Vocabulary, x: Array) -> Array:
    return _scale(xp) * (x + 0.044715 * x * x * x)


COMPLEX: Mapping[str, HolomorphicForm] = MappingProxyType({
    "tanh": HolomorphicForm("1 - out² cancels where tanh saturates, over complex numbers as over reals",
                            lambda xp, z, out: 1.0 - xp.multiply(out, out)),
    "tan": HolomorphicForm("1 + out² cancels far from the real axis, where tan saturates at ±i",
                           lambda xp, z, out: 1.0 + xp.multiply(out, out)),
    "sigmoid": HolomorphicForm("1 - out cancels where sigmoid saturates, over complex numbers as over reals",
                               lambda xp, z, out: xp.multiply(out, 1.0 - out)),
    "expm1": HolomorphicForm("out + 1 cancels in the left half plane", lambda xp, z, out: out + 1.0),
})  # fmt: skip
"""The factors that PyTorch and JAX both have."""
