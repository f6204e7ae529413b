"""What runs beneath PyTorch, on the memory of its tensors, and is recorded all the same: kernels of Triton.

A recorder is put beneath a trace where its package is loaded already; nothing is imported for it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ...trace.value import Launches, OtherRun

if TYPE_CHECKING:
    import torch

    from .tracer import TorchTracer

ALLOCATIONS = frozenset("empty empty_like new_empty empty_strided new_empty_strided".split())
"""Calls that give memory which nobody has written."""


class Beneath:
    """What the tracer asks of a recorder; this one records nothing.

    roots  folders of what runs beneath, whose lines are not the user's
    """

    roots: tuple[str, ...] = ()

    def recording(self) -> AbstractContextManager[None]:
        """Within the block, what runs beneath is recorded into the trace."""
        return contextlib.nullcontext()

    def allocated(self, t: torch.Tensor) -> None:
        """PyTorch gave a tensor of memory that nobody has written."""

    def launches(self) -> Launches:
        """What is to be known of the kernels that ran."""
        return Launches()

    def faults(self, outputs: Sequence[torch.Tensor]) -> tuple[str, ...]:
        """What went wrong in memory, one text each; `outputs` are the function's results."""
        return ()


def recorder(xp: TorchTracer) -> Beneath:
    """The recorder of what runs beneath this trace."""
    if "triton.runtime.interpreter" not in sys.modules:
        return Beneath()
    from ..triton.recorder import Recorder

    return Recorder(xp)


def mended() -> AbstractContextManager[None]:
    """Within the block, interpreters beneath PyTorch compute what their languages say."""
    if "triton.runtime.interpreter" not in sys.modules:
        return contextlib.nullcontext()
    from ..triton.interpreter import mended as interpreter

    return interpreter()


def other_runs(launches: Launches) -> Sequence[OtherRun]:
    """Other ways to run these kernels, each of which owes the same gradient."""
    if not launches.instances:
        return ()
    from ..triton.runs import other_runs as of_kernels

    return of_kernels(launches)
