"""What adapters do with arrays and functions of arrays, whatever the framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def several(result: Any) -> tuple[Any, ...]:
    """What a function returned, as its outputs."""
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def places(values: Mapping[str, Any], names: Iterable[str]) -> list[int]:
    """Where in `values` these names are."""
    return [list(values).index(n) for n in names]


def restricted(function: Callable[..., Any], arrays: Sequence[Any], at: Sequence[int]) -> Callable[..., Any]:
    """The function of its arguments at the places `at` alone, in that order; the others are held as they are in `arrays`."""

    def of_some(*active: Any) -> Any:
        full = list(arrays)
        for k, x in zip(at, active):
            full[k] = x
        return function(*full)

    return of_some


def mutated(
    values: Mapping[str, np.ndarray],
    given: Iterable[Any],
    cotangent: Iterable[np.ndarray],
    weights: Iterable[Any],
    get: Callable[[Any], np.ndarray],
) -> tuple[str, ...]:
    """The labels for `Observation.mutated`: `given` and `weights` are the framework's arrays of `values` and `cotangent`,
    in order, and `get` reads one. Compared by bytes, so that NaN equals itself, and -0.0 is not 0.0."""
    held = [(name, was, now) for (name, was), now in zip(values.items(), given)]
    held += [(f"cotangent {i}", was, now) for i, (was, now) in enumerate(zip(cotangent, weights))]
    return tuple(label for label, was, now in held if get(now).tobytes() != np.asarray(was).tobytes())
