"""The Pallas kernels of `kernels/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from bench import mutated

FOLDER = Path(__file__).parent / "kernels"


class Kernel(mutated.Kernel):
    """A Pallas kernel's file."""

    def point(self, dtype: str) -> tuple[Any, ...]:
        draw = np.random.default_rng(0)
        return self.module.point(jnp.dtype(dtype), lambda *shape: jnp.asarray(draw.standard_normal(shape), jnp.float32))


def kernels() -> list[Kernel]:
    return [Kernel(p) for p in sorted(FOLDER.glob("*.py")) if p.stem != "__init__"]
