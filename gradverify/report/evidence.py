"""A judged job as text: the glance for the screen, all evidence for a file, and a reproducer for what fails."""

from __future__ import annotations

from dataclasses import replace

from ..core import wording
from ..core.errors import GradverifyError
from ..core.outcome import FailKind, Outcome
from ..core.verdict import Verdict
from ..run.events import JobJudged
from .script import reproducer


def with_reproducer(event: JobJudged) -> JobJudged:
    """The event with a stand-alone reproducer in its verdict, where it fails and has a spec."""
    return event if event.ok else replace(event, verdict=reproducible(event.verdict))


def reproducible(verdict: Verdict) -> Verdict:
    """The verdict with a stand-alone reproducer, where it has a fault and a spec; else with a note that says why not."""
    if not verdict.outcome.has_kind or verdict.script:
        return verdict
    try:
        if verdict.culprit is not None and verdict.culprit.spec and not verdict.culprit.script:
            script = reproducer(verdict.culprit.spec, verdict.subject, verdict.dtype)
            verdict = replace(verdict, culprit=replace(verdict.culprit, script=script))
        if verdict.spec:
            verdict = replace(
                verdict, script=reproducer(verdict.spec, verdict.subject, verdict.dtype, verdict.kind is FailKind.LAW)
            )
    except GradverifyError as e:
        verdict = replace(verdict, notes=(*verdict.notes, f"no stand-alone reproducer: {e}"))
    return verdict


def glance(event: JobJudged, more: str = "", width: int = wording.WIDTH) -> str:
    """The reason why a judged job is not acceptable, in five lines. `more`: the file with the evidence."""
    return "\n".join([*wording.glance(event.verdict, **_facts(event), more=more, width=width), *_gate(event)])


def text(event: JobJudged) -> str:
    """The same with all evidence."""
    return "\n".join([*wording.evidence(event.verdict, **_facts(event)), *_gate(event)])


def _facts(event: JobJudged) -> dict[str, str]:
    job = event.job
    unmet = f", where its author expected {_expected(job.expect)}" if job.expect != "pass" and not event.ok else ""
    is_file = job.source.file is not None and not job.source.file.startswith("<")
    source = str(job.source) if is_file or job.source.seed is not None else ""
    return {"source": source, "unmet": unmet}


def _gate(event: JobJudged) -> list[str]:
    """What else makes it unacceptable: an INCONCLUSIVE that the gate does not let through."""
    undecided = event.verdict.outcome is Outcome.INCONCLUSIVE
    return ["INCONCLUSIVE fails, as asked for"] if undecided and not event.ok else []


def _expected(expect: str) -> str:
    return {"fail": "a FAIL", "raises": "the subject to raise"}[expect]
