"""Copies, and conversions between dtypes and devices."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..devices import move
from ..dispatch import cast
from ..tensor import Tensor, wrap
from .call import run

__all__ = [
    "clone", "detach", "is_inference", "is_tensor", "numel",
]  # fmt: skip


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """The same values in memory of their own; with `torch.contiguous_format` in the order of rows."""
    return run("clone", input, order="C" if memory_format is contiguous_format else "K")


class MemoryFormat:
    """An order of entries in memory, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


contiguous_format, preserve_format = MemoryFormat("contiguous_format"), MemoryFormat("preserve_format")


def detach(input: Tensor) -> Tensor:
    """The same memory, outside of the graph. The version counter is shared, so that writes to it are noticed."""
    out = wrap(input._array())
    out._version_cell, out._inference = input._cell(), input._inference
    return out


def detach_(input: Tensor) -> Tensor:
    if input._view is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for "
            "training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence detach_() "
            "cannot be called on these gradients. To fix this error, please refer to the Optimizer.zero_grad() function in "
            "torch/optim/optimizer.py as a solution."
        )
    input._edge, input._requires_grad, input._tangents = None, False, None
    return input


def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    return input if input.is_contiguous() else clone(input, memory_format=contiguous_format)


def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`."""
    dtype, device, copy = kwargs.get("dtype"), kwargs.get("device"), kwargs.get("copy", False)
    for a in args:
        if isinstance(a, dtypes.dtype):
            dtype = a
        elif isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, str | dtypes.device):
            device = a
    out = input if device is None else move(input, dtypes.device(device))
    if dtype is not None and out._data.dtype != dtype.numpy:
        return cast(out, dtype.numpy)
    return clone(out) if copy and out is input else out


def type_as(input: Tensor, other: Tensor) -> Tensor:
    return to(input, other.dtype)


def type_(input: Tensor, dtype: Any = None) -> Any:
    if dtype is None:
        return f"torch.{'cuda.' if input.is_cuda else ''}{input.dtype.tensor_type}"
    if isinstance(dtype, str):
        dtype = next(d for d in dtypes.DTYPES.values() if dtype.endswith(d.tensor_type))
    elif isinstance(dtype, type):  # torch.DoubleTensor
        dtype = dtype.dtype  # type: ignore[attr-defined]
    return to(input, dtype)


def numel(input: Tensor) -> int:
    return input._data.size


def is_inference(input: Tensor) -> bool:
    """Was it made in inference mode?"""
    return input._inference


def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)
