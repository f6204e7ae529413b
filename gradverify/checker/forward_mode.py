"""Forward mode: is the JVP of a function right, along one random direction? (`judge.jvp` has its truth and budget.)"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import JUDGED, Unsupported
from ..core.verdict import FailKind, Outcome, Reason, Verdict
from ..frameworks.registry import of_functions
from ..judge.compare import Compared, compare
from ..judge.decide import point_without_value
from ..judge.draws import tangents_of
from ..judge.excuses import with_forms
from ..judge.holomorphic import pushforward_by_forms
from ..judge.jvp import Slopes, differences, jvp_budget
from ..namespaces.dtypes import FORMATS, to_float64
from ..trace import Traced
from .driver import judge_detached_both_ways, judge_without_definition
from .opaque import judge_opaque_jvp
from .question import Question
from .trace_case import trace_case

AT_INFINITY = "an argument is infinite or NaN there, where nothing moves along a tangent"


def judge_jvp(q: Question, *, batched: bool = False) -> Verdict:
    """The verdict on the JVP of `q.fn` at its point; with `batched`, of the JVP under vmap.

    Raises BadInput and Unsupported as `driver.judge_question` does.
    """
    return judge_detached_both_ways(q, lambda fix_detached: _judge(q, batched, fix_detached))[0]


def _judge(q: Question, batched: bool, fix_detached: bool) -> tuple[Verdict, Traced]:
    start = time.perf_counter()
    try:
        case, traced = trace_case(q, fix_detached=fix_detached)
    except Unsupported as e:
        found = None if batched or q.reference or q.surrogate else _judge_opaque(q, str(e))
        if found is None:
            raise
        return found
    tangents = tangents_of(case, [q.seed, 7])

    infinite = any(not np.isfinite(to_float64(case.values[n])).all() for n in case.wrt)

    def verdict(outcome: Outcome, message: str = "", **fields: Any) -> tuple[Verdict, Traced]:
        if infinite and not outcome and fields.get("kind") in (None, FailKind.WRONG, FailKind.NON_FINITE):
            outcome, message, fields = Outcome.INCONCLUSIVE, AT_INFINITY, {"reason": Reason.DOMAIN}
        found = Verdict(outcome, f"JVP of {case.name}", traced.framework, case.dtype, message=message,
                       graph=case.graph.text(), seconds=time.perf_counter() - start, notes=traced.notes,
                        **fields)  # fmt: skip
        return found, traced

    run = of_functions(traced.framework, q.device).run_jvp
    try:
        _, jvps = run(traced.function, case.values, tangents, batched)
        _, back = run(traced.function, case.values, {n: -2 * t for n, t in tangents.items()}, batched)
    except Unsupported:
        raise
    except NotImplementedError as e:
        return verdict(Outcome.INCONCLUSIVE, f"no forward mode: {_first(e)}", reason=Reason.NO_RULE)
    except JUDGED as e:
        if "custom_vjp" in str(e):  # jax.custom_vjp documents that its functions have none
            return verdict(Outcome.INCONCLUSIVE, f"no forward mode: {_first(e)}", reason=Reason.NO_RULE)
        return verdict(Outcome.FAIL, f"forward mode raised {type(e).__name__}: {_first(e)}", kind=FailKind.RAISED)
    true = differences(case, tangents, seed=q.seed)
    if true is None:
        return verdict(Outcome.INCONCLUSIVE, "a comparison of the definition is undecidable here", reason=Reason.ORACLE)
    if outside := point_without_value(true.values):
        return verdict(Outcome.INCONCLUSIVE, outside[1], reason=outside[0])
    slopes = true.slopes
    shapes = [e.shape for e in slopes]
    if [p.shape for p in jvps] != shapes or any(str(p.dtype) != case.output_dtype(i) for i, p in enumerate(jvps)):
        got = ", ".join(f"{p.dtype}{list(p.shape)}" for p in jvps)
        message = f"tangents are {got}; the outputs are {case.dtype} of {shapes}"
        return verdict(Outcome.FAIL, message, kind=FailKind.STRUCTURE)
    allowed, branches = jvp_budget(case, tangents, true, q.seed)
    compared = _compare_all(case, jvps, true, allowed, 1.0)
    scaled = _compare_all(case, back, true, allowed, -2.0)
    comparisons = tuple(c.comparison for c in compared)
    if any(c.failing.any() for c in compared):
        if branches:
            return verdict(Outcome.INCONCLUSIVE, reason=Reason.BRANCH, comparisons=comparisons)
        bad = max((c for c in compared if c.failing.any()), key=lambda c: c.comparison.share).comparison
        kind = FailKind.NON_FINITE if any(c.non_finite.any() for c in compared) else FailKind.WRONG
        message = f"the JVP is wrong: {bad.worst}"
        known = "" if traced.custom else _find_excuse(case, traced.framework, q, tangents, jvps, true)
        if known:
            kind = FailKind.PRECISION if kind is FailKind.WRONG else kind
            return verdict(Outcome.KNOWN, message, kind=kind, comparisons=comparisons, known=known)
        return verdict(Outcome.FAIL, message, kind=kind, comparisons=comparisons)
    if any(c.failing.any() for c in scaled) and not branches:
        return verdict(
            Outcome.FAIL, "the JVP is not linear: a tangent of -2v does not give -2 times the result", kind=FailKind.LAW
        )
    if not all(c.passing.all() for c in compared):
        reason = Reason.KINK if true.kinks else Reason.ORACLE
        return verdict(Outcome.INCONCLUSIVE, reason=reason, comparisons=comparisons)
    return verdict(Outcome.PASS, comparisons=comparisons)


def _first(e: BaseException) -> str:
    return (str(e).strip().splitlines() or [""])[0]


def _judge_opaque(q: Question, why: str) -> tuple[Verdict, Traced] | None:
    """The verdict on the JVP of an untraceable function, from its differences; None where these cannot be had."""

    def judge(name: str, *args: Any, **options: Any) -> Verdict:
        return judge_opaque_jvp(f"JVP of {name}", *args, **options)

    try:
        return judge_without_definition(q, q.given, why, judge=judge)
    except Unsupported:
        raise
    except NotImplementedError as e:
        raise Unsupported(f"no forward mode: {_first(e)}") from e
    except JUDGED as e:
        if "custom_vjp" in str(e):
            raise Unsupported(f"no forward mode: {_first(e)}") from e
        raise


def _find_excuse(
    case: Case, framework: str, q: Question, tangents: Mapping[str, np.ndarray], jvps: tuple[np.ndarray, ...],
    true: Slopes,
) -> str:  # fmt: skip
    """Reason of the framework's declared `Form`s that excuse every failing entry, or "".

    A JVP rule has the factor that the VJP rule has: the budget is that of the pushforward of the forms' texts.
    """
    subject = of_functions(framework)
    table, reason = with_forms(case.graph, subject.forms, case.dtype)

    def explains(**how: Any) -> bool:
        # A formula with a branch of its own (the quotients of prod, where no factor is 0) tells nothing where it turns.
        allowed, branches = jvp_budget(case, tangents, true, q.seed, **how)
        return not branches and not any(c.failing.any() for c in _compare_all(case, jvps, true, allowed, 1.0))

    try:
        if reason and explains(table=table):
            return reason
        other = pushforward_by_forms(case.graph, case.wrt, subject.complex_forms)
        return other[1] if other and explains(graph=other[0]) else ""
    except Unsupported:
        return ""


def _compare_all(
    case: Case, jvps: tuple[np.ndarray, ...], true: Slopes, allowed: list[np.ndarray], factor: float
) -> list[Compared]:
    return [
        compare(f"tangent {i}" if len(jvps) > 1 else "tangent", np.asarray(got, dtype=np.float64) / factor, want, b,
                FORMATS[case.dtype], *true.sides(i))
        for i, (got, want, b) in enumerate(zip(jvps, true.slopes, allowed))
    ]  # fmt: skip
