"""Pins: a rule that is meant to be no gradient is no FAIL, until it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import gradverify
from gradverify import Outcome
from gradverify.core.errors import GradverifyError
from gradverify.watch.messages import facts
from gradverify.watch.pins import Pin, apply_pin, pin_of, read_pins, rule_figures, write_pins

from . import functions as F
from .helpers import drawn, judged


class Steeper(F.Spike):
    """The same spike with another surrogate."""

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g / (1 + (2 * ctx.alpha * x) ** 2), None


def soft_spike(x: torch.Tensor) -> torch.Tensor:
    """Its derivative is that of the surrogate with alpha = 3."""
    return torch.atan(3 * x) / 3


def outcome(found: Any, pin: Pin) -> Outcome:
    return apply_pin(found, {found.sample.definition.name: pin}).verdict.outcome


def test_a_pin_of_what_was_found_is_kept_until_the_rule_changes() -> None:
    found = judged(F.Spike, drawn(4), 3.0)
    pin = pin_of(found)
    assert pin is not None
    assert pin.kind == "surrogate"
    assert outcome(found, pin) is Outcome.SURROGATE
    assert outcome(judged(F.Spike, drawn(4, seed=7), 3.0), pin) is Outcome.SURROGATE  # other values
    changed = judged(Steeper, drawn(4), 3.0)
    assert outcome(changed, pin) is Outcome.FAIL
    assert outcome(judged(Steeper, drawn(5), 3.0), pin) is Outcome.SURROGATE  # nothing is pinned of this signature


def test_figures_are_of_the_rule_and_not_of_the_recorded_values() -> None:
    a, b = (rule_figures(judged(F.Spike, drawn(4, seed=k), 3.0).sample) for k in (1, 2))
    assert a == b
    assert rule_figures(judged(F.Inject, drawn(3), torch.ones(3)).sample) is None  # the other array is the call's own


@pytest.mark.parametrize(("function", "kind"), [(F.Clamp, "partial"), (F.Doubled, "factor")])
def test_what_fails_can_be_pinned(function: Any, kind: str) -> None:
    found = judged(function, drawn(6, 2))
    assert outcome(found, Pin(kind)) is Outcome.SURROGATE
    assert outcome(found, Pin("nonlinear")) is Outcome.FAIL


def test_another_factor_is_a_change() -> None:
    found = judged(F.Doubled, drawn(4))
    assert outcome(found, Pin("factor", factor=2.0)) is Outcome.SURROGATE
    assert outcome(found, Pin("factor", factor=2.01)) is Outcome.FAIL


def test_a_pin_of_a_right_gradient_is_stale() -> None:
    assert outcome(judged(F.Sin, drawn(3)), Pin("surrogate")) is Outcome.FAIL


@pytest.mark.parametrize("of", [soft_spike, "tests.watch.test_pins:soft_spike"])
def test_the_gradient_of_another_function(of: Any) -> None:
    assert outcome(judged(F.Spike, drawn(4), 3.0), Pin("surrogate", of=of)) is Outcome.SURROGATE
    assert outcome(judged(F.Spike, drawn(4), 3.1), Pin("surrogate", of=of)) is Outcome.FAIL


def test_a_function_that_is_not_there() -> None:
    assert outcome(judged(F.Spike, drawn(4), 3.0), Pin("surrogate", of="tests.watch.test_pins:gone")) is Outcome.FAIL


def test_the_decorator() -> None:
    @gradverify.surrogate(of=soft_spike)
    class Marked(F.Spike):
        pass

    right, wrong = judged(Marked, drawn(4), 3.0), judged(Marked, drawn(4), 2.0)
    assert apply_pin(right, {}).verdict.outcome is Outcome.SURROGATE
    assert apply_pin(wrong, {}).verdict.outcome is Outcome.FAIL


def test_the_file_round_trips(tmp_path: Path) -> None:
    pins = {
        "a.B": Pin("factor", reason='say "why"', factor=-0.5, rules={"x=float32(2)*; a=1": [1.5, -2e-7]}),
        "c.D": Pin("surrogate", of="m:f"),
    }
    write_pins(tmp_path, pins)
    read = read_pins(tmp_path)
    assert {n: vars(p) | {"rules": {k: list(v) for k, v in p.rules.items()}} for n, p in read.items()} == {
        "a.B": {
            "kind": "factor",
            "of": "",
            "reason": 'say "why"',
            "factor": -0.5,
            "rules": {"x=float32(2)*; a=1": [1.5, -2e-7]},
        },
        "c.D": {"kind": "surrogate", "of": "m:f", "reason": "TODO: say why", "factor": None, "rules": {}},
    }
    with pytest.raises(GradverifyError, match="pinned already"):
        write_pins(tmp_path, pins)


@pytest.mark.parametrize(
    "text",
    ['[pin."a.B"]\nkind = "surogate"\n', '[pin."a.B"]\nkind = "factor"\nwhy = "x"\n', "[pin]\nx = 1\n", "pin = ["],
)
def test_a_file_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / "gradverify.toml").write_text(text)
    with pytest.raises(GradverifyError, match=r"gradverify\.toml"):
        read_pins(tmp_path)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradverify.cli.pin import command

    found = [judged(F.Clamp, drawn(6, 2)), judged(F.Spike, drawn(4), 3.0), judged(F.Sin, drawn(3))]
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"results": [{"verdict": {"facts": facts(f)}} for f in found]}))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, [str(report), "*.Clamp", "--reason", "straight through"], standalone_mode=False)
    assert done.exception is None, done.output
    pins = read_pins(tmp_path)
    assert list(pins) == ["tests.watch.functions.Clamp"]
    assert apply_pin(found[0], pins).verdict.outcome is Outcome.SURROGATE
