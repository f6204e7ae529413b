"""`[tool.gradverify]` in pyproject.toml, or gradverify.toml: the settings of a project, for pytest and the command line.

    [tool.gradverify]
    fail_on = ["fail", "weak"]
    effort = "quick"

The command line wins over the ini file of pytest, and that over this table. The environment variable GRADVERIFY_EFFORT wins
over the table as well: the effort of calls of `check` and of the drop-ins that say none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..checker.question import TRIALS, Effort
from ..core.errors import BadInput, GradverifyError, UnknownName
from ..core.outcome import GatePolicy
from .project import TABLES, tables

KEYS = ("fail_on", "effort")

EFFORT = "GRADVERIFY_EFFORT"
"""The environment variable with the effort of calls that say none."""


def default_effort() -> Effort:
    """The effort of a call that says none. Raises BadInput for one that there is not."""
    given = os.environ.get(EFFORT)
    return as_effort(given, EFFORT) if given else _configured_effort(Path.cwd())


def as_effort(given: Any, what: str = "effort") -> Effort:
    """Return `given`. Raises BadInput where it is no effort; `what` says where it stands."""
    if given not in TRIALS:
        raise BadInput(f"{what} must be one of {', '.join(TRIALS)}, got {given!r}")
    effort: Effort = given
    return effort


@cache
def _configured_effort(folder: Path) -> Effort:
    effort: Effort = read_config(folder).get("effort", "normal")
    return effort


def read_config(folder: Path) -> dict[str, Any]:
    """The project's settings, from pyproject.toml and gradverify.toml (`run.project`); {} where they set none.

    Raises GradverifyError, with the file, for a table that makes no sense.
    """
    found: dict[str, Any] = {}
    for file, table in tables(folder):
        try:
            found |= _settings({k: v for k, v in table.items() if k not in TABLES})
        except (GradverifyError, ValueError) as e:
            raise GradverifyError(f"{file}: {e}") from None
    return found


def _settings(table: Mapping[str, Any]) -> dict[str, Any]:
    for key in table:
        if key not in KEYS:
            raise UnknownName("key of [tool.gradverify]", key, KEYS)
    found: dict[str, Any] = {}
    if "effort" in table:
        found["effort"] = as_effort(table["effort"])
    given = table.get("fail_on")
    if given is not None:
        words = [given] if isinstance(given, str) else given
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise GradverifyError(f"fail_on is text or a list of texts, got {given!r}")
        GatePolicy.of(words)
        found["fail_on"] = tuple(words)
    return found
