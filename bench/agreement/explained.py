# ruff: noqa: E501 - a table
"""Why the two checkers disagree: one entry per kind of call, found by the suite, the test's name and our message."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .beside import Row


@dataclass(frozen=True)
class Explanation:
    """`test` and `message` are regular expressions, searched in the test's name and in our answer.

    right says who is: "original", "ours", "both" (the checkers promise different things), "neither".
    """

    suite: str
    text: str
    right: str
    test: str = ""
    message: str = ""

    def covers(self, row: Row) -> bool:
        return (
            row.suite == self.suite
            and re.search(self.test, row.test) is not None
            and re.search(self.message, row.ours.message, re.DOTALL) is not None
        )


EXPLANATIONS: tuple[Explanation, ...] = (
    # ---- HIPS autograd
    Explanation(
        "autograd",
        "odeint integrates to 1.5e-8, and so does its adjoint: the gradient has 7 of the 16 digits of float64. The original's "
        "tolerance is 1e-6",
        "both", "odeint", "slope|off by",
    ),
    Explanation(
        "autograd",
        "the pseudo-inverse by products of a pseudo-inverse loses up to half a digit more than a rerun of the definition",
        "both", "test_pinv", "precision",
    ),
    Explanation("autograd", "a pseudo-inverse of fixed rank has no definition over the op table", "original", "test_pinv", "without full rank"),
    Explanation(
        "autograd", "the derivative is computed from numbers that leave the tracer's sight (Python floats, SciPy's C code), "
        "and no differences are taken of it", "original", message="recorded operations are not the function",
    ),
    Explanation("autograd", "no forward rule is registered: autograd's own test asks for one mode at a time", "original",
                message="JVP of .* not defined"),
    Explanation("autograd", "an op that the op table lacks", "original", message="no counterpart|has no counterpart|of complex numbers"),
    Explanation("autograd", "at a tie, where one-sided slopes differ: the original compares with a central difference, which is "
                "their mean", "both", message="lies on a kink"),
    # ---- JAX
    Explanation("jax", "the point is NaN, where nothing has a derivative: the original finds NaN equal to NaN", "both", "Nan$|Nan[0-9]*$"),
    Explanation("jax", "the point is infinite, where differences are NaN in both of the original's computations", "both", "Inf$"),
    Explanation("jax", "eigenvectors and singular vectors of complex or unsymmetric matrices have no op", "original", message="eig has no counterpart|of a complex matrix"),
    Explanation("jax", "determinants near a singular matrix: a sign is decided on the way", "original", "Det", "kink|recorded operations"),
    Explanation("jax", "over the time limit of the run", "original", message="ran longer"),
    # ---- PyTorch
    Explanation("torch", "a sparse output, which the original refuses, is judged", "ours", "test_gradcheck_test_outputs"),
    Explanation("torch", "tensors in blocks are not supported", "original", message="layout torch.sparse_bs[rc]"),
    Explanation(
        "torch",
        "lobpcg iterates until a residual of 1e-10 or less, from a random start: the gradient is that of where it stops, and "
        "loses what the residual leaves open; the original compares to 1e-3",
        "both", "lobpcg",
    ),
)  # fmt: skip


def explanation(row: Row) -> Explanation | None:
    """The first one that covers the row."""
    return next((e for e in EXPLANATIONS if e.covers(row)), None)
