"""What the tape keeps, and when it lets go."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import gradverify.engine as torch
from gradverify.engine.autograd.walk import COUNTED


def test_saved_arrays_die_with_backward() -> None:
    x = torch.ones(3, requires_grad=True)
    h = x * 2
    y = (h * h).sum()
    saved = weakref.ref(h._data)
    del h
    assert saved() is not None, "the product's rule reads its argument"
    y.backward()
    assert saved() is None
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_what_no_rule_reads_is_not_kept() -> None:
    gc.disable()  # by reference counts alone: no cycle may stand in the way
    try:
        x = torch.ones(3, requires_grad=True)
        inner = x + 1
        freed = weakref.ref(inner._data)
        y = (inner + 2).sum()
        del inner
        assert freed() is None, "addition reads nothing"
        e = (x * 3).exp()
        kept = weakref.ref(e._data)
        z = e.sum()
        del e
        assert kept() is not None, "exp reads its result"
        del z
        assert kept() is None
        y.backward()
    finally:
        gc.enable()


def test_dropping_the_result_drops_the_tape_without_the_collector() -> None:
    gc.disable()
    try:
        x = torch.ones(1000, requires_grad=True)
        y = x
        arrays = []
        for f in (torch.exp, torch.tanh, torch.sigmoid, torch.sqrt):
            y = f(y)
            arrays.append(weakref.ref(y._data))
        node = weakref.ref(y.grad_fn)
        del y, f
        assert node() is None
        assert all(a() is None for a in arrays)
    finally:
        gc.enable()


def test_the_users_gradient_array_is_not_taken_over() -> None:
    x = torch.ones(3, requires_grad=True)
    g = np.ones(3, np.float32)
    (x + 0).backward(torch.from_numpy(g))
    x.grad.add_(1)
    assert g.tolist() == [1, 1, 1]


@pytest.mark.skipif(not COUNTED, reason="from Python 3.14 on nobody can tell, and it is copied")
def test_a_leaf_takes_its_gradient_over_without_a_copy() -> None:
    seen = []
    x = torch.ones(50, requires_grad=True)
    y = x * 3
    y.grad_fn.register_hook(lambda gi, go: seen.append(id(gi[0]._data)))
    y.backward(torch.ones(50))
    assert seen == [id(x.grad._data)]


def test_a_hundred_thousand_ops_in_a_row() -> None:
    x = torch.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    del y  # a recursive destructor would end the process here


def test_threads_have_modes_of_their_own() -> None:
    import threading

    seen = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]
