"""Rotary embedding of heads, a program instance for each token, after the rotary kernels of MaxText and Liger."""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl


def rope_kernel(x_ref, cos_ref, sin_ref, out_ref, *, sign):
    half = x_ref.shape[-1] // 2
    cos, sin = cos_ref[...].astype(jnp.float32), sign * sin_ref[...].astype(jnp.float32)
    a = x_ref[:, :, pl.ds(0, half)].astype(jnp.float32)
    b = x_ref[:, :, pl.ds(half, half)].astype(jnp.float32)
    out_ref[:, :, pl.ds(0, half)] = (a * cos - b * sin).astype(out_ref.dtype)
    out_ref[:, :, pl.ds(half, half)] = (b * cos + a * sin).astype(out_ref.dtype)


def rope_backward_kernel(x_ref, cos_ref, sin_ref, out_ref):
    rope_kernel(x_ref, cos_ref, sin_ref, out_ref, sign=-1.0)


def rope_forward_kernel(x_ref, cos_ref, sin_ref, out_ref):
    rope_kernel(x_ref, cos_ref, sin_ref, out_ref, sign=1.0)


def launch(kernel, x, cos, sin):
    tokens, heads, n = x.shape
    return pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
        grid=(tokens,),
        in_specs=[
            pl.BlockSpec((1, heads, n), lambda t: (t, 0, 0)),
            pl.BlockSpec((1, n // 2), lambda t: (t, 0)),
            pl.BlockSpec((1, n // 2), lambda t: (t, 0)),
        ],
        out_specs=pl.BlockSpec((1, heads, n), lambda t: (t, 0, 0)),
        interpret=True,
    )(x, cos, sin)


@jax.jit
def rope(x, cos, sin):
    return launch(rope_forward_kernel, x, cos, sin)


@jax.jit
def rope_backward(g, cos, sin):
    return launch(rope_backward_kernel, g, cos, sin)


@jax.custom_vjp
def rotated(x, cos, sin):
    return rope(x, cos, sin)


rotated.defvjp(
    lambda x, cos, sin: (rope(x, cos, sin), (cos, sin)),
    lambda kept, g: (rope_backward(g, *kept), jnp.zeros_like(kept[0]), jnp.zeros_like(kept[1])),
)


def function(x):
    tokens, _, n = x.shape
    angles = jnp.arange(tokens)[:, None] * 10.0 ** (-jnp.arange(n // 2) / 2.0) + 0.3
    return rotated(x, jnp.cos(angles), jnp.sin(angles))


def point(dtype, rand):
    return (rand(3, 2, 6).astype(dtype),)


MUTANTS = [
    ("sign", "the backward pass turns the same way", "out_ref, sign=-1.0)", "out_ref, sign=1.0)"),
    ("tail", "the second half of the gradient is not written",
     "rope_kernel(x_ref, cos_ref, sin_ref, out_ref, sign=-1.0)",
     "out_ref[:, :, pl.ds(0, 3)] = x_ref[:, :, pl.ds(0, 3)]"),
    ("index", "the angles of the next token", "return launch(rope_backward_kernel, g, cos, sin)",
     "return launch(rope_backward_kernel, g, jnp.roll(cos, 1, 0), jnp.roll(sin, 1, 0))"),
    ("term", "the sines are left out of backward", "out_ref, sign=-1.0)", "out_ref, sign=0.0)"),
]  # fmt: skip
