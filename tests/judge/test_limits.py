"""The time limit for code that is not ours."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
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


def _count_for_ever() -> None:
    with time_limit(0.1, cpu=True):
        while True:
            sum(range(1000))


def test_cpu_time_counts_where_it_is_asked_for() -> None:
    with time_limit(0.1, cpu=True):
        time.sleep(0.4)
    start = time.process_time()
    with pytest.raises(TimeLimit):
        _count_for_ever()
    assert 0.1 <= time.process_time() - start < 2


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


def test_a_callback_of_the_garbage_collector_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis and JAX have such callbacks."""
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: lost.append(unraisable.exc_type))
    times: list[float] = []

    def takes_long(phase: str, info: dict[str, int]) -> None:
        until = time.perf_counter() + 0.3
        while not times and time.perf_counter() < until:
            pass
        times.append(time.perf_counter())

    def collects() -> None:
        with time_limit(0.1):
            gc.collect()
            while True:
                time.sleep(0.01)

    gc.callbacks.append(takes_long)
    try:
        with pytest.raises(TimeLimit):
            collects()
    finally:
        gc.callbacks.remove(takes_long)
    assert lost == []


def in_thread(work: Any) -> list[BaseException]:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as e:
            caught.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    return caught


def test_a_thread_that_hangs_ends_in_time() -> None:
    (caught,) = in_thread(hangs)
    assert isinstance(caught, TimeLimit)
    assert "0.1 s" in str(caught)


def test_check_in_a_thread_has_its_limit() -> None:
    def endless(x: np.ndarray) -> np.ndarray:
        while True:
            time.sleep(0.01)

    (caught,) = in_thread(lambda: check(endless, np.ones(2), vjp=lambda g, x: g, time_limit=0.2))
    assert isinstance(caught, BadInput)
    assert "hangs" in str(caught)


@pytest.mark.parametrize("blocked", [signal.SIGALRM, signal.SIGURG])
def test_a_signal_that_is_blocked(blocked: signal.Signals) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {blocked})
    try:
        with pytest.raises(TimeLimit):
            hangs()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_signal_that_the_code_blocks_itself() -> None:
    def blocks() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
        hangs()

    try:
        with pytest.raises(TimeLimit), time_limit(0.2):
            blocks()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGURG})


@pytest.mark.parametrize("taken", [signal.SIGALRM, signal.SIGURG])
def test_signals_of_others_are_left_alone(taken: signal.Signals) -> None:
    """The alarm of somebody else comes inside of our block, and their handler stays."""
    heard: list[int] = []
    handler = lambda signum, frame: heard.append(signum)
    before = signal.signal(taken, handler)
    try:
        if taken == signal.SIGALRM:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TimeLimit):
            hangs()
        assert signal.getsignal(taken) is handler
        assert heard == [signal.SIGALRM] * (taken == signal.SIGALRM)
    finally:
        signal.signal(taken, before)


def test_code_that_resets_the_alarm_is_not_killed() -> None:
    """A timeout of the judged code's own, which restores the default action: "Alarm clock" with a limit by SIGALRM."""
    script = (
        "import signal, time\n"
        "from gradverify.core.limits import TimeLimit, time_limit\n"
        "try:\n"
        "    with time_limit(0.3):\n"
        "        signal.signal(signal.SIGALRM, signal.SIG_DFL); signal.signal(signal.SIGURG, signal.SIG_DFL)\n"
        "        while True: time.sleep(0.01)\n"
        "except TimeLimit: print('in time')\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "in time\n"), ran


def test_a_block_that_catches_everything_is_over_time_all_the_same() -> None:
    def deaf() -> int:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            return 3

    with pytest.raises(TimeLimit), time_limit(0.1):
        deaf()

    def changes() -> None:
        try:
            deaf_but_once()
        except BaseException as e:
            raise ValueError("something else") from e

    def deaf_but_once() -> None:
        while True:
            time.sleep(0.01)

    with pytest.raises(TimeLimit), time_limit(0.1):
        changes()


def test_limits_nest() -> None:
    with time_limit(30) as outer:
        with pytest.raises(TimeLimit) as caught:
            hangs()
        assert caught.value.block is not outer
    with pytest.raises(TimeLimit) as caught, time_limit(0.1) as outer, time_limit(30):
        time.sleep(10)
    assert caught.value.block is outer


def test_nothing_comes_after_the_block() -> None:
    """A thousand blocks that end just at their deadline."""
    for _ in range(300):
        with suppress(TimeLimit), time_limit(0.001):
            time.sleep(0.001)
    time.sleep(0.05)
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_limits_of_its_own() -> None:
    with time_limit(30):
        child = os.fork()
        if not child:
            try:
                hangs()
            except TimeLimit:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_functions_begin_under_a_profiler_after_a_limit_without_a_signal() -> None:
    """A late exception that is taken by NULL leaves the eval breaker of CPython 3.11 set: they never did."""
    program = """
import signal, sys
from gradverify.core.limits import TimeLimit, time_limit
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})

def swallow(work):
    try:
        work()
    except TimeLimit:
        pass

def spin():
    while True:
        pass

over = 0
for _ in range(5):
    try:
        with time_limit(0.02):
            swallow(spin)
    except TimeLimit:
        over += 1
sys.setprofile(lambda *_: None)
print(over, (lambda: len([1, 2]))())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == ["5", "2"], ran.stderr
