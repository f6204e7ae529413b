"""A verdict that explains itself: the figures laid out, the culprit, the graph, the spec and the script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..core.errors import GradverifyError
from ..core.verdict import Comparison, Element, Outcome, Verdict
from ..run.events import JobJudged
from .script import reproducer


def with_reproducer(event: JobJudged) -> JobJudged:
    """The event with a stand-alone reproducer in its verdict, where it fails and has a spec."""
    verdict = event.verdict
    if event.ok or not verdict.outcome.has_kind or verdict.script:
        return event
    try:
        if verdict.culprit is not None and verdict.culprit.spec and not verdict.culprit.script:
            script = reproducer(verdict.culprit.spec, verdict.subject, verdict.dtype)
            verdict = replace(verdict, culprit=replace(verdict.culprit, script=script))
        if verdict.spec:
            verdict = replace(verdict, script=reproducer(verdict.spec, verdict.subject, verdict.dtype))
    except GradverifyError as e:
        verdict = replace(verdict, notes=(*verdict.notes, f"no stand-alone reproducer: {e}"))
    return replace(event, verdict=verdict)


def text(event: JobJudged) -> str:
    """The reason why a judged job is not acceptable, with all evidence, as text."""
    return "\n".join(_lines(event))


def _lines(event: JobJudged) -> Iterator[str]:
    v, job = event.verdict, event.job
    kind = f" ({v.kind})" if v.kind else ""
    unmet = f", where its author expected {_expected(job.expect)}" if job.expect != "pass" and not event.ok else ""
    yield f"{v.outcome}{kind}{unmet}: {v.case} on {v.subject} in {v.dtype} ({job.source})"
    if v.message:
        yield v.message
    if v.outcome is Outcome.INCONCLUSIVE:
        yield f"reason: {v.reason}" + ("; strict: INCONCLUSIVE fails" if not event.ok else "")
    if v.known:
        yield f"known weakness of {v.subject}: {v.known}"
    for comparison in v.comparisons:
        yield from _comparison(comparison, v.dtype)
    if v.outcome.has_kind:
        yield from _evidence(v)
    yield from (f"note: {note}" for note in v.notes)


def _expected(expect: str) -> str:
    return {"fail": "a FAIL", "raises": "the subject to raise"}[expect]


def _comparison(c: Comparison, dtype: str) -> Iterator[str]:
    if not c.failing:
        return
    yield f"{c.failing} of {c.size} entries of {c.of} {'is' if c.failing == 1 else 'are'} off" + (
        "; the worst:" if c.failing > 1 else ":"
    )
    if c.worst:
        yield from _element(c.worst, dtype)


def _element(e: Element, dtype: str) -> Iterator[str]:
    yield f"  {e.where}"
    yield f"    got     {e.got}"
    yield f"    want    {e.want}"
    yield f"    error   {e.error:.3g} = {e.error_ulps:.4g} ulp"
    yield f"    budget  {e.budget:.3g} = {e.budget_ulps:.4g} ulp, all that rounding in {dtype} excuses"
    yield f"    oracle  right to within {e.bound:.1g}"


def _evidence(v: Verdict) -> Iterator[str]:
    c = v.culprit
    if c is not None:
        yield f"first wrong op: {c.text}"
    yield from _part("graph", (c.reduced if c else "") or v.graph)
    yield from _part("spec: paste it into a .grad.yaml file", (c.spec if c else "") or v.spec)
    yield from _part("stand-alone reproducer", (c.script if c else "") or v.script)


def _part(title: str, body: str) -> Iterator[str]:
    if body:
        yield f"--- {title}"
        yield body.rstrip()
