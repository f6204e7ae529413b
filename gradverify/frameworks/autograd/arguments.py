"""The arguments of a function of HIPS autograd, as its own check_grads reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ...trace.callee import positional
from ...trace.calls import mapped


def unary(
    f: Callable[..., Any], argnum: int | Sequence[int], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return `f` as a function of its arguments `argnum` alone, and those arguments.

    Python's numbers among them become NumPy scalars of the same value, since numbers are differentiated as well.
    """
    chosen = [argnum] if isinstance(argnum, int) else list(argnum)

    @wraps(f, updated=())
    def of_chosen(*active: Any) -> Any:
        full = list(args)
        for k, x in zip(chosen, active):
            full[k] = x
        return f(*full, **kwargs)

    of_chosen.__name__ = getattr(f, "__name__", type(f).__name__)
    of_chosen.__signature__ = _signature_of(f, chosen)  # type: ignore[attr-defined]
    return of_chosen, tuple(mapped(as_scalar, args[k]) for k in chosen)


def run_once(f: Callable[..., Any], args: Sequence[Any], modes: Sequence[str]) -> None:
    """Differentiate `f` in each of `modes`, the outermost first, as autograd's own check does; raise what that raises."""
    from autograd import make_jvp, make_vjp
    from autograd.core import vspace

    def derived(f: Callable[[Any], Any], mode: str) -> Callable[[Any], Any]:
        def at(given: Any) -> Any:
            if mode == "fwd":
                return make_jvp(f)(given)(vspace(given).ones())[1]
            back, out = make_vjp(f)(given)
            return back(vspace(out).ones())

        return at

    of_all: Callable[[Any], Any] = lambda given: f(*(given[k] for k in range(len(args))))
    for mode in reversed(modes):
        of_all = derived(of_all, mode)
    of_all(tuple(args))


def as_scalar(x: Any) -> Any:
    """Return a Python float or complex number as NumPy's; anything else as it is."""
    if isinstance(x, np.generic):
        return x
    return np.float64(x) if isinstance(x, float) else np.complex128(x) if isinstance(x, complex) else x


def _signature_of(f: Callable[..., Any], chosen: Sequence[int]) -> inspect.Signature:
    names = [positional(f, k) for k in chosen]
    plain = [n if n.isidentifier() else f"arg{k}" for n, k in zip(names, chosen)]
    return inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in plain])
