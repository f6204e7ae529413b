"""Subjects by name: the built-in ones, those that a conftest registers, those of the entry points `gradverify.subjects`.

An entry point names a Subject instance, or a callable without arguments that returns one.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from ..core.errors import UnknownName
from .base import Subject

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "engine": "gradverify.subjects.engine:EngineSubject",
        "torch": "gradverify.subjects.torch:TorchSubject",
        "jax": "gradverify.subjects.jax:JaxSubject",
    }
)
GROUP = "gradverify.subjects"

_REGISTERED: dict[str, Subject] = {}


def register(subject: Subject) -> Subject:
    """Make a subject known under its name in this process: for a conftest.py. A built-in name is replaced."""
    _REGISTERED[subject.name] = subject
    find.cache_clear()
    return subject


def names() -> tuple[str, ...]:
    """All names that `find` knows, built-in ones first."""
    return tuple(dict.fromkeys([*BUILT_IN, *_REGISTERED, *(e.name for e in entry_points(group=GROUP))]))


@cache
def find(name: str, device: str | None = None) -> Subject:
    """The adapter called `name`, on `device` ("cpu", "cuda"; None: the adapter's default). Raises UnknownName."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        made: Any = getattr(importlib.import_module(module), attribute)
        return made(device=device) if device else made()
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            made = entry.load()
            return made() if callable(made) and not isinstance(made, Subject) else made
    raise UnknownName("subject", name, names())
