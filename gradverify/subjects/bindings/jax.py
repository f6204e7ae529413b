"""JAX's functions for the ops of the table.

Most ops bind by name (jax.numpy, jax.nn, jax.scipy.special, jax.numpy.linalg, jax.lax); the table below holds the
exceptions. Where JAX has no function at all, it holds the expression that JAX's users write.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from ...namespaces.numpy import native_index
from ..base import Binding, lookup


@cache
def bindings() -> Callable[[str], Callable[..., Any]]:
    """Op name -> JAX's function of the same mathematics, called as op(*args, **params)."""
    import jax
    import jax.numpy as jnp
    import jax.scipy.special as special

    return lookup(_table(jax, jnp, special), jnp, jax.nn, special, jnp.linalg, jax.lax)


def _table(jax: Any, jnp: Any, special: Any) -> Binding:
    def scatter_add(x: Any, indices: Any, updates: Any, axis: int = -1) -> Any:
        grid = list(jnp.indices(indices.shape, sparse=True))
        grid[axis % x.ndim] = indices
        return x.at[tuple(grid)].add(updates)

    def solve_triangular(a: Any, b: Any, upper: bool = False, unit_diagonal: bool = False) -> Any:
        """JAX's solver takes one batch shape for both."""
        batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = (jnp.broadcast_to(m, (*batch, *m.shape[-2:])) for m in (a, b))
        return jax.lax.linalg.triangular_solve(a, b, left_side=True, lower=not upper, unit_diagonal=unit_diagonal)

    def attention(q: Any, k: Any, v: Any) -> Any:
        """jax.nn.dot_product_attention takes its softmax in float32 whatever the dtype: no subject for float64."""
        scores = q @ jnp.matrix_transpose(k) / math.sqrt(k.shape[-1])
        return jax.nn.softmax(scores, -1) @ v

    def nll_loss(x: Any, targets: Any) -> Any:
        return -jnp.mean(jnp.take_along_axis(x, targets[..., None], -1))

    def normalize(x: Any, axis: int = -1, eps: float = 1e-12) -> Any:
        return x / jnp.maximum(jnp.linalg.vector_norm(x, axis=axis, keepdims=True), eps)

    def huber_loss(x: Any, y: Any, delta: float = 1.0) -> Any:
        d = jnp.abs(x - y)
        return jnp.mean(jnp.where(d <= delta, d * d / 2, delta * (d - delta / 2)))

    def standardize(x: Any, axis: int = -1, eps: float = 1e-5) -> Any:
        return jax.nn.standardize(x, axis=axis, epsilon=eps)

    return {
        # elementwise
        "lerp": lambda x, y, weight: x + weight * (y - x),
        "addcmul": lambda x, y, z, value=1.0: x + value * y * z,
        "hardtanh": jax.nn.hard_tanh,
        "hardsigmoid": jax.nn.hard_sigmoid,
        "hardswish": jax.nn.hard_swish,
        "softsign": jax.nn.soft_sign,
        "gelu": lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
        # reductions
        "logsumexp": jax.nn.logsumexp,
        # shape
        "concat": lambda *xs, axis=0: jnp.concatenate(xs, axis),
        "stack": lambda *xs, axis=0: jnp.stack(xs, axis),
        "tile": lambda x, repetitions: jnp.tile(x, repetitions),
        "pad": lambda x, pads: jnp.pad(x, pads) if pads else x,
        "diagonal": lambda x: jnp.diagonal(x, axis1=-2, axis2=-1),
        "diag_embed": jnp.vectorize(jnp.diag, signature="(n)->(n,n)"),
        # indexing
        "getitem": lambda x, index: x[native_index(index)],
        "embed": lambda x, index, shape: jnp.zeros(shape, x.dtype).at[native_index(index)].set(x),
        "index_add": lambda x, i, updates, axis=0: x.at[(slice(None),) * (axis % x.ndim) + (i,)].add(updates),
        "scatter_add": scatter_add,
        # linear algebra
        "einsum": lambda *xs, subscripts: jnp.einsum(subscripts, *xs),
        "trace": lambda x: jnp.trace(x, axis1=-2, axis2=-1),
        "logabsdet": lambda x: jnp.linalg.slogdet(x)[1],
        "solve_triangular": solve_triangular,
        # special functions
        "polygamma": lambda x, n: special.polygamma(n, x),
        # compositions: where JAX has no function, the expression that its users write
        "standardize": standardize,
        "layer_norm": lambda x, w, b, eps=1e-5: standardize(x, -1, eps) * w + b,
        "rms_norm": lambda x, w, eps=1e-5: x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * w,
        "normalize": normalize,
        "cosine_similarity": lambda a, b, axis=-1, eps=1e-8: jnp.sum(
            normalize(a, axis, eps) * normalize(b, axis, eps), axis
        ),
        "linear": lambda x, w, b: x @ w.T + b,
        "scaled_dot_product_attention": attention,
        "mse_loss": lambda x, y: jnp.mean(jnp.square(x - y)),
        "huber_loss": huber_loss,
        "nll_loss": nll_loss,
        "cross_entropy": lambda x, targets: nll_loss(jax.nn.log_softmax(x, -1), targets),
    }
