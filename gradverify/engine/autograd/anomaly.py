"""Anomaly mode: backward stops at the first node that returns NaN, and names it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np


class _State(threading.local):
    enabled = False
    check_nan = True


state = _State()


class set_detect_anomaly:
    """Sets the mode at once; as a context manager, until the end of the block."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = (state.enabled, state.check_nan)
        state.enabled, state.check_nan = mode, check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        state.enabled, state.check_nan = self._before


class detect_anomaly(set_detect_anomaly):
    """`with detect_anomaly():` checks the backward passes inside."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


def is_anomaly_enabled() -> bool:
    return state.enabled


def check(node: Any, grads: Sequence[Any]) -> None:
    """Raises RuntimeError where a gradient holds a NaN."""
    if not state.check_nan:
        return
    for k, g in enumerate(grads):
        data = getattr(g, "_data", g)
        if data is not None and np.isnan(data).any():
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {k}th output.")
