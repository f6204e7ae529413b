"""Watching a block of a program that is no test-suite: `with gradverify.watch() as watched: train()`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..core.case import Source
from ..core.outcome import DEFAULT, GatePolicy, Outcome
from ..run.events import Job, JobJudged, Listener
from ..run.gate import tell_verdict
from .imports import watching
from .judge import LIMIT, Judged, judge
from .look import look
from .messages import left_lines, look_lines, told
from .order import in_order
from .pins import apply_pin, read_pins
from .quiet import undisturbed
from .record import Limits, Recorder
from .scope import scope
from .table import rows, table_lines

SECONDS = 30.0
"""What judging takes at most, or SHARE of the time of what was watched, where nobody says another limit."""

SHARE = 0.1

LOOK = 10.0
"""Seconds that the probes of one recorded call may take."""


def allowed_seconds(ran: float) -> float:
    """Seconds for judging what ran for so many seconds."""
    return max(SECONDS, SHARE * ran)


class Watched:
    """What a watch met.

    recorder  the definitions, and the calls that were recorded
    judged    the judgements, once there are some
    left      ids of what there was no time for
    seconds   how long the watched block ran
    """

    def __init__(self, recorder: Recorder, root: Path) -> None:
        self.recorder, self.root = recorder, root
        self.judged: list[Judged] = []
        self.left: list[str] = []
        self.seconds = 0.0

    def judge(self, seconds: float | None = None, *, seed: int = 0) -> list[Judged]:
        """Judge what was recorded, the most suspicious first. Takes `seconds`: by default 30, or a tenth of the block's."""
        end = time.perf_counter() + (allowed_seconds(self.seconds) if seconds is None else seconds)
        pins = read_pins(self.root)
        with undisturbed():
            for sample in in_order(self.recorder.samples, end):
                left = end - time.perf_counter()
                if left <= 0:
                    self.left.append(sample.id)
                else:
                    self.judged.append(apply_pin(judge(sample, seed=seed, limit=max(1.0, min(left, LIMIT))), pins))
            self.judged = looked(self.judged, end, seed)
        for k, found in enumerate(self.judged):
            event = tell_judged(found, f"gradverify::{found.sample.id}", DEFAULT)
            self.judged[k] = replace(found, verdict=event.verdict)
        return self.judged

    def gates(self, policy: GatePolicy = DEFAULT) -> bool:
        """Does a judgement gate?"""
        return any(_gates(j, policy) for j in self.judged)

    def lines(self, policy: GatePolicy = DEFAULT) -> Iterator[str]:
        """What gates, what the probes found, and the table of definitions."""
        for found in self.judged:
            if _gates(found, policy):
                yield told(found, self.root)
                yield ""
        yield from table_lines(rows(self.recorder, self.judged, read_pins(self.root)))
        yield from look_lines([f"{found.sample.id}: {text}" for found in self.judged for text in found.looks])
        yield from left_lines(self.left)

    def text(self) -> str:
        """`lines`, as one text."""
        return "\n".join(self.lines())


def _gates(judged: Judged, policy: GatePolicy) -> bool:
    verdict = judged.verdict
    return not verdict.accepted and policy.gate(verdict.outcome, verdict.kind)


def looked(judged: list[Judged], end: float, seed: int) -> list[Judged]:
    """The judgements, those that passed with what the probes find: the first of each kind, then others, until `end`.

    Where something was found, calls of the same signature are not asked.
    """
    found = dict(enumerate(judged))
    kinds: Counter[object] = Counter()
    order = []
    for k, one in found.items():
        if one.verdict.outcome is Outcome.PASS:
            kind = (one.sample.definition.name, one.sample.signature, one.sample.fixed)
            order.append((kinds[kind], k))
            kinds[kind] += 1
    told = set()
    for _, k in sorted(order):
        left, name = end - time.perf_counter(), found[k].sample.id
        if left <= 1.0:
            break
        if name not in told:
            found[k] = look(found[k], seed=seed, limit=min(left, LOOK))
            told |= {name} if found[k].looks else set()
    return list(found.values())


def tell_judged(found: Judged, id: str, policy: GatePolicy, listeners: Iterable[Listener] = ()) -> JobJudged:
    """Tell the event of a judgement, under this id."""
    definition = found.sample.definition
    file, _, line = definition.backward.rpartition(":")
    source = Source("watched", file or None, int(line) if line.isdecimal() else None)
    job = Job(id, definition.framework, found.verdict.dtype, source=source)
    return tell_verdict(job, found.verdict, policy, listeners)


@contextmanager
def watch(
    what: str | Callable[..., bool] = "project", *, root: str | Path | None = None, limits: Limits | None = None
) -> Iterator[Watched]:
    """Record the custom gradients that run in this block.

    with gradverify.watch() as watched:
        train()
    watched.judge()
    print(watched.text())

    what    project (definitions below `root`, the working directory), all, or patterns of names: "mypkg.ops.*, other.Spike"
    limits  what is recorded of one definition, and in all
    """
    folder = Path(root) if root is not None else Path.cwd()
    recorder = Recorder(scope(what, folder) if isinstance(what, str) else what, limits or Limits())
    watched = Watched(recorder, folder)
    started = time.perf_counter()
    with watching(recorder):
        yield watched
    watched.seconds = time.perf_counter() - started
