"""Making tensors: from data, filled, or random."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import on
from ..tensor import Tensor, wrap
from .call import with_other_keywords

Device = dtypes.device | str | None


def _finish(data: Any, device: Device, requires_grad: bool) -> Tensor:
    out = wrap(on(device, data if data.ndim else data[()]))
    if requires_grad:
        if not (out.is_floating_point() or out.is_complex()):
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        out.requires_grad = True
    return out


def tensor(
    data: Any, *, dtype: dtypes.dtype | None = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """A leaf that holds a copy of `data`: a number, nested sequences of numbers, an array or tensors.

    Python floats become the default dtype (float32), ints int64, bools bool. Raises RuntimeError for a dtype that cannot
    require grad, ValueError for ragged sequences, TypeError for what is no number.
    """
    if isinstance(data, Tensor):
        import warnings

        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=2,
        )
        data = data._data
    return _finish(_array(data, dtype, copy=True), device, requires_grad)


def _array(data: Any, dtype: dtypes.dtype | None, copy: bool) -> np.ndarray:
    if isinstance(data, np.ndarray | np.generic):
        to = dtype.numpy if dtype is not None else dtypes.of_numpy(np.asarray(data).dtype).numpy
        return np.array(data, dtype=to) if copy else np.asarray(data, dtype=to)
    if dtype is not None:
        return np.array(_plain(data), dtype=dtype.numpy)
    plain = _plain(data)
    try:
        array = np.array(plain)
    except ValueError:
        raise ValueError(_ragged_error(plain)) from None
    kind = array.dtype.kind
    if kind == "f" and not _holds_arrays(data):
        return array.astype(dtypes.default_numpy())
    if kind == "c" and not _holds_arrays(data):
        return array.astype(dtypes.default_complex())
    if kind in "iu" and not _holds_arrays(data):
        return array.astype(np.int64)
    if kind not in "biufc":
        bad = next(iter(array.ravel()), data)
        raise TypeError(f"new(): invalid data type '{type(bad).__name__}'")
    return array


def _ragged_error(data: Any) -> str:
    depth, rows = 1, data
    while all(isinstance(r, list | tuple) for r in rows):
        if len({len(r) for r in rows}) > 1:
            wrong = next(len(r) for r in rows if len(r) != len(rows[0]))
            return f"expected sequence of length {len(rows[0])} at dim {depth} (got {wrong})"
        depth, rows = depth + 1, [v for r in rows for v in r]
    return "expected sequences of equal length"


def _plain(data: Any) -> Any:
    """Tensors inside lists as what they hold."""
    if isinstance(data, Tensor):
        return data.detach().numpy() if data._data.ndim else data._data.item()
    return [_plain(v) for v in data] if isinstance(data, list | tuple) else data


def _holds_arrays(data: Any) -> bool:
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return isinstance(data, np.ndarray | np.generic | Tensor)


def as_tensor(data: Any, *, dtype: dtypes.dtype | None = None, device: Device = None) -> Tensor:
    """The tensor itself, a tensor over the array's own memory, or, for other data, a new tensor."""
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(dtype=dtype, device=device)
    return _finish(_array(data, dtype, copy=False), device, False)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor over the array's own memory."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtypes.of_numpy(array.dtype)
    return wrap(array)


def _sizes(size: Sequence[Any]) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], list | tuple):
        size = size[0]
    out = tuple(n.__index__() for n in size)
    if any(n < 0 for n in out):
        bad = next(n for n in out if n < 0)
        raise RuntimeError(f"Trying to create tensor with negative dimension {bad}: {list(out)}")
    return out


def _numpy(dtype: dtypes.dtype | None) -> np.dtype:
    return dtypes.default_numpy() if dtype is None else dtype.numpy


@with_other_keywords
def zeros(*size: Any, dtype: dtypes.dtype | None = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    return _finish(np.zeros(_sizes(size), _numpy(dtype)), device, requires_grad)


@with_other_keywords
def ones(*size: Any, dtype: dtypes.dtype | None = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    return _finish(np.ones(_sizes(size), _numpy(dtype)), device, requires_grad)


@with_other_keywords
def empty(*size: Any, dtype: dtypes.dtype | None = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    """Zeros: an uninitialised value would only hide mistakes."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def full(
    size: Sequence[int],
    fill_value: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    to = dtypes.of_number(value) if dtype is None else dtype.numpy
    return _finish(np.full(_sizes((size,)), value, to), device, requires_grad)


def _like(make: Any) -> Any:
    def like(
        input: Tensor,
        *value: Any,
        dtype: dtypes.dtype | None = None,
        device: Device = None,
        requires_grad: bool = False,
    ) -> Tensor:
        kind = input.dtype if dtype is None else dtype
        place = input.device if device is None else device
        return make(input.shape, *value, dtype=kind, device=place, requires_grad=requires_grad)

    like.__name__ = like.__qualname__ = f"{make.__name__}_like"
    like.__doc__ = f"`{make.__name__}` with the shape, dtype and device of `input`."
    return like


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: dtypes.dtype | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    if end is None:
        start, end = 0, start
    whole = all(isinstance(v, int) for v in (start, end, step))
    to = dtype.numpy if dtype is not None else np.dtype(np.int64) if whole else dtypes.default_numpy()
    n = max(math.ceil((end - start) / step), 0)
    values = start + step * np.arange(n) if not whole else np.arange(start, end, step)
    return _finish(np.asarray(values).astype(to), device, requires_grad)


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: dtypes.dtype | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    return _finish(np.linspace(start, end, steps).astype(_numpy(dtype)), device, requires_grad)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: dtypes.dtype | None = None) -> Tensor:
    return _finish(np.logspace(start, end, steps, base=base).astype(_numpy(dtype)), None, False)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: dtypes.dtype | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    return _finish(np.eye(n, m, dtype=_numpy(dtype)), device, requires_grad)


# ---- random ---------------------------------------------------------------------------------------------------------


class Generator:
    """A random number generator.

    A seed repeats its numbers, but they are NumPy's, not PyTorch's.
    """

    def __init__(self, device: Device = None) -> None:
        self.seed_ = 0
        self.random = np.random.default_rng(0)

    def manual_seed(self, seed: int) -> Generator:
        self.seed_, self.random = seed, np.random.default_rng(seed % 2**64)
        return self

    def initial_seed(self) -> int:
        return self.seed_

    def get_state(self) -> Any:
        return self.random.bit_generator.state

    def set_state(self, state: Any) -> None:
        self.random.bit_generator.state = state


default_generator = Generator()
default_generator.random = np.random.default_rng()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    value = int.from_bytes(os.urandom(7), "little")
    manual_seed(value)
    return value


def initial_seed() -> int:
    return default_generator.initial_seed()


def _draw(
    draw: Any, size: Sequence[Any], generator: Generator | None, dtype: Any, device: Device, requires_grad: bool
) -> Tensor:
    source = (generator or default_generator).random
    return _finish(np.asarray(draw(source, _sizes(size))).astype(_numpy(dtype)), device, requires_grad)


@with_other_keywords
def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform on [0, 1)."""
    if _numpy(dtype) == dtypes.F32:  # in float64 and then rounded, the upper end could be reached
        return _draw(lambda r, s: r.random(s, dtype=np.float32), size, generator, dtype, device, requires_grad)
    return _draw(lambda r, s: r.random(s), size, generator, dtype, device, requires_grad)


@with_other_keywords
def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal."""
    return _draw(lambda r, s: r.standard_normal(s), size, generator, dtype, device, requires_grad)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    if size is None:
        low, high, size = 0, low, high
    kind = dtypes.DTYPES["int64"] if dtype is None else dtype
    return _draw(lambda r, s: r.integers(low, high, s), (tuple(size),), generator, kind, device, requires_grad)


def randperm(n: int, *, generator: Generator | None = None, device: Device = None) -> Tensor:
    """The numbers below n in random order."""
    return _finish((generator or default_generator).random.permutation(n), device, False)


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None) -> Tensor:
    shape = size
    if shape is None:
        shape = np.broadcast_shapes(*(getattr(v, "shape", ()) for v in (mean, std)))
    z = randn(tuple(shape), generator=generator)
    m, s = (v._data if isinstance(v, Tensor) else v for v in (mean, std))
    return wrap((z._data * s + m).astype(z._data.dtype))


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    source = (generator or default_generator).random
    return wrap((source.random(input._data.shape) < input._data).astype(input._data.dtype))


zeros_like, ones_like, empty_like, full_like = _like(zeros), _like(ones), _like(empty), _like(full)
rand_like, randn_like = _like(rand), _like(randn)
