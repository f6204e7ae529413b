"""Hypotheses that only a further call can tell: noise that is drawn anew in the backward pass, hooks, values and shapes of
an earlier call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...core.case import Case
from ...core.errors import Unsupported
from ...frameworks.base import Observation
from ...namespaces.dtypes import is_float, rounded, to_float64
from ..reference import Reference, truth_of
from .explain import Explanation

Again = Callable[[Mapping[str, np.ndarray]], Observation]
"""Another call of the subject, at these values of the inputs, for the case's cotangent."""

AWAY = 1.125
"""Where the other point is: farther away than a rounding in any dtype, and near enough for most domains."""

BESIDE = 64
"""Of what a budget excuses; below that two gradients are said to agree, and above it to differ. At another point, or with
other noise, a gradient moves by a share of itself."""


def drawn_anew(case: Case, seen: Observation, ref: Reference, again: Again) -> Explanation | None:
    """Does an equal call have the same value and another gradient? None where it has not."""
    other = again(case.values)
    if other.raised is not None or not _agree(seen.outputs, other.outputs):
        return None
    names = [n for n in case.wrt if _differs(seen.gradients.get(n), other.gradients.get(n), ref.budget.gradients[n])]
    if not names:
        return None
    text = (
        f"{_gradients(names, 'has', 'have')} other entries in another call at the same point, whose value is the same: "
        "random numbers are drawn anew in the backward pass, or it keeps a state"
    )
    return Explanation("drawn anew", text)


def of_an_earlier_call(
    case: Case, seen: Observation, ref: Reference, again: Again, seed: int = 0
) -> Explanation | None:
    """Is a gradient the same at another point, where the true one is another? None where it is not."""
    moved = {n: _moved(v, case.dtype_of(n)) if n in case.wrt and is_float(v) else v for n, v in case.values.items()}
    other = again(moved)
    if other.raised is not None or _agree(seen.outputs, other.outputs):
        return None
    try:
        true = truth_of(replace(case, values=moved), seed=seed).gradients
    except Unsupported:
        return None
    same = []
    for n in case.wrt:
        here, there, b = seen.gradients.get(n), other.gradients.get(n), ref.budget.gradients[n]
        if here is None or there is None or not np.array_equal(here, there) or not np.any(here):
            continue
        if _differs(ref.truth.gradients[n].hi, true[n].hi, b):
            same.append(n)
    if not same:
        return None
    text = (
        f"{_gradients(same, 'is', 'are')} the same at another point, where the value and the true gradient are others: the "
        "backward pass reads a constant, or what an earlier call has saved"
    )
    return Explanation("of an earlier call", text)


def hook_active(seen: Observation, left: Sequence[str], is_right: bool) -> Explanation | None:
    """Is a call right in which the hooks `left` were not called? None where it is not, or there are none.

    A hook that only looks on changes nothing, and one beside another mistake leaves that.
    """
    if not left or not is_right:
        return None
    names = [n for n, g in seen.gradients.items() if g is not None]
    which = " and ".join(dict.fromkeys(left))
    return Explanation(
        "hook active", f"{_gradients(names, 'is', 'are')} right without {which}: it changes the gradient"
    )


def of_an_earlier_shape(
    case: Case, earlier: Case, seen: Observation, ref: Reference, again: Again, call_earlier: Callable[[], object]
) -> Explanation | None:
    """Does the gradient depend on the shapes of a call before? None where it does not.

    Two experiments. After a call of the earlier shapes the gradient is wrong, and after one of its own it is right: the call
    before is read. Or it is the true one times n/m, where a length is n, and was m in the earlier call.
    """
    lengths = dict.fromkeys(
        (new, old)
        for n in case.values.keys() & earlier.values.keys()
        for new, old in zip(case.values[n].shape, earlier.values[n].shape)
        if new != old and new and old
    )
    if not lengths:
        return None
    names = [n for n in case.wrt if _is_wrong(seen.gradients.get(n), ref, n)]
    again(case.values)
    own = again(case.values)
    call_earlier()
    after = again(case.values)
    if (
        names
        and own.raised is None
        and after.raised is None
        and not any(_is_wrong(own.gradients.get(n), ref, n) for n in case.wrt)
        and any(_is_wrong(after.gradients.get(n), ref, n) for n in names)
    ):
        shapes = "; ".join(f"{old} for {new}" for new, old in lengths)
        text = (
            f"{_gradients(names, 'is', 'are')} right after a call of the same shapes, and wrong after one of other shapes "
            f"({shapes}): the backward pass reads a shape that the call before has left"
        )
        return Explanation("stale shape", text)
    for new, old in lengths:
        for factor, how in ((new / old, f"{new}/{old}"), (old / new, f"{old}/{new}")):
            if names and all(_is_near(seen.gradients.get(n), factor, ref, n) for n in names):
                text = (
                    f"{_gradients(names, 'is', 'are')} the right gradient times {how}: a length is {new} here, and was "
                    f"{old} in an earlier call, whose shape the backward pass has kept"
                )
                return Explanation("stale shape", text)
    return None


def _is_wrong(got: np.ndarray | None, ref: Reference, name: str) -> bool:
    return not _is_near(got, 1.0, ref, name)


def _is_near(got: np.ndarray | None, factor: float, ref: Reference, name: str) -> bool:
    """Is it the true gradient times the factor, to what rounding excuses of that? (Of zeros every multiple is.)"""
    want = ref.truth.gradients[name].hi
    if got is None or got.shape != want.shape or (factor != 1 and not np.any(want)):
        return False
    with np.errstate(all="ignore"):
        allowed = max(1.0, factor) * ref.budget.gradients[name]
        return bool((np.abs(to_float64(got) - factor * want) <= allowed).all())


def _gradients(names: list[str], one: str, several: str) -> str:
    """The gradients, and the verb that agrees with their number."""
    return f"{', '.join(f'd{n}' for n in names)} {one if len(names) == 1 else several}"


def _moved(x: np.ndarray, dtype: str) -> np.ndarray:
    return rounded(to_float64(x) * AWAY, dtype)


def _agree(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b))


def _differs(a: np.ndarray | None, b: np.ndarray | None, budget: np.ndarray) -> bool:
    if a is None or b is None or np.shape(a) != np.shape(b):
        return False
    with np.errstate(all="ignore"):
        return bool((np.abs(to_float64(a) - to_float64(b)) > BESIDE * budget).any())
