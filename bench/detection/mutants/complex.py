"""Class 7: conjugates, halves and parts of complex gradients, in the conventions of PyTorch and of JAX."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..catalogue import Entry, Rand, Table, function
from .jax_rules import rule

ENTRIES: list[Entry] = []
T = Table(7)
C128 = torch.complex128


def c(r: Rand, *shape: int, dtype: torch.dtype = C128) -> torch.Tensor:
    """Complex standard normal."""
    return r.of(r.rng.standard_normal(shape) + 1j * r.rng.standard_normal(shape), dtype)


def one(name, about, forward, wrong, right, args=lambda r: (c(r, 4),), **more):
    T.pair(f"complex-{name}", about, forward, wrong, right, args, **more)


def two(r):
    return c(r, 4), c(r, 4)


one(
    "square-no-conj",
    "z²: 2·z·g without the conjugate",
    lambda z: z * z,
    lambda g, o, z: 2 * g * z,
    lambda g, o, z: 2 * g * z.conj(),
    source="pytorch#80926",
    quick=True,
)
one(
    "mul-one-conj",
    "z·w: the conjugate is left out for w only",
    torch.mul,
    lambda g, o, z, w: (g * w.conj(), g * z),
    lambda g, o, z, w: (g * w.conj(), g * z.conj()),
    two,
    source="mlx#3433",
    quick=True,
)
one(
    "exp-conj-twice",
    "exp: the cotangent is conjugated as well",
    torch.exp,
    lambda g, o, z: g.conj() * o.conj(),
    lambda g, o, z: g * o.conj(),
)
one(
    "conj-passes-on",
    "conj: g for conj(g)",
    torch.conj_physical,
    lambda g, o, z: g,
    lambda g, o, z: g.conj(),
    quick=True,
)
one(
    "imaginary-dropped",
    "z²: the imaginary part of the gradient is lost in a cast",
    lambda z: z * z,
    lambda g, o, z: (2 * g * z.conj()).real.to(z.dtype),
    lambda g, o, z: 2 * g * z.conj(),
    source="HIPS/autograd#360",
    quick=True,
)
one(
    "abs-half",
    "|z|: g·z/(2|z|), the Wirtinger derivative itself",
    torch.abs,
    lambda g, o, z: g * z.sgn() / 2,
    lambda g, o, z: g * z.sgn(),
    quick=True,
)
one(
    "abs-square-half",
    "|z|²: g·z for 2·g·z",
    lambda z: (z * z.conj()).real.clone(),
    lambda g, o, z: g * z,
    lambda g, o, z: 2 * g * z,
)
one(
    "abs-jax-convention",
    "|z|: conj(z)/|z|, JAX's convention",
    torch.abs,
    lambda g, o, z: g * z.sgn().conj(),
    lambda g, o, z: g * z.sgn(),
)
one(
    "angle-sign",
    "angle: -i·z/|z|² for i·z/|z|²",
    torch.angle,
    lambda g, o, z: -1j * g * z / z.abs() ** 2,
    lambda g, o, z: 1j * g * z / z.abs() ** 2,
)
one(
    "real-input-modulus",
    "x·z: |g·conj(z)| for its real part",
    lambda x, z: x * z,
    lambda g, o, x, z: ((g * z.conj()).abs(), g * x),
    lambda g, o, x, z: ((g * z.conj()).real, g * x),
    lambda r: (r(4), c(r, 4)),
    source="pytorch handle_r_to_c",
)
one(
    "real-input-complex-raises",
    "x·z: a complex gradient for the real x, which raises",
    lambda x, z: x * z,
    lambda g, o, x, z: (g * z.conj(), g * x),
    lambda g, o, x, z: ((g * z.conj()).real, g * x),
    lambda r: (r(4), c(r, 4)),
    source="pytorch handle_r_to_c",
)
one("imag-of", "imag: g for i·g", lambda z: z.imag.clone(), lambda g, o, z: g.to(z.dtype), lambda g, o, z: 1j * g)
one(
    "polar-angle",
    "polar: the angle's gradient takes the real part",
    torch.polar,
    lambda g, o, a, t: ((g * torch.polar(torch.ones_like(t), -t)).real, (g * o.conj()).real),
    lambda g, o, a, t: ((g * torch.polar(torch.ones_like(t), -t)).real, (g * o.conj()).imag),
    lambda r: (r.pos(4), r(4)),
)
one(
    "matmul-transposed",
    "Z·W: Wᵀ for Wᴴ",
    torch.matmul,
    lambda g, o, z, w: (g @ w.mT, z.mH @ g),
    lambda g, o, z, w: (g @ w.mH, z.mH @ g),
    lambda r: (c(r, 2, 3), c(r, 3, 2)),
    quick=True,
)
one(
    "vdot-swapped",
    "vdot: the gradients of its two arguments change places",
    torch.vdot,
    lambda g, o, z, w: (g * z, g.conj() * w),
    lambda g, o, z, w: (g.conj() * w, g * z),
    two,
)
one(
    "fft-direction",
    "fft: backward is an fft too",
    lambda z: torch.fft.fft(z),
    lambda g, o, z: torch.fft.fft(g),
    lambda g, o, z: torch.fft.ifft(g, norm="forward"),
    lambda r: (c(r, 6),),
    quick=True,
)
one(
    "fft-scaled",
    "fft: backward is scaled by 1/n",
    lambda z: torch.fft.fft(z),
    lambda g, o, z: torch.fft.ifft(g),
    lambda g, o, z: torch.fft.ifft(g, norm="forward"),
    lambda r: (c(r, 6),),
)
one(
    "rfft-half",
    "rfft: backward fills in the conjugate half of the spectrum",
    lambda x: torch.fft.rfft(x),
    lambda g, o, x: torch.fft.irfft(g, n=len(x), norm="forward"),
    lambda g, o, x: torch.fft.fft(F.pad(g, (0, len(x) - len(o))).conj()).real,
    lambda r: (r(6),),
    quick=True,
)
one(
    "inverse-transposed",
    "inv: Xᵀ for Xᴴ",
    torch.linalg.inv,
    lambda g, o, z: -(o.mT @ g @ o.mT),
    lambda g, o, z: -(o.mH @ g @ o.mH),
    lambda r: (c(r, 3, 3),),
)
one(
    "divide-numerator",
    "z/w: the denominator of the first gradient is not conjugated",
    torch.div,
    lambda g, o, z, w: (g / w, -g * (z / w**2).conj()),
    lambda g, o, z, w: (g / w.conj(), -g * (z / w**2).conj()),
    two,
)
T.add(
    "complex-conj-lost-in-second",
    "z²: first order right, the second is that of a detached tensor",
    function(lambda z: z * z, lambda g, o, z: 2 * g * z.detach().conj()),
    lambda r: (c(r, 4),),
    function(lambda z: z * z, lambda g, o, z: 2 * g * z.conj()),
    elsewhere="order 2",
)


def jax_one(name, about, forward, wrong, right, args=lambda r: (c(r, 3),), **more):
    rule(f"complex-{name}", 7, about, forward, wrong, right, args, ENTRIES, **more)


jax_one(
    "square-conj",
    "z²: the conjugate that PyTorch's convention has",
    lambda jnp, z: z * z,
    lambda jnp, g, o, z: 2 * g * z.conj(),
    lambda jnp, g, o, z: 2 * g * z,
    quick=True,
)
jax_one(
    "conj-passes-on",
    "conj: g for conj(g)",
    lambda jnp, z: jnp.conj(z),
    lambda jnp, g, o, z: g,
    lambda jnp, g, o, z: g.conj(),
)
jax_one(
    "abs-no-conj",
    "|z|: z/|z| for conj(z)/|z|",
    lambda jnp, z: jnp.abs(z),
    lambda jnp, g, o, z: g * z / o,
    lambda jnp, g, o, z: g * jnp.where(o > 0, z.conj() / jnp.where(o > 0, o, 1.0), 0.0),
)
jax_one(
    "abs-square-half",
    "|z|²: half of it",
    lambda jnp, z: jnp.real(z * jnp.conj(z)),
    lambda jnp, g, o, z: g * z.conj(),
    lambda jnp, g, o, z: 2 * g * z.conj(),
    quick=True,
)
jax_one(
    "real-input",
    "x·z: |g·z| for its real part",
    lambda jnp, x, z: x * z,
    lambda jnp, g, o, x, z: (jnp.abs(g * z), g * x),
    lambda jnp, g, o, x, z: (jnp.real(g * z), g * x),
    lambda r: (r(3), c(r, 3)),
)
jax_one(
    "imaginary-dropped",
    "exp: only the real part of the gradient",
    lambda jnp, z: jnp.exp(z),
    lambda jnp, g, o, z: (g * o).real.astype(z.dtype),
    lambda jnp, g, o, z: g * o,
)
jax_one(
    "ifft-for-fft",
    "fft: backward by the inverse, though JAX's is the transpose",
    lambda jnp, z: jnp.fft.fft(z),
    lambda jnp, g, o, z: jnp.fft.ifft(g, norm="forward"),
    lambda jnp, g, o, z: jnp.fft.fft(g),
    lambda r: (c(r, 4),),
)
ENTRIES += T
