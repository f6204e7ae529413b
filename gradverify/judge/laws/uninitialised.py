"""Memory that nobody wrote, filled with NaN: who reads it shows it, and does not get away by luck.

A kernel that adds into `torch.empty_like(x)` is right as long as the allocator hands out zeros, which fresh pages are. For
the time of a call, `poison_memory` makes the framework fill what it allocates without writing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from ...frameworks.base import Framework
from ...frameworks.registry import find


def poison_memory(subject: Framework | str) -> AbstractContextManager[None]:
    """Within the block, memory that the subject (or the one of this name) allocates without writing holds NaN.

    Raises Unsupported for a framework without such a switch.
    """
    return (find(subject) if isinstance(subject, str) else subject).poisoned()
