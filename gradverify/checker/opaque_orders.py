"""Functions without a graph beyond their VJP: the JVP against differences, and derivatives as functions in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import Unsupported
from ..core.verdict import Comparison, FailKind, Outcome, Reason, Verdict
from ..frameworks.registry import of_functions
from ..judge.draws import draw
from ..namespaces.dtypes import FORMATS, rounded
from ..trace import Traced
from .opaque import DIRECTIONS, ROUNDINGS, Opaque
from .orders import Mode, jvp_fn, vjp_fn
from .question import Question
from .trace_case import cotangent_at, trace_without_graph, wanted_inputs


@dataclass(frozen=True, eq=False)
class OpaquePoint:
    """What a case says of a function without a graph: the point, what is differentiated, and the cotangent."""

    values: Mapping[str, np.ndarray]
    wrt: tuple[str, ...]
    cotangent: tuple[np.ndarray, ...]
    dtype: str

    def dtype_of(self, name: str) -> str:
        return self.dtype


def opaque_point(q: Question, why: Unsupported) -> tuple[OpaquePoint, Traced]:
    """The point and the trace without a graph; raises `why` where the function has one, or several dtypes."""
    own = trace_without_graph(q, q.given)
    outputs = [o for o in own.outputs if o.position is not None]
    dtypes = {a.dtype for a in own.arguments if a.kind == "float"} | {o.dtype for o in outputs}
    if own.graph is not None or not outputs or len(dtypes) > 1 or q.reference or q.surrogate:
        raise why
    cotangent = cotangent_at(q, own, q.given, [o.shape for o in outputs], (own.dtype,) * len(outputs))
    return OpaquePoint(own.values, wanted_inputs(q, own), cotangent, own.dtype), own


def derive_opaque(q: Question, mode: Mode, why: Unsupported) -> Question:
    """The question one order up, of a function without a graph: differences of its derivative judge it."""
    point, own = opaque_point(q, why)
    fn, args = (
        vjp_fn(own, point, q.name) if mode == "rev" else jvp_fn(own, point, q.name, q.seed)  # type: ignore[arg-type]
    )
    return Question(
        fn, args, seed=q.seed, device=q.device, time_limit=q.time_limit, derived=True, framework=own.framework
    )


def judge_opaque_jvp(q: Question, why: Unsupported) -> tuple[Verdict, Traced]:
    """The JVP along a random direction against differences of the function along it, weighted at random three times.

    An output's tangent that is off by e shifts the weighted sum by e times its weight, of order one.
    """
    start = time.perf_counter()
    point, own = opaque_point(q, why)
    subject = of_functions(own.framework, q.device)
    rng = np.random.default_rng([q.seed, 9])
    tangents = {
        n: rounded(_scaled(draw(rng, np.shape(point.values[n])) / 2, point.values[n]), own.dtype) for n in point.wrt
    }
    notes = (*own.notes, f"it cannot be traced: {why}", "the JVP was held against differences of the function")

    def verdict(outcome: Outcome, message: str = "", **fields: Any) -> tuple[Verdict, Traced]:
        seconds = time.perf_counter() - start
        found = Verdict(outcome, f"JVP of {q.title(q.given)}", own.framework, own.dtype, message=message, seconds=seconds,
                        notes=notes, **fields)  # fmt: skip
        return found, own

    try:
        _, jvps = subject.run_jvp(own.function, point.values, tangents, False)
    except Unsupported:
        raise
    except NotImplementedError as e:
        return verdict(Outcome.INCONCLUSIVE, f"no forward mode: {e}", reason=Reason.NO_RULE)
    except Exception as e:
        if "custom_vjp" in str(e):
            return verdict(Outcome.INCONCLUSIVE, f"no forward mode: {e}", reason=Reason.NO_RULE)
        return verdict(Outcome.FAIL, f"forward mode raised {type(e).__name__}: {e}", kind=FailKind.RAISED)
    if [j.shape for j in jvps] != [g.shape for g in point.cotangent]:
        shapes = f"{[j.shape for j in jvps]}, of outputs {[g.shape for g in point.cotangent]}"
        return verdict(Outcome.FAIL, f"tangents of shapes {shapes}", kind=FailKind.STRUCTURE)
    wide = [np.asarray(j, dtype=np.float64) for j in jvps]
    if not all(np.isfinite(j).all() for j in wide):
        return verdict(Outcome.INCONCLUSIVE, "the JVP has entries that are not finite", reason=Reason.DOMAIN)
    roundoff = FORMATS[own.dtype].roundoff
    power = [np.full(j.shape, np.inf) for j in wide]
    resolved = False
    for k in range(DIRECTIONS):
        weights = tuple(draw(rng, j.shape) for j in wide)
        measured = Opaque(subject, own.function, point.values, point.wrt, weights, own.dtype).slope(tangents)
        if not np.isfinite(measured.bound):
            continue
        predicted = float(sum(np.sum(w * j) for w, j in zip(weights, wide)))
        allowed = measured.bound + ROUNDINGS * roundoff * float(
            sum(np.sum(np.abs(w * j)) for w, j in zip(weights, wide))
        )
        off = abs(predicted - measured.value)
        resolved |= allowed <= measured.steepest / 2 or measured.steepest == 0
        if off > allowed and measured.kink:
            return verdict(Outcome.INCONCLUSIVE, "the slopes of the two sides differ", reason=Reason.KINK)
        if off > allowed:
            message = (
                f"the JVP is wrong: weighted at random ({k + 1}) it comes to {predicted:.10g}; the function's slope is "
                f"{measured.value:.10g} ± {allowed:.2g}"
            )
            return verdict(Outcome.FAIL, message, kind=FailKind.WRONG)
        with np.errstate(divide="ignore", invalid="ignore"):
            power = [np.minimum(p, (allowed + off) / np.abs(w * j)) for p, w, j in zip(power, weights, wide)]
    if not resolved:
        why_not = "no step gave a stable slope: the point lies on a kink, or the function is too noisy"
        return verdict(Outcome.INCONCLUSIVE, why_not, reason=Reason.ORACLE)
    return verdict(Outcome.PASS, comparisons=tuple(_compared(i, p, j) for i, (p, j) in enumerate(zip(power, wide))))


def _scaled(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The tangent in units of each entry's size, so that a step leaves no domain such as x > 0."""
    size = np.abs(np.asarray(x, dtype=np.float64))
    return t * np.where((size > 0) & np.isfinite(size), size, 1.0)


def _compared(i: int, power: np.ndarray, jvp: np.ndarray) -> Comparison:
    seen = power[power <= 1]
    worst, typical = (float(seen.max()), float(np.median(seen))) if seen.size else (float("nan"),) * 2
    return Comparison(f"tangent {i}", jvp.size, 0, None, 0.0, worst, typical, int(((power > 1) & (jvp != 0)).sum()))
