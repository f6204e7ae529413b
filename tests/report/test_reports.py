"""The table, the tally, the JSON report and the text of a failure, from verdicts made by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from gradverify.core.case import Case, Expect, Source
from gradverify.core.errors import GradverifyError
from gradverify.core.verdict import Comparison, Culprit, Element, FailKind, Outcome, Reason, Verdict
from gradverify.report import json as report
from gradverify.report import terminal
from gradverify.report.evidence import text, with_reproducer
from gradverify.report.records import Recorder, record
from gradverify.report.sentences import in_one_line
from gradverify.report.tally import reason_texts, tally
from gradverify.report.targets import targets
from gradverify.run.events import Job, JobJudged, RunFinished
from gradverify.run.runner import Settings

ELEMENT = Element("dx", (1, 0), "1.5", "1.25", 0.25, 1e-30, 1e-15, 1.1e15, 4.5)
SOURCE = Source("spec", "a.grad.yaml", 3)
SPEC = "gradverify: 1\ncases:\n  - {name: c, expr: x * x, inputs: {x: 3.0}}\n"


def no_case() -> Case:
    raise AssertionError("reports build no case")


def event(
    status: Outcome,
    *,
    subject: str = "torch",
    kind: FailKind | None = None,
    reason: Reason | None = None,
    ok: bool | None = None,
    expect: Expect = "pass",
    share: float = 0.5,
    power: float = 1e-14,
    source: Source = SOURCE,
    **fields: Any,
) -> JobJudged:
    compared = Comparison("dx", 4, int(status is Outcome.FAIL), ELEMENT, share, power, power)
    verdict = Verdict(status, "c", subject, "float64", kind, reason, comparisons=(compared,), **fields)
    job = Job(f"a.grad.yaml::c[{subject}-float64]", subject, "float64", no_case, source, expect)
    return JobJudged(job, verdict, status is not Outcome.FAIL if ok is None else ok)


EVENTS = [
    event(Outcome.PASS, share=0.25, power=1e-15),
    event(Outcome.PASS, share=0.75, power=1e-12),
    event(Outcome.PASS, share=0.5, power=1e-14),
    event(Outcome.PASS, power=math.nan),
    event(Outcome.FAIL, kind=FailKind.WRONG, share=math.inf),
    event(Outcome.FAIL, kind=FailKind.RAISED, expect="raises", ok=True),
    event(Outcome.KNOWN, kind=FailKind.PRECISION, known="sigmoid by o * (1 - o)", ok=True),
    event(Outcome.INCONCLUSIVE, reason=Reason.KINK, subject="jax"),
    event(Outcome.INCONCLUSIVE, reason=Reason.KINK, subject="jax"),
    event(Outcome.INCONCLUSIVE, reason=Reason.ORACLE, subject="jax"),
]


def records() -> list[dict[str, Any]]:
    recorder = Recorder()
    for e in EVENTS:
        recorder(e)
    recorder(RunFinished(1.0))
    return recorder.records


def test_tally() -> None:
    jax, torch = tally(records())
    assert [torch.counts[o] for o in (Outcome.PASS, Outcome.FAIL, Outcome.KNOWN)] == [4, 2, 1]
    assert (torch.expected, torch.refused) == (1, 1)
    assert torch.share == 0.75
    assert torch.power == (1e-14, 1e-12)
    assert jax.counts.outcomes == {Outcome.INCONCLUSIVE: 3}
    assert math.isnan(jax.power[0])
    assert reason_texts([jax, torch]) == [f"2 kink: {Reason.KINK}", f"1 oracle: {Reason.ORACLE}"]


def test_plain_and_rich_tables_say_the_same() -> None:
    rows = tally(records())
    lines = terminal.plain(rows)
    assert lines[0].split() == ["subject", "dtype", "PASS", "KNOWN", "FAIL", "INCONCLUSIVE", "catches"]
    assert lines[1].split() == ["jax", "float64", "0", "0", "0", "3", "-"]
    assert lines[2].split() == ["torch", "float64", "4", "1", "2", "(1", "expected)", "0", "1.0e-14"]
    out = StringIO()
    Console(file=out, width=100).print(terminal.table(rows))
    assert [line.split() for line in out.getvalue().splitlines()[:3]] == [line.split() for line in lines[:3]]
    assert max(map(len, lines[:6])) <= 79


@pytest.mark.parametrize(
    ("outcomes", "spared"),
    [
        ((Outcome.PASS,), ()),
        ((Outcome.PASS, Outcome.INCONCLUSIVE), ()),
        ((Outcome.PASS, Outcome.SURROGATE), ("INCONCLUSIVE",)),
        ((Outcome.PASS, Outcome.SURROGATE, Outcome.INCONCLUSIVE), ("at worst",)),
        (tuple(Outcome), ("at worst", "worst error")),
    ],
)
def test_a_table_fits_a_terminal(outcomes: tuple[Outcome, ...], spared: tuple[str, ...]) -> None:
    recorder = Recorder()
    for outcome in outcomes:
        recorder(
            event(outcome, subject="tinygrad", **({"reason": Reason.KINK} if outcome is Outcome.INCONCLUSIVE else {}))
        )
    rows = tally(recorder.records)
    (heads, line), legend = terminal.fitted(rows), "\n".join(terminal.plain(rows))
    assert len(heads) == len(line)
    assert set(terminal.headings(rows)) - set(heads) == set(spared)
    assert max(map(len, terminal.align([heads, line]))) <= 79
    assert ("worst error: of a PASS" in legend, "at worst: in the" in legend) == (
        "worst error" in heads,
        "at worst" in heads,
    )


def test_what_is_accepted_is_called_so() -> None:
    """An accepted FAIL is no expected one."""
    recorder = Recorder()
    recorder(event(Outcome.FAIL, kind=FailKind.WRONG, ok=True, accepted="float16 sums (ada)"))
    recorder(event(Outcome.FAIL, kind=FailKind.RAISED, expect="raises", ok=True))
    recorder(event(Outcome.FAIL, kind=FailKind.WRONG))
    recorder(event(Outcome.WEAK, ok=True, accepted="float16 sums (ada)"))
    (row,) = tally(recorder.records)
    counts = terminal.cells(row, (Outcome.PASS, Outcome.WEAK, Outcome.FAIL))[2:5]
    assert counts == ("0", "1 (1 accepted)", "3 (1 expected, 1 accepted)")
    assert (row.to_dict()["expected"], row.to_dict()["accepted"]) == (1, 2)


def test_subjects_that_are_not_there_are_one_line() -> None:
    """Rows of frameworks that are not installed hide what was judged."""
    recorder = Recorder()
    for _ in range(2):
        recorder(event(Outcome.INCONCLUSIVE, reason=Reason.UNAVAILABLE, subject="cupy"))
    alone = terminal.plain(tally(recorder.records))
    assert alone == ["not judged, for want of the framework or its device: cupy (2 verdicts)"]
    rows = tally([*recorder.records, *records()])
    lines = terminal.plain(rows)
    assert lines[-1] == alone[0]
    assert not any(line.startswith("cupy") or "unavailable" in line for line in lines)
    out = StringIO()
    Console(file=out, width=100).print(terminal.table(rows))
    assert out.getvalue().splitlines()[-1].rstrip() == alone[0]


def test_an_empty_run_says_so() -> None:
    assert terminal.plain([]) == ["no gradient was judged"]


def test_json_report_keeps_to_its_schema_and_reads_back(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(report.schema())
    data = report.report(records(), Settings(subjects=("torch",)), seconds=1.5)
    path = tmp_path / "deep" / "r.json"
    report.write(path, data)
    assert report.read(path) == data == json.loads(path.read_text())
    assert data["ok"] is False
    assert data["results"][4]["verdict"]["share"] == "inf"
    assert data["results"][3]["verdict"]["power"] is None


@pytest.mark.parametrize("change", [{"format": 4}, {"extra": 1}, {"results": [{}]}])
def test_the_schema_refuses_what_is_no_report(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "r.json"
    report.write(path, report.report(records(), Settings(), seconds=0.0) | change)
    with pytest.raises(GradverifyError, match="not a gradverify report"):
        report.read(path)
    path.write_text("{")
    with pytest.raises(GradverifyError, match=r"r\.json"):
        report.read(path)


def test_the_schema_knows_every_field_of_a_verdict() -> None:
    """A field that is added to the data and not to the schema is found here."""
    full = event(Outcome.FAIL, kind=FailKind.WRONG, culprit=Culprit(1, "exp", 0, "exp(%0)"), facts={"bits": 256})
    jsonschema.Draft202012Validator(
        {"$ref": "#/$defs/result", "$defs": report.schema()["$defs"]}
    ).validate(json.loads(json.dumps(record(full))))  # fmt: skip
    enum = report.schema()["$defs"]["verdict"]["properties"]
    assert set(enum["reason"]["enum"]) == {r.name.lower() for r in Reason} | {None}
    assert set(enum["kind"]["enum"]) == {k.value for k in FailKind} | {None}
    assert set(enum["outcome"]["enum"]) == {s.value for s in Outcome}


def test_a_drawn_pass_keeps_its_figures_only() -> None:
    drawn = event(Outcome.PASS, graph="x: float[]", source=Source("generated", seed=1))
    slim = record(drawn)["verdict"]
    assert (slim["graph"], slim["comparisons"], slim["share"], slim["power"]) == ("", [], 0.5, 1e-14)
    assert record(event(Outcome.PASS, graph="x: float[]"))["verdict"]["graph"] == "x: float[]"


def test_text_of_a_failure() -> None:
    culprit = Culprit(2, "exp", 0, "exp (%2 = exp(%1)), the gradient of its argument 1", "x: float[]", SPEC)
    lines = text(event(Outcome.FAIL, kind=FailKind.WRONG, message="dx is off", graph="whole", culprit=culprit,
                       notes=("odd",))).splitlines()  # fmt: skip
    assert lines[:2] == ["FAIL (wrong): c on torch in float64 (a.grad.yaml:3)", "dx is off"]
    assert lines[2] == "first wrong op: exp (%2 = exp(%1)), the gradient of its argument 1"
    assert lines[3] == "  dx[1, 0]: got 1.5, want 1.25"
    assert lines[4:11] == [
        "1 of 4 entries of dx is off:",
        "  dx[1, 0]",
        "    got     1.5",
        "    want    1.25",
        "    error   0.25 = 1.1e+15 ulp",
        "    budget  1e-15 = 4.5 ulp, all that rounding in float64 excuses",
        "    oracle  right to within 1e-30",
    ]
    assert "whole" not in lines  # the reduced graph stands in for it
    assert lines[-2:] == ["note: odd", "what to do: gradverify outcome wrong"]


def test_text_names_an_unmet_expectation_and_strictness() -> None:
    unmet = text(event(Outcome.PASS, expect="raises", ok=False))
    assert unmet.startswith("PASS, where its author expected the subject to raise: c on torch")
    strict = text(event(Outcome.INCONCLUSIVE, reason=Reason.DOMAIN, ok=False))
    assert f"reason: {Reason.DOMAIN}" in strict.replace("\n", " ")
    assert strict.endswith("INCONCLUSIVE fails, as asked for")
    assert "as asked for" not in text(event(Outcome.INCONCLUSIVE, reason=Reason.DOMAIN, ok=True))


def test_a_failure_gets_its_script_and_nothing_else_does() -> None:
    pytest.importorskip("torch")
    failed = event(Outcome.FAIL, kind=FailKind.WRONG, spec=SPEC)
    assert "def forward(x):" in with_reproducer(failed).verdict.script
    assert "--- stand-alone reproducer" in text(with_reproducer(failed))
    for other in (event(Outcome.PASS, spec=SPEC), event(Outcome.FAIL, spec=SPEC, ok=True), event(Outcome.FAIL)):
        assert with_reproducer(other) is other or not with_reproducer(other).verdict.script


def test_no_script_is_a_note_and_not_a_crash() -> None:
    broken = event(Outcome.FAIL, kind=FailKind.WRONG, spec="gradverify: 1\ncases: [1]\n")
    assert "no stand-alone reproducer: <string>:2:9" in with_reproducer(broken).verdict.notes[0]
    assert with_reproducer(replace(broken, ok=True)) == replace(broken, ok=True)


def test_targets() -> None:
    assert [t.path for t in targets(["json:a:b.json"])] == [Path("a:b.json")]
    with pytest.raises(GradverifyError, match="did you mean 'json'"):
        targets(["jso:x"])


def test_a_report_of_format_1_is_read(tmp_path: Path) -> None:
    """As an older gradverify wrote it: three statuses, and `known` beside FAIL."""
    data = report.report(records(), Settings(strict=True), seconds=1.5)
    old = json.loads(json.dumps(data)) | {"format": 1}
    del old["settings"]["fail_on"]
    for row in old["summary"]:
        row["known_fail"], row["expected_fail"] = row.pop("known"), row.pop("expected")
        del row["weak"], row["surrogate"]
    for result in old["results"]:
        verdict = result["verdict"]
        outcome = verdict.pop("outcome")
        verdict["status"] = "FAIL" if outcome == "KNOWN" else outcome
    old["results"][-1]["verdict"]["reason"] = "unsupported"
    path = tmp_path / "r.json"
    path.write_text(json.dumps(old))
    found = report.read(path)
    assert [r["verdict"]["outcome"] for r in found["results"]] == [r["verdict"]["outcome"] for r in data["results"]]
    assert found["results"][-1]["verdict"]["reason"] == "subject"
    assert (found["format"], found["settings"]["fail_on"]) == (3, "all")
    path.write_text(json.dumps(old | {"results": 3}))
    with pytest.raises(GradverifyError, match="not a gradverify report"):
        report.read(path)


def test_every_outcome_has_its_column_where_it_occurs() -> None:
    recorder = Recorder()
    for outcome in Outcome:
        recorder(event(outcome))
    (row,) = tally(recorder.records)
    assert terminal.headings([row])[2:8] == tuple(map(str, Outcome))
    assert terminal.cells(row)[2:8] == ("1",) * 6
    assert [row.to_dict()[str(o).lower()] for o in Outcome] == [1] * 6


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "accepted in a.toml until 2026, which is over\ndx[0] is off",
            "accepted in a.toml until 2026, which is over. dx[0] is off",
        ),
        ("one sentence.\n\n  another: \nits end", "one sentence. another: its end"),
        ("  spaces   within ", "spaces within"),
    ],
)
def test_lines_become_sentences_where_there_is_one_line(text: str, line: str) -> None:
    assert in_one_line(text) == line
