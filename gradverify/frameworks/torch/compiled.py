"""Functions that went through `torch.compile`: the eager run is the definition, the compiled function is what is judged.

A compiled function is compiled anew for every layout, dtype and requires_grad that it meets. Past `recompile_limit` (8)
PyTorch runs it eagerly and only logs so; that would be a verdict on something else.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

RECOMPILATIONS = 256
"""As often as one function may be compiled during a verdict; beyond it a run raises."""

NOTE = "the function is compiled: its eager run is the definition, the compiled function is what was judged"


def is_compiled(fn: Any) -> bool:
    """Is `fn` itself the result of torch.compile? What is compiled inside it does not count."""
    return hasattr(fn, "_torchdynamo_orig_callable") or (
        "torch._dynamo" in sys.modules and isinstance(fn, torch._dynamo.OptimizedModule)
    )


def eager() -> contextlib.AbstractContextManager[Any]:
    """Nothing is compiled here."""
    # Where the compiler is not loaded, nothing can be compiled, and to load it takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext()


@contextlib.contextmanager
def compiling(fn: Any) -> Iterator[None]:
    """For a run of a function that may be compiled: never eager instead, and with eager's random numbers."""
    with contextlib.ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and importing it takes seconds
            import torch._dynamo.config as dynamo

            stack.enter_context(
                dynamo.patch(
                    recompile_limit=RECOMPILATIONS,
                    accumulated_recompile_limit=16 * RECOMPILATIONS,
                    fail_on_recompile_limit_hit=True,
                )
            )
            if is_compiled(fn) or "torch._inductor.config" in sys.modules:
                import torch._inductor.config as inductor

                # Inductor draws from a generator of its own otherwise: another dropout than the definition's.
                stack.enter_context(inductor.patch(fallback_random=True))
        yield


# ---- who asks whether it is compiled --------------------------------------------------------------------------------

ROOT = str(Path(torch.__file__).parent)

_ASKED: dict[Any, CodeType] = {f: f.__code__ for f in (torch.jit.is_scripting, torch.compiler.is_dynamo_compiling)}
"""What all ways of asking come to, and their own code."""

_listeners: list[set[str]] = []
"""Where anybody but PyTorch itself asked, for each that listens."""


@contextlib.contextmanager
def listening() -> Iterator[Callable[[], bool]]:
    """Tells whether code outside of PyTorch asked, meanwhile, whether it is being compiled: what asks may answer otherwise
    where it is.

    The functions in _ASKED get another body, not another name: whoever imported them is heard, and the compilers, which
    know them by identity, are not misled.
    """
    where: set[str] = set()
    _listeners.append(where)
    for f in _ASKED:
        f.__code__ = _hearing.__code__
    try:
        yield lambda: bool(where)
    finally:
        # By identity: others may listen meanwhile, in this thread or another.
        _listeners[:] = [x for x in _listeners if x is not where]
        for f, code in _ASKED.items() if not _listeners else ():
            f.__code__ = code


def _hearing() -> bool:
    from gradverify.frameworks.torch.compiled import (
        heard,  # this runs among the globals of the function that it is the body of
    )

    heard()
    return False


def heard() -> None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name in ("is_compiling", "is_dynamo_compiling"):
        frame = frame.f_back
    if frame is not None and not frame.f_code.co_filename.startswith(ROOT):
        for where in _listeners:
            where.add(frame.f_code.co_filename)


def compiled(fn: Any) -> Callable[..., Any]:
    """The function or module as torch.compile makes it, down to the graphs that its backends get: what is in those is run
    by PyTorch's own operations."""
    if isinstance(fn, torch.nn.Module) or isinstance(getattr(fn, "__self__", None), torch.nn.Module):
        return torch.compile(fn, backend="aot_eager")

    @functools.wraps(fn, updated=())  # torch.compile takes no built-in method, as that of a Function is
    def called(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return torch.compile(called, backend="aot_eager")
