"""Random graphs on one subject: a Hypothesis property, so that what fails is shrunk to a minimal graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core.case import Case, Source
from ..core.verdict import Outcome, Reason, Verdict
from ..frameworks.registry import find
from . import runner as judging
from .deviations import current_ledger
from .events import Job, JobJudged, JobLost, tell

GROUP = "gradverify"
"""Stands in ids for the file that drawn graphs do not have."""


class _Wrong(Exception):
    """Tells Hypothesis that an example fails."""


@dataclass(frozen=True, slots=True)
class Search:
    """Random graphs on one subject in one dtype. The same seed draws the same graphs for every subject."""

    subject: str
    dtype: str
    examples: int
    seed: int

    @property
    def name(self) -> str:
        return f"random graphs[{self.subject}-{self.dtype}]"

    @property
    def id(self) -> str:
        return f"{GROUP}::{self.name}"

    @property
    def source(self) -> Source:
        return Source("generated", seed=self.seed)

    def run(self, runner: judging.Runner) -> Sequence[JobJudged]:
        """Judge the drawn cases in order, up to the first that gates; only its smallest form is told.

        A case that stays INCONCLUSIVE does not gate, even under `strict`, as long as another was decided: nobody asked
        for this very graph, and the next one stands in for it. It is told and counted all the same.
        """
        events = _Events(self, runner)
        absent = find(self.subject, runner.settings.device).unavailable()
        if absent:
            events.add(None, Verdict(Outcome.INCONCLUSIVE, self.name, self.subject, self.dtype,
                                   reason=Reason.UNAVAILABLE, message=absent))  # fmt: skip
        else:
            try:
                self._draw(runner.settings, events)
            except judging.Ended as e:
                lost = Job(self.id, self.subject, self.dtype, source=self.source)
                tell(runner.listeners, JobLost(lost, e.lost.how, e.lost.message, e.lost.text, judging.text_of(e.case)))
                raise
            except Exception as e:
                lost = Job(self.id, self.subject, self.dtype, source=self.source)
                tell(runner.listeners, JobLost(lost, "error", f"{type(e).__name__}: {e}"))
                raise
        return events.all()

    def _draw(self, settings: judging.Settings, events: _Events) -> None:
        import hypothesis
        from hypothesis import HealthCheck, Phase

        from ..strategies import cases

        quick = replace(settings, shrink=False)
        accepts = current_ledger().accepts_ops_of(self.id)
        failing: list[Case] = []

        @hypothesis.seed(self.seed)
        @hypothesis.settings(
            max_examples=self.examples,
            phases=(Phase.generate, Phase.shrink),
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(cases(dtypes=(self.dtype,)))
        def judge(case: Case) -> None:
            try:
                verdict = judging.judge_case(case, self.subject, quick)
                if accepts and _fails(verdict, settings):  # which op it lies in decides
                    whole = judging.judge_case(case, self.subject, replace(settings, shrink=True))
                    verdict = verdict if _fails(events.weighed(whole), settings) else whole
            except judging.Ended as e:
                e.case = case
                raise
            if _fails(events.weighed(verdict), settings):
                failing.append(case)
                raise _Wrong
            if not failing:  # what Hypothesis tries while it shrinks is no example of the run's
                events.add(case, verdict)

        try:
            judge()
        except _Wrong:
            case = failing[-1]  # Hypothesis ends by running the smallest failing example once more
            events.add(case, judging.judge_case(case, self.subject, settings))


class _Events:
    """The events of a search. Undecided ones wait for the first decision, which shows that they do not gate."""

    def __init__(self, search: Search, runner: judging.Runner) -> None:
        self.search, self.runner = search, runner
        self.events: list[JobJudged] = []
        self.waiting: list[JobJudged] = []

    def add(self, case: Case | None, verdict: Verdict) -> None:
        verdict = self.weighed(verdict)
        self.waiting.append(JobJudged(self._job(case), verdict, not _fails(verdict, self.runner.settings)))
        if self.events or verdict.outcome is not Outcome.INCONCLUSIVE:
            self._flush()

    def weighed(self, verdict: Verdict) -> Verdict:
        """The verdict of the next graph beside what the project accepts."""
        return current_ledger().weigh(self._job(None), verdict, self.runner.settings.policy)

    def _job(self, case: Case | None) -> Job:
        s = self.search
        number = len(self.events) + len(self.waiting)
        return Job(f"{s.id}#{number}", s.subject, s.dtype, lambda: _with_source(case, s.source), s.source)

    def all(self) -> list[JobJudged]:
        if self.waiting and self.runner.settings.policy.gate(Outcome.INCONCLUSIVE):
            self.waiting = [replace(e, ok=False) for e in self.waiting]
        self._flush()
        return self.events

    def _flush(self) -> None:
        for event in self.waiting:
            self.events.append(event)
            tell(self.runner.listeners, event)
        self.waiting = []


def _fails(verdict: Verdict, settings: judging.Settings) -> bool:
    """Is the verdict decided, and does it gate, and is it not accepted?"""
    if verdict.accepted or verdict.outcome is Outcome.INCONCLUSIVE:
        return False
    return settings.policy.gate(verdict.outcome, verdict.kind)


def _with_source(case: Case | None, source: Source) -> Case:
    assert case is not None, "an unavailable subject has no case"
    return replace(case, source=source)
