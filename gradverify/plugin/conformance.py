"""`--gradverify-conformance=ENGINES`: each law on each engine is a test, and so are the random programs."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ..conformance import engines, scorecard
from ..conformance.engines import Engine
from ..conformance.law import laws
from ..conformance.scorecard import MACHINE, Line, Standing
from ..core.errors import GradverifyError
from .options import settings_of

GROUP = "gradverify::conformance"

STEPS = 20_000
"""Of random programs per engine: several seconds."""


def activate(config: pytest.Config) -> None:
    """Register the conformance items. Raises pytest.UsageError for an engine that is unknown or not installed."""
    names = config.option.gradverify_conformance.replace(",", " ").split()
    found = []
    for name in names:
        try:
            found.append(engines.find(name))
        except GradverifyError as e:
            raise pytest.UsageError(f"--gradverify-conformance: {e}") from None
        why = found[-1].unavailable()
        if why is not None:
            raise pytest.UsageError(f"--gradverify-conformance: {why}")
    config.pluginmanager.register(Conformance(found), "gradverify-conformance")


class Conformance:
    """Adds the items."""

    def __init__(self, found: list[Engine]) -> None:
        self.found = found

    @pytest.hookimpl(tryfirst=True)  # before -k and -m choose
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        for engine in self.found:
            group = Laws.of(session, engine)
            items.extend(LawItem.of(group, name) for name in [*laws(), MACHINE])


class Laws(pytest.Collector):
    """Parent of one engine's items, which no file holds; ids read `gradverify::conformance[torch]::adds_across_paths`."""

    engine: Engine

    @classmethod
    def of(cls, session: pytest.Session, engine: Engine) -> Laws:
        name = f"{GROUP}[{engine.name}]"
        made: Laws = cls.from_parent(session, name=name, nodeid=name)
        made.engine = engine
        return made

    def collect(self) -> list[pytest.Item]:
        return []


class NotKept(Exception):
    """A law does not hold, or a deviation is stale."""


class LawItem(pytest.Item):
    engine: Engine

    @classmethod
    def of(cls, parent: Laws, name: str) -> LawItem:
        made: LawItem = cls.from_parent(parent, name=name, nodeid=f"{parent.nodeid}::{name}")
        made.engine = parent.engine
        made.add_marker("gradverify")
        return made

    def runtest(self) -> None:
        if self.name == MACHINE:
            line = scorecard.judge_machine(self.engine, STEPS)
        else:
            line = scorecard.judge(laws()[self.name], self.engine)
        self.user_properties.append(("gradverify_law", str(line.standing)))
        event = line.tell(self.engine.name, settings_of(self.config).policy)
        if not event.ok:
            raise NotKept(_said(line))
        if line.standing is Standing.LACKS:
            pytest.skip(f"{self.engine.name} lacks {line.why}")
        if line.standing is Standing.KNOWN:
            pytest.xfail(line.why)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        if isinstance(excinfo.value, NotKept):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return GROUP, None, f"{self.engine.name}: {self.name}"


def _said(line: Line) -> str:
    doc = f"\n{laws()[line.law].doc}" if line.law in laws() else ""
    return "\n".join([f"{line.standing}: {line.why}{doc}", "", *line.script])
