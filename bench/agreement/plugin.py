"""The pytest plugin that a suite runs under: patches the checker before the tests import it, and names the tests."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from .beside import Log, ended, rows_of
from .page import agree
from .selection import is_asked
from .suites import SUITES

AGAIN, CHECKOUT, EVERY, LIMIT, LOG, SUITE = (
    f"AGREEMENT_{n}" for n in ("AGAIN", "CHECKOUT", "EVERY", "LIMIT", "LOG", "SUITE")
)
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
    asked = [i for i in items if comes_to(i, checkers)]
    _log[0].collected(len(items), len(asked))
    left_out = answered(_log[0].path, os.environ[AGAIN])
    asked = [i for i in asked[:: int(os.environ[EVERY])] if name_of(i) not in left_out]
    config.hook.pytest_deselected(items=[i for i in items if i not in asked])
    items[:] = asked


def comes_to(item: pytest.Item, checkers: Sequence[str]) -> bool:
    """Does the test mention a checker, by its own name or the one that it was made from, in its file or the one behind?"""
    function = inspect.unwrap(item.function) if isinstance(item, pytest.Function) else None
    names = {getattr(item, "originalname", None) or item.name, getattr(function, "__name__", item.name)}
    files = {item.path, Path(function.__code__.co_filename) if hasattr(function, "__code__") else item.path}
    return any(is_asked(f, name, checkers) for f in files for name in names)


def answered(path: Path, again: str) -> frozenset[str]:
    """The tests that need not be run: those that ended in the log, but for the ones that `again` asks for."""
    if again == "all" or not path.exists():
        return frozenset()
    disagreeing = {row.test for row in rows_of(path) if not agree(row)} if again else set()
    return ended(path) - disagreeing


def name_of(item: pytest.Item) -> str:
    """The name under which the log has a test: its file, class and function."""
    return item.nodeid.rpartition("/")[2]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _log[0].start(name_of(item))
    yield
    _log[0].end()


def pytest_unconfigure(config: pytest.Config) -> None:
    _stack.close()
