"""A time limit for code that is not ours: a subject that hangs ends in a message, not in a hung run."""

from __future__ import annotations

import signal
import threading
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


def _is_no_place_to_raise(frame: FrameType | None) -> bool:
    """Is an import running, or a callback of a weak reference?

    Both end soon. An exception would leave the module half imported, and would be lost in the callback.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib") or file == weakref.__file__:
            return True
        frame = frame.f_back
    return False


@contextmanager
def time_limit(seconds: float | None) -> Iterator[object]:
    """Raise TimeLimit in the block after `seconds`. Yields the token that its own TimeLimit carries: that of an outer
    block has another one.

    By SIGALRM (POSIX `setitimer`), so only in the main thread and only where Python code, or a call that returns to it,
    is running; elsewhere the block runs without a limit. An import that is under way then is let finish. An alarm of
    somebody else's that is already set is left alone.
    """
    block = object()
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not seconds or not usable or signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        yield block
        return

    def over(signum: int, frame: FrameType | None) -> None:
        if _is_no_place_to_raise(frame):
            # A module that is cut off half-way stays so, for everybody who imports it later.
            signal.setitimer(signal.ITIMER_REAL, IMPORTING)
            return
        # Raised within a destructor or a callback of C code it is printed and lost: then again.
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise TimeLimit(f"it ran longer than {seconds:g} s", block)

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield block
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
