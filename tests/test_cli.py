"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from gradverify.cli import Exit, main
from gradverify.core.graph import Graph
from gradverify.frameworks import Observation, register
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.ops import OPS
from gradverify.ops.complex.lowering import COMPLEX
from gradverify.report.json import schema
from gradverify.run import runner as judging

SPEC = """\
gradverify: 1
defaults: {dtypes: [float64]}
cases:
  - name: growth
    expr: sum(x * exp(y))
    inputs: {x: [1.0, 2.0], y: [0.5, 0.25]}
  - name: cube
    expr: sum(x * x * x)
    inputs: {x: [1.0, 2.0]}
"""


class Off(EngineFramework):
    """The engine, with every gradient off by one part in a thousand where an op other than these two is on the way."""

    name = "off"

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        run: Any = super().function(graph, dtype)
        run.factor = 1.001 if any(getattr(n, "op", "sum") not in ("sum", "multiply") for n in graph.nodes) else 1.0
        return run

    def run_vjp(self, function: Any, *args: Any) -> Observation:
        seen = super().run_vjp(function, *args)
        grads = {n: None if g is None else np.asarray(g * function.factor, g.dtype) for n, g in seen.gradients.items()}
        return Observation(seen.outputs, grads)


register(Off())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a.grad.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args: str) -> Result:
    return CliRunner().invoke(main, args, env={"COLUMNS": "120"})


def test_run_passes_specs_and_random_graphs(folder: Path) -> None:
    result = call("run", ".", "--subjects", "engine", "--examples", "5")
    assert result.exit_code == Exit.OK, result.output
    rows = [line.split() for line in result.output.splitlines() if line.startswith("engine")]
    assert [row[:5] for row in rows] == [["engine", "float32", "5", "0", "0"], ["engine", "float64", "7", "0", "0"]]


def test_run_of_a_file_draws_no_random_graphs(folder: Path) -> None:
    result = call("run", "a.grad.yaml", "--subjects", "engine")
    assert [line.split()[:3] for line in result.output.splitlines() if line.startswith("engine")] == [
        ["engine", "float64", "2"]
    ]


def test_run_fails_with_the_evidence(folder: Path) -> None:
    result = call("run", "a.grad.yaml", "--subjects", "off", "--report", "json:r.json")
    assert result.exit_code == Exit.FAIL
    assert "FAIL" in result.output
    assert "growth on off in float64 (a.grad.yaml:4)" in result.output
    assert "first wrong op: " in result.output
    assert "--- graph" not in result.output
    whole = call("run", "a.grad.yaml", "--subjects", "off", "--verbose").output
    (file,) = (folder / ".gradverify").glob("*/report.txt")
    for part in ("first wrong op: ", "--- graph", "--- spec", "--- stand-alone reproducer"):
        assert part in whole
        assert part in file.read_text()
    data = json.loads((folder / "r.json").read_text())
    jsonschema.validate(data, schema())
    assert [r["ok"] for r in data["results"]] == [False, True]


def test_random_graphs_stop_at_the_first_failure_and_shrink_it(folder: Path) -> None:
    result = call("run", ".", "--subjects", "off", "--dtypes", "float64", "--examples", "20", "--report", "json:r.json")
    assert result.exit_code == Exit.FAIL
    drawn = [r for r in json.loads((folder / "r.json").read_text())["results"] if r["source"]["kind"] == "generated"]
    assert [r["ok"] for r in drawn] == [True] * (len(drawn) - 1) + [False]
    assert drawn[-1]["verdict"]["graph"].count(" = ") == 1


def test_replay_a_report_and_a_spec(folder: Path) -> None:
    call("run", ".", "--subjects", "off", "--dtypes", "float64", "--examples", "20", "--report", "json:r.json")
    again = call("replay", "r.json", "--report", "json:again.json")
    assert again.exit_code == Exit.FAIL
    results = json.loads((folder / "again.json").read_text())["results"]
    assert [r["verdict"]["outcome"] for r in results] == ["FAIL", "FAIL"]
    assert call("replay", "r.json", "--subjects", "engine").exit_code == Exit.OK  # the engine is right there
    assert call("replay", "r.json", "--id", "growth").exit_code == Exit.FAIL
    nothing = call("replay", "r.json", "--id", "nonsense")
    assert (nothing.exit_code, nothing.output) == (
        Exit.USAGE,
        "error: r.json: no result whose id contains 'nonsense'\n",
    )
    (folder / "b.grad.yaml").write_text(results[0]["verdict"]["spec"])
    assert call("replay", "b.grad.yaml").exit_code == Exit.FAIL


def test_explain_draws_the_digits_that_are_lost(folder: Path) -> None:
    expression, x = "mean(x * x) - mean(x) ** 2", "x=[1000, 1001, 1003]"
    options = ("--input", x, "--subjects", "engine", "--dtypes", "float32", "--stability")
    lines = call("explain", expression, *options).output.splitlines()
    first = next(k for k, line in enumerate(lines) if "digits that rounding in float32 leaves, of 7.2" in line)
    drawn = [line for line in lines[first + 1 :] if line.startswith("%")]
    assert [line.split(" = ")[1].split("(")[0] for line in drawn] == ["multiply", "mean", "mean", "pow", "subtract"]
    assert all(len(line) <= 79 for line in drawn)
    assert "loses" in drawn[-1]
    assert not any("loses" in line for line in drawn[:-1])
    assert drawn[-1].count("█") < drawn[0].count("█") / 2
    assert "digits that rounding" not in call("explain", expression, *options[:-1]).output


def test_explain_shows_graph_gradient_and_verdict(folder: Path) -> None:
    result = call("explain", "sum(x ** 3)", "--input", "x=[1, 2]", "--subjects", "engine", "--dtypes", "float64")
    assert result.exit_code == Exit.OK, result.output
    lines = result.output.splitlines()
    assert lines[0] == "x: float[2]"
    assert any(line.startswith("value = 9.0") for line in lines)
    assert any(line.startswith("dx[1] = 12.0") for line in lines)
    assert any(line.startswith("PASS: expression on engine in float64") for line in lines)
    assert call("explain", "sum(exp(x))", "--input", "x={shape: [2]}", "--subjects", "off").exit_code == Exit.FAIL


def test_fail_on_says_what_gates(folder: Path) -> None:
    args = ("run", "a.grad.yaml", "--subjects", "off")
    assert call(*args).exit_code == Exit.FAIL
    assert call(*args, "--fail-on", "none").exit_code == Exit.OK
    assert call(*args, "--fail-on", "fail:law, weak").exit_code == Exit.OK
    assert call(*args, "--fail-on", "fail:precision").exit_code == Exit.FAIL
    (folder / "pyproject.toml").write_text("[tool.gradverify]\nfail_on = 'none'\n")
    assert call(*args).exit_code == Exit.OK
    assert call(*args, "--fail-on", "default").exit_code == Exit.FAIL
    refused = call(*args, "--fail-on", "fial")
    assert (refused.exit_code, "did you mean 'fail'" in refused.output) == (Exit.USAGE, True)


def test_strict_and_unavailable(folder: Path) -> None:
    args = ("run", "a.grad.yaml", "--subjects", "engine", "--device", "nowhere")
    lenient = call(*args)
    assert lenient.exit_code == Exit.FAIL  # a gate that looked at nothing says so
    assert "error: nothing was judged" in lenient.output
    assert "not judged, for want of the framework or its device: engine (2 verdicts)" in lenient.output
    strict = call(*args, "--strict")
    assert strict.exit_code == Exit.FAIL
    assert "INCONCLUSIVE fails, as asked for" in strict.output


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("run", "missing"), "does not exist"),
        (("run", "a.grad.yaml", "--subjects", "engin"), "unknown subject 'engin'; did you mean 'engine'"),
        (("run", "a.grad.yaml", "--report", "pdf:x"), "json:PATH"),
        (("run", "--examples", "-1"), "is not in the range"),
        (("run", "bad.grad.yaml"), "bad.grad.yaml:5:"),
        (("run", "empty", "--examples", "0"), "nothing to judge"),
        (("replay", "not.json"), "not.json"),
        (("explain", "expp(x)", "--input", "x=1"), "did you mean 'exp'"),
        (("explain", "exp(x)", "--input", "x"), "NAME=VALUE"),
        (("explain", "exp(x)"), "x"),
        (("ops", "sofplus"), "did you mean 'softplus'"),
        (("schema", "nonsense"), "nonsense"),
        (("nonsense",), "No such command"),
    ],
)
def test_bad_input_is_one_line_and_code_2(folder: Path, args: tuple[str, ...], said: str) -> None:
    (folder / "bad.grad.yaml").write_text(SPEC.replace("exp(y)", "expp(y)"))
    (folder / "not.json").write_text("{")
    (folder / "empty").mkdir()
    result = call(*args)
    assert result.exit_code == Exit.USAGE, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    last = [line for line in result.output.splitlines() if not line.startswith(("Usage:", "Try "))]
    assert len([line for line in last if line.strip()]) == 1, result.output


def test_a_crash_has_its_own_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: object) -> None:
        raise ZeroDivisionError("our own fault")

    monkeypatch.setattr(judging, "judge_case", crash)
    result = call("run", "a.grad.yaml", "--subjects", "engine")
    assert result.exit_code == Exit.CRASH
    assert "ZeroDivisionError: our own fault" in result.output


def test_an_interrupt_still_writes_the_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = judging.judge_case, []

    def interrupted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(judging, "judge_case", interrupted)
    result = call("run", "a.grad.yaml", "--subjects", "engine", "--report", "json:r.json")
    assert result.exit_code == Exit.INTERRUPTED
    data = json.loads((folder / "r.json").read_text())
    assert (data["interrupted"], data["ok"], len(data["results"])) == (True, False, 1)


def test_complex_expressions_and_ops() -> None:
    result = call("explain", "sum(abs(z) ** 2)", "--input", "z=[1+2j, -1j]", "--subjects", "engine")
    assert result.exit_code == Exit.OK, result.output
    lines = result.output.splitlines()
    assert lines[0] == "z: complex[2]"
    assert any(line.startswith("dz.imag[0] = 4.0") for line in lines)
    assert any(line.startswith("PASS: expression on engine in complex128") for line in lines)
    assert call("ops", "rfft").output.startswith("rfft: ")
    assert "over pairs of reals" in call("ops", "conj").output
    assert call("ops", "arg").output.startswith("angle: ")
    assert "did you mean 'irfft'" in call("ops", "irff").output


def test_ops() -> None:
    table = call("ops").output
    assert all(f"  {name} " in table for name in OPS)
    detail = call("ops", "softmax").output
    assert detail.startswith("softmax: ")
    assert "parameter axis" in detail
    alias = next((a, s.name) for s in OPS.values() for a in s.aliases if a not in OPS)
    assert call("ops", alias[0]).output.startswith(f"{alias[1]}: ")
    markdown = call("ops", "--markdown").output
    rows = [line for line in markdown.splitlines() if line.startswith("| `")]
    assert len(rows) == len(OPS) + len(COMPLEX)
    assert all(line.replace("\\|", "").count("|") == 4 for line in rows)


@pytest.mark.parametrize("kind", ["spec", "report"])
def test_schemas_are_schemas(kind: str) -> None:
    made = json.loads(call("schema", kind).output)
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["$schema"].endswith("2020-12/schema")


def test_module_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "gradverify", "--version"], capture_output=True, text=True, check=True)
    assert "version" in done.stdout
    bad = subprocess.run(
        [sys.executable, "-m", "gradverify", "ops", "sofplus"], capture_output=True, text=True, check=False
    )
    assert (bad.returncode, bad.stderr.count("\n")) == (2, 1)
