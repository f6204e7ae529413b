"""Which framework a call belongs to.

By the types of the arrays among the arguments, or of the function itself (a module, a jitted function). HIPS autograd's
functions take NumPy's own arrays, and JAX's may: there it is what the function refers to (its globals and cells, those
of the functions that it calls) that tells. `check(..., framework="autograd")` says it outright.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..core.errors import BadInput
from ..trace.base import Traced
from ..trace.calls import closed_over
from .numpy.handwritten import HandWritten

FRAMEWORKS: Mapping[str, str] = {
    "torch": "PyTorch", "jax": "JAX", "tinygrad": "tinygrad", "mlx": "MLX", "engine": "the engine",
    "autograd": "HIPS autograd", "cupy": "CuPy", "numpy": "NumPy",
}  # fmt: skip
"""Those that can be traced, each by the module of this package that has its name, and what they are called."""

ROOTS = {"torch": "torch", "jax": "jax", "jaxlib": "jax", "tinygrad": "tinygrad", "mlx": "mlx",
         "gradverify.engine": "engine"}  # fmt: skip
"""Of modules whose types belong to a framework that differentiates."""

DEPTH = 3
"""How far functions are followed into those that they call, to see whether they use HIPS autograd or JAX."""


def trace(fn: Callable[..., Any], *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Traced:
    """Trace `fn` at this point with the framework that its arguments (or `fn` itself) belong to; `options` are the
    tracer's own, and `framework`, where it is said outright.

    Raises Unsupported, with the reason, for what cannot be mapped, and BadInput where no framework is recognised.
    """
    options = dict(options or {})
    name = framework_of(fn, args, kwargs, options.pop("framework", None))
    return tracer(name).trace(fn, args, kwargs, **options)


def tracer(framework: str) -> Any:
    """The module of this package that traces the framework's functions."""
    return importlib.import_module(f"{__package__}.{framework}.tracer")


def framework_of(fn: Any, args: Any, kwargs: Any, said: str | None = None) -> str:
    """A key of FRAMEWORKS. Raises BadInput with what was seen."""
    if said is not None and said not in FRAMEWORKS:
        raise BadInput(f"framework must be one of {', '.join(FRAMEWORKS)}, got {said!r}")
    seen = {_framework(type(x)) for x in _everything([fn, getattr(fn, "__self__", None), args, kwargs])}
    if isinstance(fn, HandWritten):
        own = next((f for f in FRAMEWORKS if f in seen and f not in ("numpy", "cupy")), said)
        if own not in (None, "numpy", "cupy"):
            raise BadInput(
                f"vjp= is for functions of NumPy and CuPy; those of {FRAMEWORKS[own]} have a VJP of their own"
            )
        if not seen & {"numpy", "cupy"}:
            raise BadInput(f"no array of NumPy or CuPy among the arguments (got {_kinds(args)})")
        return "cupy" if "cupy" in seen else "numpy"
    if said in ("numpy", "cupy"):
        return "cupy" if "cupy" in seen else "numpy"
    if said is not None:
        return said
    for framework in ("torch", "jax", "tinygrad", "mlx", "engine"):
        if framework in seen:
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
        both = " and to ".join(FRAMEWORKS[f] for f in sorted(used))
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
    for t in cls.__mro__:
        for root, framework in ROOTS.items():
            if t.__module__ == root or t.__module__.startswith(f"{root}."):
                # A framework that was never imported has no arrays: a module of its name is something else.
                return framework if framework == "engine" or framework in sys.modules else ""
        if t.__module__ == "numpy" and t.__name__ in ("ndarray", "generic"):
            return "numpy"
        if t.__module__.partition(".")[0] == "cupy" and t.__name__ == "ndarray":
            return "cupy"
    return ""


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
    """Tells whether the functions that run meanwhile ask PyTorch whether they are being compiled."""
    if "torch" not in sys.modules:  # else nobody can ask
        yield lambda: False
        return
    from .torch.compiled import listening

    with listening() as heard:
        yield heard


def recompiled(framework: str, fn: Any) -> Callable[..., Any] | None:
    """The function as its framework compiles it; None where that is how it is given, or where there is no such thing to
    tell apart (JAX differentiates what it compiles)."""
    if framework != "torch":
        return None
    from .torch.compiled import compiled, is_compiled

    return None if is_compiled(fn) else compiled(fn)
