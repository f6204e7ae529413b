"""The `gradverify` fixture: explicit checks inside a test."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from ..core.case import Case, Source
from ..core.verdict import Verdict
from ..report.evidence import with_reproducer
from ..report.records import Recorder
from ..run.events import Job, JobJudged
from ..run.plan import check_names, spec_jobs
from ..run.runner import Runner, Settings
from ..spec.from_expression import expression_case
from .items import RECORDS, shown
from .options import settings_of


class VerdictError(AssertionError):
    """A gradient that is not acceptable; the message is the verdict's text, `verdicts` the verdicts."""

    def __init__(self, events: list[JobJudged], config: pytest.Config) -> None:
        self.verdicts = tuple(e.verdict for e in events)
        super().__init__("\n\n".join(shown(events, config)))


class Gradverify:
    """Checks for one test. `settings` are those of the command line and the ini file, with the marker's on top."""

    def __init__(self, settings: Settings, node: pytest.Item) -> None:
        self.settings = settings
        self._node = node
        self._recorder = Recorder(with_reproducer)
        self._recorder.records = node.stash.setdefault(RECORDS, [])

    @classmethod
    def of(cls, request: pytest.FixtureRequest) -> Gradverify:
        settings = settings_of(request.config)
        for marker in reversed(list(request.node.iter_markers("gradverify"))):
            settings = replace(settings, **_settings(marker))
        check_names(settings)
        return cls(settings, request.node)

    def check(self, what: Case | str, *, subject: str | None = None, dtype: str = "float64", **inputs: Any) -> Verdict:
        """The verdict on a case, or on a spec expression with its inputs by name.

        `subject` may be left out where the settings name just one. FAIL and INCONCLUSIVE are returned, not raised.
        """
        return self._judge(what, subject, dtype, inputs).verdict

    def assert_pass(
        self, what: Case | str, *, subject: str | None = None, dtype: str = "float64", **inputs: Any
    ) -> Verdict:
        """As `check`, but raises VerdictError for a verdict that is not true: FAIL and INCONCLUSIVE."""
        __tracebackhide__ = True
        event = self._judge(what, subject, dtype, inputs)
        if not event.verdict:
            raise VerdictError([event], self._node.config)
        return event.verdict

    def run_spec(self, path: str | os.PathLike[str]) -> list[Verdict]:
        """Judge a spec file as the plugin would. Raises VerdictError where a verdict is not acceptable, SpecError where
        the file is not."""
        from ..spec.document import load

        __tracebackhide__ = True
        runner = Runner(self.settings, [self._recorder])
        first = len(self._recorder.events)
        for job in spec_jobs(load(os.fspath(path)), self.settings, os.fspath(path)):
            runner.judge_job(job)
        events = self._recorder.events[first:]
        refused = [e for e in events if not e.ok]
        if refused:
            raise VerdictError(refused, self._node.config)
        return [e.verdict for e in events]

    def _judge(self, what: Case | str, subject: str | None, dtype: str, inputs: dict[str, Any]) -> JobJudged:
        if isinstance(what, Case):
            if inputs:
                raise TypeError("a Case has its inputs already")
            case = what
        else:
            case = expression_case(what, inputs, dtype)
        name = subject or self._only_subject()
        number = len(self._recorder.events)
        job = Job(f"{self._node.nodeid}#{number}", name, case.dtype, lambda: case, Source("api"))
        Runner(self.settings, [self._recorder]).judge_job(job)
        return self._recorder.events[-1]

    def _only_subject(self) -> str:
        names = self.settings.subjects or ()
        if len(names) != 1:
            raise TypeError("say which subject to judge: subject='torch' (or set --gradverify-subjects to one)")
        return names[0]


def _settings(marker: pytest.Mark) -> dict[str, Any]:
    known = ("subjects", "dtypes", "device", "seed", "strict", "fail_on")
    unknown = set(marker.kwargs) - set(known)
    if marker.args or unknown:
        raise pytest.UsageError(f"@pytest.mark.gradverify takes {', '.join(f'{k}=' for k in known)}")
    values = dict(marker.kwargs)
    for name in ("subjects", "dtypes"):
        if name in values:
            given = values[name]
            values[name] = (given,) if isinstance(given, str) else tuple(given)
    return values
