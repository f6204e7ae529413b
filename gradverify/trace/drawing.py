"""Functions that draw from the generators of a whole process: Python's `random` and NumPy's `np.random`.

Each framework replays its own generator. These two are replayed here: every call of such a function draws the same. What a
backward pass draws is something else: a mask that is drawn anew there is another one.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np

NUMPY: Any = np.random
"""NumPy's stubs do not know of its bit generator, which is public since 1.24."""


class _Blocks(threading.local):
    """How many blocks of `kept` the thread is in."""

    depth = 0


_blocks = _Blocks()


@contextmanager
def kept() -> Iterator[None]:
    """A block that leaves both generators as they were."""
    python, numpy, generator = random.getstate(), np.random.get_state(legacy=False), NUMPY.get_bit_generator()
    _blocks.depth += 1
    try:
        yield
    finally:
        _blocks.depth -= 1
        random.setstate(python)
        if NUMPY.get_bit_generator() is not generator:
            NUMPY.set_bit_generator(generator)
        np.random.set_state(numpy)


@contextmanager
def kept_once() -> Iterator[None]:
    """A block of `kept`, where the thread is in none: of many runs within it none reads the states by itself."""
    with nullcontext() if _blocks.depth else kept():
        yield


@contextmanager
def replayed(seed: int, generators: Sequence[np.random.Generator] = ()) -> Iterator[Callable[[], bool]]:
    """A block in which both generators begin from `seed`, and `generators` from where they stand, whatever it draws.

    What it yields tells whether something was drawn from the two.
    """
    before = [g.bit_generator.state for g in generators]
    with _replaced(seed) as drawn:
        try:
            yield drawn
        finally:
            for g, b in zip(generators, before):
                g.bit_generator.state = b


_spare: list[np.random.MT19937] = []
"""Generators to put in the place of NumPy's: to make one costs as much as a short function."""


@contextmanager
def _replaced(seed: int) -> Iterator[Callable[[], bool]]:
    """A block with other generators, which begin from `seed`.

    To read the 624 words of NumPy's and to write them back takes a hundred times as long as to put another one in its place,
    which forgets but the half of a pair of normal numbers that it keeps for the next call. Within a block of `kept` that is
    put back in the end.
    """
    if not _blocks.depth:
        with kept(), _replaced(seed) as drawn:
            yield drawn
        return
    python, numpy = random.getstate(), NUMPY.get_bit_generator()
    mine = _spare.pop() if _spare else np.random.MT19937()
    random.seed(seed)
    NUMPY.set_bit_generator(mine)
    np.random.seed(seed)
    try:
        yield lambda: NUMPY.get_bit_generator() is not mine or _places(random, NUMPY) != _begun(seed)
    finally:
        random.setstate(python)
        if NUMPY.get_bit_generator() is mine:
            _spare.append(mine)
        NUMPY.set_bit_generator(numpy)


@lru_cache(maxsize=16)
def _begun(seed: int) -> tuple[object, ...]:
    """Where generators stand that begin from `seed`."""
    return _places(random.Random(seed), np.random.RandomState(seed))


def _places(python: Any, numpy: Any) -> tuple[object, ...]:
    """How far the two generators have come, within the 624 words that each makes at a time."""
    state: Mapping[str, Any] = numpy.get_state(legacy=False)
    return python.getstate(), state["state"]["pos"], state["has_gauss"], state["state"]["key"][:4].tobytes()
