"""Class 7 as torch.autograd.Function subclasses: complex gradients whose conjugate is missing, or is one too many.

PyTorch's convention: the gradient of a real loss is dL/d(real) + i dL/d(imag), so a holomorphic op multiplies the
cotangent by the conjugate of its derivative.
"""

from __future__ import annotations

from typing import Any

from .functions import mutant_function
from .mutant import Mutant


def _conj(x: Any) -> Any:
    return x.conj() if x.is_complex() else x


def _abs(g: Any, out: Any, z: Any) -> Any:
    return g * z.sgn().conj() if z.is_complex() else g * z.sign()


CONJUGATES: tuple[Mutant, ...] = tuple(
    mutant_function(f"complex-{name}", 7, op, backward, description, size=size)
    for name, op, description, backward, size in (
        ("multiply-no-conj", "multiply", "both factors enter without their conjugate",
         lambda g, out, z, w: (g * w, g * z), None),
        ("multiply-one-conj", "multiply", "the conjugate is left out for the second argument only",
         lambda g, out, z, w: (g * _conj(w), g * z), None),
        ("exp-no-conj", "exp", "g * out for g * conj(out)", lambda g, out, z: g * out, None),
        ("exp-conj-twice", "exp", "the cotangent is conjugated as well", lambda g, out, z: _conj(g) * _conj(out), None),
        ("sin-no-conj", "sin", "g * cos(z) for g * conj(cos(z))", lambda g, out, z: g * z.cos(), None),
        ("divide-numerator", "divide", "of the quotient's second gradient the denominator alone is conjugated",
         lambda g, out, z, w: (g / _conj(w), -g * z / _conj(w) ** 2), None),
        ("abs-conj", "abs", "conj(sgn(z)) for sgn(z)", _abs, None),
        ("exp-conj-1e-12", "exp", "right but for 1e-12 of the derivative without its conjugate",
         lambda g, out, z: g * (_conj(out) + 1e-12 * (out - _conj(out))), 1e-12),
    )
)  # fmt: skip
