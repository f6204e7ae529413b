"""Matrix product over a grid of tiles with an accumulator, after Pallas's tutorial; both gradients by the same kernel."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

TILE = 4


def matmul_kernel(x_ref, y_ref, out_ref, *, depth):
    k = pl.program_id(2)

    @pl.when(k == 0)
    def _():
        out_ref[...] = jnp.zeros_like(out_ref)

    inside = k * TILE + jnp.arange(TILE) < depth
    x = jnp.where(inside[None, :], x_ref[...], 0)
    y = jnp.where(inside[:, None], y_ref[...], 0)
    out_ref[...] += jnp.dot(x, y, preferred_element_type=jnp.float32)


@jax.jit
def matmul(x, y):
    (m, depth), n = x.shape, y.shape[1]
    return pl.pallas_call(
        partial(matmul_kernel, depth=depth),
        out_shape=jax.ShapeDtypeStruct((m, n), jnp.float32),
        grid=(pl.cdiv(m, TILE), pl.cdiv(n, TILE), pl.cdiv(depth, TILE)),
        in_specs=[
            pl.BlockSpec((TILE, TILE), lambda i, j, k: (i, k)),
            pl.BlockSpec((TILE, TILE), lambda i, j, k: (k, j)),
        ],
        out_specs=pl.BlockSpec((TILE, TILE), lambda i, j, k: (i, j)),
        interpret=True,
    )(x, y)


@jax.custom_vjp
def function(x, y):
    return matmul(x, y).astype(x.dtype)


def forward(x, y):
    return function(x, y), (x, y)


def backward(kept, g):
    x, y = kept
    return matmul(g, y.T).astype(x.dtype), matmul(x.T, g).astype(y.dtype)


function.defvjp(forward, backward)


def point(dtype, rand):
    return rand(5, 6).astype(dtype), rand(6, 3).astype(dtype)


MUTANTS = [
    ("stale", "the accumulator is not set to zero", "out_ref[...] = jnp.zeros_like(out_ref)", "pass"),
    ("mask", "the tail of the depth is not masked", "x = jnp.where(inside[None, :], x_ref[...], 0)", "x = x_ref[...]"),
    ("sign", "dy has the wrong sign", "matmul(x.T, g)", "matmul(x.T, -g)"),
    ("term", "dx leaves out the last column of g", "matmul(g, y.T)", "matmul(g[:, :-1], y.T[:-1])"),
    ("accumulator", "dx is summed in bfloat16", "return matmul(g, y.T).astype(x.dtype), ",
     "return matmul(g.astype(jnp.bfloat16), y.T.astype(jnp.bfloat16)).astype(x.dtype), "),
]  # fmt: skip
