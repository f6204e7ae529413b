"""The report of a test that fails by a verdict: its five lines, at the user's own line."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry

from ..core.verdict import Verdict
from ..core.wording import WIDTH, headline
from ..report.folder import told
from ..run.events import Job, JobJudged
from ..run.gate import LATEST
from ..trace.call_site import OURS

MARGIN = "E   "
"""How pytest begins the lines of an error."""


def explain(item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], report: pytest.TestReport) -> None:
    """Put the verdict that the exception is about, if any, into the report."""
    verdict = _verdict_of(excinfo.value)
    if verdict is None or not isinstance(report.longrepr, ExceptionChainRepr):
        return
    event = JobJudged(Job(item.nodeid, verdict.subject, verdict.dtype), verdict, ok=False)
    lines = told(
        event, item.config.rootpath, whole=item.config.get_verbosity() > 1, width=WIDTH - len(MARGIN)
    ).splitlines()
    if report.longrepr.reprcrash is not None:
        # Of a line with colours pytest does not know the width, and cuts it too late.
        report.longrepr.reprcrash.message = headline(replace(verdict, source=""))
    shown = report.longrepr.reprtraceback
    shown.reprentries = [entry for entry in shown.reprentries if not _is_ours(entry)] or shown.reprentries
    last = shown.reprentries[-1]
    if isinstance(last, ReprEntry):
        last.lines = [
            *(line for line in last.lines if not line.startswith("E ")),
            *(f"{MARGIN}{line}" for line in lines),
        ]


def _is_ours(entry: object) -> bool:
    """Is it a frame of gradverify? Those are of no help."""
    at = entry.reprfileloc if isinstance(entry, ReprEntry) else None
    return at is not None and os.path.abspath(at.path).startswith(OURS + os.sep)


def _verdict_of(error: BaseException) -> Verdict | None:
    """The verdict that an exception has, or that an assertion was about."""
    verdict = getattr(error, "verdict", None)
    if isinstance(verdict, Verdict):
        return verdict
    if isinstance(error, AssertionError):
        return next((e.verdict for e in reversed(LATEST) if not e.ok and repr(e.verdict) in str(error)), None)
    return None
