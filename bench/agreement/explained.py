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
    Explanation("autograd", "odeint stops at a tolerance of 1.5e-8, and its adjoint differs from differences of its own values by what the steps add up to, which is said; against the solution at a tolerance of 1e-12 the adjoint is the closer one. The original's tolerance of 1e-6 admits it", "both", "odeint"),
    Explanation("autograd", "both reject: autograd has no gradient of rfftn for odd sizes; the type of the exception differs", "original", "rfftn_odd"),
    # ---- JAX
    Explanation("jax", "the point is NaN, or one where the value is NaN (mish and squareplus at -inf): nothing has a derivative there, and the original finds NaN equal to NaN", "ours", "Nan$|Inf$"),
    Explanation("jax", "no digit is left to check, or the oracle's bound in forward mode is too wide", "not checked", message="no digit is left|JVP of asin"),
    Explanation("jax", "a singular matrix of 7 rows: the gradient of det above 4 rows takes the inverse, which leaves the budget without a bound", "original", "DetGrad6", "ill-conditioned"),
    Explanation("jax", "over the time limit of the run", "not checked", message="ran longer"),
    # ---- PyTorch
    Explanation("torch", "a sparse output, which the original refuses, is judged", "ours", "test_gradcheck_test_outputs"),
    Explanation("torch", "float32 with raise_exception=False: differences are too coarse for the original's tolerance", "ours", "test_gradcheck_validates_inputs"),
    Explanation("torch", "both reject, by another type of exception", "original", "no_differentiable_outputs|check_batched_grad"),
    Explanation("torch", "tensors in blocks are not supported", "original", message="layout torch.sparse_bs[rc]"),
    Explanation("torch", "lobpcg stops at a residual of the root of eps: its rule is that of the limit, and the two part by that tolerance, which is said; the original compares to 1e-3", "both", "lobpcg", "stops once it has converged"),
    Explanation("torch", "lobpcg, whose graph is as many trips as it makes: not decided, or over the time limit", "not checked", "lobpcg"),
)  # fmt: skip


def explanation(row: Row) -> Explanation | None:
    """The first one that covers the row."""
    return next((e for e in EXPLANATIONS if e.covers(row)), None)
