"""The findings about the numbers: within their budget, off, or undecided."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..core.case import Case
from ..core.verdict import Comparison, FailKind, Outcome, Reason
from ..frameworks.base import Framework, Observation
from ..namespaces.dtypes import FORMATS, to_float64
from ..oracle.estimate import Estimate
from ..oracle.second import dissent
from ..oracle.truth import Truth
from .budget import RERUNS
from .causes import add_hypothesis
from .compare import Compared, hopeless
from .excuses import find_excuse
from .findings import Answer, Finding, fail, inconclusive, right_under
from .formulas import check_stability, weigh_lost_digits
from .reference import Reference, allowance

LOST_DIGITS = 2.0**-8
"""An answer within this of the truth has the digits of bfloat16 at least, the coarsest format that gradients are
computed in: it is called imprecise rather than wrong."""


def check_values(answer: Answer, subject: Framework | None) -> Finding | None:
    """The finding about the numbers; declared weaknesses of `subject`, if given, may excuse them."""
    case, seen, ref, compared, seed = answer.case, answer.seen, answer.ref, answer.compared, answer.seed
    comparisons = answer.comparisons
    if any(c.failing.any() for c in compared):
        finding = _judge_failing(answer)
        if finding.outcome is not Outcome.FAIL:
            return finding
        doubt = dissent(case.graph, case.values, case.cotangent, case.literal_dtype, ref.truth, seed=seed)
        if doubt:
            return inconclusive(Reason.ORACLE, f"the oracle's two libraries disagree: {doubt}", *comparisons)
        explains = lambda allowed: right_under(allowed, case, seen, ref)
        known = find_excuse(case, subject, ref, explains, lower=answer.lower, seed=seed) if subject else ""
        if not known:
            weighed = weigh_lost_digits(_note_stagnation(finding, answer), answer)
            return add_hypothesis(weighed, answer) if weighed.outcome is Outcome.FAIL else weighed
        lost = finding.kind is FailKind.WRONG
        return replace(finding, outcome=Outcome.KNOWN, known=known, kind=FailKind.PRECISION if lost else finding.kind)
    if not all(c.passing.all() for c in compared):
        return _judge_undecided(ref, comparisons)
    if _hopeless(case, ref):
        proven = answer.exact is not None and answer.exact.formula.right
        return (check_stability(answer) if proven else None) or inconclusive(Reason.CONDITION, "", *comparisons)
    return _check_along(seen, ref, comparisons)


def _judge_failing(answer: Answer) -> Finding:
    """The finding about entries that fail: a FAIL, or INCONCLUSIVE where a kink or a branch may explain them."""
    case, seen, ref, flipped, compared = answer.case, answer.seen, answer.ref, answer.flipped, answer.compared
    comparisons = answer.comparisons
    truth = flipped.reference.truth if flipped else ref.truth
    if truth.kinks and _only_where_no_side_exists(compared, case, truth):
        return inconclusive(Reason.KINK, f"at the kink of {', '.join(truth.kinks)}", *comparisons)
    looked = flipped is not None and flipped.every
    if ref.budget.branches and not truth.kinks and not looked and _right_on_another(case, seen, ref, answer.seed):
        return inconclusive(Reason.BRANCH, "", *comparisons)
    bad = max((c for c in compared if c.failing.any()), key=lambda c: c.comparison.share)
    worst = bad.comparison.worst
    assert worst is not None
    if any(c.non_finite.any() for c in compared):
        return fail(
            FailKind.NON_FINITE, f"{worst.where} is {worst.got} where the true value is {worst.want}", *comparisons
        )
    return fail(*_how_wrong(bad, case, seen, truth), *comparisons)


def _note_stagnation(finding: Finding, answer: Answer) -> Finding:
    """The finding; with a note where accumulating sums in the 16-bit dtype explains the failing entries."""
    case, seen, ref = answer.case, answer.seen, answer.ref
    if not FORMATS[case.dtype].stores or finding.kind is FailKind.NON_FINITE:
        return finding
    if not right_under(allowance(case, ref.truth, seed=answer.seed, stepwise=True), case, seen, ref):
        return finding
    share = max(c.comparison.share for c in answer.compared if c.failing.any())
    lost = f"about {math.log10(share):.1f} digits are lost, no more than by accumulating sums in {case.dtype}"
    return replace(finding, kind=FailKind.PRECISION, message=f"{finding.message}: {lost}")


def _right_on_another(case: Case, seen: Observation, ref: Reference, seed: int) -> bool:
    """Would the answer be right on some branch, where these are too many to follow one by one?"""
    loose = allowance(case, ref.truth, seed=seed, reruns=4 * RERUNS, loose=True)
    return right_under(loose, case, seen, ref)


def _only_where_no_side_exists(compared: list[Compared], case: Case, truth: Truth) -> bool:
    """Do all failures lie in entries without any one-sided derivative, where no answer can be wrong?"""
    for c in compared:
        name = c.comparison.of[1:]
        if name in truth.low:
            if (c.failing & ~np.isnan(truth.low[name])).any():
                return False
        elif c.failing.any() and not (c.comparison.of.startswith("d") and truth.method == "one-sided"):
            return False
    return True


MANY = 1000.0
"""Budgets from which on a message states the budget: its size beside the error's says more than a large multiple."""


def _how_wrong(bad: Compared, case: Case, seen: Observation, truth: Truth) -> tuple[FailKind, str]:
    """The kind of error (wrong, or digits lost), and a sentence that describes it."""
    of, worst = bad.comparison.of, bad.comparison.worst
    assert worst is not None
    want, got = _arrays(of, case, seen, truth)
    with np.errstate(all="ignore"):
        relative = ((got.astype(np.float64) - want.hi) - want.lo)[bad.failing] / want.hi[bad.failing]
    size = abs(float(want.hi[worst.index]))
    share = bad.comparison.share
    head = f"{worst.where} is off by {worst.error:.2g}"
    if size and math.isfinite(size):
        head += f" ({worst.error / size:.2g} relative)"
    if share < MANY:
        head += f", {share:.2g} times what rounding in {case.dtype} excuses"
    else:
        head += f", where rounding in {case.dtype} excuses {worst.budget:.1g}"
    constant = relative.size >= 4 and np.isfinite(relative).all() and np.std(relative) < 0.01 * abs(np.mean(relative))
    if constant:
        return (
            FailKind.WRONG,
            head + f"; every failing entry of {of} is off by the same factor, {_factor(float(np.mean(relative)))}",
        )
    if np.isfinite(relative).all() and (np.abs(relative) < LOST_DIGITS).all():
        lost = math.log10(bad.comparison.share) if bad.comparison.share > 1 else 0.0
        return FailKind.PRECISION, head + f": the leading digits are right, about {lost:.1f} digits are lost"
    return FailKind.WRONG, head


def _factor(relative: float) -> str:
    """One and a relative error, with three digits of the error: "2.5", "1.00000123"."""
    if abs(relative) >= 1:
        return f"{1 + relative:.3g}"
    return repr(round(1 + relative, 2 - math.floor(math.log10(abs(relative)))))


def _arrays(of: str, case: Case, seen: Observation, truth: Truth) -> tuple[Estimate, np.ndarray]:
    if of.startswith("out"):
        i = int(of[3:] or 0)
        return truth.outputs[i], seen.outputs[i]
    got = seen.gradients.get(of[1:])
    want = truth.gradients[of[1:]]
    return want, np.zeros(want.shape) if got is None else got


def _judge_undecided(ref: Reference, comparisons: tuple[Comparison, ...]) -> Finding:
    if ref.truth.kinks:
        return inconclusive(Reason.KINK, f"at the kink of {', '.join(ref.truth.kinks)}", *comparisons)
    allowed = [*ref.budget.outputs, *ref.budget.gradients.values()]
    if any(not np.isfinite(a).all() for a in allowed):
        return inconclusive(Reason.RANGE, "", *comparisons)
    return inconclusive(Reason.ORACLE, ref.truth.suspects, *comparisons)


def _hopeless(case: Case, ref: Reference) -> bool:
    return any(
        hopeless(ref.truth.gradients[n], ref.budget.gradients[n], FORMATS[case.dtype_of(n)].underflow)
        for n in case.wrt
        if n not in ref.truth.low
    )


def _check_along(seen: Observation, ref: Reference, comparisons: tuple[Comparison, ...]) -> Finding | None:
    """The finding at a kink where entries are defensible one by one, but not together.

    Together they must predict the slopes along the directions that keep the tie.
    """
    for along in ref.truth.along:
        predicted = allowed = rounding = 0.0
        for name, u in along.direction.items():
            got = seen.gradients.get(name)
            terms = np.zeros(u.shape) if got is None else np.where(u == 0, 0.0, to_float64(got) * u)
            # Where the entry does not move its budget does not count, infinite or not.
            allowed += float(np.sum(np.where(u == 0, 0.0, ref.budget.gradients[name]) * np.abs(u)))
            predicted += float(np.sum(terms))
            # Of a sum of n products in doubles: n + 1 roundings (Higham 2002, eq. 3.5).
            rounding += (u.size + 1) * 2.0**-53 * float(np.sum(np.abs(terms)))
        if not math.isfinite(predicted):  # an entry has left the range, and that is excused or has failed by itself
            continue
        if abs(predicted - along.slope) - along.bound - rounding <= allowed or not math.isfinite(allowed):
            continue
        return fail(
            FailKind.WRONG,
            f"each entry is defensible at the kink of {', '.join(sorted(set(ref.truth.kinks)))}, all together are not: "
            f"along a direction that keeps the tie they predict a slope of {predicted:.6g}, the function's is "
            f"{along.slope:.6g}",
            *comparisons,
        )
    return None
