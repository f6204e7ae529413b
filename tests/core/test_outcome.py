"""Outcomes, what gates, and the tally."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import pytest

from gradverify.core.errors import BadInput, GradverifyError, NoRule, UnknownName, Unsupported
from gradverify.core.outcome import ASSERTION, FailKind, GatePolicy, Outcome, Reason, Tally, reason_of
from gradverify.core.verdict import Verdict
from gradverify.run.config import read_config
from gradverify.run.runner import Settings

O = Outcome


def gated(policy: GatePolicy) -> set[Outcome]:
    return {o for o in Outcome if policy.gate(o)}


def test_the_table() -> None:
    """Outcome, letter, gates by default, truth value: the table of the documentation."""
    assert [(str(o), o.letter, o.gates, bool(o)) for o in Outcome] == [
        ("PASS", ".", False, True),
        ("KNOWN", "k", False, True),
        ("WEAK", "w", False, True),
        ("SURROGATE", "S", False, True),
        ("FAIL", "F", True, False),
        ("INCONCLUSIVE", "I", False, False),
    ]
    assert all(pickle.loads(pickle.dumps(o)) is o for o in Outcome)
    assert all(bool(Verdict(o, "c", "s", "float64")) is bool(o) for o in Outcome)


@pytest.mark.parametrize(
    ("fail_on", "gates", "text"),
    [
        (None, {O.FAIL}, "fail"),
        ("default", {O.FAIL}, "fail"),
        ("", set(), "none"),
        ("none", set(), "none"),
        ("all", set(Outcome) - {O.PASS}, "all"),
        ("Fail, WEAK", {O.FAIL, O.WEAK}, "fail, weak"),
        (["default", "inconclusive"], {O.FAIL, O.INCONCLUSIVE}, "fail, inconclusive"),
    ],
)
def test_what_gates(fail_on: str | list[str] | None, gates: set[Outcome], text: str) -> None:
    policy = GatePolicy.of(fail_on)
    assert gated(policy) == gates
    assert str(policy) == text
    assert GatePolicy.of(text) == policy or text == "all"
    assert gated(GatePolicy.of(fail_on, strict=True)) == set(Outcome) - {O.PASS}


def test_one_kind_may_gate_alone() -> None:
    policy = GatePolicy.of("fail:wrong known:precision")
    pairs = {(o, k) for o, k in itertools.product(Outcome, FailKind) if policy.gate(o, k)}
    assert pairs == {(O.FAIL, FailKind.WRONG), (O.KNOWN, FailKind.PRECISION)}
    assert str(policy) == "fail:wrong, known:precision"


@pytest.mark.parametrize(
    ("fail_on", "error", "said"),
    [
        ("fial", UnknownName, "did you mean 'fail'"),
        ("fail:percision", UnknownName, "did you mean 'precision'"),
        ("pass", BadInput, "a PASS never gates"),
        ("weak:wrong", BadInput, "weak has no kinds"),
    ],
)
def test_what_makes_no_sense(fail_on: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Settings(fail_on=fail_on)


def test_an_assertion_lets_through_what_is_true() -> None:
    assert {o for o in Outcome if not ASSERTION.gate(o)} == {o for o in Outcome if o}


def test_why_there_was_nothing_to_judge() -> None:
    unsupported = {r for r in Reason if r.is_unsupported}
    assert unsupported == {Reason.UNTRACED, Reason.NO_RULE, Reason.NO_KERNEL, Reason.SUBJECT, Reason.UNAVAILABLE,
                           Reason.NOT_CALLED}  # fmt: skip
    assert reason_of(NoRule("x"), Reason.UNTRACED) is Reason.NO_RULE
    assert reason_of(Unsupported("x"), Reason.UNTRACED) is Reason.UNTRACED


def test_a_tally_counts_and_adds() -> None:
    tally, other = Tally(), Tally()
    tally.add(O.PASS)
    tally.add(O.KNOWN, FailKind.PRECISION)
    tally.add(O.INCONCLUSIVE, reason=Reason.KINK)
    other.add(O.INCONCLUSIVE, reason=Reason.SUBJECT)
    tally += other
    assert (tally.total, tally.judged, tally.open, tally.unsupported) == (4, 3, 1, 1)
    assert tally.kinds == {FailKind.PRECISION: 1}
    assert tally.to_text() == "1 PASS, 1 KNOWN, 2 INCONCLUSIVE"


def test_the_config_file(tmp_path: Path) -> None:
    assert read_config(tmp_path) == {}
    file = tmp_path / "pyproject.toml"
    file.write_text('[tool.gradverify]\nfail_on = ["fail", "weak"]\n')
    (tmp_path / "deep").mkdir()
    assert read_config(tmp_path / "deep") == {"fail_on": ("fail", "weak")}
    for text, said in (
        ("fail_on = 'fial'", "did you mean 'fail'"),
        ("fail_no = 'fail'", "did you mean 'fail_on'"),
        ("fail_on = 3", "text or a list of texts"),
        ("fail_on = ", "pyproject.toml: "),
    ):
        file.write_text(f"[tool.gradverify]\n{text}\n")
        with pytest.raises(GradverifyError, match=said):
            read_config(tmp_path)


def test_the_old_name_of_the_outcome_says_that_it_is_old():
    verdict = Verdict(O.WEAK, "case", "torch", "float64")
    with pytest.warns(DeprecationWarning, match="called outcome now"):
        assert verdict.status is O.WEAK
