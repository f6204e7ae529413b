"""Softmax of rows in blocks of rows, columns masked, after jax.experimental.pallas.ops.gpu.softmax."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

ROWS, COLUMNS = 2, 8


def softmax_kernel(x_ref, out_ref, *, n):
    mask = jnp.arange(COLUMNS) < n
    v = jnp.where(mask, x_ref[...].astype(jnp.float32), -jnp.inf)
    e = jnp.exp(v - jnp.max(v, axis=-1, keepdims=True))
    out_ref[...] = (e / jnp.sum(e, axis=-1, keepdims=True)).astype(out_ref.dtype)


def softmax_backward_kernel(y_ref, g_ref, dx_ref, *, n):
    mask = jnp.arange(COLUMNS) < n
    p = jnp.where(mask, y_ref[...], 0.0)
    d = jnp.where(mask, g_ref[...].astype(jnp.float32), 0.0)
    dx_ref[...] = (p * (d - jnp.sum(p * d, axis=-1, keepdims=True))).astype(dx_ref.dtype)


def launch(kernel, dtype, *arrays):
    rows, n = arrays[0].shape
    spec = pl.BlockSpec((ROWS, COLUMNS), lambda i: (i, 0))
    return pl.pallas_call(
        partial(kernel, n=n),
        out_shape=jax.ShapeDtypeStruct((rows, n), dtype),
        grid=(pl.cdiv(rows, ROWS),),
        in_specs=[spec] * len(arrays),
        out_specs=spec,
        interpret=True,
    )(*arrays)


@partial(jax.jit, static_argnums=1)
def softmax(x, dtype):
    return launch(softmax_kernel, dtype, x)


@jax.jit
def softmax_backward(y, g):
    return launch(softmax_backward_kernel, g.dtype, y, g)


@jax.custom_vjp
def function(x):
    return softmax(x, x.dtype)


def forward(x):
    return softmax(x, x.dtype), softmax(x, jnp.float32)


function.defvjp(forward, lambda y, g: (softmax_backward(y, g),))


def point(dtype, rand):
    return (rand(3, 6).astype(dtype),)


MUTANTS = [
    ("term", "the inner product is left out", "p * (d - jnp.sum(p * d, axis=-1, keepdims=True))", "p * d"),
    ("sign", "the inner product has the wrong sign", "(d - jnp.sum", "(d + jnp.sum"),
    ("mask", "the cotangent is read without a mask", "d = jnp.where(mask, g_ref[...].astype(jnp.float32), 0.0)",
     "d = g_ref[...].astype(jnp.float32)"),
    ("other", "padding is 1 in backward, and counts",
     "p = jnp.where(mask, y_ref[...], 0.0)\n    d = jnp.where(mask, g_ref[...].astype(jnp.float32), 0.0)",
     "p = jnp.where(mask, y_ref[...], 1.0)\n    d = jnp.where(mask, g_ref[...].astype(jnp.float32), 1.0)"),
    ("constant", "a factor of 1 + 1e-4", "dx_ref[...] = (p *", "dx_ref[...] = (1.0001 * p *"),
]  # fmt: skip
