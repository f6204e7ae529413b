"""Complex tensors under PyTorch's names: joining, splitting, conjugating. What is differentiated how: `wirtinger`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..dispatch import cast
from ..tensor import Tensor, wrap
from .call import run, run_as
from .linalg import matmul
from .shape import permute, transpose

__all__ = [
    "adjoint", "angle", "complex", "conj", "conj_physical", "imag", "is_complex", "is_conj", "isreal", "polar", "real",
    "resolve_conj", "resolve_neg", "sgn", "vdot", "view_as_complex", "view_as_real",
]  # fmt: skip


def _is_complex(x: Tensor) -> bool:
    return x._data.dtype.kind == "c"


def is_complex(input: Tensor) -> bool:
    return _is_complex(input)


def conj(input: Tensor) -> Tensor:
    """The complex conjugate, as a copy.

    PyTorch sets a flag and conjugates later: the same values, but there they share memory.
    """
    return run("conj", input) if _is_complex(input) else input


conj_physical = conj


def resolve_conj(input: Tensor) -> Tensor:
    return input


resolve_neg = resolve_conj


def is_conj(input: Tensor) -> bool:
    return False


def real(input: Tensor) -> Tensor:
    return run_as("SelectBackward0", "real", input) if _is_complex(input) else input


def imag(input: Tensor) -> Tensor:
    if not _is_complex(input):
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return run_as("SelectBackward0", "imag", input)


def _require_one_dtype(first: Tensor, second: Tensor) -> None:
    kinds = [x.dtype.tensor_type.removesuffix("Tensor") for x in (first, second)]
    if not (first.is_floating_point() and second.is_floating_point()):
        long = dict(zip(("Float", "Double", "Long", "Int"), ("Float", "Double", "Long", "Int")))
        names = " and ".join(long.get(k, k) for k in kinds)
        raise RuntimeError(f"Expected both inputs to be Half, Float or Double tensors but got {names}")
    if first._data.dtype != second._data.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {kinds[0]} but got scalar type {kinds[1]} for second argument"
        )


def complex(real: Tensor, imag: Tensor) -> Tensor:
    """real + i imag; both of one floating-point dtype. Raises RuntimeError where they are not."""
    _require_one_dtype(real, imag)
    return run("complex", real, imag)


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """abs (cos(angle) + i sin(angle))."""
    _require_one_dtype(abs, angle)
    return run_as("PolarBackward0", "complex", abs * angle.cos(), abs * angle.sin())


def view_as_real(input: Tensor) -> Tensor:
    """The real view (..., 2) of a complex tensor (...)."""
    if not _is_complex(input):
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return run("view_as_real", input)


def view_as_complex(input: Tensor) -> Tensor:
    """The complex view (...) of a real tensor (..., 2).

    Raises RuntimeError for other shapes, and if the two parts of a number are no neighbours in memory.
    """
    if input._data.dtype not in (dtypes.F32, dtypes.F64):
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: "
            f"{input.dtype.tensor_type.removesuffix('Tensor')}"
        )
    if not input._data.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if input._data.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if input.stride(-1) != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in input.stride()[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return run("view_as_complex", input)


def sgn(input: Tensor) -> Tensor:
    """z/|z|, or 0 at 0; for real tensors the sign."""
    if input._data.dtype.kind not in "fc":
        return wrap(np.sign(input._data))
    return run("sgn", input)


def angle(input: Tensor) -> Tensor:
    """The argument, in (-pi, pi]; of a negative real number pi."""
    x = input if input.dtype.category >= dtypes.FLOAT else cast(input, dtypes.default_numpy())
    return run("angle", x)


def isreal(input: Tensor) -> Tensor:
    return wrap(np.isreal(input._data))


def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of conj(input) times other, of two vectors."""
    if input._data.ndim != 1 or other._data.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input._data.ndim}D and {other._data.ndim}D tensors")
    if input._data.dtype != other._data.dtype:
        kinds = [x.dtype.tensor_type.removesuffix("Tensor") for x in (input, other)]
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found {kinds[0]} and {kinds[1]}")
    if not _is_complex(input):
        return matmul(input, other)
    return run_as("VdotBackward0", "matmul", conj(input), other)


def adjoint(input: Tensor) -> Tensor:
    """The conjugate transpose of the last two dims."""
    if input._data.ndim < 2:
        raise RuntimeError(
            f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input._data.ndim}-D tensor."
        )
    return conj(transpose(input, -2, -1))


def _mH(input: Tensor) -> Tensor:
    if input._data.ndim < 2:
        raise RuntimeError(
            f"tensor.mH is only supported on matrices or batches of matrices. Got {input._data.ndim}-D tensor."
        )
    return adjoint(input)


def _H(input: Tensor) -> Tensor:
    if input._data.ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {input._data.ndim}-D tensor.")
    return conj(permute(input, tuple(reversed(range(input._data.ndim)))))


def _set_part(name: str) -> Any:
    def setter(self: Tensor, value: Any) -> None:
        (real if name == "real" else imag)(self).copy_(value)

    return setter


def install(table: dict[str, Any]) -> None:
    """The functions as methods of Tensor, and its properties."""
    not_methods = {"complex", "polar", "view_as_real", "view_as_complex", "real", "imag", "isreal"}
    for name in set(__all__) - not_methods - {"is_complex"}:
        setattr(Tensor, name, table[name])
    methods = {"isreal": isreal, "sgn_": lambda self: self.copy_(sgn(self))}
    parts = {"real": property(real, _set_part("real")), "imag": property(imag, _set_part("imag"))}
    for name, attribute in (methods | parts | {"H": property(_H), "mH": property(_mH)}).items():
        setattr(Tensor, name, attribute)
