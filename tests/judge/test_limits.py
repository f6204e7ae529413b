"""The time limit for code that is not ours."""

from __future__ import annotations

import importlib
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradverify.api import check
from gradverify.core.errors import BadInput
from gradverify.core.limits import TimeLimit, time_limit


def hangs(*modules: str) -> None:
    with time_limit(0.1):
        for module in modules:
            importlib.import_module(module)
        while True:
            time.sleep(0.01)


def test_a_block_that_hangs_ends_in_time() -> None:
    start = time.perf_counter()
    with pytest.raises(TimeLimit):
        hangs()
    assert time.perf_counter() - start < 5


def test_what_ends_in_time_is_left_alone() -> None:
    with time_limit(5):
        value = 1
    time.sleep(0.01)
    assert value == 1


def test_an_import_is_not_cut_off_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a module stays in sys.modules, and is wrong for everybody after."""
    (tmp_path / "slow_to_import.py").write_text(
        "import time\nfor _ in range(40):\n    time.sleep(0.01)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TimeLimit):
        hangs("slow_to_import")
    assert sys.modules["slow_to_import"].whole


def test_a_limit_that_is_swallowed_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised in a destructor is printed and lost."""
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: lost.append(unraisable.exc_type))

    class Deaf:
        def __del__(self) -> None:
            until = time.perf_counter() + 0.3
            while time.perf_counter() < until:
                pass

    def swallows() -> None:
        with time_limit(0.1):
            Deaf()
            while True:
                time.sleep(0.01)

    start = time.perf_counter()
    with pytest.raises(TimeLimit):
        swallows()
    assert lost == [TimeLimit]
    assert time.perf_counter() - start < 10


def test_the_limit_of_a_block_around_a_check_is_not_the_checks() -> None:
    """It goes up to whoever set it, instead of ending as a function that hangs."""

    def slow(x: np.ndarray) -> np.ndarray:
        time.sleep(60)
        return x

    with pytest.raises(TimeLimit) as raised, time_limit(0.2) as block:
        check(slow, np.ones(2), vjp=lambda g, x: g)
    assert raised.value.block is block


def test_the_limit_of_a_check_says_that_the_function_hangs() -> None:
    def slow(x: np.ndarray) -> np.ndarray:
        time.sleep(60)
        return x

    with pytest.raises(BadInput, match=r"slow hangs: it ran longer than 0\.2 s"):
        check(slow, np.ones(2), vjp=lambda g, x: g, time_limit=0.2)


def test_a_callback_of_a_weak_reference_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in it is printed and lost."""
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: lost.append(unraisable.exc_type))

    class Key:
        pass

    # One of the module's own, which are too short to be met by an alarm at will.
    busy = (
        "import time\ndef remove(_):\n until = time.perf_counter() + 0.3\n while time.perf_counter() < until:\n  pass"
    )
    module: dict[str, Any] = {}
    exec(compile(busy, weakref.__file__, "exec"), module)

    def forgets() -> None:
        key = Key()
        known = weakref.ref(key, module["remove"])
        with time_limit(0.1):
            del key
            while known() is None:
                time.sleep(0.01)

    with pytest.raises(TimeLimit):
        forgets()
    assert lost == []
