"""Work on a cluster of Dask: a task of its is a range of ours, and what comes back is their entries.

A worker of Dask works in a process of its own (`Worker`), as the local scheduler does: judged code that crashes or hangs
costs its item, and the worker does not notice. Where the worker itself dies (a machine that goes, memory that runs out),
Dask gives its range to another one, up to `allowed-failures` times; a range that has ended so many workers is halved, until
the one item is found that they died of.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ..core.errors import GradverifyError
from .crew import Lost
from .scheduling import Entry, Scheduler, Task, Work, Worker, share

SECONDS = 10.0
"""Of work in one task: 1,000 workers then ask the scheduler for 100 tasks a second, a tenth of what it can give (some
1,000, docs.dask.org/en/stable/best-practices.html), and what a client that is killed has to judge again is little."""

FIRST = 4
"""Tasks of a range before it is known how long one takes."""

WAIT = 30
"""Seconds for a scheduler to answer."""

NAME = "gradverify"

AHEAD = 2
"""Tasks for each thread of the workers that the scheduler knows of: one is judged, one waits."""


def dask(address: str, jobs: int) -> Scheduler:
    """The workers of the scheduler at `address` (`host:port`, or a scheduler file); `jobs` local ones where it is empty.

    Raises GradverifyError where Dask is not installed or the scheduler does not answer.
    """
    try:
        import distributed
    except ImportError:
        raise GradverifyError("Dask is not installed: pip install gradverify[dask]") from None

    def do_all(work: Work, tasks: Iterator[Task]) -> Iterator[Entry]:
        with ExitStack() as stack:
            stack.enter_context(_quiet(logging.getLogger("distributed.client")))
            if not address:
                cluster: Any = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=jobs, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
                    )
                )
                where: dict[str, Any] = {"address": cluster}
            else:
                is_file = address.endswith(".json")
                where = {"scheduler_file": address} if is_file else {"address": f"tcp://{address}"}
            try:
                client = stack.enter_context(distributed.Client(**where, timeout=WAIT))
            except (OSError, ValueError) as e:
                raise GradverifyError(f"the scheduler {address} does not answer: {e}") from None
            try:
                client.register_plugin(_plugin(), name=NAME)
                yield from _do_all(client, work, tasks)
            except (OSError, TimeoutError, CancelledError) as e:
                gone = f"the scheduler {address} is gone: {type(e).__name__}"
                raise GradverifyError(f"{gone}. What was done is in the log: give the command again") from None
            finally:
                with suppress(OSError, ValueError, TimeoutError, CancelledError):  # it may be gone
                    client.unregister_worker_plugin(NAME)

    return do_all


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """No tracebacks of a scheduler that is gone: that it is gone is said in one line."""
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _plugin() -> Any:
    """Ends a worker's processes when the work ends, or the worker does."""
    from distributed import WorkerPlugin

    class EndProcesses(WorkerPlugin):
        def teardown(self, worker: Any) -> None:
            end_processes()

    return EndProcesses()


def _do_all(client: Any, work: Work, tasks: Iterator[Task]) -> Iterator[Entry]:
    from distributed import KilledWorker, as_completed

    own = work.state()
    halves: deque[list[Task]] = deque()
    count, seconds = 0, 0.0
    given: dict[Any, list[Task]] = {}

    def batch() -> list[Task]:
        if halves:
            return halves.popleft()
        many = FIRST if not seconds else max(int(SECONDS * count / seconds), 1)
        return [task for _, task in zip(range(many), tasks)]

    def submit() -> Any:
        if (range_ := batch()) and range_:
            # Not a function of its arguments alone: what is submitted again is to be done again.
            future = client.submit(do_range, work, range_, own, pure=False)
            given[future] = range_
            return future
        return None

    coming = as_completed()
    while True:
        threads = sum(client.nthreads().values())
        while len(given) < max(AHEAD * threads, 1) and (future := submit()) is not None:
            coming.add(future)
        if not given:
            return
        future = next(coming)
        range_ = given.pop(future)
        try:
            entries, spent = future.result()
        except KilledWorker as e:
            parts = _halved(range_)
            halves.extend(parts)
            if not parts:
                how = Lost("crash", f"every worker ended that was given it: {e}"[:500])
                yield work.lost(range_[0][0], how, 0.0)
            continue
        finally:
            future.release()
        count += len(range_)
        seconds += spent
        yield from entries


def _halved(tasks: list[Task]) -> list[list[Task]]:
    """The two halves of a range: of its tasks, or of the items of one; nothing where it is one item."""
    if len(tasks) > 1:
        return [tasks[: len(tasks) // 2], tasks[len(tasks) // 2 :]]
    (task,) = tasks
    return [[task[: len(task) // 2]], [task[len(task) // 2 :]]] if len(task) > 1 else []


# What runs on a worker.

_here = threading.local()
"""The process of each thread of a worker, and the work that it is for."""


def do_range(work: Work, tasks: list[Task], theirs: Mapping[str, str]) -> tuple[list[Entry], float]:
    """The entries of a range of tasks, and the seconds that they took.

    Raises GradverifyError where this machine has another code or other frameworks.
    """
    mine = work.state()
    for name in dict.fromkeys((*theirs, *mine)):
        if mine.get(name) != theirs.get(name):
            raise GradverifyError(f"a worker has another {name}: {mine.get(name)}, not {theirs.get(name)}")
    worker, at, entries = _worker(work), [time.monotonic()], list[Entry]()
    try:
        for entry in share(iter(tasks), iter([worker])):
            entries.append(entry)
            at.append(time.monotonic())
        if len(at) > 2:  # the first one may have waited for a new process to import its frameworks
            return entries, (at[-1] - at[1]) * len(entries) / (len(entries) - 1)
        return entries, at[-1] - at[0]
    except BaseException:  # it has items under way that nobody will read
        with suppress(ValueError):  # `end_processes` was first
            _open.remove(worker)
        worker.end()
        raise


_open: list[Worker] = []
"""All of them."""


def _worker(work: Work) -> Worker:
    if getattr(_here, "work", None) != work or _here.worker not in _open:
        _here.work, _here.worker = work, Worker(work)
        _open.append(_here.worker)
    found: Worker = _here.worker
    return found


def end_processes() -> None:
    """End this worker's processes, whatever they are at."""
    while _open:
        _open.pop().end()
