"""`torch.FloatTensor` and its like: constructors by dtype, from before tensors had one."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import dtypes
from .api.creation import tensor
from .tensor import Tensor, wrap


class _Kind(type):
    """`isinstance(x, LongTensor)`: is it a tensor of that dtype?"""

    kind: dtypes.dtype

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.kind


def _constructor(name: str, dtype: str) -> type:
    kind = dtypes.DTYPES[dtype]

    def new(cls: type, *args: Any) -> Tensor:
        if len(args) == 1 and not isinstance(args[0], int):
            return args[0].to(kind) if isinstance(args[0], Tensor) else tensor(args[0], dtype=kind)
        return wrap(np.zeros(args if args else (0,), kind.numpy))

    return _Kind(
        name,
        (),
        {"__new__": new, "kind": kind, "dtype": kind, "__doc__": f"A tensor of {dtype}: of data, or of sizes."},
    )


CONSTRUCTORS = {
    name: _constructor(name, dtype)
    for name, dtype in (
        ("FloatTensor", "float32"), ("DoubleTensor", "float64"), ("HalfTensor", "float16"), ("LongTensor", "int64"),
        ("IntTensor", "int32"), ("ShortTensor", "int16"), ("CharTensor", "int8"), ("ByteTensor", "uint8"),
        ("BoolTensor", "bool"),
    )
}  # fmt: skip
