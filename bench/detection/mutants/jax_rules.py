# ruff: noqa: E501 - one entry, one line: a table
"""The same classes as jax.custom_vjp functions."""

from __future__ import annotations

import numpy as np

from ..catalogue import FLOAT32_AND_LESS, HALF, Entry, Rand

ENTRIES: list[Entry] = []


def _array(t):
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        return jnp.asarray(t.detach().numpy() if hasattr(t, "detach") else np.asarray(t))


def custom(forward, backward):
    """forward(jnp, *args); backward(jnp, g, out, *args) -> one gradient, or a tuple."""
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def f(*args):
        return forward(jnp, *args)

    def fwd(*args):
        out = forward(jnp, *args)
        return out, (out, *args)

    def bwd(saved, g):
        d = backward(jnp, g, *saved)
        return d if isinstance(d, tuple) else (d,)

    f.defvjp(fwd, bwd)
    return f


def rule(name, bug, about, forward, wrong, right, args=lambda r: (r(3, 4),), into=ENTRIES, **more):
    def made(backward):
        return lambda: (custom(forward, backward), tuple(_array(a) for a in args(Rand(name))))

    into.append(Entry(name=f"jax-{name}", bug=bug, about=about, make=made(wrong), correct=made(right) if right else None, framework="jax", **more))  # fmt: skip


rule(
    "bias-mean",
    1,
    "x + b: mean for sum",
    lambda jnp, x, b: x + b,
    lambda jnp, g, o, x, b: (g, g.mean(0)),
    lambda jnp, g, o, x, b: (g, g.sum(0)),
    lambda r: (r(3, 4), r(4)),
    quick=True,
)
rule("mul-square-wrong-axis", 1, "x (3,3) * y (1,3): columns summed", lambda jnp, x, y: x * y, lambda jnp, g, o, x, y: (g * y, (g * x).sum(1)[None]), lambda jnp, g, o, x, y: (g * y, (g * x).sum(0)[None]), lambda r: (r(3, 3), r(1, 3)))  # fmt: skip
rule(
    "cos-sign",
    2,
    "cos: +sin",
    lambda jnp, x: jnp.cos(x),
    lambda jnp, g, o, x: g * jnp.sin(x),
    lambda jnp, g, o, x: -g * jnp.sin(x),
    quick=True,
)
rule("softmax-no-projection", 2, "softmax: g - Σg", lambda jnp, x: _softmax(jnp, x), lambda jnp, g, o, x: o * (g - g.sum(-1, keepdims=True)), lambda jnp, g, o, x: o * (g - (g * o).sum(-1, keepdims=True)))  # fmt: skip
rule(
    "sin-1e-07",
    2,
    "sin: 1e-7 too large",
    lambda jnp, x: jnp.sin(x),
    lambda jnp, g, o, x: g * jnp.cos(x) * (1 + 1e-7),
    lambda jnp, g, o, x: g * jnp.cos(x),
    none_in=HALF,  # there the factor is 1
)
rule(
    "one-entry-1e-4",
    2,
    "one entry of 64 is 1e-4 too large",
    lambda jnp, x: jnp.exp(x),
    lambda jnp, g, o, x: g * o * (1 + 1e-4 * (jnp.arange(64) == 17)),
    lambda jnp, g, o, x: g * o,
    lambda r: (r(64),),
)
rule("g-abs", 3, "|g|", lambda jnp, x: jnp.sin(x), lambda jnp, g, o, x: jnp.abs(g) * jnp.cos(x), None, quick=True)
rule(
    "g-clipped",
    3,
    "g clipped to ±1",
    lambda jnp, x: jnp.sin(x),
    lambda jnp, g, o, x: jnp.clip(g, -1, 1) * jnp.cos(x),
    None,
)
rule(
    "g-tiny-dropped",
    3,
    "entries of g below 1e-6 are dropped",
    lambda jnp, x: jnp.sin(x),
    lambda jnp, g, o, x: jnp.where(jnp.abs(g) < 1e-6, 0.0, g) * jnp.cos(x),
    None,
    elsewhere="a tiny cotangent",
)
rule("gather-writes", 16, "x[index] with repeats: written, not added", lambda jnp, x: x[np.array([0, 2, 2, 1])], lambda jnp, g, o, x: jnp.zeros_like(x).at[np.array([0, 2, 2, 1])].set(g), lambda jnp, g, o, x: jnp.zeros_like(x).at[np.array([0, 2, 2, 1])].add(g), lambda r: (r(4),))  # fmt: skip
rule(
    "relu-at-zero-nan",
    8,
    "relu: out/x",
    lambda jnp, x: jnp.maximum(x, 0.0),
    lambda jnp, g, o, x: g * o / x,
    lambda jnp, g, o, x: g * (x > 0),
    lambda r: (r.of([-1.0, 0.0, 2.0]),),
)
rule(
    "prod-over-x",
    9,
    "prod: out/x at 0",
    lambda jnp, x: jnp.prod(x),
    lambda jnp, g, o, x: g * o / x,
    None,
    lambda r: (r.of([2.0, 0.0, 3.0]),),
)
rule("where-sqrt", 10, "where(x > 0, √x, 0): 0·NaN", lambda jnp, x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0), lambda jnp, g, o, x: g * (x > 0) * 0.5 / jnp.sqrt(x), lambda jnp, g, o, x: jnp.where(x > 0, 0.5 * g / jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0), lambda r: (r.of([-1.0, 2.0]),), quick=True)  # fmt: skip
rule("sigmoid-at-30", 11, "sigmoid: o·(1 - o)", lambda jnp, x: _sigmoid(jnp, x), lambda jnp, g, o, x: g * o * (1 - o), lambda jnp, g, o, x: g * o * _sigmoid(jnp, -x), lambda r: (r.of([1.0, 30.0]),), source="jax#40342", quick=True)  # fmt: skip
rule(
    "expm1-at-minus-30",
    11,
    "expm1: o + 1",
    lambda jnp, x: jnp.expm1(x),
    lambda jnp, g, o, x: g * (o + 1),
    lambda jnp, g, o, x: g * jnp.exp(x),
    lambda r: (r.of([1.0, -30.0]),),
    source="jax#39794",
)
rule(
    "tail-of-4",
    14,
    "the last n % 4 entries are dropped",
    lambda jnp, x: jnp.sin(x),
    lambda jnp, g, o, x: g * jnp.cos(x) * (jnp.arange(x.size) < x.size // 4 * 4),
    lambda jnp, g, o, x: g * jnp.cos(x),
    lambda r: (r(10),),
)
rule(
    "backward-in-float32",
    15,
    "the backward pass in float32",
    lambda jnp, x: jnp.sin(x),
    lambda jnp, g, o, x: (g.astype("float32") * jnp.cos(x).astype("float32")).astype(x.dtype),
    lambda jnp, g, o, x: g * jnp.cos(x),
    none_in=FLOAT32_AND_LESS,
)
rule(
    "float32-constant",
    15,
    "0.1 kept in float32",
    lambda jnp, x: 0.1 * x,
    lambda jnp, g, o, x: g * float(np.float32(0.1)),
    lambda jnp, g, o, x: g * 0.1,
    none_in=FLOAT32_AND_LESS,  # a Python number takes the array's dtype
)
rule(
    "double-detached",
    17,
    "cos(x) under stop_gradient",
    lambda jnp, x: jnp.sin(x),
    lambda jnp, g, o, x: g * _stop(jnp.cos(x)),
    lambda jnp, g, o, x: g * jnp.cos(x),
    elsewhere="second order",
)
rule(
    "jit-differs",
    18,
    "doubled when traced by jit",
    lambda jnp, x: jnp.sin(x),
    lambda jnp, g, o, x: g * jnp.cos(x) * _traced(g),
    None,
    elsewhere="jax.jit",
    source="pytorch#180164",
)
rule(
    "zero-d",
    24,
    "0-d inputs are halved",
    lambda jnp, x: jnp.sin(x),
    lambda jnp, g, o, x: g * jnp.cos(x) / (2 if x.ndim == 0 else 1),
    lambda jnp, g, o, x: g * jnp.cos(x),
    lambda r: (r(),),
)
rule("attention-no-scale", 25, "1/√d is left out", lambda jnp, q, k, v: _softmax(jnp, q @ k.T * 3**-0.5) @ v, lambda jnp, g, o, q, k, v: _attention(jnp, g, q, k, v, 1.0), lambda jnp, g, o, q, k, v: _attention(jnp, g, q, k, v, 3**-0.5), lambda r: (r(4, 3), r(4, 3), r(4, 3)))  # fmt: skip


def _softmax(jnp, x):
    e = jnp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _sigmoid(jnp, x):
    import jax

    return jax.nn.sigmoid(x)


def _stop(x):
    import jax

    return jax.lax.stop_gradient(x)


def _traced(x):
    import jax

    return 2.0 if isinstance(x, jax.core.Tracer) else 1.0


def _attention(jnp, g, q, k, v, scale):
    p = _softmax(jnp, q @ k.T * 3**-0.5)
    dp = g @ v.T
    s = p * (dp - (p * dp).sum(-1, keepdims=True))
    return scale * s @ k, scale * s.T @ q, p.T @ g
