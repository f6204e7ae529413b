"""Functions, modules and spec files that do what nobody expects: one outcome or one error each, and never a false green."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import gradverify
from gradverify.cli.group import Exit, main
from gradverify.core.errors import BadInput, GradverifyError, SpecError
from gradverify.core.outcome import FailKind
from gradverify.run.campaign.log import Log
from gradverify.run.campaign.model import campaign
from gradverify.run.runner import Settings
from gradverify.spec.document import loads
from gradverify.spec.expression import parse
from gradverify.spec.size import FACTORISED, multiply_adds

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


# ---- what is not to be imported --------------------------------------------------------------------------------------


def test_no_call_imports_nothing(folder: Path) -> None:
    """`os:abort` would end this process; so would the import of a module that aborts."""
    (folder / "aborts.py").write_text("import os\nos.abort()\n")
    for name in ("os:abort", "aborts:f"):
        (folder / "a.grad.yaml").write_text(SPEC.format(call=name))
        result = call("run", "a.grad.yaml", "--no-call", "--report", "json:r.json")
        assert result.exit_code == Exit.OK, result.output
        a, b = json.loads((folder / "r.json").read_text())["results"]
        assert (a["verdict"]["outcome"], a["verdict"]["reason"]) == ("INCONCLUSIVE", "not_called")
        assert b["verdict"]["outcome"] == "PASS"
        assert call("run", "a.grad.yaml", "--no-call", "--strict").exit_code == Exit.FAIL


def test_no_call_of_a_replay(folder: Path) -> None:
    (folder / "a.grad.yaml").write_text(SPEC.format(call="hostile:number"))
    assert call("run", "a.grad.yaml", "--report", "json:r.json").exit_code == Exit.FAIL
    text = (folder / "r.json").read_text()
    assert "hostile:number" in text
    (folder / "evil.json").write_text(text.replace("hostile:number", "os:abort"))
    result = call("replay", "evil.json", "--no-call")
    assert result.exit_code == Exit.FAIL  # nothing was judged
    assert "nothing was judged" in result.output
    assert call("replay", "a.grad.yaml", "--no-call").exit_code == Exit.OK


# ---- limits at load --------------------------------------------------------------------------------------------------


def lets(*rows: tuple[str, str]) -> str:
    return ", let: {" + ", ".join(f"{name}: '{text}'" for name, text in rows) + "}"


SQUARES = lets(("a0", "1.0"), *((f"a{i}", f"a{i - 1} * a{i - 1}") for i in range(1, 41)))
CHAIN = lets(("b0", "1.0"), *((f"b{i}", f"sin(b{i - 1})") for i in range(1, 3001)))
DEEP = lets(("b0", "x"), *((f"b{i}", f"sin(b{i - 1})") for i in range(1, 3001)))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("expr: x ** a40, inputs: {x: [1.0]}" + SQUARES, None),
        ("expr: x ** b3000, inputs: {x: [1.0]}" + CHAIN, None),
        ("expr: b3000, inputs: {x: [1.0]}" + DEEP, None),
        ("expr: x, inputs: {x: [" + ", ".join(["1.5"] * 100_000) + "]}", "more than 60000 keys and values in one file"),
        (
            "expr: '" + " + ".join(f"x{i}" for i in range(20)) + "', inputs: {"
            + ", ".join(f"x{i}: {{shape: [16777216]}}" for i in range(20)) + "}",
            "the arrays of this case have 654,311,424 entries; at most 1,048,576 are judged",
        ),
        ("expr: x @ x, inputs: {x: {shape: [500, 500]}}", "takes about 125,000,000 multiply-adds"),
        ("expr: 'einsum(''ij,kl->'', x, x)', inputs: {x: {shape: [200, 200]}}", "1,600,000,000 multiply-adds"),
        ("expr: det(x), inputs: {x: {shape: [300, 300], domain: invertible}}", "multiply-adds"),
        (
            "expr: 'conv2d(x, w)', inputs: {x: {shape: [1, 3, 100, 100]}, w: {shape: [100, 3, 11, 11]}}",
            "294,030,000 multiply-adds",
        ),
    ],
)  # fmt: skip
def test_what_is_too_much_is_said_at_once(folder: Path, case: str, said: str | None) -> None:
    start = time.process_time()
    text = f"gradverify: 1\ncases:\n  - {{name: a, {case}}}\n"
    if said is None:
        loads(text)
    else:
        with pytest.raises(SpecError, match=said) as caught:
            loads(text)
        assert caught.value.line == 3
    assert time.process_time() - start < 10  # seconds of a loaded machine; the exponential ones took hours


def test_counts_of_multiply_adds() -> None:
    shapes = {"x": (2, 3), "y": (3, 4), "z": (5, 3, 3)}
    inputs = {n: (s, "float") for n, s in shapes.items()}
    count = lambda text: multiply_adds(parse(text, inputs))
    assert count("x @ y") == count("einsum('ij,jk->ik', x, y)") == count("tensordot(x, y, 1)") == 24
    assert count("einsum('ij,kl->', x, y)") == 72
    assert count("det(z)") == FACTORISED * 3 * 45
    assert count("sin(x) + 1") == 0


# ---- files that are no files -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("command", ["run", "replay"])
def test_pipes_and_devices_are_refused(folder: Path, command: str) -> None:
    os.mkfifo(folder / "pipe.grad.yaml")
    os.mkfifo(folder / "pipe.json")
    (folder / "link.grad.yaml").symlink_to("/dev/zero")
    (folder / "link.json").symlink_to("/dev/zero")
    suffix = "grad.yaml" if command == "run" else "json"
    for name in ("pipe", "link"):
        result = call(command, f"{name}.{suffix}")
        assert result.exit_code == Exit.USAGE
        assert "no regular file" in result.output


@pytest.mark.parametrize("what", ["pipe", "full", "twice"])
def test_logs_that_cannot_be_written(folder: Path, what: str) -> None:
    args = ("campaign", "--graphs", "1", "--subjects", "engine", "--dtypes", "float64", "--log")
    if what == "twice":
        asked = campaign(Settings(subjects=("engine",), dtypes=("float64",)), range(1))
        with Log(folder / "a.jsonl", asked):
            result = call(*args, "a.jsonl")
        assert "another campaign writes to this log" in result.output
    elif what == "pipe":
        os.mkfifo(folder / "a")
        result = call(*args, "a")
        assert "no regular file" in result.output
    else:
        asked = campaign(Settings(subjects=("engine",), dtypes=("float64",)), range(1))
        with Log(folder / "a", asked) as log, open("/dev/full", "a", encoding="utf-8") as full:
            log._file.close()
            log._file = full
            with pytest.raises(GradverifyError, match="cannot be written: No space left"):
                log.append({"i": 0})
            log._file = open(os.devnull, "a", encoding="utf-8")  # noqa: SIM115
            with suppress(OSError):
                full.close()
        return
    assert result.exit_code == Exit.USAGE
    assert "Traceback" not in result.output


# ---- long messages ---------------------------------------------------------------------------------------------------


def test_messages_of_judged_code_are_clipped() -> None:
    def long(x: np.ndarray) -> np.ndarray:
        raise ValueError("x" * 400_000)

    def backward(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        raise ValueError("y" * 400_000)

    with pytest.raises(BadInput, match="characters left out") as caught:
        _ = gradverify.check(long, np.ones(2), vjp=lambda g, x: g)
    assert len(str(caught.value)) < 5000
    verdict = gradverify.check(np.sin, np.ones(2), vjp=backward)
    assert verdict.kind is FailKind.RAISED
    assert len(verdict.text()) < 20_000


# ---- another process -------------------------------------------------------------------------------------------------

ENDS = """
import ctypes, os, time
def right(x): return x * 2
def segfault(x): ctypes.string_at(0)
def exits(x): os._exit(3)
def hangs(x):
    while True:
        try: time.sleep(0.1)
        except BaseException: pass
"""
CASES = """gradverify: 1
defaults: {subjects: [engine], dtypes: [float64]}
cases:
""" + "".join(
    f"  - {{name: {n}, expr: x * 2, inputs: {{x: [1.0]}}, call: 'ends:{n}'}}\n"
    for n in ("right", "segfault", "exits", "hangs")
)  # fmt: skip


def test_a_case_that_ends_its_process_is_named_and_the_run_goes_on(folder: Path) -> None:
    (folder / "ends.py").write_text(ENDS)
    (folder / "a.grad.yaml").write_text(CASES + "  - {name: last, expr: x * 2, inputs: {x: [1.0]}}\n")
    result = call("run", "a.grad.yaml", "--isolate", "3", "--report", "json:r.json")
    assert result.exit_code == Exit.FAIL
    report = json.loads((folder / "r.json").read_text())
    assert [(r["id"], r["verdict"]["outcome"]) for r in report["results"]] == [
        ("a.grad.yaml::right[engine-float64]", "PASS"), ("a.grad.yaml::last[engine-float64]", "PASS")
    ]  # fmt: skip
    lost = {e["id"].split("::")[1]: e["message"] for e in report["errors"]}
    assert lost == {
        "segfault[engine-float64]": "the process ended with SIGSEGV",
        "exits[engine-float64]": "the process ended with exit code 3",
        "hangs[engine-float64]": "no verdict within 3 s",
    }
    assert "crash: a.grad.yaml::segfault[engine-float64]" in result.output


def test_verdicts_of_another_process_are_those_of_this_one(folder: Path) -> None:
    (folder / "a.grad.yaml").write_text(SPEC.format(call="hostile:number"))
    made = []
    for more in ((), ("--isolate", "60")):
        call("run", "a.grad.yaml", "--report", "json:r.json", *more)
        results = json.loads((folder / "r.json").read_text())["results"]
        made.append([{**r["verdict"], "seconds": 0} for r in results])
    assert made[0] == made[1]
