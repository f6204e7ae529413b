"""Functions, modules and spec files that do what nobody expects: one outcome or one error each, and never a false green."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import gradverify
from gradverify.cli.group import Exit, main
from gradverify.core.errors import BadInput
from gradverify.core.outcome import FailKind

MODULE = """
def leaves(x): raise SystemExit(0)
def closes(x): raise GeneratorExit
def nothing(x): return None
def number(x): return 3
"""

SPEC = """gradverify: 1
cases:
  - {{name: a, expr: x * 2, inputs: {{x: [1.0]}}, call: '{call}', subjects: [engine], dtypes: [float64]}}
  - {{name: b, expr: x * 2, inputs: {{x: [1.0]}}, subjects: [engine], dtypes: [float64]}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hostile.py").write_text(MODULE)
    (tmp_path / "hostile_exit.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "hostile_error.py").write_text("raise RuntimeError('at import')\n")
    (tmp_path / "hostile_syntax.py").write_text("def f(:\n")
    return tmp_path


def call(*args: str) -> Result:
    return CliRunner().invoke(main, args)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hostile:leaves", "engine raised in the forward pass: SystemExit: 0"),
        ("hostile:closes", "engine raised in the forward pass: GeneratorExit"),
        ("hostile:nothing", "engine raised in the backward pass: AttributeError"),
        ("hostile:number", "engine raised in the backward pass: AttributeError"),
        ("hostile:absent", "cannot be imported: AttributeError"),
        ("hostile_exit:f", "cannot be imported: SystemExit: 0"),
        ("hostile_error:f", "cannot be imported: RuntimeError: at import"),
        ("hostile_syntax:f", "cannot be imported: SyntaxError"),
        ("hostile_absent:f", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_function_that_cannot_be_judged_is_one_fail_and_the_run_goes_on(folder: Path, name: str, said: str) -> None:
    (folder / "a.grad.yaml").write_text(SPEC.format(call=name))
    result = call("run", "a.grad.yaml", "--report", "json:r.json")
    assert result.exit_code == Exit.FAIL, result.output
    a, b = json.loads((folder / "r.json").read_text())["results"]
    assert (a["verdict"]["outcome"], a["verdict"]["kind"], b["verdict"]["outcome"]) == ("FAIL", "raised", "PASS")
    assert said in a["verdict"]["message"]


def test_a_run_that_judges_nothing_is_no_success(folder: Path) -> None:
    (folder / "a.grad.yaml").write_text("gradverify: 1\ncases:\n  - {name: a, expr: x, inputs: {x: [1.0]}}\n")
    result = call("run", "a.grad.yaml", "--subjects", "jax", "--device", "nowhere")
    assert result.exit_code == Exit.FAIL
    assert "nothing was judged" in result.output


def test_check_of_a_function_that_leaves() -> None:
    def leaves(x: np.ndarray) -> np.ndarray:
        raise SystemExit(0)

    def backward(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        raise SystemExit(0)

    with pytest.raises(BadInput, match="SystemExit"):
        gradverify.check(leaves, np.ones(2), vjp=lambda g, x: g)
    verdict = gradverify.check(np.sin, np.ones(2), vjp=backward)
    assert verdict.kind is FailKind.RAISED


@pytest.mark.parametrize(
    ("case", "where"),
    [
        ("expr: real(x), inputs: {x: [1.0]}", "3:21: real: argument 1 is real"),
        ("expr: 'x + imag(x)', inputs: {x: [1.0]}", "imag: argument 1 is real"),
        ("expr: angle(x), inputs: {x: [1.0]}", "angle: argument 1 is real"),
        ("expr: sgn(x), inputs: {x: [1.0]}", "sgn: argument 1 is real"),
        ("expr: conj(x), inputs: {x: [1.0]}", "conj: argument 1 is real"),
        ("expr: 'irfft(x)', inputs: {x: [1.0, 2.0]}", "irfft: argument 1 is real"),
        ("expr: x, inputs: {x: {shape: [0, 4611686018427387904, 4]}}", "an array of 18446744073709551616 elements"),
        (
            "expr: 'broadcast_to(x, (0, 4611686018427387904, 4))', inputs: {x: [1.0]}",
            "an array of 18446744073709551616",
        ),
        ("expr: 'x[" + ", ".join(["None"] * 70) + "]', inputs: {x: [1.0]}", "an array of 71 dimensions; at most 32"),
        ("expr: x, invariants: [nope], inputs: {x: [1.0]}", "3:1: unknown invariant 'nope'"),
        ("expr: x, tags: [_x], inputs: {x: [1.0]}", "a tag is a letter"),
        ("expr: x, tags: ['not this'], inputs: {x: [1.0]}", "a tag is a letter"),
        ("expr: x * 2, inputs: {x: {shape: [4], domain: invertible}}", "x is no square matrix"),
    ],
)
def test_a_bad_case_is_one_line_with_its_position(folder: Path, case: str, where: str) -> None:
    (folder / "a.grad.yaml").write_text(f"gradverify: 1\ncases:\n  - {{name: a, {case}}}\n")
    result = call("run", "a.grad.yaml", "--subjects", "engine")
    assert result.exit_code == Exit.USAGE, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert "a.grad.yaml:3:" in line
    assert where in line


def test_a_batch_without_members_has_no_members(folder: Path) -> None:
    (folder / "a.grad.yaml").write_text(
        "gradverify: 1\ncases:\n  - {name: a, expr: x * 2, invariants: [stacking], inputs: {x: {shape: [0]}}}\n"
    )
    result = call("run", "a.grad.yaml", "--subjects", "engine", "--verbose", "--strict")
    assert "the batch has no members" in result.output.replace("\n", " ")
