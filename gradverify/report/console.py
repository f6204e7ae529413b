"""A run on a console: progress, unacceptable outcomes as they come, and the table and reports at the end.

Each is a listener; a runner is given them in this order.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..core import activity
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
        self.hidden = ExitStack()

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.hidden.enter_context(activity.hidden())  # the bar is a sign of life
            self.bar.update(self.task, total=event.total)
            self.bar.start()
        elif isinstance(event, RunFinished):
            self.bar.stop()
            self.hidden.close()
        else:
            self.bar.update(self.task, advance=1, description=f"{event.job.subject} {event.job.dtype}")
            if isinstance(event, JobLost):
                self._show_lost(event)
            elif self.every or not event.ok:
                self._show(event)

    def _show_lost(self, event: JobLost) -> None:
        self.console.print(f"{event.how}: {event.job.id}: {event.message}", style="red", markup=False, highlight=False)
        for text in (event.text, event.spec) if self.whole else ():
            if text:
                self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.console.print()

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
    """Shows progress, each new finding (or every outcome, if the campaign says so), and the table at the end.

    On a terminal the table is there all the time. `tally` has counted an event before it comes here. What a log had
    already is not shown again.
    """

    def __init__(self, console: Console, tally: pages.Tally) -> None:
        self.console, self.tally = console, tally
        self.bar = Progress(BarColumn(), TextColumn("{task.description}"), console=console)
        self.task = self.bar.add_task("", total=tally.campaign.verdicts)
        self.screen = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        self.begun = self.said = 0.0
        self.running = False
        self.now = 0
        self.findings: set[tuple[str, ...]] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            if self.screen is not None:
                self.screen.stop()
            for line in pages.plain(self.tally):
                print(line)
        elif isinstance(event, RunStarted):
            self.running = event.total is not None  # of a session that the log tells of, nobody knows
            if self.running:
                self.begun = self.said = time.perf_counter()
                if self.screen is not None:
                    self.screen.start()
        elif self.running:
            self._show(event)

    def _show(self, event: JobJudged | JobLost) -> None:
        self.now += 1
        if self.tally.campaign.every or not pages.is_acceptable(event):
            self._tell(event)
        at = time.perf_counter()
        if at - self.said >= (0.5 if self.screen is not None else SAID_EVERY):
            self.said = at
            line = pages.progress(self.tally, at - self.begun, self.now)
            if self.screen is None:
                self.console.print(line, highlight=False)
                return
            self.bar.update(self.task, completed=self.tally.total.all, description=line)
            self.screen.update(Group(pages.live(self.tally), self.bar), refresh=True)

    def _tell(self, event: JobJudged | JobLost) -> None:
        """The evidence; of what was found before, one line."""
        campaign, found = self.tally.campaign, pages.finding(event)
        if found in self.findings and not campaign.every:
            text = f"again, {found[2]}: graph {event.job.number} on {event.job.subject} in {event.job.dtype}"
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        self.findings.add(found)
        self.console.print(pages.evidence(event, campaign), markup=False, highlight=False, soft_wrap=True)
        self.console.print()
