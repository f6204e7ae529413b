"""RMS norm; dw is added up over the blocks of rows, which run in order, after the norms of jax.experimental.pallas.ops."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

ROWS, EPS = 2, 1e-6


def rms_norm_kernel(x_ref, w_ref, out_ref):
    x = x_ref[...].astype(jnp.float32)
    r = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPS)
    out_ref[...] = (x * r * w_ref[...].astype(jnp.float32)).astype(out_ref.dtype)


def rms_norm_backward_kernel(x_ref, w_ref, g_ref, dx_ref, dw_ref, *, rows):
    i = pl.program_id(0)
    inside = (i * ROWS + jnp.arange(ROWS) < rows)[:, None]
    x = jnp.where(inside, x_ref[...].astype(jnp.float32), 1.0)
    g = jnp.where(inside, g_ref[...].astype(jnp.float32), 0.0)
    gw = g * w_ref[...].astype(jnp.float32)
    r = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPS)
    dx = r * gw - r * r * r * x * jnp.mean(x * gw, axis=-1, keepdims=True)
    dx_ref[...] = dx.astype(dx_ref.dtype)

    @pl.when(i == 0)
    def _():
        dw_ref[...] = jnp.zeros_like(dw_ref)

    dw_ref[...] += jnp.sum(g * x * r, axis=0)


def specs(n):
    return pl.BlockSpec((ROWS, n), lambda i: (i, 0)), pl.BlockSpec((n,), lambda i: (0,))


@jax.jit
def rms_norm(x, w):
    rows, n = x.shape
    row, whole = specs(n)
    return pl.pallas_call(
        rms_norm_kernel,
        out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
        grid=(pl.cdiv(rows, ROWS),),
        in_specs=[row, whole],
        out_specs=row,
        interpret=True,
    )(x, w)


@jax.jit
def rms_norm_backward(x, w, g):
    rows, n = x.shape
    row, whole = specs(n)
    dx, dw = pl.pallas_call(
        partial(rms_norm_backward_kernel, rows=rows),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype), jax.ShapeDtypeStruct(w.shape, jnp.float32)],
        grid=(pl.cdiv(rows, ROWS),),
        in_specs=[row, whole, row],
        out_specs=[row, whole],
        interpret=True,
    )(x, w, g)
    return dx, dw.astype(w.dtype)


@jax.custom_vjp
def function(x, w):
    return rms_norm(x, w)


function.defvjp(lambda x, w: (rms_norm(x, w), (x, w)), lambda kept, g: rms_norm_backward(*kept, g))


def point(dtype, rand):
    return rand(5, 6).astype(dtype), rand(6).astype(dtype)


MUTANTS = [
    ("stale", "dw is not set to zero first", "dw_ref[...] = jnp.zeros_like(dw_ref)", "pass"),
    ("term", "the term through the mean is left out", " - r * r * r * x * jnp.mean(x * gw, axis=-1, keepdims=True)", ""),
    ("stale", "dw is that of the last block", "dw_ref[...] += jnp.sum", "dw_ref[...] = jnp.sum"),
    ("constant", "r squared in place of r cubed", "r * r * r * x", "r * r * x"),
    ("mask", "rows beyond the end are added to dw",
     "g = jnp.where(inside, g_ref[...].astype(jnp.float32), 0.0)", "g = g_ref[...].astype(jnp.float32)"),
    ("sign", "the second term is added", "r * gw - r * r", "r * gw + r * r"),
]  # fmt: skip
