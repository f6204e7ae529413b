"""Which framework a call belongs to.

By the types of the arrays among the arguments, or of the function itself (a module, a jitted function). HIPS autograd's
functions take NumPy's own arrays, and JAX's may: there it is what the function refers to (its globals and cells, those
of the functions that it calls) that tells. `check(..., framework="autograd")` says it outright.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ..core.errors import BadInput
from ..trace import Traced
from ..trace.calls import closed_over
from .base import Framework
from .numpy.handwritten import HandWritten
from .registry import BY_HAND, of_functions, of_others

FRAMEWORKS: tuple[str, ...] = ("torch", "jax", "tinygrad", "mlx", "engine", "autograd", "cupy", "numpy")
"""Built-in ones whose functions can be judged, in the order in which a function with arrays of several is theirs."""

DEPTH = 3
"""How far functions are followed into those that they call, to see whether they use HIPS autograd or JAX."""


def trace(fn: Callable[..., Any], /, *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Traced:
    """Trace `fn(*args, **kwargs)`, for a function that has no keyword `options`; see `trace_call`."""
    return trace_call(fn, args, kwargs, options or {})


def trace_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Traced:
    """Trace a call at this point with the framework that its arguments (or `fn` itself) belong to.

    `options` are the tracer's own, and `framework`, where it is said outright.

    Raises Unsupported, with the reason, for what cannot be mapped, and BadInput where no framework is recognised.
    """
    options = dict(options)
    name = framework_of(fn, args, kwargs, options.pop("framework", None))
    return of_functions(name).trace(fn, args, kwargs, **options)


def title_of(framework: str) -> str:
    """What the framework is called in sentences."""
    return of_functions(framework).title


def known_frameworks() -> Iterator[Framework]:
    """All frameworks whose functions can be judged."""
    yield from map(of_functions, FRAMEWORKS)
    yield from of_others()


def owner(x: Any) -> Framework | None:
    """The framework that an array belongs to; None for none."""
    name = _framework(type(x))
    return of_functions(name) if name else None


def framework_of(fn: Any, args: Any, kwargs: Any, said: str | None = None) -> str:
    """The framework's name. Raises BadInput with what was seen."""
    if said is not None and said not in FRAMEWORKS:
        others = tuple(f.name for f in of_others())
        if said not in others:
            raise BadInput(f"framework must be one of {', '.join((*FRAMEWORKS, *others))}, got {said!r}")
        return said
    seen = {_framework(type(x)) for x in _everything([fn, getattr(fn, "__self__", None), args, kwargs])}
    if isinstance(fn, HandWritten):
        own = next((f for f in (*FRAMEWORKS, *sorted(seen)) if f and f in seen and f not in BY_HAND), said)
        if own is not None and own not in BY_HAND:
            raise BadInput(f"vjp= is for functions of NumPy and CuPy; those of {title_of(own)} have a VJP of their own")
        if not seen & set(BY_HAND):
            raise BadInput(f"no array of NumPy or CuPy among the arguments (got {_kinds(args)})")
        return "cupy" if "cupy" in seen else "numpy"
    if said in BY_HAND:
        return "cupy" if "cupy" in seen else "numpy"
    if said is not None:
        return said
    for framework in (*(f for f in FRAMEWORKS if f not in BY_HAND), *sorted(seen)):
        if framework and framework in seen and framework not in BY_HAND:
            return framework
    if "cupy" in seen:
        raise BadInput("CuPy has no gradients of its own: give the function's backward pass as vjp=")
    if "numpy" in seen:
        return _by_reference(fn)
    raise BadInput(f"no array of PyTorch or JAX (or NumPy, tinygrad, MLX, the engine) among the arguments (got "
                   f"{_kinds(args)})")  # fmt: skip


def _by_reference(fn: Any) -> str:
    """Of a function of NumPy arrays."""
    used = {f for f in _referred(fn, DEPTH) if f in ("autograd", "jax")}
    if len(used) == 1:
        return used.pop()
    if used:
        both = " and to ".join(title_of(f) for f in sorted(used))
        raise BadInput(f"the arguments are NumPy arrays, and the function refers to {both}: say which by framework=")
    raise BadInput(
        "the arguments are NumPy arrays, and nothing tells whose gradient is meant: give the backward pass as vjp= for a "
        'function of NumPy, or framework="autograd" (or "jax") for one that refers to it out of sight'
    )


def _everything(tree: Any, depth: int = 0) -> Iterator[Any]:
    if depth > 8:
        return
    if isinstance(tree, Mapping):
        for v in tree.values():
            yield from _everything(v, depth + 1)
    elif isinstance(tree, list | tuple | set):
        for v in tree:
            yield from _everything(v, depth + 1)
    else:
        yield tree


def _framework(cls: type) -> str:
    """The framework that a type of arrays (modules, functions) belongs to; "" for none."""
    for name in FRAMEWORKS:
        if of_functions(name).owns(cls):
            return name
    if cls.__module__ == "builtins":
        return ""
    return next((f.name for f in of_others() if f.owns(cls)), "")


def _referred(fn: Any, depth: int) -> Iterator[str]:
    """The frameworks whose modules and functions a function refers to."""
    for value in [fn, *closed_over(fn).values()]:
        if getattr(value, "_is_autograd_primitive", False):
            yield "autograd"
        module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        if isinstance(module, str):
            yield {"jaxlib": "jax"}.get(module.partition(".")[0], module.partition(".")[0])
        if depth and isinstance(value, types.FunctionType) and value is not fn:
            yield from _referred(value, depth - 1)


def _kinds(args: Any) -> str:
    return ", ".join(sorted({type(a).__name__ for a in args}) or ["nothing"])


@contextmanager
def asking() -> Iterator[Callable[[], bool]]:
    """Tells whether the functions that run meanwhile ask their framework whether they are being compiled."""
    with ExitStack() as stack:
        heard = [stack.enter_context(of_functions(name).asks_if_compiling()) for name in FRAMEWORKS]
        yield lambda: any(h() for h in heard)


def recompiled(framework: str, fn: Any) -> Callable[..., Any] | None:
    """The function as its framework compiles it; None where that is how it is given, or where there is no such thing to
    tell apart (JAX differentiates what it compiles)."""
    return of_functions(framework).compile(fn)
