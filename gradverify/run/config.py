"""The settings of a project, for pytest and the command line: `[tool.gradverify]` in pyproject.toml, or gradverify.toml.

    [tool.gradverify]
    subjects = ["torch"]
    fail_on = ["fail", "weak"]
    effort = "quick"

    [tool.gradverify.profiles.nightly]     # beside dev, ci and thorough; chosen by --profile or GRADVERIFY_PROFILE
    examples = 5000
    effort = "thorough"

Who says a thing last: the file, a profile, pytest's ini file, GRADVERIFY_OPTIONS (`seed=3 dtypes=float32,float64 strict`),
the command line. GRADVERIFY_EFFORT is the effort of calls of `check` and of the drop-ins that say none, and wins over the
files.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ..checker.question import TRIALS, Effort
from ..core.errors import BadInput, GradverifyError, UnknownName
from ..core.outcome import GatePolicy
from .project import TABLES, tables

EFFORT = "GRADVERIFY_EFFORT"
"""The environment variable with the effort of calls that say none."""

OPTIONS, PROFILE = "GRADVERIFY_OPTIONS", "GRADVERIFY_PROFILE"
"""Environment variables: settings as words, and the profile of a run that names none."""

PROFILES: Mapping[str, Mapping[str, Any]] = {
    "dev": {"effort": "quick", "examples": 20},
    "ci": {"effort": "normal", "examples": 100},
    "thorough": {"effort": "thorough", "examples": 2000},
}
"""Profiles that are there without being written: for every save, for every push, for every night."""


def as_effort(given: Any, what: str = "effort") -> Effort:
    """Return `given`. Raises BadInput where it is no effort; `what` says where it stands."""
    if given not in TRIALS:
        raise BadInput(f"{what} must be one of {', '.join(TRIALS)}, got {given!r}")
    effort: Effort = given
    return effort


def _names(given: Any, key: str) -> tuple[str, ...]:
    words = given.replace(",", " ").split() if isinstance(given, str) else given
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise BadInput(f"{key} is text or a list of texts, got {given!r}")
    return tuple(dict.fromkeys(words))


def _policy(given: Any, key: str) -> tuple[str, ...]:
    words = _names([given] if isinstance(given, str) else given, key)
    GatePolicy.of(words)
    return words


def _reports(given: Any, key: str) -> tuple[str, ...]:
    return _names([given] if isinstance(given, str) else given, key)


def _text(given: Any, key: str) -> str:
    if not isinstance(given, str):
        raise BadInput(f"{key} is text, got {given!r}")
    return given


def _count(given: Any, key: str) -> int:
    if isinstance(given, str) and given.isdecimal():
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise BadInput(f"{key} is a whole number from 0 on, got {given!r}")
    return given


def _flag(given: Any, key: str) -> bool:
    known = {"true": True, "false": False, True: True, False: False}
    if not isinstance(given, str | bool) or given not in known:
        raise BadInput(f"{key} is true or false, got {given!r}")
    return known[given]


KEYS: Mapping[str, Callable[[Any, str], Any]] = {
    "subjects": _names,
    "dtypes": _names,
    "device": _text,
    "examples": _count,
    "seed": _count,
    "strict": _flag,
    "cache": _flag,
    "fail_on": _policy,
    "effort": as_effort,
    "report": _reports,
    "baseline": _text,
    "profile": _text,
}
"""Setting -> what reads its value. They are called as the options of pytest and of the command line."""


@contextmanager
def with_effort(effort: str | None) -> Iterator[None]:
    """The effort of this block, where the environment says none."""
    if not effort or os.environ.get(EFFORT):
        yield
        return
    os.environ[EFFORT] = effort
    try:
        yield
    finally:
        os.environ.pop(EFFORT, None)


def default_effort() -> Effort:
    """The effort of a call that says none. Raises BadInput for one that there is not."""
    given = os.environ.get(EFFORT)
    return as_effort(given, EFFORT) if given else _configured_effort(Path.cwd())


@cache
def _configured_effort(folder: Path) -> Effort:
    effort: Effort = read_config(folder, os.environ.get(PROFILE)).get("effort", "normal")
    return effort


def read_config(folder: Path, profile: str | None = None) -> dict[str, Any]:
    """The project's settings, from its files and a profile of them; {} where they set none.

    Raises GradverifyError, with the file, for what makes no sense.
    """
    found: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {name: dict(settings) for name, settings in PROFILES.items()}
    for file, table in tables(folder):
        try:
            found |= settings_of({k: v for k, v in table.items() if k not in TABLES})
            for name, entry in table.get("profiles", {}).items():
                profiles[name] = {**profiles.get(name, {}), **settings_of(entry, f"[profiles.{name}]")}
        except (GradverifyError, ValueError, AttributeError) as e:
            raise GradverifyError(f"{file}: {e}") from None
    chosen = profile or found.pop("profile", None)
    found.pop("profile", None)
    if chosen is not None:
        if chosen not in profiles:
            raise UnknownName("profile", chosen, profiles)
        found |= profiles[chosen]
    return found


def read_environment() -> dict[str, Any]:
    """The settings of GRADVERIFY_OPTIONS. Raises GradverifyError, with the variable, for what makes no sense."""
    try:
        return settings_of(dict(_words(os.environ.get(OPTIONS, ""))), "the settings")
    except (GradverifyError, ValueError) as e:
        raise GradverifyError(f"{OPTIONS}: {e}") from None


def _words(text: str) -> Iterator[tuple[str, Any]]:
    for word in shlex.split(text):
        key, equals, value = word.partition("=")
        yield key.replace("-", "_"), value if equals else True


def settings_of(table: Mapping[str, Any], where: str = "[tool.gradverify]") -> dict[str, Any]:
    """The settings of a table, checked. Raises GradverifyError."""
    for key in table:
        if key not in KEYS:
            raise UnknownName(f"key of {where}", key, KEYS)
    return {key: KEYS[key](value, key) for key, value in table.items()}
