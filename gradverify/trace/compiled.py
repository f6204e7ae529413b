"""Functions that went through `torch.compile`: the eager run is the definition, the compiled function is what is judged.

A compiled function is compiled anew for every layout, dtype and requires_grad that it meets. Past `recompile_limit` (8)
PyTorch runs it eagerly and only logs so; that would be a verdict on something else.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
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
