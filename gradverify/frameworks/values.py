"""What adapters do with arrays and functions of arrays, whatever the framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def several(result: Any) -> tuple[Any, ...]:
    """Return a function's result as a tuple of outputs."""
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def argnums(values: Mapping[str, Any], names: Iterable[str]) -> list[int]:
    """Return the positions of these names in `values`."""
    return [list(values).index(n) for n in names]


def restricted(function: Callable[..., Any], arrays: Sequence[Any], argnums: Sequence[int]) -> Callable[..., Any]:
    """Return `function` as a function of its arguments `argnums` alone, in that order.

    The other arguments are fixed to those of `arrays`."""

    def of_some(*active: Any) -> Any:
        full = list(arrays)
        for k, x in zip(argnums, active):
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
    """Return the labels of the arrays that were written to, for `Observation.mutated`.

    `given` and `weights` are the framework's arrays of `values` and `cotangent`, in order; `get` reads one. Arrays are
    compared by bytes, so that NaN equals itself, and -0.0 is not 0.0."""
    pairs = [(name, was, now) for (name, was), now in zip(values.items(), given)]
    pairs += [(f"cotangent {i}", was, now) for i, (was, now) in enumerate(zip(cotangent, weights))]
    return tuple(label for label, was, now in pairs if get(now).tobytes() != np.asarray(was).tobytes())
