"""An embedding: a row for each token by masked loads, added up by a loop in the backward pass, after examples of pl.load."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

WIDTH = 8


def gather_kernel(ids_ref, w_ref, out_ref, *, n):
    at = jnp.arange(WIDTH)
    row = plgpu.load(w_ref.at[ids_ref[0], at], mask=at < n, other=0.0)
    plgpu.store(out_ref.at[0, at], row, mask=at < n)


def gather_backward_kernel(ids_ref, g_ref, dw_ref, *, n):
    at = jnp.arange(WIDTH)
    dw_ref[...] = jnp.zeros_like(dw_ref)

    def step(t, _):
        where = ids_ref[t]
        row = plgpu.load(g_ref.at[t, at], mask=at < n, other=0.0)
        old = plgpu.load(dw_ref.at[where, at], mask=at < n, other=0.0)
        plgpu.store(dw_ref.at[where, at], old + row, mask=at < n)
        return _

    jax.lax.fori_loop(0, ids_ref.shape[0], step, 0)


@jax.jit
def gather(w, ids):
    n, tokens = w.shape[1], ids.shape[0]
    return pl.pallas_call(
        partial(gather_kernel, n=n),
        out_shape=jax.ShapeDtypeStruct((tokens, n), w.dtype),
        grid=(tokens,),
        in_specs=[pl.BlockSpec((1,), lambda t: (t,)), pl.BlockSpec(w.shape, lambda t: (0, 0))],
        out_specs=pl.BlockSpec((1, n), lambda t: (t, 0)),
        interpret=True,
    )(ids, w)


@partial(jax.jit, static_argnums=2)
def gather_backward(ids, g, rows):
    n = g.shape[1]
    like = jax.ShapeDtypeStruct((rows, n), g.dtype)
    return pl.pallas_call(partial(gather_backward_kernel, n=n), out_shape=like, interpret=True)(ids, g)


@jax.custom_vjp
def function(w, ids):
    return gather(w, ids)


function.defvjp(
    lambda w, ids: (gather(w, ids), (ids, w.shape[0])),
    lambda kept, g: (gather_backward(kept[0], g, int(kept[1])), None),
)


def point(dtype, rand):
    return rand(4, 6).astype(dtype), jnp.array([2, 0, 2])


MUTANTS = [
    ("stale", "the gradient is not set to zero first", "    dw_ref[...] = jnp.zeros_like(dw_ref)\n", ""),
    ("mask", "a row is read without a mask", "row = plgpu.load(g_ref.at[t, at], mask=at < n, other=0.0)",
     "row = plgpu.load(g_ref.at[t, at])"),
    ("other", "the tail of a row is not filled, and stored",
     "row = plgpu.load(w_ref.at[ids_ref[0], at], mask=at < n, other=0.0)\n"
     "    plgpu.store(out_ref.at[0, at], row, mask=at < n)",
     "row = plgpu.load(w_ref.at[ids_ref[0], at], mask=at < n - 1)\n    plgpu.store(out_ref.at[0, at], row, mask=at < n)"),
    ("term", "a row that occurs twice counts once", "old + row", "row"),
]  # fmt: skip
