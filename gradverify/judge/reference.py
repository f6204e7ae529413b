"""The reference of a case: the oracle's truth and the budget, computed once for all subjects."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from ..core.case import Case
from ..namespaces.dtypes import FORMATS, floats_in_float64, is_float, to_float64
from ..oracle.truth import Truth, truth
from .budget import RERUNS, SAFETY, Budget, Conditions, budget, finite, size_of


@dataclass(frozen=True, eq=False)
class Reference:
    truth: Truth
    budget: Budget


def in_doubles(case: Case) -> Case:
    """The same case with every number in float64, at the same point."""
    return replace(
        case,
        dtype="float64",
        mixed=None,
        values=floats_in_float64(case.values),
        cotangent=tuple(map(to_float64, case.cotangent)),
    )


_RECENT: OrderedDict[bytes, Reference] = OrderedDict()
_TRUTHS: OrderedDict[bytes, Truth] = OrderedDict()
_KEPT = 32

Kept = TypeVar("Kept", Reference, Truth)


def reference(case: Case, *, seed: int = 0, once: frozenset[str] = frozenset()) -> Reference:
    """Truth and budget of a case; the last few are cached, for the other subjects. `once` as in `Conditions`.

    Raises Unsupported for an op that no ball kernel exists for.
    """

    def make() -> Reference:
        true = truth_of(case, seed=seed)
        return Reference(true, allowance(case, true, seed=seed, once=once))

    return _recent(_RECENT, _key(case, seed, once), make)


def truth_of(case: Case, *, seed: int = 0) -> Truth:
    """The truth of a case, cached as its reference is; raises as that does."""
    key = _key(case, seed)
    if key in _RECENT:
        return _RECENT[key].truth
    make = lambda: truth(case.graph, case.values, case.cotangent, case.wrt, case.literal_dtype, seed=seed)
    return _recent(_TRUTHS, key, make)


def _recent(cache: OrderedDict[bytes, Kept], key: bytes, make: Callable[[], Kept]) -> Kept:
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    found = cache[key] = make()
    while len(cache) > _KEPT:
        cache.popitem(last=False)
    return found


def restrict_wrt(case: Case, wrt: tuple[str, ...], *, seed: int = 0) -> Case:
    """The case with only some of its inputs differentiated.

    Its reference is a part of the case's own, if that is cached: the others change neither truth nor rounding.
    """
    fewer = replace(case, wrt=wrt)
    whole, key = _RECENT.get(_key(case, seed)), _key(fewer, seed)
    if whole is not None and key not in _RECENT and not whole.truth.kinks:  # there, ties are held together
        _RECENT[key] = Reference(
            replace(whole.truth, gradients={n: whole.truth.gradients[n] for n in wrt}),
            replace(whole.budget, gradients={n: whole.budget.gradients[n] for n in wrt}),
        )
    return fewer


def allowance(case: Case, true: Truth, *, seed: int = 0, **how: Any) -> Budget:
    """The case's budget; `how` states other assumptions than the usual ones (see `Conditions`).

    Where the function is smooth and its graph is not, reruns at the point scatter around the graph's conventions. How
    much they scatter is what rounding does on the way that the graph takes; what it does next to the point is the other
    measure, and the larger one counts, unless the definition loses more than half of the digits there: one that cancels
    as expm1(x)/x does is no measure of the point, which it treats apart for that reason.
    """
    outputs, gradients = tuple(e.resolved for e in true.outputs), {n: e.resolved for n, e in true.gradients.items()}
    centre = {n: np.where(true.smooth[n], true.taken[n], g) if n in true.smooth else g for n, g in gradients.items()}
    usual = Conditions(seed=seed, at_kink=bool(true.kinks), dead=true.dead, idle=true.idle)
    found = budget(case, outputs, centre, replace(usual, **how))
    if true.low:
        found = _widen_to_sides(case, true, outputs, gradients, found, replace(usual, **how))
    if not any(m.any() for m in true.smooth.values()):
        return found
    near = budget(case, outputs, gradients, replace(Conditions(seed=seed, leaves=True), **how))
    u, scale = FORMATS[case.dtype].roundoff, size_of(case, outputs, gradients)
    merged = {}
    for n, g in gradients.items():
        length = np.maximum(np.abs(finite(case.values[n])), 1.0)
        here, there = found.gradients[n] + SAFETY * u * np.abs(g), near.gradients[n]
        counts = there <= math.sqrt(u) * np.maximum(np.abs(g), scale / length)
        both = np.where(
            np.isfinite(here), np.where(counts, np.maximum(here, there), here), np.where(counts, there, here)
        )
        merged[n] = np.where(true.smooth[n], both, found.gradients[n])
    return replace(found, gradients=merged)


def _widen_to_sides(
    case: Case, true: Truth, outputs: Sequence[np.ndarray], gradients: Mapping[str, np.ndarray], found: Budget,
    how: Conditions,
) -> Budget:  # fmt: skip
    """The budget at a kink, where the formula of either side is right."""
    every = replace(how, at_kink=False, loose=True, reruns=4 * RERUNS)
    free = budget(case, outputs, gradients, every) if found.branches else found
    unit = SAFETY * FORMATS[case.dtype].roundoff
    wider = {
        n: _of_either_side(b, free.gradients[n], true.low[n], true.high[n], unit) if n in true.low else b
        for n, b in found.gradients.items()
    }
    values = _continuous(case, outputs, found.outputs, free.outputs)
    return replace(found, outputs=values, gradients=wider)


def _continuous(
    case: Case, outputs: Sequence[np.ndarray], fixed: Sequence[np.ndarray], free: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """The budgets of values at a kink, where rounding may take either side: relu(1 - sum(softmax(x))) is 0 or an ulp of 1.

    At a step the sides are apart by more than half of the digits of the largest number there is, and no rounding excuses it.
    """
    numbers = (*outputs, *(to_float64(v) for v in case.values.values() if is_float(v)))
    with np.errstate(all="ignore"):
        largest = max((float(np.max(np.abs(a), initial=0.0)) for a in numbers), default=0.0)
        half = math.sqrt(FORMATS[case.dtype].roundoff) * largest
        return tuple(np.where(b <= half, np.fmax(a, b), a) for a, b in zip(fixed, free))


def _of_either_side(budget: np.ndarray, free: np.ndarray, low: np.ndarray, high: np.ndarray, unit: float) -> np.ndarray:
    """The budget at a kink for the formula of either side.

    The rounding of the result itself, which `budget` has for the convention's, is as large for that of a side. Where both
    sides are 0 (a correlation that is 1 by an identity, clipped at 1), one of them is 0 as a sum of terms that cancel, and
    rounding may take it: reruns of both are scattered by rounding alone.
    """
    with np.errstate(all="ignore"):
        size = np.fmax(np.abs(low), np.abs(high))
        wider = np.fmax(budget, np.where(np.isfinite(size), unit * size, 0.0))
        none = np.isfinite(size) & (size <= wider) & np.isfinite(free)
    return np.where(none, np.fmax(wider, free), wider)


def _key(case: Case, seed: int, once: frozenset[str] = frozenset()) -> bytes:
    """A digest of everything that the reference depends on."""
    h = hashlib.blake2b(digest_size=24)
    dtypes = case.dtype, case.literal_dtype, sorted(case.formats.items()), [case.dtype_of(n) for n in case.graph.inputs]
    found = case.graph.found
    if "text" not in found:  # some microseconds a node, and a check asks some thirty times
        found["text"] = repr(case.graph).encode()
    h.update(found["text"])
    h.update(repr((case.wrt, dtypes, case.parts, seed, sorted(once))).encode())
    for name, value in sorted(case.values.items()):
        h.update(name.encode() + np.ascontiguousarray(value).tobytes())
    for g in case.cotangent:
        h.update(np.ascontiguousarray(g).tobytes() + b"|")
    return h.digest()
