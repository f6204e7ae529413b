"""Tags of spec files are marks for selection, and nothing else."""

from __future__ import annotations

import pytest

pytest_plugins = "pytester"


@pytest.mark.parametrize("tag", ["skip", "xfail", "parametrize", "usefixtures", "timeout"])
def test_tags_do_not_switch_pytest(pytester: pytest.Pytester, tag: str) -> None:
    (pytester.path / "a.grad.yaml").write_text(
        f"gradverify: 1\ncases:\n  - {{name: a, expr: x, inputs: {{x: [1.0]}}, grad: {{x: 3 * g}}, tags: [{tag}]}}\n"
    )
    result = pytester.runpytest_inprocess("--gradverify", "--gradverify-subjects=engine", "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    assert result.ret != 0
    result.stdout.fnmatch_lines([f"*a.grad.yaml:3: the tag {tag} is a marker of pytest or of a plugin*"])


def test_tags_of_the_project_are_fine(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers =\n    smoke: quick\n")
    (pytester.path / "a.grad.yaml").write_text(
        "gradverify: 1\ncases:\n  - {name: a, expr: x, inputs: {x: [1.0]}, tags: [smoke, new]}\n"
        "  - {name: b, expr: x, inputs: {x: [1.0]}, tags: [new]}\n"
    )
    for wanted, many in (("smoke", 2), ("new", 4)):
        result = pytester.runpytest_inprocess(
            "--gradverify", "--gradverify-subjects=engine", "--strict-markers", "-m", wanted, "-p", "no:cacheprovider"
        )
        result.assert_outcomes(passed=many, deselected=4 - many)
