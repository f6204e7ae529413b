"""Writing into a tensor's memory: `x[i] = v`, `copy_`, `fill_` and their like."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...namespaces.base import Namespace
from ..dispatch import cast
from ..kernels import KERNELS
from ..modes import state
from ..tape import Node, named
from ..tensor import Tensor, wrap
from ..views import check_overlap, overwrite, same_place, write
from .call import run, run_as
from .indexing import check_index, entries_of, masked_fill, to_basic_index, to_native_index
from .shape import expand

__all__ = ["copy_", "fill_", "masked_fill_", "setitem", "zero_"]


def _takes_everything(entries: tuple[Any, ...], shape: tuple[int, ...]) -> bool:
    """Does the index take every entry?"""
    if entries == (Ellipsis,):
        return True
    full = builtins.all(isinstance(e, slice) and e.indices(n) == (0, n, 1) for e, n in zip(entries, shape))
    return full and len(entries) <= len(shape)


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """`input[index] = value`: a write through a view, or a scatter if the index holds arrays."""
    entries = entries_of(index)
    plain = to_basic_index(entries)
    if plain is not None:
        check_index(plain, input._data.shape)
        whole = _takes_everything(entries, input._data.shape)  # PyTorch makes no view then
        part = input if whole else run("getitem", input, index=plain)
        if isinstance(value, Tensor):  # leading dims of size 1 do not count here
            while value._data.ndim > part._data.ndim and value._data.shape[0] == 1:
                value = run("squeeze", value, axis=0)
        if isinstance(value, Tensor) and (value._data.ndim or not part._data.ndim):
            if value._data.size == part._data.size:
                check_overlap(part, wrap(value._array().reshape(part._data.shape)))
            spread = value if value._data.shape == part._data.shape else _expand_values(value, part)
            _copy_into(part, value, alike=spread is not None and same_place(part, spread))
        else:
            fill_(part, value, "FillBackward3", alike=False)
        return
    at = to_native_index(entries)
    filled = value if isinstance(value, Tensor) else wrap(np.asarray(value, dtype=input._data.dtype))
    if filled._data.dtype != input._data.dtype:
        filled = cast(filled, input._data.dtype)
    write(input, lambda x: run_as("IndexPutBackward0", "index_put", x, filled, at=at))


def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    source = src if isinstance(src, Tensor) else wrap(np.asarray(src, dtype=input._data.dtype))
    check_overlap(input, source)
    return _copy_into(input, source)


def _expand_values(x: Tensor, like: Tensor) -> Tensor | None:
    """The values of `x` in the shape of `like`, not recorded; None where they do not fit."""
    try:
        return wrap(np.broadcast_to(x._array(), like._data.shape))
    except ValueError:
        return None


def _copy_into(input: Tensor, source: Tensor, node: str = "CopyBackwards", alike: bool | None = None) -> Tensor:
    def copied(x: Tensor) -> Tensor:
        y = source if source._data.dtype == x._data.dtype else cast(source, x._data.dtype)
        return overwrite_with(node, x, y)

    if alike is None:
        alike = input._data.shape == source._data.shape and same_place(input, source)
    return write(input, copied, alike)


def zero_(input: Tensor) -> Tensor:
    return fill_(input, 0, "ZeroBackward0")


def fill_(input: Tensor, value: Any, node: str = "FillBackward2", alike: bool = True) -> Tensor:
    """Every entry becomes `value`; the old values get gradient 0 from here on.

    alike  may an expanded tensor be filled, since its entries agree? PyTorch: with a number yes, through an index no.
    """
    if isinstance(value, Tensor):  # over the same memory too: PyTorch clones the value then
        return _copy_into(input, value, "FillBackward3")
    if not state.duals and not (state.enabled and input.requires_grad):
        overwrite(input, value, alike)
        return input
    return write(input, lambda x: overwrite_with(node, x, _full_like(x, value)), alike)


class _OverwriteNode(Node):
    """[gradient of the old values: zeros, gradient of what took their place]. It saves nothing."""

    def __init__(self, edges: Sequence[Any], shape: tuple[int, ...]) -> None:
        super().__init__(edges)
        self.shape = shape

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        xp = KERNELS if over is None else over
        return [xp.zeros_like(g), xp.sum_to(g, self.shape)]


def overwrite_with(name: str, x: Tensor, y: Tensor) -> Tensor:
    """The values of `y` in the shape of `x`, with both as its inputs."""
    if y._data.ndim > x._data.ndim or builtins.any(
        n not in (1, m) for n, m in zip(y._data.shape[::-1], x._data.shape[::-1])
    ):
        expand(y, tuple(x._data.shape))  # raises
    out = wrap(np.array(np.broadcast_to(y._data, x._data.shape)))
    edges = [t._gradient_edge() if state.enabled and t.requires_grad else None for t in (x, y)]
    if builtins.any(edges):
        out._edge, out._requires_grad = (named(_OverwriteNode, name)(edges, tuple(y._data.shape)), 0), True
    if y._tangents:
        out._tangents = {k: run("broadcast_to", d, shape=x._data.shape) for k, d in y._tangents.items()}
    return out


def _full_like(x: Tensor, value: Any) -> Tensor:
    return wrap(np.full(x._data.shape, value, dtype=x._data.dtype))


def masked_fill_(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    return write(input, lambda x: masked_fill(x, mask, value))
