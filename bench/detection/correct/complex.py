"""Right functions of complex numbers: lazy conjugates, parts, spectra, edges and cuts."""

from __future__ import annotations

import torch

from ..catalogue import Entry, Table
from ..mutants.complex import c
from .jax_functions import ok as jax_ok

ENTRIES: list[Entry] = []
T = Table()


def ok(name, about, call, args=lambda r: (c(r, 4),), **more):
    T.fn(f"complex-{name}", about, call, args, **more)


def _halved(z):
    w = z * 1
    w.imag.mul_(0.5)
    return w


ok("modulus", "|z|", torch.abs, quick=True)
ok(
    "modulus-at-zero",
    "|z| with a zero: the declared slope of 0",
    torch.abs,
    lambda r: (r.of([0j, 1 + 2j], torch.complex128),),
)
ok("angle", "the angle, away from the cut", torch.angle)
ok("lazy-conj", "z·conj(z), conjugated lazily", lambda z: z * z.conj(), quick=True)
ok("adjoint", "Zᴴ·Z", lambda z: z.mH @ z, lambda r: (c(r, 2, 3),))
ok("part-in-place", "the imaginary part halved in place, through a view", _halved, quick=True)
ok(
    "views",
    "as reals, flipped, and back",
    lambda z: torch.view_as_complex(torch.view_as_real(z).flip(0).contiguous()) * z,
)
ok("of-parts", "torch.complex of x and x², exp", lambda x: torch.complex(x, x * x).exp(), lambda r: (r(4),))
ok("holomorphic", "exp(sin z)/(1 + z²)", lambda z: torch.exp(torch.sin(z)) / (1 + z * z), quick=True)
ok(
    "inverse",
    "asin·atan + acosh",
    lambda z: torch.asin(z) * torch.atan(z) + torch.acosh(z),
    lambda r: (r.of([0.4 + 0.7j, 1.2 - 0.3j], torch.complex128),),
)
ok(
    "power-negative-axis",
    "z³ on the negative axis, where exp(3 log z) is 1e-15 off it",
    lambda z: z**3,
    lambda r: (r.of([-2 + 0j, -0.5 + 0j], torch.complex128),),
    quick=True,
)
ok(
    "log-near-one",
    "log where |z| is next to 1",
    torch.log,
    lambda r: (r.of([1 + 1e-9j, 0.6 + 0.8j, 1j], torch.complex128),),
)
ok(
    "sigmoid-near-pole",
    "sigmoid next to its pole at πi",
    torch.sigmoid,
    lambda r: (r.of([1e-3 + 3.14j, 2 - 3j], torch.complex128),),
)
ok(
    "quotient-scales",
    "z/w with parts of 1e-150 and 1e150",
    torch.div,
    lambda r: (r.of([1e-150 + 1j, 2 + 1e-9j], torch.complex128), r.of([1e150 + 1e150j, 1e-9 - 3j], torch.complex128)),
)
ok("fft-ortho", "fft, norm='ortho', length 12", lambda z: torch.fft.fft(z, norm="ortho"), lambda r: (c(r, 12),))
ok(
    "spectral-filter",
    "rfft, filter, irfft of odd length",
    lambda x: torch.fft.irfft(torch.fft.rfft(x) * (0.5 + 2j), n=7),
    lambda r: (r(7),),
    quick=True,
)
ok("solve", "a linear system", torch.linalg.solve, lambda r: (c(r, 3, 3), c(r, 3)))
ok(
    "complex64",
    "tanh(z)·conj(z) in complex64",
    lambda z: torch.tanh(z) * z.conj(),
    lambda r: (c(r, 4, dtype=torch.complex64),),
    quick=True,
)
ok(
    "real-loss",
    "Σ|Az|² for real z promoted",
    lambda x, a: (a @ x.to(a.dtype)).abs().square().sum(),
    lambda r: (r(3), c(r, 2, 3)),
)

jax_ok("complex-modulus", "|z|", lambda jax, jnp, z: jnp.abs(z), lambda r: (c(r, 3),), into=ENTRIES)
jax_ok(
    "complex-conj-product",
    "z·conj(z) + z²",
    lambda jax, jnp, z: z * jnp.conj(z) + z**2,
    lambda r: (c(r, 3),),
    quick=True,
    into=ENTRIES,
)
jax_ok("complex-fft", "fft", lambda jax, jnp, z: jnp.fft.fft(z), lambda r: (c(r, 4),), into=ENTRIES)
jax_ok("complex-real-loss", "Σ|z|³", lambda jax, jnp, z: jnp.sum(jnp.abs(z) ** 3), lambda r: (c(r, 3),), into=ENTRIES)
jax_ok(
    "complex-of-parts",
    "lax.complex(x, x²)²",
    lambda jax, jnp, x: jax.lax.complex(x, x * x) ** 2,
    lambda r: (r(3),),
    into=ENTRIES,
)
ENTRIES += T
