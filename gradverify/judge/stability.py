"""Does the definition itself lose digits that its problem does not?

The condition of a problem is what moving its inputs by an ulp does to the answer in exact arithmetic: nobody can do better.
A budget beyond that excuses the *formula* that the definition is written in: E[x²] - E[x]² in float32 at 1000 has no digit
to offer where the variance has six. A gradient that is right to such a budget is right to no digit of its problem's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flint import arb

from ..core.case import Case
from ..core.graph import Apply, Graph
from ..namespaces.dtypes import FORMATS, is_float, to_float64
from ..namespaces.nudged import Noise, NudgedNamespace
from ..namespaces.run import forward, reverse
from ..ops.build import lowered
from ..oracle.balls import BALLS
from ..oracle.estimate import Estimate
from ..oracle.precision import working
from ..oracle.truth import LADDER, SMALL, Truth
from .budget import SAFETY, Budget, other_part
from .wording import output_label, with_line

MOVES = 4
"""Points next to the given one; the largest move of an entry counts."""

MARGIN = 10.0
"""A chain of n stable operations errs by √n roundings of its own. A definition that errs by a digit more is unstable."""


@dataclass(frozen=True)
class Unstable:
    """A definition that loses digits.

    of       the array that loses most, `dx` or `out`
    lost     decimal digits, of the `digits` that the dtype has
    where    the node of the lowered graph where they go, as text; "" where it is none alone
    """

    of: str
    lost: float
    digits: float
    where: str

    def __str__(self) -> str:
        at = f"{self.where} " if self.where else "the definition "
        return f"unstable: {at}loses {self.lost:.1f} of {self.digits:.1f} digits of {self.of}, which the problem has"


def find_unstable(
    case: Case, true: Truth, allowed: Budget, outputs: Sequence[np.ndarray], seed: int = 0
) -> Unstable | None:
    """Where the definition loses more than half of the digits, and its problem does not; None where it is sound.

    `outputs` are what the subject computed: one that has its digits loses none, whatever text the op table has for it.

    At a kink nothing is said, nor of graphs whose balls would take long.
    """
    graph = lowered(case.graph)
    if true.kinks or sum(math.prod(n.shape) for n in graph.nodes) > SMALL:
        return None
    u, tiny = FORMATS[case.dtype].roundoff, FORMATS[case.dtype].tiny
    half = math.sqrt(u)
    arrays = _arrays(case, true, allowed)
    suspects = {}
    for label, (want, b, size) in arrays.items():
        known = np.isfinite(b) & (want.resolved != 0)
        # Below the normal numbers there are no digits.
        unsure = np.where(known, b, 0.0) > SAFETY * (half * size + 2 * tiny)
        if size and unsure.any():
            suspects[label] = unsure
    if not suspects:
        return None
    problem = _condition(case, graph, true, u, seed)
    if problem is None:
        return None
    got = {output_label(i, case.graph): out for i, out in enumerate(outputs)}
    ratios = {}
    for label, unsure in suspects.items():
        want, b, size = arrays[label]
        with np.errstate(all="ignore"):
            fair = SAFETY * (problem[label] + u * size)
            lost = want.error_of(got[label]) > fair if label in got else True
            ratios[label] = float(np.max(np.where(unsure & lost, b / fair, 0.0)))
    over = {label: r for label, r in ratios.items() if r > MARGIN * math.sqrt(max(graph.ops, 1))}
    if not over:
        return None
    gradients = {label: r for label, r in over.items() if label[1:] in case.wrt}
    label = max(gradients or over, key=over.__getitem__)  # a gradient counts for more than a value
    digits = -math.log10(u)
    share = min(math.log10(over[label]), digits)
    node = _where(case, graph, seed)
    return Unstable(label, share, digits, with_line(graph, node) if node >= 0 else "")


def _arrays(case: Case, true: Truth, allowed: Budget) -> dict[str, tuple[Estimate, np.ndarray, float]]:
    """Each output and gradient by its label: the truth, the budget, and the largest entry.

    A part of a complex number has the digits of the whole.
    """
    size = lambda e: float(np.max(np.abs(e.hi), initial=0.0))
    other = {i: k for pair in case.parts for i, k in (pair, pair[::-1])}
    outputs = [size(e) for e in true.outputs]
    gradients = {n: size(e) for n, e in true.gradients.items()}
    found = {
        output_label(i, case.graph): (e, allowed.outputs[i], max(outputs[i], outputs[other.get(i, i)]))
        for i, e in enumerate(true.outputs)
    }
    for n, e in true.gradients.items():
        found[f"d{n}"] = e, allowed.gradients[n], max(gradients[n], gradients.get(other_part(n), 0.0))
    return found


def _condition(case: Case, graph: Graph, true: Truth, u: float, seed: int) -> dict[str, np.ndarray] | None:
    """Label -> how far each entry moves in exact arithmetic, where inputs and cotangents move by a roundoff."""
    rng = np.random.default_rng([seed, 3])
    moved = {f"d{n}": np.zeros(true.gradients[n].shape) for n in case.wrt}
    moved |= {output_label(i, case.graph): np.zeros(e.shape) for i, e in enumerate(true.outputs)}
    with working(LADDER[0]):
        try:
            for _ in range(MOVES):
                near = {n: _near(v, u, rng) if is_float(v) else v for n, v in case.values.items()}
                nodes = forward(BALLS, graph, near, case.literal_dtype)
                cotangent = [_near(g, u, rng) for g in case.cotangent]
                adjoint = reverse(BALLS, graph, nodes, cotangent, case.wrt, dead=True)
                there = {f"d{n}": (adjoint.get(graph.inputs[n]), true.gradients[n]) for n in case.wrt}
                there |= {output_label(i, case.graph): (nodes[o], true.outputs[i]) for i, o in enumerate(graph.outputs)}
                for label, (balls, want) in there.items():
                    if balls is not None:
                        value = np.asarray(balls, dtype=object).astype(np.float64)
                        moved[label] = np.fmax(moved[label], np.abs(value - want.hi))
        except (ZeroDivisionError, ValueError):
            return None
        finally:
            BALLS.matrices.clear()
            BALLS.undecided = 0
    return moved


def _near(x: np.ndarray, u: float, rng: np.random.Generator) -> np.ndarray:
    factor = np.empty(np.shape(x), dtype=object)
    for at in np.ndindex(factor.shape):
        factor[at] = 1 + arb(float(u * rng.standard_normal()))
    return BALLS.multiply(BALLS.asarray(to_float64(x)), factor)


def _where(case: Case, graph: Graph, seed: int) -> int:
    """The node that multiplies the relative error of its arguments by most; -1 where none does by a digit."""
    errors = digits_lost(case, graph, seed)
    worst = max(errors, key=errors.__getitem__, default=-1)
    return worst if worst >= 0 and errors[worst] >= 1.0 else -1


def digits_lost(case: Case, graph: Graph, seed: int = 0) -> dict[int, float]:
    """Node of the lowered graph -> the decimal digits that it loses: its relative error over that of its arguments."""
    return _lost(graph, _relative_errors(case, graph, seed), FORMATS[case.dtype].roundoff)


def digits_left(case: Case, graph: Graph, seed: int = 0) -> dict[int, tuple[float, float]]:
    """Node of the lowered graph -> the decimal digits that rounding leaves of it, and those that it loses itself."""
    u, relative = FORMATS[case.dtype].roundoff, _relative_errors(case, graph, seed)
    lost = _lost(graph, relative, u)
    return {k: (-math.log10(max(relative[k], u)), max(lost[k], 0.0)) for k in lost}


def _lost(graph: Graph, relative: Mapping[int, float], u: float) -> dict[int, float]:
    return {
        k: math.log10(max(relative[k], u) / max([u, *(relative.get(a, 0.0) for a in node.args)]))
        for k, node in enumerate(graph.nodes)
        if isinstance(node, Apply) and k in relative
    }


def _relative_errors(case: Case, graph: Graph, seed: int) -> dict[int, float]:
    """Node of the lowered graph -> what rounding in the case's dtype scatters its value by."""
    xp = NudgedNamespace(Noise(FORMATS[case.dtype]))
    xp.noise.restart(seed, MOVES)
    with np.errstate(all="ignore"):
        nodes = forward(xp, graph, {n: xp.asarray(v) for n, v in case.values.items()}, case.dtype)
        return {k: _relative(nodes[k].each) for k in sorted(graph.active) if graph.nodes[k].kind == "float"}


def _relative(each: np.ndarray) -> float:
    """The scatter of an array over its reruns, along axis 0, relative to its largest entry; 0 for what is not finite."""
    if not each.size or not np.isfinite(each).all():
        return 0.0
    largest = float(np.max(np.abs(each)))
    if not largest:
        return 0.0
    each = each / largest  # whose squares are within the range
    size = float(np.max(np.abs(each.mean(axis=0))))
    return float(np.max(each.std(axis=0))) / size if size else 0.0
