"""Where work is done: in processes of this machine, or on a cluster of Dask. Campaigns and the sweeps of bench share it.

A `Work` says how one item is done; a task is a few items that one process does in turn. A process that crashes or hangs
costs the item that it was at and nothing else: a new one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from queue import SimpleQueue
from typing import Any, Protocol

from ..core.errors import GradverifyError
from .crew import AHEAD, Lost, Process, Submitted

Item = Any
"""What one entry is of; it travels to another process."""

Task = Sequence[Item]
"""Items that one process does in turn, since they share what they need. Never empty."""

Entry = dict[str, Any]
"""A line of a log: what came of an item."""


class Work(Protocol):
    """Travels to the process that does it; what it refers to must be importable there."""

    @property
    def limit(self) -> float:
        """Seconds for one item, after which its process is ended."""

    def prepare(self) -> None:
        """Import what the items need; called once in each process, outside of the time limit."""

    def do(self, item: Item) -> Entry:
        """Do one item, in a process made for it. What it raises is told to `lost`."""

    def lost(self, item: Item, how: Lost, seconds: float) -> Entry:
        """The entry of an item that ended without a result."""

    def state(self) -> Mapping[str, str]:
        """What has to be the same on each machine: name -> value."""


Scheduler = Callable[[Work, Iterator[Task]], Iterator[Entry]]
"""Yields the entries of all tasks, as they come. Raises GradverifyError where nothing can be done at all."""


def scheduler(where: str, jobs: int) -> Scheduler:
    """The scheduler that `where` names: `local`, or `dask://…`. Raises GradverifyError for another text."""
    if where == "local":
        return local(jobs)
    if not where.startswith("dask://"):
        raise GradverifyError(f"{where!r} is neither local nor dask://…")
    from .cluster import dask

    return dask(where.removeprefix("dask://"), jobs)


def local(jobs: int = 1) -> Scheduler:
    """In so many processes of this machine."""

    def do_all(work: Work, tasks: Iterator[Task]) -> Iterator[Entry]:
        with ExitStack() as stack:
            yield from share(tasks, (stack.enter_context(Worker(work)) for _ in range(jobs)))

    return do_all


def share(tasks: Iterator[Task], workers: Iterator[Worker]) -> Iterator[Entry]:
    """Yield the entries of the tasks as they come. A worker is started when there is a task for it."""
    done: SimpleQueue[tuple[Worker, Doing]] = SimpleQueue()
    under_way = 0

    def feed(worker: Worker) -> int:
        """Give a worker items until it has enough; how many it was given."""
        given = 0
        while worker.under_way < AHEAD:
            if not worker.todo:
                task = next(tasks, None)
                if task is None:
                    break
                worker.todo = list(task)
            worker.submit(done)
            given += 1
        return given

    ahead = next(tasks, None)
    while ahead is not None and (worker := next(workers, None)) is not None:
        worker.todo = list(ahead)
        under_way += 1
        worker.submit(done)
        ahead = next(tasks, None)
    if ahead is not None:
        tasks = chain([ahead], tasks)
    while under_way:
        worker, doing = done.get()
        entry = worker.entry(doing)
        under_way += feed(worker) - 1
        yield entry


@dataclass(frozen=True, eq=False)
class Doing:
    """An item under way, and since when."""

    item: Item
    task: Submitted
    since: float


class Worker:
    """A process that works, seen from its parent.

    todo       the items of its task that are not submitted yet
    under_way  items that were submitted, and whose entries are not read
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.process = Process(_prepare, (work,), work.limit)
        self.todo = list[Item]()
        self.under_way = 0
        self.read_at = 0.0
        self.ended = False
        self._unread = set[Doing]()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process, whatever it is at. Who waits for its entries, in another thread, gets a GradverifyError."""
        self.ended = True
        self.process.end()
        for doing in tuple(self._unread):
            doing.task.future.cancel()  # the pool leaves it pending for ever

    def submit(self, done: SimpleQueue[tuple[Worker, Doing]]) -> None:
        """Submit the next item; it is put into `done` when it has come."""
        item = self.todo.pop(0)
        doing = Doing(item, self.process.submit(_do, item), time.monotonic())
        self.under_way += 1
        self._unread.add(doing)
        doing.task.future.add_done_callback(lambda _: done.put((self, doing)))

    def entry(self, doing: Doing) -> Entry:
        """The entry of an item that has come, or of how none came."""
        self.under_way -= 1
        self._unread.discard(doing)
        if self.ended:
            raise GradverifyError("the process was ended: nobody waits for what it was at")
        begun, self.read_at = max(doing.since, self.read_at), time.monotonic()
        try:
            found: Entry = doing.task.result()
            return found
        except Exception as e:
            lost = self.process.lost(doing.task, e)
        return self.work.lost(doing.item, lost, round(self.read_at - begun, 4))


def one_by_one(items: Iterable[Item]) -> Iterator[Task]:
    """Items that share nothing, each as a task."""
    return ([item] for item in items)


# What runs in the process.

_work: Work | None = None


def _prepare(work: Work) -> None:
    global _work
    _work = work
    work.prepare()


def _do(item: Item) -> Entry:
    assert _work is not None
    return _work.do(item)
