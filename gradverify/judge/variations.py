"""Arguments like the given ones: what `check` tries around the given point, per framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

SPREAD = 0.25
"""Other values are x·(1 + SPREAD·ε) with ε standard normal: the same signs mostly, so that a domain is rarely left, and
far enough that a formula which holds at one point only is found out."""


def variations(framework: str, args: tuple[Any, ...], seed: int, times: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(what was changed, the new arguments); nothing where `times` is 0."""
    if not times:
        return
    mapped = {"torch": _map_torch, "jax": _map_jax}[framework]
    for k in range(times):
        rng = np.random.default_rng([seed, k, 3])
        yield f"other values {k + 1}" if times > 1 else "other values", mapped(partial(_other, rng), args)
    yield "a larger batch", _batched(mapped, args, lambda x: np.concatenate([x, x[:1] * x.dtype.type(0.75)]))
    yield "a batch of one", _batched(mapped, args, lambda x: x[:1])
    yield "float32", mapped(lambda x: x.astype(np.float32) if x.dtype == np.float64 else None, args)


def _other(rng: np.random.Generator, x: np.ndarray) -> np.ndarray | None:
    if x.dtype.kind != "f":
        return None
    moved = x * (1 + SPREAD * rng.standard_normal(x.shape))
    return moved.astype(x.dtype)


def _batched(mapped: Callable[..., Any], args: tuple[Any, ...], change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Change the leading axis of every array argument whose leading axis is as long as the first one's."""
    sizes: list[int] = []

    def leading(x: np.ndarray) -> np.ndarray | None:
        if x.ndim and not sizes and x.shape[0]:
            sizes.append(x.shape[0])
        if not x.ndim or not sizes or x.shape[0] != sizes[0]:
            return None
        return change(x)

    return mapped(leading, args)


def _map_torch(change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
    import torch
    from torch.utils import _pytree

    def one(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dtype not in (torch.float32, torch.float64, torch.int64):
            return x
        new = change(x.detach().cpu().numpy())
        if new is None:
            return x
        return torch.from_numpy(np.array(new)).to(x.device).requires_grad_(x.requires_grad)

    return tuple(_pytree.tree_map(one, args))


def _map_jax(change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
    import jax

    def one(x: Any) -> Any:
        if not isinstance(x, jax.Array | np.ndarray):
            return x
        new = change(np.asarray(x))
        if new is None:
            return x
        with jax.enable_x64(True):
            return jax.device_put(new)

    return tuple(jax.tree_util.tree_map(one, args))
