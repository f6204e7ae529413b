"""One outcome is one event, whoever found it; and the gate is written once."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import gradverify
from gradverify.conformance.engines import find
from gradverify.conformance.scorecard import scorecard
from gradverify.core.outcome import FailKind, GatePolicy, Outcome, Reason
from gradverify.core.verdict import Verdict
from gradverify.report.json import report_of
from gradverify.report.records import Recorder
from gradverify.run import runner as running
from gradverify.run.campaign.log import to_entry, to_event
from gradverify.run.events import Event, Job, JobJudged, JobLost, RunFinished, RunStarted, listening
from gradverify.run.runner import Runner, Settings
from gradverify.run.search import Search
from gradverify.spec.from_expression import expression_case

PACKAGE = Path(gradverify.__file__).parent


def job() -> Job:
    return Job("j", "engine", "float64", lambda: expression_case("x * x", {"x": [1.0, 2.0]}))


def judged(told: list[Event]) -> list[JobJudged]:
    return [e for e in told if isinstance(e, JobJudged)]


def test_check_tells_its_verdict_once() -> None:
    told: list[Event] = []
    with listening(told.append):
        right = gradverify.check(np.sin, np.ones(3), vjp=lambda g, x: g * np.cos(x))
        wrong = gradverify.check(np.sin, np.ones(3), vjp=lambda g, x: g)
        undecided = gradverify.check(np.sin, np.ones(3), vjp=lambda g, x: g * np.cos(x), order=2)
    _ = gradverify.check(np.sin, np.ones(3), vjp=lambda g, x: g)  # nobody listens any more
    first, second, third = judged(told)
    assert len(told) == 3
    assert (first.verdict, second.verdict) == (right, wrong)
    assert [e.ok for e in (first, second, third)] == [True, False, False]  # an assertion wants a decision
    assert third.verdict == undecided
    assert undecided.reason is Reason.NO_RULE
    assert first.job.source.kind == "api"


def test_a_run_has_a_head_and_a_foot() -> None:
    told: list[Event] = []
    recorder = Recorder()
    with listening(told.append):
        assert Runner(Settings(), [recorder]).run([job()], 1)
    assert [type(e) for e in told] == [RunStarted, JobJudged, RunFinished]
    assert len(recorder.records) == 1
    assert recorder.seconds > 0


def test_random_graphs_tell_the_same_events() -> None:
    told: list[Event] = []
    events = Search("engine", "float64", 3, 0).run(Runner(Settings(), [told.append]))
    assert told == list(events)


def test_what_cannot_be_judged_is_told_as_lost_and_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: object) -> None:
        raise ZeroDivisionError("our own fault")

    monkeypatch.setattr(running, "judge_case", crash)
    recorder, told = Recorder(), []
    runner = Runner(Settings(), [recorder, told.append])
    with pytest.raises(ZeroDivisionError):
        runner.run([job()])
    started, lost, finished = told
    assert isinstance(lost, JobLost)
    assert (lost.how, lost.message) == ("error", "ZeroDivisionError: our own fault")
    assert isinstance(started, RunStarted)
    assert isinstance(finished, RunFinished)
    data = report_of(recorder, Settings())
    assert data["errors"] == [{"id": "j", "message": "ZeroDivisionError: our own fault"}]
    assert (data["ok"], data["interrupted"]) == (False, True)


def test_a_law_of_autograd_is_an_outcome() -> None:
    told: list[Event] = []
    card = scorecard(find("engine"), ["adds_across_calls", "adds_across_paths"], listeners=[told.append])
    assert card.ok
    assert [type(e) for e in told] == [RunStarted, JobJudged, JobJudged, RunFinished]
    assert [e.verdict.case for e in judged(told)] == ["adds_across_calls", "adds_across_paths"]
    assert {e.verdict.outcome for e in judged(told)} == {Outcome.PASS}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_log_gives_back_the_event_that_it_was_written_from(outcome: Outcome) -> None:
    kind = FailKind.PRECISION if outcome.has_kind else None
    reason = Reason.KINK if outcome is Outcome.INCONCLUSIVE else None
    verdict = Verdict(outcome, "graph 3", "engine", "float64", kind, reason, known="why" * (outcome is Outcome.KNOWN))
    for policy in (GatePolicy(), GatePolicy(strict=True)):
        event = to_event(
            {"i": 3, "subject": "engine", "dtype": "float64", "s": 0.5} | to_entry(verdict, True), 0, policy
        )
        assert isinstance(event, JobJudged)
        found = event.verdict
        assert (found.outcome, found.kind, found.reason, found.known) == (outcome, kind, reason, verdict.known)
        assert (event.job.number, event.ok) == (3, not policy.gate(outcome, kind))
        assert event.text == verdict.text()


def test_the_gate_is_written_once() -> None:
    """Nothing but the policy says which outcomes gate: elsewhere nobody asks for `strict` together with an outcome."""
    deciding = re.compile(r"strict\b.*(?:Outcome\.|\.known\b)|(?:Outcome\.\w+|\.known)\b.*\bstrict\b")
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if deciding.search(line)
    ]
    assert found == []
    assert sum(p.read_text(encoding="utf-8").count("def gate(") for p in PACKAGE.rglob("*.py")) == 1
