"""Verdicts that are kept: what passed is not judged again, and whatever it depends on is noticed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradverify.core.outcome import Outcome
from gradverify.core.verdict import Verdict
from gradverify.run import cache, identity
from gradverify.run.cache import CACHED, Cache, key_of
from gradverify.spec import loads

SPEC = """\
gradverify: 1
cases:
  - {name: gate, expr: sum(tanh(x) * y), inputs: {x: [0.5, -2.0], y: [1.0, 2.0]}, subjects: [engine], dtypes: [float64]}
  - name: mine
    expr: x * x
    call: kern:square
    vjp: kern:square_vjp
    inputs: {x: [1.5, -0.5]}
    subjects: [numpy]
    dtypes: [float64]
  - {name: off, expr: sum(x ** 3), grad: {x: 2 * x}, inputs: {x: [1.0]}, subjects: [engine], dtypes: [float64]}
"""

KERNEL = """\
from helper import TWO

def square(x):
    return x * x

def square_vjp(g, x):
    return (TWO * g * x,)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "a.grad.yaml").write_text(SPEC)
    (tmp_path / "kern.py").write_text(KERNEL)
    (tmp_path / "helper.py").write_text("TWO = 2.0\n")
    return tmp_path


def run(folder: Path, *options: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gradverify", "run", "a.grad.yaml", *options], cwd=folder, capture_output=True, text=True,
        env={**os.environ, **environment}, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


KEPT = "kept from an earlier run, and not judged again: {} of 3 verdicts"


def test_what_passed_is_not_judged_again_and_what_failed_is(project: Path) -> None:
    first = run(project, "--cache")
    assert "kept from an earlier run" not in first
    again = run(project, "--cache")
    assert KEPT.format(2) in again
    assert "FAIL (claim): off" in again
    assert [line for line in again.splitlines() if not line.startswith("kept")] == first.splitlines()
    assert "kept" not in run(project)


def test_a_function_is_judged_again_when_a_module_that_it_imports_changes(project: Path) -> None:
    run(project, "--cache")
    (project / "helper.py").write_text("TWO = 3.0\n")
    changed = run(project, "--cache")
    assert "FAIL (wrong): mine on numpy" in changed
    assert KEPT.format(1) in changed or "kept" not in changed
    (project / "helper.py").write_text("TWO = 2.0\n")
    assert KEPT.format(2) in run(project, "--cache")


def test_another_point_seed_or_dtype_is_judged(project: Path) -> None:
    run(project, "--cache")
    assert "kept" not in run(project, "--cache", "--seed", "1")
    (project / "a.grad.yaml").write_text(
        SPEC.replace("[0.5, -2.0]", "[0.5, -2.5]").replace("[1.5, -0.5]", "[1.5, 0.5]")
    )
    assert "kept" not in run(project, "--cache")


def test_the_settings_file_asks_for_it(project: Path) -> None:
    (project / "gradverify.toml").write_text("cache = true\n")
    run(project)
    assert KEPT.format(2) in run(project)
    assert "kept" not in run(project, "--no-cache")
    assert KEPT.format(2) in run(project, GRADVERIFY_OPTIONS="cache")


def test_pytest_keeps_them_too(project: Path) -> None:
    def pytest_run() -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--gradverify", "--gradverify-cache"]
        return subprocess.run(
            [*command, "a.grad.yaml"], cwd=project, capture_output=True, text=True, check=False
        ).stdout

    assert "kept" not in pytest_run()
    assert KEPT.format(2) in pytest_run()


def test_a_function_in_another_process_is_not_kept(project: Path) -> None:
    for _ in range(2):
        shown = run(project, "--cache", "--isolate", "60")
    assert KEPT.format(1) in shown


# ---- the key, the file ---------------------------------------------------------------------------------------------


def case_of(text: str = SPEC, k: int = 0) -> Any:
    return loads(text).cases[k].case("float64")


def judged(outcome: Outcome = Outcome.PASS, **given: Any) -> Verdict:
    return Verdict(outcome, "gate", "engine", "float64", **given)


def nobody() -> Verdict:
    raise AssertionError("it is judged again")


def test_a_key_tells_all_that_a_verdict_depends_on_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of()
    x = case.values["x"]
    others = [
        replace(case, name="other"), replace(case, dtype="float32"), replace(case, wrt=("x",)),
        replace(case, invariants=("linearity",)), replace(case, values={**case.values, "x": np.nextafter(x, 9.0)}),
        replace(case, values={**case.values, "x": x.astype(np.float32)}),
        replace(case, values={**case.values, "x": np.stack([x, x], 1)[:, 0]}),  # the same numbers, strided
        replace(case, cotangent=tuple(-g for g in case.cotangent)),
        replace(case, graph=case_of(SPEC.replace("tanh", "sin")).graph),
        replace(case, claims=case_of(k=2).claims), replace(case, expect="fail"), replace(case, placed=frozenset({"x"})),
    ]  # fmt: skip
    keys = [key_of(c, "engine", "cpu", 0) for c in (case, *others)]
    keys += [key_of(case, "torch", "cpu", 0), key_of(case, "engine", "cuda", 0), key_of(case, "engine", "cpu", 1)]
    monkeypatch.setattr(cache, "environment", lambda: "another version")
    keys.append(key_of(case, "engine", "cpu", 0))
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert key_of(case_of(), "engine", "cpu", 0) == keys[0]


def test_the_environment_has_the_versions_and_our_source(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity.environment.__wrapped__()
    assert identity.environment.__wrapped__() == before
    monkeypatch.setattr(identity, "code", lambda: "another")
    assert identity.environment.__wrapped__() != before
    monkeypatch.undo()
    monkeypatch.setattr(identity, "distributions", lambda: ())
    assert identity.environment.__wrapped__() != before


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.PASS])
def test_only_a_pass_is_kept(outcome: Outcome, tmp_path: Path) -> None:
    kept = Cache(tmp_path / "v.sqlite")
    kept.judge(case_of(), "engine", lambda: judged(outcome))
    assert kept.judge(case_of(), "engine", judged).outcome is Outcome.PASS


def test_a_real_verdict_comes_back_whole(tmp_path: Path) -> None:
    from gradverify.run.runner import judge_case

    kept, case = Cache(tmp_path / "v.sqlite"), case_of()
    first = kept.judge(case, "engine", lambda: judge_case(case, "engine"))
    again = kept.judge(case, "engine", nobody)
    assert again.facts[CACHED]
    was, now = first.to_dict(), again.to_dict()
    for data in (was, now):
        for key in ("facts", "seconds", "forward", "backward"):
            del data[key]
    assert now == was
    assert str(again) == str(first)
    assert again.text() == first.text()


@pytest.mark.parametrize("text", ["", "{}", '{"outcome": "FAIL"}', '{"outcome": "PASS"}', "[]", "nonsense"])
def test_what_cannot_be_read_is_judged(text: str, tmp_path: Path) -> None:
    file, case = tmp_path / "v.sqlite", case_of()
    Cache(file).judge(case, "engine", judged)
    with sqlite3.connect(file) as base:
        base.execute("UPDATE verdicts SET verdict = ?", (text,))
    verdict = Cache(file).judge(case, "engine", lambda: judged(message="anew"))
    assert verdict.message == "anew"


def test_a_file_that_is_no_database_and_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "v.sqlite").write_bytes(b"not a database " * 100)
    (tmp_path / "plain").write_text("")
    for file in (tmp_path / "v.sqlite", tmp_path / "plain" / "v.sqlite"):
        for _ in range(2):
            assert Cache(file).judge(case_of(), "engine", lambda: judged(message="anew")).message == "anew"


def test_facts_that_are_no_plain_data_are_not_kept(tmp_path: Path) -> None:
    kept = Cache(tmp_path / "v.sqlite")
    kept.judge(case_of(), "engine", lambda: judged(facts={"a": object()}))
    assert kept.judge(case_of(), "engine", lambda: judged(message="anew")).message == "anew"


def test_libraries_that_are_loaded_are_files_of_the_project(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.path.insert(0, '.')\nimport mine\n"
        "from gradverify.run.identity import loaded_files\nprint(*loaded_files(), sep='\\n')\n"
    )
    (tmp_path / "mine.py").write_text("import numpy\n")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [str((tmp_path / "mine.py").resolve())]
