"""The findings about laws: purity, the laws that a case is asked, and what declared forms excuse of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.case import Case
from ..core.errors import Unsupported
from ..core.verdict import FailKind, Outcome, Reason
from ..frameworks.base import Framework
from ..namespaces.dtypes import FORMATS, rounded, to_float64
from .budget import RERUNS
from .excuses import BudgetOf, budgets_by_forms
from .findings import Finding, Manner, fail, inconclusive
from .laws import Trial
from .laws import registry as laws
from .reference import Reference, allowance


def check_laws(trial: Trial, ref: Reference, manner: Manner, subject: Framework | None) -> Finding | None:
    """The finding about the laws; declared weaknesses of `subject`, if given, may excuse what they lose."""
    case = trial.case
    if changed := laws.changed_inputs(case, trial.first):
        return fail(FailKind.LAW, f"purity is broken: {', '.join(changed)} changed during the call")
    names = laws.names_for(trial, manner.extent)
    try:
        broken = laws.find_broken(trial, names)
    except Unsupported as e:
        return inconclusive(Reason.SUBJECT, f"the gradient is right; of the laws that were asked for, {e}")
    if broken is not None and ref.budget.branches:
        # Another layout sums in another order, and may end on the other side of a comparison: either side is admitted.
        loose = allowance(case, ref.truth, reruns=4 * RERUNS, loose=True)
        broken = laws.find_broken(trial.under(loose.gradients), names)
    if broken is None:
        return None
    name, what = broken
    if FORMATS[case.dtype].huge < 2.0**17 and _leaves_range(case, ref, -2.0):
        return inconclusive(Reason.RANGE, f"{name} asks about a cotangent of which an intermediate overflows")
    message = f"{name} is broken ({laws.find(name).doc}): {what}"
    known = _find_excuse_of_laws(trial, ref, manner, subject, names) if subject else ""
    return Finding(Outcome.KNOWN, FailKind.LAW, message=message, known=known) if known else fail(FailKind.LAW, message)


def _find_excuse_of_laws(trial: Trial, ref: Reference, manner: Manner, subject: Framework, names: Sequence[str]) -> str:
    """The reason of declared forms under whose rounding none of the laws is broken, or "".

    A form may round otherwise for another cotangent: log|g| does, which 2^20 times the cotangent makes larger.
    """
    for reasons, budget_of in budgets_by_forms(trial.case, subject, ref, lower=manner.lower, seed=manner.seed):

        def budgets(cotangent: Sequence[np.ndarray], budget_of: BudgetOf = budget_of) -> Mapping[str, np.ndarray]:
            return budget_of(cotangent).gradients

        try:
            broken = laws.find_broken(trial.under(budgets(trial.case.cotangent), budgets), names)
        except Unsupported:
            broken = None  # none is, and one cannot be asked here
        if broken is None:
            return reasons
    return ""


def _leaves_range(case: Case, ref: Reference, factor: float) -> bool:
    """Does some intermediate of the VJP overflow for `factor` times the cotangent?

    In float16, which ends at 65504, a law that scales may ask for this; the ranges of the other formats leave room for
    any factor.
    """
    scaled = replace(case, cotangent=tuple(rounded(to_float64(g) * factor, str(g.dtype)) for g in case.cotangent))
    return any(not np.isfinite(a).all() for a in allowance(scaled, ref.truth).gradients.values())
