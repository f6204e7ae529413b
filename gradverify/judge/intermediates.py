"""Intermediates of a backward pass that are rounded to 16 bits, though its definition computes in a wider dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ..core.case import Case
from ..frameworks.base import Observation
from ..namespaces.dtypes import FORMATS, rounded, to_float64, ulp
from .draws import draw
from .exact import Exact, cotangent_names
from .replay import DRAWS, FAITHFUL, UNREPLAYED, Narrow, Replay, stored_nodes
from .roundings import Excused, computes_wide

Cotangents = tuple[np.ndarray, ...]

_Entry = tuple[str, tuple[int, ...]]


def find_narrow_intermediate(
    case: Case, exact: Exact, call: Callable[[Cotangents], Observation], seed: int
) -> Narrow | None:
    """An intermediate that is rounded to 16 bits, and an entry that is more than an ulp off for it.

    Excused is what the definition, or autograd's derivative of it, rounds as well: the values that the definition computes
    in 16 bits, their cotangents, and what is computed from those in 16 bits; all, where the definition computes nothing in
    a wider dtype. So are operands of a product with a matrix in 16 bits: the hardware multiplies these. `call` is the
    judged function's answer to other cotangents: what a replay predicts it must show. None where there is no such
    intermediate.
    """
    if exact.asked is None or not computes_wide(case):
        return None
    try:
        return _Intermediates(case, exact, seed).find(call)
    except UNREPLAYED:
        return None


class _Intermediates(Replay):
    """Replays with intermediates of 16 bits in a wider dtype, for the case's cotangent and for drawn ones."""

    def __init__(self, case: Case, exact: Exact, seed: int) -> None:
        super().__init__(case, exact)
        self.seed = seed
        graph = self.asked.graph
        narrow = [k for nodes in self.steps.values() for k in nodes if FORMATS[self.formats[k]].stores]
        kept = stored_nodes(graph)
        if set(narrow) - kept:
            kept |= Excused(case, graph, self.formats, self.exact_values()).of(narrow)
        self.spared = frozenset(kept)
        self.candidates = [s for s, nodes in self.steps.items() if set(nodes) & (set(narrow) - kept)]

    def find(self, call: Callable[[Cotangents], Observation]) -> Narrow | None:
        for drawn, g in enumerate(self._cotangents() if self.candidates else ()):
            self.point |= dict(zip(cotangent_names(self.case), g))
            values = self.exact_values()
            self.true = {n: np.asarray(values[o], dtype=np.float64) for n, o in self.outputs.items()}
            rounded_, wide = self.replay(()), self.replay(self.candidates)
            entry = self._worst(rounded_, wide)
            if entry is not None and (ulps := self._seen(call(g), entry, rounded_)) > 1:
                return self._named(entry, ulps, drawn)
        return None

    def _cotangents(self) -> Iterator[Cotangents]:
        yield self.case.cotangent
        rng = np.random.default_rng([self.seed, len(self.case.cotangent)])
        for _ in range(DRAWS):
            yield tuple(rounded(draw(rng, g.shape), str(g.dtype)) for g in self.case.cotangent)

    def _ulps(self, name: str, got: np.ndarray) -> np.ndarray:
        fmt, want = FORMATS[self.case.dtype_of(name)], self.true[name]
        with np.errstate(all="ignore"):
            ulps = np.abs(to_float64(got) - want) / ulp(want, fmt)
        return np.where(np.isfinite(ulps), ulps, 0.0) if fmt.stores else np.zeros(want.shape)

    def _worst(self, rounded_: Mapping[str, np.ndarray], wide: Mapping[str, np.ndarray]) -> _Entry | None:
        """The entry that is farthest off, more than an ulp, of those that would not be with wide intermediates."""
        entry, most = None, 1.0
        for n in self.true:
            ulps = np.where(self._ulps(n, wide[n]) <= 1, self._ulps(n, rounded_[n]), 0.0)
            if ulps.size and ulps.max() > most:
                most = float(ulps.max())
                entry = n, tuple(int(i) for i in np.unravel_index(int(np.argmax(ulps)), ulps.shape))
        return entry

    def _seen(self, seen: Observation, entry: _Entry, replayed: Mapping[str, np.ndarray]) -> float:
        """How far the entry is off, in ulps, in a run whose error the replay shows; else 0."""
        name, index = entry
        got = None if seen.raised is not None else seen.gradients.get(name)
        if got is None or got.shape != self.true[name].shape:
            return 0.0
        error = abs(float(to_float64(got)[index]) - float(self.true[name][index]))
        shown = abs(float(to_float64(got)[index]) - float(replayed[name][index])) <= FAITHFUL * error
        return float(self._ulps(name, got)[index]) if shown else 0.0

    def _named(self, entry: _Entry, ulps: float, drawn: int) -> Narrow:
        name, index = entry
        left = lambda steps: float(self._ulps(name, self.replay(steps)[name])[index])
        alone = {step: u for step in self.candidates if (u := left((step,))) <= 1}
        if alone:
            needed = [min(alone, key=alone.__getitem__)]
        else:
            needed = list(self.candidates)
            for step in self.candidates:
                rest = [s for s in needed if s != step]
                if left(rest) <= 1:
                    needed = rest
        text, terms = self.texts(needed)
        return Narrow(f"d{name}", text, self.dtype(needed[0]), self.wide, terms, ulps, left(needed), drawn)
