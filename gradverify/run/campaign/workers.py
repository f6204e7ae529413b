"""The processes of a campaign. One that crashes or hangs costs its verdict and nothing else: a new one goes on."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from queue import SimpleQueue

from ...core.case import Case
from ...core.errors import Unsupported
from ...core.verdict import Outcome, Verdict
from ...generate.campaign import seeded_case
from ...generate.structure import limits
from ...spec.write import dumps
from ..crew import AHEAD, Process, Submitted, import_frameworks, mark
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
        with ExitStack() as stack:
            yield from share(tasks, (stack.enter_context(Worker(c)) for _ in range(jobs)))

    return judge


def share(tasks: Iterator[Task], workers: Iterator[Worker]) -> Iterator[Entry]:
    """Yield the entries of the tasks as they come. A worker is started when there is a task for it."""
    done: SimpleQueue[tuple[Worker, Verdicting]] = SimpleQueue()
    under_way = 0

    def feed(worker: Worker) -> int:
        """Give a worker verdicts until it has enough; how many it was given."""
        given = 0
        while worker.under_way < AHEAD:
            if not worker.todo:
                task = next(tasks, None)
                if task is None:
                    break
                worker.graph, worker.todo = task[0], list(task[1])
            worker.submit(done)
            given += 1
        return given

    ahead = next(tasks, None)
    while ahead is not None and (worker := next(workers, None)) is not None:
        worker.graph, worker.todo = ahead[0], list(ahead[1])
        under_way += 1
        worker.submit(done)
        ahead = next(tasks, None)
    if ahead is not None:
        tasks = chain([ahead], tasks)
    while under_way:
        worker, verdict = done.get()
        entry = worker.entry(verdict)
        under_way += feed(worker) - 1
        yield entry


@dataclass(frozen=True)
class Verdicting:
    """A verdict under way: of a graph on a subject in a dtype, since when."""

    graph: int
    combo: Combo
    task: Submitted
    since: float


class Worker:
    """A process that judges, seen from its parent.

    graph, todo  the graph that it is at, and what of it is not submitted yet
    under_way    verdicts that were submitted, and whose entries are not read
    """

    def __init__(self, c: Campaign) -> None:
        self.campaign = c
        self.process = Process(_prepare, (c,), c.limit)
        self.graph, self.todo = 0, list[Combo]()
        self.under_way = 0
        self.read_at = 0.0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end()

    def submit(self, done: SimpleQueue[tuple[Worker, Verdicting]]) -> None:
        """Submit the next verdict of the graph; it is put into `done` when it has come."""
        combo = self.todo.pop(0)
        task = self.process.submit(_judge, self.graph, combo)
        verdict = Verdicting(self.graph, combo, task, time.monotonic())
        self.under_way += 1
        task.future.add_done_callback(lambda _: done.put((self, verdict)))

    def entry(self, v: Verdicting) -> Entry:
        """The entry of a verdict that has come, or of how none came."""
        self.under_way -= 1
        begun, self.read_at = max(v.since, self.read_at), time.monotonic()
        try:
            found: Entry = v.task.result()
            return found
        except Exception as e:
            lost = self.process.lost(v.task, e)
        # What made the process end in the making of the case would end this one too.
        spec = _spec(_case(self.campaign, v.graph, v.combo.dtype), v.combo.subject) if lost.marks else ""
        return {
            "i": v.graph, "subject": v.combo.subject, "dtype": v.combo.dtype, "is": lost.how,
            "s": round(self.read_at - begun, 4), "message": lost.message, "text": lost.text, "spec": spec,
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
