"""`[tool.gradverify]` in pyproject.toml: the settings of a project, for the pytest plugin and the command line.

    [tool.gradverify]
    fail_on = ["fail", "weak"]

The command line wins over the ini file of pytest, and that over this table.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ..core.errors import GradverifyError, UnknownName
from ..core.outcome import GatePolicy

KEYS = ("fail_on",)


def read_config(folder: Path) -> dict[str, Any]:
    """The project's settings, from the nearest pyproject.toml in `folder` or above; {} where it sets none.

    Raises GradverifyError, with the file, for a table that makes no sense.
    """
    file = next((f for d in (folder, *folder.parents) if (f := d / "pyproject.toml").is_file()), None)
    if file is None:
        return {}
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("gradverify", {})
        for key in table:
            if key not in KEYS:
                raise UnknownName("key of [tool.gradverify]", key, KEYS)
        given = table.get("fail_on")
        if given is None:
            return {}
        words = [given] if isinstance(given, str) else given
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise GradverifyError(f"fail_on is text or a list of texts, got {given!r}")
        GatePolicy.of(words)
    except (GradverifyError, OSError, ValueError) as e:
        raise GradverifyError(f"{file}: {e}") from None
    return {"fail_on": tuple(words)}
