"""Known formulas as an op table: which declared `Form`s a graph is computed with, and the texts that replace the table's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import Unsupported
from ..core.graph import Apply, Graph
from ..frameworks.base import Form, Framework
from ..namespaces.dtypes import FORMATS
from ..namespaces.run import Table
from ..ops import OPS
from ..ops.build import lowered
from ..oracle.truth import Truth
from .budget import Budget
from .holomorphic import allowance_by_forms
from .reference import Reference, allowance, truth_of

RightUnder = Callable[[Budget], bool]
"""Would no entry of the answer fail under this budget?"""

BudgetOf = Callable[[Sequence[np.ndarray]], Budget]
"""The budget for these cotangents, one for each output."""


@dataclass(frozen=True, eq=False)
class Lower:
    """The function whose derivative a case is.

    graph   its definition
    by      a table of other texts -> the case of the derivative by these; raises Unsupported, or gives None
    """

    graph: Graph
    by: Callable[[Table], Case | None]


def with_forms(graph: Graph, declared: Mapping[str, Form], dtype: str, order: int = 1) -> tuple[Table, str]:
    """Return the op table with the forms' texts, and the reasons of the forms that the graph uses, or "".

    At order 2 the texts are those whose derivatives are asked for.
    """
    forms = {op: f for op, f in declared.items() if f.dtypes is None or dtype in f.dtypes}
    if order == 1:
        forms = {op: f for op, f in forms.items() if f.vjp or f.define}
    table = dict(OPS)
    for op, form in forms.items():
        vjp = (form.second if order > 1 else None) or form.vjp
        table[op] = replace(OPS[op], vjp=vjp or OPS[op].vjp, define=form.define or OPS[op].define)
    # A composite op may be made of one that has a form.
    nodes = (*graph.nodes, *lowered(graph, table).nodes) if forms else ()
    used = sorted({n.op for n in nodes if isinstance(n, Apply)} & set(forms))
    return table, "; ".join(f"{op}: {forms[op].reason}" for op in used)


def find_excuse(
    case: Case,
    subject: Framework,
    ref: Reference,
    right_under: RightUnder,
    *,
    lower: Lower | None = None,
    seed: int = 0,
) -> str:
    """Reason of the declared `Form`s that excuse every failing entry, or ""."""
    for reasons, budget_of in budgets_by_forms(case, subject, ref, lower=lower, seed=seed):
        # What leaves the range by such a formula is explained as well, hence no demand to pass.
        if right_under(budget_of(case.cotangent)):
            return reasons
    return ""


def budgets_by_forms(
    case: Case, subject: Framework, ref: Reference, *, lower: Lower | None = None, seed: int = 0
) -> Iterator[tuple[str, BudgetOf]]:
    """The reasons of declared `Form`s that the case is computed with, and the budgets by these, one after another.

    The budget is rerun with the texts of the forms, and with 16-bit partial sums where the subject declares them. The
    derivative of `lower` is that of the forms' texts: a rule is a function, and has one.
    """
    if case.function:
        return
    table, losses = with_forms(case.graph, subject.forms, case.dtype)
    by_forms, forms = case, dict[str, Any](table=table)
    if lower:
        differentiated, losses = with_forms(lower.graph, subject.forms, case.dtype, 2)
        recorded = _by(lower, case, differentiated) if losses else None
        # What a graph of other nodes has of zeros by structure is its own.
        by_forms, forms = recorded or case, {**forms, "dead": None, "idle": frozenset()}
        losses = losses if recorded else ""

    def truth_for(cotangent: Sequence[np.ndarray]) -> Truth:
        given = cotangent is case.cotangent
        return ref.truth if given else truth_of(replace(case, cotangent=tuple(cotangent)), seed=seed)

    def by(asked: Case, how: Mapping[str, Any]) -> BudgetOf:
        return lambda g: allowance(replace(asked, cotangent=tuple(g)), truth_for(g), seed=seed, **how)

    def by_complex_rules(cotangent: Sequence[np.ndarray]) -> tuple[Budget, str]:
        true = truth_for(cotangent)
        usual = ref.budget if cotangent is case.cotangent else allowance(case, true, seed=seed)
        gradients = {n: e.resolved for n, e in true.gradients.items()}
        asked = replace(case, cotangent=tuple(cotangent))
        return allowance_by_forms(asked, usual, gradients, subject.complex_forms, seed=seed)

    if subject.complex_forms and not ref.truth.kinks:
        try:
            _, reasons = by_complex_rules(case.cotangent)
        except Unsupported:
            reasons = ""
        if reasons:
            yield reasons, lambda g: by_complex_rules(g)[0]
    sums: str = subject.partial_sums if FORMATS[case.dtype].stores else ""
    if losses:
        yield losses, by(by_forms, forms)
    if sums:
        yield sums, by(case, {"stepwise": True})
    if losses and sums:
        yield f"{losses}; {sums}", by(by_forms, {**forms, "stepwise": True})


def _by(lower: Lower, case: Case, table: Table) -> Case | None:
    """`case`, by the texts of `table`; None where these cannot be recorded."""
    try:
        found = lower.by(table)
    except Unsupported:
        return None
    fits = found is not None and found.wrt == case.wrt
    return replace(case, graph=found.graph, values=found.values) if found is not None and fits else None
