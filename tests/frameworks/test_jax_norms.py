"""JAX's norms of 16-bit arrays: computed in float32, so that a variance of zero has the gradient that it has."""

from __future__ import annotations

import pytest

from gradverify.core.verdict import Outcome
from gradverify.run.runner import judge_case
from tests.helpers import case_of

pytest.importorskip("jax")

CONSTANT = "{shape: [2, 3], values: 1}"


@pytest.mark.parametrize(
    ("expr", "inputs"),
    [
        ("layer_norm(x, w, b)", f"x: {CONSTANT}, w: {{shape: [3]}}, b: {{shape: [3]}}"),
        ("standardize(x)", f"x: {CONSTANT}"),
        ("rms_norm(x, w)", "x: {shape: [2, 3], values: 0}, w: {shape: [3]}"),
    ],
)
def test_a_row_without_variance(expr: str, inputs: str) -> None:
    verdict = judge_case(case_of(expr, "float16", f"{{{inputs}}}"), "jax")
    assert verdict.outcome is Outcome.PASS, verdict


def test_a_batch_without_variance() -> None:
    """The definition's own steps leave float16 here: undecided, but no NaN of JAX's."""
    inputs = f"{{x: {CONSTANT}, w: {{shape: [3]}}, b: {{shape: [3]}}}}"
    verdict = judge_case(case_of("batch_norm(x, w, b)", "float16", inputs), "jax")
    assert verdict.outcome is not Outcome.FAIL, verdict
