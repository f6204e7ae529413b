"""From the command line and the ini file to `Settings`: the command line wins."""

from __future__ import annotations

from typing import Any

import pytest

from ..core.errors import GradverifyError
from ..report.targets import Target, targets
from ..run.config import read_config
from ..run.plan import check_names
from ..run.runner import Settings


def settings_of(config: pytest.Config) -> Settings:
    """The settings of a pytest run. Raises pytest.UsageError, in one line, for invalid options."""
    default = Settings()
    try:
        settings = _settings(config, default)
        check_names(settings)
    except GradverifyError as e:
        raise pytest.UsageError(f"--gradverify: {e}") from None
    return settings


def _settings(config: pytest.Config, default: Settings) -> Settings:
    return Settings(
        subjects=_names(_option(config, "subjects")),
        dtypes=_names(_option(config, "dtypes")),
        device=_option(config, "device") or default.device,
        examples=_count(config, "examples", default.examples),
        seed=_count(config, "seed", default.seed),
        strict=bool(config.option.gradverify_strict or config.getini("gradverify_strict")),
        fail_on=_names(_option(config, "fail_on")) or read_config(config.rootpath).get("fail_on"),
    )


def targets_of(config: pytest.Config) -> list[Target]:
    try:
        return targets(_option(config, "report") or ())
    except GradverifyError as e:
        raise pytest.UsageError(f"--gradverify-report: {e}") from None


def _option(config: pytest.Config, name: str) -> Any:
    option = config.getoption(f"gradverify_{name}")
    return config.getini(f"gradverify_{name}") if option is None else option


def _names(given: str | list[str] | None) -> tuple[str, ...] | None:
    """Commas and spaces both separate."""
    parts = [given] if isinstance(given, str) else given or []
    names = tuple(name for part in parts for name in part.replace(",", " ").split())
    return tuple(dict.fromkeys(names)) or None


def _count(config: pytest.Config, name: str, default: int) -> int:
    given = _option(config, name)
    if given is None or given == "":
        return default
    if not str(given).isdecimal():
        raise pytest.UsageError(f"--gradverify-{name} takes a whole number from 0 on, got {given!r}")
    return int(given)
