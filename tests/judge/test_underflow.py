"""A gradient that underflows is 0 to within the smallest normal number; one that is larger there is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradverify import Outcome, check

torch = pytest.importorskip("torch")

GONE: dict[str, tuple[Callable[[Any], Any], float]] = {
    "erf": (torch.erf, 10.0),
    "a Gaussian": (lambda x: torch.exp(-x * x), 9.8),
    "a sigmoid": (lambda x: torch.sigmoid(x), -95.0),
    "a product of small numbers": (lambda x: x * x * 1e-20, 1e-21),
}


@pytest.mark.parametrize("name", GONE)
def test_it_is_judged(name: str) -> None:
    f, at = GONE[name]
    assert check(f, torch.tensor([at]), effort="quick", order=1).outcome is Outcome.PASS


@pytest.mark.parametrize("name", GONE)
def test_one_that_does_not_is_wrong(name: str) -> None:
    f, at = GONE[name]

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return f(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 1e-30 * g

    assert check(Wrong.apply, torch.tensor([at]), effort="quick", order=1).outcome is Outcome.FAIL


def test_what_float16_has_digits_of_is_not_nil() -> None:
    verdict = check(lambda x: x * 4e-6 * x, torch.tensor([1.0], dtype=torch.float16), effort="quick", order=1)
    assert verdict.outcome is not Outcome.FAIL
