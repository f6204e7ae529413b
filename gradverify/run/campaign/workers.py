"""The processes of a campaign. One that crashes or hangs costs its verdict and nothing else: a new one goes on.

A process is given graphs one by one, and sends a message before each verdict and after it. So the parent knows at any
time what each is at: the verdict under way is what a process died of. Processes are spawned, not forked: threads of a
framework do not survive a fork, and the number of threads must be set before a framework is imported.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ...core.case import Case
from ...core.errors import GradverifyError, Unsupported
from ...core.verdict import Outcome, Verdict
from ...frameworks.registry import find
from ...generate.campaign import seeded_case
from ...generate.structure import limits
from ...spec.write import dumps
from ..events import Listener, RunFinished, RunStarted, tell
from ..runner import Settings, judge_case, judge_second_order
from .log import Entry, Log, head, read_log, to_entry, to_event
from .model import Campaign, Combo

Task = tuple[int, list[Combo]]

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
"""The processes are the parallelism. What the user has set stays."""

LIFE = 3000
"""Verdicts after which a process makes room for a new one: frameworks keep what they compiled."""

START = 300.0
"""Seconds that a process has to start in, imports of frameworks included."""

GRACE = 2.0
"""Seconds between the time limit, when a process writes where it is, and its end."""

EVIDENCE = 4000
"""Characters that are kept of what a process wrote before it ended."""


def run_campaign(c: Campaign, listeners: Sequence[Listener], log: Log | None = None, jobs: int = 1) -> None:
    """Tell the logged outcomes of the campaign, then judge the rest in `jobs` processes; each outcome is logged before
    it is told.

    The last RunStarted is this session's own, and its total what is left to judge.
    """
    done: dict[Combo, set[int]] = {combo: set() for combo in c.combos}
    for entry in read_log(c, log or ()):
        if "i" in entry:
            done[Combo(entry["subject"], entry["dtype"])].add(entry["i"])
        tell(listeners, to_event(entry, c.seed, c.policy))
    started = to_event(head(c), c.seed, c.policy)
    assert isinstance(started, RunStarted)
    subjects, dtypes = (tuple(dict.fromkeys(names)) for names in zip(*c.combos))
    left = c.verdicts - sum(map(len, done.values()))
    tell(listeners, replace(started, total=left, subjects=subjects, dtypes=dtypes))
    tasks = ((i, [combo for combo in c.todo(i) if i not in done[combo]]) for i in c.graphs)
    start, interrupted = time.perf_counter(), True
    try:
        for entry in judge_tasks(c, ((i, todo) for i, todo in tasks if todo), jobs):
            if log is not None:
                log.append(entry)
            tell(listeners, to_event(entry, c.seed, c.policy))
        interrupted = False
    finally:
        tell(listeners, RunFinished(time.perf_counter() - start, interrupted))


def judge_tasks(c: Campaign, tasks: Iterator[Task], jobs: int) -> Iterator[Entry]:
    """The entries of all tasks, as they come.

    Raises GradverifyError where a process cannot even start: that is no crash of a case.
    """
    again: deque[Task] = deque()  # what a process that ended had not begun
    workers: list[_Worker] = []
    with tempfile.TemporaryDirectory(prefix="gradverify-campaign-") as folder:
        try:
            while True:
                while len(workers) < jobs:
                    task = again.popleft() if again else next(tasks, None)
                    if task is None:
                        break
                    workers.append(_Worker(c, Path(folder), task))
                if not workers:
                    return
                wait([w.connection for w in workers], timeout=min(w.left() for w in workers))
                for worker in list(workers):
                    yield from worker.read()
                    if worker.free:
                        old = worker.verdicts >= LIFE
                        worker.give(None if old else again.popleft() if again else next(tasks, None))
                    if worker.ended:
                        again.extend(worker.remaining())
                        workers.remove(worker)
        finally:
            for worker in workers:
                worker.end()


@contextmanager
def _one_thread() -> Iterator[None]:
    """In the environment that a process starts with."""
    added = {name: value for name, value in ONE_THREAD.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@dataclass
class _Worker:
    """A worker process, seen from the parent.

    task      the graph under way: its index, and what of it has not been begun
    at        the verdict under way
    built     does its case exist yet?
    """

    campaign: Campaign
    folder: Path
    task: Task | None
    at: Combo | None = None
    built: bool = False
    ready: bool = False
    free: bool = False
    ended: bool = False
    verdicts: int = 0
    since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        context = get_context("spawn")
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".txt")
        os.close(handle)
        self.said = Path(name)
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, self.campaign, name), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()
        self.connection.send(self.task)

    def left(self) -> float:
        """Seconds until the worker counts as hanging."""
        limit = self.campaign.limit + GRACE if self.ready else START
        return max(self.since + limit - time.monotonic(), 0.01)

    def give(self, task: Task | None) -> None:
        """Send the worker its next graph, or stop it if there is none."""
        self.free, self.task = False, task
        if task is None:
            self._send(None)
            self.process.join(GRACE)
            self.end()
        else:
            self.since = time.monotonic()
            self._send(task)

    def _send(self, task: Task | None) -> None:
        with suppress(OSError):  # it ended meanwhile, which `read` will find
            self.connection.send(task)

    def read(self) -> Iterator[Entry]:
        """Yield the worker's entries, and a crash or hang entry if it died."""
        try:
            while not self.ended and self.connection.poll():
                yield from self._heard(*self.connection.recv())
        except (EOFError, OSError):
            self.process.join(START)
            yield from self._lost("crash", f"the process ended with {_exit_name(self.process.exitcode)}")
            return
        if not self.free and not self.ended and self.left() <= 0.01:
            self.process.kill()
            self.process.join()
            yield from self._lost("hang", f"no verdict within {self.campaign.limit:g} s")

    def _heard(self, what: str, value: Any = None) -> Iterator[Entry]:
        self.since = time.monotonic()
        if what == "refused":
            raise GradverifyError(f"a process of the campaign cannot start: {value}")
        self.ready = True
        if what == "began":
            assert self.task is not None
            self.at, self.built = value, False
            self.task[1].remove(value)
        elif what == "built":
            self.built = True
        elif what == "entry":
            self.at = None
            self.verdicts += 1
            yield value
        elif what == "free":
            self.free, self.task = True, None

    def _lost(self, what: str, message: str) -> Iterator[Entry]:
        said = self.said.read_text(encoding="utf-8", errors="replace")[-EVIDENCE:].strip()
        was_ready, seconds = self.ready, time.monotonic() - self.since
        self.end()
        if not was_ready:
            raise GradverifyError(f"a process of the campaign cannot start: {message}\n{said}".rstrip())
        if self.task is None:
            return
        i, todo = self.task
        if (
            self.at is None and todo
        ):  # between two verdicts: laid to the one that comes, so that nothing is tried for ever
            self.at, self.built = todo.pop(0), False
        if self.at is None:
            return
        # What made the process end in the making of the case would end this one too.
        spec = _spec(_case(self.campaign, i, self.at.dtype), self.at.subject) if self.built else ""
        yield {
            "i": i, "subject": self.at.subject, "dtype": self.at.dtype, "is": what, "s": round(seconds, 4),
            "message": message, "text": said, "spec": spec,
        }  # fmt: skip

    def remaining(self) -> Iterator[Task]:
        if self.task and self.task[1]:
            yield self.task

    def end(self) -> None:
        self.ended = True
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()
        self.said.unlink(missing_ok=True)


def _exit_name(code: int | None) -> str:
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return f"exit code {code}"


# What runs in the process.


def _work(connection: Connection, c: Campaign, said: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, who ends us
    own = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):  # of what is printed, the last words before a crash are worth keeping
        os.dup2(own, stream)
    faulthandler.enable(sys.__stderr__ or own)
    try:
        for name in dict.fromkeys(combo.subject for combo in c.combos):
            _import_framework(name, c)
    except Exception as e:
        connection.send(("refused", f"{type(e).__name__}: {e}"))
        return
    connection.send(("ready",))
    try:
        while (task := connection.recv()) is not None:
            _graph(connection, c, task, own)
            connection.send(("free",))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone


def _import_framework(name: str, c: Campaign) -> None:
    """Import a subject's framework, so that the time of the first verdict does not include it."""
    case = _case(c, 0, "float64")
    try:
        find(name, c.device).function(case.graph, "float64")
    except Unsupported:
        return


def _graph(connection: Connection, c: Campaign, task: Task, own: int) -> None:
    i, todo = task
    case: Case | None = None
    of = ""  # the dtype that it is of
    for combo in todo:
        connection.send(("began", combo))
        os.ftruncate(own, 0)
        faulthandler.dump_traceback_later(c.limit, file=own)
        start = time.perf_counter()
        entry: Entry = {"i": i, "subject": combo.subject, "dtype": combo.dtype}
        try:
            if case is None or of != combo.dtype:
                case, of = _case(c, i, combo.dtype), combo.dtype
            connection.send(("built",))
            entry |= to_entry(_verdict(case, combo.subject, c), c.every)
        except Exception as e:
            spec = _spec(case, combo.subject) if case is not None else ""
            entry |= {
                "is": "error",
                "message": f"{type(e).__name__}: {e}",
                "text": traceback.format_exc(),
                "spec": spec,
            }
        finally:
            faulthandler.cancel_dump_traceback_later()
        connection.send(("entry", entry | {"s": round(time.perf_counter() - start, 4)}))


def _case(c: Campaign, i: int, dtype: str) -> Case:
    return seeded_case(c.seed, i, dtype, limits(None))


def _verdict(case: Case, subject: str, c: Campaign) -> Verdict:
    """The verdict, with the culprit of a FAIL."""
    settings = Settings(device=c.device, shrink=False)
    if c.order == 2:
        return judge_second_order(case, subject, settings)
    verdict = judge_case(case, subject, settings)
    return judge_case(case, subject, replace(settings, shrink=True)) if verdict.outcome is Outcome.FAIL else verdict


def _spec(case: Case, subject: str) -> str:
    try:
        return dumps(case, subjects=(subject,))
    except Unsupported:
        return ""
