"""PyTorch's memory that nobody wrote, filled with NaN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def poisoned() -> Iterator[None]:
    """Within the block, `torch.empty` and its kin give NaN.

    PyTorch does this itself, in deterministic mode ("torch.utils.deterministic.fill_uninitialized_memory"); its wish for
    deterministic kernels is turned into warnings, and those are dropped.
    """
    import warnings

    import torch

    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    mode, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
            yield
    finally:
        torch.use_deterministic_algorithms(mode, warn_only=warn)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
