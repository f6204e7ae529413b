"""Forward mode: is the JVP of a function right, along one random direction? (`judge.jvp` has its truth and budget.)"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import Unsupported
from ..core.verdict import FailKind, Outcome, Reason, Verdict
from ..frameworks.registry import of_functions
from ..judge.compare import Compared, compare
from ..judge.draws import tangents_of
from ..judge.jvp import Sides, differences, jvp_budget, kink_budget, one_sided
from ..namespaces.dtypes import FORMATS
from ..oracle.estimate import Estimate
from ..trace import Traced
from .driver import judge_detached_both_ways
from .opaque_orders import judge_opaque_jvp
from .question import Question
from .trace_case import trace_case


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
        if batched or fix_detached:
            raise
        return judge_opaque_jvp(q, e)
    tangents = tangents_of(case, [q.seed, 7])

    def verdict(outcome: Outcome, message: str = "", **fields: Any) -> tuple[Verdict, Traced]:
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
    except Exception as e:
        if "custom_vjp" in str(e):  # jax.custom_vjp documents that its functions have none
            return verdict(Outcome.INCONCLUSIVE, f"no forward mode: {_first(e)}", reason=Reason.NO_RULE)
        return verdict(Outcome.FAIL, f"forward mode raised {type(e).__name__}: {_first(e)}", kind=FailKind.RAISED)
    truths = differences(case, tangents)
    sides = one_sided(case, tangents) if truths is None else None
    if truths is None and sides is None:
        return verdict(Outcome.INCONCLUSIVE, reason=Reason.KINK)
    slopes = truths[1] if truths is not None else sides.ahead  # type: ignore[union-attr]
    shapes = [e.shape for e in slopes]
    if [p.shape for p in jvps] != shapes or any(str(p.dtype) != case.output_dtype(i) for i, p in enumerate(jvps)):
        got = ", ".join(f"{p.dtype}{list(p.shape)}" for p in jvps)
        message = f"tangents are {got}; the outputs are {case.dtype} of {shapes}"
        return verdict(Outcome.FAIL, message, kind=FailKind.STRUCTURE)
    if sides is None:
        allowed, branches = jvp_budget(case, tangents, slopes, q.seed)
    else:
        allowed, branches = kink_budget(case, tangents, sides, q.seed)
    compared = _compare_all(case, jvps, slopes, allowed, 1.0, sides)
    scaled = _compare_all(case, back, slopes, allowed, -2.0, sides)
    comparisons = tuple(c.comparison for c in compared)
    if any(c.failing.any() for c in compared):
        if sides is not None and not any(
            (c.failing & (low == high)).any() for c, low, high in zip(compared, sides.low, sides.high)
        ):
            return verdict(Outcome.INCONCLUSIVE, reason=Reason.KINK, comparisons=comparisons)
        if branches:
            return verdict(Outcome.INCONCLUSIVE, reason=Reason.BRANCH, comparisons=comparisons)
        bad = max((c for c in compared if c.failing.any()), key=lambda c: c.comparison.share).comparison
        kind = FailKind.NON_FINITE if any(c.non_finite.any() for c in compared) else FailKind.WRONG
        return verdict(Outcome.FAIL, f"the JVP is wrong: {bad.worst}", kind=kind, comparisons=comparisons)
    if any(c.failing.any() for c in scaled) and not branches:
        return verdict(
            Outcome.FAIL, "the JVP is not linear: a tangent of -2v does not give -2 times the result", kind=FailKind.LAW
        )
    if not all(c.passing.all() for c in compared):
        return verdict(Outcome.INCONCLUSIVE, reason=Reason.ORACLE, comparisons=comparisons)
    return verdict(Outcome.PASS, comparisons=comparisons)


def _first(e: Exception) -> str:
    return (str(e).strip().splitlines() or [""])[0]


def _compare_all(
    case: Case, jvps: tuple[np.ndarray, ...], slopes: tuple[Estimate, ...], allowed: list[np.ndarray], factor: float,
    sides: Sides | None,
) -> list[Compared]:  # fmt: skip
    between = [(None, None)] * len(jvps) if sides is None else list(zip(sides.low, sides.high))
    return [
        compare(f"tangent {i}" if len(jvps) > 1 else "tangent", np.asarray(got, dtype=np.float64) / factor, want, b,
                FORMATS[case.dtype], *between[i])
        for i, (got, want, b) in enumerate(zip(jvps, slopes, allowed))
    ]  # fmt: skip
