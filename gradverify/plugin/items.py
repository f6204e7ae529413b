"""The test items: a case of a spec file on one subject in one dtype, and random graphs on one subject in one dtype."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ..core.errors import SpecError
from ..core.outcome import Outcome
from ..report.evidence import with_reproducer
from ..report.folder import told
from ..report.records import Record, Recorder
from ..run.events import Job, JobJudged
from ..run.isolated import Ended
from ..run.plan import searches, spec_jobs
from ..run.runner import Runner, Settings
from ..run.search import GROUP, Search

TAGS = pytest.StashKey[set[str]]()
"""The tags of spec files that were declared as markers."""

RECORDS = pytest.StashKey[list[Record]]()
"""Where items and the fixture leave what was judged, for `active` to put on the report."""


class NotAcceptable(Exception):
    """Raised by an item for an unacceptable verdict; shown as text, without a traceback."""

    def __init__(self, events: Sequence[JobJudged], texts: Sequence[str]) -> None:
        self.events = events
        super().__init__("\n\n".join(texts))


MOST_TELLING = (Outcome.FAIL, Outcome.KNOWN, Outcome.WEAK, Outcome.SURROGATE, Outcome.PASS, Outcome.INCONCLUSIVE)
"""Of several outcomes the first in this order stands for all: an INCONCLUSIVE only where nothing was decided."""


def summary_outcome(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The outcome that stands for all `outcomes`; None without any."""
    return min(outcomes, key=MOST_TELLING.index, default=None)


def shown(events: Iterable[JobJudged], config: pytest.Config) -> list[str]:
    """Unacceptable verdicts as text: five lines each, with the evidence saved; with -vv all evidence."""
    return [told(e, config.rootpath, whole=config.get_verbosity() > 1) for e in events]


def _markers_with_a_meaning(config: pytest.Config) -> set[str]:
    """The markers that pytest and its plugins declared, and the project did not."""
    name = lambda line: re.split(r"[:(]", line)[0].strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest has no other way to these lines
        own = config.inicfg.get("markers", ())
    own = getattr(own, "value", own)
    projects = {name(line) for line in (own.splitlines() if isinstance(own, str) else own)}
    declared = {name(line) for line in config.getini("markers")}
    ours: set[str] = config.stash.get(TAGS, set())
    return declared - projects - ours


class SpecFile(pytest.File):
    """A `*.grad.yaml` file."""

    settings: Settings

    @classmethod
    def of(cls, parent: pytest.Collector, path: Path, settings: Settings) -> SpecFile:
        made: SpecFile = cls.from_parent(parent, path=path)
        made.settings = settings
        return made

    def collect(self) -> Iterator[pytest.Item]:
        from ..spec.document import load

        try:
            document = load(self.path)
        except SpecError as e:
            raise self.CollectError(str(e)) from None
        tags = {spec.line: spec.tags for spec in document.cases}
        taken = _markers_with_a_meaning(self.config)
        for spec in document.cases:
            for tag in spec.tags:
                if tag in taken:
                    raise self.CollectError(
                        f"{self.path}:{spec.line}: the tag {tag} is a marker of pytest or of a plugin"
                    )
        for job in spec_jobs(document, self.settings, self.nodeid):
            item = JobItem.of(self, job.id.removeprefix(f"{self.nodeid}::"), job, self.settings)
            for tag in tags[job.source.line or 0]:
                self.config.stash.setdefault(TAGS, set()).add(tag)
                self.config.addinivalue_line("markers", f"{tag}: a tag of a spec file")  # known to --strict-markers
                item.add_marker(tag)
            yield item


class GradItem(pytest.Item):
    """A test item that passes if all its verdicts are acceptable."""

    settings: Settings
    outcome: Outcome | None = None

    def judged(self, runner: Runner) -> Sequence[JobJudged]:
        raise NotImplementedError

    def runtest(self) -> None:
        recorder = Recorder(with_reproducer)
        self.stash[RECORDS] = recorder.records
        events = self.judged(Runner(self.settings, [recorder]))
        self.outcome = summary_outcome(e.verdict.outcome for e in events)
        self._properties(events)
        refused = [e for e in recorder.events if not e.ok]
        if refused:
            raise NotAcceptable(refused, shown(refused, self.config))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        """The evidence of the verdicts; for a crash of gradverify itself its traceback."""
        if isinstance(excinfo.value, NotAcceptable | SpecError | Ended):
            return str(excinfo.value)
        excinfo.traceback = excinfo.traceback.cut(path=__file__)  # pytest's own frames are of no help
        return super().repr_failure(excinfo, *args, **kwargs)

    def _properties(self, events: Sequence[JobJudged]) -> None:
        """Add properties for JUnit XML."""
        verdict = events[-1].verdict
        self.user_properties += [("gradverify_outcome", str(self.outcome)), ("gradverify_judged", len(events))]
        if verdict.kind:
            self.user_properties.append(("gradverify_kind", str(verdict.kind)))
        if verdict.reason:
            self.user_properties.append(("gradverify_reason", str(verdict.reason)))
        if len(events) == 1:
            self.user_properties += [("gradverify_share", verdict.share), ("gradverify_power", verdict.power)]


class JobItem(GradItem):
    job: Job

    @classmethod
    def of(cls, parent: pytest.Collector, name: str, job: Job, settings: Settings) -> JobItem:
        # The whole id: pytest 9.2 takes the brackets out of an id that it parses, not out of a name that it is given.
        made: JobItem = cls.from_parent(parent, name=name, nodeid=f"{parent.nodeid}::{name}")
        made.job, made.settings = job, settings
        made.add_marker("gradverify")
        return made

    def judged(self, runner: Runner) -> Sequence[JobJudged]:
        return [runner.judge_job(self.job)]

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        line = self.job.source.line
        return self.path, line - 1 if line else None, self.name


class SearchItem(GradItem):
    search: Search

    @classmethod
    def of(cls, parent: pytest.Collector, search: Search, settings: Settings) -> SearchItem:
        made: SearchItem = cls.from_parent(parent, name=search.name, nodeid=f"{parent.nodeid}::{search.name}")
        made.search, made.settings = search, settings
        made.add_marker("gradverify")
        return made

    def judged(self, runner: Runner) -> Sequence[JobJudged]:
        return self.search.run(runner)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return GROUP, None, self.name


class RandomGraphs(pytest.Collector):
    """Parent of the random-graph items, which no file holds; ids read `gradverify::random graphs[torch-float64]`."""

    settings: Settings

    @classmethod
    def of(cls, session: pytest.Session, settings: Settings) -> RandomGraphs:
        made: RandomGraphs = cls.from_parent(session, name=GROUP, nodeid=GROUP)
        made.settings = settings
        return made

    def collect(self) -> list[pytest.Item]:
        return [SearchItem.of(self, search, self.settings) for search in searches(self.settings)]
