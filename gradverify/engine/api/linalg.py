"""Products and linear algebra."""

from __future__ import annotations

from typing import Any

from ..dispatch import apply
from ..namespace import ENGINE
from ..rules import rule
from ..tensor import Tensor
from .call import normal_dim, run, run_as
from .elementwise import mul

__all__ = [
    "addmm", "bmm", "cholesky", "det", "dot", "einsum", "inverse", "matmul", "matrix_power", "mm", "mv", "outer",
    "tensordot",
]  # fmt: skip


def matmul(input: Tensor, other: Tensor) -> Tensor:
    if not input._data.ndim or not other._data.ndim:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {input._data.ndim}D and {other._data.ndim}D"
        )
    if input._data.dtype is not other._data.dtype and input._data.dtype != other._data.dtype:
        names = [_CPP_NAMES.get(t.dtype.name, t.dtype.name) for t in (input, other)]
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {names[0]} != {names[1]}")
    return apply(_MATMUL, (input, other))


_CPP_NAMES = {"float32": "float", "float64": "double", "complex64": "c10::complex<float>",
              "complex128": "c10::complex<double>"}  # fmt: skip


def _make_matmul(name: str, ranks: tuple[int, int], node: str | None = None) -> Any:
    def product(input: Tensor, other: Tensor) -> Tensor:
        if name == "mv" and (input._data.ndim, other._data.ndim) != ranks:
            raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input._data.ndim}, {other._data.ndim}")
        for which, x, n in ("self", input, ranks[0]), ("mat2", other, ranks[1]):
            if x._data.ndim != n:
                raise RuntimeError(f"{name}: {which} must be a {n}-D tensor, but got {x._data.ndim}-D")
        return matmul(input, other) if node is None else run_as(node, "matmul", input, other)

    product.__name__ = product.__qualname__ = name
    product.__doc__ = f"matmul of a {ranks[0]}-D and a {ranks[1]}-D tensor; no broadcasting."
    return product


mm = _make_matmul("mm", (2, 2))


bmm = _make_matmul("bmm", (3, 3), "BmmBackward0")


mv = _make_matmul("mv", (2, 1))


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    for x in (input, tensor):
        if x._data.ndim != 1:
            raise RuntimeError(f"1D tensors expected, but got {input._data.ndim}D and {tensor._data.ndim}D tensors")
    return matmul(input, tensor)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    product = mm(mat1, mat2) if alpha == 1 else mul(mm(mat1, mat2), alpha)
    return run_as("AddmmBackward0", "add", input if beta == 1 else mul(input, beta), product)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    return run("outer", input, vec2)


def einsum(equation: str, *operands: Any) -> Tensor:
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    return ENGINE.einsum(equation.replace(" ", ""), *operands)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    if isinstance(dims, int):
        dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
    left, right = ([normal_dim(d, x.ndim) for d in ds] for x, ds in zip((a, b), dims))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    names_a = [next(letters) for _ in range(a.ndim)]
    names_b = [names_a[left[right.index(k)]] if k in right else next(letters) for k in range(b.ndim)]
    out = [n for k, n in enumerate(names_a) if k not in left] + [n for k, n in enumerate(names_b) if k not in right]
    return einsum(f"{''.join(names_a)},{''.join(names_b)}->{''.join(out)}", a, b)


def inverse(input: Tensor) -> Tensor:
    return run("inv", input)


def solve(A: Tensor, B: Tensor) -> Tensor:
    return run("solve", A, B)


def det(input: Tensor) -> Tensor:
    return run("det", input)


def cholesky(input: Tensor) -> Tensor:
    return run("cholesky", input)


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, unitriangular: bool = False) -> Tensor:
    return run("solve_triangular", A, B, upper=upper, unit_diagonal=unitriangular)


def matrix_power(input: Tensor, n: int) -> Tensor:
    return run("matrix_power", input, n=n)


_MATMUL = rule("matmul")
