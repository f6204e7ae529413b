"""What a case is held against: the oracle's truth and the budget, computed once and shared by all subjects."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.case import Case
from ..oracle.truth import Truth, truth
from .budget import SAFETY, Allowance, Budget, budget, finite, size_of
from .dtypes import FORMATS


@dataclass(frozen=True, eq=False)
class Reference:
    truth: Truth
    budget: Budget


_RECENT: OrderedDict[bytes, Reference] = OrderedDict()
_KEPT = 32


def reference(case: Case, *, seed: int = 0) -> Reference:
    """Truth and budget of a case; the last few are kept, since each is asked for once per subject.

    Raises Unsupported for an op that no ball kernel exists for.
    """
    key = _key(case, seed)
    if key in _RECENT:
        _RECENT.move_to_end(key)
        return _RECENT[key]
    true = truth(case.graph, case.values, case.cotangent, case.wrt, case.literal_dtype, seed=seed)
    _RECENT[key] = Reference(true, allowance(case, true, seed=seed))
    while len(_RECENT) > _KEPT:
        _RECENT.popitem(last=False)
    return _RECENT[key]


def narrowed(case: Case, wrt: tuple[str, ...], *, seed: int = 0) -> Case:
    """The case with only some of its inputs differentiated. Its reference is a part of the case's own, if that is kept:
    what is asked of the others changes neither truth nor rounding."""
    fewer = replace(case, wrt=wrt)
    whole, key = _RECENT.get(_key(case, seed)), _key(fewer, seed)
    if whole is not None and key not in _RECENT and not whole.truth.kinks:  # there, ties are held together
        _RECENT[key] = Reference(
            replace(whole.truth, gradients={n: whole.truth.gradients[n] for n in wrt}),
            replace(whole.budget, gradients={n: whole.budget.gradients[n] for n in wrt}),
        )
    return fewer


def allowance(case: Case, true: Truth, *, seed: int = 0, **how: Any) -> Budget:
    """The case's budget; `how` states other assumptions than the usual ones (see `budget.budget`).

    Where the function is smooth and its graph is not, reruns at the point scatter around the graph's conventions. How
    much they scatter is what rounding does on the way that the graph takes; what it does next to the point is the other
    measure, and the larger one counts, unless the definition loses more than half of the digits there: one that cancels
    as expm1(x)/x does is no measure of the point, which it treats apart for that reason.
    """
    outputs, gradients = tuple(e.told for e in true.outputs), {n: e.told for n, e in true.gradients.items()}
    centre = {n: np.where(true.smooth[n], true.taken[n], g) if n in true.smooth else g for n, g in gradients.items()}
    how = {**how, "seed": seed, "parts": case.parts}
    rest = case.graph, case.values, case.cotangent, case.wrt, case.dtype, outputs
    found = budget(*rest, centre, at_kink=bool(true.kinks), dead=true.dead, idle=true.idle, **how)
    if not any(m.any() for m in true.smooth.values()):
        return found
    near = budget(*rest, gradients, leaves=True, **how)
    u = FORMATS[case.dtype].roundoff
    scale = size_of(case.cotangent, outputs, gradients, case.values)
    merged = {}
    for n, g in gradients.items():
        length = np.maximum(np.abs(finite(case.values[n])), 1.0)
        here, there = found.gradients[n].budget + SAFETY * u * np.abs(g), near.gradients[n].budget
        counts = there <= math.sqrt(u) * np.maximum(np.abs(g), scale / length)
        both = np.where(
            np.isfinite(here), np.where(counts, np.maximum(here, there), here), np.where(counts, there, here)
        )
        merged[n] = Allowance(np.where(true.smooth[n], both, found.gradients[n].budget))
    return replace(found, gradients=merged)


def _key(case: Case, seed: int) -> bytes:
    """A digest of everything that the reference depends on."""
    h = hashlib.blake2b(digest_size=24)
    h.update(repr((case.graph, case.wrt, case.dtype, case.literal_dtype, case.parts, seed)).encode())
    for name, value in sorted(case.values.items()):
        h.update(name.encode() + np.ascontiguousarray(value).tobytes())
    for g in case.cotangent:
        h.update(np.ascontiguousarray(g).tobytes() + b"|")
    return h.digest()
