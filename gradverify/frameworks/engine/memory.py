"""The engine's memory that nobody wrote, filled with NaN: that is NumPy's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def _fill(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind in "fcV":
        x[...] = np.nan
    elif x.dtype.kind in "iu":
        x[...] = np.iinfo(x.dtype).max
    return x


@contextmanager
def poisoned() -> Iterator[None]:
    """Within the block, `numpy.empty` and `numpy.empty_like` give NaN; integers are their largest."""
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
