"""A run on a console: progress, unacceptable outcomes as they come, and the table and reports at the end.

Each is a listener; a runner is given them in this order.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..run.events import Event, JobJudged, JobLost, Listener, RunFinished, RunStarted
from ..run.runner import Settings
from . import campaign as pages
from . import terminal
from .ending import end_run
from .evidence import glance
from .folder import told
from .json import report_of
from .records import Recorder
from .tally import tally
from .targets import Target

SAID_EVERY = 60.0
"""Seconds between two lines of progress, where there is no terminal to show a bar on."""


def console() -> Console:
    """Standard output. Not a terminal: whoever reads the file wraps it, so a table need not be cut to 80 columns."""
    return Console(width=None if sys.stdout.isatty() else 120)


def forward_as(view: Callable[[JobJudged], JobJudged], *listeners: Listener) -> Listener:
    """A listener that passes events on, each outcome changed by `view`."""

    def forward(event: Event) -> None:
        seen = view(event) if isinstance(event, JobJudged) else event
        for listener in listeners:
            listener(seen)

    return forward


class RunProgress:
    """Shows a bar on a terminal, and unacceptable outcomes (or `every` one) in five lines, or with the `whole` evidence."""

    def __init__(self, console: Console, *, every: bool = False, whole: bool = False) -> None:
        self.console, self.every, self.whole = console, every, whole
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("")

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.bar.update(self.task, total=event.total)
            self.bar.start()
        elif isinstance(event, RunFinished):
            self.bar.stop()
        else:
            self.bar.update(self.task, advance=1, description=f"{event.job.subject} {event.job.dtype}")
            if isinstance(event, JobJudged) and (self.every or not event.ok):
                self._show(event)

    def _show(self, event: JobJudged) -> None:
        shown = glance(event) if event.ok else told(event, Path.cwd(), whole=self.whole)
        head, _, rest = shown.partition("\n")
        style = event.verdict.outcome.style if event.ok else "red"
        self.console.print(head, style=style, markup=False, highlight=False, soft_wrap=True)
        if rest:
            self.console.print(rest, markup=False, highlight=False, soft_wrap=True)
        if not event.ok:
            self.console.print()


class RunEnd:
    """Prints the table and writes the reports at the end of a run. Keeps its faults below `root`, to be replayed."""

    def __init__(
        self,
        console: Console,
        recorder: Recorder,
        settings: Settings,
        targets: Sequence[Target],
        root: Path | None = None,
    ) -> None:
        self.console, self.recorder, self.settings = console, recorder, settings
        self.targets, self.root = targets, root

    def __call__(self, event: Event) -> None:
        if not isinstance(event, RunFinished):
            return
        self.console.print(terminal.table(tally(self.recorder.records)))
        if event.stopped:
            self.console.print(event.stopped, style="yellow", highlight=False)
        for line in end_run(report_of(self.recorder, self.settings), self.targets, self.root):
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class CampaignProgress:
    """Shows progress, unacceptable outcomes (or every one, if the campaign says so), and the table at the end.

    `tally` has counted an event before it comes here. What a log had already is not shown again.
    """

    def __init__(self, console: Console, tally: pages.Tally) -> None:
        self.console, self.tally = console, tally
        self.bar = Progress(
            BarColumn(), TextColumn("{task.description}"),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("", total=tally.campaign.verdicts)
        self.begun = self.said = 0.0
        self.running = False
        self.now = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.bar.stop()
            for line in pages.plain(self.tally):
                print(line)
        elif isinstance(event, RunStarted):
            self.running = event.total is not None  # of a session that the log tells of, nobody knows
            if self.running:
                self.begun = self.said = time.perf_counter()
                self.bar.start()
        elif self.running:
            self._show(event)

    def _show(self, event: JobJudged | JobLost) -> None:
        self.now += 1
        campaign = self.tally.campaign
        if campaign.every or not pages.is_acceptable(event):
            evidence = pages.evidence(event, campaign)
            self.console.print(evidence, markup=False, highlight=False, soft_wrap=True)
            self.console.print()
        at = time.perf_counter()
        if at - self.said >= (0.2 if self.console.is_terminal else SAID_EVERY):
            self.said = at
            line = pages.progress(self.tally, at - self.begun, self.now)
            self.bar.update(self.task, completed=self.tally.total.all, description=line)
            if not self.console.is_terminal:
                self.console.print(line, highlight=False)
