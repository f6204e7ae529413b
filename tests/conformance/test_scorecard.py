"""Scorecards: outcomes, stale deviations, the command, the pytest option, the page in the docs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from gradverify.cli import main
from gradverify.conformance import deviations, scorecard
from gradverify.conformance.deviations import Deviation
from gradverify.conformance.engines import ENGINES, find
from gradverify.conformance.law import laws
from gradverify.conformance.scorecard import MACHINE, Standing, judge, judge_machine
from gradverify.core.errors import UnknownName
from gradverify.core.outcome import GatePolicy

from .broken import BROKEN

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parent.parent.parent / "docs" / "conformance.md"
ENGINE = find("engine")


@pytest.fixture
def overwrites() -> object:
    return next(b for b in BROKEN if b.name == "overwrites_grad").load()


def test_a_broken_law_is_not_ok(overwrites: object) -> None:
    line = judge(laws()["adds_across_calls"], overwrites)  # type: ignore[arg-type]
    assert line.standing is Standing.BROKEN
    assert line.why == "expected 8.0, got 2.0"
    assert line.script[-1] == "assert x.grad.tolist() == 8.0  # got 2.0"
    assert not line.tell("e", GatePolicy()).ok


def test_a_known_deviation_is_ok_and_says_why(overwrites: object, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (Deviation("broken_overwrites_grad", "adds_across_calls", "made so"),)
    monkeypatch.setattr(deviations, "DEVIATIONS", listed)
    line = judge(laws()["adds_across_calls"], overwrites)  # type: ignore[arg-type]
    assert (line.standing, line.why) == (Standing.KNOWN, "made so")
    assert line.tell("e", GatePolicy()).ok
    assert not line.tell("e", GatePolicy(strict=True)).ok


def test_a_stale_deviation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deviations, "DEVIATIONS", (Deviation("engine", "adds_across_calls", "once"),))
    line = judge(laws()["adds_across_calls"], ENGINE)
    assert line.standing is Standing.STALE
    assert not scorecard.scorecard(ENGINE, ["adds_across_calls"]).ok


def test_what_is_lacked_is_named() -> None:
    line = judge(laws()["removed_hook_is_gone"], ENGINES["jax"])
    assert (line.standing, line.why) == (Standing.LACKS, "hooks")
    assert judge_machine(ENGINES["jax"], 10).standing is Standing.LACKS


def test_the_machine_is_a_line_of_the_card(overwrites: object) -> None:
    line = judge_machine(overwrites, 2000)  # type: ignore[arg-type]
    assert (line.law, line.standing) == (MACHINE, Standing.BROKEN)
    assert line.script


def run(*args: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["conformance", *args])
    return done.exit_code, done.output


def test_the_command_writes_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    code, said = run("engine", "--steps", "50", "--json", str(path), "--markdown", str(tmp_path / "card.md"))
    assert code == 0
    assert said.startswith("engine ")
    data = json.loads(path.read_text(encoding="utf-8"))["conformance"][0]
    assert data["ok"] is True
    assert [x["law"] for x in data["laws"]] == [*laws(), MACHINE]
    assert "| **adds_across_paths**" in (tmp_path / "card.md").read_text(encoding="utf-8")


def test_one_law() -> None:
    assert run("engine", "--law", "adds_across_paths") == (0, f"engine {ENGINE.release()}: 1 holds\n")


def test_unknown_names_are_usage_errors() -> None:
    assert run("nonsense")[0] == 2
    assert run("engine", "--law", "nonsense")[0] == 2
    with pytest.raises(UnknownName, match="torch"):
        find("torhc")


def test_a_broken_engine_fails_the_command(overwrites: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradverify.conformance import engines

    monkeypatch.setattr(engines, "ENGINES", {**ENGINES, "bad": overwrites})
    code, said = run("bad", "--steps", "0")
    assert code == 1
    assert "adds_across_calls: broken: expected 8.0, got 2.0" in said


def test_the_pytest_option(pytester: pytest.Pytester) -> None:
    pytest.importorskip("micrograd")
    done = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "--gradverify-conformance=micrograd", "-rx")
    counts = done.parseoutcomes()
    assert counts["passed"] >= 8
    assert counts["xfailed"] == 1
    assert done.ret == 0


def test_the_pytest_option_wants_a_known_engine(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_subprocess("--gradverify-conformance=nonsense")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--gradverify-conformance:*nonsense*"])


def test_the_page_is_of_these_laws() -> None:
    """Regenerate it with the command in its first lines."""
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name in laws() if f"**{name}** {' '.join(laws()[name].doc.split())}" not in page]
    assert not missing
    assert page.count("\n| **") == len(laws()) + 1
    head = next(line for line in page.splitlines() if line.startswith("| | "))
    assert head.count("|") - 2 >= 5


def card(*standings: Standing, ok: bool = True) -> scorecard.Scorecard:
    lines = tuple(scorecard.Line(f"law{i}", s) for i, s in enumerate(standings))
    return scorecard.Scorecard("e", "1", lines, ok)


@pytest.mark.parametrize(
    ("made", "message", "colour"),
    [
        (card(Standing.HOLDS, Standing.HOLDS, Standing.LACKS), "2 of 2 laws", "brightgreen"),
        (card(Standing.HOLDS, Standing.KNOWN), "1 of 2 laws", "yellow"),
        (card(Standing.HOLDS, Standing.BROKEN, Standing.LACKS, ok=False), "1 of 2 laws", "red"),
        (card(Standing.LACKS), "no law judged", "lightgrey"),
    ],
)
def test_a_badge_counts_the_laws_that_the_engine_has_the_means_for(
    made: scorecard.Scorecard, message: str, colour: str
) -> None:
    assert json.loads(scorecard.badge(made)) == {
        "schemaVersion": 1, "label": "gradients", "message": message, "color": colour,
    }  # fmt: skip


def test_the_command_writes_a_badge_of_one_engine(tmp_path: Path) -> None:
    page = (PAGE.parent / "howto" / "own-engine.md").read_text()
    for name in ("tape.py", "laws.py"):
        (tmp_path / name).write_text(page.partition(f"```python\n# {name}\n")[2].partition("```")[0])
    path = tmp_path / "badge.json"
    mine = ["--engine", f"{tmp_path / 'laws.py'}:ENGINE"]
    result = CliRunner().invoke(main, ["conformance", *mine, "--badge", str(path)])
    assert result.exit_code == 0, result.output
    made = json.loads(path.read_text())
    assert made["color"] == "brightgreen"
    holds, _, asked = made["message"].removesuffix(" laws").partition(" of ")
    assert holds == asked
    assert f"{holds} holds" in result.output
    for more in (["--law", "adds_across_calls"], ["engine"]):
        refused = CliRunner().invoke(main, ["conformance", *mine, *more, "--badge", str(tmp_path / "b.json")])
        assert refused.exit_code == 2
        assert "one engine" in refused.output
        assert not (tmp_path / "b.json").exists()


def test_every_link_of_the_page_is_an_address() -> None:
    """A source may have words before its address: they stand before the link."""
    links = re.findall(r"\]\(([^)]*)\)", PAGE.read_text(encoding="utf-8"))
    assert links
    assert all(re.fullmatch(r"https?://\S+|[\w./#-]+", link) for link in links)
    assert scorecard._link("https://a.org/b") == "[a.org](https://a.org/b)"
    assert scorecard._link("Schwarz; https://a.org/b#c") == "Schwarz [a.org](https://a.org/b#c)"
