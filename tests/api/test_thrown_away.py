"""A verdict that nobody looks at: FAIL raises, INCONCLUSIVE warns."""

from __future__ import annotations

import warnings

import pytest
import torch

from gradverify import WrongGradient, check
from gradverify.core.errors import GradverifyNote
from gradverify.core.outcome import Outcome
from tests.api.wrong_rules import Rule

X = torch.tensor([0.3, 0.5], dtype=torch.float64, requires_grad=True)


def test_a_fail_that_is_thrown_away_is_raised() -> None:
    with pytest.raises(WrongGradient) as e:
        check(Rule.apply, X, effort="quick")
    assert e.value.verdict.outcome is Outcome.FAIL


def test_a_fail_that_somebody_holds_is_returned() -> None:
    verdict = check(Rule.apply, X, effort="quick")
    assert not verdict
    assert [check(Rule.apply, X, effort="quick")][0].outcome is Outcome.FAIL
    assert not check(Rule.apply, X, effort="quick")
    keep = lambda: check(Rule.apply, X, effort="quick")
    assert keep().outcome is Outcome.FAIL


def test_a_pass_may_be_thrown_away() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(torch.sin, X, effort="quick")


def test_an_inconclusive_that_is_thrown_away_is_a_warning() -> None:
    kink = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
    bad = lambda x: torch.special.entr(x)  # its slope at 0 is infinite
    outcome = check(bad, kink, effort="quick").outcome
    assert outcome is Outcome.INCONCLUSIVE
    with pytest.warns(GradverifyNote, match="nobody looks at this verdict"):
        check(bad, kink, effort="quick")
