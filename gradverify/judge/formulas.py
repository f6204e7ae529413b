"""The findings about the backward pass in exact arithmetic: its formula, its formats, and the digits that it loses."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.graph import Apply
from ..core.verdict import FailKind, Outcome
from ..frameworks.base import Framework
from ..namespaces.dtypes import FORMATS
from .allowed import is_right_to_its_arithmetic
from .causes import add_hypothesis
from .exact import Exact, ran
from .findings import Answer, Finding, fail, output_fails
from .intermediates import find_narrow_intermediate
from .narrow import find_narrow, find_narrow_sum
from .replay import Narrow
from .roundings import may_round
from .stability import find_unstable


def check_formula(answer: Answer, subject: Framework | None) -> Finding | None:
    """The finding where the values are within budget, and the formula that they come from is another one.

    Where `subject` is given the formula is its own, and one that it declares as a weakness is known.
    """
    case, exact = answer.case, answer.exact
    if exact is None or exact.formula.right is not False or not ran(exact, answer.seen, answer.seed):
        return None
    worst = exact.formula.worst
    assert worst is not None
    off = (
        f"in exact arithmetic {worst.where} comes to {worst.got} where the true value is {worst.want} "
        f"({exact.formula.error:.2g} relative)"
    )
    if answer.is_off_beyond():
        hidden = "" if case.dtype == exact.resolution else f"; rounding in {case.dtype} hides it"
        message = f"the formula of the backward pass is wrong: {off}{hidden}"
        return add_hypothesis(fail(FailKind.WRONG, message, *answer.comparisons), answer)
    declared = {n.op for n in case.graph.nodes if isinstance(n, Apply)} & set(subject.forms) if subject else set()
    if subject and declared:
        known = "; ".join(f"{op}: {subject.forms[op].reason}" for op in sorted(declared))
        return Finding(Outcome.KNOWN, FailKind.PRECISION, message=off, comparisons=answer.comparisons, known=known)
    message = (
        f"the formula of the backward pass is off by less than its own arithmetic ({exact.resolution}) resolves: {off}"
    )
    return Finding(Outcome.WEAK, message=message, comparisons=answer.comparisons)


def check_formats(answer: Answer) -> Finding | None:
    """The finding where a right formula passes through a format coarser than any that the function has.

    Values within budget may hide it: of bfloat16, with 8 bits, next to float16, whose budget excuses three of its 11.
    """
    exact, case = answer.exact, answer.case
    coarser = _coarser_formats(exact, case) if exact is not None and exact.formula.right else []
    if not coarser or exact is None or not ran(exact, answer.seen, answer.seed):
        return None
    message = f"the formula is right, and values of the backward pass are rounded to {' and '.join(coarser)}"
    message += ", coarser than any of the function's: digits are lost that need not be lost"
    return Finding(Outcome.WEAK, message=message, comparisons=answer.comparisons)


def check_narrow(answer: Answer, subject: Framework, function: Any) -> Finding | None:
    """WEAK where a right formula loses digits to a sum or an intermediate in 16 bits.

    The budget does not ask for it: it excuses eight roundings of the result, as it cannot know how often a right
    implementation rounds. Here the backward pass is known, and so is what a wider accumulator would give.
    """
    exact = answer.exact
    if exact is None or not exact.formula.right:
        return None
    case = answer.case
    narrow = find_narrow_sum(case, exact, answer.seen, answer.ref)
    if narrow is None and answer.flipped is None:
        call = lambda g: subject.run_vjp(function, case.values, case.wrt, g)
        narrow = find_narrow_intermediate(case, exact, call, answer.seed)
    if narrow is None or not ran(exact, answer.seen, answer.seed):
        return None
    message = f"the formula is right, and digits are lost that need not be lost. {narrow}"
    return Finding(Outcome.WEAK, message=message, comparisons=answer.comparisons, facts={"narrow": asdict(narrow)})


def check_stability(answer: Answer) -> Finding | None:
    """The finding where the budget excuses what the definition loses, and its problem does not."""
    if answer.exact is None:
        return None
    unstable = find_unstable(answer.case, answer.ref.truth, answer.ref.budget, answer.seen.outputs, answer.seed)
    if unstable is None:
        return None
    left = "is right to what that leaves" if unstable.of[1:] in answer.case.wrt else "is right"
    message = f"{unstable}; the gradient {left}"
    return Finding(Outcome.WEAK, message=message, comparisons=answer.comparisons)


def _coarser_formats(exact: Exact, case: Case) -> list[str]:
    """The formats of the backward pass with fewer digits than all those that the definition computes in.

    One that holds masks alone does not count: no digit is lost there.
    """
    coarsest = max(FORMATS[d].roundoff for d in {case.dtype, *case.formats.values()})
    coarser = [d for d in exact.formats if FORMATS[d].roundoff > coarsest]
    return sorted(d for d in coarser if exact.asked is None or may_round(exact.asked, d))


def weigh_lost_digits(finding: Finding, answer: Answer) -> Finding:
    """A FAIL of values; where the formula is right and its own rounding explains them, digits are lost and nothing else.

    A formula that is off by less than its arithmetic resolves counts as right, but for what it is off by.

    WEAK where every failing entry keeps half of the digits of the dtype that the definition computes in (an error of √u,
    relative to the gradient's largest entry), else FAIL (precision); so is a backward pass in a narrower dtype than that.
    """
    exact, case = answer.exact, answer.case
    if exact is None or finding.kind not in (FailKind.WRONG, FailKind.PRECISION):
        return finding
    if not is_right_to_its_arithmetic(exact, answer.is_off_beyond, answer.again is not None):
        wrong = check_formula(answer, None) if finding.kind is FailKind.PRECISION else None
        return replace(wrong, message=f"{wrong.message}; {finding.message}") if wrong and wrong.kind else finding
    if output_fails(answer):
        return finding
    narrow = find_narrow(case, exact, answer.seen, answer.ref, answer.compared)
    weighed = _weigh_rounding(finding, answer, exact, narrow)
    return _add_narrow(weighed, narrow) if narrow else weighed


def _add_narrow(finding: Finding, narrow: Narrow) -> Finding:
    facts = {**finding.facts, "narrow": asdict(narrow)}
    return replace(finding, message=f"{finding.message}. {narrow}", facts=facts)


def _weigh_rounding(finding: Finding, answer: Answer, exact: Exact, narrow: Narrow | None) -> Finding:
    """The finding about a right formula; `narrow`: a step of it whose rounding, replayed, explains the error.

    WEAK as well, whatever it costs, where the step has an excuse: the backward pass is computed from the definition's 16-bit
    output, or multiplies matrices of 16 bits. That is a choice of what is saved and on what is run.
    """
    case = answer.case
    own = {n: allowed + exact.error.get(n, 0.0) for n, allowed in exact.rounding(answer.seed).items()}
    computed = [FORMATS[d].roundoff for d in {case.dtype, *case.formats.values()}]
    half = math.sqrt(min(computed))
    weak = True
    excused = narrow is not None and bool(narrow.excuse)
    for c in answer.compared:
        if not c.failing.any():
            continue
        name = c.comparison.of[1:]
        want, got = answer.ref.truth.gradients[name], answer.seen.gradients[name]
        if got is None or name not in own:
            return finding
        if (exact.error.get(name, np.zeros(want.shape)) > answer.ref.budget.gradients[name])[c.failing].any():
            return finding  # the formula alone fails, without any rounding
        if not np.isfinite(want.hi[c.failing]).all():  # at a kink: the formula has been held against no value there
            return finding
        with np.errstate(all="ignore"):
            error = want.error_of(got)[c.failing]
            largest = np.max(np.abs(want.hi), initial=0.0)
            stored = FORMATS[case.dtype_of(name)].roundoff * np.abs(want.hi)[c.failing]
            if narrow is None and (error > own[name][c.failing]).any():
                return finding
            weak &= excused or bool((error - stored <= half * largest).all())
    narrower = _coarser_formats(exact, case)
    if narrower:
        message = f"the formula is right, and computed in {' and '.join(narrower)}: {finding.message}"
        return replace(finding, kind=FailKind.PRECISION, message=message)
    lost = math.log10(max(c.comparison.share for c in answer.compared if c.failing.any()))
    right = "is right" if exact.formula.right else f"is right to its own arithmetic ({exact.resolution})"
    digits = f"the formula {right}, and loses about {max(lost, 0.1):.1f} digits that need not be lost"
    message = f"{digits}: {finding.message}"
    if weak:
        return Finding(Outcome.WEAK, message=message, comparisons=finding.comparisons)
    return replace(finding, kind=FailKind.PRECISION, message=message)
