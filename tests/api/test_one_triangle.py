"""Functions that read one triangle of a matrix: the gradient of a symmetric matrix is a convention, and nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
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


class TestOutOfTheTracersSight:
    """Functions without a graph: at a symmetric matrix they are decided, along symmetric changes."""

    @staticmethod
    def log_det(factor: float = 1.0) -> Any:
        def forward(a: Any) -> Any:
            return torch.from_numpy(np.array(2 * np.log(np.diagonal(np.linalg.cholesky(a.detach().numpy()))).sum()))

        return custom(forward, lambda g, a: g * factor * torch.linalg.inv(a))

    definite = A @ A.T + torch.eye(3, dtype=A.dtype)

    def test_a_right_one(self) -> None:
        verdict = verdict_on(self.log_det(), self.definite)
        assert verdict.outcome is Outcome.PASS, verdict.text()

    def test_a_wrong_one(self) -> None:
        assert verdict_on(self.log_det(1.001), self.definite).outcome is Outcome.FAIL

    def test_a_batch(self) -> None:
        two = torch.stack([self.definite, 2 * self.definite])

        def eigenvalues(upper: bool) -> Any:
            def forward(a: Any) -> Any:
                return torch.from_numpy(np.linalg.eigvalsh(a.detach().numpy(), "U" if upper else "L").copy())

            def backward(g: Any, a: Any) -> Any:
                vectors = torch.linalg.eigh(a)[1]
                return (vectors * g.unsqueeze(-2)) @ vectors.mT

            return custom(forward, backward)

        assert verdict_on(eigenvalues(False), two).outcome is Outcome.PASS
        assert verdict_on(eigenvalues(True), two).outcome is Outcome.PASS

    def test_the_antisymmetric_part_of_a_function_of_both_triangles(self) -> None:
        """At a symmetric matrix the wrong gradient is right along symmetric changes; but the function reads both."""
        w = torch.tensor([[1.0, 2.0, 0.5], [-1.0, 0.2, 0.3], [0.7, 0.1, -0.4]], dtype=A.dtype)
        even = (w + w.T) / 2
        f = custom(lambda a: torch.from_numpy(np.array((a.detach().numpy() * w.numpy()).sum())), lambda g, a: g * even)
        assert verdict_on(f, self.definite).outcome is Outcome.FAIL
