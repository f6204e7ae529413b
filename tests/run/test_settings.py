"""Who says a setting last: file, profile, environment, command line; limits, replay by id, compare, --plugin."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gradverify.cli import Exit, main
from gradverify.core.errors import GradverifyError
from gradverify.report.compared import compare
from gradverify.run.config import EFFORT, OPTIONS, PROFILE, default_effort, read_config, read_environment, with_effort
from tests import test_cli  # registers `off`

CASES = "".join(
    f"  - {{name: c{i}, expr: sum(exp(x)), inputs: {{x: [{i}.5]}}, subjects: [{test_cli.Off.name}], dtypes: [float64]}}\n"
    for i in range(4)
)


def call(*args: str, **env: str) -> Result:
    return CliRunner().invoke(main, args, env={"COLUMNS": "120", **env})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a.grad.yaml").write_text(f"gradverify: 1\ncases:\n{CASES}")
    monkeypatch.chdir(tmp_path)
    for name in (OPTIONS, PROFILE, EFFORT):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def settings(*args: str, **env: str) -> dict[str, Any]:
    result = call(*args, "--report", "json:r.json", **env)
    assert result.exit_code in (Exit.OK, Exit.FAIL), result.output
    found: dict[str, Any] = json.loads(Path("r.json").read_text())["settings"]
    return found


def test_the_last_word(folder: Path) -> None:
    run = ("run", "a.grad.yaml")
    assert settings(*run)["seed"] == 0
    (folder / "pyproject.toml").write_text('[tool.gradverify]\nseed = 1\nfail_on = "weak"\n')
    assert (settings(*run)["seed"], settings(*run)["fail_on"]) == (1, "weak")
    (folder / "gradverify.toml").write_text("seed = 2\n[profiles.mine]\nseed = 3\nstrict = true\n")
    assert settings(*run)["seed"] == 2
    assert settings("--profile", "mine", *run)["seed"] == 3
    assert settings(*run, **{PROFILE: "mine"})["strict"] is True
    assert settings("--profile", "mine", *run, **{OPTIONS: "seed=4"})["seed"] == 4
    assert settings(*run, "--seed", "5", **{OPTIONS: "seed=4 dtypes=float64,float32"})["seed"] == 5
    assert settings(*run, **{OPTIONS: "'fail_on=fail, weak' strict"})["strict"] is True


def test_reports_of_the_file_are_written(folder: Path) -> None:
    (folder / "gradverify.toml").write_text('report = ["json:a.json", "junit:b.xml"]\n')
    call("run", "a.grad.yaml")
    assert (folder / "a.json").exists()
    assert (folder / "b.xml").exists()


def test_profiles_are_there_without_a_file(tmp_path: Path) -> None:
    assert read_config(tmp_path, "dev")["effort"] == "quick"
    assert read_config(tmp_path, "thorough")["examples"] > read_config(tmp_path, "ci")["examples"]
    (tmp_path / "gradverify.toml").write_text('profile = "ci"\n[profiles.ci]\nseed = 9\n')
    assert read_config(tmp_path) == {"effort": "normal", "examples": 100, "seed": 9}
    with pytest.raises(GradverifyError, match="did you mean 'dev'"):
        read_config(tmp_path, "devv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = -1", "seed is a whole number"),
        ("seed = true", "seed is a whole number"),
        ("strict = 1", "strict is true or false"),
        ("subjects = []", "subjects is text or a list"),
        ("device = 3", "device is text"),
        ("sead = 3", "did you mean 'seed'"),
        ("[profiles.x]\nsead = 3", "did you mean 'seed'"),
        ("profiles = 3", "gradverify.toml"),
        ('profile = "x"', "unknown profile 'x'"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(folder: Path, text: str, said: str) -> None:
    (folder / "gradverify.toml").write_text(text + "\n")
    result = call("run", "a.grad.yaml")
    assert result.exit_code == Exit.USAGE
    assert said in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"), [("sead=3", "did you mean 'seed'"), ("seed=x", "seed is"), ("'", "quotation")]
)
def test_the_variable_is_named(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setenv(OPTIONS, text)
    with pytest.raises(GradverifyError, match=f"{OPTIONS}: .*{said}"):
        read_environment()


def test_the_effort_of_a_profile_lasts_as_long_as_the_run(folder: Path) -> None:
    with with_effort("quick"):
        assert default_effort() == "quick"
    assert EFFORT not in os.environ
    call("--profile", "dev", "run", "a.grad.yaml")
    assert EFFORT not in os.environ


# ---- limits


def test_a_run_ends_after_so_many_failures(folder: Path) -> None:
    result = call("run", "a.grad.yaml", "--max-failures", "2", "--report", "json:r.json")
    assert result.exit_code == Exit.FAIL
    assert "stopped after 2 failures (--max-failures): 2 not begun" in result.output
    data = json.loads((folder / "r.json").read_text())
    assert (len(data["results"]), data["interrupted"], data["ok"]) == (2, True, False)


def test_what_was_not_begun_for_want_of_time_is_no_success(folder: Path) -> None:
    (folder / "a.grad.yaml").write_text(f"gradverify: 1\ncases:\n{CASES.replace('off', 'engine')}")
    assert call("run", "a.grad.yaml").exit_code == Exit.OK
    result = call("run", "a.grad.yaml", "--max-time", "0")
    assert result.exit_code == Exit.FAIL
    assert "(--max-time): 4 not begun" in result.output
    # Random graphs are as many as there is time for.
    graphs = call("run", ".", "--subjects", "engine", "--examples", "3", "--max-time", "100")
    assert graphs.exit_code == Exit.OK


# ---- the last run, two runs


def test_replay_by_part_of_an_id(folder: Path) -> None:
    nothing = call("replay", "c1")
    assert (nothing.exit_code, "no run has left anything" in nothing.output) == (Exit.USAGE, True)
    call("run", "a.grad.yaml")
    again = call("replay", "::c1[", "--report", "json:r.json")
    assert again.exit_code == Exit.FAIL
    assert [r["id"] for r in json.loads((folder / "r.json").read_text())["results"]] == ["a.grad.yaml::c1[off-float64]"]
    assert call("replay", "nonsense").exit_code == Exit.USAGE
    # What was replayed is not the last run: the others are there still.
    assert call("replay", "::c2[").exit_code == Exit.FAIL


def one(id: str, outcome: str, share: float, kind: str | None = None) -> dict[str, Any]:
    return {"id": id, "verdict": {"outcome": outcome, "kind": kind, "share": share}}


def test_two_reports_are_compared() -> None:
    before = {"results": [one("a", "PASS", 0.1), one("b", "FAIL", 50.0, "wrong"), one("c", "WEAK", 30.0),
                          one("d", "WEAK", 30.0), one("e", "PASS", 0.1), one("gone", "PASS", 0.1)]}  # fmt: skip
    after = {"results": [one("a", "FAIL", 5.0, "wrong"), one("b", "PASS", 0.2), one("c", "WEAK", 300.0),
                         one("d", "WEAK", 31.0), one("e", "PASS", 0.9), one("new", "FAIL", 5.0, "law")]}  # fmt: skip
    found = compare(before, after)
    assert [line.split(":")[0] for line in found.worse] == ["a", "c"]
    assert [line.split(":")[0] for line in found.better] == ["b"]
    assert (found.only_before, found.only_after) == (["gone: PASS"], ["new: FAIL (law), 5 budgets off"])
    assert found.same == 2
    back = compare(after, before)
    assert ([x[0] for x in back.worse], [x[0] for x in back.better]) == (["b"], ["a", "c"])
    assert compare(before, before).same == 6


def test_compare_on_the_command_line(folder: Path) -> None:
    call("run", "a.grad.yaml", "--report", "json:off.json")
    (folder / "a.grad.yaml").write_text(f"gradverify: 1\ncases:\n{CASES}".replace("exp(x)", "x * x"))
    call("run", "a.grad.yaml", "--report", "json:right.json")
    worse = call("compare", "right.json", "off.json")
    assert worse.exit_code == Exit.FAIL
    assert worse.output.startswith("worse: 4\n  a.grad.yaml::c0[off-float64]: PASS, now FAIL (precision), ")
    better = call("compare", "off.json", "right.json")
    assert (better.exit_code, better.output.splitlines()[0]) == (Exit.OK, "better: 4")


def test_a_module_registers_a_framework(folder: Path) -> None:
    (folder / "registers.py").write_text(
        "from gradverify.frameworks import register\n"
        "from gradverify.frameworks.engine.adapter import EngineFramework\n"
        "class Mine(EngineFramework):\n    name = 'mine-by-plugin'\n"
        "register(Mine())\n"
    )
    (folder / "a.grad.yaml").write_text("gradverify: 1\ncases:\n  - {name: c, expr: x * x, inputs: {x: 1.5}}\n")
    args = ("run", "a.grad.yaml", "--subjects", "mine-by-plugin")
    assert call(*args).exit_code == Exit.USAGE
    result = call("--plugin", "registers", *args)
    assert result.exit_code == Exit.OK, result.output
    bad = call("--plugin", "registers_not", *args)
    assert bad.exit_code == Exit.USAGE
    assert "--plugin registers_not cannot be imported: ModuleNotFoundError" in bad.output
