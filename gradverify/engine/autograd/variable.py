"""`autograd.Variable`: what tensors with a gradient were called once. It is the tensor today."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, wrap
from .walk import queue_callback


class _IsTensor(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)


class _Engine:
    """What PyTorch calls the execution engine, as far as scripts ask it for something."""

    queue_callback = staticmethod(queue_callback)


class Variable(metaclass=_IsTensor):
    """`Variable(data, requires_grad=True)` is a tensor over the same memory."""

    _execution_engine = _Engine()

    def __new__(cls, data: Any = None, requires_grad: bool = False, volatile: bool = False) -> Any:
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        out = wrap(data._array())
        out._version_cell = data._cell()
        return out.requires_grad_(requires_grad)
