"""x + alpha y over blocks, after Pallas's quickstart."""

from functools import partial

import jax
from jax.experimental import pallas as pl

BLOCK = 8


def add_kernel(x_ref, y_ref, out_ref, *, alpha):
    out_ref[...] = x_ref[...] + alpha * y_ref[...]


def add_backward_kernel(g_ref, dx_ref, dy_ref, *, alpha):
    dx_ref[...] = g_ref[...]
    dy_ref[...] = alpha * g_ref[...]


def launch(kernel, outputs, *arrays):
    n = arrays[0].shape[0]
    spec = pl.BlockSpec((BLOCK,), lambda i: (i,))
    return pl.pallas_call(
        kernel,
        out_shape=[jax.ShapeDtypeStruct((n,), arrays[0].dtype)] * outputs,
        grid=(pl.cdiv(n, BLOCK),),
        in_specs=[spec] * len(arrays),
        out_specs=[spec] * outputs,
        interpret=True,
    )(*arrays)


@jax.jit
def add(x, y):
    return launch(partial(add_kernel, alpha=3.0), 1, x, y)[0]


@jax.jit
def add_backward(g):
    return launch(partial(add_backward_kernel, alpha=3.0), 2, g)


@jax.custom_vjp
def function(x, y):
    return add(x, y)


function.defvjp(lambda x, y: (add(x, y), None), lambda _, g: tuple(add_backward(g)))


def point(dtype, rand):
    return rand(20).astype(dtype), rand(20).astype(dtype)


MUTANTS = [
    ("term", "alpha is left out of dy", "dy_ref[...] = alpha * g_ref[...]", "dy_ref[...] = g_ref[...]"),
    ("sign", "dy has the wrong sign", "dy_ref[...] = alpha", "dy_ref[...] = -alpha"),
    (
        "tail",
        "the last block of the gradients is never written",
        "partial(add_backward_kernel, alpha=3.0), 2, g)",
        "partial(add_backward_kernel, alpha=3.0), 2, g[:16])",
    ),
    ("index", "every block reads the first", "lambda i: (i,)", "lambda i: (0 * i,)"),
    (
        "tail",
        "the backward kernel stores half of its block",
        "    dy_ref[...] = alpha * g_ref[...]",
        "    dy_ref[pl.ds(0, 4)] = alpha * g_ref[pl.ds(0, 4)]",
    ),
]
