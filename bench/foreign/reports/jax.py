"""JAX and the libraries on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..catalogue import Reports, as_jax

REPORTS = T = Reports()
J = "jax-ml/jax#"


def _np() -> Any:
    import jax.numpy as jnp

    return jnp


T.jax_pair(
    J + "3213",
    2,
    "the documentation's sin(x) * y: dy has the wrong sign",
    lambda jnp, x, y: jnp.sin(x) * y,
    lambda jnp, g, o, x, y: (g * jnp.cos(x) * y, -g * jnp.sin(x)),
    lambda jnp, g, o, x, y: (g * jnp.cos(x) * y, g * jnp.sin(x)),
    lambda r: (r(3), r(3)),
)
ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _selu(x: Any) -> Any:
    import jax

    return jax.nn.selu(x)


def _selu_by_exp(x: Any) -> Any:
    jnp = _np()
    return SCALE * jnp.where(x > 0, x, ALPHA * (jnp.exp(jnp.where(x > 0, 0.0, x)) - 1.0))


T.fn(
    J + "39796",
    11,
    "selu: the gradient is 0 far on the left, where it is a normal number",
    _selu,
    _selu_by_exp,
    as_jax(lambda r: (r.of([-700.0, -40.0, 0.5]),)),
    framework="jax",
    live=True,
)


def _softmax(z: Any) -> Any:
    import jax

    return jax.nn.softmax(z)[0]


T.fn(
    J + "40386",
    11,
    "softmax: of two logits far apart, the larger one's gradient is 0",
    _softmax,
    lambda z: 1.0 / (1.0 + _np().exp(z[1] - z[0])),
    as_jax(lambda r: (r.of([37.42994775023705, 0.0]),)),
    framework="jax",
    live=True,
)
MASK = np.array([True, False])


def _masked_logsumexp(a: Any, outside: bool) -> Any:
    jnp = _np()
    top = jnp.max(jnp.where(MASK, a, -jnp.inf))
    terms = jnp.where(MASK, jnp.exp(a - top), 0.0) if outside else jnp.exp(jnp.where(MASK, a - top, -jnp.inf))
    return top + jnp.log(jnp.sum(terms))


T.fn(
    J + "23842",
    10,
    "logsumexp with where=: an entry that is masked out, and overflows, gives NaN",
    lambda a: _masked_logsumexp(a, True),
    lambda a: _masked_logsumexp(a, False),
    as_jax(lambda r: (r.of([0.0, 1000.0]),)),
    framework="jax",
)
SEGMENTS = np.array([0, 0, 1])
T.jax_pair(
    J + "9296",
    16,
    "segment_prod: the gradient of an entry is without the other factors of its segment",
    lambda jnp, x: jnp.stack([x[0] * x[1], x[2]]),
    lambda jnp, g, o, x: g[SEGMENTS],
    lambda jnp, g, o, x: jnp.stack([g[0] * x[1], g[0] * x[0], g[1]]),
    lambda r: (r.of([2.0, 3.0, 5.0]),),
)
T.jax_pair(
    J + "15598",
    9,
    "beta.logpdf by xlogy(a - 1, x): at a = 1 the gradient of a is 0 in place of log x",
    lambda jnp, a, x: (a - 1) * jnp.log(x),
    lambda jnp, g, o, a, x: (jnp.where(a == 1, 0.0, g * jnp.log(x)), g * (a - 1) / x),
    lambda jnp, g, o, a, x: (g * jnp.log(x), g * (a - 1) / x),
    lambda r: (r.of([1.0, 2.0]), r.of([0.5, 0.3])),
)


def _focal(z: Any, gamma: float, guarded: bool) -> Any:
    """optax's formula, for labels of 1."""
    import jax

    jnp = _np()
    cross_entropy = jnp.logaddexp(0.0, -z)
    if guarded and gamma == 0:
        return cross_entropy
    return cross_entropy * (1.0 - jax.nn.sigmoid(z)) ** gamma


T.fn(
    "google-deepmind/optax#1267",
    10,
    "sigmoid_focal_loss with gamma = 0: 0 ** 0 has the gradient NaN where the sigmoid saturates",
    lambda z: _focal(z, 0.0, False),
    lambda z: _focal(z, 0.0, True),
    as_jax(lambda r: (r.of([1000.0, 2.0]),)),
    framework="jax",
)
T.jax_pair(
    "marin-community/levanter#449",
    1,
    "grouped-query attention: dk is not summed over the queries of a group",
    lambda jnp, q, k: jnp.einsum("hid,hjd->hij", q, jnp.repeat(k, 2, axis=0)),
    lambda jnp, g, o, q, k: (jnp.einsum("hij,hjd->hid", g, jnp.repeat(k, 2, axis=0)), jnp.einsum("hij,hid->hjd", g, q)),
    lambda jnp, g, o, q, k: (
        jnp.einsum("hij,hjd->hid", g, jnp.repeat(k, 2, axis=0)),
        jnp.einsum("hij,hid->hjd", g, q).reshape(2, 2, *k.shape[1:]).sum(1),
    ),
    lambda r: (r(4, 3, 2), r(2, 3, 2)),
)
