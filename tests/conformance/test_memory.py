"""Counted memory: right engines free and do not grow; kept arrays, growing loops and unwritten memory are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify.engine as engine
from gradverify.conformance import memory
from gradverify.conformance.engines import Engine, find
from gradverify.conformance.law import laws
from gradverify.conformance.memory import ARRAY

from .broken import BROKEN, Broken


@pytest.fixture(params=["engine", "torch"])
def module(request: pytest.FixtureRequest) -> Any:
    return engine if request.param == "engine" else pytest.importorskip("torch")


def test_bytes_are_freed(module: Any) -> None:
    before, after = memory.freed(module)
    assert before >= 2 * ARRAY  # of three tanh: the results (PyTorch), or what of the arguments is not the leaf
    assert after < ARRAY


def test_a_loop_stands_still(module: Any) -> None:
    assert memory.grown(module) < ARRAY


def test_a_loop_that_keeps_its_losses_grows(module: Any) -> None:
    """The usual leak: the sum of losses is kept for the log, and with it every graph."""
    kept: list[Any] = []

    def step(torch: Any, w: Any) -> None:
        y = torch.tanh(torch.tanh(w) * w)
        kept.append(y)
        y.sum().backward(retain_graph=True)

    assert memory.grown(module, step) >= 8 * ARRAY


def _broken(law: str, engine: Engine) -> str:
    caught = laws()[law].check(engine)
    return "" if caught is None else str(caught)


@pytest.mark.parametrize("name", ["keeps_after_free", "saved_kept_but_marked"])
def test_kept_arrays_are_counted(name: str) -> None:
    broken = next(b for b in BROKEN if b.name == name).load()
    assert "expected less than" in _broken("backward_frees_all_bytes", broken)


UNWRITTEN = Broken(
    "reads_unwritten", "autograd.walk", "    have = leaf._grad\n",
    "    scratch = np.empty(leaf._data.shape, leaf._data.dtype)\n"
    "    g = g + np.where(np.isnan(scratch), scratch, 0).astype(g.dtype)\n    have = leaf._grad\n",
)  # fmt: skip


def test_reads_of_unwritten_memory_are_found_every_time() -> None:
    """An engine that is right as long as fresh memory holds no NaN: by luck, which the law does not rely on."""
    broken = UNWRITTEN.load()
    for _ in range(3):
        assert "got nan" in _broken("nothing_unwritten_is_read", broken)


def test_memory_laws_leave_numpy_as_it_was() -> None:
    empty = np.empty
    for law in laws().values():
        if law.family == "memory":
            assert law.check(find("engine")) is None
    assert np.empty is empty
