"""The plugin with the flag given: collects, judges, reports. All judging goes through `run.runner.Runner`."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest

from ..core.outcome import Outcome
from ..report import json, terminal
from ..report.ending import end_run
from ..report.evidence import with_reproducer
from ..report.records import Recorder, record
from ..report.tally import tally
from ..run.config import with_effort
from ..run.deviations import with_ledger
from ..run.events import Event, JobJudged, RunFinished, listening
from ..run.plan import NO_GRAPHS, SUFFIX, can_draw, subjects_of, wants_random_graphs
from ..run.runner import Settings
from ..run.search import GROUP
from ..run.signals import Terminated, stopping_on_sigterm
from ..spec.keys import DEFAULT_DTYPES
from .items import RECORDS, GradItem, NotAcceptable, RandomGraphs, SpecFile, summary_outcome
from .options import ledger_of, option_of, settings_of, targets_of

TERMINATED = 143
"""The exit status of a run that SIGTERM ends, as of the command line."""

NOTABLE = tuple(str(o) for o in (Outcome.KNOWN, Outcome.WEAK, Outcome.SURROGATE, Outcome.INCONCLUSIVE))
"""Outcomes of a passing item that have a letter and a word of their own."""


EXAMPLES = Settings().examples
"""Random graphs of an item that is asked for by its id. Without an id or an option there are none: they test engines."""


def _shown(item: pytest.Item) -> str:
    """The outcome that an item is shown by, or "".

    The test with a fixture decides itself about an INCONCLUSIVE.
    """
    outcome = item.outcome if isinstance(item, GradItem) else summary_outcome(
        Outcome(r["verdict"]["outcome"]) for r in item.stash.get(RECORDS, [])
    )  # fmt: skip
    if outcome is None or (outcome is Outcome.INCONCLUSIVE and not isinstance(item, GradItem)):
        return ""
    return str(outcome)


def activate(config: pytest.Config, specs: bool = True) -> None:
    """Register what judges and reports; without `specs` neither spec files nor random graphs are collected."""
    config.pluginmanager.register(Active(config, specs), "gradverify-active")


class Active:
    """One run. Under xdist there is one on every worker, which collect and judge, and one that reports."""

    def __init__(self, config: pytest.Config, specs: bool = True) -> None:
        self.specs = specs
        # An id of a random-graph item is no path: pytest would not find it. Take it out, and keep what it asks for.
        paths = [a for a in config.args if not a.startswith(f"{GROUP}::")]
        self.selected = [a for a in config.args if a.startswith(f"{GROUP}::")]
        self.settings = settings_of(config, examples=EXAMPLES if self.selected else 0)
        self.targets = targets_of(config)
        stack = ExitStack()
        stack.enter_context(with_ledger(ledger_of(config)))
        stack.enter_context(with_effort(option_of(config, "effort")))
        config.add_cleanup(stack.close)
        self.recorder = Recorder()
        self.started = time.perf_counter()
        self.reports = not hasattr(config, "workerinput")
        self.ended: list[str] = []
        self.terminated = False
        wanted = bool(self.selected) or wants_random_graphs(paths)
        self.random_graphs = specs and wanted and self.settings.examples > 0
        self.lacks_hypothesis = self.random_graphs and not can_draw()
        if self.lacks_hypothesis:
            if self.selected or config.getoption("gradverify_examples", None):
                raise pytest.UsageError(NO_GRAPHS)
            self.random_graphs = False
        config.args[:] = paths

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        with stopping_on_sigterm() if self.reports and self.targets else nullcontext():
            return (yield)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.terminated = isinstance(excinfo.value, Terminated)

    # checks in tests
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Keep what `check` and the drop-ins say in a test, for the table and the reports."""
        records = item.stash.setdefault(RECORDS, [])

        def keep(event: Event) -> None:
            if isinstance(event, JobJudged) and event.job.id.startswith(f"{item.nodeid}::"):
                records.append(record(with_reproducer(event) if self.targets else event))

        with listening(keep):
            return (yield)

    # collecting
    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SpecFile | None:
        wanted = self.specs and file_path.name.endswith(SUFFIX)
        return SpecFile.of(parent, file_path, self.settings) if wanted else None

    @pytest.hookimpl(tryfirst=True)  # before -k, -m and --lf choose
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        if not self.random_graphs:
            return
        collected = session.ihook.pytest_make_collect_report(collector=RandomGraphs.of(session, self.settings))
        session.ihook.pytest_collectreport(report=collected)  # so that they are counted as collected
        known: list[pytest.Item] = collected.result
        if self.selected:
            missing = set(self.selected) - {item.nodeid for item in known}
            if missing:
                raise pytest.UsageError(f"not found: {', '.join(sorted(missing))}")
            known = [item for item in known if item.nodeid in self.selected]
        items.extend(known)

    # reporting, where the item runs
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "call":
            crashed = isinstance(item, GradItem) and call.excinfo is not None and not call.excinfo.errisinstance(
                (NotAcceptable, pytest.skip.Exception)
            )  # fmt: skip
            if report.passed and not isinstance(item, GradItem):  # the test decides what is acceptable
                for found in item.stash.get(RECORDS, []):
                    found |= {} if found["ok"] else {"ok": True, "expect": "fail"}
            # A plain attribute of plain data: xdist carries it to the controller.
            report.gradverify = {  # type: ignore[attr-defined]
                "records": item.stash.get(RECORDS, []),
                "outcome": _shown(item),
                "crashed": crashed,
            }
        return report

    # reporting, where the run is watched
    def pytest_report_header(self) -> str:
        s = self.settings
        dtypes = ", ".join(s.dtypes) if s.dtypes else f"as each spec says, else {', '.join(DEFAULT_DTYPES)}"
        graphs = f"{s.examples} random graphs each, seed {s.seed}" if self.random_graphs else "no random graphs"
        graphs = NO_GRAPHS if self.lacks_hypothesis else graphs
        return f"gradverify: on {', '.join(subjects_of(s))} ({s.device}); dtypes {dtypes}; {graphs}"

    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> Any:
        ours = getattr(report, "gradverify", None)
        if ours and report.passed and ours["outcome"] in NOTABLE:
            outcome = Outcome(ours["outcome"])
            return str(outcome).lower(), outcome.letter, (str(outcome), {"yellow": True})
        if ours and report.failed and ours["crashed"]:
            return "error", "E", "ERROR"
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        ours = getattr(report, "gradverify", None)
        if ours:
            self.recorder.records += ours["records"]
            if ours["crashed"]:
                self.recorder.errors.append((report.nodeid, report.longreprtext))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and report.nodeid.endswith(SUFFIX):
            self.recorder.errors.append((report.nodeid, report.longreprtext))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.recorder.records:
            return
        terminalreporter.section("gradverify")
        for line in terminal.plain(tally(self.recorder.records)):
            terminalreporter.write_line(line)
        for line in self.ended:
            terminalreporter.write_line(line)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.terminated:
            session.exitstatus = TERMINATED
        if not self.reports or session.config.option.collectonly:
            return
        interrupted = exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)
        self.recorder(RunFinished(time.perf_counter() - self.started, interrupted))
        data = json.report_of(self.recorder, self.settings)
        self.ended = list(end_run(data, self.targets, session.config.rootpath))
