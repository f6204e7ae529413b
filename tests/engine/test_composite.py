"""Composite ops: the cotangent of each argument alone, also where one argument is another or comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradverify.engine as engine
from gradverify.engine.namespace import ENGINE
from gradverify.ops import OPS
from gradverify.testing.ops import _samples

RELATED: dict[str, Callable[[Any], Any]] = {
    "the same": lambda x: x,
    "a multiple": lambda x: x * 1.0,
    "a view": lambda x: x.view_as(x),
    "of itself": lambda x: x + 0.0 * x * x,
}


@pytest.mark.parametrize("second", RELATED.values(), ids=list(RELATED))
def test_a_gradient_with_a_graph_is_that_without(second: Callable[[Any], Any]) -> None:
    """Found by random graphs of second order: both arguments were given the sum of their cotangents, so all was doubled."""
    found = []
    for create_graph in (False, True):
        x = engine.tensor([1.0, 2.0, 3.0], dtype=engine.float64, requires_grad=True)
        out = engine.tensordot(x, second(x), 1)
        found.append(engine.autograd.grad(out, x, create_graph=create_graph)[0].detach().numpy())
    assert np.array_equal(found[0], [2.0, 4.0, 6.0])
    assert np.array_equal(found[1], found[0])


def test_the_second_derivative_of_a_square_by_a_composite() -> None:
    x = engine.tensor([1.0, 2.0, 3.0], dtype=engine.float64, requires_grad=True)
    (g,) = engine.autograd.grad(engine.tensordot(x, x * x, 1), x, create_graph=True)
    (h,) = engine.autograd.grad(g.sum(), x)
    assert np.allclose(h.numpy(), [6.0, 12.0, 18.0], rtol=1e-15)


SEVERAL = sorted(n for n, s in OPS.items() if s.composite and s.arity == 2 and s.arguments == ("float",))


@pytest.mark.parametrize("name", SEVERAL)
def test_every_composite_of_two_arguments(name: str) -> None:
    """With one tensor for both, wherever the op takes two arrays of one shape."""
    spec, asked = OPS[name], 0
    for sample in _samples(spec, np.random.default_rng(3), 30, "float64", None):
        a, b = sample.args
        if a.shape != b.shape or not a.size:
            continue
        found = []
        for create_graph in (False, True):
            x = engine.from_numpy(a.copy()).requires_grad_()
            out = spec.define(ENGINE, x, x, **sample.params)
            g = engine.from_numpy(np.ones(out.shape))
            found.append(engine.autograd.grad(out, x, g, create_graph=create_graph)[0].detach().numpy())
        assert np.allclose(found[1], found[0], rtol=1e-12, atol=0.0, equal_nan=True)
        asked += 1
    assert asked
