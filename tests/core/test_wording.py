"""Five lines of a verdict, and all of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradverify.core.outcome import FailKind, Outcome
from gradverify.core.verdict import Comparison, Element, Formula, Verdict
from gradverify.core.wording import WIDTH, glance, in_few_digits, point_of


def element(of: str, index: tuple[int, ...], got: str, want: str, share: float) -> Element:
    error = abs(float(got) - float(want))
    return Element(of, index, got, want, error, 1e-30, error / share, 1.0, 1.0 / share)


WRONG = Verdict(
    Outcome.FAIL, "Norm, as given", "torch", "float32", FailKind.WRONG,
    message="dw[3] is off by 0.25, " + "a long tale about it " * 8,
    comparisons=(
        Comparison("dx", 32, 2, element("dx", (0, 6), "1.6974741220474243", "1.5", 10.0), share=10.0),
        Comparison("dw", 8, 1, element("dw", (3,), "0.25", "0.5", 1e5), share=1e5),
    ),
    graph="x: float[4, 8]", source="ops.py:12", point="x = float32[4, 8]",
)  # fmt: skip


def test_the_head_says_what_was_judged_and_where_it_is_written() -> None:
    assert glance(WRONG)[0] == "FAIL (wrong): Norm on torch in float32 (ops.py:12)"


def test_the_worst_entry_is_the_worst_of_all_arrays() -> None:
    assert [line for line in glance(WRONG) if "got" in line] == ["  dw[3]: got 0.25, want 0.5"]


SIZES = (
    "off by 0.25 (0.5 relative), where rounding in float32 excuses 3e-06",
    "off by 0.25, 9 times what rounding in bfloat16 excuses",
)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("dw[3] is {}. dw lacks a term", "dw lacks a term"),
        (
            "dw[3] is {}; every failing entry of dw is off by the same factor",
            "every failing entry of dw is off by the same factor",
        ),
        ("order 1 PASS; order 2 FAIL: dw[3] is {}. dw lacks a term", "order 1 PASS; order 2 FAIL: dw lacks a term"),
        ("as it was\ndw[3] is {}. dw lacks a term", "as it was\ndw lacks a term"),
        ("dw[3] is {}", None),  # nothing else is said
        ("dw[3] is {}: the leading digits are right", None),
        ("dx[0, 6] is {}. dx lacks a term", None),  # another entry than the one below
    ],
)
def test_how_far_an_entry_is_off_is_said_once(size: str, message: str, said: str | None) -> None:
    verdict = replace(WRONG, message=message.format(size))
    lines = glance(verdict, width=1000)
    assert "\n".join(lines[1:-2]) == (said or message.format(size))
    budget = f" ± {WRONG.comparisons[1].worst.budget:.1g}" if said else ""
    assert lines[-2] == f"  dw[3]: got 0.25, want 0.5{budget}"


def test_lines_are_wrapped_and_no_graph_is_shown() -> None:
    lines = glance(WRONG, more=".gradverify/x/report.txt")
    assert max(map(len, lines)) <= WIDTH
    assert "x: float[4, 8]" not in lines
    assert lines[-2:] == ["at x = float32[4, 8]", "more: .gradverify/x/report.txt"]
    assert "x: float[4, 8]" in WRONG.evidence().splitlines()


def test_a_pass_says_how_far_it_reaches() -> None:
    fine = replace(WRONG, outcome=Outcome.PASS, kind=None, message="", comparisons=())
    assert fine.text().replace("\n", " ") == "PASS: Norm on torch in float32 (ops.py:12): worst error 0% of its budget"


def test_a_pass_says_how_it_was_found() -> None:
    fine = replace(WRONG, outcome=Outcome.PASS, kind=None, message="", comparisons=())
    said = lambda v: v.text().replace("\n", " ").partition("(ops.py:12): ")[2]
    values = "worst error 0% of its budget"
    looks = {"directions": 3, "groups": 0, "alone": 2, "entries": 1035, "calls": 480, "most_calls": 600}
    differences = replace(fine, facts=looks)
    how = "3 random directions, 2 of 1,035 entries by themselves; 480 forward calls of at most 600"
    assert said(differences) == (
        f"by differences of the function itself ({how}): {values}; a reference= or float64 would raise the power"
    )
    more = replace(differences, facts={**looks, "more_calls_would_help": True})
    assert said(more).endswith("; a reference= or float64 or a higher effort= would raise the power")
    assert said(replace(differences, dtype="float64")).endswith("; a reference= would raise the power")
    untraced = replace(fine, formula=Formula(None, why="no graph"))
    assert said(untraced) == (f"by values alone, as the backward pass was not evaluated exactly (no graph): {values}")
    assert said(replace(fine, formula=Formula(True))) == f"the formula is right; values: {values}"


@pytest.mark.parametrize(
    ("got", "want", "shown"),
    [
        ("1.6974741220474243", "0.13426943097825846869", ("1.69747", "0.134269")),
        ("0.20052284002304077", "0.20048542905701570337", ("0.2005228", "0.2004854")),
        ("1.0000000000000002", "1.0", ("1.0000000000000002", "1.0")),
        ("nan", "0.5", ("nan", "0.5")),
        ("inf", "1e300", ("inf", "1e+300")),
        ("(1+2j)", "1", ("(1+2j)", "1")),  # no real number: as it is
    ],
)
def test_as_many_digits_as_tell_two_numbers_apart(got: str, want: str, shown: tuple[str, str]) -> None:
    assert in_few_digits(got, want) == shown


def test_small_points_are_shown_as_numbers_and_large_ones_as_shapes() -> None:
    point = {"x": np.array([0.3, 0.5]), "n": np.int64(3), "w": np.zeros((64, 8), np.float32), "e": np.zeros((0, 2))}
    assert point_of(point) == "x = [0.3, 0.5], n = 3, w = float32[64, 8], e = float64[0, 2]"


def test_notebooks_and_consoles_show_the_five_lines() -> None:
    html = WRONG._repr_html_()
    assert html.startswith("<pre")
    assert "dw[3]: got 0.25" in html
    assert repr(WRONG) == "<FAIL (wrong): Norm on torch in float32 (ops.py:12)>"
    assert WRONG.__rich__().plain == WRONG.text()
