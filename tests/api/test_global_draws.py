"""Functions that draw from Python's and NumPy's global generators are judged, and the generators stay as they were."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from gradverify import check
from gradverify.core.outcome import FailKind, Outcome
from gradverify.trace.drawing import kept, replayed

X = torch.tensor([0.3, 0.8, -1.5, 0.6, -0.2, 1.1], dtype=torch.float64, requires_grad=True)


class Dropout(torch.autograd.Function):
    """A mask of NumPy's; `anew` draws another one in the backward pass."""

    @staticmethod
    def forward(ctx, x, anew):
        ctx.anew, ctx.mask = anew, _mask(x)
        return x * ctx.mask

    @staticmethod
    def backward(ctx, g):
        return g * (_mask(g) if ctx.anew else ctx.mask), None


def _mask(x: Any) -> Any:
    return torch.from_numpy((np.random.rand(*x.shape) > 0.5).astype(float))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x * random.random(),
        lambda x: x.sin() * np.random.rand(),
        lambda x: x * random.gauss(0, 1) + np.random.standard_normal() * x,
        lambda x: x.exp() * _mask(x),
        lambda x: Dropout.apply(x, False),
    ],
)
def test_what_is_drawn_is_replayed(fn: Any) -> None:
    verdict = check(fn, X)
    assert verdict.outcome is Outcome.PASS, verdict.text()


def test_a_mask_that_is_drawn_anew_in_the_backward_pass_is_found() -> None:
    assert check(lambda x: Dropout.apply(x, True), X).kind is FailKind.WRONG


def test_a_function_of_numpy_that_draws() -> None:
    fn = lambda x: np.sin(x) * random.random()
    assert not check(fn, np.ones(3), vjp=lambda g, x: g * np.cos(x))  # it forgets the factor
    right = lambda x: (lambda r: (np.sin(x) * r, (x, r)))(random.random())
    assert check(right, np.ones(3), vjp=lambda kept, g: g * np.cos(kept[0]) * kept[1], residuals=True)


@pytest.mark.parametrize("fn", [lambda x: x * random.random(), lambda x: x * np.random.rand(), torch.sin])
def test_the_generators_stay_as_they_were(fn: Any) -> None:
    python, numpy = random.getstate(), np.random.get_state()
    check(fn, X, effort="quick")
    assert random.getstate() == python
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy))


def test_users_error_state_of_numpy_is_no_business_of_the_judge() -> None:
    x = torch.tensor([0.3, 800.0, -1e-300], dtype=torch.float64, requires_grad=True)
    with np.errstate(all="raise"):
        assert check(torch.sigmoid, x)
        assert np.geterr()["over"] == "raise"


def test_a_block_is_kept_when_it_raises() -> None:
    before = random.getstate()
    with pytest.raises(ZeroDivisionError), kept():
        _ = random.random() / 0
    assert random.getstate() == before


@pytest.mark.parametrize(
    "draw", [random.random, np.random.rand, np.random.standard_normal, lambda: random.sample([1, 2], 1)]
)
def test_whether_something_was_drawn_is_seen(draw: Any) -> None:
    with replayed(3) as drawn:
        assert not drawn()
        first = draw()
        assert drawn()
    with replayed(3):
        assert draw() == first
