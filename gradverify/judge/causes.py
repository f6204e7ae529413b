"""What a wrong gradient comes of: hypotheses, further calls, and the step of the backward pass that is wrong."""

from __future__ import annotations

from dataclasses import asdict, replace

from ..core.case import Case
from ..core.verdict import FailKind
from .departure import find_departure
from .exact import Exact
from .findings import Answer, Finding, compare_all, output_fails
from .hypotheses import Explanation, explain
from .hypotheses.second_call import drawn_anew, hook_active, of_an_earlier_call, of_an_earlier_shape
from .reference import in_doubles, reference


def add_hypothesis(finding: Finding, answer: Answer) -> Finding:
    """The finding; with a sentence, and a fact, where a hypothesis predicts the wrong gradients."""
    if not answer.explained or finding.kind not in (FailKind.WRONG, FailKind.PRECISION):
        return finding
    if output_fails(answer):
        return finding
    from_calls = _explain_by_calls(answer)
    if from_calls is not None:
        return _with_hypothesis(finding, from_calls)
    if answer.again is not None and _stands_still(answer):
        return _with_hypothesis(finding, Explanation("a function that stands still", STANDS_STILL))
    asked = answer
    if answer.exact is not None and answer.exact.formula.right is False:
        finding = _add_departure(finding, answer.case, answer.exact)
        if "hypothesis" in finding.facts:
            return finding
        answer = _in_doubles(answer, answer.exact)
    ref = answer.flipped.reference if answer.flipped else answer.ref
    found = explain(answer.case, answer.seen, ref, answer.compared, seed=answer.seed)
    if found is None and asked.again and finding.facts.get("departure", {}).get("reads_array", True):
        found = of_an_earlier_call(asked.case, asked.seen, asked.ref, asked.again, asked.seed)
    return finding if found is None else _with_hypothesis(finding, found)


STANDS_STILL = (
    "The function stands still around the point, as a step does: its gradient is 0 in every entry. Where the backward pass "
    "is meant for another function, say which: check(..., surrogate_of=...)"
)


def _stands_still(answer: Answer) -> bool:
    """Is the true gradient 0 in every entry of every input, as far as the oracle sees?"""
    gradients = [answer.ref.truth.gradients[n] for n in answer.case.wrt]
    return not answer.ref.truth.kinks and not any(e.resolved.any() for e in gradients)


def _explain_by_calls(answer: Answer) -> Explanation | None:
    """What further calls say: one without hooks, one after a call of other shapes, one more at the same point."""
    found = None
    if answer.unhooked is not None:
        other, left = answer.unhooked()
        fine = other.raised is None and not any(c.failing.any() for c in compare_all(answer.case, other, answer.ref))
        found = hook_active(answer.seen, left, fine)
    if found is None and answer.again is not None and answer.earlier is not None:
        earlier, call = answer.earlier
        found = of_an_earlier_shape(answer.case, earlier, answer.seen, answer.ref, answer.again, call)
    if found is None and answer.again is not None:
        found = drawn_anew(answer.case, answer.seen, answer.ref, answer.again)
    return found


def _with_hypothesis(finding: Finding, found: Explanation) -> Finding:
    facts = {**finding.facts, "hypothesis": found.to_dict()}
    return replace(finding, message=f"{finding.message}. {found.text}", facts=facts)


def _add_departure(finding: Finding, case: Case, exact: Exact) -> Finding:
    """The finding; with the step of the backward pass that is wrong, where one repair makes the gradients right."""
    departure = None if "departure" in finding.facts else find_departure(case, exact)
    if departure is None:
        return finding
    facts = {**finding.facts, "departure": asdict(departure)}
    if departure.overwritten:
        facts["hypothesis"] = Explanation("saved tensor written to", str(departure)).to_dict()
    return replace(finding, message=f"{finding.message}. {departure}", facts=facts)


def _in_doubles(answer: Answer, exact: Exact) -> Answer:
    """The answer that the backward pass would give in exact arithmetic, to the case in doubles: no rounding blurs it."""
    case = in_doubles(answer.case)
    ref = reference(case, seed=answer.seed)
    seen = replace(
        answer.seen,
        outputs=tuple(e.hi for e in ref.truth.outputs),
        gradients={**answer.seen.gradients, **exact.values},
    )
    return replace(
        answer, case=case, ref=ref, flipped=None, seen=seen, compared=compare_all(case, seen, ref), exact=None
    )
