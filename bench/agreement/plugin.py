"""The pytest plugin that a suite runs under: patches the checker before the tests import it, and names the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .beside import Log
from .selection import is_asked
from .suites import SUITES

CHECKOUT, EVERY, LIMIT, LOG, SUITE = (f"AGREEMENT_{n}" for n in ("CHECKOUT", "EVERY", "LIMIT", "LOG", "SUITE"))
"""The environment variables by which the runner tells the plugin what it runs."""

_stack = ExitStack()
_log: list[Log] = []


def pytest_configure(config: pytest.Config) -> None:
    name = os.environ[SUITE]
    log = Log(name, Path(os.environ[CHECKOUT]), Path(os.environ[LOG]), float(os.environ[LIMIT]))
    _log.append(log)
    _stack.enter_context(SUITES[name].patch(log))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    checkers = SUITES[os.environ[SUITE]].checkers
    asked = [i for i in items if is_asked(i.path, getattr(i, "originalname", None) or i.name, checkers)]
    asked = asked[:: int(os.environ[EVERY])]
    config.hook.pytest_deselected(items=[i for i in items if i not in asked])
    items[:] = asked


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _log[0].start(item.nodeid.rpartition("/")[2])
    yield


def pytest_unconfigure(config: pytest.Config) -> None:
    _stack.close()
