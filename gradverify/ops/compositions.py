"""Functions made of other ops. Those without a VJP text of their own are differentiated through their definition.

Softmax and log-softmax have their own: the shift by the maximum cancels, so that they are smooth where the maximum is
not, and their rules are shorter than what the definition would give.
"""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ShapeError
from ..core.interval import Interval
from ..core.op import Array, OpSpec, Param, Shape, Vocabulary
from .linalg import matmul_shape
from .reduction import deviations
from .shapes import along, count, normal_axis

AXIS = {"axis": Param("axis", default=-1)}


# ---- softmax --------------------------------------------------------------------------------------------------------


def _lowered_by_max(xp: Vocabulary, x: Array, axis: int) -> Array:
    """x less its maximum: nothing above 0, so that nothing overflows."""
    return x - xp.max(x, axis=axis, keepdims=True)


def _softmax(xp: Vocabulary, x: Array, axis: int = -1) -> Array:
    if 0 in xp.shape(x):
        return x
    e = xp.exp(_lowered_by_max(xp, x, axis))
    return e / xp.sum(e, axis=axis, keepdims=True)


def _log_softmax(xp: Vocabulary, x: Array, axis: int = -1) -> Array:
    """Shifted first: x - logsumexp(x) would round at the size of x instead of at that of the result."""
    if 0 in xp.shape(x):
        return x
    low = _lowered_by_max(xp, x, axis)
    return low - xp.log(xp.sum(xp.exp(low), axis=axis, keepdims=True))


def _softmax_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: int = -1) -> Array:
    return out * (g - xp.sum(g * out, axis=axis, keepdims=True))


def _log_softmax_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, axis: int = -1) -> Array:
    return g - xp.exp(out) * xp.sum(g, axis=axis, keepdims=True)


def _cumulative_logsumexp(xp: Vocabulary, x: Array, axis: int = -1) -> Array:
    """In log2(n) sweeps (Hillis & Steele, "Data parallel algorithms", Comm. ACM 29, 1986): no shift serves all entries."""
    shape = xp.shape(x)
    n = count(shape, axis)
    whole = ((None, None, 1),) * normal_axis(axis, len(shape))
    distance = 1
    while distance < n:
        first = xp.getitem(x, (*whole, (0, distance, 1)))
        later, before = xp.getitem(x, (*whole, (distance, n, 1))), xp.getitem(x, (*whole, (0, n - distance, 1)))
        x = xp.concat([first, xp.logaddexp(later, before)], axis=axis)
        distance *= 2
    return x


# ---- normalisations -------------------------------------------------------------------------------------------------


def _standardize(xp: Vocabulary, x: Array, axis: int = -1, eps: float = 1e-5) -> Array:
    d = deviations(xp, x, axis)
    return d / xp.sqrt(xp.mean(xp.square(d), axis=axis, keepdims=True) + eps)


def _normalize(xp: Vocabulary, x: Array, axis: int = -1, eps: float = 1e-12) -> Array:
    return x / xp.maximum(xp.vector_norm(x, axis=axis, keepdims=True), eps)


def _along_nonempty(shape: Shape, axis: int = -1, **_: Any) -> Shape:
    if shape and shape[normal_axis(axis, len(shape))] == 0:
        raise ShapeError(f"shape {shape} has no elements along axis {axis}")
    return along(shape, axis)


def _affine(shape: Shape, *weights: Shape, **_: Any) -> Shape:
    """Weights and biases belong to the last axis."""
    if not shape or shape[-1] == 0:
        raise ShapeError(f"shape {shape} has no elements along a last axis")
    for w in weights:
        if w != shape[-1:]:
            raise ShapeError(f"shapes {shape} and {w}: a weight of shape {shape[-1:]} is needed, one per feature")
    return shape


def _normed(n: int) -> Interval:
    """No entry of a vector of n exceeds sqrt(n) times its root mean square."""
    return Interval(-math.sqrt(n), math.sqrt(n)).widened()


# ---- layers and losses ----------------------------------------------------------------------------------------------


def _linear_shape(x: Shape, w: Shape, b: Shape, **_: Any) -> Shape:
    if not x or len(w) != 2 or x[-1] != w[1] or b != w[:1]:
        raise ShapeError(f"shapes {x}, {w} and {b} of input, weight and bias must be (..., in), (out, in) and (out,)")
    return (*x[:-1], w[0])


def _attention_shape(q: Shape, k: Shape, v: Shape, **_: Any) -> Shape:
    given = f"shapes {q}, {k} and {v} of queries, keys and values"
    if min(len(q), len(k), len(v)) < 2 or 0 in k[-2:] or 0 in q[-1:]:
        raise ShapeError(f"{given}: matrices with entries are needed")
    if not q[:-2] == k[:-2] == v[:-2]:
        raise ShapeError(f"{given}: the batches differ")
    return matmul_shape(matmul_shape(q, (*k[:-2], k[-1], k[-2])), v)


def _attention(xp: Vocabulary, q: Array, k: Any, v: Array) -> Array:
    scores = xp.matmul(q, xp.matrix_transpose(k)) / math.sqrt(xp.shape(k)[-1])
    return xp.matmul(xp.softmax(scores, axis=-1), v)


def _loss_shape(x: Shape, y: Shape, **_: Any) -> Shape:
    """The mean over equal shapes. Losses that broadcast silently hide bugs, so these do not."""
    if x != y:
        raise ShapeError(f"shapes {x} and {y} of input and target differ")
    if 0 in x:
        raise ShapeError(f"shape {x} has no elements to take the mean of")
    return ()


def _class_shape(x: Shape, targets: Shape, **_: Any) -> Shape:
    if not x or x[:-1] != targets:
        raise ShapeError(f"shapes {x} and {targets}: one class index for each vector along the last axis is needed")
    if 0 in x:
        raise ShapeError(f"shape {x} has no elements to take the mean of")
    return ()


def _nll_loss(xp: Vocabulary, x: Array, targets: Any) -> Array:
    return -xp.mean(xp.take_along_axis(x, xp.expand_dims(targets, -1), -1))


def _nll_loss_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, targets: Any) -> Array:
    shape = xp.shape(x)
    share = xp.broadcast_to(-g / math.prod(shape[:-1]), (*shape[:-1], 1))
    return xp.scatter_add(xp.zeros_like(x), xp.expand_dims(targets, -1), share, -1)


def _huber(xp: Vocabulary, x: Array, y: Array, delta: float = 1.0) -> Array:
    """c (d - c/2) with c = d clipped to [-delta, delta]: d^2/2 inside, delta (|d| - delta/2) outside, without |d|."""
    d = x - y
    c = xp.minimum(xp.maximum(d, -delta), delta)
    return xp.mean(c * (d - c / 2))


def _squared(x: Interval, y: Interval) -> Interval:
    size = (x - y).magnitude
    return Interval(0.0, size * size).widened()


def _cosine_shape(a: Shape, b: Shape, axis: int = -1, **_: Any) -> Shape:
    if a != b:
        raise ShapeError(f"shapes {a} and {b} differ")
    at = normal_axis(axis, len(a))
    return a[:at] + a[at + 1 :]


# Not 0: constant rows and zero vectors would divide 0 by 0.
EPS = {"eps": Param("float", default=1e-5, lo=1e-15, hi=1.0)}

DECLARATIONS: tuple[OpSpec, ...] = (
    OpSpec(
        name="softmax", doc="exp(x) / sum(exp(x)) along an axis", example="softmax(x, axis=-1)",
        define=_softmax, vjp=(_softmax_vjp,),
        image=lambda x, **_: Interval(0.0, 1.0),
        shape=along, params=AXIS, ulps=2,
    ),
    OpSpec(
        name="log_softmax",
        doc="log(softmax(x)) along an axis, without underflow; next to 0 it is right to so many decimals, not digits",
        example="log_softmax(x, axis=-1)",
        define=_log_softmax, vjp=(_log_softmax_vjp,),
        image=lambda x, shapes, axis=-1, **_:
            Interval(x.lo - x.hi - math.log(max(count(shapes[0], axis), 1)), 0.0).widened(),
        shape=along, params=AXIS, ulps=2,
    ),
    OpSpec(
        name="cumulative_logsumexp", doc="log of the running sums of exp(x) along an axis, without overflow",
        example="cumulative_logsumexp(x, axis=-1)", aliases=("logcumsumexp",),
        define=_cumulative_logsumexp,
        image=lambda x, shapes, axis=-1, **_:
            Interval(x.lo, x.hi + math.log(max(count(shapes[0], axis), 1))).widened(),
        shape=along, params=AXIS, ulps=2,
    ),
    OpSpec(
        name="standardize", doc="mean 0 and variance 1 along an axis: (x - mean) / sqrt(var + eps)",
        example="standardize(x, axis=-1)",
        define=_standardize,
        image=lambda x, shapes, axis=-1, **_: _normed(count(shapes[0], axis)),
        shape=_along_nonempty, params=AXIS | EPS, ulps=3,
    ),
    OpSpec(
        name="layer_norm", doc="standardised along the last axis, then scaled and shifted per feature",
        example="layer_norm(x, w, b)", arity=3,
        define=lambda xp, x, w, b, eps=1e-5: xp.standardize(x, axis=-1, eps=eps) * w + b,
        image=lambda x, w, b, shapes, **_: _normed(shapes[0][-1]) * w + b,
        shape=_affine, params=EPS, ulps=4,
    ),
    OpSpec(
        name="rms_norm", doc="divided by the root mean square along the last axis, then scaled per feature",
        example="rms_norm(x, w)", arity=2,
        define=lambda xp, x, w, eps=1e-5:
            x / xp.sqrt(xp.mean(xp.square(x), axis=-1, keepdims=True) + eps) * w,
        image=lambda x, w, shapes, **_: _normed(shapes[0][-1]) * w,
        shape=_affine, params=EPS, ulps=3,
    ),
    OpSpec(
        name="normalize", doc="divided by its 2-norm along an axis, or by eps where that is larger",
        example="normalize(x, axis=-1)",
        define=_normalize,
        image=lambda x, **_: Interval(-1.0, 1.0).widened(),
        shape=along, params={**AXIS, "eps": Param("float", default=1e-12, lo=1e-15, hi=1.0)}, ulps=4,
    ),
    OpSpec(
        name="cosine_similarity", example="cosine_similarity(x, y, axis=-1)", arity=2,
        doc="the inner product of two vectors, each divided by its 2-norm (or by eps where that is larger)",
        define=lambda xp, a, b, axis=-1, eps=1e-8:
            xp.sum(xp.normalize(a, axis=axis, eps=eps) * xp.normalize(b, axis=axis, eps=eps), axis=axis),
        image=lambda *_, **__: Interval(-1.0, 1.0).widened(),
        shape=_cosine_shape, params={**AXIS, "eps": Param("float", default=1e-8, lo=1e-15, hi=1e-3)}, ulps=8,
    ),
    OpSpec(
        name="linear", doc="x @ w^T + b, the weight as (out, in)", example="linear(x, w, b)", arity=3,
        define=lambda xp, x, w, b: xp.matmul(x, xp.matrix_transpose(w)) + b,
        image=lambda x, w, b, shapes, **_:
            ((x * w).scaled(shapes[1][1]) if shapes[1][1] else Interval.point(0.0)) + b,
        shape=_linear_shape, ulps=1,
    ),
    OpSpec(
        name="scaled_dot_product_attention", doc="softmax(q k^T / sqrt(d)) v", arity=3,
        example="scaled_dot_product_attention(q, k, v)",
        define=_attention,
        image=lambda q, k, v, **_: v.widened(),
        shape=_attention_shape, ulps=4,
    ),
    OpSpec(
        name="mse_loss", doc="the mean of the squared differences", example="mse_loss(x, y)", arity=2,
        define=lambda xp, x, y: xp.mean(xp.square(x - y)),
        image=lambda x, y, **_: _squared(x, y),
        shape=_loss_shape, ulps=2,
    ),
    OpSpec(
        name="huber_loss", doc="the mean of d^2/2 where |d| <= delta and of delta (|d| - delta/2) elsewhere",
        example="huber_loss(x, y, delta=1.0)", arity=2,
        define=_huber,
        image=lambda x, y, **_: _squared(x, y).scaled(0.5),
        shape=_loss_shape, params={"delta": Param("float", default=1.0, lo=1e-3, hi=1e3)}, ulps=3,
    ),
    OpSpec(
        name="nll_loss", doc="minus the mean of the entries that class indices name along the last axis",
        example="nll_loss(log_softmax(x), i)", arity=2, arguments=("float", "int"),
        define=_nll_loss, vjp=(_nll_loss_vjp, None),
        image=lambda x, _, **__: (-x).widened(),
        shape=_class_shape, ulps=1,
    ),
    OpSpec(
        name="cross_entropy", doc="the negative log likelihood of class indices under softmax along the last axis",
        example="cross_entropy(x, i)", arity=2, arguments=("float", "int"),
        define=lambda xp, x, targets: xp.nll_loss(xp.log_softmax(x, axis=-1), targets),
        image=lambda x, _, shapes, **__:
            Interval(0.0, x.hi - x.lo + math.log(max(shapes[0][-1], 1))).widened(),
        shape=_class_shape, ulps=2,
    ),
)  # fmt: skip
