"""Frameworks by name: built-in ones, those that a conftest registers, those of the entry points `gradverify.frameworks`.

An entry point names a Framework instance, or a callable without arguments that returns one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.errors import UnknownName, Unsupported
from ..core.graph import Graph
from .base import Framework, Observation, Template
from .wrapped import Wrapped

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "engine": "gradverify.frameworks.engine.adapter:EngineFramework",
        "torch": "gradverify.frameworks.torch.adapter:TorchFramework",
        "jax": "gradverify.frameworks.jax.adapter:JaxFramework",
    }
)
FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "tinygrad": "gradverify.frameworks.tinygrad.adapter:TinygradFramework",
        "mlx": "gradverify.frameworks.mlx.adapter:MlxFramework",
        "autograd": "gradverify.frameworks.autograd.adapter:AutogradFramework",
        "cupy": "gradverify.frameworks.cupy.adapter:CupyFramework",
        "numpy": "gradverify.frameworks.numpy.adapter:NumpyFramework",
    }
)
"""Those that judge a user's function and run no graphs: by the name of the function's framework."""
BY_HAND = ("numpy", "cupy")
"""Array libraries, which differentiate nothing: subjects of a spec that names a function and its `vjp`."""

PACKAGES: Mapping[str, str | None] = MappingProxyType({"engine": None, "torch": "torch", "jax": "jax"})
"""Those that are judged where a run names none -> the package that must be installed for it."""

GROUP = "gradverify.frameworks"

_REGISTERED: dict[str, Framework] = {}


def register(framework: Framework) -> Framework:
    """Make a framework known under its name in this process: for a conftest.py. A built-in name is replaced."""
    _REGISTERED[framework.name] = framework
    find.cache_clear()
    return framework


def names() -> tuple[str, ...]:
    """The names of all frameworks that run graphs, built-in ones first."""
    return tuple(dict.fromkeys([*BUILT_IN, *_REGISTERED, *_entries()]))


@cache
def _entries() -> Mapping[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=GROUP)}


def reload() -> None:
    """Look the entry points up again: for tests that install a distribution while they run."""
    _entries.cache_clear()
    find.cache_clear()


def installed() -> tuple[str, ...]:
    """The built-in frameworks that run graphs and are installed; none is imported."""
    return tuple(name for name, package in PACKAGES.items() if not package or importlib.util.find_spec(package))


def loaded() -> Iterator[Framework]:
    """Yield the built-in frameworks whose package somebody has imported."""
    for name, package in PACKAGES.items():
        if package and package in sys.modules:
            yield find(name)


def of_others() -> Iterator[Framework]:
    """Yield the frameworks of conftests and entry points that stand in for no built-in one."""
    for name in names():
        if name not in BUILT_IN and name not in FUNCTIONS:
            yield find(name)


def templates() -> Iterator[Template]:
    """How reproducers ask the built-in frameworks."""
    for where in BUILT_IN.values():
        found = _built_in(where, None).template
        if found is not None:
            yield found


class Elsewhere(Wrapped):
    """A framework of the CPU that is asked for on another device: unavailable there."""

    def __init__(self, inner: Framework, device: str) -> None:
        super().__init__(inner)
        self.device = device

    def unavailable(self) -> str:
        return f"{self.name} runs on the CPU only, not on {self.device}"

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        raise Unsupported(self.unavailable())

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        raise Unsupported(self.unavailable())


def _built_in(where: str, device: str | None) -> Framework:
    module, _, attribute = where.partition(":")
    made: Any = getattr(importlib.import_module(module), attribute)
    if "device" in signature(made).parameters:
        found: Framework = made(device=device) if device else made()
        return found
    return made() if device in (None, "cpu") else Elsewhere(made(), device)


def of_functions(framework: str, device: str | None = None) -> Framework:
    """What judges a function of this framework: an adapter of functions alone, or else the one that `find` knows."""
    return _of_functions(framework, device) if framework in FUNCTIONS else find(framework, device)


@cache
def _of_functions(framework: str, device: str | None) -> Framework:
    return _built_in(FUNCTIONS[framework], device)


@cache
def find(name: str, device: str | None = None) -> Framework:
    """The adapter called `name`, on `device` ("cpu", "cuda"; None: the adapter's default). Raises UnknownName."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in BUILT_IN:
        return _built_in(BUILT_IN[name], device)
    if name in BY_HAND:
        return _built_in(FUNCTIONS[name], device)
    if name in _entries():
        made = _entries()[name].load()
        return made if isinstance(made, Framework) else made()
    raise UnknownName("subject", name, names())
