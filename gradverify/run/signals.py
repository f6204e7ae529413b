"""SIGTERM ends a run as Ctrl-C does: reports are written all the same."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """The process is told to end. No `except Exception` of judged code catches it."""


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Raise Terminated in this block where SIGTERM comes: in the main thread, the only one that may handle signals.

    A second one ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
