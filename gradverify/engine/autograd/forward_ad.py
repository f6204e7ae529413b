"""`torch.autograd.forward_ad`: dual numbers by hand. How a tangent passes an op: `engine.forward`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..api.call import run
from ..api.shape import view_as
from ..api.strided import offset_of
from ..forward import check_size, tangent, with_tangent
from ..local_ops import flat_memory, strides_of
from ..modes import dual_numbers, state
from ..tensor import Tensor

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


_current_level = -1
"""PyTorch's name for the level that is open; -1: none."""


class UnpackedDualTensor(NamedTuple):
    """What `unpack_dual` returns. `tangent` is None where the tensor has none at this level."""

    primal: Tensor
    tangent: Tensor | None


class dual_level:
    """`with dual_level():` tensors inside may have tangents. Levels by hand do not nest, as in PyTorch."""

    def __enter__(self) -> int:
        global _current_level
        if state.levels:
            raise RuntimeError("Nested forward mode AD is not supported at the moment")
        self._level = dual_numbers()
        self._level.__enter__()
        _current_level = 0
        return 0

    def __exit__(self, *exc: object) -> None:
        global _current_level
        _current_level = -1
        self._level.__exit__(*exc)


_entered: list[dual_level] = []


def enter_dual_level() -> int:
    """Open a level, until `exit_dual_level`."""
    level = dual_level()
    number = level.__enter__()
    _entered.append(level)
    return number


def exit_dual_level(*, level: int | None = None) -> None:
    if not _entered:
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created.")
    _entered.pop().__exit__()


def is_enabled() -> bool:
    """Are tangents handed on?"""
    return state.forward


class set_enabled:
    """Switches forward mode at once, for good; as a context manager, until the end of the block."""

    def __init__(self, mode: bool) -> None:
        self._before = state.forward
        state.switch_forward(bool(mode))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        state.switch_forward(self._before)


def _alike_in_memory(x: Tensor, d: Tensor) -> bool:
    """Have the two the same strides, and the same place in storages of one size?"""
    a, b = x._array(), d._array()
    if not isinstance(a, np.ndarray) or not a.size:
        return True
    same = all(n == 1 or s == t for n, s, t in zip(a.shape, a.strides, b.strides))
    return same and flat_memory(a).size == flat_memory(b).size and offset_of(a) == offset_of(b)


def _laid_out_as(x: Tensor, d: Tensor) -> Tensor:
    data = x._array()
    if 0 in data.strides:  # entries of one place may have tangents of their own
        return run("clone", d, order="C")
    place = {"memory": flat_memory(data).size, "offset": offset_of(data), "stride": strides_of(data)}
    return run("lay_out", d, **place)


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A view of `tensor` that has the tangent.

    Raises RuntimeError outside of a level and for shapes or dtypes that differ, TypeError for integers.
    """
    if not state.levels:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for name, x in ("primal", tensor), ("tangent", tangent):
        if not (x.is_floating_point() or x.is_complex()):
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {x.dtype}")
    check_size(tensor, tangent)
    if tangent._tangents and state.levels[-1] in tangent._tangents:
        raise RuntimeError(
            "Setting a forward grad that itself has a forward gradient at the same level0 is not supported."
        )
    if tensor._data.dtype != tangent._data.dtype:
        raise RuntimeError(f"Expected tangent to have the dtype of the primal, {tensor.dtype}, but got {tangent.dtype}")
    if not _alike_in_memory(tensor, tangent):  # so that views of the dual are views of the tangent too
        tangent = _laid_out_as(tensor, tangent)
    dual = with_tangent(view_as(tensor, tensor), state.levels[-1], tangent)
    if dual._view is not None:  # what is written to the dual does not change the tangents of `tensor`, which has none
        dual._view.dual = None, ()
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """(the tensor without its tangent, its tangent)."""
    if not state.levels:
        return UnpackedDualTensor(tensor, None)
    d = tangent(tensor, state.levels[-1])
    if d is None:
        return UnpackedDualTensor(tensor, None)
    return UnpackedDualTensor(with_tangent(tensor, state.levels[-1], None), d)
