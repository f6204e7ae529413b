"""Functions that draw from the generators of a whole process: Python's `random` and NumPy's `np.random`.

Each framework replays its own generator. These two are replayed here: every call of such a function begins from the state
that the first one began from. What a backward pass draws comes after the draws of its forward pass, as in any run: a mask
that is drawn anew there is another one.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

NOTE = "it draws from Python's or NumPy's global generator: each call draws what the first one drew"

State = tuple[Any, Any]


def state() -> State:
    """The states of both generators."""
    return random.getstate(), np.random.get_state(legacy=False)


def restore(before: State) -> None:
    random.setstate(before[0])
    np.random.set_state(before[1])


def has_moved(before: State) -> bool:
    """Has something been drawn since?"""
    python, numpy = before
    now = np.random.get_state(legacy=False)
    same = now["state"]["pos"] == numpy["state"]["pos"] and np.array_equal(now["state"]["key"], numpy["state"]["key"])
    same &= now["has_gauss"] == numpy["has_gauss"]
    return not same or random.getstate() != python


@contextmanager
def kept() -> Iterator[None]:
    """A block that leaves both generators as they were."""
    before = state()
    try:
        yield
    finally:
        restore(before)


def from_state(function: Callable[..., Any], before: State) -> Callable[..., Any]:
    """The function, each call of which begins from this state."""

    @functools.wraps(function, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        restore(before)
        return function(*args, **kwargs)

    return call
