"""JUnit, SARIF, Markdown, and what GitHub Actions reads: valid, complete, and nothing of the user's taken for markup."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from gradverify.core.errors import GradverifyError
from gradverify.core.outcome import FailKind, Outcome, Reason
from gradverify.core.verdict import Verdict
from gradverify.report import github, junit, markdown, outcomes, sarif
from gradverify.report.ending import end_run
from gradverify.report.files import replace_file
from gradverify.report.json import read, report
from gradverify.report.json import write as write_json
from gradverify.report.records import record
from gradverify.report.targets import targets
from gradverify.run.events import Job, JobJudged
from gradverify.run.runner import Settings
from tests.report.test_reports import EVENTS, event

ODD = "a | b, <c> `d` % e: ]]> \x1b[31m \x00 \ud800 * _f_ [g](h) ::error::i\nsecond\r\nline ```"
"""What a name or a message may have."""

EVERY = [
    *EVENTS,
    event(Outcome.WEAK, message="the formula is right, and loses 3 digits"),
    event(Outcome.SURROGATE, message="the derivative of a spike"),
    event(Outcome.INCONCLUSIVE, reason=Reason.KINK, ok=False),
    event(Outcome.FAIL, kind=FailKind.WRONG, message=ODD, notes=(ODD,), point=ODD),
    event(Outcome.PASS, expect="fail", ok=False),
]


def run_of(*events: JobJudged, **more: Any) -> dict[str, Any]:
    return report([record(e) for e in events], Settings(), seconds=1.5, **more)


@pytest.fixture(params=["all of it", "nothing", "every kind"])
def data(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "all of it":
        return run_of(*EVERY, errors=[("c.grad.yaml", ODD), ("d", "")])
    if request.param == "nothing":
        return run_of()
    verdicts = [
        *(Verdict(Outcome.FAIL, ODD, "torch", "float32", k, message=ODD, source="ops.py:12") for k in FailKind),
        *(Verdict(Outcome.INCONCLUSIVE, "c", "jax", "float32", reason=r) for r in Reason),
        *(Verdict(o, "c", "jax", "float32") for o in Outcome if not o.has_kind and o is not Outcome.INCONCLUSIVE),
    ]
    made = [JobJudged(Job(f"{ODD}::{i}", v.subject, v.dtype), v, bool(v)) for i, v in enumerate(verdicts)]
    return run_of(*made)


# ---- SARIF


def test_sarif_keeps_to_the_standard(data: dict[str, Any]) -> None:
    """The rules of the standard that bind a log of this shape; with the schema itself where GRADVERIFY_SARIF_SCHEMA says."""
    log = json.loads(json.dumps(sarif.log_of(data), allow_nan=False))
    if path := os.environ.get("GRADVERIFY_SARIF_SCHEMA"):
        jsonschema.Draft4Validator(json.loads(Path(path).read_text())).validate(log)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)  # 3.49.3
    for rule in rules:
        assert rule["shortDescription"]["text"].endswith(".")  # 3.49.9 asks for a sentence
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]  # 3.27.6
        assert result["level"] in ("none", "note", "warning", "error")  # 3.27.10
        assert result["message"]["text"]  # 3.11.8
        (place,) = result["locations"]  # GitHub refuses a result without one
        if "physicalLocation" in place:
            uri = place["physicalLocation"]["artifactLocation"]["uri"]
            assert "\\" not in uri
            assert " " not in uri
            assert place["physicalLocation"]["region"]["startLine"] >= 1  # 3.30.5


def test_the_help_of_a_sarif_rule_is_the_page_of_gradverify_outcome() -> None:
    rules = sarif.log_of(run_of(*EVERY))["runs"][0]["tool"]["driver"]["rules"]
    assert rules
    for rule in rules:
        first, _, rest = rule["help"]["text"].partition("\n\n")
        command, name = first.rsplit(" ", 1)
        assert command == "gradverify outcome"
        assert name.replace("_", "-") in rule["id"]
        assert rest == rule["help"]["markdown"] == outcomes.read_alone(name)  # 3.11.9: text is there where markdown is
        assert "](" not in rest


def test_sarif_has_all_that_is_no_acceptable_pass() -> None:
    data = run_of(*EVERY)
    (run,) = sarif.log_of(data)["runs"]
    assert len(run["results"]) == sum(not (e.ok and e.verdict.outcome is Outcome.PASS) for e in EVERY)
    assert sum(r["level"] == "error" for r in run["results"]) == sum(not e.ok for e in EVERY)


def test_sarif_knows_a_result_again_by_its_id() -> None:
    prints = lambda *events: [
        r["partialFingerprints"]["gradverifyId/v1"] for r in sarif.log_of(run_of(*events))["runs"][0]["results"]
    ]
    first, other = event(Outcome.WEAK), event(Outcome.WEAK, subject="jax")
    assert prints(first) == prints(event(Outcome.WEAK, message="another"))
    assert prints(first) != prints(other)


@pytest.mark.parametrize("path", ["a b/ü#1.grad.yaml", "plain.grad.yaml"])
def test_sarif_and_annotations_name_files_below_the_working_directory(path: str) -> None:
    verdict = Verdict(Outcome.FAIL, "c", "torch", "float32", FailKind.WRONG, source=f"{Path.cwd() / path}:7")
    (run,) = sarif.log_of(run_of(JobJudged(Job("i", "torch", "float32"), verdict, False)))["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert unquote(place["artifactLocation"]["uri"]) == path
    assert place["region"] == {"startLine": 7}


# ---- JUnit


def test_junit_is_xml_whose_counts_are_right(data: dict[str, Any], tmp_path: Path) -> None:
    junit.write(tmp_path / "r.xml", data)
    write_json(tmp_path / "r.json", data)
    assert read(tmp_path / "r.json") == data
    root = ET.parse(tmp_path / "r.xml").getroot()
    for suite in root:
        assert int(suite.get("tests", "")) == len(suite.findall("testcase"))
        for state, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.get(count, "")) == len(suite.findall(f"testcase/{state}"))
    assert int(root.get("tests", "")) == len(data["results"]) + len(data["errors"])
    assert int(root.get("failures", "")) == sum(not r["ok"] for r in data["results"])


def test_junit_shows_inconclusive_and_weak() -> None:
    for outcome in Outcome:
        reason = Reason.KINK if outcome is Outcome.INCONCLUSIVE else None
        root = junit.suites_of(run_of(event(outcome, reason=reason, ok=True)))
        (case,) = root.iter("testcase")
        skipped = case.find("skipped")
        assert (skipped is not None) == (outcome in (Outcome.INCONCLUSIVE, Outcome.WEAK))
        if skipped is not None:
            assert (skipped.get("message") or "").startswith(str(outcome))
        said = {p.get("name"): p.get("value") for p in case.iter("property")}
        assert said["gradverify_outcome"] == str(outcome)
        refused = junit.suites_of(run_of(event(outcome, reason=reason, ok=False)))
        assert refused.find("*/testcase/failure") is not None


# ---- Markdown


def test_markdown_takes_nothing_for_markup(data: dict[str, Any]) -> None:
    text = markdown.text_of(data)
    outside, inside = [], False
    for line in text.split("\n"):
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            outside.append(line)
    assert not inside
    for line in outside:
        assert "<c>" not in line
        if line.startswith("|"):
            assert line.count(" | ") == outside[outside.index(line)].count(" | ")
    for r in data["results"]:
        if not r["ok"]:
            assert markdown.escaped(r["id"]) in text


def test_markdown_ends_after_fifty() -> None:
    many = [event(Outcome.FAIL, kind=FailKind.WRONG, message="x" * 10_000)] * 60
    text = markdown.text_of(run_of(*many))
    assert text.count("<details>") == markdown.MOST
    assert "and 10 more" in text
    assert len(text) < 400_000


# ---- GitHub


def parsed(line: str) -> tuple[str, Mapping[str, str], str]:
    """A workflow command as GitHub's runner reads it: https://github.com/actions/runner, ActionCommand.TryParseV2."""
    assert line.startswith("::")
    head, _, message = line[2:].partition("::")
    level, _, properties = head.partition(" ")
    decode = lambda t: (
        t.replace("%0D", "\r").replace("%0A", "\n").replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
    )
    pairs = dict(p.split("=", 1) for p in properties.split(",") if p)
    return level, {k: decode(v) for k, v in pairs.items()}, decode(message)


def test_annotations_are_read_as_they_were_meant(data: dict[str, Any]) -> None:
    lines = list(github.annotation_lines(data))
    assert all("\n" not in line and "\r" not in line for line in lines)
    read = [parsed(line) for line in lines]
    refused = sum(not r["ok"] for r in data["results"])
    errors = min(refused, github.MOST) + min(len(data["errors"]), github.MOST)
    assert sum(level == "error" for level, _, _ in read) == errors
    assert all(set(p) <= {"file", "line", "title"} for _, p, _ in read)


def test_an_annotation_stands_at_the_line_with_its_whole_text() -> None:
    odd = event(Outcome.FAIL, kind=FailKind.WRONG, message=ODD)
    ((level, properties, message),) = map(parsed, github.annotation_lines(run_of(odd)))
    assert (level, properties["file"], properties["line"]) == ("error", "a.grad.yaml", "3")
    assert properties["title"] == "FAIL (wrong): c on torch in float64"
    assert "".join(ODD.split()) in "".join(message.split())


def test_ten_annotations_and_how_many_more() -> None:
    lines = list(github.annotation_lines(run_of(*[event(Outcome.FAIL, kind=FailKind.WRONG)] * 30)))
    assert len(lines) == github.MOST
    assert "and 21 more" in lines[-1]


def test_the_summary_is_added_to_what_others_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.md").write_text("before\n")
    monkeypatch.setenv(github.ACTIONS, "true")
    monkeypatch.setenv(github.SUMMARY, str(tmp_path / "s.md"))
    lines = list(end_run(run_of(event(Outcome.FAIL, kind=FailKind.WRONG)), [], tmp_path))
    assert lines[0].startswith("::error file=a.grad.yaml,line=3,")
    text = (tmp_path / "s.md").read_text()
    assert text.startswith("before\n## gradverify: 1 of 1 gradients are not acceptable")
    (tmp_path / "s.md").write_bytes(b"x" * github.MOST_SUMMARY)  # GitHub would refuse all of it
    list(end_run(run_of(), [], tmp_path))
    assert (tmp_path / "s.md").stat().st_size == github.MOST_SUMMARY
    monkeypatch.delenv(github.ACTIONS)
    assert list(end_run(run_of(), [], tmp_path)) == []


# ---- files


@pytest.mark.parametrize("path", ["json:.", "sarif:file/r.json"])
def test_a_path_that_cannot_be_written_is_said_before_the_run(path: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(GradverifyError, match="cannot be written"):
        targets([path])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_report_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    (tmp_path / "link").symlink_to(path)

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            replace_file(tmp_path / "link", "a new report")
    assert path.read_text() == "old"
    replace_file(tmp_path / "link", "a new report")
    assert path.read_text() == "a new report"
    assert (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "r.json"]


def test_a_report_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    found = targets([f"json:{tmp_path}/gone/r.json", f"junit:{tmp_path}/r.xml"])
    (tmp_path / "gone").rmdir()
    (tmp_path / "gone").write_text("a file now")
    first, second = end_run(run_of(*EVERY), found, tmp_path)
    assert "could not be written" in first
    assert second == f"report: {tmp_path}/r.xml"
    assert (tmp_path / "r.xml").exists()


SLOW = """\
import time
from pathlib import Path
def slow(x):
    Path("begun").touch()
    try:
        time.sleep(60)
    except Exception:
        pass
    return x
"""

SPEC = """\
gradverify: 1
cases:
  - {name: quick, expr: x * x, inputs: {x: [1.0]}, subjects: [engine], dtypes: [float64]}
  - {name: slow, call: "slowly:slow", expr: x, inputs: {x: [1.0]}, subjects: [engine], dtypes: [float64]}
"""


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "gradverify", "run", "s.grad.yaml", "--report", "json:r.json", "--report", "sarif:r.sarif"],
        ["-m", "pytest", "-p", "no:cacheprovider", "--gradverify", "s.grad.yaml", "--gradverify-report=json:r.json",
         "--gradverify-report=sarif:r.sarif"],
    ],
    ids=["command line", "pytest"],
)  # fmt: skip
def test_a_run_that_is_terminated_writes_its_reports(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "slowly.py").write_text(SLOW)
    (tmp_path / "s.grad.yaml").write_text(SPEC)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.Popen([sys.executable, *command], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    try:
        deadline = time.monotonic() + 40
        while not (tmp_path / "begun").exists():
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=20)
    finally:
        run.kill()
    assert run.returncode == 143, said
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["interrupted"]
    assert [r["id"] for r in data["results"]] == ["s.grad.yaml::quick[engine-float64]"]
    log = json.loads((tmp_path / "r.sarif").read_text())
    assert log["runs"][0]["invocations"][0]["executionSuccessful"] is False
