"""`torch.autograd.gradcheck`: gradients beside central differences.

The judge of this project says more about less: see `gradverify.check`. This is what scripts ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..modes import no_grad
from ..tensor import Tensor, wrap
from .gradients import grad

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A gradient is not what the differences say."""


def _tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, **_: Any,
) -> bool:  # fmt: skip
    """Are the Jacobians those of central differences, entry by entry, real and imaginary parts each?

    Raises GradcheckError where they are not (or returns False, without raise_exception), ValueError where no input is
    differentiated.
    """
    given = _tuple(inputs)
    ends = [x for x in given if isinstance(x, Tensor) and x.requires_grad]
    if not ends:
        raise ValueError("gradcheck expects at least one input tensor to require gradient")

    def values(k: int) -> np.ndarray:
        with no_grad():
            return np.array([y for y in _tuple(func(*given)) if isinstance(y, Tensor)][k]._data).ravel()

    outs = [y for y in _tuple(func(*given)) if isinstance(y, Tensor)]
    for k, y in enumerate(outs):
        for part in _parts(y) if y.requires_grad else ():
            rows = []
            for j in range(y.numel()):
                seed = np.zeros(y.numel(), y._data.dtype)
                seed[j] = part
                rows.append(grad([y], ends, [wrap(seed.reshape(y._data.shape))], True, allow_unused=True))
            for i, x in enumerate(ends):
                found = np.array(
                    [np.zeros(x.numel()) if row[i] is None else np.array(row[i]._data).ravel() for row in rows]
                ).reshape(len(rows), x.numel())
                error = _mismatch(x, found, partial(values, k), part, eps, atol, rtol)
                if error and not raise_exception:
                    return False
                if error:
                    raise GradcheckError(f"Jacobian mismatch for output {k} with respect to input {i},\n{error}")
    return True


def _parts(x: Tensor) -> tuple[complex, ...]:
    """The directions that a number of the tensor's dtype may go: that of 1 and, for a complex one, that of i."""
    return (1, 1j) if x._data.dtype.kind == "c" else (1,)


def _mismatch(
    x: Tensor, found: np.ndarray, values: Callable[[], np.ndarray], part: complex, eps: float, atol: float, rtol: float
) -> str:
    """How the gradients of one part (real or imaginary) of an output differ from differences; "" where they do not.

    found  per entry of the output, the gradient g of Re(conj(part) y): a step d of x changes that by Re(conj(g) d), which
           is PyTorch's convention for complex numbers
    """
    data = x._array()
    for at, place in enumerate(np.ndindex(data.shape)):
        for direction in _parts(x):
            kept, sides = data[place], []
            for step in (eps, -eps):
                data[place] = kept + step * direction
                sides.append((np.conj(part) * values()).real)
            data[place] = kept
            numerical = (sides[0] - sides[1]) / (2 * eps)
            column = (np.conj(found[:, at]) * direction).real
            if not np.allclose(column, numerical, rtol, atol):
                return f"numerical:{numerical}\nanalytical:{column}"
    return ""


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
    """`gradcheck` of the gradients, with cotangents of ones (or `grad_outputs`)."""
    given = _tuple(inputs)

    def first(*points: Any) -> Any:
        outs = [y for y in _tuple(func(*points)) if isinstance(y, Tensor) and y.requires_grad]
        seeds = [wrap(np.ones_like(y._data)) for y in outs] if grad_outputs is None else list(_tuple(grad_outputs))
        ends = [x for x in points if isinstance(x, Tensor) and x.requires_grad]
        found = grad(outs, ends, seeds, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(first, given, **options)
