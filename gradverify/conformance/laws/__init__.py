"""The laws, a module per family. Importing this package declares them."""

from __future__ import annotations

from importlib import import_module

FAMILIES = (
    "accumulation", "flags", "cuts", "freeing", "grads", "second", "hooks", "inplace", "custom", "linear", "training",
    "programs", "memory",
)  # fmt: skip
"""The families, in the order in which the scorecard lists them: the modules of this package."""

for _family in FAMILIES:
    import_module(f"{__name__}.{_family}")
