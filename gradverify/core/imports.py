"""Functions by name, as spec files and pins give them: `package.module:name`."""

from __future__ import annotations

import importlib
from functools import reduce
from typing import Any


def imported(name: str) -> Any:
    """Import what `package.module:name` names; the name may have dots. Raises ImportError, AttributeError, ValueError."""
    module, _, attribute = name.partition(":")
    return reduce(getattr, attribute.split("."), importlib.import_module(module))
