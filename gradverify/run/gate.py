"""The gate: a verdict passes it here, and becomes an event."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ..core.case import Source
from ..core.outcome import ASSERTION, FailKind, GatePolicy, Outcome
from ..core.verdict import Verdict
from .events import Job, JobJudged, Listener, tell


def acceptable(job: Job, verdict: Verdict, policy: GatePolicy) -> bool:
    """Does the verdict meet the author's expectation, and does it not gate?

    An INCONCLUSIVE that the author explains never gates. An author who expects a fault wants it to be reported: as FAIL, as
    KNOWN or, where digits alone are lost, as WEAK.
    """
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return job.explained is not None or not policy.gate(verdict.outcome)
    if job.expect == "fail":
        return verdict.outcome.has_kind or verdict.outcome is Outcome.WEAK
    if job.expect == "raises":
        return verdict.kind is FailKind.RAISED
    return not policy.gate(verdict.outcome, verdict.kind)


def tell_verdict(job: Job, verdict: Verdict, policy: GatePolicy, listeners: Iterable[Listener] = ()) -> JobJudged:
    """Tell the one event of a verdict: the only place where a verdict meets the gate."""
    event = JobJudged(job, verdict, acceptable(job, verdict, policy))
    tell(listeners, event)
    return event


CHECK = "check::"
"""How the ids of calls of `check` begin."""

LATEST: deque[JobJudged] = deque(maxlen=16)
"""The last calls of `check`: a test that fails by one of them is reported with its evidence."""


def tell_check(name: str, verdict: Verdict) -> Verdict:
    """Tell the verdict of a call of `check`, and return it. Its gate is that of an assertion."""
    job = Job(f"{CHECK}{name}", verdict.subject, verdict.dtype, source=Source("api"))
    LATEST.append(tell_verdict(job, verdict, ASSERTION))
    return verdict
