"""The one runner: the plugin, the command line, the Python API and the campaigns all judge through it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..core.case import Case
from ..core.verdict import Verdict
from ..core.verdict import Status
from .events import Job, JobJudged, Listener, RunFinished, RunStarted, tell


@dataclass(frozen=True, slots=True)
class Settings:
    """What every face can set; they mean the same everywhere.

    subjects  names of subjects; None: engine, and torch and jax where they are installed
    dtypes    dtype names, instead of what a spec says; None: as the spec says
    device    "cpu" or "cuda"
    examples  random graphs per subject and dtype
    seed      of everything that is drawn; a run is reproducible from it
    strict    INCONCLUSIVE fails
    shrink    find the first wrong op and a smaller case on FAIL
    """

    subjects: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    device: str = "cpu"
    examples: int = 100
    seed: int = 0
    strict: bool = False
    shrink: bool = True


def judge(case: Case, subject: str, settings: Settings = Settings()) -> Verdict:
    """The verdict on one case. Raises only for a crash of gradverify itself."""
    raise NotImplementedError


def acceptable(job: Job, verdict: Verdict, settings: Settings) -> bool:
    """Does the verdict meet what the author expected? INCONCLUSIVE does unless `strict`."""
    if verdict.status is Status.INCONCLUSIVE:
        return not settings.strict
    return verdict.status is Status.PASS


class Runner:
    """Jobs in, events out.

    `run` judges in order and returns True where every job was acceptable; `judge_job` judges one (a pytest item).
    """

    def __init__(self, settings: Settings, listeners: Sequence[Listener] = ()) -> None:
        self.settings, self.listeners = settings, list(listeners)

    def judge_job(self, job: Job) -> JobJudged:
        verdict = judge(job.build(), job.subject, self.settings)
        event = JobJudged(job, verdict, acceptable(job, verdict, self.settings))
        tell(self.listeners, event)
        return event

    def run(self, jobs: Iterable[Job], total: int | None = None) -> bool:
        s = self.settings
        tell(self.listeners, RunStarted(total, s.subjects or (), s.dtypes or (), s.seed))
        start = time.perf_counter()
        ok, interrupted = True, True
        try:
            for job in jobs:
                ok &= self.judge_job(job).ok
            interrupted = False
        finally:
            tell(self.listeners, RunFinished(time.perf_counter() - start, interrupted))
        return ok
