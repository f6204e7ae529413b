"""torch.lobpcg is judged as the eigenpairs that it converges to, as precisely as it stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify import FailKind, Outcome, check
from tests.helpers import custom

torch = pytest.importorskip("torch")


def matrix(*shape: int, seed: int = 0) -> Any:
    a = np.random.default_rng(seed).uniform(size=(*shape, shape[-1]))
    return torch.tensor(a @ np.swapaxes(a, -1, -2) / 10, requires_grad=True)


def pairs(k: int, largest: bool = True, **options: Any) -> Any:
    """The eigenvalues, and the eigenvectors with a sign of their own."""

    def of(a: Any) -> Any:
        start = torch.eye(a.shape[-1], k, dtype=a.dtype).expand(*a.shape[:-1], k)
        values, vectors = torch.lobpcg(a, k=k, X=start, largest=largest, **options)
        top = vectors.gather(-2, vectors.abs().max(-2, keepdim=True)[1])
        return values, vectors * top.sign()

    return of


@pytest.mark.parametrize(
    ("shape", "k", "largest", "options"),
    [
        ((6,), 1, True, {}), ((6,), 2, False, {}), ((9,), 3, True, {}), ((2, 6), 2, True, {}),
        ((6,), 1, True, {"tol": 1e-12}),
    ],
)  # fmt: skip
def test_its_rule_is_right(shape: tuple[int, ...], k: int, largest: bool, options: dict[str, Any]) -> None:
    verdict = check(pairs(k, largest, **options), matrix(*shape), effort="quick", order=1)
    assert verdict.outcome is Outcome.PASS, verdict.text()


def test_the_power_is_that_of_where_it_stops() -> None:
    fine, coarse = (check(pairs(1, tol=tol), matrix(6), effort="quick", order=1) for tol in (1e-10, 1e-7))
    assert fine.comparisons[-1].power < 1e-2 * coarse.comparisons[-1].power


@pytest.mark.parametrize("factor", [1.01, 2.0, -1.0])
def test_another_rule_is_wrong(factor: float) -> None:
    def backward(g: Any, a: Any) -> Any:
        with torch.enable_grad():
            b = a.detach().requires_grad_()
            (found,) = torch.autograd.grad(torch.linalg.eigh(b)[0][-1:], b, g)
        return factor * found

    forward = lambda a: torch.lobpcg(a.detach(), k=1, X=torch.eye(6, 1, dtype=a.dtype))[0]
    assert check(custom(forward, backward), matrix(6), effort="quick", order=1).outcome is Outcome.FAIL


def test_its_second_derivative_loses_what_a_copy_cuts_off() -> None:
    """Of a matrix that is stored by columns the Function saves a copy, which no gradient reaches (docs/findings.md)."""
    f, a = pairs(2), matrix(6)
    weights = torch.linspace(1, 2, 12, dtype=a.dtype).reshape(6, 2)

    def gradient(a: Any) -> Any:
        (found,) = torch.autograd.grad((f(a)[1] * weights).sum(), a, create_graph=True)
        return found

    verdict = check(gradient, a.detach().mT.contiguous().mT.requires_grad_(), effort="quick", order=1)
    assert (verdict.outcome, verdict.kind) == (Outcome.FAIL, FailKind.WRONG), verdict.text()


def test_the_drop_in_at_effort_quick_asks_for_the_layout_that_is_given() -> None:
    """By rows the second derivative is right; by columns it is wrong, which PyTorch's own check does not see at order 1."""
    from gradverify.torch import gradgradcheck

    f, a = pairs(2), matrix(6)
    cotangents = [torch.linspace(1, 2, 2, dtype=a.dtype), torch.linspace(1, 2, 12, dtype=a.dtype).reshape(6, 2)]
    by_columns = a.detach().mT.contiguous().mT.requires_grad_()
    assert gradgradcheck(f, a, cotangents, effort="quick")
    assert not gradgradcheck(f, by_columns, cotangents, effort="quick", raise_exception=False)
    assert not gradgradcheck(f, a, cotangents, effort="normal", raise_exception=False)
