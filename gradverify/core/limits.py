"""A time limit for code that is not ours: a subject that hangs ends in a message, not in a hung run.

One thread keeps the deadlines. At one it interrupts the thread whose time is over: the main one by a signal, which ends a
`sleep` too, others by CPython's asynchronous exceptions, which come when Python code runs again. The signal is SIGURG: its
default is to be ignored, so that one that comes late kills nobody, and timeouts of others, which live on SIGALRM, are left
alone (Go preempts by it for the same reasons; golang.org/design/24543).
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TimeLimit(BaseException):
    """Raised inside the block of `time_limit` when its time is over.

    No Exception, since the code inside may catch those: a tracer and a subject report the exceptions of the function.

    `block` is what `time_limit` gave to the block whose time is over: an inner one has no business to catch it."""

    def __init__(self, message: str, block: object) -> None:
        super().__init__(message)
        self.block = block


AGAIN = 1.0
"""Seconds that a TimeLimit has to reach the end of its block, before another one is raised."""

IMPORTING = 0.05
"""Seconds after which it is asked again whether what was not to be disturbed when the time was over has ended."""

SIGNAL = getattr(signal, "SIGURG", None)


_apart: set[str] = set()
"""Files whose code is not counted: while it runs no limit is enforced, and afterwards it says what it took."""


def count_apart(*files: str) -> None:
    """Let every limit wait while code of `files` runs; whoever knows how long that took says so by `add_time`."""
    _apart.update(files)


def add_time(seconds: float) -> None:
    """Put off the ends of this thread's open blocks by what something took that is not theirs: a compiler, say."""
    _watchdog.add_time(threading.get_ident(), seconds)


def _is_no_place_to_raise(frame: FrameType | None) -> bool:
    """Is an import running, a callback of a weak reference or of the garbage collector, or what is counted apart?

    All end soon. An exception would leave the module half imported, and would be lost in a callback.
    """
    collecting = {code for c in gc.callbacks if (code := getattr(c, "__code__", None)) is not None}
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib") or file == weakref.__file__ or file in _apart:
            return True
        if frame.f_code in collecting:
            return True
        frame = frame.f_back
    return False


class _Limit:
    """A block with a deadline: its thread, and whether an exception was raised in it.

    With `cpu` its seconds are those of the process's CPU time.
    """

    def __init__(self, seconds: float, cpu: bool) -> None:
        self.seconds = seconds
        self.ends = time.process_time() + seconds if cpu else None
        self.thread = threading.get_ident()
        self.end = self.next = time.monotonic() + seconds
        self.apart = 0.0
        self.over = self.done = self.raised = False
        self.by_signal = False

    def left(self) -> float:
        """Seconds of CPU time, where these count, that are left of them."""
        return 0.0 if self.ends is None else self.ends - time.process_time()

    def error(self) -> TimeLimit:
        return TimeLimit(self.text(), self)

    def text(self) -> str:
        said = f"it ran longer than {self.seconds:g} s"
        return f"{said} (compiling took {self.apart:.0f} s, which are not counted)" if self.apart >= 1 else said

    def error_class(self) -> type[TimeLimit]:
        """A class whose exceptions are `error()`: an asynchronous exception is given as a class."""
        limit = self

        class Over(TimeLimit):
            def __init__(self, *_: object) -> None:
                super().__init__(limit.text(), limit)

        Over.__name__ = Over.__qualname__ = TimeLimit.__name__
        return Over


class _Late(BaseException):
    """In the place of an asynchronous exception that comes after its block."""


def _take_late_exception() -> None:
    """Take what this thread was to be interrupted by, if that has not come yet.

    PyThreadState_SetAsyncExc(thread, NULL) would take it as well; but CPython up to 3.11 then leaves its eval breaker set,
    and under `sys.setprofile` no function ever begins that is called after that (`DO_TRACING` of ceval.c asks it at each
    RESUME).
    """
    try:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(_Late))
        _turn()
    except _Late:
        pass


def _turn() -> None:
    """Python code for an exception to be raised in, in a frame of its own: a `try` of 3.11 does not cover its own jumps."""
    for _ in range(1_000_000):  # it comes at the first turn
        pass


class _Watchdog:
    """The thread that keeps the deadlines, and the blocks that are open. It starts with the first block."""

    def __init__(self) -> None:
        self.change = threading.Condition(threading.Lock())
        self.open: list[_Limit] = []
        self.wakes = 0.0
        self.running = False

    def add(self, limit: _Limit) -> None:
        with self.change:
            self.open.append(limit)
            if not self.running:
                self.running, self.wakes = True, limit.next
                threading.Thread(target=self._run, name="gradverify-time-limit", daemon=True).start()
            elif limit.next < self.wakes:  # else it wakes before, and looks again
                self.change.notify()

    def remove(self, limit: _Limit) -> None:
        limit.done = True
        with self.change:
            if limit in self.open:
                self.open.remove(limit)
            if limit.raised and not limit.by_signal:  # one that has not come yet must not come any more
                _take_late_exception()

    def add_time(self, thread: int, seconds: float) -> None:
        with self.change:
            for limit in self.open:
                if limit.thread == thread and not limit.raised:
                    limit.apart += seconds
                    limit.end += seconds
                    limit.next, limit.over = limit.end, False

    def first_over(self) -> _Limit | None:
        """The outermost block of the main thread whose time is over; None where a signal is somebody else's."""
        mine = threading.main_thread().ident
        return next((m for m in self.open if m.over and not m.done and m.thread == mine and m.by_signal), None)

    def _run(self) -> None:
        with self.change:
            while True:
                now = time.monotonic()
                self.open = [m for m in self.open if not m.done]
                for limit in self.open:
                    if limit.next <= now and limit.left() > 0:
                        limit.next = now + limit.left()
                    elif limit.next <= now:
                        self._interrupt(limit, now)
                self.wakes = min((m.next for m in self.open), default=now + 60.0)
                self.change.wait(max(self.wakes - now, 0.001))

    def _interrupt(self, limit: _Limit, now: float) -> None:
        limit.over = True
        if _is_no_place_to_raise(sys._current_frames().get(limit.thread)):
            # A module that is cut off half-way stays so, for everybody who imports it later.
            limit.next = now + IMPORTING
            return
        # Raised within a destructor or a callback of C code it is printed and lost: then again.
        limit.next = now + AGAIN
        limit.raised = True
        if limit.by_signal and SIGNAL is not None and signal.getsignal(SIGNAL) is _on_signal:
            signal.pthread_kill(limit.thread, SIGNAL)
        else:
            limit.by_signal = False
            error = ctypes.py_object(limit.error_class())
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(limit.thread), error)


_watchdog = _Watchdog()


def _after_fork() -> None:
    """Threads do not survive a fork, nor do the blocks that are open in other threads."""
    global _watchdog
    _watchdog = _Watchdog()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    limit = _watchdog.first_over()
    if limit is None:
        return
    if _is_no_place_to_raise(frame):
        limit.next = time.monotonic() + IMPORTING
        return
    raise limit.error()


def _may_take_the_signal() -> bool:
    """Is this the main thread, and is the signal neither blocked nor somebody else's?"""
    if SIGNAL is None or not hasattr(signal, "pthread_kill") or sys.implementation.name != "cpython":
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    if SIGNAL in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        return False
    return signal.getsignal(SIGNAL) in (signal.SIG_DFL, signal.SIG_IGN, _on_signal)


@contextmanager
def time_limit(seconds: float | None, *, cpu: bool = False) -> Iterator[object]:
    """Raise TimeLimit in the block after `seconds`, with `cpu` of the process's CPU time. Yields the token that its own
    TimeLimit carries: that of an outer block has another one.

    In any thread, and only while Python code, or a call that returns to it, is running: what never comes back out of C
    needs a process of its own. An import that is under way is let finish. A block that catches the exception and ends
    is over time all the same, and the exception is raised at its end; one that catches it and goes on for ever cannot be
    ended in this process.
    """
    if not seconds:
        yield object()
        return
    limit = _Limit(seconds, cpu)
    limit.by_signal = _may_take_the_signal()
    before = None
    if limit.by_signal:
        assert SIGNAL is not None
        before = signal.signal(SIGNAL, _on_signal)
    _watchdog.add(limit)
    swallowed = False
    try:
        try:
            yield limit
        finally:
            limit.done = True
        swallowed = limit.raised
    except (TimeLimit, KeyboardInterrupt):
        raise
    except BaseException as e:
        if limit.raised:
            raise limit.error() from e  # what the code made of it
        raise
    finally:
        _watchdog.remove(limit)
        if before is not None and SIGNAL is not None and signal.getsignal(SIGNAL) is _on_signal:
            signal.signal(SIGNAL, before)
    if swallowed:
        raise limit.error()
