"""The kernels of `kernels/`, loaded as they are or with a mutant's text in place of their own.

A kernel is a file with `function`, `point(dtype, rand)` and `MUTANTS`: (kind, what is wrong, the text, the text instead).
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", "1")

import torch

FOLDER = Path(__file__).parent / "kernels"
KINDS = (
    "tail",
    "mask",
    "other",
    "race",
    "atomic",
    "stale",
    "stride",
    "accumulator",
    "causal",
    "sign",
    "term",
    "constant",
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Mutant:
    """One change of a kernel's file: a text that stands there once, and its replacement."""

    kind: str
    about: str
    old: str
    new: str


class Kernel:
    """A kernel's file."""

    def __init__(self, path: Path) -> None:
        self.name, self.path = path.stem, path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8").split("\nMUTANTS = [")[0]

    @cached_property
    def module(self) -> ModuleType:
        return _imported(f"bench.triton.kernels.{self.name}", self.path)

    @property
    def source(self) -> str:
        return str(self.module.__doc__)

    @property
    def mutants(self) -> list[Mutant]:
        return [Mutant(*m) for m in self.module.MUTANTS]

    def point(self, dtype: str) -> tuple[Any, ...]:
        draw = torch.Generator().manual_seed(0)
        return self.module.point(DTYPES[dtype], lambda *shape: torch.randn(*shape, generator=draw))

    def function(self, mutant: Mutant | None = None) -> Callable[..., Any]:
        if mutant is None:
            return self.module.function
        if mutant.kind not in KINDS or self.text.count(mutant.old) != 1:
            raise ValueError(f"{self.name}: {mutant.about}: the text stands {self.text.count(mutant.old)} times")
        # The interpreter reads the source of a kernel from its file.
        folder = Path(tempfile.mkdtemp(prefix="gradverify-"))
        path = folder / f"{self.name}.py"
        path.write_text(self.text.replace(mutant.old, mutant.new), encoding="utf-8")
        return _imported(f"mutant_{folder.name}_{self.name}", path).function


def _imported(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def kernels() -> list[Kernel]:
    return [Kernel(p) for p in sorted(FOLDER.glob("*.py")) if p.stem != "__init__"]
