"""A function that takes too long is no wrong one: the drop-ins say that it cannot be had."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from gradverify.checker import question
from gradverify.core.errors import Unsupported


def slowly(f: Any) -> Any:
    """f, and from its third run on with a pause."""
    runs = []

    def run(x: Any) -> Any:
        runs.append(0)
        for _ in range(200 * (len(runs) > 2)):
            time.sleep(0.01)
        return f(x)

    return run


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    init = question.Question.__init__
    monkeypatch.setattr(question.Question, "__init__", lambda self, *a, **k: init(self, *a, **{**k, "time_limit": 0.5}))


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    from gradverify.torch import gradcheck

    with pytest.raises(Unsupported, match="ran longer"):
        gradcheck(slowly(torch.sin), (torch.ones(2, dtype=torch.float64, requires_grad=True),), effort="quick")


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    from gradverify.jax import check_grads

    with pytest.raises(Unsupported, match="ran longer"):
        check_grads(slowly(jax.numpy.sin), (np.float32([0.3]),), 1, effort="quick")


def test_autograd() -> None:
    anp = pytest.importorskip("autograd.numpy")
    from gradverify.autograd import check_grads

    with pytest.raises(Unsupported, match="ran longer"):
        check_grads(slowly(anp.sin), modes=["rev"], order=1, effort="quick")(np.ones(2))
