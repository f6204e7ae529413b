"""`torch.fft`: discrete Fourier transforms, all made of one op, the complex transform along axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import dtypes
from .api.call import normal_dim, run, run_as
from .api.joining import cat
from .api.shape import flip
from .dispatch import cast
from .tensor import Tensor, wrap

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift", "ihfft", "irfft",
    "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip

Dims = int | Sequence[int] | None
Norm = str | None


def _to_complex(x: Tensor) -> Tensor:
    """The tensor as a complex one; integers become the default dtype first."""
    kind = x._data.dtype
    if kind.kind == "c":
        return x
    if dtypes.CATEGORY[kind] < dtypes.FLOAT:
        kind = dtypes.default_numpy()
    return cast(x, dtypes.C128 if kind == dtypes.F64 else dtypes.C64)


def _norm(norm: Norm) -> str:
    if norm not in (None, "backward", "forward", "ortho"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    return norm or "backward"


def _resize(x: Tensor, n: int, dim: int) -> Tensor:
    """Cut to, or filled with zeros up to, n entries along `dim`."""
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    have = x._data.shape[dim]
    lead = ((None, None, None),) * dim
    if n < have:
        return run("getitem", x, index=(*lead, (0, n, 1)))
    if n > have:
        return run("pad", x, pads=tuple((0, n - have if d == dim else 0) for d in range(x._data.ndim)))
    return x


def _dims(x: Tensor, s: Sequence[int] | None, dim: Dims) -> list[int]:
    """The dims to transform: those named, else the last len(s), else all."""
    if dim is not None:
        named = [dim] if isinstance(dim, int) else list(dim)
        return [normal_dim(d, x._data.ndim) for d in named]
    count = x._data.ndim if s is None else len(s)
    return list(range(x._data.ndim - count, x._data.ndim))


def _transform(
    x: Tensor, s: Sequence[int] | None, dim: Dims, norm: Norm, inverse: bool, node: str = "FftC2CBackward0"
) -> Tensor:
    dims = _dims(x, s, dim)
    x = _to_complex(x)
    for d, n in zip(dims, s or ()):
        x = _resize(x, n, d)
    if not dims:
        return x
    return run_as(node, "fft", x, axes=tuple(dims), inverse=inverse, norm=_norm(norm))


def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    """sum_j x_j exp(-2 pi i j k / n) along one dim; `norm` "backward" (the default) leaves it unscaled, "ortho" divides by
    sqrt(n), "forward" by n. With `n`, the input is cut or filled with zeros first."""
    return _transform(input, None if n is None else [n], dim, norm, False)


def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    return _transform(input, None if n is None else [n], dim, norm, True)


def fftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: Norm = None) -> Tensor:
    return _transform(input, s, dim, norm, False)


def ifftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: Norm = None) -> Tensor:
    return _transform(input, s, dim, norm, True)


def fft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = (-2, -1), norm: Norm = None) -> Tensor:
    return fftn(input, s, dim, norm)


def ifft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = (-2, -1), norm: Norm = None) -> Tensor:
    return ifftn(input, s, dim, norm)


def rfftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: Norm = None) -> Tensor:
    """The half of `fftn` of a real tensor that determines the rest: the last of the dims has n // 2 + 1 entries."""
    if input.is_complex():
        name = input.dtype.tensor_type.removesuffix("Tensor")
        raise RuntimeError(f"rfft expects a real input tensor, but got {name}")
    dims = _dims(input, s, dim)
    whole = fftn(input, s, dims, norm)
    at = dims[-1]
    lead = ((None, None, None),) * at
    half = whole._data.shape[at] // 2 + 1
    return run_as("FftR2CBackward0", "getitem", whole, index=(*lead, (0, half, 1)))


def irfftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: Norm = None) -> Tensor:
    """The real tensor of which `rfftn` is `input`; the last dim has 2 (m - 1) entries unless `s` says otherwise. What of
    `input` no real tensor has (an imaginary part at frequency 0) is ignored."""
    dims = _dims(input, s, dim)
    sizes = [input._data.shape[d] for d in dims] if s is None else list(s)
    if s is None:
        sizes[-1] = 2 * (sizes[-1] - 1)
    at, n = dims[-1], sizes[-1]
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    x = _transform(input, sizes[:-1], dims[:-1], norm, True)  # the other dims first: then one half gives the other
    x = _drop_unreal(_resize(x, n // 2 + 1, at), n, at)
    lead = ((None, None, None),) * at
    mirrored = run("getitem", x, index=(*lead, (1, (n + 1) // 2, 1)))
    whole = cat([x, run("conj", flip(mirrored, at))], at)
    return run_as("FftC2RBackward0", "real", _transform(whole, None, at, norm, True))


def _drop_unreal(x: Tensor, n: int, at: int) -> Tensor:
    """The half spectrum without the imaginary parts that no real tensor of n entries has.

    A transform gives zeros there only up to rounding.
    """
    shape = [1] * x._data.ndim
    shape[at] = -1
    has = np.array([0 < k < n / 2 for k in range(n // 2 + 1)], dtype=x._data.real.dtype).reshape(shape)
    return run("complex", run("real", x), run("multiply", run("imag", x), wrap(has)))


def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    return rfftn(input, None if n is None else [n], dim, norm)


def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    return irfftn(input, None if n is None else [n], dim, norm)


def rfft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = (-2, -1), norm: Norm = None) -> Tensor:
    return rfftn(input, s, dim, norm)


def irfft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = (-2, -1), norm: Norm = None) -> Tensor:
    return irfftn(input, s, dim, norm)


_REVERSED = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    """The real transform of a signal that is Hermitian, of which `input` is one half."""
    return irfft(run("conj", _to_complex(input)), n, dim, _REVERSED[_norm(norm)])


def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    return run("conj", rfft(input, n, dim, _REVERSED[_norm(norm)]))


def _shift(input: Tensor, dim: Dims, sign: int) -> Tensor:
    x = input
    for d in _dims(input, None, dim):
        n = x._data.shape[d]
        x = run("roll", x, shift=n // 2 if sign > 0 else -(n // 2), axis=d)
    return x


def fftshift(input: Tensor, dim: Dims = None) -> Tensor:
    """Frequency 0 in the middle."""
    return _shift(input, dim, 1)


def ifftshift(input: Tensor, dim: Dims = None) -> Tensor:
    return _shift(input, dim, -1)


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Tensor:
    return wrap(np.fft.fftfreq(n, d).astype(dtypes.default_numpy() if dtype is None else dtype.numpy))


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Tensor:
    return wrap(np.fft.rfftfreq(n, d).astype(dtypes.default_numpy() if dtype is None else dtype.numpy))
