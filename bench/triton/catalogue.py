"""The Triton kernels of `kernels/`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", "1")

import torch

from bench import mutated

FOLDER = Path(__file__).parent / "kernels"


class Kernel(mutated.Kernel):
    """A Triton kernel's file."""

    def point(self, dtype: str) -> tuple[Any, ...]:
        draw = torch.Generator().manual_seed(0)
        return self.module.point(getattr(torch, dtype), lambda *shape: torch.randn(*shape, generator=draw))


def kernels() -> list[Kernel]:
    return [Kernel(p) for p in sorted(FOLDER.glob("*.py")) if p.stem != "__init__"]
