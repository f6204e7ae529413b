"""JAX's functions for the ops of the table.

Most ops bind by name (jax.numpy, jax.nn, jax.scipy.special, jax.numpy.linalg, jax.lax); the table below holds the
exceptions. Where JAX has no function at all, it holds the expression that JAX's users write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any

import numpy as np

from ...namespaces.numpy import native_index
from ..graphs import Binding, lookup

Pair = Sequence[int]


@cache
def bindings() -> Callable[[str], Callable[..., Any]]:
    """Op name -> JAX's function of the same mathematics, called as op(*args, **params)."""
    import jax
    import jax.numpy as jnp
    import jax.scipy.special as special

    return lookup(_table(), jnp, jax.nn, special, jnp.linalg, jax.lax)


def _table() -> Binding:
    import jax
    import jax.numpy as jnp
    import jax.scipy.special as special
    from jax import Array

    def scatter_add(x: Array, indices: Array, updates: Array, axis: int = -1) -> Array:
        grid = list(jnp.indices(indices.shape, sparse=True))
        grid[axis % x.ndim] = indices
        return x.at[tuple(grid)].add(updates)

    def solve_triangular(a: Array, b: Array, upper: bool = False, unit_diagonal: bool = False) -> Array:
        """JAX's solver takes one batch shape for both."""
        batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = (jnp.broadcast_to(m, (*batch, *m.shape[-2:])) for m in (a, b))
        return jax.lax.linalg.triangular_solve(a, b, left_side=True, lower=not upper, unit_diagonal=unit_diagonal)

    def attention(q: Array, k: Array, v: Array) -> Array:
        """jax.nn.dot_product_attention takes its softmax in float32 whatever the dtype: no subject for float64."""
        scores = q @ jnp.matrix_transpose(k) / math.sqrt(k.shape[-1])
        return jax.nn.softmax(scores, -1) @ v

    def nll_loss(x: Array, targets: Array) -> Array:
        return -jnp.mean(jnp.take_along_axis(x, targets[..., None], -1))

    def normalize(x: Array, axis: int = -1, eps: float = 1e-12) -> Array:
        """By the squared norm: JAX's norm has a NaN for its gradient at the origin."""
        return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=axis, keepdims=True), eps * eps))

    def huber_loss(x: Array, y: Array, delta: float = 1.0) -> Array:
        d = jnp.abs(x - y)
        return jnp.mean(jnp.where(d <= delta, d * d / 2, delta * (d - delta / 2)))

    def in_float32(norm: Callable[..., Array]) -> Callable[..., Array]:
        """The norm of 16-bit arrays computed in float32, as Flax does: in float16 the slope of rsqrt(1e-5) overflows."""

        @wraps(norm)
        def widened(*xs: Array, **settings: Any) -> Array:
            if xs[0].dtype.itemsize > 2:
                return norm(*xs, **settings)
            return norm(*(x.astype(jnp.float32) for x in xs), **settings).astype(xs[0].dtype)

        return widened

    def standardize(x: Array, axis: int = -1, eps: float = 1e-5) -> Array:
        # By default the variance is mean(x*x) - mean(x)**2, which cancels.
        standard: Callable[..., Array] = jax.nn.standardize  # of which mypy does not see `algorithm`
        return standard(x, axis=axis, epsilon=eps, algorithm="stable")

    def take(x: Array, indices: Array, axis: int) -> Array:
        out = jnp.take(x, indices, axis=axis)
        if out.ndim != x.ndim - 1 + indices.ndim:
            raise NotImplementedError("jnp.take along an empty axis loses the shape of its indices (jax 0.10.2)")
        return out

    def conv2d(
        x: Array, w: Array, stride: Pair = (1, 1), padding: Pair = (0, 0), dilation: Pair = (1, 1), groups: int = 1
    ) -> Array:
        pads = [(p, p) for p in padding]
        if tuple(stride) == tuple(dilation) == (1, 1):
            return jax.lax.conv_general_dilated(x, w, stride, pads, feature_group_count=groups)
        # XLA aborts the process on some of these: the gradient of x[1, 2, 4, 5], w[2, 2, 2, 3], stride 2, padding (1, 0)
        # fails a check in algebraic_simplifier.cc (jaxlib 0.10.2, CPU).
        padded = jnp.pad(x, ((0, 0), (0, 0), *pads))
        columns = im2col(padded, w.shape[2:], stride, dilation)
        columns = columns.reshape(x.shape[0], groups, x.shape[1] // groups, *columns.shape[2:])
        kernels = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
        out = jnp.einsum("bgikhw,goik->bgohw", columns, kernels)
        return out.reshape(x.shape[0], w.shape[0], *out.shape[3:])

    def window_slices(i: int, j: int, stride: Pair, dilation: Pair, height: int, width: int) -> tuple[slice, slice]:
        """Where place (i, j) of the window falls, over all windows."""
        rows = slice(i * dilation[0], i * dilation[0] + stride[0] * (height - 1) + 1, stride[0])
        return rows, slice(j * dilation[1], j * dilation[1] + stride[1] * (width - 1) + 1, stride[1])

    def im2col(x: Array, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1)) -> Array:
        """Not conv_general_dilated_patches: XLA aborts the process on its gradient with a dilation (jax 0.10.2)."""
        height, width = ((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation))
        window = [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
        return jnp.stack([x[(..., *window_slices(i, j, stride, dilation, height, width))] for i, j in window], 2)

    def col2im(x: Array, size: Pair, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1)) -> Array:
        out = jnp.zeros((*x.shape[:2], *size), x.dtype)
        for k in range(kernel[0] * kernel[1]):
            at = window_slices(k // kernel[1], k % kernel[1], stride, dilation, *x.shape[3:])
            out = out.at[(..., *at)].add(x[:, :, k])
        return out

    def windows(
        x: Array, start: float, op: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
    ) -> Array:
        pads = ((0, 0), (0, 0), *((p, p) for p in padding))
        return jax.lax.reduce_window(
            x, np.asarray(start, x.dtype), op, (1, 1, *kernel), (1, 1, *stride), pads, window_dilation=(1, 1, *dilation)
        )

    def max_pool2d(x: Array, kernel: Pair, stride: Pair, padding: Pair = (0, 0), dilation: Pair = (1, 1)) -> Array:
        return windows(x, -np.inf, jax.lax.max, kernel, stride, padding, dilation)

    def avg_pool2d(x: Array, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> Array:
        return windows(x, 0.0, jax.lax.add, kernel, stride, padding) / (kernel[0] * kernel[1])

    def batch_norm(x: Array, w: Array, b: Array, eps: float = 1e-5) -> Array:
        axes, shape = (0, *range(2, x.ndim)), (-1, *(1,) * (x.ndim - 2))
        normal = (x - x.mean(axes, keepdims=True)) * jax.lax.rsqrt(x.var(axes, keepdims=True) + eps)
        return normal * w.reshape(shape) + b.reshape(shape)

    def lerp(x: Array, y: Array, weight: Array) -> Array:
        # From the nearer end, as torch.lerp does: the slope of x + w (y - x) in x is g - w g, which cancels near w = 1.
        far = y - (1.0 - weight) * (y - x)
        return jnp.where(weight < 0.5, x + weight * (y - x), far)

    def adaptive_avg_pool2d(x: Array, size: Pair) -> Array:
        def along(x: Array, n: int, axis: int) -> Array:
            edges = [(k * x.shape[axis] // n, -(-(k + 1) * x.shape[axis] // n)) for k in range(n)]
            return jnp.stack([jax.lax.slice_in_dim(x, a, b, axis=axis).mean(axis) for a, b in edges], axis)

        return along(along(x, size[0], 2), size[1], 3)

    return {
        # elementwise
        "lerp": lerp,
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
        "take": take,
        "index_add": lambda x, i, updates, axis=0: x.at[(slice(None),) * (axis % x.ndim) + (i,)].add(updates),
        "scatter_add": scatter_add,
        # complex numbers
        "complex": jax.lax.complex,
        "polar": lambda r, angle: jax.lax.complex(r * jnp.cos(angle), r * jnp.sin(angle)),
        "sgn": jnp.sign,
        **{
            name: lambda z, n=None, axis=-1, norm="backward", name=name: getattr(jnp.fft, name)(z, n, axis, norm)
            for name in ("fft", "ifft", "rfft", "irfft")
        },
        # linear algebra
        "einsum": lambda *xs, subscripts: jnp.einsum(subscripts, *xs),
        "trace": lambda x: jnp.trace(x, axis1=-2, axis2=-1),
        "logabsdet": lambda x: jnp.linalg.slogdet(x)[1],
        "solve_triangular": solve_triangular,
        # special functions
        "polygamma": lambda x, n: special.polygamma(n, x),
        "cumulative_logsumexp": lambda x, axis=-1: jax.lax.cumlogsumexp(x, axis=axis % x.ndim),
        # compositions: where JAX has no function, the expression that its users write
        "standardize": in_float32(standardize),
        "layer_norm": in_float32(lambda x, w, b, eps=1e-5: standardize(x, -1, eps) * w + b),
        "rms_norm": in_float32(lambda x, w, eps=1e-5: x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * w),
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
        # images; where JAX has no function, the expression that its users write
        "im2col": im2col,
        "col2im": col2im,
        "conv2d": conv2d,
        "max_pool2d": max_pool2d,
        "avg_pool2d": avg_pool2d,
        "adaptive_avg_pool2d": adaptive_avg_pool2d,
        "batch_norm": in_float32(batch_norm),
    }
