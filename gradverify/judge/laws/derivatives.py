"""Laws of forward mode and of second derivatives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.case import Case
from ...core.errors import JUDGED, Unsupported
from ...core.graph import Graph
from ...frameworks.values import several
from ...namespaces import NUMPY
from ...namespaces.dtypes import is_float, numpy_dtype, to_float64
from ...namespaces.run import forward, reverse
from ...ops.build import lowered
from ..budget import budget as budget_of
from ..draws import draw
from ..jvp import differences, jvp_budget, vjp_graph
from .autograd import autograd_law, record
from .registry import Trial

RANGE = "an intermediate value leaves the range of the dtype"


@autograd_law
def _duality(t: Trial) -> str:
    """Forward and reverse mode describe one linear map: ⟨g, J·v⟩ = ⟨Jᵀ·g, v⟩. (JAX, Autodiff cookbook.)"""
    case = t.case
    if case.dtype not in ("float32", "float64") or set(case.wrt) != {n for n, v in case.values.items() if is_float(v)}:
        raise Unsupported("forward mode is asked in float32 and float64, along all inputs")
    tangents = {n: _direction(n, case) for n in case.wrt}

    def function(*arrays: Any) -> tuple[Any, ...]:
        return several(t.function(*arrays))

    try:
        _, jvps = t.subject.run_jvp(function, case.values, tangents, False)
    except Unsupported:
        raise
    except JUDGED as e:
        raise Unsupported(f"no forward mode: {str(e).strip().partition(chr(10))[0]}") from e
    found = differences(case, tangents)
    if found is None or found.kinks:  # there, both modes may be defensible and not one linear map
        raise Unsupported("the point lies on a kink")
    allowed, branches = jvp_budget(case, tangents, found, 0)
    if branches:
        raise Unsupported("rounding may take another branch")
    reverse = [(to_float64(g), to_float64(tangents[n]), t.budget[n]) for n in case.wrt
               if (g := t.first.gradients.get(n)) is not None]  # fmt: skip
    forth = [(to_float64(p), to_float64(g), b) for p, g, b in zip(jvps, case.cotangent, allowed)]
    left, right = (math.fsum(v for x, y, _ in side for v in (x * y).ravel().tolist()) for side in (forth, reverse))
    # Each entry within its budget of the truth, times what it is multiplied by; and the products' own rounding.
    room = sum(float(np.sum(b * np.abs(y)) + np.sum(np.abs(x * y)) * 2.0**-53) for x, y, b in (*forth, *reverse))
    if not math.isfinite(room):
        raise Unsupported(RANGE)
    if abs(left - right) <= room:
        return ""
    return f"⟨g, J·v⟩ is {left!r} and ⟨Jᵀ·g, v⟩ is {right!r}; rounding excuses {room:.3g}"


def _direction(name: str, case: Case, salt: int = 0) -> np.ndarray:
    shape = np.shape(case.values[name])
    rng = np.random.default_rng([sum(name.encode()), salt, len(shape)])
    return draw(rng, shape).astype(numpy_dtype(case.dtype))


@autograd_law
def _hessian_symmetry(t: Trial) -> str:
    """The second derivative of ⟨g, f⟩ is symmetric: u·(H·v) = v·(H·u), where the function is smooth. (H. A. Schwarz.)"""
    tape, case = t.subject.tape(), t.case
    along = [{n: _direction(n, case, salt) for n in case.wrt} for salt in (1, 2)]
    try:
        back, cotangents = vjp_graph(lowered(case.graph), case.wrt, "{}*", lambda k: k)
    except JUDGED as e:
        raise Unsupported(f"a rule of the op table cannot be recorded, so that there is no budget: {e}") from e
    sides, room = [], 0.0
    for v, u in (along, along[::-1]):
        leaves = tape.leaves(case.values, case.wrt)
        roots, seeds = record(t, tape, leaves)
        first = tape.module.autograd.grad(roots, list(leaves[n] for n in case.wrt), seeds, create_graph=True,
                                          allow_unused=True)  # fmt: skip
        pairs = [(g, tape.tensor(v[n])) for n, g in zip(case.wrt, first) if g is not None and g.requires_grad]
        if not pairs:
            return ""  # linear: the Hessian is zero
        try:
            second = tape.module.autograd.grad(
                [g for g, _ in pairs], [leaves[n] for n in case.wrt], [s for _, s in pairs], allow_unused=True
            )
        except RuntimeError as e:
            raise Unsupported(f"no second derivative: {str(e).partition(chr(10))[0]}") from e
        products = {
            n: np.zeros(np.shape(case.values[n])) if h is None else to_float64(tape.array(h))
            for n, h in zip(case.wrt, second)
        }
        allowed = _second_budget(back, cotangents, case, v)
        sides.append(math.fsum(x for n in case.wrt for x in (products[n] * to_float64(u[n])).ravel().tolist()))
        room += sum(
            float(np.sum((allowed[n] + np.abs(products[n]) * 2.0**-53) * np.abs(to_float64(u[n])))) for n in case.wrt
        )
    if not math.isfinite(room):
        raise Unsupported(RANGE)
    if abs(sides[0] - sides[1]) <= room:
        return ""
    return f"u·(H·v) is {sides[0]!r} and v·(H·u) is {sides[1]!r}; rounding excuses {room:.3g}"


def _second_budget(
    back: Graph, cotangents: Sequence[str], case: Case, v: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The budget of H·v: that of the VJP of the VJP, which is recorded as a graph."""
    flat = lowered(back)
    values = {**case.values, **dict(zip(cotangents, case.cotangent))}
    values = {n: values[n] for n in back.inputs}
    given = tuple(np.asarray(v[n]) for n in case.wrt)
    with np.errstate(all="ignore"):
        nodes = forward(NUMPY, flat, {n: to_float64(x) if is_float(x) else x for n, x in values.items()}, "float64")
        adjoint = reverse(NUMPY, flat, nodes, [to_float64(g) for g in given], case.wrt)
    outputs = tuple(np.asarray(nodes[o], dtype=np.float64) for o in flat.outputs)
    products = {n: np.asarray(adjoint.get(flat.inputs[n], np.zeros(np.shape(case.values[n])))) for n in case.wrt}
    found = budget_of(replace(case, graph=back, values=values, cotangent=given, parts=()), outputs, products)
    if found.branches:
        raise Unsupported("rounding may take another branch")
    return {n: found.gradients[n] for n in case.wrt}
