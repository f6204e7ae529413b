"""The processes of a campaign. One that crashes or hangs costs its verdict and nothing else: a new one goes on."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from ...core.case import Case
from ...core.errors import Unsupported
from ...core.verdict import Outcome, Verdict
from ...generate.campaign import seeded_case
from ...generate.structure import limits
from ...spec.write import dumps
from ..crew import Process, import_frameworks, mark
from ..events import Listener, RunFinished, RunStarted, tell
from ..runner import Settings, judge_case, judge_second_order
from .log import Entry, Log, head, read_log, to_entry, to_event
from .model import Campaign, Combo

Task = tuple[int, list[Combo]]
"""A graph, and what of it is to be judged."""

Scheduler = Callable[[Campaign, Iterator[Task]], Iterator[Entry]]
"""Yields the entries of all tasks, as they come. Raises GradverifyError where nothing can be judged at all."""


def run_campaign(
    c: Campaign, listeners: Sequence[Listener], log: Log | None = None, judge: Scheduler | None = None
) -> None:
    """Tell the logged outcomes of the campaign, then judge the rest; each outcome is logged before it is told.

    judge  where: in one process of this machine, by default

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
        for entry in (judge or local())(c, ((i, todo) for i, todo in tasks if todo)):
            if log is not None:
                log.append(entry)
            tell(listeners, to_event(entry, c.seed, c.policy))
        interrupted = False
    finally:
        tell(listeners, RunFinished(time.perf_counter() - start, interrupted))


def local(jobs: int = 1) -> Scheduler:
    """In so many processes of this machine."""

    def judge(c: Campaign, tasks: Iterator[Task]) -> Iterator[Entry]:
        done: SimpleQueue[Worker] = SimpleQueue()
        with ExitStack() as stack:
            at_work = 0
            for task in (t for _, t in zip(range(jobs), tasks)):
                stack.enter_context(Worker(c)).begin(task, done)
                at_work += 1
            while at_work:
                worker = done.get()
                yield worker.entry()
                if worker.todo:
                    worker.submit(done)
                elif (another := next(tasks, None)) is not None:
                    worker.begin(another, done)
                else:
                    worker.process.end()
                    at_work -= 1

    return judge


class Worker:
    """A process that judges, seen from its parent: the graph that it is at, and the verdict under way."""

    def __init__(self, c: Campaign) -> None:
        self.campaign = c
        self.process = Process(_prepare, (c,), c.limit)
        self.graph, self.todo = 0, list[Combo]()
        self.at: Combo | None = None
        self.under_way: Future[Any] | None = None
        self.since = 0.0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end()

    def begin(self, task: Task, done: SimpleQueue[Worker]) -> None:
        """Take a graph, and submit its first verdict."""
        self.graph, self.todo = task[0], list(task[1])
        self.submit(done)

    def submit(self, done: SimpleQueue[Worker]) -> None:
        """Submit the next verdict of the graph; the worker is put into `done` when it has come."""
        self.at, self.since = self.todo.pop(0), time.monotonic()
        self.under_way = self.process.submit(_judge, self.graph, self.at)
        self.under_way.add_done_callback(lambda _: done.put(self))

    def entry(self) -> Entry:
        """The entry of the verdict that has come, or of how none came."""
        assert self.under_way is not None
        assert self.at is not None
        try:
            found: Entry = self.under_way.result()
            return found
        except Exception as e:
            lost = self.process.lost(e)
        # What made the process end in the making of the case would end this one too.
        spec = _spec(_case(self.campaign, self.graph, self.at.dtype), self.at.subject) if lost.marks else ""
        return {
            "i": self.graph, "subject": self.at.subject, "dtype": self.at.dtype, "is": lost.how,
            "s": round(time.monotonic() - self.since, 4), "message": lost.message, "text": lost.text, "spec": spec,
        }  # fmt: skip


# What runs in the process.

_campaign: Campaign | None = None
_last: tuple[tuple[int, str], Case] | None = None
"""The case of a graph in a dtype, which several subjects share, with its truth."""


def _prepare(c: Campaign) -> None:
    global _campaign
    _campaign = c
    import_frameworks(dict.fromkeys(combo.subject for combo in c.combos), c.device)


def _judge(i: int, combo: Combo) -> Entry:
    """The entry of a verdict, or of an error of ours."""
    global _last
    c = _campaign
    assert c is not None
    start = time.perf_counter()
    entry: Entry = {"i": i, "subject": combo.subject, "dtype": combo.dtype}
    case: Case | None = None
    try:
        if _last is None or _last[0] != (i, combo.dtype):
            _last = (i, combo.dtype), _case(c, i, combo.dtype)
        case = _last[1]
        mark()
        entry |= to_entry(_verdict(case, combo.subject, c), c.every)
    except Exception as e:
        spec = _spec(case, combo.subject) if case is not None else ""
        entry |= {
            "is": "error",
            "message": f"{type(e).__name__}: {e}",
            "text": traceback.format_exc(),
            "spec": spec,
        }
    return entry | {"s": round(time.perf_counter() - start, 4)}


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
