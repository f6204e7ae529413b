"""Functions that draw from the generators of a whole process: Python's `random` and NumPy's `np.random`.

Each framework replays its own generator. These two are replayed here: every call of such a function draws the same. What a
backward pass draws is something else: a mask that is drawn anew there is another one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np


@contextmanager
def kept() -> Iterator[None]:
    """A block that leaves both generators as they were."""
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def replayed(seed: int, generators: Sequence[np.random.Generator] = ()) -> Iterator[Callable[[], bool]]:
    """A block in which both generators begin from `seed`, and `generators` from where they stand, whatever it draws.

    What it yields tells whether something was drawn from the two.
    """
    before = [g.bit_generator.state for g in generators]
    with kept():
        random.seed(seed)
        np.random.seed(seed)
        begun = _places()
        try:
            yield lambda: _places() != begun
        finally:
            for g, b in zip(generators, before):
                g.bit_generator.state = b


def _places() -> tuple[object, ...]:
    """How far each generator has come, but for whole turns of its 624 words."""
    numpy = np.random.get_state(legacy=False)
    return random.getstate(), numpy["state"]["pos"], numpy["has_gauss"], numpy["state"]["key"][:4].tobytes()
