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
    Explanation("autograd", "the adjoint of odeint differs from differences of its own values by 1.6e-7 of them, about odeint's tolerance of 1.5e-8: digits are lost, which the original's tolerance of 1e-6 admits", "both", "odeint"),
    Explanation("autograd", "both reject: autograd has no gradient of rfftn for odd sizes; the type of the exception differs", "original", "rfftn_odd"),
    # ---- JAX
    Explanation("jax", "the point is NaN, where nothing has a derivative: the original finds NaN equal to NaN", "both", "Nan$"),
    Explanation("jax", "complex64 tan and tanh: JVPs by 1 + tan² and 1 - tanh², which cancel. A true loss (mpmath says 9e-6 of tan at 0.4 + 2.5i, 4e-4 of tanh at 4.2 + i), declared for the VJP alone", "ours", message="JVP of tanh?,"),
    Explanation("jax", "undecided at -inf: the oracle has no enclosure there", "not checked", "Inf$"),
    Explanation("jax", "no digit is left to check, or the oracle's bound in forward mode is too wide", "not checked", message="no digit is left|JVP of asin"),
    Explanation("jax", "eigenvectors and singular vectors of complex or unsymmetric matrices have no op, and order 2 with forward mode was not asked of differences", "original", message="eig has no counterpart|of a complex matrix"),
    Explanation("jax", "determinants by LU: the graph decides on signs and pivots", "not checked", "Det", "kink|recorded operations"),
    Explanation("jax", "over the time limit of the run, of 30 s", "not checked", message="ran longer"),
    # ---- PyTorch
    Explanation("torch", "a sparse output, which the original refuses, is judged", "ours", "test_gradcheck_test_outputs"),
    Explanation("torch", "float32 with raise_exception=False: differences are too coarse for the original's tolerance", "ours", "test_gradcheck_validates_inputs"),
    Explanation("torch", "both reject, by another type of exception", "original", "no_differentiable_outputs|check_batched_grad"),
    Explanation("torch", "tensors in blocks are not supported", "original", message="layout torch.sparse_bs[rc]"),
    Explanation("torch", "lobpcg stops at a residual of the root of eps: the gradient is that of where it stops; the original compares to 1e-3. Whether each FAIL of precision, and of the law of layouts at second order, is one of that alone", "not checked", "lobpcg"),
)  # fmt: skip


def explanation(row: Row) -> Explanation | None:
    """The first one that covers the row."""
    return next((e for e in EXPLANATIONS if e.covers(row)), None)
