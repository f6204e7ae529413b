"""Unwritten memory filled with NaN, so that a read of it shows in the result.

A kernel that adds into `torch.empty_like(x)` is right as long as the allocator hands out zeros, which fresh pages are. For
the time of a call, `poison_memory` makes the framework fill what it allocates without writing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from ...frameworks.base import Framework
from ...frameworks.registry import find


def poison_memory(subject: Framework | str) -> AbstractContextManager[None]:
    """Within the block, memory that the subject allocates without writing is NaN.

    `subject` may be its name.

    Raises Unsupported for a framework without such a switch.
    """
    return (find(subject) if isinstance(subject, str) else subject).poisoned()
