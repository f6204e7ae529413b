"""Layer norm, partial sums of the weights' gradients for each block, after Triton's tutorial 5 in Pallas."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

ROWS, EPS = 2, 1e-5


def layer_norm_kernel(x_ref, w_ref, b_ref, out_ref, mean_ref, rstd_ref):
    x = x_ref[...].astype(jnp.float32)
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    rstd = jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + EPS)
    out_ref[...] = (centred * rstd * w_ref[...] + b_ref[...]).astype(out_ref.dtype)
    mean_ref[...], rstd_ref[...] = mean, rstd


def layer_norm_backward_kernel(x_ref, w_ref, g_ref, mean_ref, rstd_ref, dx_ref, dw_ref, db_ref, *, rows):
    inside = (pl.program_id(0) * ROWS + jnp.arange(ROWS) < rows)[:, None]
    g = jnp.where(inside, g_ref[...].astype(jnp.float32), 0.0)
    xhat = jnp.where(inside, (x_ref[...].astype(jnp.float32) - mean_ref[...]) * rstd_ref[...], 0.0)
    gw = g * w_ref[...]
    dx = gw - jnp.mean(gw, axis=-1, keepdims=True) - xhat * jnp.mean(gw * xhat, axis=-1, keepdims=True)
    dx_ref[...] = (dx * rstd_ref[...]).astype(dx_ref.dtype)
    dw_ref[...] = jnp.sum(g * xhat, axis=0, keepdims=True)
    db_ref[...] = jnp.sum(g, axis=0, keepdims=True)


def specs(n):
    row = pl.BlockSpec((ROWS, n), lambda i: (i, 0))
    return row, pl.BlockSpec((n,), lambda i: (0,)), pl.BlockSpec((ROWS, 1), lambda i: (i, 0))


@jax.jit
def layer_norm(x, w, b):
    rows, n = x.shape
    row, whole, one = specs(n)
    column = jax.ShapeDtypeStruct((rows, 1), jnp.float32)
    return pl.pallas_call(
        layer_norm_kernel,
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype), column, column],
        grid=(pl.cdiv(rows, ROWS),),
        in_specs=[row, whole, whole],
        out_specs=[row, one, one],
        interpret=True,
    )(x, w, b)


@jax.jit
def layer_norm_backward(x, w, mean, rstd, g):
    rows, n = x.shape
    row, whole, one = specs(n)
    blocks = pl.cdiv(rows, ROWS)
    part, sums = pl.BlockSpec((1, n), lambda i: (i, 0)), jax.ShapeDtypeStruct((blocks, n), jnp.float32)
    dx, dw, db = pl.pallas_call(
        partial(layer_norm_backward_kernel, rows=rows),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype), sums, sums],
        grid=(blocks,),
        in_specs=[row, whole, row, one, one],
        out_specs=[row, part, part],
        interpret=True,
    )(x, w, g, mean, rstd)
    return dx, dw.sum(0).astype(w.dtype), db.sum(0).astype(w.dtype)


@jax.custom_vjp
def function(x, w, b):
    return layer_norm(x, w, b)[0]


def forward(x, w, b):
    out, mean, rstd = layer_norm(x, w, b)
    return out, (x, w, mean, rstd)


function.defvjp(forward, lambda kept, g: layer_norm_backward(*kept, g))


def point(dtype, rand):
    return rand(5, 6).astype(dtype), rand(6).astype(dtype), rand(6).astype(dtype)


MUTANTS = [
    ("term", "the mean of the cotangent is left out", "gw - jnp.mean(gw, axis=-1, keepdims=True) - xhat", "gw - xhat"),
    ("term", "the term through the variance is left out", " - xhat * jnp.mean(gw * xhat, axis=-1, keepdims=True)", ""),
    ("mask", "rows beyond the end are added to db", "g = jnp.where(inside, g_ref[...].astype(jnp.float32), 0.0)",
     "g = g_ref[...].astype(jnp.float32)"),
    ("index", "all blocks write the first partial sum", 'pl.BlockSpec((1, n), lambda i: (i, 0)), jax',
     'pl.BlockSpec((1, n), lambda i: (0 * i, 0)), jax'),
    ("sign", "db has the wrong sign", "db_ref[...] = jnp.sum(g,", "db_ref[...] = -jnp.sum(g,"),
]  # fmt: skip
