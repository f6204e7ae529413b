"""JSON reports that are replayed, and logs that campaigns resume: right ones, broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradverify.core.errors import GradverifyError
from gradverify.report.campaign import Tally, markdown, plain
from gradverify.report.json import read, report_of
from gradverify.report.records import Recorder
from gradverify.run.campaign import log as logs
from gradverify.run.campaign.model import Campaign, Combo
from gradverify.run.plan import spec_jobs
from gradverify.run.runner import Runner, Settings
from gradverify.run.saved import saved_jobs
from gradverify.spec.document import loads

from .mutations import LONG, ODD, QUICK, broken, runs, survives, torn

SETTINGS = Settings(subjects=("engine",), dtypes=("float64",))
SPEC = """gradverify: 1
cases:
  - {name: a, expr: sin(x), inputs: {x: [0.5]}, grad: {x: g}}
  - {name: b, expr: x * 2, inputs: {x: [1.0]}}
"""
CAMPAIGN = Campaign(range(6), (Combo("engine", "float64"),))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    recorder = Recorder()
    Runner(SETTINGS, [recorder]).run(spec_jobs(loads(SPEC), SETTINGS, "a.grad.yaml"))
    made = report_of(recorder, SETTINGS)
    assert [r["ok"] for r in made["results"]] == [False, True]
    return json.loads(json.dumps(made))


def replay(path: Path) -> None:
    """What `gradverify replay` does before it judges."""
    for job in saved_jobs(read(path)["results"], Settings(), str(path)):
        assert job.build is not None
        job.build()


@pytest.mark.parametrize("examples", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)])
def test_broken_reports(examples: int, report: dict[str, Any], tmp_path: Path) -> None:
    whole = json.dumps(report).encode()
    odd = st.sampled_from([*ODD, "gradverify: 1\ncases: []", SPEC, "[" * 5000, "FAIL", "fail:wrong"])
    trees = broken(report, odd).map(lambda tree: json.dumps(tree).encode())
    read_ones = []

    @runs(examples)
    @given(st.one_of(trees, trees, torn(whole)))
    def broken_report(data: bytes) -> None:
        (tmp_path / "a.json").write_bytes(data)
        read_ones.append(survives(lambda: replay(tmp_path / "a.json"), GradverifyError))

    broken_report()
    assert sum(read_ones) > len(read_ones) / 50


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 200_000, "nested too deep"),
        ('{"a":' * 200_000, "nested too deep"),
        ("{}", "not a gradverify report"),
        ("", "Expecting value"),
    ],
)
def test_what_is_no_report(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(GradverifyError, match=said):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("spec", ["gradverify: 1\ncases: []\n", SPEC])
def test_a_saved_case_is_one_case(spec: str, report: dict[str, Any], tmp_path: Path) -> None:
    report = json.loads(json.dumps(report))
    report["results"][0]["verdict"]["spec"] = spec
    (tmp_path / "a.json").write_text(json.dumps(report))
    with pytest.raises(GradverifyError, match="cases where one was saved"):
        replay(tmp_path / "a.json")


# Logs.

LINES = (
    logs.head(CAMPAIGN),
    {"i": 0, "subject": "engine", "dtype": "float64", "is": "PASS", "s": 0.1},
    {"i": 1, "subject": "engine", "dtype": "float64", "is": "INCONCLUSIVE", "reason": "kink", "message": "m", "s": 0.1},
    {"i": 2, "subject": "engine", "dtype": "float64", "is": "FAIL", "kind": "wrong", "message": "m", "text": "t",
     "spec": "s", "s": 0.1},
    {"i": 3, "subject": "engine", "dtype": "float64", "is": "crash", "message": "m", "text": "t", "spec": "", "s": 2},
    {"i": 4, "subject": "engine", "dtype": "float64", "is": "KNOWN", "kind": "precision", "known": "k", "s": 0.1},
)  # fmt: skip


def written(lines: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def resume(path: Path) -> Tally:
    """What `gradverify campaign` does with a log before it goes on."""
    tally = Tally(CAMPAIGN)
    with logs.Log(path, CAMPAIGN) as log:
        for entry in logs.read_log(CAMPAIGN, log):
            tally(logs.to_event(entry, CAMPAIGN.seed, CAMPAIGN.policy))
        log.append({"i": 5, "subject": "engine", "dtype": "float64", "is": "PASS", "s": 0.1})
    plain(tally)
    markdown(tally, "gradverify campaign")
    return tally


@pytest.mark.parametrize("examples", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)])
def test_broken_logs(examples: int, tmp_path: Path) -> None:
    lines = broken(list(LINES), st.sampled_from(ODD), most=2)
    files = st.one_of(
        lines.map(lambda x: written(x) if isinstance(x, list) else written([x])),
        torn(written(LINES)),
        torn(written(LINES), 1),
    )
    read_ones = []

    @runs(examples)
    @given(files)
    def broken_log(data: bytes) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(data)
        ok = survives(lambda: resume(path), GradverifyError)
        read_ones.append(ok)
        if ok:  # it was continued: what it says now is read again
            assert resume(path).ok in (True, False)

    broken_log()
    assert sum(read_ones) > len(read_ones) / 20


def test_a_whole_log_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(written(LINES))
    assert [str(type(e).__name__) for e in resume(tmp_path / "a").bad] == ["JobJudged", "JobLost"]
