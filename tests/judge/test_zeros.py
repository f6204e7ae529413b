"""Entries whose true gradient is 0: a right formula may come to it by a difference, and leaves its rounding."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import FailKind, Outcome
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")


def drawn(*shape: int, dtype: Any = torch.float64, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


def suffix_sums(g: Any, a: Any) -> Any:
    """Of cumsum(a[1:]): the first entry is not read, and gets the sum of all less the sum of all."""
    back = g.flip(0).cumsum(0).flip(0)
    return torch.cat([(back[0] - g.sum()).reshape(1), back])


def unit_weights(g: Any, a: Any) -> Any:
    """Of 2·a[1:], by weights that sum to one."""
    weights = a.softmax(0)
    return torch.cat([((weights.sum() - 1) * g.sum()).reshape(1), 2 * g])


def pythagoras(g: Any, a: Any) -> Any:
    """Of exp(a[:-1]); the last entry gets sin² + cos² - 1 of what comes in."""
    rest = g[:1] * (a[-1:].sin() ** 2 + a[-1:].cos() ** 2 - 1)
    return torch.cat([g * a[:-1].exp(), rest])


RIGHT = {
    "a suffix sum less the whole": (lambda a: a[1:].cumsum(0), suffix_sums, (9,)),
    "weights that sum to one": (lambda a: 2 * a[1:], unit_weights, (9,)),
    "a sine and a cosine": (lambda a: a[:-1].exp(), pythagoras, (5,)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("seed", range(3))
def test_a_difference_that_is_zero(name: str, dtype: Any, seed: int) -> None:
    run, back, shape = RIGHT[name]
    verdict = judge(custom(run, back), drawn(*shape, dtype=dtype, seed=seed), order=1)
    assert verdict.outcome is Outcome.PASS, verdict.text()


def test_a_zero_that_is_missed_by_more() -> None:
    leaky = lambda g, a: suffix_sums(g, a) + 1e-11 * torch.cat([g[:1], 0 * g])
    verdict = judge(custom(lambda a: a[1:].cumsum(0), leaky), drawn(7), order=1)
    assert verdict.kind is FailKind.WRONG, verdict.text()


def test_a_zero_that_is_missed_by_a_rounding_of_a_wrong_formula() -> None:
    """1e-17 of all gradients leaks into the entry that the function does not read: the formula says so."""
    f = custom(lambda a: a[1:].exp(), lambda g, a: torch.cat([1e-17 * g.sum().reshape(1), g * a[1:].exp()]))
    assert judge(f, drawn(7), order=1).outcome in (Outcome.FAIL, Outcome.WEAK)
