"""From the command line and the ini file to `Settings`: the command line wins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ..core.errors import GradverifyError
from ..report.folder import FOLDER
from ..report.json import read
from ..report.targets import Target, targets
from ..run.cache import FILE
from ..run.config import PROFILE, read_config, read_environment
from ..run.deviations import Ledger, baseline_of, read_deviations
from ..run.plan import check_names
from ..run.runner import Settings


def settings_of(config: pytest.Config, examples: int = 0) -> Settings:
    """The settings of a pytest run, with so many `examples` by default.

    Raises pytest.UsageError, in one line, for invalid options.
    """
    default = Settings(examples=examples)
    try:
        settings = _settings(config, default)
        check_names(settings)
    except GradverifyError as e:
        raise pytest.UsageError(f"--gradverify: {e}") from None
    return settings


def _settings(config: pytest.Config, default: Settings) -> Settings:
    return Settings(
        subjects=_names(option_of(config, "subjects")),
        dtypes=_names(option_of(config, "dtypes")),
        device=option_of(config, "device") or default.device,
        examples=_count(config, "examples", default.examples),
        seed=_count(config, "seed", default.seed),
        strict=bool(option_of(config, "strict")),
        isolate=number_of(config, "isolate", 0.0) or None,
        fail_on=_names(option_of(config, "fail_on")),
        cache=config.rootpath / FOLDER / FILE if option_of(config, "cache") else None,
    )


def targets_of(config: pytest.Config) -> list[Target]:
    try:
        return targets(option_of(config, "report") or ())
    except GradverifyError as e:
        raise pytest.UsageError(f"--gradverify-report: {e}") from None


def ledger_of(config: pytest.Config) -> Ledger:
    """What the project accepts, with the baseline that is asked for."""
    file = option_of(config, "baseline")
    try:
        baseline = baseline_of(read(Path(file))["results"]) if file else None
        return Ledger(read_deviations(config.rootpath), baseline)
    except GradverifyError as e:
        raise pytest.UsageError(f"--gradverify: {e}") from None


def option_of(config: pytest.Config, name: str) -> Any:
    """The value of an option: of the command line, the environment, the ini file, or the project's file and profile."""
    option = config.getoption(f"gradverify_{name}")
    if option is not None:
        return option
    said = read_environment()
    if name in said:
        return _as_option(said[name])
    ini = config.getini(f"gradverify_{name}")
    if ini or ini == 0:
        return ini
    profile = config.getoption("gradverify_profile") or os.environ.get(PROFILE)
    return _as_option(read_config(config.rootpath, profile).get(name))


def _as_option(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def number_of(config: pytest.Config, name: str, default: float) -> float:
    """A number that is not negative. Raises pytest.UsageError for anything else."""
    given = option_of(config, name)
    if given is None or given == "":
        return default
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise pytest.UsageError(f"--gradverify-{name.replace('_', '-')} takes a number from 0 on, got {given!r}")
    return number


def _names(given: str | list[str] | None) -> tuple[str, ...] | None:
    """Commas and spaces both separate."""
    parts = [given] if isinstance(given, str) else given or []
    names = tuple(name for part in parts for name in part.replace(",", " ").split())
    return tuple(dict.fromkeys(names)) or None


def _count(config: pytest.Config, name: str, default: int) -> int:
    given = option_of(config, name)
    if given is None or given == "":
        return default
    if not str(given).isdecimal():
        raise pytest.UsageError(f"--gradverify-{name} takes a whole number from 0 on, got {given!r}")
    return int(given)
