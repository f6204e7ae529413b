"""Memory that nobody wrote, filled with NaN: who reads it shows it, and does not get away by luck.

A kernel that adds into `torch.empty_like(x)` is right as long as the allocator hands out zeros, which fresh pages are. For
the time of a call, `poisoned` makes the framework fill what it allocates without writing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...core.errors import Unsupported
from ...frameworks.base import Subject


@contextmanager
def poisoned(subject: Subject | str) -> Iterator[None]:
    """Within the block, `torch.empty` and its kin (for the engine and NumPy code `numpy.empty` and `numpy.empty_like`)
    give NaN; integers are their largest. `subject` is one, or its name. Raises Unsupported for others.

    PyTorch does this itself, in deterministic mode ("torch.utils.deterministic.fill_uninitialized_memory"); its wish for
    deterministic kernels is turned into warnings, and those are dropped.
    """
    name = subject if isinstance(subject, str) else subject.name
    if name not in ("torch", "engine"):
        raise Unsupported(f"{name} has no switch for uninitialised memory")
    with _numpy() if name == "engine" else _torch():
        yield


@contextmanager
def _torch() -> Iterator[None]:
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


def _fill(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind in "fcV":
        x[...] = np.nan
    elif x.dtype.kind in "iu":
        x[...] = np.iinfo(x.dtype).max
    return x


@contextmanager
def _numpy() -> Iterator[None]:
    empty, empty_like = np.empty, np.empty_like

    def filled(*args: Any, **kwargs: Any) -> Any:
        return _fill(empty(*args, **kwargs))

    def filled_like(*args: Any, **kwargs: Any) -> Any:
        return _fill(empty_like(*args, **kwargs))

    module: Any = np
    module.empty, module.empty_like = filled, filled_like
    try:
        yield
    finally:
        module.empty, module.empty_like = empty, empty_like
