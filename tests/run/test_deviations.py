"""Accepted deviations and baselines: what is accepted passes; what has expired, got worse, or passes by now fails."""

from __future__ import annotations

import datetime
import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gradverify.cli import Exit, main
from gradverify.core.case import Source
from gradverify.core.errors import GradverifyError
from gradverify.core.outcome import FailKind, GatePolicy, Outcome, Reason
from gradverify.core.verdict import Comparison, Culprit, Verdict
from gradverify.run import deviations as known
from gradverify.run.deviations import (
    Deviation,
    Earlier,
    Ledger,
    _grown,
    _rounded_up,
    baseline_of,
    read_deviations,
    write_deviations,
)
from gradverify.run.events import Job
from gradverify.run.gate import tell_check, tell_verdict
from tests.test_cli import Off

TODAY = datetime.date(2026, 6, 15)
DEFAULT = GatePolicy()
DEVIATION = Deviation("a::c", Outcome.FAIL, FailKind.PRECISION, 380.0, "float16 sums", "ada", TODAY, Path("g.toml"))


def verdict(outcome: Outcome, share: float = 1.0, kind: FailKind | None = None, **more: Any) -> Verdict:
    return Verdict(outcome, "c", "torch", "float32", kind, comparisons=(Comparison("dx", 1, 1, None, share),), **more)


def weighed(v: Verdict, deviation: Deviation = DEVIATION, policy: GatePolicy = DEFAULT, id: str = "a::c") -> Verdict:
    ledger = Ledger({deviation.id: deviation}, today=TODAY)
    return ledger.weigh(Job(id, "torch", "float32"), v, policy)


LOST = verdict(Outcome.FAIL, 380.0, FailKind.PRECISION)


def test_what_is_accepted_passes_and_says_why() -> None:
    found = weighed(LOST)
    assert found
    assert found.outcome is Outcome.FAIL
    assert found.text().startswith("FAIL (precision), accepted: c on torch in float32")
    assert "accepted: float16 sums (ada, until 2026-06-15)" in found.text()
    event = tell_verdict(Job("a::c", "torch", "float32"), replace(LOST, accepted="x"), GatePolicy(strict=True))
    assert event.ok


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (verdict(Outcome.FAIL, 383.0, FailKind.PRECISION), "its error was 380 budgets, and is 383 now"),
        (verdict(Outcome.FAIL, math.inf, FailKind.PRECISION), "its error is more than 1,000 times what it was"),
        (verdict(Outcome.FAIL, 2.0, FailKind.WRONG), "as FAIL (precision), and it is another fault now"),
        (verdict(Outcome.PASS, 0.5), "as FAIL (precision), and it is PASS now: take the entry out"),
        (verdict(Outcome.WEAK, 3.0), "and it is WEAK now: take the entry out"),
    ],
)
def test_what_has_changed_fails(now: Verdict, said: str) -> None:
    found = weighed(now)
    assert (found.outcome, bool(found), found.accepted) == (Outcome.FAIL, False, "")
    assert said in found.message


def test_what_has_expired_fails_on_the_next_day() -> None:
    assert weighed(LOST)
    over = weighed(LOST, replace(DEVIATION, until=TODAY - datetime.timedelta(days=1)))
    assert not over
    assert "until 2026-06-14, which is over" in over.message


def test_a_rounding_more_on_another_machine_is_no_change() -> None:
    assert weighed(verdict(Outcome.FAIL, 381.9, FailKind.PRECISION))


def test_a_framework_that_is_not_there_says_nothing_about_what_is_accepted() -> None:
    absent = verdict(Outcome.INCONCLUSIVE, reason=Reason.UNAVAILABLE)
    assert weighed(absent) == absent


def test_an_entry_is_about_its_own_id_alone() -> None:
    for other in ("a::cc", "a::c[0]", "b::c", "a"):
        assert weighed(LOST, id=other) == LOST


def test_inconclusive_and_weak_are_accepted_where_they_gate() -> None:
    strict = GatePolicy(strict=True)
    for outcome in (Outcome.INCONCLUSIVE, Outcome.WEAK):
        entry = replace(DEVIATION, outcome=outcome, kind=None, share=None)
        assert weighed(verdict(outcome, reason=Reason.KINK), entry, strict).accepted


def test_random_graphs_are_accepted_by_their_op() -> None:
    entry = replace(DEVIATION, id="gradverify::random graphs[torch-float32]#erf", share=None)
    lost = replace(LOST, culprit=Culprit(3, "erf", 0, "erf(x)"))
    id = "gradverify::random graphs[torch-float32]#17"
    assert weighed(lost, entry, id=id).accepted
    assert not weighed(replace(lost, culprit=Culprit(3, "exp", 0, "exp(x)")), entry, id=id).accepted
    assert not weighed(LOST, entry, id=id).accepted
    assert weighed(verdict(Outcome.PASS), entry, id=id).outcome is Outcome.PASS  # one graph says nothing about the op


# ---- the file


def test_written_entries_are_read_again(tmp_path: Path) -> None:
    made = [
        DEVIATION,
        replace(DEVIATION, id='x "y"::z[1]', share=math.inf, kind=FailKind.NON_FINITE),
        replace(DEVIATION, id="gradverify::random graphs[t-f]#erf", share=None, outcome=Outcome.WEAK, kind=None),
        replace(DEVIATION, id="d", share=123.456),
    ]
    (tmp_path / "gradverify.toml").write_text('fail_on = ["fail"]\n\n[pin."a.B"]\nkind = "factor"\nfactor = 2.0\n')
    file = write_deviations(tmp_path, made)
    read = read_deviations(tmp_path)
    for d in made:
        other = read[d.id]
        said = lambda x: (x.outcome, x.kind, x.reason, x.owner, x.until)
        assert said(other) == said(d)
        assert (other.share is None) == (d.share is None)
        if d.share is not None and other.share is not None:
            assert d.share <= other.share <= d.share * 1.01
    with pytest.raises(GradverifyError, match="accepted already: a::c"):
        write_deviations(tmp_path, made[:1])
    from gradverify.run.config import read_config
    from gradverify.watch.pins import read_pins

    assert read_config(tmp_path) == {"fail_on": ("fail",)}
    assert set(read_pins(tmp_path)) == {"a.B"}
    assert file == tmp_path / "gradverify.toml"


def test_pyproject_may_have_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.gradverify.accept."a::c"]\noutcome = "WEAK"\nreason = "r"\nowner = "o"\nuntil = 2030-01-01\n'
    )
    assert read_deviations(tmp_path / "deep")["a::c"].outcome is Outcome.WEAK


GOOD = {"outcome": '"FAIL"', "kind": '"wrong"', "reason": '"r"', "owner": '"o"', "until": "2030-01-01"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"owner": ""}, "owner is missing"),
        ({"reason": '""'}, "reason is missing"),
        ({"until": ""}, "until is missing"),
        ({"until": '"soon"'}, "soon"),
        ({"until": "3"}, "until is a day"),
        ({"outcome": '"PASS"'}, "PASS"),
        ({"outcome": '"FAILS"'}, "did you mean 'FAIL'"),
        ({"kind": '"wrongly"'}, "wrongly"),
        ({"ovner": '"x"'}, "did you mean 'owner'"),
    ],
)
def test_an_entry_that_makes_no_sense_is_said_with_its_place(change: dict[str, str], said: str, tmp_path: Path) -> None:
    keys = {k: v for k, v in (GOOD | change).items() if v}
    (tmp_path / "gradverify.toml").write_text('[accept."a::c"]\n' + "".join(f"{k} = {v}\n" for k, v in keys.items()))
    with pytest.raises(GradverifyError, match=r'gradverify\.toml: \[accept\."a::c"\]: ') as raised:
        read_deviations(tmp_path)
    assert said in str(raised.value)


# ---- baselines


@pytest.mark.parametrize(
    ("then", "now", "ok"),
    [
        (Earlier(Outcome.FAIL, FailKind.WRONG, 50.0), verdict(Outcome.FAIL, 51.0, FailKind.WRONG), True),
        (Earlier(Outcome.FAIL, FailKind.WRONG, 50.0), verdict(Outcome.FAIL, 53.0, FailKind.WRONG), False),
        (Earlier(Outcome.FAIL, FailKind.PRECISION, 50.0), verdict(Outcome.FAIL, 51.0, FailKind.WRONG), False),
        (
            Earlier(Outcome.FAIL, FailKind.NON_FINITE, math.inf),
            verdict(Outcome.FAIL, math.inf, FailKind.NON_FINITE),
            True,
        ),
        (Earlier(Outcome.PASS, None, 0.5), verdict(Outcome.FAIL, 1.5, FailKind.PRECISION), False),
        (
            Earlier(Outcome.PASS, None, 0.5),
            verdict(Outcome.WEAK, 30.0),
            False,
        ),  # digits lost, though WEAK gates nowhere
        (Earlier(Outcome.WEAK, None, 30.0), verdict(Outcome.WEAK, 31.0), True),
        (Earlier(Outcome.WEAK, None, 30.0), verdict(Outcome.WEAK, 300.0), False),
        (Earlier(Outcome.FAIL, FailKind.WRONG, 50.0), verdict(Outcome.PASS, 0.5), True),
        (None, verdict(Outcome.FAIL, 2.0, FailKind.WRONG), False),
        (None, verdict(Outcome.WEAK, 2.0), True),
    ],
)
def test_what_is_new_or_has_lost_more_digits_fails(then: Earlier | None, now: Verdict, ok: bool) -> None:
    ledger = Ledger(baseline={"a::c": then} if then else {})
    with known.with_ledger(ledger):
        assert tell_verdict(Job("a::c", "torch", "float32"), now, DEFAULT).ok is ok


# ---- faces

SPEC = """\
gradverify: 1
defaults: {dtypes: [float64], subjects: [off]}
cases:
  - {name: growth, expr: sum(x * exp(y)), inputs: {x: [1.0, 2.0], y: [0.5, 0.25]}}
  - {name: right, expr: sum(x * x), inputs: {x: [1.0, 2.0]}}
"""


def call(*args: str) -> Result:
    return CliRunner().invoke(main, args, env={"COLUMNS": "120"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a.grad.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    known._of_folder.cache_clear()
    return tmp_path


def test_accept_from_a_report_until_it_is_mended(folder: Path) -> None:
    assert call("run", "a.grad.yaml", "--report", "json:r.json").exit_code == Exit.FAIL
    made = call("accept", "r.json", "--reason", "known", "--owner", "ada")
    assert made.exit_code == Exit.OK, made.output
    assert made.output.startswith("a.grad.yaml::growth[off-float64]: FAIL (precision)\nwritten to ")
    again = call("run", "a.grad.yaml", "--report", "json:r.json")
    assert again.exit_code == Exit.OK, again.output
    assert "1 (1 accepted)" in again.output
    first = json.loads((folder / "r.json").read_text())["results"][0]
    assert (first["ok"], first["verdict"]["outcome"]) == (True, "FAIL")
    assert first["verdict"]["accepted"].startswith("known (ada, until ")
    # Mended, the entry is stale; and it has a last day.
    text = (folder / "gradverify.toml").read_text()
    (folder / "a.grad.yaml").write_text(SPEC.replace("exp(y)", "y * y"))
    stale = call("run", "a.grad.yaml")
    assert stale.exit_code == Exit.FAIL
    assert "take the entry out" in stale.output.replace("\n", " ")
    (folder / "a.grad.yaml").write_text(SPEC)
    (folder / "gradverify.toml").write_text(text.replace(text[text.index("until") :], "until = 2020-01-01\n"))
    over = call("run", "a.grad.yaml")
    assert over.exit_code == Exit.FAIL
    assert "which is over" in over.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("r.json", "nothing*", "--reason", "r", "--owner", "o"), "no result of these ids"),
        (("r.json", "a.grad.yaml::right*", "--reason", "r", "--owner", "o"), "nothing to accept"),
        (("r.json", "--reason", "r", "--owner", "o", "--until", "2020-01-01"), "is over"),
        (("r.json", "--reason", "r"), "--owner"),
        (("a.grad.yaml", "--reason", "r", "--owner", "o"), "a.grad.yaml"),
    ],
)
def test_accept_says_what_it_cannot_take(folder: Path, args: tuple[str, ...], said: str) -> None:
    call("run", "a.grad.yaml", "--report", "json:r.json")
    result = call("accept", *args)
    assert result.exit_code == Exit.USAGE
    assert said in result.output
    assert not (folder / "gradverify.toml").exists()


def test_ids_have_brackets_that_are_no_pattern(folder: Path) -> None:
    call("run", "a.grad.yaml", "--report", "json:r.json")
    result = call("accept", "r.json", "*::growth[off-float64]", "--reason", "r", "--owner", "o")
    assert result.exit_code == Exit.OK, result.output


def test_random_graphs_go_on_behind_what_is_accepted(folder: Path) -> None:
    args = ("run", ".", "--subjects", Off.name, "--dtypes", "float64", "--examples", "8", "--report", "json:r.json")
    (folder / "a.grad.yaml").unlink()
    assert call(*args).exit_code == Exit.FAIL
    before = json.loads((folder / "r.json").read_text())["results"]
    op = before[-1]["verdict"]["culprit"]["op"]
    made = call("accept", "r.json", "--reason", "r", "--owner", "o")
    assert made.output.startswith(f"gradverify::random graphs[off-float64]#{op}: FAIL (")
    now = call(*args)
    after = json.loads((folder / "r.json").read_text())["results"]
    accepted = [r for r in after if r["verdict"]["accepted"]]
    assert accepted
    assert {r["verdict"]["culprit"]["op"] for r in accepted} == {op}
    assert len(after) > len(before)
    # Another op is off by itself, and is no part of what was accepted.
    assert now.exit_code == Exit.FAIL
    assert after[-1]["verdict"]["culprit"]["op"] != op


def test_a_baseline_on_the_command_line(folder: Path) -> None:
    call("run", "a.grad.yaml", "--report", "json:before.json")
    assert call("run", "a.grad.yaml", "--baseline", "before.json").exit_code == Exit.OK
    (folder / "a.grad.yaml").write_text(SPEC + "  - {name: new, expr: sum(exp(x)), inputs: {x: [1.0]}}\n")
    result = call("run", "a.grad.yaml", "--baseline", "before.json")
    assert result.exit_code == Exit.FAIL
    assert [line for line in result.output.splitlines() if line.startswith("FAIL")] == [
        "FAIL (precision): new on off in float64 (a.grad.yaml:6)"
    ]


def test_the_worst_of_one_id_is_the_baseline() -> None:
    result = {"id": "a", "verdict": {"outcome": "FAIL", "kind": "wrong", "share": 3.0}}
    other = {"id": "a", "verdict": {"outcome": "FAIL", "kind": "wrong", "share": "inf"}}
    assert baseline_of([result, other, result])["a"].share == math.inf


def test_a_check_is_known_by_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "tests/test_a.py::test_b[x (y)] (call)")
    entry = replace(DEVIATION, id="tests/test_a.py::test_b[x (y)]::norm")
    with known.with_ledger(Ledger({entry.id: entry}, today=TODAY)):
        assert tell_check("norm", LOST)
        assert not tell_check("other", LOST)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    entry = replace(DEVIATION, id="check::norm")
    with known.with_ledger(Ledger({entry.id: entry}, today=TODAY)):
        assert tell_check("norm", LOST)


def test_specs_that_expect_a_fault_are_weighed_by_their_authors_alone() -> None:
    with known.with_ledger(Ledger({"a::c": DEVIATION}, today=TODAY)):
        job = Job("a::c", "torch", "float32", source=Source("spec", "a", 1), expect="fail")
        assert tell_verdict(job, verdict(Outcome.PASS), DEFAULT).verdict.outcome is Outcome.PASS


def test_what_has_changed_is_a_line_of_its_own() -> None:
    """It once ended a paragraph about other things."""
    worse = replace(verdict(Outcome.FAIL, 383.0, FailKind.PRECISION), message="dx[0] is off")
    lines = weighed(worse).message.splitlines()
    assert lines == [lines[0], "dx[0] is off"]
    assert lines[0].startswith("accepted in ")


@pytest.mark.parametrize("share", [0.5, 3.001, 379.4, 999999.0, 1e6, 8.0851e11, 1e300, math.inf])
def test_a_share_is_written_as_people_read_it_and_never_below(share: float) -> None:
    text = _rounded_up(share)
    assert len(text) <= 9, text
    assert share <= tomllib.loads(f"x = {text}")["x"] <= share * 1.01
    assert isinstance(tomllib.loads(f"x = {text}")["x"], float)


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (380.0, 383.0, "its error was 380 budgets, and is 383 now"),
        (8e11, 8.1e13, "its error is 101 times what it was"),
        (0.0, 1e6, "its error was 0 budgets, and is more than 1,000 now"),
        (2.0, 1e9, "its error is more than 1,000 times what it was"),
    ],
)
def test_growth_is_said_as_people_read_it(then: float, now: float, said: str) -> None:
    assert _grown(then, now) == said
