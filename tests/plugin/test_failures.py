"""A test that fails by a verdict says so in five lines, and leaves the evidence in a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

OPS = """
import torch

class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, k):
        return x * k

    @staticmethod
    def backward(ctx, g):
        return 2 * g, None
"""

TESTS = """
import gradverify, pytest, torch
from mine import Double

X = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)

def test_assert():
    assert gradverify.check(lambda x: Double.apply(x, 3.0), X, effort="quick")

def test_later():
    verdict = gradverify.check(Double.apply, X, 3.0, effort="quick")
    assert verdict

def test_raises():
    gradverify.assert_gradients(Double.apply, X, 3.0, effort="quick")

def test_thrown_away():
    gradverify.check(Double.apply, X, 3.0, effort="quick")

def test_dropin():
    from gradverify.torch import gradcheck
    assert gradcheck(lambda x: Double.apply(x, 3.0), (X,))

def test_held():
    verdict = gradverify.check(Double.apply, X, 3.0, effort="quick")
    assert verdict.kind.value == "wrong"

def test_of_its_own():
    gradverify.check(torch.sin, X, effort="quick")
    assert X.sum() == 0, "nothing of ours"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "mine.py").write_text(OPS)
    (folder / "test_mine.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return folder, done.stdout


def block(output: str, name: str) -> list[str]:
    """The lines of one test's failure."""
    lines = output.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("_") and f" {name} " in line)
    end = next(k for k in range(start + 1, len(lines)) if lines[k].startswith(("____", "====")))
    return lines[start:end]


@pytest.mark.parametrize("name", ["test_assert", "test_later", "test_raises", "test_thrown_away", "test_dropin"])
def test_the_verdict_stands_at_the_line_of_the_user(run: tuple[Path, str], name: str) -> None:
    shown = block(run[1], name)
    errors = [line.removeprefix("E").strip() for line in shown if line.startswith("E")]
    assert errors[0].startswith("FAIL (wrong): ")
    assert "mine.py:" in errors[0]
    assert errors[-1].startswith("more: .gradverify/")
    assert errors[-1].endswith("/report.txt (and reproduce.py)")
    assert len(errors) <= 6  # five, and a sentence of two lines
    assert max(len(line) for line in shown if line.startswith("E   ")) <= 79
    assert sum(line.startswith(">") for line in shown) == 1  # no frame of ours
    assert not any("gradverify/" in line and ".py:" in line for line in shown)


def test_others_failures_are_left_alone(run: tuple[Path, str]) -> None:
    assert any("nothing of ours" in line for line in block(run[1], "test_of_its_own"))
    assert "1 passed" in run[1]


def test_the_summary_names_function_and_kind(run: tuple[Path, str]) -> None:
    assert "FAILED test_mine.py::test_later - FAIL (wrong): Double on torch" in run[1]


def test_the_folder_has_report_spec_and_script(run: tuple[Path, str]) -> None:
    (folder,) = (run[0] / ".gradverify").glob("*test_later*")
    assert {f.name for f in folder.iterdir()} == {"report.txt", "case.grad.yaml", "reproduce.py"}
    assert "--- graph" in (folder / "report.txt").read_text()
    assert (run[0] / ".gradverify" / ".gitignore").read_text() == "*\n"
    done = subprocess.run([sys.executable, folder / "reproduce.py"], capture_output=True, text=True, timeout=300)
    assert "off by 0.333" in done.stdout  # 2 for 3
