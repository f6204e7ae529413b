"""The second order of a case: the VJP of its VJP, each as the forward definition and the op table have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import ShapeError, Unsupported
from ..frameworks.base import Framework
from ..namespaces.dtypes import rounded
from ..namespaces.run import Table, needed
from ..ops import OPS
from ..ops.build import lowered
from ..ops.complex.lowering import is_complex
from .exact import several
from .jvp import vjp_graph


def second_order(case: Case, seed: int, table: Table = OPS) -> Case:
    """The case of the VJP: its inputs are those of `case` and then its cotangents, its outputs the gradients.

    The cotangent of the gradients is drawn. With other texts in `table` it is the VJP by these: the same question, put to
    the formula of a framework. Raises Unsupported for complex graphs, for rules that cannot be recorded, and
    where no gradient depends on anything.
    """
    if is_complex(case.graph):
        raise Unsupported("the second order of a complex graph has no graph over pairs of reals")
    flat = lowered(case.graph, table)
    wrt = tuple(n for n in case.wrt if not needed(flat, (n,)).isdisjoint(flat.outputs))
    if not wrt:
        raise Unsupported("no output depends differentiably on an input")
    try:
        graph, cotangents = vjp_graph(flat, wrt, "cotangent{}", lambda k: k, table)
    except (AttributeError, TypeError, KeyError, ShapeError) as e:
        raise Unsupported(f"the rule of an op cannot be recorded ({type(e).__name__}: {e})") from e
    rng = np.random.default_rng([seed, 2])
    shapes = [graph.nodes[o].shape for o in graph.outputs]
    return replace(
        case,
        name=f"VJP of {case.name}",
        graph=graph,
        values={**case.values, **dict(zip(cotangents, case.cotangent))},
        cotangent=tuple(rounded(rng.normal(size=s), case.dtype) for s in shapes),
        wrt=(*wrt, *cotangents),
    )


def pulled(case: Case, second: Case, subject: Framework) -> Callable[..., Any]:
    """The subject's own VJP of the case's graph, over the inputs of `second`. Raises Unsupported where it has none."""
    gradients = tuple(n for n in second.wrt if n in case.values)
    function = subject.function(case.graph, case.dtype)
    pull, _ = subject.lift_vjp(several(function), case.values, gradients, case.cotangent)

    def run(*arrays: Any) -> Any:
        found = pull(*arrays)
        if len(found) != len(gradients):
            raise Unsupported("some gradient is None, where the definition has zeros")
        return found

    return run
