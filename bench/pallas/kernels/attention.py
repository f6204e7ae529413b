"""Causal attention, a row of blocks of queries, keys in a loop with the online softmax, after Pallas's own attention."""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

BLOCK = 2
LOW = -1e30


def attention_kernel(q_ref, k_ref, v_ref, out_ref, lse_ref):
    i = pl.program_id(0)
    q = q_ref[...].astype(jnp.float32)
    rows = i * BLOCK + jnp.arange(BLOCK)

    def step(j, carry):
        acc, top, total = carry
        at = pl.ds(j * BLOCK, BLOCK)
        s = q @ k_ref[at, :].astype(jnp.float32).T
        s = jnp.where(rows[:, None] >= (j * BLOCK + jnp.arange(BLOCK))[None, :], s, LOW)
        new = jnp.maximum(top, s.max(axis=1))
        p, scale = jnp.exp(s - new[:, None]), jnp.exp(top - new)
        return acc * scale[:, None] + p @ v_ref[at, :].astype(jnp.float32), new, total * scale + p.sum(axis=1)

    start = jnp.zeros(q.shape, jnp.float32), jnp.full((BLOCK,), LOW), jnp.zeros((BLOCK,), jnp.float32)
    acc, top, total = jax.lax.fori_loop(0, k_ref.shape[0] // BLOCK, step, start)
    out_ref[...] = (acc / total[:, None]).astype(out_ref.dtype)
    lse_ref[...] = top + jnp.log(total)


def attention_backward_kernel(q_ref, k_ref, v_ref, out_ref, lse_ref, g_ref, dq_ref, dk_ref, dv_ref):
    q, k, v, o, g = (r[...].astype(jnp.float32) for r in (q_ref, k_ref, v_ref, out_ref, g_ref))
    n = q.shape[0]
    at = jnp.arange(n)
    p = jnp.where(at[:, None] >= at[None, :], jnp.exp(q @ k.T - lse_ref[...][:, None]), 0.0)
    delta = jnp.sum(o * g, axis=1, keepdims=True)
    ds = p * (g @ v.T - delta)
    dq_ref[...] = (ds @ k).astype(dq_ref.dtype)
    dk_ref[...] = (ds.T @ q).astype(dk_ref.dtype)
    dv_ref[...] = (p.T @ g).astype(dv_ref.dtype)


def launch_forward(q, k, v, dtype):
    n, d = q.shape
    block, whole = pl.BlockSpec((BLOCK, d), lambda i: (i, 0)), pl.BlockSpec((n, d), lambda i: (0, 0))
    return pl.pallas_call(
        attention_kernel,
        out_shape=[jax.ShapeDtypeStruct((n, d), dtype), jax.ShapeDtypeStruct((n,), jnp.float32)],
        grid=(n // BLOCK,),
        in_specs=[block, whole, whole],
        out_specs=[block, pl.BlockSpec((BLOCK,), lambda i: (i,))],
        interpret=True,
    )(q, k, v)


@jax.jit
def attention(q, k, v):
    out, lse = launch_forward(q, k, v, jnp.float32)
    return out.astype(q.dtype), (q, k, v, out, lse)


@jax.jit
def attention_backward(q, k, v, out, lse, g):
    like = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, k, v)]
    return pl.pallas_call(attention_backward_kernel, out_shape=like, interpret=True)(q, k, v, out, lse, g)


@jax.custom_vjp
def function(q, k, v):
    return attention(q, k, v)[0]


function.defvjp(attention, lambda kept, g: tuple(attention_backward(*kept, g)))


def point(dtype, rand):
    return rand(4, 3).astype(dtype), rand(4, 3).astype(dtype), rand(4, 3).astype(dtype)


MUTANTS = [
    ("causal", "the mask of the backward pass leaves out the diagonal", "at[:, None] >= at[None, :]",
     "at[:, None] > at[None, :]"),
    ("term", "delta is left out", "ds = p * (g @ v.T - delta)", "ds = p * (g @ v.T)"),
    ("index", "dk of the keys in place of the queries", "(ds.T @ q)", "(ds.T @ k)"),
    ("causal", "the backward pass has no mask",
     "jnp.where(at[:, None] >= at[None, :], jnp.exp(q @ k.T - lse_ref[...][:, None]), 0.0)",
     "jnp.exp(q @ k.T - lse_ref[...][:, None])"),
    ("sign", "dv has the wrong sign", "dv_ref[...] = (p.T @ g)", "dv_ref[...] = (-p.T @ g)"),
]  # fmt: skip
