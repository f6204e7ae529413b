"""A check leaves the process, its generators, and the modules that it is given as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")

from .leaving_traces import FUNCTIONS, changed, warm_up

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    warm_up()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_check_leaves_nothing_changed(name: str) -> None:
    assert not changed(FUNCTIONS[name])


@pytest.mark.slow
def test_nor_outside_of_pytest() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.api.leaving_traces"], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


def test_there_are_sixty_kinds() -> None:
    assert len(FUNCTIONS) >= 60


def test_the_snapshot_sees_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the keeping each change shows: the test can fail."""
    from contextlib import nullcontext

    from gradverify.checker import driver

    monkeypatch.setattr(driver, "kept_process", lambda fn: nullcontext())
    before = np.get_printoptions()
    unseen = []
    try:
        for name in (
            "print options, forward",
            "recursion, backward",
            "counting",
            "environment, forward",
            "path, forward",
        ):
            if not changed(FUNCTIONS[name]):
                unseen.append(name)
    finally:
        np.set_printoptions(**before)
        os.environ.pop("GRADVERIFY_TEST", None)
        sys.path[:] = [p for p in sys.path if p != "/nowhere"]
    assert not unseen


def test_a_lazy_module_is_not_half_made() -> None:
    """It is to be called once before it is checked, as PyTorch's message says, and still can be."""
    import torch

    import gradverify

    lazy = torch.nn.LazyLinear(2, dtype=torch.float64)
    x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(gradverify.BadInput, match="dummy batch"):
        _ = gradverify.check(lazy, x)
    lazy(x)
    assert gradverify.check(lazy, x, effort="quick")


def test_a_folder_that_the_function_removes(tmp_path: Path) -> None:
    import gradverify

    gone, here = tmp_path / "gone", os.getcwd()

    def moves(x: np.ndarray) -> Any:
        gone.mkdir(exist_ok=True)
        os.chdir(gone)
        gone.rmdir()
        return np.sin(x)

    assert gradverify.check(moves, np.ones(2), vjp=lambda g, x: g * np.cos(x), effort="quick")
    assert os.getcwd() == here
