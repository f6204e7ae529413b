"""The second opinion: before anybody is told FAIL, mpmath must agree with Arb.

mpmath shares no code with Arb. It evaluates the definition, and differences it once along a direction; both must be
what the balls said. This guards against a defect in one library, and against a kernel that our ball namespace binds
wrongly; it does not guard against a wrong `define`, which both read (the subject's forward value and the op tests do).
"""

from __future__ import annotations

from collections.abc import Mapping

import mpmath
import numpy as np

from ..core.errors import Unsupported
from ..core.graph import Graph
from ..namespaces.run import forward
from ..ops.build import lowered
from .mp import MPMATH
from .precision import working
from .truth import Truth

BITS = (200, 600, 2000)
"""Where the first rung contradicts Arb, it may have been its own rounding (the slope of tanh at 100 is 2**-286, next to
values of 1): the next one is asked. A step is 2**-(bits/3)."""

MAX_WORK = 200_000
"""Elements over all nodes; mpmath needs about 5 µs for each, several times over. Beyond it, no second opinion."""

AGREEMENT = 2.0**-100
"""A central difference at 200 bits with h = 2**-66 errs by c·h² = 2**-132·c and by rounding of 2**-134 relative to the
values that it mixes; a wrong kernel misses by 2**-53 or far more. Anything between separates the two where c, the third
derivative over the first, is of order one. Next to a singularity it is not, and the difference at h/2 tells it: the two
part by 3/4·c·h², three times what the finer one still errs by."""


def dissent(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    cotangent: tuple[np.ndarray, ...],
    dtype: str,
    truth: Truth,
    *,
    seed: int = 0,
) -> str:
    """What mpmath contradicts in `truth`, as a sentence; "" where it agrees, or cannot be asked."""
    flat = lowered(graph)
    work = sum(int(np.prod(n.shape)) for n in flat.nodes)
    if truth.method != "confirmed" or work > MAX_WORK:
        return ""
    said = ""
    for bits in BITS if work * 10 <= MAX_WORK else BITS[:1]:
        said = _contradicted(flat, values, cotangent, dtype, truth, seed, bits)
        if not said:
            break
    return said


def _contradicted(
    flat: Graph,
    values: Mapping[str, np.ndarray],
    cotangent: tuple[np.ndarray, ...],
    dtype: str,
    truth: Truth,
    seed: int,
    bits: int,
) -> str:
    rng = np.random.default_rng([seed, 2])
    with working(bits):
        floats = {n for n, k in flat.inputs.items() if flat.nodes[k].kind == "float"}
        start = {n: MPMATH.asarray(_wide(v)) if n in floats else np.asarray(v) for n, v in values.items()}
        weights = [MPMATH.asarray(_wide(g)) for g in cotangent]
        direction = {n: _lengths(_wide(values[n])) * rng.uniform(0.5, 1, e.shape) for n, e in truth.gradients.items()}

        def pairing(t: object) -> tuple[list[np.ndarray], object]:
            moved = start | {
                n: MPMATH.add(start[n], MPMATH.multiply(t, MPMATH.asarray(u))) for n, u in direction.items()
            }
            nodes = forward(MPMATH, flat, moved, dtype)
            outs = [MPMATH.asarray(nodes[o]) for o in flat.outputs]
            return outs, sum((MPMATH.sum(MPMATH.multiply(w, o))[()] for w, o in zip(weights, outs)), mpmath.mpf(0))

        try:
            outs, _ = pairing(mpmath.mpf(0))
            h = mpmath.ldexp(1, -(bits // 3))
            wide = (pairing(h)[1] - pairing(-h)[1]) / (2 * h)  # type: ignore[operator]
            slope = (pairing(h / 2)[1] - pairing(-h / 2)[1]) / h  # type: ignore[operator]
        except (Unsupported, ZeroDivisionError):
            return ""
        for i, (out, known) in enumerate(zip(outs, truth.outputs)):
            for at in np.ndindex(known.shape):
                want = mpmath.mpf(float(known.hi[at])) + mpmath.mpf(float(known.lo[at]))
                if not abs(out[at] - want) <= AGREEMENT * (abs(want) + abs(out[at])) + float(known.bound[at]):
                    return (
                        f"mpmath gives {mpmath.nstr(out[at], 25)} for output {i}{list(at)}, Arb {mpmath.nstr(want, 25)}"
                    )
        predicted, size = mpmath.mpf(0), mpmath.mpf(0)
        for n, e in truth.gradients.items():
            for at in np.ndindex(e.shape):
                term = (mpmath.mpf(float(e.hi[at])) + mpmath.mpf(float(e.lo[at]))) * float(direction[n][at])
                predicted += term
                size += abs(term) + mpmath.mpf(float(e.bound[at])) * float(direction[n][at]) / AGREEMENT
        if not abs(slope - predicted) <= AGREEMENT * (size + abs(slope)) + abs(wide - slope):
            return f"mpmath's directional derivative is {mpmath.nstr(slope, 25)}, Arb's {mpmath.nstr(predicted, 25)}"
    return ""


def _wide(x: object) -> np.ndarray:
    return np.asarray(x).astype(np.float64)


def _lengths(x: np.ndarray) -> np.ndarray:
    """The size of each entry, 1 at 0; infinities do not move."""
    return np.where(np.isfinite(x), np.where(x == 0, 1.0, np.abs(x)), 0.0)
