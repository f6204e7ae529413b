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
    Explanation("autograd", "both reject: autograd has no gradient of rfftn for odd sizes; the type of the exception differs", "original", "rfftn_odd"),
    Explanation("autograd", "the second derivative of an untraced Bessel function, whose differences at double precision are too noisy at this draw", "original", "test_ive|test_iv\\b", "too noisy"),
    Explanation("autograd", "over the time limit: a solver that cannot be traced is differenced entry by entry, and its adjoint solves again for each step", "original", "odeint", "ran longer"),
    Explanation("autograd", "over the time limit of the run", "not checked", message="ran longer"),
    Explanation("autograd", "a method of autograd's own vector space of containers: autograd boxes the container as a whole, ours its leaves, of which the method knows nothing", "original", "mixed_vspace"),
    # ---- JAX
    Explanation("jax", "a cast from bfloat16 to float16: no two formats of storage in one function", "original", "ConvertElementTypeGrad", "bfloat16, float16"),
    Explanation("jax", "every output is NaN at finite arguments: the original finds NaN equal to NaN, and nothing is shown", "both", message="no finite value"),
    Explanation("jax", "windows that hold nothing but padding have the value -inf", "original", "ReduceWindow", "beyond the doubles"),
    Explanation("jax", "over the time limit of the run", "not checked", message="ran longer"),
    # ---- PyTorch
    Explanation("torch", "a sparse output, which the original refuses, is judged", "ours", "test_gradcheck_test_outputs"),
    Explanation("torch", "float32 with raise_exception=False: differences are too coarse for the original's tolerance", "ours", "test_gradcheck_validates_inputs"),
    Explanation("torch", "both reject, by another type of exception", "original", "no_differentiable_outputs|check_batched_grad"),
)  # fmt: skip


def explanation(row: Row) -> Explanation | None:
    """The first one that covers the row."""
    return next((e for e in EXPLANATIONS if e.covers(row)), None)
