"""The trace of a function that nobody can look into: its arguments, its outputs, and no graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import Unsupported
from ..trace.base import Tracer
from ..trace.calls import FlatCall, Found, arguments, leaves, traced
from ..trace.value import Traced

if TYPE_CHECKING:
    from .base import Framework


def trace_opaque(
    framework: Framework, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *,
    seed: int, strict: bool,
) -> Traced:  # fmt: skip
    """The arguments and outputs of `fn(*args, **kwargs)`, without a graph; raises Unsupported if `strict`."""
    why = f"functions of {framework.title} are not traced"
    if strict:
        raise Unsupported(why)
    call = FlatCall(fn, tuple(args), dict(kwargs), framework.is_array, seed)
    xp = Tracer()
    given = arguments(xp, call, framework.get, lambda a: _dtype(framework, a), lambda a: False)
    found = []
    for path, leaf in leaves(call.run(call.arrays)):
        array = framework.get(leaf) if framework.is_array(leaf) else None
        found.append(Found(path, array, type(leaf).__name__ if array is None else array.dtype.name, why=why))
    return replace(traced(xp, framework.name, given, found, call.flat, (why,)), graph=None)


def _dtype(framework: Framework, array: Any) -> str:
    return str(np.asarray(framework.get(array)).dtype)
