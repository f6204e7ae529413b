"""Subjects by name: built-in ones, those that a conftest registers, those of the entry points `gradverify.frameworks`.

An entry point names a Subject instance, or a callable without arguments that returns one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from inspect import signature
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.errors import UnknownName, Unsupported
from ..core.graph import Graph
from .base import Observation, Subject

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "engine": "gradverify.frameworks.engine.adapter:EngineSubject",
        "torch": "gradverify.frameworks.torch.adapter:TorchSubject",
        "jax": "gradverify.frameworks.jax.adapter:JaxSubject",
    }
)
FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "numpy": "gradverify.frameworks.numpy.adapter:NumpySubject",
        "cupy": "gradverify.frameworks.cupy.adapter:CupySubject",
        "autograd": "gradverify.frameworks.autograd.adapter:AutogradSubject",
        "tinygrad": "gradverify.frameworks.tinygrad.adapter:TinygradSubject",
        "mlx": "gradverify.frameworks.mlx.adapter:MlxSubject",
    }
)
"""Those that judge a user's function and run no graphs: by the name of the function's framework."""

GROUP = "gradverify.frameworks"

_REGISTERED: dict[str, Subject] = {}


def register(subject: Subject) -> Subject:
    """Make a subject known under its name in this process: for a conftest.py. A built-in name is replaced."""
    _REGISTERED[subject.name] = subject
    find.cache_clear()
    return subject


def names() -> tuple[str, ...]:
    """All names that `find` knows, built-in ones first."""
    return tuple(dict.fromkeys([*BUILT_IN, *_REGISTERED, *(e.name for e in entry_points(group=GROUP))]))


class Elsewhere:
    """A subject of the CPU that is asked for on another device: unavailable there."""

    def __init__(self, subject: Subject, device: str) -> None:
        self.name, self.dtypes, self._device = subject.name, subject.dtypes, device

    def unavailable(self) -> str:
        return f"{self.name} runs on the CPU only, not on {self._device}"

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        raise Unsupported(self.unavailable())

    def vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        raise Unsupported(self.unavailable())


def _built_in(where: str, device: str | None) -> Subject:
    module, _, attribute = where.partition(":")
    made: Any = getattr(importlib.import_module(module), attribute)
    if "device" in signature(made).parameters:
        return made(device=device) if device else made()
    return made() if device in (None, "cpu") else Elsewhere(made(), device)


def of_functions(framework: str, device: str | None = None) -> Subject:
    """What judges a function of this framework: an adapter of functions alone, or else the one that `find` knows."""
    return _built_in(FUNCTIONS[framework], device) if framework in FUNCTIONS else find(framework, device)


@cache
def find(name: str, device: str | None = None) -> Subject:
    """The adapter called `name`, on `device` ("cpu", "cuda"; None: the adapter's default). Raises UnknownName."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in BUILT_IN:
        return _built_in(BUILT_IN[name], device)
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            made = entry.load()
            # A class has all of a Subject's attributes, and is a callable that returns one.
            return made() if isinstance(made, type) or (callable(made) and not isinstance(made, Subject)) else made
    raise UnknownName("subject", name, names())
