"""Laws of other dtypes and other devices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.case import Case
from ...core.errors import Unsupported
from ...frameworks.registry import find as find_subject
from ...namespaces.dtypes import is_float, rounded, to_float64
from ..reference import reference
from .autograd import autograd_law, first_difference
from .registry import Trial


@autograd_law
def _precision(t: Trial) -> str:
    """The gradient in the case's dtype is that in float64 at the same point, as far as rounding allows (for a float64
    case: that in float32). A branch on the dtype, or a literal that is not cast, shows here."""
    case = t.case
    low = case if case.dtype != "float64" else _cast_case(case, "float32", "float32")
    high = _cast_case(low, "float64", low.dtype)
    for other in (low, high):
        if other.dtype not in t.subject.dtypes:
            raise Unsupported(f"{t.subject.name} does not compute in {other.dtype}")
    seen, allowed = [], []
    for other in (low, high):
        if case.function is None:
            function = t.subject.function(other.graph, other.dtype)
        else:
            function = t.function
        seen.append(t.subject.run_vjp(function, other.values, other.wrt, other.cotangent))
        if seen[-1].raised is not None:
            raise Unsupported(f"in {other.dtype} it raises {type(seen[-1].raised).__name__}")
        found = reference(other).budget
        if found.branches:
            raise Unsupported(f"rounding in {other.dtype} may take another branch")
        allowed.append(found.gradients)
    for n in case.wrt:
        a, b = (s.gradients.get(n) for s in seen)
        if a is None and b is None:
            continue
        if a is None or b is None:
            return f"d{n} is None in one dtype and there in the other"
        broken = first_difference(f"d{n} in {low.dtype}", to_float64(b), to_float64(a), allowed[0][n] + allowed[1][n])
        if broken:
            return broken
    return ""


def _cast_case(case: Case, dtype: str, through: str) -> Case:
    """The case in another dtype, its values rounded to `through` first."""

    def cast(x: Any) -> Any:
        return rounded(to_float64(rounded(to_float64(x), through)), dtype) if is_float(x) else x

    values = {n: cast(v) for n, v in case.values.items()}
    return replace(case, dtype=dtype, values=values, cotangent=tuple(cast(g) for g in case.cotangent))


@autograd_law
def _devices(t: Trial) -> str:
    """The gradient on the GPU is that on the CPU, as far as rounding allows."""
    other = find_subject(t.subject.name, "cpu" if t.subject.device != "cpu" else "cuda")
    why = other.unavailable()
    if why:
        raise Unsupported(f"no second device: {why}")
    case = t.case
    function = t.function if case.function else other.function(case.graph, case.dtype)
    return t.differs(other.run_vjp(function, case.values, case.wrt, case.cotangent))
