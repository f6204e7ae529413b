"""Signs of life: what takes more than two seconds says on the terminal what it is doing, and leaves nothing there.

It is written behind the cursor and taken away again, to the terminal itself: pytest and others have other uses for standard
output. Nothing is written where there is no terminal (in CI), in worker processes, or from the background.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TextIO

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
    """What has been done for the longest time: `f: other values, 12 s`; "" for what has been done for less than AFTER."""
    stacks = [s for found in list(_doing.values()) if (s := list(found))]
    if not stacks:
        return ""
    stack = min(stacks, key=lambda s: s[0][1])
    seconds = time.monotonic() - stack[0][1]
    if seconds < AFTER:
        return ""
    return f"{': '.join(what for what, _ in stack)[:WIDTH]}, {seconds:.0f} s"


@lru_cache(maxsize=1)
def terminal() -> TextIO | None:
    """The terminal of this process; None where nobody looks."""
    if os.environ.get("CI") or os.environ.get("TERM", "dumb") == "dumb" or "PYTEST_XDIST_WORKER" in os.environ:
        return None
    if multiprocessing.parent_process() is not None or not hasattr(os, "tcgetpgrp"):
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
    if _hidden or terminal() is None or (_watcher is not None and _watcher.is_alive()):
        return
    _watcher = threading.Thread(target=_look, name="gradverify: signs of life", daemon=True)
    _watcher.start()


def _look() -> None:
    global _shown
    while True:
        time.sleep(EVERY)
        with _lock:
            now = "" if _hidden else text()
            if now:
                _shown = True
                # Behind the cursor, without a new line at the margin, and back.
                _write(f"\x1b7\x1b[?7l  [{now}]\x1b[K\x1b[?7h\x1b8")


def _take_away() -> None:
    global _shown
    if _watcher is None:
        return
    with _lock:
        if _shown:
            _shown = False
            _write("\x1b[K")


def _write(text: str) -> None:
    out = terminal()
    if out is None:
        return
    with contextlib.suppress(OSError, ValueError):  # it is gone
        if os.tcgetpgrp(out.fileno()) == os.getpgrp():
            out.write(text)
            out.flush()
