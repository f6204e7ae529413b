"""How the backward pass ends: a leaf is finished once, and takes an array over only if nobody else can see it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify.engine as engine
from gradverify.engine.autograd.walk import COUNTED, _is_unshared

torch = pytest.importorskip("torch")


@pytest.fixture(params=[engine, torch], ids=["engine", "torch"])
def m(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_root_that_is_a_leaf_is_finished_once(m: Any) -> None:
    x = m.tensor(1.0, requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    m.autograd.backward([x, 2 * x])
    assert seen == [3.0]
    assert x.grad.item() == 3.0


def test_a_root_given_twice_is_finished_once(m: Any) -> None:
    x = m.tensor(1.0, requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    m.autograd.backward([x, x])
    assert seen == [2.0]
    assert x.grad.item() == 2.0


def test_a_root_that_is_captured_adds_to_what_comes_from_the_others(m: Any) -> None:
    x = m.tensor(1.0, requires_grad=True)
    assert m.autograd.grad([x, 2 * x], [x])[0].item() == 3.0
    assert m.autograd.grad([x, x], [x])[0].item() == 2.0
    y = m.tensor(1.0, requires_grad=True)
    assert [g.item() for g in m.autograd.grad([x, y * x], [y, x])] == [1.0, 2.0]
    assert x.grad is None


def test_a_root_alone(m: Any) -> None:
    x = m.tensor([1.0, 2.0], requires_grad=True)
    x.backward(m.tensor([3.0, 4.0]))
    assert x.grad.tolist() == [3.0, 4.0]


def test_a_seed_of_nan_is_nobodys_anomaly() -> None:
    x = engine.tensor(1.0, requires_grad=True)
    with engine.autograd.detect_anomaly():
        x.backward(engine.tensor(float("nan")))
    assert np.isnan(x.grad.item())


@pytest.mark.skipif(not COUNTED, reason="reference counts miss the interpreter's stack here")
def test_an_array_that_nobody_else_holds_is_unshared() -> None:
    g = np.ones(3)
    assert _is_unshared(g)
    other = g
    assert not _is_unshared(g)
    del other
    assert _is_unshared(g)
    inside = [g]
    assert not _is_unshared(g)
    inside.clear()
    assert _is_unshared(g)


def test_what_does_not_own_its_memory_is_shared() -> None:
    base = np.ones((2, 3))
    part, turned = base[0], np.asfortranarray(np.ones((2, 3)))
    assert not _is_unshared(part)
    assert not _is_unshared(turned), "a .grad is contiguous"
    scalar = np.float64(1)
    assert _is_unshared(scalar), "a NumPy scalar cannot be written to"


def test_two_leaves_do_not_share_one_gradient() -> None:
    """add hands the same array to both its inputs."""
    x, y = (engine.ones(3, requires_grad=True) for _ in range(2))
    ((x + y) * engine.ones(3)).sum().backward()
    x.grad.add_(1)
    assert y.grad.tolist() == [1, 1, 1]


def test_a_gradient_that_a_hook_keeps_is_copied() -> None:
    kept = []
    x = engine.ones(3, requires_grad=True)
    x.register_hook(lambda g: kept.append(g))
    (x * 2.0).sum().backward()
    x.grad.add_(1)
    assert kept[0].tolist() == [2, 2, 2]
