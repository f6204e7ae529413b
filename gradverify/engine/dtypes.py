"""dtype, device and PyTorch's type promotion.

The one idea: operands fall into four categories (bool < integer < float < complex), and an operand of a lower category
never widens one of a higher; within a category a Python number never widens a tensor, and a 0-d tensor never widens one
that has dimensions. (PyTorch documentation, "Tensor Attributes", section on type promotion.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

try:  # NumPy itself has no bfloat16; ml_dtypes adds it as an ordinary dtype.
    from ml_dtypes import bfloat16 as _bfloat16
except ImportError:
    _bfloat16 = None

BOOL, INTEGER, FLOAT, COMPLEX = range(4)


class dtype:
    """A dtype, printed as PyTorch prints it (`torch.float32`). One object per dtype."""

    __slots__ = ("category", "name", "numpy", "tensor_type")

    def __init__(self, name: str, numpy: Any, tensor_type: str) -> None:
        self.name, self.numpy, self.tensor_type = name, np.dtype(numpy), tensor_type
        self.category = {"b": BOOL, "i": INTEGER, "u": INTEGER, "c": COMPLEX}.get(self.numpy.kind, FLOAT)

    @property
    def is_floating_point(self) -> bool:
        return self.category == FLOAT

    @property
    def is_complex(self) -> bool:
        return self.category == COMPLEX

    @property
    def is_signed(self) -> bool:
        return self.category >= FLOAT or self.numpy.kind == "i"

    @property
    def itemsize(self) -> int:
        return self.numpy.itemsize

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return DTYPES.__getitem__, (self.name,)


# name, NumPy's dtype, legacy tensor type (what error messages and Tensor.type() say), PyTorch's other names
_TABLE: list[tuple[str, Any, str, tuple[str, ...]]] = [
    ("float16", np.float16, "HalfTensor", ("half",)),
    ("float32", np.float32, "FloatTensor", ("float",)),
    ("float64", np.float64, "DoubleTensor", ("double",)),
    ("complex64", np.complex64, "ComplexFloatTensor", ("cfloat",)),
    ("complex128", np.complex128, "ComplexDoubleTensor", ("cdouble",)),
    ("uint8", np.uint8, "ByteTensor", ()),
    ("int8", np.int8, "CharTensor", ()),
    ("int16", np.int16, "ShortTensor", ("short",)),
    ("int32", np.int32, "IntTensor", ("int",)),
    ("int64", np.int64, "LongTensor", ("long",)),
    ("bool", np.bool_, "BoolTensor", ()),
]
if _bfloat16 is not None:
    _TABLE.append(("bfloat16", _bfloat16, "BFloat16Tensor", ()))

DTYPES: dict[str, dtype] = {}
"""Every dtype under every name that PyTorch has for it."""
for _name, _numpy, _type, _others in _TABLE:
    DTYPES[_name] = dtype(_name, _numpy, _type)
    DTYPES |= dict.fromkeys(_others, DTYPES[_name])

OF_NUMPY: dict[np.dtype, dtype] = {d.numpy: d for d in DTYPES.values()}

F32, F64, I64, BOOLEAN = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)
C64, C128 = np.dtype(np.complex64), np.dtype(np.complex128)
CATEGORY: dict[np.dtype, int] = {d.numpy: d.category for d in DTYPES.values()}

default: dtype = DTYPES["float32"]


def set_default_dtype(d: dtype) -> None:
    """The dtype that Python floats become. Raises TypeError for one that is not a floating-point dtype."""
    global default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    default = d


def get_default_dtype() -> dtype:
    return default


def default_numpy() -> np.dtype:
    return default.numpy


def default_complex() -> np.dtype:
    return C128 if default.numpy == F64 else C64


def of_numpy(d: np.dtype) -> dtype:
    """The dtype object of a NumPy dtype. Raises TypeError for one that tensors cannot have."""
    found = OF_NUMPY.get(d)
    if found is None:
        names = ", ".join(sorted({x.name for x in OF_NUMPY.values()} - {"bfloat16"}))
        raise TypeError(f"can't convert np.ndarray of type numpy.{d}. The only supported types are: {names}.")
    return found


def of_number(x: Any) -> np.dtype:
    """What a lone Python number becomes as a tensor."""
    if isinstance(x, bool | np.bool_):
        return BOOLEAN
    if isinstance(x, int | np.integer):
        return I64
    return default_complex() if isinstance(x, complex | np.complexfloating) else default.numpy


def _widest(dtypes: Iterable[np.dtype]) -> np.dtype | None:
    """Of one rank: the highest category wins; within it, NumPy's own promotion."""
    out: np.dtype | None = None
    for d in dtypes:
        if out is None or d == out:
            out = d
        elif CATEGORY[d] != CATEGORY[out]:
            low, high = sorted((d, out), key=CATEGORY.__getitem__)
            out = C128 if CATEGORY[high] == COMPLEX and low == F64 else high
        elif {out.name, d.name} == {"float16", "bfloat16"}:
            out = F32
        else:
            out = np.promote_types(out, d)
    return out


def result_type(operands: Iterable[Any]) -> np.dtype:
    """The dtype that operands (arrays, or Python numbers) are computed in.

    Three ranks: arrays with dimensions, 0-d arrays, Python numbers. The answer starts from the widest of the first
    rank; a lower rank counts only if it brings a higher category.
    """
    ranks: list[list[np.dtype]] = [[], [], []]
    for x in operands:
        if hasattr(x, "dtype"):
            ranks[0 if x.ndim else 1].append(x.dtype)
        else:
            ranks[2].append(of_number(x))
    out: np.dtype | None = None
    for rank in ranks:
        here = _widest(rank)
        if here is None:
            continue
        if out is None:
            out = here
        elif CATEGORY[here] > CATEGORY[out]:
            if CATEGORY[here] == COMPLEX and CATEGORY[out] == FLOAT:
                here = C128 if out == F64 else C64  # what is complex in a lower rank takes the tensor's precision
            out = here
    assert out is not None, "result_type of nothing"
    return out


class device:
    """Where a tensor lives: `device("cpu")`, `device("cuda")`, `device("cuda:1")`."""

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, type: str | device, index: int | None = None) -> None:
        name, _, number = str(type).partition(":")
        if name not in ("cpu", "cuda"):
            raise RuntimeError(f"Expected one of cpu, cuda device type at start of device string: {type}")
        self.type = name
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


CPU = device("cpu")
