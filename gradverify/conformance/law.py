"""All laws by name: those of `laws/`, a module per family, and those of the entry points `gradverify.laws`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from ..core.errors import UnknownName
from .laws import FAMILIES
from .register import BUILT_IN, Law, law

GROUP = "gradverify.laws"


@cache
def laws() -> dict[str, Law]:
    """All laws by name: the built-in ones in order of their families, then those of the entry points."""
    found = {law.name: law for family in FAMILIES for law in BUILT_IN.values() if law.family == family}
    for entry in entry_points(group=GROUP):
        made = entry.load()
        assert isinstance(made, Law), f"the entry point {entry.name} of {GROUP} is no Law"
        found[made.name] = made
    return found


def find(name: str) -> Law:
    """Raises UnknownName."""
    if name not in laws():
        raise UnknownName("law", name, list(laws()))
    return laws()[name]


__all__ = ["GROUP", "Law", "find", "law", "laws"]
