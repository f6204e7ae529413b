"""What a rule that is not the gradient may be meant for: a surrogate, a factor, a gradient of another origin.

A kind is recognised by what the rule does for several cotangents, next to the truth for the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..checker.black_box import Opaque
from ..checker.question import Question
from ..core.case import Case
from ..core.errors import BadInput, GradverifyError, Unsupported
from ..core.limits import TimeLimit
from ..frameworks.base import Framework, values_of
from ..frameworks.registry import of_functions
from ..judge.reference import reference
from ..namespaces.dtypes import FORMATS
from ..trace import Traced
from .precondition import is_preconditioned

CLOSE = 64.0
"""Units of roundoff, relative to a gradient's largest entry, within which two gradients are one: as many roundings as
`checker.black_box.ROUNDINGS` allows a gradient of which nothing is known."""

KINDS = ("surrogate", "partial", "identity", "injected", "factor", "nonlinear", "symmetric", "preconditioned", "drawn")

Gradients = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Intent:
    """What a rule does instead of differentiating.

    kind  surrogate, partial (a surrogate on some entries), identity (of a forward pass that returns its input), injected,
          factor, nonlinear (clipping), symmetric, preconditioned (a natural gradient), drawn (an estimate)
    text  one sentence
    factor  of the kind factor
    is_surrogate  is it meant beyond doubt: is the truth zero on all entries, or does the forward pass nothing at all?
    """

    kind: str
    text: str
    factor: float | None = None
    is_surrogate: bool = False


@dataclass(frozen=True, eq=False)
class _Look:
    """The rule and the truth for the same cotangents."""

    subject: Framework
    traced: Traced
    case: Case
    outputs: tuple[np.ndarray, ...]
    cotangents: Sequence[tuple[np.ndarray, ...]]
    got: list[Gradients]
    want: list[Gradients]

    def pull(self, cotangent: Sequence[np.ndarray]) -> Gradients:
        """What the rule gives for a cotangent."""
        given = values_of(self.traced, self.case)
        seen = self.subject.run_vjp(self.traced.function, given, self.case.wrt, tuple(cotangent))
        if seen.raised is not None:
            raise Unsupported(str(seen.raised))
        return {n: _wide(seen.gradients.get(n), self.case.values[n]) for n in self.case.wrt}

    @property
    def unit(self) -> float:
        return CLOSE * FORMATS[self.case.dtype].roundoff


def recognise(q: Question, traced: Traced, case: Case | None) -> Intent | None:
    """What the rule may be meant for; None where nothing is recognised."""
    if case is None or case.graph is not traced.graph or traced.native is not None:
        return None
    try:
        with q.limit_time("the function"):
            look = _look(traced, case, of_functions(traced.framework, q.device), q.seed)
            for ask in (
                _drawn, _injected, _identity, _surrogate, _nonlinear, _factor, _symmetric, _partial, _surrogate_of_some,
                _natural,
            ):  # fmt: skip
                found = ask(look)
                if found is not None:
                    return found
    except (BadInput, Unsupported, GradverifyError, TimeLimit, FloatingPointError):
        return None
    return None


def _look(traced: Traced, case: Case, subject: Framework, seed: int) -> _Look:
    rng = np.random.default_rng([seed, 14])
    dtypes = [g.dtype for g in case.cotangent]
    drawn = [tuple(rng.standard_normal(g.shape).astype(d) for g, d in zip(case.cotangent, dtypes)) for _ in range(2)]
    cotangents = (case.cotangent, *drawn)
    seen = subject.run_vjp(traced.function, values_of(traced, case), (), case.cotangent)
    look = _Look(subject, traced, case, tuple(seen.outputs), cotangents, [], [])
    for cotangent in cotangents:
        look.got.append(look.pull(cotangent))
        true = reference(replace(case, cotangent=cotangent), seed=seed).truth
        look.want.append({n: np.asarray(true.gradients[n].resolved, dtype=np.float64) for n in case.wrt})
    return look


def _wide(d: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    return np.zeros(np.shape(like)) if d is None else np.asarray(d, dtype=np.float64)


def _close(a: np.ndarray, b: np.ndarray, unit: float) -> bool:
    size = float(np.max(np.abs(np.concatenate([a.ravel(), b.ravel()])), initial=0.0))
    return bool(np.isfinite(size) and np.max(np.abs(a - b), initial=0.0) <= unit * size)


def _all_zero(gradients: Gradients) -> bool:
    return all(not g.any() for g in gradients.values())


def _moved(look: _Look) -> bool:
    """Does the output change where the inputs do: each input's size changed, its sign, its order?"""
    values = values_of(look.traced, look.case)
    for change in (lambda x: -x, lambda x: 3 * x + 1, lambda x: x.ravel()[::-1].reshape(x.shape), lambda x: x - 1):
        moved = {n: change(v).astype(v.dtype) if n in look.case.wrt else v for n, v in values.items()}
        seen = look.subject.run_vjp(look.traced.function, moved, (), look.case.cotangent)
        if seen.raised is None and any(a.tobytes() != b.tobytes() for a, b in zip(seen.outputs, look.outputs)):
            return True
    return False


def _injected(look: _Look) -> Intent | None:
    """Is the truth zero since the output does not depend on the inputs at all?"""
    if not all(map(_all_zero, look.want)) or all(map(_all_zero, look.got)) or _moved(look):
        return None
    return Intent("injected", "the output does not depend on what is differentiated, and the rule gives it a gradient")


def _identity(look: _Look) -> Intent | None:
    """Does the forward pass return its input? Such a function is written for its backward pass alone."""
    values, names = look.case.values, look.case.wrt
    if len(look.outputs) != 1 or len(names) != 1 or look.outputs[0].tobytes() != np.asarray(values[names[0]]).tobytes():
        return None
    if not look.outputs[0].size or not _close(
        look.want[1][names[0]], np.asarray(look.cotangents[1][0], dtype=np.float64), look.unit
    ):
        return None
    c = _common_factor(look)
    what = f"times {c:.6g}" if c is not None else "changed"
    return Intent(
        "identity", f"the forward pass returns its input, and the backward pass the cotangent {what}", c, True
    )


def _surrogate(look: _Look) -> Intent | None:
    if not all(map(_all_zero, look.want)) or all(map(_all_zero, look.got)):
        return None
    rule = "the true derivative is zero on all entries (or a jump), and the rule is not"
    return Intent("surrogate", f"{rule}: a surrogate gradient, or a straight-through estimator", None, True)


def _nonlinear(look: _Look) -> Intent | None:
    """Is the rule no linear function of the cotangent?"""
    a, b = look.got[1], look.got[2]
    both = look.pull([x + y for x, y in zip(look.cotangents[1], look.cotangents[2])])
    if all(_close(both[n], a[n] + b[n], 16 * look.unit) for n in look.case.wrt):
        return None
    return Intent("nonlinear", "the rule is not linear in the cotangent: it clips, normalises or replaces it")


def _factor(look: _Look) -> Intent | None:
    c = _common_factor(look)
    if c is None:
        return None
    return Intent("factor", f"the rule is {c:.6g} times the gradient, for every cotangent", c)


def _common_factor(look: _Look) -> float | None:
    """The number that all gradients are the truth times; None where there is none."""
    got = np.concatenate([g[n].ravel() for g in look.got for n in look.case.wrt])
    want = np.concatenate([w[n].ravel() for w in look.want for n in look.case.wrt])
    square = float(want @ want)
    if not square or not np.isfinite(square) or not np.isfinite(got).all():
        return None
    c = float(got @ want) / square
    return c if _close(got, c * want, look.unit) and abs(c - 1) > look.unit else None


def _symmetric(look: _Look) -> Intent | None:
    """Is each gradient of a square matrix the symmetric part of the true one, or twice that off the diagonal?"""
    for n in look.case.wrt:
        if look.got[0][n].ndim < 2 or look.got[0][n].shape[-1] != look.got[0][n].shape[-2]:
            return None
    for got, want in zip(look.got, look.want):
        for n in look.case.wrt:
            part = (want[n] + np.swapaxes(want[n], -1, -2)) / 2
            if not _close(got[n], part, look.unit):
                return None
    return Intent("symmetric", "the rule is (G + Gᵀ)/2 of the gradient G: right along symmetric changes of the matrix")


def _partial(look: _Look) -> Intent | None:
    """Is the rule right where the truth is not zero?"""
    flat = total = 0
    for got, want in zip(look.got, look.want):
        for n in look.case.wrt:
            zero = want[n] == 0
            if not _close(np.where(zero, 0, got[n]), want[n], look.unit):
                return None
            flat, total = flat + int((zero & (got[n] != 0)).sum()), total + zero.size
    if not flat:
        return None
    share = f"{flat // len(look.got)} of {total // len(look.got)} entries"
    return Intent(
        "partial", f"the rule passes a gradient where the function is flat, on {share}, and is right elsewhere"
    )


def _surrogate_of_some(look: _Look) -> Intent | None:
    """Does the rule give some inputs a gradient where the truth is zero in every entry, and is it off for others as well?"""
    flat = [n for n in look.case.wrt if not any(w[n].any() for w in look.want) and any(g[n].any() for g in look.got)]
    if not flat:
        return None
    return Intent(
        "surrogate",
        f"the true derivative by {', '.join(flat)} is zero on all entries, and the rule is not: a surrogate gradient. The "
        "rule is not the derivative by its other arguments either",
    )


NATURAL = (
    "the rule is P·g of the gradient g, with one symmetric positive matrix P for every cotangent: a natural gradient, or a "
    "preconditioner"
)


def _box(look: _Look) -> Opaque:
    given = values_of(look.traced, look.case)
    return Opaque(look.subject, look.traced.function, given, look.case.wrt, look.case.cotangent, look.case.dtype)


def _drawn(look: _Look) -> Intent | None:
    return drawn(_box(look))


def drawn(black_box: Opaque) -> Intent | None:
    """The intent of a rule that draws random numbers; None of one that gives the same again."""
    b = black_box
    seen = [b.subject.run_vjp(b.function, b.values, b.wrt, b.cotangent) for _ in range(2)]
    if any(s.raised is not None for s in seen):
        return None
    outputs = [[o.tobytes() for o in s.outputs] for s in seen]
    unit = CLOSE * FORMATS[b.dtype].roundoff
    gradients = [{n: _wide(s.gradients.get(n), b.values[n]) for n in b.wrt} for s in seen]
    if outputs[0] != outputs[1] or all(_close(gradients[0][n], gradients[1][n], unit) for n in b.wrt):
        return None
    return Intent(
        "drawn", "the rule gives another gradient each time, at one point and value: an estimate by random numbers"
    )


def _natural(look: _Look) -> Intent | None:
    return natural(_box(look))


def natural(black_box: Opaque, *, seed: int = 0) -> Intent | None:
    """The intent of a rule that is a preconditioned gradient; None of another."""
    return Intent("preconditioned", NATURAL) if is_preconditioned(black_box, seed=seed) else None
