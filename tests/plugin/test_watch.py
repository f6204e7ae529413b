"""`--gradverify-watch` on a small project's suite: what is recorded, judged, and said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

pytest_plugins = ["pytester"]

OPS = """
import torch

class Sin(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()

class Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, low):
        return values.clamp(low, 0.5)

    @staticmethod
    def backward(ctx, g):
        return g, None

class Unused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

early = Sin.apply
"""

SUITE = """
import pytest, torch
from mypkg import ops

@pytest.mark.parametrize("n", [2, 3])
def test_sin(n):
    ops.early(torch.ones(n, requires_grad=True)).sum().backward()

def test_clamp():
    ops.Clamp.apply(torch.linspace(-1, 1, 5).requires_grad_(), -0.5).sum().backward()
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    package = pytester.mkpydir("mypkg")
    (package / "ops.py").write_text(OPS)
    pytester.makepyfile(test_ops=SUITE)
    pytester.makeconftest("import mypkg.ops")
    pytester.makeini("[pytest]\n")
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path}:{Path(__file__).parents[2]}")
    return pytester


def test_a_suite(project: pytest.Pytester) -> None:
    done = project.runpytest_subprocess(
        "--gradverify-watch=project", "--junitxml=junit.xml", "-p", "no:benchmark", "-v"
    )
    done.assert_outcomes(passed=5, failed=1)
    text = done.stdout.str()
    for line in (
        "gradverify::mypkg::ops::Clamp[values=float32(5)*] FAILED",  # pytest writes dots so in its lines
        "FAILED gradverify::mypkg.ops.Clamp[values=float32(5)*]",
        "FAIL (wrong): mypkg.ops.Clamp[values=float32(5)*] (mypkg/ops.py:19)",
        "the rule passes a gradient where the function is flat",
        ": got 1, want 0",
        "more: .gradverify/Clamp-",
        "first run by test_ops.py::test_clamp, with low=-0.5",
        "defined and never executed: mypkg.ops.Unused",
    ):
        assert line in text, line
    assert "[100%]" in text
    assert "mypkg.ops.Sin[x=float32(2)*]" in Path("junit.xml").read_text()
    script = next(project.path.glob(".gradverify/*/reproduce.py"))
    again = project.run(sys.executable, script)
    assert again.ret == 0
    again.stdout.fnmatch_lines(["slope by the backward pass: *", "slope by differences, step 0.001: *"])


def test_only_the_failed_ones_are_run_again(project: pytest.Pytester) -> None:
    project.runpytest_subprocess("--gradverify-watch=project", "-p", "no:benchmark").assert_outcomes(passed=5, failed=1)
    again = project.runpytest_subprocess("--gradverify-watch=project", "-p", "no:benchmark", "--lf")
    again.assert_outcomes(passed=1, failed=1)


def test_on_two_workers(project: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    done = project.runpytest_subprocess("--gradverify-watch=project", "-p", "no:benchmark", "-n", "2")
    done.assert_outcomes(passed=5, failed=1)
    assert "2 PASS" in done.stdout.str()


def test_what_is_not_watched(project: pytest.Pytester) -> None:
    for options in (["--gradverify-watch=other.*"], ["--gradverify-watch=off"], []):
        done = project.runpytest_subprocess(*options, "-p", "no:benchmark")
        done.assert_outcomes(passed=3)


def test_a_pin_in_the_project(project: pytest.Pytester) -> None:
    Path("gradverify.toml").write_text('[pin."mypkg.ops.Clamp"]\nkind = "partial"\nreason = "straight through"\n')
    done = project.runpytest_subprocess(
        "--gradverify-watch=project", "-p", "no:benchmark", "--gradverify-report=json:report.json"
    )
    assert done.ret == 0
    found = {r["id"]: r["verdict"] for r in json.loads(Path("report.json").read_text())["results"]}
    assert found["gradverify::mypkg.ops.Clamp[values=float32(5)*]"]["outcome"] == "SURROGATE"
    Path("gradverify.toml").write_text('[pin."mypkg.ops.Clamp"]\nkind = "factor"\n')
    done = project.runpytest_subprocess("--gradverify-watch=project", "-p", "no:benchmark")
    done.assert_outcomes(passed=5, failed=1)
    assert "pinned as factor, and the rule is of the kind partial now" in done.stdout.str()


def test_no_time(project: pytest.Pytester) -> None:
    done = project.runpytest_subprocess(
        "--gradverify-watch=project", "-p", "no:benchmark", "--gradverify-watch-seconds=0"
    )
    done.assert_outcomes(passed=3, skipped=3)
    assert "not judged, since the time for it was over" in done.stdout.str()
