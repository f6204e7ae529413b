"""Processes that may die of what they are given: each costs the one task that it was at, which is named.

The processes are pebble's: it starts them, times them, ends them and tells which task one died of. Here is what it does not
know: the last words of a process, and how it ended. A process is spawned, not forked: threads of a framework do not survive
a fork, and the number of threads must be set before a framework is imported.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any

from pebble import ProcessExpired, ProcessPool

from ..core.errors import GradverifyError, Unsupported
from ..core.graph import Graph, Input
from ..frameworks.registry import find
from .events import How

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
"""The processes are the parallelism. What the user has set stays."""

LIFE = 3000
"""Tasks after which a process makes room for a new one: frameworks keep what they compiled."""

GRACE = 2.0
"""Seconds between the time limit, when a process writes where it is, and its end."""

AHEAD = 2
"""Tasks that a process is given at a time: one is done, one waits, so that no process waits for its parent's turn."""

EVIDENCE = 4000
"""Characters that are kept of what a process wrote before it ended."""


@dataclass(frozen=True)
class Lost:
    """A task that ended without a result.

    how   error: it raised; crash: the process ended; hang: it had to be ended
    text  the last words of the process
    marks what the task had noted by `mark`
    """

    how: How
    message: str
    text: str = ""
    marks: int = 0


@dataclass(frozen=True)
class Submitted:
    """A task that was given to a process: the future of its result, and where its last words are."""

    future: Future[Any]
    slot: int

    def result(self) -> Any:
        return self.future.result()


class Process:
    """A process that does one task after another, and is replaced by a new one when it dies.

    prepare  called in each process before its first task (with `args`), outside of the time limit
    limit    seconds for a task
    """

    def __init__(self, prepare: Callable[..., object], args: tuple[Any, ...], limit: float) -> None:
        self.limit = limit
        self.folder = tempfile.TemporaryDirectory(prefix="gradverify-", ignore_cleanup_errors=True)
        # A new process begins the task that waits before anybody reads the last words of the one that died.
        slots = [(Path(self.folder.name, f"said{n}.txt"), Path(self.folder.name, f"marks{n}")) for n in range(AHEAD)]
        for path in (path for slot in slots for path in slot):
            path.touch()
        self.slots, self.given = slots, 0
        self.pool = ProcessPool(
            max_workers=1, max_tasks=LIFE, context=_Context(),
            initializer=_begin, initargs=([(str(a), str(b)) for a, b in slots], prepare, args),
        )  # fmt: skip

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    def submit(self, work: Callable[..., Any], *args: Any) -> Submitted:
        """The future of `work(*args)`: of its result, or of what `lost` explains. At most AHEAD may be unread."""
        slot = self.given % AHEAD
        self.given += 1
        found: Future[Any] = self.pool.schedule(_timed, args=(slot, self.limit, work, args), timeout=self.limit + GRACE)
        return Submitted(found, slot)

    def lost(self, task: Submitted, e: BaseException) -> Lost:
        """What became of the task whose future raised `e`. To be asked before another one is submitted.

        Raises GradverifyError where the process cannot even start: that is no crash of a task.
        """
        words, marks = self.slots[task.slot]
        said = words.read_text(encoding="utf-8", errors="replace")[-EVIDENCE:].strip()
        if isinstance(e, BrokenProcessPool):
            raise GradverifyError(f"a process cannot start: it ended before its first task\n{said}".rstrip())
        if isinstance(e, CannotStart):
            raise GradverifyError(f"a process cannot start: {e}")
        if isinstance(e, ProcessExpired):
            return Lost("crash", f"the process ended with {_exit_name(e.exitcode)}", said, marks.stat().st_size)
        if isinstance(e, TimeoutError):
            return Lost("hang", f"no verdict within {self.limit:g} s", said, marks.stat().st_size)
        return Lost("error", f"{type(e).__name__}: {e}", getattr(e, "traceback", ""), marks.stat().st_size)

    def end(self) -> None:
        """End the process, whatever it is at."""
        self.pool.stop()
        self.pool.join()
        self.folder.cleanup()


def import_frameworks(names: Iterable[str], device: str) -> None:
    """Import the subjects' frameworks, so that the time of the first task does not include it."""
    graph = Graph((Input("x", (1,)),), (0,))
    for name in names:
        try:
            find(name, device).function(graph, "float64")
        except Unsupported:
            continue


class CannotStart(Exception):
    """What `prepare` raised in a process."""


class _Spawned(SpawnProcess):
    """A process of one thread; pebble starts it when it needs one, from a thread of its own."""

    def start(self) -> None:
        added = {name: value for name, value in ONE_THREAD.items() if name not in os.environ}
        # A worker of Dask is a daemon, which may have no children lest they outlive it: ours end with it (`_end_with`).
        config: dict[str, Any] = getattr(multiprocessing.current_process(), "_config")  # noqa: B009
        daemon = config.pop("daemon", None)
        os.environ.update(added)
        try:
            super().start()
        finally:
            for name in added:
                os.environ.pop(name, None)
            if daemon is not None:
                config["daemon"] = daemon


class _Context(SpawnContext):
    Process = _Spawned


def _exit_name(code: int | None) -> str:
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return f"exit code {code}"


# What runs in the process.

_slots: list[tuple[int, int]] = []
"""Files for the last words, and for marks, of the tasks that are under way."""

_marks: int | None = None
_refused: CannotStart | None = None


def _begin(slots: list[tuple[str, str]], prepare: Callable[..., object], args: tuple[Any, ...]) -> None:
    global _refused
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, who ends us
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _slots.extend(tuple(os.open(path, os.O_WRONLY | os.O_APPEND) for path in slot) for slot in slots)  # type: ignore[misc]
    _speak_into(_slots[0][0])
    try:
        prepare(*args)
    except Exception as e:
        _refused = CannotStart(f"{type(e).__name__}: {e}")


def _speak_into(said: int) -> None:
    """Send all that is printed to a file: a crash is reported with its last words."""
    for stream in (1, 2):
        os.dup2(said, stream)
    faulthandler.enable(said)


def _end_with(parent: Any) -> None:
    """A process whose parent was killed has nobody to work for."""
    parent.join()
    os._exit(1)


def _timed(slot: int, limit: float, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    global _marks
    if _refused is not None:
        raise _refused
    said, _marks = _slots[slot]
    os.ftruncate(said, 0)
    os.ftruncate(_marks, 0)
    _speak_into(said)
    faulthandler.dump_traceback_later(limit, file=said)
    try:
        return work(*args)
    finally:
        faulthandler.cancel_dump_traceback_later()


def mark() -> None:
    """Count a step of the running task. If its process dies, `Lost.marks` has the count."""
    if _marks is not None:
        os.write(_marks, b".")
