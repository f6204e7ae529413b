"""Laws that need no oracle: each one small declaration. A case names those it wants; `DEFAULT` run on every case.

A law asks the subject again and compares with its first answer. Where rounding may legitimately differ (another order
of summation on another layout, atomic additions), the budget decides, never bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import UnknownName, Unsupported
from ..namespaces.dtypes import FORMATS, is_float, wide
from ..subjects.base import Observation, Subject

GROUP = "gradverify.invariants"


@dataclass(frozen=True, eq=False)
class Trial:
    """A subject, a case, the subject's first answer and the budgets of its gradients: what a law works with."""

    subject: Subject
    function: Callable[..., Any]
    case: Case
    first: Observation
    budget: Mapping[str, np.ndarray]

    def ask(
        self, cotangent: Sequence[np.ndarray] | None = None, values: Mapping[str, Any] | None = None
    ) -> Observation:
        """Another VJP on the same function."""
        case = self.case
        return self.subject.vjp(
            self.function,
            case.values if values is None else values,
            case.wrt,
            case.cotangent if cotangent is None else tuple(cotangent),
        )

    def other_values(self, got: Observation) -> bool:
        """Does `got` come from other values of the function than the first answer? Compared to half the digits: this is
        not about rounding."""
        for a, b in zip(self.first.outputs, got.outputs):
            if a.shape == b.shape and a.dtype == b.dtype and is_float(a) and a.size:
                x, y = wide(a), wide(b)
                close = np.sqrt(FORMATS[str(a.dtype)].roundoff) * np.abs(x).max()
                if not np.allclose(x, y, rtol=0.0, atol=close, equal_nan=True):
                    return True
        return False

    def differs(self, got: Observation, factor: float = 1.0, slack: float = 2.0) -> str:
        """Where `got` is not `factor` times the first answer, to within `slack` budgets of it; "" where it is.

        Two correctly rounded answers are each within one budget of the truth, so within two of each other.
        """
        if got.raised is not None:
            return f"it raised {type(got.raised).__name__}: {got.raised}"
        for name in self.case.wrt:
            a, b = self.first.gradients.get(name), got.gradients.get(name)
            if (a is None) != (b is None):
                return (
                    f"d{name} is {'there' if a is None else 'None'}, and was {'None' if a is None else 'there'} before"
                )
            if a is None or b is None:
                continue
            if a.shape != b.shape or a.dtype != b.dtype:
                return f"d{name} is {b.dtype}{list(b.shape)}, and was {a.dtype}{list(a.shape)} before"
            wide_a, wide_b = a.astype(np.float64) * factor, b.astype(np.float64)
            with np.errstate(all="ignore"):
                same = (wide_a == wide_b) | (np.isnan(wide_a) & np.isnan(wide_b))
                off = ~(same | (np.abs(wide_a - wide_b) <= slack * abs(factor) * self.budget[name]))
            if off.any():
                at = tuple(int(i) for i in np.argwhere(off)[0])
                where = f"d{name}{list(at) if at else ''}"
                return f"{where} is {float(wide_b[at])!r} where {float(wide_a[at])!r} was expected"
        return ""


@dataclass(frozen=True, slots=True)
class Law:
    """`check` returns "" where the law holds, else what broke it, as a sentence's end."""

    name: str
    doc: str
    check: Callable[[Trial], str]


def strided(x: np.ndarray) -> np.ndarray:
    """The same values in memory that is neither contiguous nor in C order, and does not begin where it begins."""
    room = np.zeros((*x.shape[::-1], 2), dtype=x.dtype)
    view = room[..., 1].T
    view[...] = x
    return view


def column_major(x: np.ndarray) -> np.ndarray:
    return np.array(x, order="F")  # np.asfortranarray turns 0-d into (1,)


def _scaled(g: np.ndarray, k: float) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (g * g.dtype.type(k)) if is_float(g) else g


def _determinism(t: Trial) -> str:
    return t.differs(t.ask(), slack=0.0)


def _repeat(t: Trial) -> str:
    return t.differs(t.ask())


def _scaling(t: Trial) -> str:
    return t.differs(t.ask([_scaled(g, -2.0) for g in t.case.cotangent]), -2.0)


def _layout(t: Trial) -> str:
    return t.differs(t.ask([strided(g) for g in t.case.cotangent])) or t.differs(
        t.ask([column_major(g) for g in t.case.cotangent])
    )


def _zero(t: Trial) -> str:
    return t.differs(t.ask([_scaled(g, 0.0) for g in t.case.cotangent]), 0.0)


def _linearity(t: Trial) -> str:
    """vjp(g) = vjp(a) + vjp(g - a) with a = g masked: exact parts, so only the VJP's own rounding is left."""
    broken = _scaling(t) or t.differs(t.ask([_scaled(g, 0.5) for g in t.case.cotangent]), 0.5)
    if broken:
        return broken
    masks = [np.arange(g.size).reshape(g.shape) % 2 == 0 for g in t.case.cotangent]
    parts = [
        t.ask([np.where(m, g, g.dtype.type(0)) for m, g in zip(masks, t.case.cotangent)]),
        t.ask([np.where(m, g.dtype.type(0), g) for m, g in zip(masks, t.case.cotangent)]),
    ]
    total: dict[str, np.ndarray | None] = {}
    for n in t.case.wrt:
        a, b = (p.gradients.get(n) for p in parts)
        total[n] = a if b is None else b if a is None else a + b
    # Three roundings of up to a budget each, and the addition.
    return t.differs(Observation(gradients=total), slack=4.0)


def _purity(t: Trial) -> str:
    values = {n: np.array(v) for n, v in t.case.values.items()}
    cotangent = [np.array(g) for g in t.case.cotangent]
    for array in (*values.values(), *cotangent):
        array.flags.writeable = False
    seen = t.ask(cotangent, values)
    if seen.mutated:
        return f"{', '.join(seen.mutated)} changed during the call"
    return t.differs(seen)


FEW = 4
"""Up to so many inputs each take a turn at being the only one that is not contiguous; more are taken in two halves."""


def _changed(t: Trial) -> Iterator[Observation]:
    """Calls with a cotangent of -2g and another layout: the cotangent strided, each input strided, all column-major.

    One at a time, because a kernel may have a right path for strided memory and still misread the one array that is
    strided among contiguous ones (PyTorch's batch_norm on the CPU misreads its weight so).
    """
    given = t.case.values
    scaled = [_scaled(g, -2.0) for g in t.case.cotangent]
    yield t.ask([strided(g) for g in scaled])
    names = [n for n, v in given.items() if np.ndim(v)]
    turns = [[n] for n in names] if len(names) <= FEW else [names[::2], names[1::2]]
    for turn in turns:
        yield t.ask(scaled, {n: strided(v) if n in turn else v for n, v in given.items()})
    yield t.ask([column_major(g) for g in scaled], {n: column_major(v) for n, v in given.items()})


def _input_layout(t: Trial) -> str:
    for seen in _changed(t):
        if seen.raised is not None and seen.stage == "forward":
            continue  # it refuses such inputs (`view` does): that is no wrong gradient
        # Random draws fill memory in its order: over another layout they are another function.
        broken = t.differs(seen, -2.0)
        if broken and not t.other_values(seen):
            return broken
    return ""


def _ways(t: Trial) -> str:
    case = t.case
    for way in getattr(t.subject, "ways", ()):
        seen = t.subject.vjp_by(way, t.function, case.values, case.wrt, case.cotangent)  # type: ignore[attr-defined]
        broken = "" if seen.raised is not None else t.differs(seen)
        if broken:
            return f"{way}: {broken}"
    return ""


LAWS: Mapping[str, Law] = MappingProxyType(
    {
        law.name: law
        for law in (
            Law("repeat", "a second call with the same arguments gives the same gradient (within rounding)", _repeat),
            Law("determinism", "a second call gives the same gradient bit for bit", _determinism),
            Law("scaling", "a cotangent of -2g gives -2 times the gradient", _scaling),
            Law("layout", "a cotangent that is not contiguous in memory gives the same gradient", _layout),
            Law("input_layout", "inputs that are not contiguous in memory give the same gradient", _input_layout),
            Law("zero_cotangent", "a zero cotangent gives a zero gradient, without NaN", _zero),
            Law("linearity", "the VJP is linear in the cotangent: it scales and it adds", _linearity),
            Law("ways", "asked in another way, the subject gives the same gradient or raises", _ways),
            Law("purity", "inputs and cotangents are the same after the call as before", _purity),
        )
    }
)

DEFAULT = ("repeat", "scaling", "layout", "input_layout", "purity")


@cache
def find(name: str) -> Law:
    """The law called `name`, built in or from the entry points `gradverify.invariants`. Raises UnknownName."""
    if name in LAWS:
        return LAWS[name]
    from .autograd_laws import AUTOGRAD_LAWS  # which is made of what stands here

    if name in AUTOGRAD_LAWS:
        return AUTOGRAD_LAWS[name]
    others = entry_points(group=GROUP)
    for entry in others:
        if entry.name == name:
            law = entry.load()
            assert isinstance(law, Law), f"the entry point {name} of {GROUP} is no Law"
            return law
    raise UnknownName("invariant", name, [*LAWS, *AUTOGRAD_LAWS, *(e.name for e in others)])


def broken(trial: Trial, names: Sequence[str]) -> tuple[str, str] | None:
    """The first of the laws that does not hold, and what broke it. Raises Unsupported where none is broken, and one
    could not be asked.

    A few calls with several things changed at once clear the default laws together; only where one is off are they
    asked one by one.
    """
    if set(DEFAULT) <= set(names) and all(not s.mutated and not trial.differs(s, -2.0) for s in _changed(trial)):
        names = [n for n in names if n not in DEFAULT]
    lacking: Unsupported | None = None
    for name in names:
        try:
            what = find(name).check(trial)
        except Unsupported as e:
            lacking = lacking or Unsupported(f"{name}: {e}")
            continue
        if what:
            return name, what
    if lacking is not None:
        raise lacking
    return None
