"""`torch.nn.functional`, the part that is composed: of `basics`, of ops of the table, of each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..api import creation
from ..api.call import run, run_as
from ..api.composed import unfold as _windows
from ..api.elementwise import add, clamp, div, mul, sub
from ..api.elementwise import pow as _pow
from ..api.indexing import getitem, masked_fill, where
from ..api.joining import stack
from ..api.linalg import einsum, matmul
from ..api.reduction import mean, sum, vector_norm
from ..api.selection import min as _min
from ..api.shape import flip, permute, reshape, squeeze, transpose, unsqueeze
from ..tensor import Tensor, wrap
from ..views import write
from . import basics

__all__ = [
    "adaptive_avg_pool1d", "adaptive_max_pool2d", "alpha_dropout", "avg_pool1d", "bilinear", "channel_shuffle", "conv1d",
    "conv3d",
    "conv_transpose1d", "conv_transpose2d", "cosine_embedding_loss", "dropout1d", "dropout2d", "dropout3d",
    "embedding_bag", "feature_alpha_dropout", "fold", "gaussian_nll_loss", "glu", "group_norm", "gumbel_softmax",
    "hardshrink",
    "hinge_embedding_loss", "instance_norm", "interpolate", "local_response_norm", "lp_pool1d", "lp_pool2d",
    "margin_ranking_loss", "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "multi_margin_loss",
    "multilabel_soft_margin_loss", "pad", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll_loss", "prelu", "rms_norm", "rrelu", "scaled_dot_product_attention", "soft_margin_loss", "softmin",
    "softshrink", "tanhshrink", "threshold", "triplet_margin_loss", "unfold", "upsample",
]  # fmt: skip


def _fits(input: Tensor, data: Any) -> Tensor:
    """A constant in the dtype of `input`."""
    return wrap(np.asarray(data).astype(input._data.dtype))


def _constant(input: Tensor, condition: Any) -> Tensor:
    return wrap(np.asarray(condition))


# ---- activations --------------------------------------------------------------------------------------------------------


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    make = lambda x: where(_constant(x, x._data > threshold), x, _fits(x, value))
    return write(input, make) if inplace else make(input)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """The entry itself, or where that is negative `weight` times it; one weight, or one for each channel."""
    if weight.numel() != 1:
        weight = reshape(weight, (1, -1, *(1,) * (input._data.ndim - 2)))
    return where(_constant(input, input._data > 0), input, mul(input, weight))


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """leaky_relu with a random slope for each entry; the middle one in evaluation."""
    if not training:
        return basics.leaky_relu(input, (lower + upper) / 2, inplace=inplace)
    slope = creation.default_generator.random.uniform(lower, upper, input._data.shape)
    return _times_constants(input, np.where(input._data < 0, slope, 1), inplace)


def _times_constants(input: Tensor, factors: Any, inplace: bool) -> Tensor:
    """Each entry times a constant."""
    by = _fits(input, factors)
    return write(input, lambda x: mul(x, by)) if inplace else mul(input, by)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    return mul(input, _fits(input, np.abs(input._data) > lambd))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """The entry moved towards 0 by lambd; 0 where it would pass it."""
    shift = np.where(input._data > lambd, lambd, -lambd)
    return where(_constant(input, np.abs(input._data) > lambd), sub(input, _fits(input, shift)), mul(input, 0.0))


def tanhshrink(input: Tensor) -> Tensor:
    return sub(input, basics.tanh(input))


def softmin(input: Tensor, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    return basics.softmax(run("negative", input), dim, dtype=dtype)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half, times the sigmoid of the second."""
    n = input.shape[dim]
    if n % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {n}")
    first, second = input.chunk(2, dim)
    return mul(first, basics.sigmoid(second))


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    noise = creation.default_generator.random.gumbel(size=logits._data.shape)
    soft = basics.softmax(div(add(logits, _fits(logits, noise)), tau), dim)
    if not hard:
        return soft
    best = np.expand_dims(soft._data.argmax(dim), dim)
    one = np.zeros_like(soft._array())
    np.put_along_axis(one, best, 1, dim)
    return add(sub(wrap(one), soft.detach()), soft)


# ---- dropout ------------------------------------------------------------------------------------------------------------


def _channel_dropout(ndims: tuple[int, ...]) -> Any:
    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """Whole channels become zero with probability p; the others are scaled by 1 / (1 - p)."""
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        if not training or p == 0:
            return input
        lead = 1 if input._data.ndim == ndims[0] else 2
        shape = (*input.shape[:lead], *(1,) * (input._data.ndim - lead))
        keep = creation.default_generator.random.random(shape) >= p
        return _times_constants(input, keep * (0.0 if p == 1 else 1 / (1 - p)), inplace)

    return dropout


dropout1d, dropout2d, dropout3d = (_channel_dropout((n + 1, n + 2)) for n in (1, 2, 3))

_SATURATED = -1.7580993408473766
"""What selu tends to at minus infinity: -scale * alpha."""


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1 (Klambauer et al. 2017, section "New dropout technique")."""
    return _alpha_dropout(input, p, training, tuple(input.shape), inplace)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """The same with whole channels."""
    return _alpha_dropout(input, p, training, (*input.shape[:2], *(1,) * (input._data.ndim - 2)), inplace)


def _alpha_dropout(input: Tensor, p: float, training: bool, shape: tuple[int, ...], inplace: bool) -> Tensor:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    if p == 1:
        return _times_constants(input, 0.0, inplace)
    keep = creation.default_generator.random.random(shape) >= p
    a = 1 / math.sqrt((1 - p) * (1 + p * _SATURATED**2))
    b = -a * p * _SATURATED
    make = lambda x: add(mul(x, _fits(x, a * keep)), _fits(x, a * _SATURATED * ~keep + b))
    return write(input, make) if inplace else make(input)


# ---- padding and sizes --------------------------------------------------------------------------------------------------

_NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`pad` counts from the last dim: (left, right, top, bottom, ...); a negative number takes entries away."""
    ndim = input._data.ndim
    if len(pad) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, but got {len(pad)}")
    if len(pad) > 2 * ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pad)} and input of dimension {ndim}"
        )
    pairs = [(pad[k], pad[k + 1]) for k in range(0, len(pad), 2)]
    if mode != "constant":
        for k, (left, right) in enumerate(pairs):
            n = input.shape[ndim - 1 - k]
            if mode == "reflect" and max(left, right) >= n:
                raise RuntimeError(
                    "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
                    f"({left}, {right}) at dimension {ndim - 1 - k} of input {list(input.shape)}"
                )
            where_from = np.pad(np.arange(n), (max(left, 0), max(right, 0)), mode=_NUMPY_MODES[mode])
            where_from = where_from[max(-left, 0) : len(where_from) - max(-right, 0)]
            input = run("take", input, wrap(where_from), axis=ndim - 1 - k)
        return input
    sizes = ((0, 0),) * (ndim - len(pairs)) + tuple(reversed(pairs))
    if any(min(pair) < 0 for pair in pairs):
        cut = tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(input.shape, sizes))
        input, sizes = getitem(input, cut), tuple((max(a, 0), max(b, 0)) for a, b in sizes)
    out = run("pad", input, pads=sizes)
    if not value:
        return out
    frame = np.pad(np.zeros(input._data.shape, input._data.dtype), sizes, constant_values=value)
    return add(out, wrap(frame))


def _require_image(input: Tensor, name: str, what: str, factor: int) -> None:
    """Raises RuntimeError where the input has fewer than three dims, or the factor is not positive."""
    if input._data.ndim < 3:
        raise RuntimeError(
            f"{name} expects input to have at least 3 dimensions, but got input with {input._data.ndim} dimension(s)"
        )
    if factor < 1:
        raise RuntimeError(f"{name} expects a positive {what}, but got {factor}")


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels (dim 1) of `groups` groups, interleaved: the first of each group, then the second of each."""
    n, c, *rest = input.shape
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    x = reshape(input, (n, groups, c // groups, *rest))
    return reshape(transpose(x, 1, 2), (n, c, *rest))


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(…, C r², H, W) as (…, C, H r, W r)."""
    _require_image(input, "pixel_shuffle", "upscale_factor", upscale_factor)
    r, (*lead, c, h, w) = upscale_factor, input.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but "
            f"input.size(-3)={c} is not divisible by {r * r}"
        )
    x = reshape(input, (*lead, c // (r * r), r, r, h, w))
    n = len(lead)
    x = permute(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(x, (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(…, C, H r, W r) as (…, C r², H, W)."""
    _require_image(input, "pixel_unshuffle", "downscale_factor", downscale_factor)
    r, (*lead, c, h, w) = downscale_factor, input.shape
    for size, k, name in (h, -2, "height"), (w, -1, "width"):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({k})={size} is not "
                f"divisible by {r}"
            )
    x = reshape(input, (*lead, c, h // r, r, w // r, r))
    n = len(lead)
    x = permute(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(x, (*lead, c * r * r, h // r, w // r))


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The patches under a sliding window as columns: (batch, channels * kernel, positions)."""
    x = unsqueeze(input, 0) if input._data.ndim == 3 else input
    p = basics._pair(padding)
    blocks = _blocks(tuple(x.shape[2:]), kernel_size, dilation, padding, stride)
    if min(blocks) < 1:
        raise RuntimeError(
            f"Given input with spatial size {tuple(x.shape[2:])}, kernel_size={basics._pair(kernel_size)}, "
            f"dilation={basics._pair(dilation)}, padding={p}, calculated shape of the array of sliding blocks as {blocks}, "
            "but its components must be at least one."
        )
    x = run("pad", x, pads=((0, 0), (0, 0), (p[0],) * 2, (p[1],) * 2)) if any(p) else x
    out = run(
        "im2col", x, kernel=basics._pair(kernel_size), stride=basics._pair(stride), dilation=basics._pair(dilation)
    )
    n, c, k, h, w = out.shape
    out = reshape(out, (n, c * k, h * w))
    return reshape(out, out.shape[1:]) if input._data.ndim == 3 else out


def _blocks(size: tuple[int, ...], kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[int, ...]:
    """In how many places the window lies, per dim."""
    kernel, step, edge, gap = (basics._pair(v) for v in (kernel_size, stride, padding, dilation))
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(size, edge, gap, kernel, step))


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns of `unfold` added back to where they came from."""
    x = unsqueeze(input, 0) if input._data.ndim == 2 else input
    (h, w), (kh, kw), p = basics._pair(output_size), basics._pair(kernel_size), basics._pair(padding)
    s, d = basics._pair(stride), basics._pair(dilation)
    oh, ow = _blocks((h, w), kernel_size, dilation, padding, stride)
    given = f"output_size=({h}, {w}), kernel_size=({kh}, {kw}), dilation={d}, padding={p}, stride={s}"
    if x.shape[1] % (kh * kw):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={x.shape[1]} and kernel_size=({kh}, {kw})."
        )
    if min(oh, ow) < 1:
        raise RuntimeError(
            f"Given {given}, calculated shape of the array of sliding blocks as ({oh}, {ow}), "
            "which is too small (non-positive)"
        )
    if x.shape[2] != oh * ow:
        raise RuntimeError(
            f"Given {given}, expected size of input's dimension 2 to match the calculated number of sliding blocks {oh} * "
            f"{ow} = {oh * ow}, but got input.size(2)={x.shape[2]}."
        )
    cols = reshape(x, (x.shape[0], x.shape[1] // (kh * kw), kh * kw, oh, ow))
    out = run("col2im", cols, size=(h + 2 * p[0], w + 2 * p[1]), kernel=(kh, kw), stride=s, dilation=d)
    out = getitem(out, (..., slice(p[0], p[0] + h), slice(p[1], p[1] + w)))
    return reshape(out, out.shape[1:]) if input._data.ndim == 2 else out


def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Another size of the dims behind the channels: one matrix per dim, of weights of the entries around each place."""
    if mode not in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area") or antialias:
        raise NotImplementedError(f"interpolate: mode={mode!r} is not supported by this engine")
    dims = input._data.ndim - 2
    if (size is None) == (scale_factor is None):
        raise ValueError("only one of size or scale_factor should be defined")
    many = lambda v: tuple(v) if isinstance(v, list | tuple) else (v,) * dims
    scales = (None,) * dims if scale_factor is None else many(scale_factor)
    sizes = many(size) if size is not None else tuple(math.floor(n * s) for n, s in zip(input.shape[2:], scales))
    for k, (m, s) in enumerate(zip(sizes, scales)):
        n = input.shape[2 + k]
        given = None if recompute_scale_factor else s
        weights = _resampling(n, m, given, mode, bool(align_corners))
        rows = _fits(input, weights)
        if mode.startswith("nearest"):
            input = run("take", input, wrap(weights.argmax(axis=1)), axis=2 + k)
        else:
            input = transpose(matmul(transpose(input, 2 + k, -1), transpose(rows, 0, 1)), 2 + k, -1)
    return input


def _resampling(n: int, m: int, scale: float | None, mode: str, align: bool) -> np.ndarray:
    """The matrix (m, n) of weights; the sources' places are PyTorch's (documentation of torch.nn.functional.interpolate)."""
    out, k = np.zeros((m, n)), np.arange(m)
    ratio = n / m if scale is None else 1 / scale
    if mode.startswith("nearest"):
        at = np.floor((k + 0.5) * ratio) if mode == "nearest-exact" else np.floor(k * ratio)
        out[k, np.minimum(at, n - 1).astype(int)] = 1
    elif mode == "area":
        for i in k:
            first, last = i * n // m, -(-(i + 1) * n // m)
            out[i, first:last] = 1 / (last - first)
    else:
        at = k * (n - 1) / (m - 1) if align and m > 1 else k * 0.0 if align else np.maximum((k + 0.5) * ratio - 0.5, 0)
        low = np.minimum(np.floor(at).astype(int), n - 1)
        high, share = np.minimum(low + 1, n - 1), at - low
        np.add.at(out, (k, low), 1 - share)
        np.add.at(out, (k, high), share)
    return out


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None
) -> Tensor:
    return interpolate(input, size, scale_factor, mode, align_corners)


# ---- convolutions -------------------------------------------------------------------------------------------------------


def _single(value: Any) -> int:
    return int(value) if isinstance(value, int) else int(value[0])


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """`conv2d` of an image of one row."""
    if isinstance(padding, str):
        reach = _single(dilation) * (weight.shape[-1] - 1)
        if padding == "same":
            input = pad(input, (reach // 2, reach - reach // 2))
        padding = 0
    out = basics.conv2d(
        unsqueeze(input, -2), unsqueeze(weight, -2), bias, (1, _single(stride)), (0, _single(padding)),
        (1, _single(dilation)), groups,
    )  # fmt: skip
    return squeeze(out, -2)


def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """A sum of `conv2d` over the layers of the kernel."""
    triple = lambda v: (v,) * 3 if isinstance(v, int) else tuple(v)
    s, p, d = triple(stride), triple(padding), triple(dilation)
    x = unsqueeze(input, 0) if input._data.ndim == 4 else input
    x = pad(x, (0, 0, 0, 0, p[0], p[0])) if p[0] else x
    n, c, depth = x.shape[:3]
    layers = (depth - d[0] * (weight.shape[2] - 1) - 1) // s[0] + 1
    out = None
    for k in range(weight.shape[2]):
        first = k * d[0]
        part = getitem(x, (slice(None), slice(None), slice(first, first + s[0] * (layers - 1) + 1, s[0])))
        flat = reshape(transpose(part, 1, 2), (n * layers, c, *x.shape[3:]))
        made = basics.conv2d(flat, getitem(weight, (slice(None), slice(None), k)), None, s[1:], p[1:], d[1:], groups)
        out = made if out is None else add(out, made)
    assert out is not None
    out = transpose(reshape(out, (n, layers, *out.shape[1:])), 1, 2)
    out = out if bias is None else add(out, reshape(bias, (1, -1, 1, 1, 1)))
    return reshape(out, out.shape[1:]) if input._data.ndim == 4 else out


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The adjoint of `conv2d`: that of the image spread out by the stride, with the kernel turned around."""
    x = unsqueeze(input, 0) if input._data.ndim == 3 else input
    s, p, q, d = (basics._pair(v) for v in (stride, padding, output_padding, dilation))
    n, c, *sizes = x.shape
    spread = [(m - 1) * t + 1 for m, t in zip(sizes, s)]
    if any(t > 1 for t in s):
        at = ((None, None, 1), (None, None, 1), *((0, m, t) for m, t in zip(spread, s)))
        x = run("embed", x, index=at, shape=(n, c, *spread))
    kernel = weight.shape[2:]
    edges = [(e * (k - 1) - b, e * (k - 1) - b + extra) for e, k, b, extra in zip(d, kernel, p, q)]
    x = pad(x, (*edges[1], *edges[0]))
    inner = weight.shape[1]
    turned = reshape(flip(weight, (2, 3)), (groups, c // groups, inner, *kernel))
    turned = reshape(transpose(turned, 1, 2), (groups * inner, c // groups, *kernel))
    out = basics.conv2d(x, turned, bias, 1, 0, d, groups)
    return reshape(out, out.shape[1:]) if input._data.ndim == 3 else out


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    out = conv_transpose2d(
        unsqueeze(input, -2), unsqueeze(weight, -2), bias, (1, _single(stride)), (0, _single(padding)),
        (0, _single(output_padding)), groups, (1, _single(dilation)),
    )  # fmt: skip
    return squeeze(out, -2)


# ---- pooling ------------------------------------------------------------------------------------------------------------


def max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = True,
) -> Any:  # fmt: skip
    """(the largest entry under each window, its index in the flattened image)."""
    x = unsqueeze(input, 0) if input._data.ndim == 3 else input
    kernel, p, d = (basics._pair(v) for v in (kernel_size, padding, dilation))
    s = basics._pair(stride) if stride else kernel
    counts = [_windows_of(m, k, t, q, e, ceil_mode) for m, k, t, q, e in zip(x.shape[2:], kernel, s, p, d)]
    # What a window reaches beyond the image is padded with the smallest number.
    ends = [
        (q, max((c - 1) * t + e * (k - 1) + 1 - m - q, 0))
        for m, k, t, q, e, c in zip(x.shape[2:], kernel, s, p, d, counts)
    ]
    low = float("-inf") if x._data.dtype.kind == "f" else np.iinfo(x._data.dtype).min
    padded = np.pad(x._array(), ((0, 0), (0, 0), *ends), constant_values=low)
    seen = np.lib.stride_tricks.sliding_window_view(
        padded, tuple(e * (k - 1) + 1 for k, e in zip(kernel, d)), axis=(2, 3)
    )
    seen = seen[:, :, :: s[0], :: s[1], :: d[0], :: d[1]][:, :, : counts[0], : counts[1]]
    flat = seen.reshape(*seen.shape[:4], -1)
    unordered = np.isnan(flat) if flat.dtype.kind == "f" else np.zeros_like(flat, bool)
    best = np.where(unordered.any(-1), unordered.argmax(-1), flat.argmax(-1))
    rows = np.arange(counts[0])[:, None] * s[0] - p[0] + best // kernel[1] * d[0]
    columns = np.arange(counts[1]) * s[1] - p[1] + best % kernel[1] * d[1]
    at = rows * x.shape[3] + columns
    n, c = x.shape[:2]
    picked = run("take_along_axis", reshape(x, (n, c, -1)), wrap(at.reshape(n, c, -1)), axis=2)
    shape = at.shape if input._data.ndim == 4 else at.shape[1:]
    return reshape(picked, shape), wrap(at.reshape(shape))


def _windows_of(n: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """How many windows there are; with ceil_mode the last may reach out, if it starts in the image or its left padding."""
    room = n + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= n + padding else count


def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    if ceil_mode or return_indices:
        found = max_pool2d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
        return found if return_indices else found[0]
    return basics.max_pool2d(input, kernel_size, stride, padding, dilation)


def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    step = (1, _single(stride)) if stride else None
    found = max_pool2d(
        unsqueeze(input, -2), (1, _single(kernel_size)), step, (0, _single(padding)), (1, _single(dilation)), ceil_mode,
        return_indices,
    )  # fmt: skip
    return tuple(squeeze(x, -2) for x in found) if return_indices else squeeze(found, -2)


def avg_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    step = (1, _single(stride)) if stride else None
    return squeeze(basics.avg_pool2d(unsqueeze(input, -2), (1, _single(kernel_size)), step, (0, _single(padding))), -2)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    return squeeze(basics.adaptive_avg_pool2d(unsqueeze(input, -2), (1, _single(output_size))), -2)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    h, w = input.shape[-2:]
    oh, ow = (n if m is None else m for n, m in zip((h, w), basics._pair(output_size)))
    at = lambda i, n, m: slice(i * n // m, -(-(i + 1) * n // m))
    rows = [
        stack([run("max", getitem(input, (..., at(i, h, oh), at(j, w, ow))), axis=(-2, -1)) for j in range(ow)], -1)
        for i in range(oh)
    ]
    if return_indices:
        raise NotImplementedError("adaptive_max_pool2d: return_indices=True is not supported by this engine")
    return stack(rows, -2)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    k = basics._pair(kernel_size)
    means = basics.avg_pool2d(_pow(input, norm_type), kernel_size, stride)
    return _pow(mul(means, float(k[0] * k[1])), 1.0 / norm_type)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    means = avg_pool1d(_pow(input, norm_type), kernel_size, stride)
    return _pow(mul(means, float(_single(kernel_size))), 1.0 / norm_type)


# ---- normalisation ------------------------------------------------------------------------------------------------------


def _standardized(input: Tensor, shape: tuple[int, ...], eps: float) -> Tensor:
    n = shape[-1]
    dtype = input._data.dtype
    flat = run("layer_norm", reshape(input, shape), wrap(np.ones(n, dtype)), wrap(np.zeros(n, dtype)), eps=float(eps))
    return reshape(flat, input.shape)


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (1, -1, *(1,) * (x._data.ndim - 2))
    x = x if weight is None else mul(x, reshape(weight, shape))
    return x if bias is None else add(x, reshape(bias, shape))


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Each group of channels of each example: mean 0 and variance 1, then scaled and shifted per channel."""
    n, c = input.shape[:2]
    if c % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    return _scaled(_standardized(input, (n, num_groups, input.numel() // (n * num_groups)), eps), weight, bias)


def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Each channel of each example on its own; with running statistics, the mean over the examples goes into them."""
    n, c = input.shape[:2]
    if not use_input_stats:
        return basics.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    count = input.numel() // (n * c)
    if count <= 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    if running_mean is not None and running_var is not None:
        axes = tuple(range(2, input._data.ndim))
        basics._lerp_into(running_mean, input._data.mean(axis=axes).mean(0), momentum)
        basics._lerp_into(running_var, input._data.var(axis=axes, ddof=1).mean(0), momentum)
    return _scaled(_standardized(input, (n, c, count), eps), weight, bias)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x²) + eps) over the last dims."""
    axes = tuple(range(-len(tuple(normalized_shape)), 0))
    eps = float(np.finfo(input._data.dtype).eps) if eps is None else eps
    out = mul(input, run("rsqrt", add(mean(run("square", input), axes, True), eps)))
    return out if weight is None else mul(out, weight)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    squares = run("square", input)
    edges = (0, 0) * (input._data.ndim - 2) + (size // 2, (size - 1) // 2)
    means = mean(_windows(pad(squares, edges), 1, size, 1), -1)
    return div(input, _pow(add(mul(means, alpha), k), beta))


# ---- products -----------------------------------------------------------------------------------------------------------


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = (
        einsum("...i,oij,...j->...o", input1, weight, input2)
        if input1._data.ndim == 1
        else _bilinear(input1, input2, weight)
    )
    return out if bias is None else add(out, bias)


def _bilinear(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    lead = a.shape[:-1]
    x, y = reshape(a, (-1, a.shape[-1])), reshape(b, (-1, b.shape[-1]))
    return reshape(einsum("ni,oij,nj->no", x, weight, y), (*lead, weight.shape[0]))


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(query keyᵀ scale + mask) value; a mask of truth values says where to look, one of numbers is added."""
    if attn_mask is None and not dropout_p and not is_causal and scale is None and not enable_gqa:
        return run("scaled_dot_product_attention", query, key, value)
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = (x.repeat_interleave(times, -3) for x in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    weights = matmul(mul(query, scale), transpose(key, -2, -1))
    if is_causal:
        if attn_mask is not None:
            raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
        attn_mask = wrap(np.tril(np.ones(weights.shape[-2:], bool)))
    if attn_mask is not None and attn_mask._data.dtype == bool:
        weights = masked_fill(weights, wrap(~attn_mask._array()), float("-inf"))
    elif attn_mask is not None:
        weights = add(weights, attn_mask)
    return matmul(basics.dropout(basics.softmax(weights, -1), dropout_p, dropout_p > 0), value)


# ---- distances and losses -----------------------------------------------------------------------------------------------


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    return vector_norm(add(sub(x1, x2), eps), p, -1, keepdim)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The distances between the rows, each pair once."""
    first, second = np.triu_indices(input.shape[0], 1)
    rows = lambda at: run("take", input, wrap(at), axis=0)
    return vector_norm(sub(rows(first), rows(second)), p, -1)


def _reduced(each: Tensor, reduction: str) -> Tensor:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return each if reduction == "none" else run(reduction, each)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    return _reduced(clamp(add(mul(run("negative", target), sub(input1, input2)), margin), min=0.0), reduction)


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    near = where(_constant(input, target._data == -1), mul(input, 0.0), input)
    far = where(_constant(input, target._data == 1), mul(input, 0.0), clamp(sub(margin, input), min=0.0))
    return _reduced(add(near, far), reduction)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1; PyTorch adds 1e-12 to both squared norms."""
    ndim = input1._data.ndim
    if target._data.ndim > 1:
        raise RuntimeError(f"0D or 1D target tensor expected, multi-target not supported, got {target.shape}")
    if target._data.ndim == 1 and (ndim != 2 or input2._data.ndim != 2):
        raise RuntimeError(
            f"1D target tensor expects 2D input tensors, but found inputs with sizes {input1.shape} and {input2.shape}."
        )
    if target._data.ndim == 0 and (ndim != 1 or input2._data.ndim != 1):
        raise RuntimeError(
            f"0D target tensor expects 1D input tensors, but found inputs with sizes {input1.shape} and {input2.shape}."
        )
    dot = sum(mul(input1, input2), -1)
    squares = [add(sum(run("square", x), -1), 1e-12) for x in (input1, input2)]
    cos = div(dot, run("sqrt", mul(*squares)))
    alike = sub(1.0, cos)
    apart = clamp(sub(cos, margin), min=0.0)
    zero = mul(cos, 0.0)
    same, other = (_constant(cos, target._data == k) for k in (1, -1))
    return _reduced(add(where(same, alike, zero), where(other, apart, zero)), reduction)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = _min(far, pairwise_distance(positive, negative, p, eps))
    return _reduced(clamp(add(sub(near, far), margin), min=0.0), reduction)


def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    return _reduced(run("softplus", mul(run("negative", target), input)), reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    x, labels = (unsqueeze(input, 0), target._data.reshape(1)) if input._data.ndim == 1 else (input, target._array())
    right = run("take_along_axis", x, wrap(labels[:, None]), axis=1)
    each = _pow(clamp(add(sub(x, right), margin), min=0.0), p)
    if weight is not None:
        each = mul(each, unsqueeze(run("take", weight, wrap(labels), axis=0), 1))
    others = _fits(x, np.arange(x.shape[1]) != labels[:, None])
    per_row = div(sum(mul(each, others), 1), x.shape[1])
    return _reduced(reshape(per_row, ()) if input._data.ndim == 1 and reduction == "none" else per_row, reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    each = add(mul(target, basics.logsigmoid(input)), mul(sub(1, target), basics.logsigmoid(run("negative", input))))
    each = run("negative", each) if weight is None else mul(run("negative", each), weight)
    return _reduced(mean(each, -1), reduction)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    if log_input:
        each = sub(run("exp", input), mul(target, input))
    else:
        each = sub(input, mul(target, run("log", add(input, eps))))
    if full:
        t = target._array()
        with np.errstate(all="ignore"):
            stirling = t * np.log(t) - t + 0.5 * np.log(2 * np.pi * t)
        each = add(each, _fits(input, np.where(t > 1, stirling, 0)))
    return _reduced(each, reduction)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Half of log var + (input - target)² / var; `var` is at least eps, without a gradient where it is less."""
    if not isinstance(var, Tensor):
        var = _fits(input, np.full(input._data.shape, var))
    if (var._data < 0).any():
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:
        if var.shape == input.shape[:-1]:
            var = unsqueeze(var, -1)
        elif var.shape[:-1] != input.shape[:-1] or var.shape[-1] != 1:
            raise ValueError("var is of incorrect size")
    held = add(var, wrap(np.maximum(eps - var._data, 0).astype(var._data.dtype)))
    each = mul(add(run("log", held), div(run("square", sub(input, target)), held)), 0.5)
    return _reduced(add(each, 0.5 * math.log(2 * math.pi)) if full else each, reduction)


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Sums, means or maxima of rows of `weight`: those of each row of `input`, or from each offset to the next."""
    if max_norm is not None or scale_grad_by_freq:
        raise NotImplementedError("embedding_bag: max_norm and scale_grad_by_freq are not supported by this engine")
    if input._data.ndim == 2:
        bounds = np.arange(input.shape[0] + 1) * input.shape[1]
    else:
        assert offsets is not None
        bounds = np.append(offsets._array(), input.shape[0])
    rows = basics.embedding(reshape(input, -1), weight)
    if per_sample_weights is not None:
        rows = mul(rows, reshape(per_sample_weights, (-1, 1)))
    reduce = {"sum": lambda x: sum(x, 0), "mean": lambda x: mean(x, 0), "max": lambda x: run("max", x, axis=0)}[mode]
    empty = wrap(np.zeros(weight.shape[1], weight._data.dtype))
    parts = [reduce(getitem(rows, slice(int(a), int(b)))) if b > a else empty for a, b in itertools.pairwise(bounds)]
    return run_as("EmbeddingBagBackward0", "stack", *parts, axis=0)
