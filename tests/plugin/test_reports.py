"""Reports of a suite whose tests call `check`; what of it is accepted; annotations; all through pytest's own door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradverify.report import github
from gradverify.run import deviations

pytest.importorskip("torch")

pytest_plugins = ["pytester"]

SUITE = """
import torch, gradverify

class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * x.detach()
    @staticmethod
    def backward(ctx, g):
        return 3 * g

def test_right():
    assert gradverify.check(torch.tanh, torch.ones(2), effort="quick")

def test_wrong():
    assert gradverify.check(Double.apply, torch.ones(2), effort="quick")

def test_that_it_is_wrong():
    assert not gradverify.check(Double.apply, torch.ones(2), effort="quick")
"""

WRONG = "test_it.py::test_wrong::Double"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    pytester.makepyfile(test_it=SUITE)
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    deviations._of_folder.cache_clear()
    return pytester


ARGS = ("-p", "no:cacheprovider", "--gradverify", "--gradverify-watch=off", "--gradverify-report=json:r.json")


def test_checks_of_a_suite_are_reported_accepted_and_a_baseline(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(github.ACTIONS, "true")
    monkeypatch.setenv(github.SUMMARY, str(project.path / "summary.md"))
    first = project.runpytest_inprocess(*ARGS, "--gradverify-report=junit:r.xml")
    first.assert_outcomes(passed=2, failed=1)
    first.stdout.fnmatch_lines(
        ["torch *2 (1 expected)*", "report: r.json", "::error file=test_it.py,line=7,title=FAIL*"], consecutive=False
    )
    assert "1 of 3 gradients are not acceptable" in (project.path / "summary.md").read_text()
    results = {r["id"]: r for r in json.loads(Path("r.json").read_text())["results"]}
    assert {id: r["ok"] for id, r in results.items()} == {
        "test_it.py::test_right::tanh": True,
        WRONG: False,
        "test_it.py::test_that_it_is_wrong::Double": True,  # the test decides
    }
    monkeypatch.delenv(github.ACTIONS)
    Path("r.json").rename("before.json")
    project.runpytest_inprocess(*ARGS, "--gradverify-baseline=before.json").assert_outcomes(passed=2, failed=1)
    Path("gradverify.toml").write_text(
        f'[accept."{WRONG}"]\noutcome = "FAIL"\nkind = "{results[WRONG]["verdict"]["kind"]}"\nshare = 1e9\n'
        'reason = "known"\nowner = "ada"\nuntil = 2999-01-01\n'
    )
    project.runpytest_inprocess(*ARGS).assert_outcomes(passed=3)
    data = json.loads(Path("r.json").read_text())
    assert data["ok"]
    assert next(r for r in data["results"] if r["id"] == WRONG)["verdict"]["accepted"].startswith("known (ada")


def test_a_path_or_a_file_that_is_no_good_is_a_usage_error(project: pytest.Pytester) -> None:
    for args, said in (
        (["--gradverify-report=json:."], "cannot be written"),
        (["--gradverify-report=pdf:r.pdf"], "sarif:PATH"),
        (["--gradverify-baseline=missing.json"], "missing.json"),
    ):
        result = project.runpytest_inprocess("--gradverify", *args)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*{said}*"])
    Path("gradverify.toml").write_text('[accept."a"]\noutcome = "FAIL"\n')
    result = project.runpytest_inprocess("--gradverify")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*gradverify.toml*reason, owner, until is missing*"])


WATCHED = """
import torch

class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()
    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].sin()

def test_it():
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    Half.apply(x).sum().backward()
"""


def test_a_watched_definition_is_accepted_until_it_changes(pytester: pytest.Pytester) -> None:
    """By `gradverify accept`, from the report of the run that failed."""
    from click.testing import CliRunner

    from gradverify.cli import main

    file = pytester.makepyfile(test_it=WATCHED)
    args = ("-p", "no:cacheprovider", "--gradverify-watch=project", "--gradverify-report=json:r.json")
    pytester.runpytest_inprocess(*args).assert_outcomes(passed=1, failed=1)
    made = CliRunner().invoke(main, ["accept", "r.json", "--reason", "known", "--owner", "ada"])
    assert made.output.startswith("gradverify::test_it.Half[x=float32(2)*]: FAIL (wrong)"), made.output
    pytester.runpytest_inprocess(*args).assert_outcomes(passed=2)
    file.write_text(WATCHED.replace("ctx.saved_tensors[0].sin()", "ctx.saved_tensors[0].cos()"))
    result = pytester.runpytest_inprocess(*args)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*accepted in gradverify.toml as FAIL (wrong), and it is PASS now*"])
