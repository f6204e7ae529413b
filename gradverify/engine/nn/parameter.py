"""Parameter and Buffer: tensors that a Module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from ..api.creation import empty
from ..tensor import Tensor


class Parameter(Tensor):
    """A leaf that requires grad and is listed by `Module.parameters()`; it shares the memory of `data`."""

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        source = empty(0) if data is None else data
        out = object.__new__(cls)
        out._data = source._array()
        out._version_cell = source._cell()
        out.requires_grad_(requires_grad)
        return out

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        pass

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuilt, (self._array().copy(), self._requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        out = _rebuilt(self._array().copy(), self._requires_grad)
        memo[id(self)] = out
        return out


class Buffer(Tensor):
    """A tensor that a Module registers as a buffer when it is assigned to it."""

    persistent = True

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        source = empty(0) if data is None else data
        out = object.__new__(cls)
        out._data, out._version_cell, out.persistent = source._array(), source._cell(), persistent
        return out

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        pass


def _rebuilt(data: Any, requires_grad: bool) -> Parameter:
    from ..tensor import wrap

    return Parameter(wrap(data), requires_grad)
