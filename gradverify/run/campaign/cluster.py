"""A campaign on a cluster of Dask: a task is a range of graphs, and what comes back is the entries of its verdicts.

A worker of Dask judges in a process of its own (`Worker`), as the local scheduler does: judged code that crashes or hangs
costs its verdict, and the worker does not notice. Where the worker itself dies (a machine that goes, memory that runs out),
Dask gives its range to another one, up to `allowed-failures` times; a range that has ended so many workers is halved, until
the one verdict is found that they died of.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from typing import Any

from ...core.errors import GradverifyError
from .log import Entry, code, versions
from .model import Campaign
from .workers import Scheduler, Task, Worker, share

SECONDS = 10.0
"""Of work in one task: 1,000 workers then ask the scheduler for 100 tasks a second, a tenth of what it can give (some
1,000, docs.dask.org/en/stable/best-practices.html), and what a client that is killed has to judge again is little."""

FIRST = 4
"""Graphs of a task before it is known how long one takes."""

WAIT = 30
"""Seconds for a scheduler to answer."""

NAME = "gradverify-campaign"

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

    def judge(c: Campaign, tasks: Iterator[Task]) -> Iterator[Entry]:
        with ExitStack() as stack:
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
                yield from _judge(client, c, tasks)
            except (OSError, TimeoutError, CancelledError) as e:
                gone = f"the scheduler {address} is gone: {type(e).__name__}"
                raise GradverifyError(f"{gone}. What was judged is in the log: give the command again") from None
            finally:
                with suppress(OSError, ValueError, TimeoutError, CancelledError):  # it may be gone
                    client.unregister_worker_plugin(NAME)

    return judge


def _plugin() -> Any:
    """Ends a worker's processes when the campaign ends, or the worker does."""
    from distributed import WorkerPlugin

    class EndProcesses(WorkerPlugin):
        def teardown(self, worker: Any) -> None:
            end_processes()

    return EndProcesses()


def _judge(client: Any, c: Campaign, tasks: Iterator[Task]) -> Iterator[Entry]:
    from distributed import KilledWorker, as_completed

    own = code(), versions(dict.fromkeys(combo.subject for combo in c.combos))
    halves: deque[list[Task]] = deque()
    graphs, seconds = 0, 0.0
    given: dict[Any, list[Task]] = {}

    def batch() -> list[Task]:
        if halves:
            return halves.popleft()
        many = FIRST if not seconds else max(int(SECONDS * graphs / seconds), 1)
        return [task for _, task in zip(range(many), tasks)]

    def submit() -> Any:
        if (range_ := batch()) and range_:
            # Not a function of its arguments alone: what is submitted again is to be judged again.
            future = client.submit(judge_range, c, range_, *own, pure=False)
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
            entries = future.result()
        except KilledWorker as e:
            parts = _halved(range_)
            halves.extend(parts)
            if not parts:
                yield _killed(range_, e)
            continue
        finally:
            future.release()
        graphs += len(range_)
        seconds += sum(entry["s"] for entry in entries)
        yield from entries


def _halved(tasks: list[Task]) -> list[list[Task]]:
    """The two halves of a range: of its graphs, or of the verdicts of one; nothing where it is one verdict."""
    if len(tasks) > 1:
        return [tasks[: len(tasks) // 2], tasks[len(tasks) // 2 :]]
    ((i, todo),) = tasks
    return [[(i, todo[: len(todo) // 2])], [(i, todo[len(todo) // 2 :])]] if len(todo) > 1 else []


def _killed(tasks: list[Task], e: BaseException) -> Entry:
    ((i, (combo,)),) = tasks
    return {
        "i": i, "subject": combo.subject, "dtype": combo.dtype, "is": "crash", "s": 0.0,
        "message": f"every worker ended that was given it: {e}"[:500], "text": "", "spec": "",
    }  # fmt: skip


# What runs on a worker.

_here = threading.local()
"""The process of each thread of a worker, and the campaign that it is of."""


def judge_range(c: Campaign, tasks: list[Task], digest: str, theirs: dict[str, str]) -> list[Entry]:
    """The entries of a range of graphs. Raises GradverifyError where this machine has another code or other frameworks."""
    if code() != digest:
        raise GradverifyError(f"a worker has another state of gradverify's code: {code()}, not {digest}")
    mine = versions(dict.fromkeys(combo.subject for combo in c.combos))
    if mine != theirs:
        raise GradverifyError(f"a worker has other versions: {mine}, not {theirs}")
    worker = _worker(c)
    try:
        return list(share(iter(tasks), iter([worker])))
    except BaseException:  # it has verdicts under way that nobody will read
        _open.remove(worker)
        worker.process.end()
        raise


_open: list[Worker] = []
"""All of them."""


def _worker(c: Campaign) -> Worker:
    of = c.seed, c.device, c.order, c.limit, c.every, c.combos
    if getattr(_here, "of", None) != of or _here.worker not in _open:
        _here.of, _here.worker = of, Worker(c)
        _open.append(_here.worker)
    found: Worker = _here.worker
    return found


def end_processes() -> None:
    """End this worker's processes, whatever they are at."""
    while _open:
        _open.pop().process.end()
