"""Which hypothesis holds: what predicts every failing entry, and not by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.case import Case
from ...core.errors import Unsupported
from ...frameworks.base import Observation
from ..budget import SAFETY
from ..compare import Compared
from ..reference import Reference
from .evidence import Evidence, Spent, rms
from .formulas import formula
from .registry import WOULD_BE, Guess, Hypothesis
from .rounding import narrower
from .terms import (
    at_result,
    factor_of_term,
    forward_again,
    missing_term,
    not_transposed,
    reduction,
    sign_of_term,
    straight_through,
    term_of_one_step,
    two_terms,
    written,
)
from .whole import (
    COTANGENT,
    clipped,
    conjugate,
    convention,
    cotangents,
    factor,
    left_out,
    masked,
    swapped,
    transposed,
    unnamed_factor,
    zero,
)

HYPOTHESES = (
    convention,
    zero,
    factor,
    swapped,
    transposed,
    conjugate,
    *COTANGENT,
    cotangents,
    clipped,
    left_out,
    masked,
    missing_term,
    sign_of_term,
    straight_through,
    at_result,
    not_transposed,
    reduction,
    forward_again,
    written,
    formula,
    factor_of_term,
    term_of_one_step,
    narrower,
    two_terms,
    unnamed_factor,
)
"""All hypotheses, the simplest first: the first one that holds is reported."""

COINCIDENCES = 1e-3
"""The expected number of predictions that agree by chance, at most."""


@dataclass(frozen=True)
class Explanation:
    """What is said of a FAIL: the name of a hypothesis, a sentence, and the names of others that fit as well."""

    name: str
    text: str
    others: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "text": self.text, "others": list(self.others)}


def explain(
    case: Case, seen: Observation, ref: Reference, compared: Sequence[Compared], *, seed: int = 0
) -> Explanation | None:
    """The simplest hypothesis that predicts every failing gradient; else one for each of them; None where none does."""
    if any(c.failing.any() and not c.comparison.of.startswith("d") for c in compared):
        return None  # the value is wrong already
    e = Evidence(case, seen, ref, compared, seed)
    if not e.names or not all(np.isfinite(e.got[n]).all() for n in e.names):
        return None
    with np.errstate(all="ignore"):
        try:
            e.plain, e.edges  # noqa: B018 - both are shared by the evidence of single arrays
        except Spent:
            return None
        whole = _explain(e)
        if whole is not None or len(e.names) == 1:
            return whole
        found = [x for n in e.names if (x := _explain(e.about(n))) is not None]
    if not found:
        return None
    others = tuple(dict.fromkeys(o for x in found for o in x.others))
    return Explanation(found[0].name, "; ".join(x.text for x in found), others)


def _explain(e: Evidence) -> Explanation | None:
    fits: list[tuple[Hypothesis, Guess, float]] = []
    try:
        for h in HYPOTHESES:
            if not (h.last and fits):
                fits += [(h, guess, chance) for guess, chance in _holding(e, h)]
    except Spent:
        pass
    most = math.log(COINCIDENCES) - math.log(max(e.tried, 1))
    fits = [f for f in fits if f[2] < most]
    if not fits:
        return None
    name, text = fits[0][0].name, _said(fits[0][1].text, e.title())
    others = {h.name: guess for h, guess, _ in reversed(fits) if h.name != name}
    if others:
        also = [guess.text.removeprefix(WOULD_BE).removeprefix("{} ") for guess in reversed(others.values())]
        text += f" (or, the same at this point: {also[0]}"
        text += f", and {len(also) - 1} more)" if len(also) > 1 else ")"
    return Explanation(name, text, tuple(reversed(others)))


def _said(text: str, title: str) -> str:
    """The text of a guess about the arrays of a title ("dx is"): what is missing, they lack."""
    names, _, verb = title.rpartition(" ")
    lacks = f"{names} {'lack' if verb == 'are' else 'lacks'} "
    return text.replace(f"{WOULD_BE}without ", lacks).replace("{}", title)


IMPOSSIBLE = (ValueError, TypeError, IndexError, KeyError, np.linalg.LinAlgError, Unsupported)
"""What NumPy raises where a mistake makes arrays that do not fit: nobody has made that one."""


def _holding(e: Evidence, h: Hypothesis) -> list[tuple[Guess, float]]:
    """The guesses of a hypothesis that hold, and the logarithms of the chance that they do."""
    found = []
    try:
        for guess in h.predict(e):
            e.tried += guess.tries
            with suppress(*IMPOSSIBLE):
                chance = _holds(e, guess)
                if chance is not None:
                    found.append((guess, chance))
    except IMPOSSIBLE:
        return found
    return found


def _holds(e: Evidence, guess: Guess) -> float | None:
    """The logarithm of the chance that an unrelated prediction agrees as well; None where this one does not agree."""
    p = guess.predict(e.plain)
    if not all(_is_near(e, n, p[n]) for n in e.names):
        return None
    reruns = [guess.predict(w) for w in e.nudged(e.case.dtype)]
    ratios: list[np.ndarray] = []
    for n in e.names:
        got, want, b = e.got[n], e.want[n], e.budget[n]
        t = b + SAFETY * (rms([r[n] - p[n] for r in reruns]) + e.format.roundoff * np.abs(p[n]))
        right = (np.abs(got - p[n]) <= t) | (e.passing[n] & (np.abs(p[n] - want) <= t)) | ~np.isfinite(b)
        if not right.all():
            return None
        ratios.append((2 * t / np.abs(got - want))[e.failing[n] & np.isfinite(t)])
    if guess.chance is not None:
        return guess.chance
    logs = np.sort(np.log(np.clip(np.concatenate(ratios), 1e-300, 1.0)))
    return float(logs[1:].sum() if guess.free else logs.sum())


def _is_near(e: Evidence, n: str, p: np.ndarray) -> bool:
    """Has the prediction half of the dtype's digits right in every entry that has a budget?"""
    got, want, b = e.got[n], e.want[n], e.budget[n]
    scale = max(float(np.max(np.abs(x), initial=0.0)) for x in (got, want))
    slack = 4 * b + math.sqrt(e.format.roundoff) * scale
    return bool(((np.abs(got - p) <= slack) | ~np.isfinite(b)).all())
