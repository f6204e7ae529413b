"""A function that can only be called, with its slopes: central differences of its own forward, in its own dtype."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from ..frameworks.base import Framework
from ..namespaces.dtypes import FORMATS, is_float, rounded, to_float64
from ..oracle.blackbox import Slope, slope
from .calls import Calls
from .symmetric import Symmetrised

LENGTH = 0.25
"""Steps are up to an eighth of an entry's size: differences of a smooth function do not need more, and a domain such as
x > 0 is not left."""

ROUNDINGS = 64.0
"""Nothing is known of how the gradient was computed, so that many units of roundoff in each entry are not counted
against it. It is no budget: in the dtype that the function is called in, the slope's own bound is larger by orders."""


@dataclass(frozen=True, eq=False)
class Opaque:
    """A function over NumPy arrays at a point, with the subject that differentiates it.

    precision  the relative error that its values and derivatives may have: that of a solver which it calls
    calls      the forward calls that it may be asked
    """

    subject: Framework
    function: Callable[..., Any]
    values: Mapping[str, np.ndarray]
    wrt: tuple[str, ...]
    cotangent: tuple[np.ndarray, ...]
    dtype: str
    updated: frozenset[str] = frozenset()
    precision: float = 0.0
    calls: Calls = field(default_factory=Calls)
    measured: dict[tuple[Any, ...], Slope] = field(default_factory=dict)
    """The slopes that are known, whatever precision they are held to."""

    @property
    def excused(self) -> float:
        """The relative error of a derivative that is not counted against it."""
        return ROUNDINGS * FORMATS[self.dtype].roundoff + self.precision

    def __post_init__(self) -> None:  # a trace holds bfloat16 as float32
        own = {n: rounded(v, self.dtype) if is_float(v) else v for n, v in self.values.items()}
        object.__setattr__(self, "values", own)

    def symmetrised(self, names: Collection[str]) -> Opaque:
        """The function of the symmetric parts of some of its matrices."""
        return replace(self, subject=cast("Framework", Symmetrised(self.subject, names)), measured={})

    def weighted(self, cotangent: tuple[np.ndarray, ...]) -> Opaque:
        """The function with another cotangent."""
        return replace(self, cotangent=cotangent, measured={})

    def run(self) -> None:
        """Call the function once more at its point, for what it does; no difference is taken."""
        self.subject.run_vjp(self.function, self.values, (), self.cotangent)

    def value(self, values: Mapping[str, np.ndarray]) -> float:
        """⟨cotangent, outputs⟩ at `values`; NaN where the function raises. Raises OutOfCalls."""
        self.calls.spend()
        seen = self.subject.run_vjp(self.function, values, (), self.cotangent)
        if seen.raised is not None:
            return float("nan")
        with np.errstate(all="ignore"):
            return float(sum(np.sum(np.asarray(o, dtype=np.float64) * g) for o, g in zip(seen.outputs, self.cotangent)))

    def size(self) -> float:
        """Σ|cotangent·output|: the noise of `value` is a unit roundoff of this at least. Raises OutOfCalls."""
        self.calls.spend()
        seen = self.subject.run_vjp(self.function, self.values, (), self.cotangent)
        with np.errstate(all="ignore"):
            return float(
                sum(np.sum(np.abs(np.asarray(o, dtype=np.float64) * g)) for o, g in zip(seen.outputs, self.cotangent))
            )

    def slope(self, direction: Mapping[str, np.ndarray], length: float = LENGTH) -> Slope:
        """The slope of `value` along a direction, with its bound; measured once. Raises OutOfCalls."""
        key = (length, *((n, u.tobytes()) for n, u in direction.items()))
        if key not in self.measured:
            self.measured[key] = self._measure(direction, length)
        return self.measured[key]

    def along(self, direction: Mapping[str, np.ndarray]) -> Callable[[float], float]:
        """`value` as a function of the way along a direction."""

        def phi(t: float) -> float:
            moved = {n: rounded(to_float64(self.values[n]) + t * u, self.dtype) for n, u in direction.items()}
            return self.value({**self.values, **moved})

        return phi

    def _measure(self, direction: Mapping[str, np.ndarray], length: float) -> Slope:
        # No entry moves by more than its size times t, so that steps of a few hundredths of a roundoff move hardly any.
        roundoff = FORMATS[self.dtype].roundoff
        found = slope(self.along(direction), length, roundoff * self.size(), roundoff / 64)
        if found.steepest == 0:
            # Outputs that stay the same to the last bit may hide what rounding next to a number of order one swallows on
            # the way, as log(softmax) does where the softmax is 1: u·Σ|g| over the steps' length.
            hidden = roundoff * float(sum(np.sum(np.abs(g)) for g in self.cotangent)) / LENGTH
            return replace(found, bound=found.bound + hidden)
        return found


def length_scales(x: np.ndarray) -> np.ndarray:
    """The size of each entry; 1 where that is 0 or no number."""
    size = np.abs(np.asarray(x, dtype=np.float64))
    return np.where((size > 0) & np.isfinite(size), size, 1.0)


def random_direction(b: Opaque, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Of each entry, ±[1/2, 1] times its length."""
    shapes = {n: b.values[n].shape for n in b.wrt}
    return {
        n: length_scales(b.values[n]) * rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.0, shape)
        for n, shape in shapes.items()
    }
