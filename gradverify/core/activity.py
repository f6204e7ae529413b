"""Signs of life: what takes more than two seconds says what it is doing, and leaves nothing there.

On a terminal it is written behind the cursor and taken away again, to the terminal itself: pytest and others have other
uses for standard output. In a notebook it is a line below the cell, which is emptied. Nothing is shown where nobody looks
(in CI), in worker processes, or from the background.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol, TextIO

AFTER = 2.0
"""Seconds after which something says what it is doing."""

EVERY = 0.5
"""Seconds between two looks at what is done."""

WIDTH = 100
"""Characters at most."""

_doing: dict[int, list[tuple[str, float]]] = {}
"""What each thread is doing, the whole first, and since when."""

_lock = threading.Lock()
_shown = False
_hidden = 0
_watcher: threading.Thread | None = None


@contextmanager
def doing(what: str) -> Iterator[None]:
    """A block that does `what`: a part of what the block around it does."""
    stack = _doing.setdefault(threading.get_ident(), [])
    stack.append((what, time.monotonic()))
    _watch()
    try:
        yield
    finally:
        stack.pop()
        if not stack:
            _doing.pop(threading.get_ident(), None)
            _take_away()


@contextmanager
def hidden() -> Iterator[None]:
    """A block in which nothing is shown: it has a display of its own."""
    global _hidden
    _hidden += 1
    try:
        yield
    finally:
        _hidden -= 1


def text() -> str:
    """The activity that has run longest, as text: `f: other values, 12 s`; "" before AFTER seconds."""
    stacks = [s for found in list(_doing.values()) if (s := list(found))]
    if not stacks:
        return ""
    stack = min(stacks, key=lambda s: s[0][1])
    seconds = time.monotonic() - stack[0][1]
    if seconds < AFTER:
        return ""
    return f"{': '.join(what for what, _ in stack)[:WIDTH]}, {seconds:.0f} s"


class _Display(Protocol):
    """Where a sign of life is shown."""

    def show(self, text: str) -> None:
        """Show the text in place of the last one."""

    def clear(self) -> None:
        """Take away what is shown."""


class _Terminal:
    """Behind the cursor, without a new line at the margin, and back."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def show(self, text: str) -> None:
        self._write(f"\x1b7\x1b[?7l  {text}\x1b[K\x1b[?7h\x1b8")

    def clear(self) -> None:
        self._write("\x1b[K")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is gone
            if os.tcgetpgrp(self.out.fileno()) == os.getpgrp():
                self.out.write(text)
                self.out.flush()


class _Notebook:
    """One output of the running cell, which is updated. `display` is IPython's."""

    def __init__(self, display: Any) -> None:
        self.display, self.handle = display, None

    def show(self, text: str) -> None:
        data = {"text/plain": text}
        if self.handle is None:
            self.handle = self.display(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)

    def clear(self) -> None:
        if self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)
            self.handle = None


@lru_cache(maxsize=1)
def _display() -> _Display | None:
    """The terminal or notebook of this process; None where nobody looks."""
    if os.environ.get("CI") or "PYTEST_XDIST_WORKER" in os.environ or multiprocessing.parent_process() is not None:
        return None
    # A kernel has imported both; IPython on a terminal has the first alone.
    ipython, kernel = sys.modules.get("IPython"), sys.modules.get("ipykernel.zmqshell")
    if ipython is not None and kernel is not None and isinstance(ipython.get_ipython(), kernel.ZMQInteractiveShell):
        return _Notebook(ipython.display.display)
    out = _terminal()
    return None if out is None else _Terminal(out)


def _terminal() -> TextIO | None:
    if os.environ.get("TERM", "dumb") == "dumb" or not hasattr(os, "tcgetpgrp"):
        return None
    try:
        return open("/dev/tty", "w", encoding="utf-8", errors="replace")
    except OSError:
        return None


def _forget() -> None:
    """In a process that was forked there is no watcher, and somebody else's terminal."""
    global _lock, _watcher, _hidden
    _lock, _watcher, _hidden = threading.Lock(), None, 1
    _doing.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _watch() -> None:
    global _watcher
    if _hidden or _display() is None or (_watcher is not None and _watcher.is_alive()):
        return
    _watcher = threading.Thread(target=_look, name="gradverify: signs of life", daemon=True)
    _watcher.start()


def _look() -> None:
    global _shown
    while True:
        time.sleep(EVERY)
        with _lock:
            now = "" if _hidden else text()
            display = _display()
            if now and display is not None:
                _shown = True
                display.show(f"[{now}]")


def _take_away() -> None:
    global _shown
    display = _display() if _watcher is not None else None
    if display is None:
        return
    with _lock:
        if _shown:
            _shown = False
            display.clear()
