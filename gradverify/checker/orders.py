"""Higher orders: a VJP is a function of the arguments and a cotangent, a JVP one of the arguments and tangents.

A derivative of order k is compared with the trace of the derivative below it, and with the forward definition,
differentiated by the op table, where the two say another thing (`judge.orders`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from inspect import Parameter, Signature
from typing import Any, Literal

from ..core.case import Case
from ..core.errors import BadInput, Unsupported
from ..frameworks.base import Derived, values_of
from ..frameworks.registry import of_functions
from ..judge.draws import tangents_of
from ..judge.orders import Below
from ..trace import Traced
from .question import Question
from .trace_case import trace_case

Mode = Literal["rev", "fwd"]


def next_order(q: Question, traced: Traced, case: Case, mode: Mode, *, stop_gradients: bool) -> Question:
    """The question one order up, at the same point: about the VJP ("rev"), or the JVP ("fwd").

    `stop_gradients` as in Question: where the order below stops no gradient, its backward pass has no business to. Raises
    Unsupported where the framework's derivative is no differentiable function.
    """
    fn, args = vjp_fn(traced, case, q.name) if mode == "rev" else jvp_fn(traced, case, q.name, q.seed)
    below = None
    if not traced.detaches and q.surrogate is None:  # else another function than the whole one may be meant
        names = tuple(a.name for a in traced.arguments if a.role != "captured")
        below = Below(case, names, mode == "fwd", traced.custom, lambda args: _below_at(q, traced, case, mode, args))
    relaid = None
    if q.relaid is not None:  # what is added, cotangents or tangents, is drawn, and nobody's layout
        relaid = len(args) - sum(n in case.placed for n in values_of(traced, case))
    return Question(
        fn, args, seed=q.seed, device=q.device, time_limit=q.time_limit, stop_gradients=stop_gradients, derived=True,
        below=below, framework=traced.framework, relaid=relaid,
    )  # fmt: skip


def _below_at(q: Question, traced: Traced, case: Case, mode: Mode, args: Sequence[Any]) -> Below | None:
    """The order below a derivative, with its function traced once more, at other arguments."""
    before = tuple(a.name for a in traced.arguments if a.role != "captured")
    fn = lambda *arrays: traced.function(*arrays)
    fn.__name__ = fn.__qualname__ = q.name
    fn.__signature__ = _signature(before)  # type: ignore[attr-defined]
    asked = Question(
        fn,
        tuple(args),
        seed=q.seed,
        device=q.device,
        time_limit=q.time_limit,
        derived=q.derived,
        framework=traced.framework,
    )
    try:
        found, own = trace_case(asked)
    except (BadInput, Unsupported):
        return None
    names = tuple(a.name for a in own.arguments if a.role != "captured")
    new = dict(zip(before, names))
    if len(names) != len(before) or not {new[n] for n in case.wrt} <= set(found.graph.inputs):
        return None
    return Below(replace(found, wrt=tuple(new[n] for n in case.wrt)), names, mode == "fwd", traced.custom)


def vjp_fn(traced: Traced, case: Case, name: str) -> Derived:
    """(arguments, cotangents) -> gradients, and where: the VJP of the traced function at the case's point.

    Its parameters are named as the case's inputs are, as far as Python allows, then `cotangent` (`cotangent0`, ...).
    """
    fn, args = of_functions(traced.framework).lift_vjp(
        traced.function, values_of(traced, case), case.wrt, case.cotangent
    )
    fn.__name__ = fn.__qualname__ = f"VJP of {name}"
    several = len(case.cotangent) > 1
    labels = [*values_of(traced, case), *(f"cotangent{k if several else ''}" for k in range(len(case.cotangent)))]
    fn.__signature__ = _signature(labels)  # type: ignore[attr-defined]
    return fn, args


def jvp_fn(traced: Traced, case: Case, name: str, seed: int) -> Derived:
    """(arguments, tangents of those that are differentiated) -> tangents of the outputs, and where: the JVP of the traced
    function at the case's point, along tangents that are drawn as cotangents are. Raises Unsupported for a framework
    without a differentiable JVP."""
    tangents = tangents_of(case, [seed, 8])
    fn, args = of_functions(traced.framework).lift_jvp(traced.function, values_of(traced, case), tangents)
    fn.__name__ = fn.__qualname__ = f"JVP of {name}"
    fn.__signature__ = _signature([*values_of(traced, case), *(f"tangent of {n}" for n in tangents)])  # type: ignore[attr-defined]
    return fn, args


def _signature(labels: Sequence[str]) -> Signature:
    names = ["_".join(re.findall(r"\w+", label)) for label in labels]
    fine = len(set(names)) == len(names) and all(n.isidentifier() for n in names)
    names = names if fine else [f"x{k}" for k in range(len(names))]
    return Signature([Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in names])
