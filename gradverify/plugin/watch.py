"""`--gradverify` on a project's own suite: its custom gradients are recorded while it runs, and judged behind it."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

from ..core.errors import GradverifyError
from ..frameworks.watching import Sample
from ..report.records import Recorder as Listener
from ..run.events import JobJudged
from ..watch.imports import watching
from ..watch.judge import LIMIT, Judged, judge
from ..watch.messages import facts, left_lines, look_lines, told
from ..watch.order import in_order
from ..watch.pins import Pin, apply_pin, read_pins
from ..watch.quiet import undisturbed
from ..watch.record import Limits, Recorder
from ..watch.scope import scope
from ..watch.session import allowed_seconds, looked, tell_judged
from ..watch.table import Row, merged, rows, table_lines
from .items import RECORDS, GradItem, NotAcceptable
from .options import number_of, settings_of

PREFIX = "gradverify"

FIRST = "gradverify/first"
"""In pytest's cache: item -> the test that ran its definition first, which `--lf` has to run for it."""


def start(config: pytest.Config, options: Any) -> None:
    """Patch the frameworks: before any conftest.py is imported, if pytest asks that early. `options` are what is known."""
    word = options.gradverify_watch or config.getini("gradverify_watch") or "project"
    recorder = Recorder(scope(word, config.rootpath))
    stack = ExitStack()
    stack.enter_context(watching(recorder))
    config.stash[WATCH] = (recorder, stack)
    config.add_cleanup(stack.close)


WATCH = pytest.StashKey[tuple[Recorder, ExitStack]]()


def activate(config: pytest.Config) -> None:
    """Register the watch: it tells the recorder which test runs, and judges the records in the end."""
    if WATCH not in config.stash:
        start(config, config.option)
    recorder, stack = config.stash[WATCH]
    recorder.limits = Limits(
        samples=int(number_of(config, "watch_samples", Limits.samples)),
        bytes_all=int(number_of(config, "watch_memory", Limits.bytes_all / 2**20) * 2**20),
    )
    config.pluginmanager.register(Watch(config, recorder, stack), "gradverify-watch")


class NotTheGradient(NotAcceptable):
    """A custom gradient that is not acceptable; the message is the judgement's text."""

    def __init__(self, event: JobJudged, text: str) -> None:
        super().__init__([event], [text])


class Watch:
    """One watch over one run of a suite; under xdist one on every worker, and one that only reports."""

    def __init__(self, config: pytest.Config, recorder: Recorder, stack: ExitStack) -> None:
        self.config, self.recorder, self.stack = config, recorder, stack
        self.settings = settings_of(config)
        self.seconds = number_of(config, "watch_seconds", -1.0)
        self.limit = number_of(config, "watch_limit", LIMIT)
        self.pins: dict[str, Pin] = {}
        try:
            self.pins = read_pins(config.rootpath)
        except GradverifyError as e:
            raise pytest.UsageError(str(e)) from None
        self.judged: list[Judged] = []
        self.tables: list[list[Row]] = []
        self.looks: list[str] = []
        self.left: list[str] = []
        self.deadline = 0.0
        self.session: pytest.Session | None = None

    # ---- while the suite runs

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session
        # `--lf` knows a failed item of ours, which no file has: the test that ran it first is run again for it.
        last = self.config.pluginmanager.getplugin("lfplugin")
        cache = getattr(self.config, "cache", None)
        if last is not None and cache is not None and getattr(last, "active", False):
            first = cache.get(FIRST, {})
            for key in [k for k in last.lastfailed if str(k) in first]:
                parse = getattr(type(key), "parse", str)  # pytest 9.2 has a type for ids
                last.lastfailed[parse(first[str(key)])] = True
                del last.lastfailed[key]
            if self.config.getoption("lf"):
                last._last_failed_paths = last.get_last_failed_paths()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self.recorder.test = item.nodeid
        try:
            return (yield)
        finally:
            self.recorder.test = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, Any, Any]:
        started = time.perf_counter()
        result = yield
        self.stack.close()
        if not session.config.option.collectonly:
            self._judge(session, time.perf_counter() - started)
        return result

    # ---- behind it

    def _judge(self, session: pytest.Session, suite: float) -> None:
        seconds = self.seconds if self.seconds >= 0 else allowed_seconds(suite)
        self.deadline = time.perf_counter() + seconds
        with undisturbed():
            samples = in_order(self.recorder.samples, self.deadline)
        group = WatchGroup.of(session)
        items = [WatchItem.of(group, name, sample, self) for name, sample in _named(samples) if self._is_ours(name)]
        index = len(session.items)
        session.items.extend(items)
        session.testscollected += len(items)
        worker = next((p for p in self.config.pluginmanager.get_plugins() if hasattr(p, "torun")), None)
        for k, item in enumerate(items):
            if worker is not None:
                worker.item_index = index + k
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=items[k + 1] if k + 1 < len(items) else None)
        self._look()
        self._remember(items)
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["gradverify_watch"] = {
                "table": rows(self.recorder, self.judged, self.pins), "looks": self.looks, "left": self.left
            }  # fmt: skip
        else:
            self.tables.append(rows(self.recorder, self.judged, self.pins))

    def _look(self) -> None:
        """Ask the probes about what passed, while there is time."""
        with undisturbed():
            self.judged = looked(self.judged, self.deadline, self.settings.seed)
            for found in self.judged:
                self.looks += [f"{found.sample.id}: {text}" for text in found.looks]

    def _is_ours(self, name: str) -> bool:
        """Is it this worker that judges an item? The first one that asks."""
        run = getattr(self.config, "workerinput", {}).get("testrunuid")
        if run is None:
            return True
        folder = Path(gettempdir()) / f"gradverify-{run}"
        folder.mkdir(exist_ok=True)
        try:
            os.close(os.open(folder / blake2b(name.encode(), digest_size=8).hexdigest(), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def _remember(self, items: list[WatchItem]) -> None:
        cache = getattr(self.config, "cache", None)
        if cache is not None and items and not hasattr(self.config, "workerinput"):
            cache.set(FIRST, {**cache.get(FIRST, {}), **{i.nodeid: i.sample.first for i in items}})

    # ---- where the run is reported

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        controls = not hasattr(self.config, "workerinput") and hasattr(report, "node")
        if controls and report.when == "setup" and report.nodeid.startswith(f"{PREFIX}::") and self.session is not None:
            self.session.testscollected += 1

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        found = getattr(node, "workeroutput", {}).get("gradverify_watch")
        if found:
            self.tables.append(found["table"])
            self.looks += found["looks"]
            self.left += found["left"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        found = table_lines(merged(self.tables))
        if not found:
            return
        terminalreporter.section("gradverify: custom gradients of this suite")
        for line in found:
            terminalreporter.write_line(line)
        for line in (*look_lines(self.looks), *left_lines(self.left, " (--gradverify-watch-seconds)")):
            terminalreporter.write_line(line)


def _named(samples: list[Sample]) -> list[tuple[str, Sample]]:
    """Each sample with a name of its own."""
    seen: dict[str, int] = {}
    found = []
    for sample in samples:
        seen[sample.id] = seen.get(sample.id, 0) + 1
        found.append((sample.id if seen[sample.id] == 1 else f"{sample.id}#{seen[sample.id]}", sample))
    return found


class WatchGroup(pytest.Collector):
    """Parent of the items, which no file holds; ids read `gradverify::package.module.Class[signature]`."""

    @classmethod
    def of(cls, session: pytest.Session) -> WatchGroup:
        made: WatchGroup = cls.from_parent(session, name=PREFIX, nodeid=PREFIX)
        return made

    def collect(self) -> list[pytest.Item]:
        return []


class WatchItem(GradItem):
    """One recorded call."""

    sample: Sample
    watch: Watch

    @classmethod
    def of(cls, parent: pytest.Collector, name: str, sample: Sample, watch: Watch) -> WatchItem:
        made: WatchItem = cls.from_parent(parent, name=name, nodeid=f"{PREFIX}::{name}")
        made.sample, made.watch, made.settings = sample, watch, watch.settings
        made.add_marker("gradverify")
        return made

    def runtest(self) -> None:
        watch, sample, settings = self.watch, self.sample, self.settings
        left = watch.deadline - time.perf_counter()
        if left <= 0:
            watch.left.append(self.name)
            pytest.skip("the time for judging is over: --gradverify-watch-seconds")
        with undisturbed():
            found = apply_pin(judge(sample, seed=settings.seed, limit=max(1.0, min(left, watch.limit))), watch.pins)
            found = replace(found, verdict=replace(found.verdict, facts={**found.verdict.facts, **facts(found)}))
        listener = Listener()
        event = tell_judged(found, self.nodeid, settings.policy, [listener])
        verdict = event.verdict
        found = replace(found, verdict=verdict)
        self.stash[RECORDS] = listener.records
        self.outcome = verdict.outcome
        watch.judged.append(found)
        self._properties([event])
        if not event.ok:
            whole = self.config.get_verbosity() > 1
            raise NotTheGradient(event, told(found, self.config.rootpath, whole=whole))

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return PREFIX, None, self.name
