"""Tensors filled with random numbers in place: `x.uniform_()`, `x.normal_()` and their like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from ..views import write
from .creation import Generator, default_generator
from .writing import overwrite_with

__all__ = ["bernoulli_", "exponential_", "normal_", "random_", "uniform_"]


def _drawn(
    node: str, input: Tensor, draw: Callable[[Any, tuple[int, ...]], Any], generator: Generator | None
) -> Tensor:
    """The old values get gradient 0 from here on, as with `fill_`."""
    values = draw((generator or default_generator).random, tuple(input._data.shape))
    return write(input, lambda x: overwrite_with(node, x, wrap(np.asarray(values).astype(x._data.dtype))))


def uniform_(input: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    return _drawn("UniformBackward0", input, lambda random, shape: random.uniform(from_, to, shape), generator)


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    return _drawn("NormalBackward0", input, lambda random, shape: random.normal(mean, std, shape), generator)


def exponential_(input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    return _drawn("ExponentialBackward0", input, lambda random, shape: random.exponential(1 / lambd, shape), generator)


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    share = p._data if isinstance(p, Tensor) else p
    return _drawn("BernoulliBackward0", input, lambda random, shape: random.random(shape) < share, generator)


def random_(input: Tensor, from_: int = 0, to: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Integers below `to`, from `from_` on; with one number, below that."""
    low, high = (0, from_) if to is None and from_ else (from_, to)
    if high is None:
        kind = input._data.dtype
        high = (
            np.iinfo(kind).max if kind.kind in "iu" else 2 if kind.kind == "b" else 2 ** (np.finfo(kind).nmant + 1) + 1
        )
    return _drawn("RandomBackward0", input, lambda random, shape: random.integers(low, high, shape), generator)
