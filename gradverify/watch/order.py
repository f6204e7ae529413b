"""In which order records are judged, where there may not be time for all: the suspicious, then the others."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core.limits import TimeLimit, time_limit
from ..frameworks.registry import of_functions
from ..frameworks.watching import Sample

SUSPICIOUS = 2.0**-7
"""The relative gap of one slope from which on a record comes first. The difference takes a step of 2^-8 of the values' size:
its error is some 2^-16 of truncation, and in float32 some 2^-24 / 2^-8 = 2^-16 of rounding; 500 times that allows for
curvature and cancellation."""

MOST = 2.0
"""Seconds for one slope."""


SHARE = 0.25
"""Of the time for judging, what slopes may take. They begin with small records, so that those without one are the large ones."""


def in_order(samples: Iterable[Sample], end: float) -> list[Sample]:
    """The records in the order of judgement: in turns one of each definition, the small before the large.

    What is wrong is wrong in small records as well, as a rule, and of these there is time for many. Slopes are taken until a
    share of the time is over that is left until `end`, in seconds of `time.perf_counter`.
    """
    now = time.perf_counter()
    stop = now + SHARE * (end - now)
    seen: Counter[tuple[bool, str]] = Counter()
    ranked = []
    for sample in sorted(samples, key=lambda s: s.size):
        left = stop - time.perf_counter()
        late = left <= 0 or suspicion(sample, min(MOST, left)) < SUSPICIOUS
        ranked.append(((late, seen[late, sample.definition.name]), sample))
        seen[late, sample.definition.name] += 1
    return [sample for _, sample in sorted(ranked, key=lambda pair: pair[0])]


def suspicion(sample: Sample, limit: float = MOST) -> float:
    """The relative gap between the gradient and one central difference; infinite where it cannot be had."""
    framework = of_functions(sample.definition.framework)
    try:
        with time_limit(limit):
            return _suspicion(framework, sample)
    except (Exception, TimeLimit):  # whatever it is, judging says it
        return math.inf


def _suspicion(framework: Any, sample: Sample) -> float:
    values = {f"x{k}": framework.get(a) for k, a in enumerate(sample.args)}
    rng = np.random.default_rng(0)
    wide = {n: np.asarray(v, dtype=np.float64) for n, v in values.items()}
    step = 2.0**-8 * max(float(np.mean(np.abs(v))) if v.size else 1.0 for v in wide.values()) or 2.0**-8
    directions = {n: rng.standard_normal(v.shape) for n, v in wide.items()}
    shapes = [s for s, _ in sample.outputs]
    cotangent = sample.cotangent() or tuple(rng.standard_normal(s) for s in shapes)
    cast = [np.asarray(g, dtype=next(iter(values.values())).dtype) for g in cotangent]
    seen = framework.run_vjp(sample.function, values, tuple(values), tuple(cast))

    def value(sign: float) -> float:
        moved = {n: (wide[n] + sign * step * directions[n]).astype(v.dtype) for n, v in values.items()}
        outs = framework.run_vjp(sample.function, moved, (), tuple(cast)).outputs
        return sum(float(np.sum(np.asarray(o, dtype=np.float64) * g)) for o, g in zip(outs, cotangent))

    slope = (value(1.0) - value(-1.0)) / (2 * step)
    predicted = sum(
        float(np.sum(np.asarray(d, dtype=np.float64) * directions[n]))
        for n, d in seen.gradients.items()
        if d is not None
    )
    return abs(slope - predicted) / max(abs(slope), abs(predicted), 1e-30)
