"""Laws that any VJP keeps, each one small declaration; none needs the oracle.

A law asks the subject again and compares with its first answer. Where rounding may legitimately differ (another order
of summation on another layout, atomic additions), the budget decides, never bits: what only bits show is a note on the
PASS, and fails who asks for it by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from ...core.case import Case
from ...core.errors import Unsupported
from ...frameworks.base import Observation
from ...namespaces import NUMPY
from ...namespaces.dtypes import FORMATS, floats_in_float64, is_float, to_float64
from ...namespaces.run import forward, reverse
from ...ops.build import lowered
from ...trace.value import HandWrittenFunction
from ..reference import reference
from .registry import CaseLaw, Trial, changed_inputs, declare_combined, declare_glance, register_law

LARGE: Mapping[str, int] = MappingProxyType({"float64": 40, "float32": 20, "bfloat16": 20})
"""Cotangents are scaled by 2^±LARGE (1e±12, 1e±6): beyond any threshold that a clip, a flush to zero or an eps is likely to
have, and an eighth at most of the exponents to either side, so that the rest is left to the values. Those of float16 end
at 2^15 and 2^-14: it is not asked."""


def to_strided(x: np.ndarray) -> np.ndarray:
    """A copy in memory that is neither contiguous nor in C order, at an offset."""
    room = np.zeros((*x.shape[::-1], 2), dtype=x.dtype)
    view = room[..., 1].T
    view[...] = x
    return view


def to_column_major(x: np.ndarray) -> np.ndarray:
    return np.array(x, order="F")  # np.asfortranarray turns 0-d into (1,)


def to_padded_rows(x: np.ndarray) -> np.ndarray:
    """A copy whose last axis is contiguous, and whose rows lie farther apart than they are long.

    The offset is even: pairs of reals at an odd one cannot be seen as complex numbers, and nobody lays them out so.
    """
    if x.ndim < 2:
        return np.array(x)
    room = np.zeros((*x.shape[:-1], x.shape[-1] + 4), dtype=x.dtype)
    view = room[..., 2:-2]
    view[...] = x
    return view


def to_reversed(x: np.ndarray) -> np.ndarray:
    """A copy in memory that runs from the last entry to the first: every stride is negative."""
    reversed_axes = tuple(slice(None, None, -1) for _ in x.shape)
    return np.array(x[reversed_axes], order="C")[reversed_axes]


def _scale(g: np.ndarray, k: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        return (g * g.dtype.type(k)) if is_float(g) else g


def _ask_scaled(t: Trial, factor: float) -> Observation:
    return t.ask([_scale(g, factor) for g in t.case.cotangent])


def _determinism(t: Trial) -> str:
    return t.own.differs(t.own.ask(), slack=0.0)


def _repeat(t: Trial) -> str:
    return t.own.differs(t.own.ask())


def _scaling(t: Trial) -> str:
    return t.differs(_ask_scaled(t, -2.0), -2.0)


# ---- powers of two ------------------------------------------------------------------------------------------------


def formats_of(case: Case) -> tuple[str, ...]:
    """The dtypes that a case's values and cotangents are stored in."""
    several = () if case.mixed is None else (*case.mixed.inputs.values(), *case.mixed.outputs)
    return tuple(dict.fromkeys((case.dtype, *several)))


def _powers(case: Case) -> tuple[float, ...]:
    """Scaling factors of either sign, far above and below 1; none where a format of the case ends too soon."""
    formats = formats_of(case)
    if any(f not in LARGE for f in formats):
        return ()
    k = min(LARGE[f] for f in formats)
    return -(2.0**-k), 2.0**k


def in_range(case: Case, factor: float) -> bool:
    """Do all numbers of the backward pass stay normal for `factor` times the cotangent, whatever the formula?

    An op multiplies its output's adjoint by partial derivatives. In the op table, and in the other formulas in use, a
    partial derivative is built from at most two values or their inverses (1/x², out/x, x/y²). So, with all values of the
    graph within 2^±s and all adjoints within 2^lo and 2^hi, the numbers of any of these lie within 2^(lo-2s) and
    2^(hi+2s), and their sums below the size of the largest array times that.
    """
    flat = lowered(case.graph)
    with np.errstate(all="ignore"):
        values = floats_in_float64(case.values)
        nodes = forward(NUMPY, flat, values, case.literal_dtype)
        adjoints = reverse(NUMPY, flat, nodes, [to_float64(g) for g in case.cotangent], case.wrt, dead=True)
    sizes = [_exponents(nodes[k]) for k in adjoints]
    lo, hi = zip(*map(_exponents, [*adjoints.values(), *map(to_float64, case.cotangent)]))
    s = max((max(-a, b) for a, b in sizes), default=0.0)
    terms = math.log2(max((np.size(nodes[k]) for k in adjoints), default=1) or 1)
    shift = math.log2(abs(factor))
    return all(
        min(lo) - 2 * s + min(shift, 0.0) >= math.log2(FORMATS[f].tiny)
        and max(hi) + 2 * s + terms + max(shift, 0.0) < math.log2(FORMATS[f].huge)
        for f in formats_of(case)
    )


def _exponents(x: np.ndarray) -> tuple[float, float]:
    """The powers of two between which the nonzero entries lie; (0, 0) without any, infinite for NaN and inf."""
    size = np.abs(np.asarray(x, dtype=np.float64))
    size = size[size != 0]
    if not size.size:
        return 0.0, 0.0
    if not np.isfinite(size).all():
        return -math.inf, math.inf
    return float(np.log2(size.min())), float(np.log2(size.max()))


def _budgets(t: Trial, *cotangents: Sequence[np.ndarray]) -> dict[str, np.ndarray | float]:
    """The sum of the budgets for other cotangents.

    Infinite where a number overflows for them; numbers that underflow may be flushed to zero.
    """
    usual = lambda given: reference(replace(t.case, cotangent=tuple(given))).budget.gradients
    found = [(t.budget_of or usual)(given) for given in cotangents]
    return {n: sum(b[n] for b in found) for n in t.case.wrt}


def _far_scaling(t: Trial) -> str:
    for factor in _powers(t.case):
        got = _ask_scaled(t, factor)
        broken = t.differs(got, factor)
        if not broken:
            continue
        # Near the ends of the range that cotangent has a budget of its own: then one of either for each answer.
        scaled = [_scale(g, factor) for g in t.case.cotangent]
        broken = t.differs(got, factor, slack=1.0, more=_budgets(t, scaled))
        # A sound formula may leave the range on its way there, as g·x/r does for g·(x/r): the law asks for no such point.
        if broken and in_range(t.case, factor):
            return f"for {_power_text(factor)} times the cotangent {broken}"
    return ""


def _power_text(factor: float) -> str:
    return f"{'-' if factor < 0 else ''}2^{round(math.log2(abs(factor)))}"


REPEATS = 3
"""Before bits count, both cotangents are asked so many times more, in turn. A subject that picks one of two results at
random, with probability p, then looks deterministic and inexact with p⁴(1-p)⁴ at most, 1 in 256."""


def _unsteady(t: Trial, factor: float, scaled: Observation) -> float:
    """The largest difference of repeated calls in ulps, for the first and for the scaled cotangent."""
    again = replace(t, first=scaled)
    return max(max(t.ulps(t.ask()), again.ulps(_ask_scaled(t, factor))) for _ in range(REPEATS))


def _exact_scaling(t: Trial) -> str:
    """Multiplication by a power of two commutes with rounding to nearest as long as no number under- or overflows; so it
    does with every product, quotient and sum of which g is a factor, fused or not, in whatever order.

    Legitimately not so: log-space arithmetic (torch.logcumsumexp goes through log|g|), quantisation by max|g|, stochastic
    rounding. That is why it is no default law, and there makes a note.
    """
    for factor in (-2.0, *_powers(t.case)):
        got = _ask_scaled(t, factor)
        off = t.ulps(got, factor)
        if not off:
            continue
        if not in_range(t.case, factor):
            raise Unsupported(f"with {_power_text(factor)} times the cotangent some number may leave the dtype's range")
        spread = _unsteady(t, factor, got)
        if spread:
            raise Unsupported(f"repeated calls differ by up to {spread:.3g} ulp")
        return (
            f"for {_power_text(factor)} times the cotangent it is off by up to {off:.3g} ulp, and repeated calls agree"
        )
    return ""


def _clears_far_scaling(t: Trial) -> bool:
    """Do the far cotangents, and a repeated call, clear `far_scaling` and `repeat`? Differences in bits are noted."""
    for factor in _powers(t.case) or (-2.0,):
        got = _ask_scaled(t, factor)
        if t.differs(got, factor):
            return False
        off = t.ulps(got, factor)
        if off and not t.notes:
            spread = _unsteady(t, factor, got)
            if spread:
                t.notes.append(unsteady_note(spread))
            elif in_range(t.case, factor):
                t.notes.append(
                    f"the VJP is linear within rounding, not to the bit: for {_power_text(factor)} times the cotangent "
                    f"it is off by up to {off:.3g} ulp"
                )
    return True


def unsteady_note(ulps: float) -> str:
    return f"repeated calls with the same arguments differ, within rounding: by up to {ulps:.3g} ulp"


def _layout(t: Trial) -> str:
    if not t.subject.has_strides:
        return ""
    asked = (t.ask([lay(g) for g in t.case.cotangent]) for lay in (to_strided, to_padded_rows, to_column_major))
    return next(filter(None, map(t.differs, asked)), "")


def _zero(t: Trial) -> str:
    """0·inf is NaN, rightly, where the gradient is not finite for g either; and None is a zero."""
    got = _ask_scaled(t, 0.0)
    if got.raised is not None:
        return t.differs(got)
    for name in t.case.wrt:
        a, b = t.first.gradients.get(name), got.gradients.get(name)
        if b is None or a is None or a.shape != b.shape:
            continue
        off = np.isfinite(to_float64(a)) & (to_float64(b) != 0)
        if off.any():
            at = tuple(int(i) for i in np.argwhere(off)[0])
            return f"d{name}{list(at) if at else ''} is {float(to_float64(b)[at])!r}"
    return ""


def _sum(t: Trial, parts: Sequence[Observation]) -> Observation:
    total: dict[str, np.ndarray | None] = {}
    with np.errstate(all="ignore"):
        for n in t.case.wrt:
            there = [g for p in parts if (g := p.gradients.get(n)) is not None]
            total[n] = sum(there[1:], start=there[0]) if there else None
    return Observation(gradients=total, raised=next((p.raised for p in parts if p.raised is not None), None))


def _differs_in_parts(t: Trial, masks: Sequence[np.ndarray]) -> str:
    """vjp(g) = vjp(a) + vjp(g - a) with a = g masked: exact parts, so only the VJP's own rounding is left."""
    parts = [
        [np.where(m, g, g.dtype.type(0)) for m, g in zip(masks, t.case.cotangent)],
        [np.where(m, g.dtype.type(0), g) for m, g in zip(masks, t.case.cotangent)],
    ]
    total = _sum(t, [t.ask(part) for part in parts])
    # Three roundings of up to a budget each, and the addition. Where the parts cancel, theirs are larger.
    return t.differs(total, slack=4.0) and t.differs(total, slack=2.0, more=_budgets(t, *parts))


def _one_hot(t: Trial) -> str:
    """The largest entry of the cotangent alone, like a row of the Jacobian, and the rest."""
    sizes = [np.abs(to_float64(g)) if is_float(g) and g.size else np.zeros(0) for g in t.case.cotangent]
    if sum(s.size for s in sizes) < 2:
        return ""
    at = max(range(len(sizes)), key=lambda i: float(np.max(sizes[i], initial=-1.0)))
    masks = [np.zeros(g.shape, dtype=bool) for g in t.case.cotangent]
    masks[at].reshape(-1)[int(np.argmax(sizes[at]))] = True
    return _differs_in_parts(t, masks)


def _expanded(t: Trial) -> str:
    """A sum's cotangent: a single 1 in memory, with strides of 0. It has a budget of its own."""
    ones = [np.ones(g.shape, g.dtype) if is_float(g) else g for g in t.case.cotangent]
    case = replace(t.case, cotangent=tuple(ones))
    budgets = reference(case).budget.gradients
    dense = replace(t, case=case, first=t.ask(ones), budget=budgets)
    return dense.differs(t.ask([np.broadcast_to(x.dtype.type(1), x.shape) if is_float(x) else x for x in ones]))


def _undefined(t: Trial) -> str:
    """vjp(g0, g1) = vjp(g0, None) + vjp(None, g1): an output that the loss does not use has no cotangent at all."""
    function: Any = t.function
    if len(t.case.cotangent) < 2:
        return ""
    parts = []
    for k, g in enumerate(t.case.cotangent):
        one = (
            function.only(k) if isinstance(function, HandWrittenFunction) else lambda *arrays, k=k: function(*arrays)[k]
        )
        parts.append(t.subject.run_vjp(one, t.case.values, t.case.wrt, (g,)))
    # As many roundings of up to a budget each, the first answer's, and the additions.
    return t.differs(_sum(t, parts), slack=len(parts) + 2.0)


def _linearity(t: Trial) -> str:
    return (
        _scaling(t)
        or t.differs(_ask_scaled(t, 0.5), 0.5)
        or _differs_in_parts(t, [np.arange(g.size).reshape(g.shape) % 2 == 0 for g in t.case.cotangent])
    )


def _purity(t: Trial) -> str:
    values = {n: np.array(v) for n, v in t.case.values.items()}
    cotangent = [np.array(g) for g in t.case.cotangent]
    for array in (*values.values(), *cotangent):
        array.flags.writeable = False
    seen = t.ask(cotangent, values)
    if changed := changed_inputs(t.case, seen):
        return f"{', '.join(changed)} changed during the call"
    return t.differs(seen)


FEW = 4
"""Up to so many inputs each take a turn at being the only one that is not contiguous; more are taken in two halves."""


def _calls_in_other_layouts(t: Trial) -> Iterator[Observation]:
    """Calls with a cotangent of -2g and another layout: the cotangent strided, each input strided, all with padded rows,
    all column-major, and all backwards in memory where the subject's arrays have negative strides.

    Kernels look at the last axis's stride alone, and take the others for those of another array, or of a contiguous one.

    One at a time, because a kernel may have a right path for strided memory and still misread the one array that is
    strided among contiguous ones (PyTorch's batch_norm on the CPU misreads its weight so). A module's parameters stay as
    they are: modules make them contiguous, and no caller lays them out.
    """
    given = t.case.values
    free = [n for n, v in given.items() if n not in t.case.placed]
    scaled = [_scale(g, -2.0) for g in t.case.cotangent]
    yield t.ask([to_strided(g) for g in scaled])
    if not t.subject.has_strides:
        return
    names = [n for n in free if np.ndim(given[n])]
    turns = [[n] for n in names] if len(names) <= FEW else [names[::2], names[1::2]]
    for turn in turns:
        yield t.ask(scaled, {n: to_strided(v) if n in turn else v for n, v in given.items()})
    if any(np.ndim(a) > 1 for a in (*scaled, *(given[n] for n in free))):
        padded = {n: to_padded_rows(v) if n in free else v for n, v in given.items()}
        yield t.ask([to_padded_rows(g) for g in scaled], padded)
    yield t.ask(
        [to_column_major(g) for g in scaled], {n: to_column_major(v) if n in free else v for n, v in given.items()}
    )
    if t.subject.negative_strides:
        yield t.ask([to_reversed(g) for g in scaled], {n: to_reversed(v) if n in free else v for n, v in given.items()})


def _input_layout(t: Trial) -> str:
    for seen in _calls_in_other_layouts(t):
        if seen.raised is not None and seen.stage == "forward":
            continue  # it refuses such inputs (`view` does): that is no wrong gradient
        # Random draws fill memory in its order: over another layout they are another function.
        broken = t.differs(seen, -2.0)
        if broken and not t.has_other_values(seen):
            return broken
    return ""


def _pull_modes(t: Trial) -> str:
    case = t.case
    for mode in t.subject.pull_modes:
        seen = t.subject.run_vjp_by(mode, t.function, case.values, case.wrt, case.cotangent)
        broken = "" if seen.raised is not None else t.differs(seen)
        if broken:
            return f"{mode}: {broken}"
    return ""


LAWS: Mapping[str, CaseLaw] = MappingProxyType(
    {
        law.name: register_law(law)
        for law in (
            CaseLaw("repeat", "a second call with the same arguments gives the same gradient (within rounding)", _repeat,
                    default=True, clears_together=True),
            CaseLaw("scaling", "a cotangent of -2g gives -2 times the gradient", _scaling,
                    default=True, clears_together=True),
            CaseLaw("far_scaling", "2^±40 times the cotangent (2^±20 below float64) gives as many times the gradient",
                    _far_scaling, default=True, clears_together=True),
            CaseLaw("layout", "a cotangent that is not contiguous in memory gives the same gradient", _layout,
                    default=True, clears_together=True),
            CaseLaw("input_layout", "inputs that are not contiguous in memory give the same gradient", _input_layout,
                    default=True, clears_together=True),
            CaseLaw("purity", "inputs and cotangents are the same after the call as before", _purity,
                    default=True, clears_together=True),
            CaseLaw("zero_cotangent", "a zero cotangent gives a zero gradient (or None), where it is finite for others",
                    _zero, default=True),
            CaseLaw("one_hot", "the gradients of one entry of the cotangent and of the rest add up", _one_hot,
                    default=True),
            CaseLaw("determinism", "a second call gives the same gradient bit for bit", _determinism),
            CaseLaw("exact_scaling", "±2^k times the cotangent gives ±2^k times the gradient, bit for bit",
                    _exact_scaling),
            CaseLaw("expanded", "a constant cotangent of strides 0 gives the gradient of a contiguous one", _expanded),
            CaseLaw("undefined", "the gradients of each output alone, the others' cotangents undefined, add up",
                    _undefined),
            CaseLaw("linearity", "the VJP is linear in the cotangent: it scales and it adds", _linearity),
            CaseLaw("pull_modes", "asked in another way, the subject gives the same gradient or raises", _pull_modes),
        )
    }
)  # fmt: skip


@declare_combined
def _together(t: Trial) -> bool:
    """Do a few calls with several things changed at once show that the laws with `clears_together` hold?"""
    return all(
        not changed_inputs(trial.case, seen) and not trial.differs(seen, -2.0)
        for trial in {id(one): one for one in (t, t.own)}.values()
        for seen in _calls_in_other_layouts(trial)
    ) and _clears_far_scaling(t)


@declare_glance
def _glance(t: Trial) -> bool:
    """Do two calls agree, of a small cotangent over strided memory and of a large one over column-major memory?"""
    free = [n for n in t.case.values if n not in t.case.placed]
    for factor, lay in zip(_powers(t.case) or (-2.0, 0.5), (to_strided, to_column_major)):
        cotangent = [lay(_scale(g, factor)) for g in t.case.cotangent]
        seen = t.ask(cotangent, {n: lay(v) if n in free else v for n, v in t.case.values.items()})
        if changed_inputs(t.case, seen) or t.differs(seen, factor):
            return False
    return True
