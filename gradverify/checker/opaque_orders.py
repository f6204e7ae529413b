"""Functions without a graph: their derivatives as functions in turn, which differences judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..core.errors import Unsupported
from ..trace import Traced
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
