"""A block that leaves nothing behind: random number generators, warnings, and the frameworks' gradient mode."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from ..frameworks.recognise import known_frameworks


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within the block, drawing and warning are nobody's business but ours."""
    python, legacy = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for framework in known_frameworks():
            stack.enter_context(framework.undisturbed())
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)
