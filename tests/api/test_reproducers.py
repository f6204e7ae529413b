"""A FAIL of `check` has a spec that fails again, and a script that shows the fault without gradverify."""

from __future__ import annotations

import contextlib
import io
import math
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
from gradverify.report.script import reproducer
from gradverify.run.runner import judge_case
from gradverify.spec import load, loads
from gradverify.spec.document import CaseSpec
from tests.api import lawless, many_wrong, wrong_rules
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


# ---- many FAILs, of every kind -----------------------------------------------------------------------------------

CLAIMS = load(Path(__file__).parents[2] / "specs" / "wrong_claims.grad.yaml").cases
LAWLESS = (lawless.Clipped, lawless.Flushed, lawless.Tired)
POINT = x(0.3, 0.8, 1.7)


def printed(script: str) -> str:
    """What a script prints, and the exception that ends it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            exec(compile(script, "reproduce.py", "exec"), {})
        except RuntimeError as e:
            print(f"raises {e}")
    return said.getvalue()


def largest(text: str, start: str = "d") -> float:
    """The largest of the errors that a script printed; NaN, which is an error as well, as infinity."""
    off = [float(line.split("off by ")[1].split()[0]) for line in text.splitlines()
           if line.startswith(start) and "off by" in line]  # fmt: skip
    return max(math.inf if math.isnan(e) else e for e in off)


@pytest.mark.parametrize("mistake", many_wrong.MISTAKES)
@pytest.mark.parametrize("formula", many_wrong.FORMULAS)
def test_every_mistake_in_every_formula_is_shown(formula: str, mistake: str) -> None:
    verdict = reproducible(check(many_wrong.ALL[formula + mistake].apply, POINT, effort="quick", order=1))
    assert verdict.outcome is Outcome.FAIL
    text = printed(verdict.script)
    if verdict.kind is FailKind.RAISED:
        assert "raises" in text
    elif verdict.kind is FailKind.STRUCTURE:
        assert "dx[0]: torch gives None, true " in text
    else:
        assert largest(text) > (1e-6 if verdict.kind is not FailKind.PRECISION else 1e-9)


@pytest.mark.parametrize("spec", CLAIMS, ids=lambda spec: spec.name)
def test_a_wrong_claim_is_shown_beside_the_right_gradient(spec: CaseSpec) -> None:
    verdict = reproducible(judge_case(spec.case("float64"), "engine"))
    assert verdict.kind is FailKind.CLAIM
    text = printed(verdict.script)
    assert largest(text) < 1e-13, "the engine is right"
    assert largest(text, "claim for d") > 5e-13


@pytest.mark.parametrize("function", LAWLESS, ids=lambda f: f.__name__)
def test_a_broken_law_is_shown_by_asking_again(function: Any) -> None:
    lawless.Tired.runs = 0
    verdict = reproducible(check(function.apply, POINT, effort="quick", order=1))
    assert verdict.kind is FailKind.LAW
    lawless.Tired.runs = 0
    text = printed(verdict.script)
    first = "\n".join(line for line in text.splitlines() if ", true " in line)
    again = "\n".join(line for line in text.splitlines() if "of the first answer" in line)
    assert largest(first) < 1e-14
    assert largest(again) > 1e-3


def test_a_right_function_and_a_right_claim_show_nothing() -> None:
    """The same scripts, where nothing is wrong."""
    text = """\
gradverify: 1
cases:
  - {name: a, expr: "sin(x) * y", inputs: {x: [0.5, 2.0], y: [3.0, 4.0]}, grad: {x: "g * cos(x) * y", y: "g * sin(x)"}}
"""
    shown = printed(reproducer(text, "torch", "float64", law=True))
    assert shown.count("claim for d") == 4
    assert shown.count("of the first answer") == 6
    assert max(largest(shown), largest(shown, "claim for d")) < 1e-14


def test_there_are_reproducers_of_every_kind() -> None:
    assert len({*CASES, *many_wrong.ALL, *(spec.name for spec in CLAIMS), *LAWLESS}) >= 60


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
