"""Convolution, pooling and batch normalisation over images (batch, channels, height, width).

The one idea: `im2col` lays the patches under a sliding window side by side; a convolution is then a matmul, a pooling a
reduction, and the only adjoint to know is `col2im`, which adds the patches back (Chellapilla, Puri & Simard, "High
Performance Convolutional Neural Networks for Document Processing", 2006).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from ..core.errors import ShapeError
from ..core.interval import Interval
from ..core.op import Array, OpSpec, Param, Shape, Vocabulary

Pair = tuple[int, int]


# ---- shapes ---------------------------------------------------------------------------------------------------------


def _image(shape: Shape) -> Shape:
    if len(shape) != 4:
        raise ShapeError(f"shape {shape} is not that of images: (batch, channels, height, width)")
    return shape


def _pair(name: str, value: tuple[int, ...], least: int) -> Pair:
    if len(value) != 2 or any(v < least for v in value):
        raise ShapeError(f"{name} {value} must be two ints of at least {least}")
    return value[0], value[1]


def windows(size: int, kernel: int, stride: int, dilation: int) -> int:
    """How many windows fit into `size`."""
    reach = dilation * (kernel - 1) + 1
    if size < reach:
        raise ShapeError(f"size {size} is smaller than the window, which reaches over {reach}")
    return (size - reach) // stride + 1


def _cols(shape: Shape, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1), **_: Any) -> Shape:
    n, c, *sizes = _image(shape)
    _pair("kernel", kernel, 1), _pair("stride", stride, 1), _pair("dilation", dilation, 1)
    return (n, c, kernel[0] * kernel[1], *(windows(*x) for x in zip(sizes, kernel, stride, dilation)))


def _uncols(shape: Shape, size: Pair, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1), **_: Any) -> Shape:
    if len(shape) != 5:
        raise ShapeError(f"shape {shape} is not that of patches: (batch, channels, kernel, height, width)")
    image = (*shape[:2], *size)
    if _cols(image, kernel, stride, dilation) != shape:
        want = _cols(image, kernel, stride, dilation)
        raise ShapeError(f"images of shape {image} have patches of shape {want}, not {shape}")
    return image


def _padded(shape: Shape, padding: Pair) -> Shape:
    n, c, h, w = _image(shape)
    _pair("padding", padding, 0)
    return n, c, h + 2 * padding[0], w + 2 * padding[1]


def _convolved(
    x: Shape,
    w: Shape,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    **_: Any,
) -> Shape:
    _image(x)
    if len(w) != 4 or w[1] * groups != x[1] or w[0] % groups or not groups > 0:
        raise ShapeError(
            f"shapes {x} and {w} of images and weights, which are (out, in / groups, height, width), in {groups} groups"
        )
    if 0 in w:
        raise ShapeError(f"shape {w} of weights has no elements")
    return (x[0], w[0], *_cols(_padded(x, padding), (w[2], w[3]), stride, dilation)[3:])


def _pooled(
    shape: Shape, kernel: Pair, stride: Pair, padding: Pair = (0, 0), dilation: Pair = (1, 1), **_: Any
) -> Shape:
    _pair("kernel", kernel, 1)
    if any(2 * p > k for p, k in zip(padding, kernel)):
        raise ShapeError(f"padding {padding} is more than half of the kernel {kernel}: a window could lie outside")
    out = _cols(_padded(shape, padding), kernel, stride, dilation)
    return (*out[:2], *out[3:])


def _adapted(shape: Shape, size: Pair, **_: Any) -> Shape:
    if 0 in _image(shape)[2:]:
        raise ShapeError(f"shape {shape}: nothing to take the mean of")
    return (*shape[:2], *_pair("size", size, 1))


def _channelled(x: Shape, w: Shape, b: Shape, **_: Any) -> Shape:
    if len(x) < 2 or w != x[1:2] or b != x[1:2]:
        raise ShapeError(f"shapes {x}, {w} and {b}: a weight and a bias of shape {x[1:2]} are needed, one per channel")
    if math.prod(x) == 0 or math.prod(x) == x[1]:
        raise ShapeError(f"shape {x}: more than one value per channel is needed to normalise")
    return x


# ---- texts ----------------------------------------------------------------------------------------------------------


def patch_indices(h: int, w: int, kernel: Pair, stride: Pair, dilation: Pair) -> list[Any]:
    """Return one index per entry of the window: the entries of the image that it slides over."""
    oh, ow = windows(h, kernel[0], stride[0], dilation[0]), windows(w, kernel[1], stride[1], dilation[1])

    def seen(k: int, d: int, s: int, n: int) -> tuple[int, int, int]:
        return k * d, k * d + s * (n - 1) + 1, s

    return [
        ("...", seen(i, dilation[0], stride[0], oh), seen(j, dilation[1], stride[1], ow))
        for i, j in itertools.product(range(kernel[0]), range(kernel[1]))
    ]


def _im2col(xp: Vocabulary, x: Any, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1)) -> Any:
    _, _, h, w = xp.shape(x)
    return xp.stack([xp.getitem(x, at) for at in patch_indices(h, w, kernel, stride, dilation)], axis=2)


def _col2im(xp: Vocabulary, x: Any, size: Pair, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1)) -> Any:
    shape = (*xp.shape(x)[:2], *size)
    out = None
    for k, at in enumerate(patch_indices(*size, kernel, stride, dilation)):
        part = xp.embed(xp.getitem(x, ((None, None, 1), (None, None, 1), k)), at, shape)
        out = part if out is None else out + part
    return out


def pad2d(xp: Vocabulary, x: Array, padding: Pair) -> Array:
    return xp.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)) if any(padding) else x


def crop2d(xp: Vocabulary, x: Array, padding: Pair) -> Array:
    _, _, h, w = xp.shape(x)
    return (
        xp.getitem(x, ("...", (padding[0], h - padding[0], 1), (padding[1], w - padding[1], 1))) if any(padding) else x
    )


def _as_columns(xp: Vocabulary, cols: Array, groups: int) -> Array:
    """Patches (batch, channels, window, height, width) as matrices (groups, channels · window, places of all images).

    All images in one matrix: one product then reads the weights once. A place of all images comes before the next place:
    in memory a row of the window is then a row of all images.
    """
    n, c, k, h, w = xp.shape(cols)
    return xp.reshape(xp.permute_dims(cols, (1, 2, 3, 4, 0)), (groups, c // groups * k, h * w * n))


def _as_rows(xp: Vocabulary, g: Array, groups: int) -> Array:
    """Cotangents (batch, channels, height, width) as (groups, channels of the group, the places of all images)."""
    n, c, h, w = xp.shape(g)
    return xp.reshape(xp.permute_dims(g, (1, 2, 3, 0)), (groups, c // groups, h * w * n))


def convolve2d(
    xp: Vocabulary,
    x: Any,
    w: Any,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Any:
    out, inner, *kernel = xp.shape(w)
    n, _, oh, ow = _convolved(xp.shape(x), xp.shape(w), stride, padding, dilation, groups)
    cols = xp.im2col(pad2d(xp, x, padding), kernel=tuple(kernel), stride=stride, dilation=dilation)
    weights = xp.reshape(w, (groups, out // groups, inner * kernel[0] * kernel[1]))
    products = xp.reshape(xp.matmul(weights, _as_columns(xp, cols, groups)), (out, oh, ow, n))
    return xp.permute_dims(products, (3, 0, 1, 2))


def _conv2d_vjp_x(
    xp: Vocabulary, g: Any, out: Any, x: Any, w: Any, stride: Pair = (1, 1), padding: Pair = (0, 0), dilation: Pair = (1, 1),
    groups: int = 1,
) -> Any:  # fmt: skip
    """Every output's cotangent goes back to its patch, weighted; then the patches are added."""
    shape = xp.shape(x)
    outs, inner, kh, kw = xp.shape(w)
    n, _, oh, ow = xp.shape(g)
    _, c, h, wide = _padded(shape, padding)
    weights = xp.reshape(w, (groups, outs // groups, inner * kh * kw))
    cols = xp.reshape(xp.matmul(xp.matrix_transpose(weights), _as_rows(xp, g, groups)), (c, kh * kw, oh, ow, n))
    cols = xp.permute_dims(cols, (4, 0, 1, 2, 3))
    back = xp.col2im(cols, size=(h, wide), kernel=(kh, kw), stride=stride, dilation=dilation)
    return crop2d(xp, back, padding)


def _conv2d_vjp_w(
    xp: Vocabulary, g: Any, out: Any, x: Any, w: Any, stride: Pair = (1, 1), padding: Pair = (0, 0), dilation: Pair = (1, 1),
    groups: int = 1,
) -> Any:  # fmt: skip
    """The products of patches and cotangents, summed over images and positions."""
    shape = xp.shape(w)
    patches = xp.im2col(pad2d(xp, x, padding), kernel=tuple(shape[2:]), stride=stride, dilation=dilation)
    cols = _as_columns(xp, patches, groups)
    return xp.reshape(xp.matmul(_as_rows(xp, g, groups), xp.matrix_transpose(cols)), shape)


def _pool_cols(xp: Vocabulary, x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """The patches; what lies in the padding is -inf, so that it is never the largest."""
    wide = pad2d(xp, x, padding)
    if any(padding):
        inside = pad2d(xp, xp.ones_like(x), padding)
        wide = xp.where(xp.equal(inside, 0.0), xp.full_like(wide, -math.inf), wide)
    return xp.im2col(wide, kernel=kernel, stride=stride, dilation=dilation)


def max_pool2d(
    xp: Vocabulary, x: Any, kernel: Pair, stride: Pair, padding: Pair = (0, 0), dilation: Pair = (1, 1)
) -> Any:
    return xp.max(_pool_cols(xp, x, kernel, stride, padding, dilation), axis=2)


def _max_pool2d_vjp(
    xp: Vocabulary,
    g: Any,
    out: Any,
    x: Any,
    kernel: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Any:
    """The cotangent at the first of the largest entries of each window, as in PyTorch and cuDNN."""
    *_, h, w = _padded(xp.shape(x), padding)
    cols = _pool_cols(xp, x, kernel, stride, padding, dilation)
    first = xp.expand_dims(xp.argmax(cols, axis=2), 2)
    share = xp.scatter_add(xp.zeros_like(cols), first, xp.expand_dims(g, 2), 2)
    return crop2d(xp, xp.col2im(share, size=(h, w), kernel=kernel, stride=stride, dilation=dilation), padding)


def _max_pool2d_kinks(
    xp: Vocabulary, x: Any, kernel: Pair, stride: Pair, padding: Pair = (0, 0), dilation: Pair = (1, 1)
) -> Any:
    """The gap between the largest two entries of each window: zero at a tie."""
    cols = _pool_cols(xp, x, kernel, stride, padding, dilation)
    if xp.shape(cols)[2] == 1:
        return xp.ones_like(x)
    ordered = xp.take_along_axis(cols, xp.argsort(cols, axis=2), 2)
    top = lambda k: xp.getitem(ordered, ((None, None, 1), (None, None, 1), k))
    return top(-1) - top(-2)


def _avg_pool2d(xp: Vocabulary, x: Any, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> Any:
    cols = xp.im2col(pad2d(xp, x, padding), kernel=kernel, stride=stride)
    return xp.sum(cols, axis=2) / (kernel[0] * kernel[1])


def _avg_pool2d_vjp(
    xp: Vocabulary, g: Any, out: Any, x: Any, kernel: Pair, stride: Pair, padding: Pair = (0, 0)
) -> Any:
    *_, h, w = _padded(xp.shape(x), padding)
    n, c, oh, ow = xp.shape(g)
    k = kernel[0] * kernel[1]
    cols = xp.broadcast_to(xp.expand_dims(g / k, 2), (n, c, k, oh, ow))
    return crop2d(xp, xp.col2im(cols, size=(h, w), kernel=kernel, stride=stride), padding)


def _adaptive(xp: Vocabulary, x: Array, axis: int, size: int) -> Array:
    """Means over `size` windows of nearly equal length: from floor(i n / size) to ceil((i + 1) n / size)."""
    n = xp.shape(x)[axis]
    lead = ((None, None, 1),) * axis
    means = [
        xp.mean(xp.getitem(x, (*lead, (i * n // size, -(-(i + 1) * n // size), 1))), axis=axis) for i in range(size)
    ]
    return xp.stack(means, axis=axis)


def _adaptive_avg_pool2d(xp: Vocabulary, x: Array, size: Pair) -> Array:
    if tuple(size) == (1, 1):
        return xp.mean(x, axis=(2, 3), keepdims=True)
    return _adaptive(xp, _adaptive(xp, x, 2, size[0]), 3, size[1])


def _per_channel(xp: Vocabulary, w: Array, ndim: int) -> Array:
    return xp.reshape(w, (1, *xp.shape(w), *((1,) * (ndim - 2))))


def _others(ndim: int) -> tuple[int, ...]:
    return (0, *range(2, ndim))


def _whitened(xp: Vocabulary, x: Array, eps: float) -> tuple[Any, Any]:
    """(x - mean) and 1 / sqrt(var + eps), per channel."""
    axes = _others(len(xp.shape(x)))
    d = x - xp.mean(x, axis=axes, keepdims=True)
    return d, 1.0 / xp.sqrt(xp.mean(xp.square(d), axis=axes, keepdims=True) + eps)


def _batch_norm(xp: Vocabulary, x: Array, w: Array, b: Array, eps: float = 1e-5) -> Array:
    n = len(xp.shape(x))
    d, scale = _whitened(xp, x, eps)
    return d * (scale * _per_channel(xp, w, n)) + _per_channel(xp, b, n)


def _batch_norm_vjp_x(xp: Vocabulary, g: Array, out: Array, x: Array, w: Array, b: Array, eps: float = 1e-5) -> Array:
    """w / sigma (g - mean(g) - z mean(g z)), z being the normalised x (Ioffe & Szegedy 2015, section 3).

    The mean of g z takes g as it is, as published and as implemented: z is centred but for the rounding of its mean.
    """
    n = len(xp.shape(x))
    axes = _others(n)
    d, scale = _whitened(xp, x, eps)
    centred = g - xp.mean(g, axis=axes, keepdims=True)
    slope = xp.mean(g * d, axis=axes, keepdims=True) * xp.square(scale)
    return (centred - d * slope) * (scale * _per_channel(xp, w, n))


def _batch_norm_vjp_w(xp: Vocabulary, g: Array, out: Array, x: Array, w: Array, b: Array, eps: float = 1e-5) -> Array:
    axes = _others(len(xp.shape(x)))
    d, scale = _whitened(xp, x, eps)
    return xp.sum(g * (d * scale), axis=axes)


def _batch_norm_vjp_b(xp: Vocabulary, g: Array, out: Array, x: Array, w: Array, b: Array, eps: float = 1e-5) -> Array:
    return xp.sum(g, axis=_others(len(xp.shape(x))))


# ---- declarations ---------------------------------------------------------------------------------------------------


def _ones(name: str, value: int) -> dict[str, Param]:
    return {name: Param("ints", default=(value, value))}


KERNEL = {"kernel": Param("ints")}
STEPS = _ones("stride", 1) | _ones("dilation", 1)
POOL = KERNEL | {"stride": Param("ints")} | _ones("padding", 0)


def _many(x: Interval, n: int) -> Interval:
    return x.scaled(n) if n else Interval.point(0.0)


def _normed(shape: Shape) -> Interval:
    """No entry of n values exceeds sqrt(n) times their root mean square."""
    bound = math.sqrt(math.prod(shape) / shape[1]) if shape[1] else 1.0
    return Interval(-bound, bound).widened()


DECLARATIONS: tuple[OpSpec, ...] = (
    OpSpec(
        name="im2col", doc="the patches under a sliding window: (batch, channels, kernel, height, width)",
        example="im2col(x, kernel=(2, 2))",
        define=_im2col,
        vjp=(lambda xp, g, out, x, kernel, stride=(1, 1), dilation=(1, 1):
             xp.col2im(g, size=tuple(xp.shape(x)[2:]), kernel=kernel, stride=stride, dilation=dilation),),
        image=lambda x, **_: x, shape=_cols, params=KERNEL | STEPS, ulps=0, generate=False,
    ),
    OpSpec(
        name="col2im", doc="patches added back to where they came from: the adjoint of im2col",
        example="col2im(x, size=(3, 3), kernel=(2, 2))",
        define=_col2im,
        vjp=(lambda xp, g, out, x, size, kernel, stride=(1, 1), dilation=(1, 1):
             xp.im2col(g, kernel=kernel, stride=stride, dilation=dilation),),
        image=lambda x, kernel, **_: _many(x.hull(Interval.point(0.0)), kernel[0] * kernel[1]),
        shape=_uncols, params={"size": Param("ints")} | KERNEL | STEPS, generate=False,
    ),
    OpSpec(
        name="conv2d", doc="cross-correlation of images with weights (out, in / groups, height, width)", arity=2,
        example="conv2d(x, w, padding=(1, 1))",
        define=convolve2d, vjp=(_conv2d_vjp_x, _conv2d_vjp_w),
        image=lambda x, w, shapes, **_: _many((x * w).hull(Interval.point(0.0)), math.prod(shapes[1][1:])),
        shape=_convolved, params=STEPS | _ones("padding", 0) | {"groups": Param("int", default=1, lo=1)},
        generate=False,
    ),
    OpSpec(
        name="max_pool2d", doc="the largest entry under each window; the first of several gets the cotangent",
        example="max_pool2d(x, kernel=(2, 2), stride=(2, 2))",
        define=max_pool2d, vjp=(_max_pool2d_vjp,), kinks=_max_pool2d_kinks,
        image=lambda x, **_: x, shape=_pooled, params=POOL | _ones("dilation", 1), ulps=0, generate=False,
    ),
    OpSpec(
        name="avg_pool2d", doc="the mean under each window, the padding counted in", ulps=1,
        example="avg_pool2d(x, kernel=(2, 2), stride=(2, 2))",
        define=_avg_pool2d, vjp=(_avg_pool2d_vjp,),
        image=lambda x, **_: x.hull(Interval.point(0.0)).widened(), shape=_pooled, params=POOL, generate=False,
    ),
    OpSpec(
        name="adaptive_avg_pool2d", doc="means over a fixed number of windows that cover the image", ulps=1,
        example="adaptive_avg_pool2d(x, size=(1, 1))",
        define=_adaptive_avg_pool2d,
        image=lambda x, **_: x.widened(), shape=_adapted, params={"size": Param("ints")}, generate=False,
    ),
    OpSpec(
        name="batch_norm", doc="mean 0 and variance 1 per channel (axis 1) over the batch, then scaled and shifted", arity=3,
        example="batch_norm(x, w, b)",
        define=_batch_norm, vjp=(_batch_norm_vjp_x, _batch_norm_vjp_w, _batch_norm_vjp_b),
        image=lambda x, w, b, shapes, **_: _normed(shapes[0]) * w + b,
        shape=_channelled, params={"eps": Param("float", default=1e-5, lo=0.0)}, ulps=4, generate=False,
    ),
)  # fmt: skip
