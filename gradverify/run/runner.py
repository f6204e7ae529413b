"""The one runner: the plugin, the command line, the Python API and the campaigns all judge through it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from ..core.case import Case
from ..core.errors import Unsupported, clipped
from ..core.outcome import FailKind, GatePolicy, Outcome, Reason
from ..core.verdict import Verdict
from ..frameworks.base import Framework
from ..frameworks.registry import find
from ..judge.culprit import find_culprit
from ..judge.decide import decide
from ..judge.excuses import Lower
from ..judge.laws import Extent
from ..judge.second_order import pulled, second_order
from ..spec.write import dumps
from .around import judge_around
from .cache import Cache
from .events import Job, JobJudged, JobLost, Listener, RunFinished, RunStarted, tell
from .gate import tell_verdict
from .isolated import Ended, isolated, sendable


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run, common to all faces.

    subjects  names of subjects; None: engine, and torch and jax where they are installed
    dtypes    dtype names, instead of what a spec says; None: as the spec says
    device    "cpu" or "cuda"
    examples  random graphs per subject and dtype
    seed      of everything that is drawn; a run is reproducible from it
    strict    every outcome but PASS gates
    fail_on   the outcomes that gate, in the syntax of `core.outcome`; None: the default
    shrink    find the first wrong op and a smaller case on FAIL
    call      import the functions that cases name (`call:`); else such a case is INCONCLUSIVE
    isolate   seconds for a case, each of which is judged in another process then; None: in this one, without a limit
    max_failures  unacceptable verdicts after which a run ends; None: never
    max_time      seconds after which a run begins nothing more; None: never
    cache         file of the verdicts that are kept from run to run; None: every case of a spec is judged

    Raises UnknownName and BadInput for a `fail_on` that makes no sense.
    """

    subjects: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    device: str = "cpu"
    examples: int = 100
    seed: int = 0
    strict: bool = False
    fail_on: str | tuple[str, ...] | None = None
    shrink: bool = True
    call: bool = True
    isolate: float | None = None
    max_failures: int | None = None
    max_time: float | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        _ = self.policy  # known before anything is judged

    @property
    def policy(self) -> GatePolicy:
        """The outcomes that gate."""
        return GatePolicy.of(self.fail_on, strict=self.strict)


def judge_case(case: Case, subject: str | Framework, settings: Settings = Settings()) -> Verdict:
    """The verdict on one case, with the culprit on FAIL.

    Raises only for bad input or a crash of gradverify itself, and `isolated.Ended` where it is judged in another process
    that has ended.
    """
    if settings.isolate is not None and isinstance(subject, str):
        alone = replace(settings, isolate=None)
        return isolated(
            judge_case, case, subject, alone, subject=subject, device=settings.device, limit=settings.isolate
        )
    adapter = find(subject, settings.device) if isinstance(subject, str) else subject
    if isinstance(case.function, str) and not settings.call:
        message = f"{case.function[:200]} was not imported, as asked for"
        return Verdict(
            Outcome.INCONCLUSIVE, case.name, adapter.name, case.dtype, reason=Reason.NOT_CALLED, message=message
        )
    many = case.source.kind == "generated"  # what random graphs ask is the framework's own rules, again and again
    extent = Extent.TURN if many else Extent.ALL
    verdict = decide(case, adapter, exact=not many, extent=extent, seed=settings.seed)
    if not verdict.outcome.has_kind:
        return verdict
    verdict = replace(verdict, spec=_spec(case, adapter))
    if not settings.shrink or verdict.kind in (FailKind.RAISED, FailKind.CLAIM):
        return verdict
    culprit = find_culprit(case, adapter, lambda c: _spec(c, adapter), seed=settings.seed)
    if culprit is None and case.graph.ops > 1 and case.function is None:
        note = "every op is right by itself: the fault lies in how they are combined (accumulation, reuse, state)"
        return replace(verdict, notes=(*verdict.notes, note))
    return replace(verdict, culprit=culprit)


def _judged(job: Job, case: Case, settings: Settings) -> Verdict:
    """The verdict on a job's case; of a user's function around it as well."""
    verdict = judge_case(case, job.subject, settings)
    return judge_around(job, case, verdict, settings) if case.function is not None and verdict else verdict


def _judged_apart(job: Job, case: Case, s: Settings) -> Verdict:
    """The same, in another process where the settings say so. Raises `isolated.Ended` where that process has ended."""
    if case.function is None or s.isolate is None:
        return _judged(job, case, s)
    alone = replace(s, isolate=None)
    return isolated(_judged, sendable(job), case, alone, subject=job.subject, device=s.device, limit=s.isolate)


def judge_second_order(case: Case, subject: str | Framework, settings: Settings = Settings()) -> Verdict:
    """The verdict on the VJP of a case's VJP, as the subject differentiates it; without a culprit."""
    adapter = find(subject, settings.device) if isinstance(subject, str) else subject
    try:
        second = second_order(case, settings.seed)
        function = pulled(case, second, adapter)
    except Unsupported as e:
        reason = Reason.NO_RULE
        return Verdict(
            Outcome.INCONCLUSIVE, f"VJP of {case.name}", adapter.name, case.dtype, reason=reason, message=str(e)
        )
    lower = Lower(case.graph, lambda table: second_order(case, settings.seed, table))
    return decide(second, adapter, function=function, custom=False, lower=lower, seed=settings.seed)


def _since(start: float) -> float:
    return time.perf_counter() - start


def text_of(case: Case | None) -> str:
    """The case as a spec; "" where there is none, or it is too large to be read."""
    try:
        return dumps(case) if case is not None else ""
    except Unsupported:
        return ""


def _spec(case: Case, subject: Framework) -> str:
    """The case as a paste-able spec; "" where it is too large to be read."""
    try:
        return dumps(case, subjects=(subject.name,))
    except Unsupported:
        return ""


class Batch(Protocol):
    """Several jobs where an outcome decides about the next job, such as random graphs (`search.Search`).

    `run` judges them and tells the runner's listeners.
    """

    def run(self, runner: Runner) -> Sequence[JobJudged]: ...


class Runner:
    """Jobs in, events out.

    `run` judges in order, up to the settings' limits, and returns True where every job was judged and acceptable (random
    graphs that were not begun are no matter); `judge_job` judges one (a pytest item).
    """

    def __init__(self, settings: Settings, listeners: Sequence[Listener] = ()) -> None:
        self.settings, self.listeners = settings, list(listeners)

    def judge_job(self, job: Job) -> JobJudged:
        """Judge one job, and tell its event. An exception is told as a lost job, and raised."""
        assert job.build is not None, f"{job.id}: there is no case to judge"
        start = time.perf_counter()
        try:
            case = job.build()
            s = self.settings
            judge = partial(_judged_apart, job, case, s)
            # Only a name stands for the same function in another run; another process loads files that nobody sees here.
            is_named = case.function is None or (isinstance(case.function, str) and s.isolate is None)
            if s.cache is None or not is_named:
                verdict = judge()
            else:
                verdict = Cache(s.cache).judge(case, job.subject, judge, s.device, s.seed, s.call, job.bounds)
        except Ended as e:
            tell(self.listeners, JobLost(job, e.lost.how, e.lost.message, e.lost.text, text_of(case), _since(start)))
            raise
        except Exception as e:
            message = clipped(f"{type(e).__name__}: {e}")
            tell(self.listeners, JobLost(job, "error", message, seconds=_since(start)))
            raise
        return tell_verdict(job, verdict, self.settings.policy, self.listeners)

    def run(self, jobs: Iterable[Job | Batch], total: int | None = None) -> bool:
        s = self.settings
        tell(self.listeners, RunStarted(total, s.subjects or (), s.dtypes or (), s.seed))
        start = time.perf_counter()
        failures, interrupted, why = 0, True, ""
        left: list[Job | Batch] = []
        try:
            for job in jobs:
                why = why or self._limit(failures, time.perf_counter() - start)
                if why:
                    left.append(job)
                    continue
                try:
                    events = [self.judge_job(job)] if isinstance(job, Job) else job.run(self)
                except Ended:  # it was told, and costs this case alone
                    failures += 1
                    continue
                failures += sum(not e.ok for e in events)
            interrupted = False
        finally:
            stopped = f"{why}: {len(left)} not begun" if left else ""
            tell(self.listeners, RunFinished(time.perf_counter() - start, interrupted or bool(left), stopped))
        return not failures and not any(isinstance(job, Job) for job in left)

    def _limit(self, failures: int, seconds: float) -> str:
        """The limit that the run has reached; "" for none."""
        s = self.settings
        if s.max_failures is not None and failures >= s.max_failures:
            return f"stopped after {failures} failure{'' if failures == 1 else 's'} (--max-failures)"
        return f"stopped after {seconds:.0f} s (--max-time)" if s.max_time is not None and seconds >= s.max_time else ""
