"""Functions that read one triangle of a matrix: the gradient of a symmetric matrix is a convention, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import Outcome, check
from tests.helpers import custom

torch = pytest.importorskip("torch")

A = torch.tensor([[2.0, 0.3, -0.4], [0.9, -1.0, 0.6], [0.2, -0.7, 0.5]], dtype=torch.float64)


def verdict_on(f: Any, a: Any = A) -> Any:
    return check(f, a.clone().requires_grad_(), effort="quick", order=1)


@pytest.mark.parametrize(
    ("f", "triangle"),
    [
        (torch.linalg.eigvalsh, "lower"),
        (lambda a: torch.linalg.eigvalsh(a, UPLO="U"), "upper"),
        (lambda a: torch.linalg.cholesky(a + 4 * torch.eye(3, dtype=a.dtype)), "lower"),
    ],
)
def test_an_unsymmetric_matrix(f: Any, triangle: str) -> None:
    verdict = verdict_on(f)
    assert verdict.outcome is Outcome.INCONCLUSIVE, verdict.text()
    assert f"reads the {triangle} triangle of" in verdict.message


def test_a_symmetric_one_is_decided() -> None:
    assert verdict_on(torch.linalg.eigvalsh, A + A.T).outcome is Outcome.PASS


def wrong(factor: float, mask: Any = 1.0) -> Any:
    def back(g: Any, a: Any) -> Any:
        vectors = torch.linalg.eigh(a)[1]
        return factor * mask * (vectors * g) @ vectors.T

    return custom(torch.linalg.eigvalsh, back)


def test_a_wrong_one_stays_wrong() -> None:
    assert verdict_on(wrong(1.01)).outcome is Outcome.FAIL
    assert verdict_on(wrong(1.0, torch.tril(torch.ones(3, 3, dtype=A.dtype)))).outcome is Outcome.FAIL
    assert verdict_on(wrong(1.0)).outcome is Outcome.INCONCLUSIVE


def test_a_sum_of_one_triangle_has_its_own_gradient() -> None:
    """It reads one triangle, and a gradient in both is wrong: it is that of no symmetric matrix either."""
    f = custom(lambda a: torch.tril(a).sin().sum(), lambda g, a: g * torch.cos(a))
    assert verdict_on(f).outcome is Outcome.FAIL
