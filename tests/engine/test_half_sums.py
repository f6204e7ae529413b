"""Sums over indices in 16 bits: added up in float32 and rounded once, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gradverify.engine as engine

N = 1000  # beyond 2^8 and 2^9, where adding ones to themselves in bfloat16 stops; a whole number of both formats
BOTH = pytest.mark.parametrize("dtype", [engine.bfloat16, engine.float16])


def at() -> Any:
    return engine.zeros(N, dtype=engine.int64)


@BOTH
@pytest.mark.parametrize(
    "add",
    [
        lambda x, ones: x.index_add(0, at(), ones),
        lambda x, ones: x.scatter_add(0, at(), ones),
    ],
)
def test_what_is_added_to_one_entry_does_not_stop_growing(add: Callable[..., Any], dtype: Any) -> None:
    found = add(engine.zeros(1, dtype=dtype), engine.ones(N, dtype=dtype))
    assert (found.dtype, found.item()) == (dtype, N)


@BOTH
@pytest.mark.parametrize(
    "take",
    [
        lambda x: x[at()],
        lambda x: engine.gather(x, 0, at()),
        lambda x: engine.index_select(x, 0, at()),
    ],
)
def test_an_entry_that_is_taken_often_gets_the_whole_gradient(take: Callable[..., Any], dtype: Any) -> None:
    x = engine.zeros(1, dtype=dtype, requires_grad=True)
    take(x).sum().backward()
    assert (x.grad.dtype, x.grad.item()) == (dtype, N)


@BOTH
def test_the_loss_of_classes_adds_up_in_float32(dtype: Any) -> None:
    terms = engine.tensor([1.265625, -0.54296875, 0.765625, -1.46875], dtype=dtype)
    loss = engine.nn.functional.nll_loss(terms.reshape(4, 1), engine.zeros(4, dtype=engine.int64))
    assert loss.item() == -0.0048828125
