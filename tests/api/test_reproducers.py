"""A FAIL of `check` has a spec that fails again, and a script that shows the fault without gradverify."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gradverify import check
from gradverify.checker.question import Question
from gradverify.checker.reproduce import named_call
from gradverify.core.outcome import FailKind, Outcome
from gradverify.frameworks import find
from gradverify.judge.decide import decide
from gradverify.report.evidence import reproducible
from gradverify.spec import loads
from tests.api import wrong_rules
from tests.api.wrong_rules import Half, Infinite, Missing, Raises, Rule

FACTOR = 3.0


def x(*values: float, dtype: Any = torch.float64) -> Any:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], FailKind]] = {
    "wrong": (Rule.apply, (x(0.3, 0.5),), FailKind.WRONG),
    "a literal": (Rule.apply, (x(0.3, 0.5), 1.5), FailKind.WRONG),
    "a lambda": (lambda a: Rule.apply(a, 1.25), (x(0.3),), FailKind.WRONG),
    "a lambda with a constant of its module": (lambda a: wrong_rules.Rule.apply(a, FACTOR), (x(0.3),), FailKind.WRONG),
    "precision": (Half.apply, (x(0.3, 0.5), x(0.1, 0.7)), FailKind.PRECISION),
    "None": (Missing.apply, (x(0.3), x(0.7)), FailKind.STRUCTURE),
    "not finite": (Infinite.apply, (x(0.0, 1.0),), FailKind.NON_FINITE),
    "raised": (Raises.apply, (x(0.3),), FailKind.RAISED),
    "float32": (Rule.apply, (x(0.3, 0.5, dtype=torch.float32),), FailKind.WRONG),
    "two outputs": (wrong_rules.two_outputs, (x(0.3), x(0.5)), FailKind.WRONG),
    "detached": (wrong_rules.straight_through, (x(0.3),), FailKind.DETACHED),
    "no dimensions": (Rule.apply, (torch.tensor(0.3, dtype=torch.float64, requires_grad=True),), FailKind.WRONG),
}


@pytest.mark.parametrize("name", CASES)
def test_the_spec_fails_again(name: str) -> None:
    fn, args, kind = CASES[name]
    verdict = check(fn, *args, effort="quick", order=1)
    assert verdict.kind is kind
    case = loads(verdict.spec).cases[0].case(verdict.dtype)
    again = decide(case, find("torch"))
    # What is detached on purpose, or not, is a question to a Python function; a spec has a definition.
    assert (again.outcome, again.kind) == (Outcome.FAIL, FailKind.WRONG if kind is FailKind.DETACHED else kind)


@pytest.mark.parametrize("name", CASES)
def test_the_script_shows_the_fault(name: str) -> None:
    fn, args, kind = CASES[name]
    verdict = reproducible(check(fn, *args, effort="quick", order=1))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(RuntimeError):
        exec(compile(verdict.script, "reproduce.py", "exec"), {})
        said.write("finished")
    if kind is FailKind.RAISED:
        assert "finished" not in said.getvalue()
    elif kind is FailKind.STRUCTURE:
        assert "dx: torch gives None" in said.getvalue().replace("[0]", "")
    else:
        off = [float(line.split("off by ")[1].split()[0]) for line in said.getvalue().splitlines() if "off by" in line]
        assert not max(off) < 1e-6  # a NaN is off as well


def test_the_script_needs_no_gradverify() -> None:
    fn, args, _ = CASES["a literal"]
    script = reproducible(check(fn, *args, effort="quick")).script
    assert "import gradverify" not in script
    assert "from gradverify" not in script
    assert str(Path(wrong_rules.__file__).parent.parent.parent) in script
    assert "Rule.apply(x, 1.5)" in script


class Local:
    def method(self, a: Any) -> Any:
        return a


@pytest.mark.parametrize(
    ("fn", "args"),
    [
        (lambda a: Rule.apply(a * 2, 1.0), ("x",)),  # more than a call
        (lambda *a: Rule.apply(*a), ("x",)),
        (lambda a: Rule.apply(a, object()), ("x",)),
        (Local().method, ("x",)),
        (torch.nn.Linear(1, 1), ("x",)),
        (Rule.apply, ("x", object())),
        (Rule.apply, ("x", float("nan"))),
        (max, ("x",)),  # its arguments have no names
        (lambda a: nowhere.f(a), ("x",)),  # noqa: F821
    ],
)
def test_what_no_script_can_call_has_none(fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    given = tuple(x(0.5) if a == "x" else a for a in args)
    assert named_call(Question(fn, given)) is None


def test_lambdas_on_one_line_are_told_apart() -> None:
    one, two = (lambda a: Rule.apply(a, 1.0)), (lambda a: Rule.apply(a, 2.0))
    here = replace(Question(one, (x(0.3),)))
    assert str(named_call(here)) == "tests.api.wrong_rules:Rule.apply(a, 1.0)"
    assert str(named_call(replace(here, fn=two))) == "tests.api.wrong_rules:Rule.apply(a, 2.0)"


def test_a_large_point_has_no_spec() -> None:
    big = torch.full((60_000,), 0.3, dtype=torch.float64, requires_grad=True)
    verdict = check(Rule.apply, big, effort="quick", order=1)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.spec == ""
