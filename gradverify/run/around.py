"""What a spec's own function (`call:`) is asked beyond its case: the ends of its domains, and the probes of `check`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..checker.driver import judge_question
from ..checker.question import Question
from ..core.case import Case
from ..core.errors import BadInput, Unsupported
from ..core.outcome import Outcome
from ..core.verdict import Verdict
from ..frameworks.base import Framework
from ..frameworks.registry import find
from ..judge.decide import decide
from ..judge.named import resolve_function
from .config import default_effort
from .events import Job

if TYPE_CHECKING:
    from .runner import Settings

ENDS = "the ends of the stated domain"


def judge_around(job: Job, case: Case, verdict: Verdict, settings: Settings) -> Verdict:
    """The verdict on the job's case, or the first FAIL around it.

    The function was right at the case, against the definition. Elsewhere its own forward pass is the definition, as in
    `check`: what the spec defines has the case's shapes. At effort quick nothing is asked, outside a stated domain neither.
    """
    effort = default_effort()
    if effort == "quick":
        return verdict
    adapter = find(job.subject, settings.device)
    others = job.around() if job.around else ()
    for other in others:
        found = decide(other, adapter, seed=settings.seed)
        if found.outcome is Outcome.FAIL:
            return replace(found, message=f"{found.message} (found with {ENDS})")
    tried = (ENDS,) if others else ()
    if case.vjp is not None:  # written by hand, for the shapes of one call, and nobody promised more
        return replace(verdict, facts={**verdict.facts, "tried": tried}) if tried else verdict
    function = resolve_function(case, adapter)
    for reference in (None, _definition(case, adapter)):
        try:
            with adapter.enabling(case.dtype):
                found = judge_question(_question(job, case, adapter, function, reference, settings), effort)
        except (BadInput, Unsupported) as e:
            return replace(verdict, notes=(*verdict.notes, f"the function was not asked around its case: {e}"))
        if found.outcome is not Outcome.FAIL:
            return replace(verdict, facts={**verdict.facts, "tried": [*tried, *found.facts.get("tried", ())[1:]]})
        if len(found.facts.get("tried", ())) > 1:
            return replace(found, case=verdict.case, subject=verdict.subject, source=verdict.source)
        # Its own forward pass is no definition, such as a table or a polynomial; the spec's is one at these shapes.
    note = "the function was not asked around its case: its trace is another function"
    return replace(verdict, notes=(*verdict.notes, note))


def _question(
    job: Job,
    case: Case,
    adapter: Framework,
    function: Callable[..., Any],
    reference: Callable[..., Any] | None,
    settings: Settings,
) -> Question:
    """The function at the case's values, as its framework's arrays. Raises Unsupported."""
    floats = [n for n, v in case.values.items() if v.dtype.kind in "fc" or v.dtype.name == "bfloat16"]
    args = tuple(map(adapter.put, case.values.values()))
    if set(case.wrt) != set(floats):
        raise Unsupported("some of its floating-point inputs are not differentiated")
    return Question(function, args, reference=reference, seed=settings.seed, device=settings.device, bounds=job.bounds)


def _definition(case: Case, adapter: Framework) -> Callable[..., Any]:
    return adapter.function(case.graph, case.dtype)
