"""A judged job as plain data: what the JSON report holds, and what travels from an xdist worker to its controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.outcome import Outcome
from ..run.events import Event, JobJudged, JobLost, RunFinished

Record = dict[str, Any]
"""The report schema's `result`; made of dicts, lists, strings, numbers, booleans and None only."""


def record(event: JobJudged) -> Record:
    """The event as data. A PASS on a drawn graph, of which there are thousands, keeps its figures and no texts."""
    job, verdict = event.job, event.verdict.to_dict()
    if event.verdict.outcome is Outcome.PASS and job.source.kind == "generated":
        verdict |= {"comparisons": [], "graph": "", "spec": "", "script": "", "facts": {}}
    return {
        "id": job.id,
        "subject": job.subject,
        "dtype": job.dtype,
        "source": {
            "kind": job.source.kind,
            "file": job.source.file,
            "line": job.source.line,
            "seed": job.source.seed,
        },
        "expect": job.expect,
        "ok": event.ok,
        "verdict": verdict,
    }


class Recorder:
    """A listener that records a run: each outcome (changed by `view`), each error, and how the run ended.

    events       every outcome, and `records` the same as data
    errors       (id, message) of what could not be judged
    seconds      of the whole run; `interrupted`: until it was
    """

    def __init__(self, view: Callable[[JobJudged], JobJudged] = lambda event: event) -> None:
        self.view = view
        self.events: list[JobJudged] = []
        self.records: list[Record] = []
        self.errors: list[tuple[str, str]] = []
        self.seconds = 0.0
        self.interrupted = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobJudged):
            event = self.view(event)
            self.events.append(event)
            self.records.append(record(event))
        elif isinstance(event, JobLost):
            self.errors.append((event.job.id, event.message))
        elif isinstance(event, RunFinished):
            self.seconds, self.interrupted = event.seconds, event.interrupted
