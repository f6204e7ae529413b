"""Functions of PyTorch that no op of the table is named after: compositions of other functions, and such of no gradient.

The one idea: what is composed needs no rule. Where PyTorch's function has one backward node, the composition has several.
"""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dispatch import without_derivative
from ..tensor import Tensor, wrap
from .call import normal_dim, raw_of, run, run_as
from .conversion import clone
from .elementwise import add, clamp, div, mul, sub
from .indexing import where
from .joining import cat, narrow, split
from .linalg import matmul, tensordot
from .reduction import mean, sum, vector_norm
from .shape import broadcast_to, diag, expand, flatten, flip, movedim, reshape, transpose, unsqueeze
from .writing import setitem

__all__ = [
    "addmv", "atleast_1d", "atleast_2d", "atleast_3d", "baddbmm", "bincount", "block_diag", "bucketize", "cdist",
    "clamp_max", "clamp_min", "column_stack", "copysign", "count_nonzero", "cov", "deg2rad", "diagflat", "diff",
    "dist", "dstack", "fliplr", "flipud", "fmod", "frac", "histc", "index_copy", "index_fill", "inner", "isfinite",
    "isin", "isneginf", "isposinf", "isreal", "kron", "logdet", "masked_scatter", "multinomial", "nan_to_num",
    "nanmean", "nansum", "positive", "quantile", "rad2deg", "ravel", "rot90", "scatter", "searchsorted", "slogdet",
    "split_with_sizes", "take", "tensor_split", "trapezoid", "trapz", "unfold", "unique", "unique_consecutive",
]  # fmt: skip


# ---- entry by entry ---------------------------------------------------------------------------------------------------


def _asked(question: Any) -> Any:
    def ask(input: Tensor) -> Tensor:
        return wrap(np.asarray(question(input._array())))

    ask.__doc__ = f"NumPy's {question.__name__}, entry by entry; no gradient."
    return ask


isfinite, isposinf, isneginf, isreal = map(_asked, (np.isfinite, np.isposinf, np.isneginf, np.isreal))
for _name in ("isfinite", "isposinf", "isneginf", "isreal"):
    globals()[_name].__name__ = globals()[_name].__qualname__ = _name


def isin(elements: Tensor, test_elements: Any, *, invert: bool = False) -> Tensor:
    return wrap(np.isin(raw_of(elements), raw_of(test_elements), invert=invert))


def clamp_min(input: Tensor, min: Any) -> Tensor:
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    return clamp(input, max=max)


def nan_to_num(
    input: Tensor, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Replaces NaN and infinities by numbers (the largest and smallest of the dtype); what is replaced has gradient 0."""
    raw = input._array()
    if raw.dtype.kind != "f":
        return clone(input)
    edge = np.finfo(raw.dtype)
    fill = np.zeros_like(raw)
    fill[np.isnan(raw)] = 0.0 if nan is None else nan
    fill[np.isposinf(raw)] = edge.max if posinf is None else posinf
    fill[np.isneginf(raw)] = edge.min if neginf is None else neginf
    return where(isfinite(input), input, wrap(fill))


def fmod(input: Tensor, other: Any) -> Tensor:
    """input - trunc(input / other) * other, with the sign of `input`."""
    whole = wrap(np.asarray(np.trunc(np.divide(raw_of(input), raw_of(other)))).astype(raw_of(input).dtype))
    return sub(input, mul(whole, other))


def frac(input: Tensor) -> Tensor:
    return sub(input, wrap(np.asarray(np.trunc(input._data))))


def positive(input: Tensor) -> Tensor:
    return input


def copysign(input: Tensor, other: Any) -> Tensor:
    """The size of `input` with the sign of `other`."""
    raw = np.broadcast_to(raw_of(other), np.broadcast_shapes(input.shape, np.shape(raw_of(other))))
    turn = np.where(np.signbit(input._data) == np.signbit(raw), 1, -1).astype(input._data.dtype)
    slope = np.where(input._data == 0, 0, turn).astype(input._data.dtype)  # PyTorch's choice at 0
    out = mul(input, wrap(slope))
    return where(
        wrap(np.asarray(np.broadcast_to(input._data == 0, raw.shape))), wrap(np.copysign(input._data, raw)), out
    )


def deg2rad(input: Tensor) -> Tensor:
    return mul(input, math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    return mul(input, 180 / math.pi)


# ---- sums and products --------------------------------------------------------------------------------------------------


def nansum(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return sum(
        where(wrap(np.asarray(np.isnan(input._data))), wrap(np.zeros((), input._data.dtype)), input), dim, keepdim
    )


def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    count = sum(wrap((~np.isnan(input._array())).astype(input._data.dtype)), dim, keepdim)
    return div(nansum(input, dim, keepdim), count)


def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    return wrap(np.asarray(np.count_nonzero(input._data, axis=dim), np.int64))


def dist(input: Tensor, other: Tensor, p: float = 2.0) -> Tensor:
    return vector_norm(flatten(sub(input, other)), p)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "") -> Tensor:
    """The p-norm of the difference of each row of `x1` and each row of `x2`."""
    return vector_norm(sub(unsqueeze(x1, -2), unsqueeze(x2, -3)), p, dim=-1)


def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    parts = [x for x in (prepend, input, append) if x is not None]
    x = cat(parts, dim) if len(parts) > 1 else input
    for _ in range(n):
        size = x.shape[dim] - 1
        x = sub(narrow(x, dim, 1, size), narrow(x, dim, 0, size))
    return x


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The integral of `y` along a dim by the trapezoidal rule."""
    n = y.shape[dim] - 1
    heights = mul(add(narrow(y, dim, 0, n), narrow(y, dim, 1, n)), 0.5)
    if x is None:
        return sum(mul(heights, dx), dim)
    widths = diff(x, dim=-1)
    if x._data.ndim == 1:
        at = normal_dim(dim, y._data.ndim)
        widths = reshape(widths, tuple(n if d == at else 1 for d in range(y._data.ndim)))
    return sum(mul(heights, widths), dim)


trapz = trapezoid


def cov(input: Tensor, *, correction: int = 1) -> Tensor:
    """The covariance of the rows."""
    x = unsqueeze(input, 0) if input._data.ndim == 1 else input
    centred = sub(x, mean(x, 1, True))
    out = div(matmul(centred, transpose(centred, 0, 1)), x.shape[1] - correction)
    return reshape(out, ()) if input._data.ndim == 1 else out


def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The q-quantiles along a dim, between neighbours by linear interpolation."""
    if interpolation != "linear":
        raise NotImplementedError(f"quantile: interpolation={interpolation!r} is not supported by this engine")
    x, at = (flatten(input), 0) if dim is None else (input, normal_dim(dim, input._data.ndim))
    order = np.argsort(x._data, axis=at, kind="stable")
    x = movedim(run("take_along_axis", x, wrap(order), axis=at), at, -1)
    places = np.atleast_1d(raw_of(q)).astype(np.float64) * (x.shape[-1] - 1)
    low = np.floor(places).astype(np.int64)
    high = np.ceil(places).astype(np.int64)
    share = wrap((places - low).astype(x._data.dtype))
    below, above = (run("take", x, wrap(k), axis=-1) for k in (low, high))
    out = movedim(add(below, mul(share, sub(above, below))), -1, 0)
    if keepdim:
        shape = [1] * input._data.ndim if dim is None else [1 if d == at else n for d, n in enumerate(input.shape)]
        out = reshape(out, (len(places), *shape))
    return out if np.ndim(raw_of(q)) else reshape(out, out.shape[1:])


# ---- linear algebra -----------------------------------------------------------------------------------------------------


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    return add(mul(input, beta), mul(matmul(mat, vec), alpha))


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    return add(mul(input, beta), mul(matmul(batch1, batch2), alpha))


def inner(input: Tensor, other: Tensor) -> Tensor:
    """The sum over the last dims of both."""
    if not input._data.ndim or not other._data.ndim:
        return mul(input, other)
    return tensordot(input, other, ([input._data.ndim - 1], [other._data.ndim - 1]))


def kron(input: Tensor, other: Tensor) -> Tensor:
    """Each entry of `input`, times `other`."""
    n = builtins.max(input._data.ndim, other._data.ndim)
    a = reshape(input, (1,) * (n - input._data.ndim) + tuple(input.shape))
    b = reshape(other, (1,) * (n - other._data.ndim) + tuple(other.shape))
    pairs = tuple(zip(a.shape, b.shape))
    left = reshape(a, tuple(k for m, _ in pairs for k in (m, 1)))
    right = reshape(b, tuple(k for _, m in pairs for k in (1, m)))
    return reshape(mul(left, right), tuple(i * j for i, j in pairs))


def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative."""
    sign, log = slogdet(input)
    return where(wrap(np.asarray(sign._data < 0)), wrap(np.array(np.nan, log._data.dtype)), log)


def slogdet(input: Tensor) -> tuple[Tensor, Tensor]:
    """(sign of the determinant, logarithm of its absolute value)."""
    return wrap(np.asarray(np.linalg.slogdet(input._data)[0])), run("logabsdet", input)


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    return diag(reshape(input, -1), offset)


def block_diag(*tensors: Tensor) -> Tensor:
    parts = [atleast_2d(x) for x in tensors]
    height, width = (builtins.sum(x.shape[k] for x in parts) for k in (0, 1))
    rows, left, top = [], 0, 0
    for x in parts:
        h, w = x.shape
        rows.append(run("pad", x, pads=((top, height - top - h), (left, width - left - w))))
        left, top = left + w, top + h
    out = rows[0]
    for row in rows[1:]:
        out = add(out, row)
    return out


# ---- shapes -------------------------------------------------------------------------------------------------------------


def ravel(input: Tensor) -> Tensor:
    return reshape(input, -1)


def fliplr(input: Tensor) -> Tensor:
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    return flip(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    a, b = (normal_dim(d, input._data.ndim) for d in dims)
    for _ in range(k % 4):
        input = flip(transpose(input, a, b), a)
    return input


def _at_least(n: int) -> Any:
    def at_least(*tensors: Any) -> Any:
        many = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
        out = []
        for x in many:
            while x._data.ndim < n:
                x = unsqueeze(x, -1 if x._data.ndim == 2 else 0)
            out.append(x)
        return out[0] if len(tensors) == 1 and many is tensors else tuple(out)

    at_least.__name__ = at_least.__qualname__ = f"atleast_{n}d"
    at_least.__doc__ = f"The tensor, with leading dims of size 1 where it has fewer than {n}."
    return at_least


atleast_1d, atleast_2d, atleast_3d = map(_at_least, (1, 2, 3))


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    return cat([atleast_3d(x) for x in tensors], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    return cat([reshape(x, (-1, 1)) if x._data.ndim <= 1 else x for x in tensors], 1)


def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    return split(input, list(split_sizes), dim)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    n = input.shape[dim]
    if isinstance(indices_or_sections, int):
        k = indices_or_sections
        sizes = [n // k + (i < n % k) for i in range(k)]
    else:
        ends = [0, *(builtins.min(i % n if i < 0 else i, n) for i in indices_or_sections), n]
        sizes = [builtins.max(b - a, 0) for a, b in itertools.pairwise(ends)]
    return split(input, sizes, dim)


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """The windows of a dim, as a last dim of their own; a copy, where PyTorch gives a view."""
    at = normal_dim(dimension, input._data.ndim)
    starts = np.arange(0, input.shape[at] - size + 1, step)
    out = run("take", input, wrap(starts[:, None] + np.arange(size)), axis=at)
    return movedim(out, at + 1, -1)


# ---- by index -----------------------------------------------------------------------------------------------------------


def _written(input: Tensor, at: Any, value: Any) -> Tensor:
    out = clone(input)
    setitem(out, at, value)
    return out


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    return _written(input, (slice(None),) * normal_dim(dim, input._data.ndim) + (index,), value)


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    return _written(input, (slice(None),) * normal_dim(dim, input._data.ndim) + (index,), source)


def scatter(input: Tensor, dim: int, index: Tensor, src: Any, *, reduce: str | None = None) -> Tensor:
    """`input` with the entries at `index`, along `dim`, replaced by those of `src`."""
    if reduce is not None:
        raise NotImplementedError("scatter: reduce= is not supported by this engine; use scatter_add")
    at = normal_dim(dim, input._data.ndim)
    grid = list(np.indices(index._data.shape))
    grid[at] = index._array()
    value = src
    if isinstance(src, Tensor) and src._data.ndim:
        value = run("getitem", src, index=tuple((0, n, None) for n in index._data.shape))
    return _written(input, tuple(wrap(k) for k in grid), value)


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    full = expand(mask, tuple(np.broadcast_shapes(mask.shape, input.shape)))
    x = broadcast_to(input, full.shape)
    count = int(full._data.sum())
    return _written(x, full, narrow(reshape(source, -1), 0, 0, count))


def take(input: Tensor, index: Tensor) -> Tensor:
    """Entries of the flattened tensor."""
    return run_as("TakeBackward0", "take", reshape(input, -1), index, axis=0)


def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
    """Indices drawn with the weights of a row."""
    from .creation import default_generator

    random = (generator or default_generator).random
    rows = np.atleast_2d(input._array()).astype(np.float64)
    if not np.isfinite(rows).all() or (rows < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if not (rows.sum(axis=1) > 0).all():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if not replacement and num_samples > rows.shape[1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    drawn = np.stack([random.choice(len(p), num_samples, replacement, p / p.sum()) for p in rows])
    return wrap(drawn if input._data.ndim == 2 else drawn[0])


# ---- no gradient ----------------------------------------------------------------------------------------------------------


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The values that occur, in order; with the place of each entry among them, and how often each occurs."""
    found: Any = np.unique(  # type: ignore[call-overload]
        input._array(), return_inverse=return_inverse, return_counts=return_counts, axis=dim
    )
    if not isinstance(found, tuple):
        return without_derivative(wrap(found), "unique", input)
    values, *numbers = found
    return without_derivative(wrap(values), "unique", input), *(wrap(np.asarray(n, np.int64)) for n in numbers)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The values without repetitions in a row; along `dim`, the slices."""
    data = input._array().ravel() if dim is None else np.moveaxis(input._array(), dim, 0)
    rows = data.reshape(len(data), -1)
    new = np.append(True, (rows[1:] != rows[:-1]).any(1)) if len(rows) else np.zeros(0, bool)
    values = data[new] if dim is None else np.moveaxis(data[new], 0, dim)
    groups = np.cumsum(new) - 1
    out: list[Any] = [without_derivative(wrap(values), "unique_consecutive", input)]
    if return_inverse:
        out.append(wrap(groups.reshape(input._data.shape) if dim is None else groups))
    if return_counts:
        out.append(wrap(np.bincount(groups).astype(np.int64)))
    return tuple(out) if len(out) > 1 else out[0]


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    return wrap(np.bincount(input._array(), None if weights is None else weights._array(), minlength))


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    ends = (float(input._data.min()), float(input._data.max())) if min == max == 0 else (min, max)
    return wrap(np.histogram(input._array(), bins, ends)[0].astype(input._data.dtype))


def searchsorted(sorted_sequence: Tensor, input: Any, *, right: bool = False, side: str | None = None) -> Tensor:
    where_: Any = "right" if right or side == "right" else "left"
    rows, values = sorted_sequence._array(), np.asarray(raw_of(input))
    if rows.ndim == 1:
        return wrap(np.asarray(np.searchsorted(rows, values, where_), np.int64))
    flat = [
        np.searchsorted(a, v, where_)
        for a, v in zip(rows.reshape(-1, rows.shape[-1]), values.reshape(-1, values.shape[-1]))
    ]
    return wrap(np.asarray(flat, np.int64).reshape(values.shape))


def bucketize(input: Any, boundaries: Tensor, *, right: bool = False) -> Tensor:
    return searchsorted(boundaries, input, right=right)
