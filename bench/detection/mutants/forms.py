# ruff: noqa: E501 - one entry, one line: a table
"""Class 11 again: rules of library functions whose quotients and differences cancel, or that are off by a constant.

The functions are ops of the table (sinc, I_n, erfcx, log_ndtr), whose derivatives keep their digits, so that no budget
excuses a rule that does not; and complex tanh, expm1 and sigmoid, where a framework's own factor would be excused and a
custom one is not.
"""

from __future__ import annotations

import math

import torch

from ..catalogue import Table
from .jax_rules import rule

T11, T2 = Table(11), Table(2)
F32, C128 = torch.float32, torch.complex128
ROOT_PI, ROOT_2 = math.sqrt(math.pi), math.sqrt(2.0)
S = torch.special
SMALL = lambda r: (r.of([3e-7, 0.7, -2.3]),)
FAR = lambda r: (r.of([4e4, 1.3, -0.4]),)
LEFT = lambda r: (r.of([-3e5, -1.2, 0.8]),)
COMPLEX = lambda *v: lambda r: (torch.tensor(v, dtype=C128, requires_grad=True),)


def tail(name, about, forward, wrong, right, args, **more):
    T11.pair(f"form-{name}", about, forward, wrong, right, args, **more)


def constant(name, about, forward, wrong, right, args, **more):
    T2.pair(f"form-{name}", about, forward, wrong, right, args, **more)


def _dsinc(x):
    """(cos πx - sinc x)/x, by its series near 0."""
    z = math.pi * x
    near = z.abs() < 0.5
    u = torch.where(near, z, 0.0) ** 2
    series = (
        -z * math.pi / 3 * (1 - u / 10 * (1 - u / 28 * (1 - u / 54 * (1 - u / 88 * (1 - u / 130 * (1 - u / 180))))))
    )
    far = torch.where(near, 1.0, x)
    return torch.where(near, series, (torch.cos(math.pi * far) - torch.sinc(far)) / far)


def _derfcx(x):
    """2 x erfcx(x) - 2/√π, by Legendre's continued fraction from 1 on (DLMF 7.18.7)."""
    y = torch.where(x > 1, x, 1.0)
    ratio = torch.zeros_like(y)
    for k in range(400, 0, -1):
        ratio = 1 / (2 * y + 2 * (k + 1) * ratio)
    first = 1 / (2 * y + 2 * ratio)
    return torch.where(x > 1, -4 / ROOT_PI * first * ratio, 2 * x * S.erfcx(x) - 2 / ROOT_PI)


def _mills(x):
    """φ(x)/Φ(x)."""
    return ROOT_2 / ROOT_PI / S.erfcx(-x / ROOT_2)


# --- cancellation
tail("sinc-quotient", "(cos πx - sinc x)/x at 3e-7", torch.sinc, lambda g, o, x: g * (torch.cos(math.pi * x) - o) / x, lambda g, o, x: g * _dsinc(x), SMALL, quick=True)  # fmt: skip
tail("sinc-quotient-float32", "the same at 2e-3 in float32", torch.sinc, lambda g, o, x: g * (torch.cos(math.pi * x) - o) / x, lambda g, o, x: g * _dsinc(x.double()).to(x.dtype), lambda r: (r.of([2e-3, 0.7, -2.3], F32),))  # fmt: skip
tail("i0-unscaled", "sign·I0 cancels against I0 in the product rule of e^|x| i0e(x), at 3e-7", S.i0, lambda g, o, x: g * (x.sign() * o + x.abs().exp() * (S.i1e(x) - x.sign() * S.i0e(x))), lambda g, o, x: g * S.i1(x), SMALL, quick=True)  # fmt: skip
tail("erfcx-difference", "2x·out - 2/√π at 4e4", S.erfcx, lambda g, o, x: g * (2 * x * o - 2 / ROOT_PI), lambda g, o, x: g * _derfcx(x), FAR, quick=True)  # fmt: skip
tail("erfcx-of-a-multiple", "the same, of 3x", lambda x: S.erfcx(3 * x), lambda g, o, x: g * (18 * x * o - 6 / ROOT_PI), lambda g, o, x: 3 * g * _derfcx(3 * x), FAR)  # fmt: skip
tail("log-ndtr-ratio", "φ/Φ is 0/0 at -3e5", S.log_ndtr, lambda g, o, x: g * torch.exp(-x * x / 2) / (ROOT_2 * ROOT_PI * S.ndtr(x)), lambda g, o, x: g * _mills(x), LEFT, quick=True)  # fmt: skip
tail("log-ndtr-exponent", "exp(-x²/2 - out) at -3e5 keeps six digits", S.log_ndtr, lambda g, o, x: g * torch.exp(-x * x / 2 - o) / (ROOT_2 * ROOT_PI), lambda g, o, x: g * _mills(x), LEFT)  # fmt: skip
tail("complex-tanh", "1 - out² at 11 + 2i, in a rule of one's own", torch.tanh, lambda g, o, z: g * (1 - o * o).conj(), lambda g, o, z: g * (4 / (z.exp() + (-z).exp()) ** 2).conj(), COMPLEX(11 + 2j, 0.5 - 1j))  # fmt: skip
tail("complex-expm1", "out + 1 at -25 + 2i, in a rule of one's own", torch.expm1, lambda g, o, z: g * (o + 1).conj(), lambda g, o, z: g * z.exp().conj(), COMPLEX(-25 + 2j, 0.5 - 1j))  # fmt: skip
tail("complex-sigmoid", "1 - out at 25 + 0.3i, in a rule of one's own", torch.sigmoid, lambda g, o, z: g * (o * (1 - o)).conj(), lambda g, o, z: g * (o * torch.sigmoid(-z)).conj(), COMPLEX(25 + 0.3j, 0.5 - 1j))  # fmt: skip
# --- constants
constant("sinc-without-pi", "sinc by sin(x)/x's rule: a factor π is lost in one term", torch.sinc, lambda g, o, x: g * (torch.cos(math.pi * x) - o / math.pi) / x, lambda g, o, x: g * _dsinc(x), lambda r: (r.of([0.4, -1.7]),))  # fmt: skip
constant("i1-without-a-half", "I1' = (I0 + I2)/2 with I2 left out", S.i1, lambda g, o, x: g * S.i0(x) / 2, lambda g, o, x: g * torch.where(x == 0, 0.5, S.i0(x) - S.i1(x) / torch.where(x == 0, 1.0, x)), lambda r: (r.of([0.0, 0.4, -1.7]),))  # fmt: skip
constant("log-ndtr-erf", "φ/Φ with π for √(2π)", S.log_ndtr, lambda g, o, x: g * torch.exp(-x * x / 2) / (math.pi * S.ndtr(x)), lambda g, o, x: g * _mills(x), lambda r: (r.of([0.4, -1.7]),))  # fmt: skip
JAX: list = []
rule("form-sinc", 11, "(cos πx - sinc x)/x at 3e-7", lambda jnp, x: jnp.sinc(x), lambda jnp, g, o, x: g * (jnp.cos(jnp.pi * x) - o) / x, lambda jnp, g, o, x: g * jnp.where(jnp.abs(x) < 1e-3, -(jnp.pi**2) * x / 3 * (1 - (jnp.pi * x) ** 2 / 10 * (1 - (jnp.pi * x) ** 2 / 28)), (jnp.cos(jnp.pi * x) - o) / x), SMALL, into=JAX)  # fmt: skip
rule("form-i0", 11, "I0's derivative as I0 times tanh(x/2), which is right to two terms", lambda jnp, x: jnp.i0(x), lambda jnp, g, o, x: g * o * jnp.tanh(x / 2), lambda jnp, g, o, x: g * _i1(jnp, x), lambda r: (r.of([1e-3, 0.7, -2.3]),), into=JAX)  # fmt: skip


def _i1(jnp, x):
    import jax

    return jnp.exp(jnp.abs(x)) * jax.scipy.special.i1e(x)


ENTRIES = [*T11, *T2, *JAX]
