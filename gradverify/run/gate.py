"""The gate: a verdict passes it here, and becomes an event."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ..core.case import Source
from ..core.outcome import ASSERTION, FailKind, GatePolicy, Outcome
from ..core.verdict import Verdict
from .deviations import current_ledger, name_of_call
from .events import Job, JobJudged, Listener, tell


def acceptable(job: Job, verdict: Verdict, policy: GatePolicy) -> bool:
    """Does the verdict meet the author's expectation, and does it not gate?

    An INCONCLUSIVE that the author explains never gates. An author who expects a fault wants it to be reported: as FAIL, as
    KNOWN or, where digits alone are lost, as WEAK.
    """
    if verdict.accepted:
        return True
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return job.explained is not None or not policy.gate(verdict.outcome)
    if job.expect == "fail":
        return verdict.outcome.has_kind or verdict.outcome is Outcome.WEAK
    if job.expect == "raises":
        return verdict.kind is FailKind.RAISED
    return not policy.gate(verdict.outcome, verdict.kind)


def tell_verdict(job: Job, verdict: Verdict, policy: GatePolicy, listeners: Iterable[Listener] = ()) -> JobJudged:
    """Tell the one event of a verdict: the only place where a verdict meets the gate, and what the project accepts."""
    if job.expect == "pass" and job.explained is None:
        verdict = current_ledger().weigh(job, verdict, policy)
    event = JobJudged(job, verdict, acceptable(job, verdict, policy))
    tell(listeners, event)
    return event


LATEST: deque[JobJudged] = deque(maxlen=16)
"""The last calls of `check`: a test that fails by one of them is reported with its evidence."""


def tell_check(name: str, verdict: Verdict) -> Verdict:
    """Tell the verdict of a `check` call, and return it as weighed by what the project accepts. It gates as an assertion."""
    job = Job(name_of_call(name), verdict.subject, verdict.dtype, source=Source("api"))
    event = tell_verdict(job, verdict, ASSERTION)
    LATEST.append(event)
    return event.verdict
