"""Campaigns: what the processes judge, what the log keeps, and what is done about crashes, hangs and other logs."""

from __future__ import annotations

import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from gradverify.cli import Exit, main
from gradverify.core.errors import GradverifyError, UnknownName
from gradverify.core.outcome import GatePolicy
from gradverify.core.verdict import Culprit, Outcome
from gradverify.frameworks import register
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.frameworks.registry import find, reload
from gradverify.generate.campaign import seeded_case
from gradverify.generate.structure import limits
from gradverify.report import console
from gradverify.report.campaign import Tally, findings, markdown, plain
from gradverify.report.console import CampaignProgress
from gradverify.run import crew, scheduling
from gradverify.run.campaign import log as logs
from gradverify.run.campaign import model as campaigns
from gradverify.run.campaign import workers
from gradverify.run.campaign.model import Campaign, Combo
from gradverify.run.events import Event, JobJudged, RunFinished, RunStarted
from gradverify.run.runner import Settings, judge_case
from gradverify.spec.document import loads

SHAKY = '''
import os, sys, time
from dataclasses import replace
from pathlib import Path
from gradverify.frameworks.engine.adapter import EngineFramework

class Shaky(EngineFramework):
    """The engine, that does what SHAKY says, on the first graph with this many nodes (or on all)."""
    name = "shaky"

    def run_vjp(self, function, values, wrt, cotangent):
        what, once = os.environ["SHAKY"].split(":")
        seen = super().run_vjp(function, values, wrt, cotangent)
        if once:
            if Path(once).exists():
                return seen
            Path(once).touch()
        if what == "abort":
            print("famous last words", file=sys.stderr, flush=True)
            os.abort()
        if what == "exit":
            os._exit(7)
        if what == "hang":
            time.sleep(600)
        if what == "break":
            return replace(seen, gradients=None)
        if what == "wrong":
            scaled = {n: None if g is None else g * g.dtype.type(1.5) for n, g in seen.gradients.items()}
            return replace(seen, gradients=scaled)
        return seen
'''


@pytest.fixture
def shaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A subject with an entry point, so that spawned processes find it, and what it is to do."""
    site = tmp_path / "site"
    (site / "shaky-1.0.dist-info").mkdir(parents=True)
    (site / "shaky.py").write_text(SHAKY)
    (site / "shaky-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: shaky\nVersion: 1.0\n")
    (site / "shaky-1.0.dist-info" / "entry_points.txt").write_text("[gradverify.frameworks]\nshaky = shaky:Shaky\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    reload()

    def does(what: str, once: bool = True) -> None:
        monkeypatch.setenv("SHAKY", f"{what}:{tmp_path / what if once else ''}")

    yield does
    monkeypatch.undo()
    reload()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge in this process: for tests that are not about processes."""

    def judge_tasks(work: workers.Judging, tasks: Iterator[scheduling.Task]) -> Iterator[scheduling.Entry]:
        work.prepare()
        for task in tasks:
            yield from map(work.do, task)

    monkeypatch.setattr("gradverify.cli.campaign.named", lambda where, jobs: judge_tasks)


def call(*args: str) -> Result:
    return CliRunner().invoke(main, ["campaign", *args], env={"COLUMNS": "120"})


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def small(*subjects: str, graphs: int = 3, dtypes: tuple[str, ...] = ("float64",), **how: Any) -> Campaign:
    return campaigns.campaign(Settings(subjects=subjects, dtypes=dtypes), range(graphs), **how)


def by_case(found: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {(e["i"], e["subject"], e["dtype"]): (e["is"], e.get("reason")) for e in found if "i" in e}


def test_every_subject_in_every_dtype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph or two each; page and log say what was judged, and given again nothing is left to do."""
    monkeypatch.setattr(console, "SAID_EVERY", math.inf)  # else a slow machine says meanwhile how far it is
    log, page = tmp_path / "a.jsonl", tmp_path / "a.md"
    args = ("--graphs", "6", "--spread", "dtypes", "--log", str(log), "--markdown", str(page))
    result = call(*args)
    assert result.exit_code == Exit.OK, result.output
    combos = {(e["subject"], e["dtype"]) for e in entries(log)[1:]}
    assert combos >= {("engine", d) for d in campaigns.DTYPES}
    assert len(entries(log)) == 1 + len(combos)
    said = re.search(
        r"6 random graphs; 6 cases .*?; (\d+) verdicts(?:.*and (\d+) that a subject cannot run)?", result.output
    )
    assert said is not None, result.output
    assert sum(map(int, filter(None, said.groups()))) == len(combos)
    assert "| engine | bfloat16 | 1 |" in page.read_text()
    assert "gradverify campaign --graphs 6 --spread dtypes --log a.jsonl --markdown a.md" in page.read_text()
    assert str(tmp_path) not in page.read_text()
    before = log.read_bytes()
    again = call(*args)
    assert (again.exit_code, log.read_bytes()) == (Exit.OK, before)
    assert again.output == result.output


@pytest.mark.slow
def test_a_longer_campaign(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if "slow" not in request.config.option.markexpr:
        pytest.skip("minutes: run with -m slow")
    result = call("--graphs", "300", "--spread", "dtypes", "--jobs", str(os.cpu_count() or 1), "--seed", "4")
    assert result.exit_code == Exit.OK, result.output


def test_entries_are_the_runner_s_verdicts(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    dtypes = "float16,float64,complex64"
    assert call("--graphs", "3", "--subjects", "engine", "--dtypes", dtypes, "--log", str(log)).exit_code == Exit.OK
    found = by_case(entries(log))
    assert len(found) == 9
    for (i, subject, dtype), (status, reason) in found.items():
        verdict = judge_case(seeded_case(0, i, dtype, limits(None)), subject)
        assert (status, reason) == (verdict.outcome.value, verdict.reason and verdict.reason.name.lower())


def test_how_many_processes_changes_nothing(tmp_path: Path) -> None:
    for jobs in "12":
        args = ("--subjects", "engine", "--dtypes", "float64", "--jobs", jobs, "--log", str(tmp_path / jobs))
        assert call("--graphs", "6", *args).exit_code == Exit.OK
    one, two = (entries(tmp_path / jobs) for jobs in "12")
    assert by_case(one) == by_case(two)
    assert len(one) == len(two) == 7


def test_ctrl_c_ends_the_processes_and_keeps_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    command = [sys.executable, "-m", "gradverify", "campaign", "--subjects", "engine", "--log", str(log)]
    # A suite that runs in the background of a shell ignores SIGINT, and so would what it starts.
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=heard)
    for _ in range(600):
        if log.exists() and log.read_bytes().count(b"\n") > 3:
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == Exit.INTERRUPTED
    size = log.stat().st_size
    assert "verdicts (case × subject)" in output
    assert output.endswith("interrupted\n")
    assert all("i" in e or "campaign" in e for e in entries(log))
    assert log.stat().st_size == size


def test_a_process_makes_room_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "LIFE", 2)
    started = []
    start = crew._Spawned.start
    monkeypatch.setattr(crew._Spawned, "start", lambda self: (started.append(1), start(self)))
    c = small("engine", graphs=5)
    events: list[Event] = []
    workers.run_campaign(c, [events.append])
    assert [e.job.number for e in events if isinstance(e, JobJudged)] == list(range(5))
    assert [type(e) for e in (events[0], events[-1])] == [RunStarted, RunFinished]
    assert len(started) == 3


def test_an_interrupted_log_is_continued(here: None, tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    args = ("--graphs", "4", "--subjects", "engine", "--dtypes", "float32,float64", "--log", str(log))
    assert call(*args).exit_code == Exit.OK
    whole = entries(log)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:4]) + lines[4][:11])  # killed in the middle of a line
    result = call(*args)
    assert result.exit_code == Exit.OK
    assert by_case(entries(log)) == by_case(whole)
    assert ["i" in e for e in entries(log)] == [False, True, True, True, False, *[True] * 5]
    more = call(*args[2:], "--graphs", "5")
    assert "5 random graphs; 10 cases" in more.output
    assert len(entries(log)) == 10 + 1 + 2


def test_a_log_of_several_states_of_the_code_says_so(tmp_path: Path) -> None:
    c = small("engine")
    with logs.Log(tmp_path / "a", c) as log:
        log.append({"i": 0, "subject": "engine", "dtype": "float64", "is": "PASS", "s": 1.0})
    head, entry = (tmp_path / "a").read_text().splitlines()
    head, entry = head.replace(logs.code(), "0123"), entry.replace('"i":0', '"i":1')
    (tmp_path / "a").write_text((tmp_path / "a").read_text() + f"{head}\n{entry}\n{entry}\n")
    tally = Tally(c)
    with logs.Log(tmp_path / "a", c) as log:
        for line in logs.read_log(c, log):
            tally(logs.to_event(line, c.seed, c.policy))
    assert tally.graphs == {0, 1}
    assert tally.total.counts[Outcome.PASS] == 2  # a line that is there twice counts once
    assert f"The log was written by 2 states of gradverify's code ({logs.code()}, 0123)." in plain(tally)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("--seed", "3"), "a log of another seed (0, not 3): give another --log"),
        (("--dtypes", "float32"), None),  # other dtypes and subjects belong to the same campaign
    ],
)
def test_a_log_of_another_campaign_is_refused(
    here: None, tmp_path: Path, change: tuple[str, ...], why: str | None
) -> None:
    log = tmp_path / "a.jsonl"
    args = ("--graphs", "1", "--subjects", "engine", "--dtypes", "float64", "--log", str(log))
    assert call(*args).exit_code == Exit.OK
    before = log.read_bytes()
    result = call(*args, *change)
    if why is None:
        assert result.exit_code == Exit.OK, result.output
        return
    assert (result.exit_code, result.output) == (Exit.USAGE, f"error: {log}:1: {why}\n")
    assert log.read_bytes() == before


def test_a_log_of_another_version_of_a_framework_is_refused(tmp_path: Path) -> None:
    c = small("engine")
    head = logs.head(c)
    (tmp_path / "a").write_text(json.dumps(head | {"versions": head["versions"] | {"numpy": "1.0"}}) + "\n")
    with pytest.raises(GradverifyError, match=r"another version of numpy \(1\.0, not "):
        logs.Log(tmp_path / "a", c)
    (tmp_path / "a").write_text(json.dumps(head | {"campaign": 99}) + "\n")
    with pytest.raises(GradverifyError, match=r"another format \(99, not "):
        logs.Log(tmp_path / "a", c)


@pytest.mark.parametrize("text", ["not a log\n", "not a log", '{"i": 3}\n', "[1]\n", '{"campaign":\n'])
def test_what_is_no_log_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    log = tmp_path / "a.txt"
    log.write_text(text)
    result = call("--graphs", "1", "--subjects", "engine", "--log", str(log))
    assert (result.exit_code, result.output) == (Exit.USAGE, f"error: {log}:1: not the log of a campaign\n")
    assert log.read_text() == text


@pytest.mark.parametrize("option", ["--log", "--markdown"])
def test_what_cannot_be_written_is_found_at_once(tmp_path: Path, option: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a"  # a folder that is a file, which stops root as well
    result = call("--graphs", "100000", "--subjects", "engine", option, str(path))
    assert result.exit_code == Exit.USAGE
    assert result.output.startswith(f"error: {path}: cannot be written: ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--subjects", "tourch"), "unknown subject 'tourch'; did you mean 'torch'?"),
        (("--dtypes", "float63"), "unknown dtype 'float63'; did you mean"),
        (("--subjects", "torch", "--device", "cuda", "--dtypes", "float64"), "torch cannot be judged here: "),
        (("--only", "x"), "'x' is no list of graphs' numbers"),
        (("--only", "1", "--log", "a"), "give it without --log"),
        (("--graphs", "0"), "Invalid value for '--graphs'"),
        (("--limit", "0"), "Invalid value for '--limit'"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "cuda" in args and find("torch", "cuda").unavailable() is None:
        pytest.skip("there is a GPU")
    result = call(*args)
    assert (result.exit_code, said in result.output) == (Exit.USAGE, True), result.output
    assert not list(tmp_path.iterdir())


def test_nothing_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName):
        small("nonsense")
    with pytest.raises(GradverifyError, match="no graphs"):
        small("engine", graphs=0)
    monkeypatch.setattr(EngineFramework, "dtypes", ("float64",))
    with pytest.raises(GradverifyError, match="none of the subjects computes in any of the dtypes"):
        small("engine", dtypes=("float16",))
    assert small("engine", dtypes=("float16", "complex128")).combos == (("engine", "complex128"),)


def test_a_subject_that_only_this_process_knows_is_refused() -> None:
    class Here(EngineFramework):
        name = "only-here"

    register(Here())
    result = call("--graphs", "1", "--subjects", "only-here")
    assert result.exit_code == Exit.USAGE
    assert "a process cannot start: UnknownName: unknown subject 'only-here'" in result.output


@pytest.mark.parametrize(("what", "ended"), [("abort", "SIGABRT"), ("exit", "exit code 7")])
def test_a_crash_costs_one_verdict(shaky: Callable[..., None], tmp_path: Path, what: str, ended: str) -> None:
    shaky(what)
    result = call("--graphs", "3", "--subjects", "shaky,engine", "--dtypes", "float32", "--log", "a.jsonl")
    assert result.exit_code == Exit.FAIL, result.output
    found = [e for e in entries(tmp_path / "a.jsonl") if "i" in e]
    assert sorted((e["i"], e["subject"]) for e in found) == [(i, s) for i in range(3) for s in ("engine", "shaky")]
    assert [(e["i"], e["subject"]) for e in found if e["is"] != "PASS"] == [(0, "shaky")]
    (crash,) = (e for e in found if e["is"] == "crash")
    assert crash["message"] == f"the process ended with {ended}"
    if what == "abort":
        assert "famous last words" in crash["text"]
        assert "Fatal Python error: Aborted" in crash["text"]  # and where: faulthandler's stack
    loads(crash["spec"]).cases[0].case("float32")
    assert "again: gradverify campaign --seed 0 --only 0 --subjects shaky --dtypes float32" in result.output
    assert "No wrong FAIL" in result.output  # a crash is none
    assert call("--graphs", "3", "--subjects", "engine", "--dtypes", "float32", "--log", "a.jsonl").exit_code == Exit.OK


def test_a_hang_costs_one_verdict(shaky: Callable[..., None], tmp_path: Path) -> None:
    shaky("hang")
    args = ("--subjects", "shaky", "--dtypes", "float64", "--limit", "1", "--log", "a.jsonl")
    assert call("--graphs", "3", *args).exit_code == Exit.FAIL
    found = [e for e in entries(tmp_path / "a.jsonl") if "i" in e]
    assert [(e["i"], e["is"]) for e in found] == [(0, "hang"), (1, "PASS"), (2, "PASS")]
    assert found[0]["message"] == "no verdict within 1 s"
    assert 'shaky.py", line' in found[0]["text"]  # where it hung
    loads(found[0]["spec"])


def test_an_error_of_ours_is_no_verdict(shaky: Callable[..., None], tmp_path: Path) -> None:
    shaky("break")
    assert (
        call("--graphs", "2", "--subjects", "shaky", "--dtypes", "float64", "--log", "a.jsonl").exit_code == Exit.FAIL
    )
    _, error, ok = entries(tmp_path / "a.jsonl")
    assert (error["is"], ok["is"]) == ("error", "PASS")
    assert error["message"].startswith("AttributeError: 'NoneType'")
    assert "Traceback" in error["text"]
    loads(error["spec"])


def test_a_wrong_fail_is_told_with_its_spec_and_judged_again_by_its_number(
    shaky: Callable[..., None], tmp_path: Path
) -> None:
    shaky("wrong", once=False)
    result = call(
        "--graphs", "2", "--subjects", "shaky", "--dtypes", "float64", "--log", "a.jsonl", "--markdown", "a.md"
    )
    assert result.exit_code == Exit.FAIL, result.output
    wrong = entries(tmp_path / "a.jsonl")[2]
    assert (wrong["i"], wrong["is"], wrong["kind"]) == (1, "FAIL", "wrong")
    case = loads(wrong["spec"]).cases[0].case("float64")
    assert judge_case(case, "shaky").outcome is Outcome.FAIL
    assert judge_case(case, "engine").outcome is Outcome.PASS
    page = (tmp_path / "a.md").read_text()
    assert "### FAIL: graph 1, shaky, float64" in page
    assert wrong["spec"].strip() in page
    assert "No wrong FAIL" not in page
    again = call("--only", "1", "--subjects", "shaky,engine", "--dtypes", "float64")
    assert again.exit_code == Exit.FAIL
    assert wrong["spec"].strip() in again.output
    assert "PASS: graph 1 on engine in float64" in again.output


def test_spread_gives_each_graph_to_one() -> None:
    combos = tuple(Combo(s, d) for s in ("a", "b", "c") for d in ("float32", "float64"))
    whole = Campaign(range(12), combos)
    assert all(sorted(whole.todo(i)) == sorted(combos) for i in range(12))
    assert {whole.todo(i)[0].subject for i in range(3)} == {"a", "b", "c"}  # who pays for the truth
    dtypes = Campaign(range(12), combos, spread="dtypes")
    assert [{c.dtype for c in dtypes.todo(i)} for i in range(2)] == [{"float32"}, {"float64"}]
    assert [len(dtypes.todo(i)) for i in range(12)] == [3] * 12
    both = Campaign(range(12), combos, spread="both")
    assert sorted(c for i in range(6) for c in both.todo(i)) == sorted(combos)
    assert [c.verdicts for c in (whole, dtypes, both)] == [72, 36, 12]


def test_what_is_counted_as_what() -> None:
    c = Campaign(range(10), (Combo("torch", "float16"),))
    tally = Tally(c)
    tally(logs.to_event(logs.head(c), c.seed, c.policy))

    def add(i: int, **entry: Any) -> None:
        tally(logs.to_event({"i": i, "subject": "torch", "dtype": "float16", "s": 0.5, **entry}, c.seed, c.policy))

    for i in range(4):
        add(i, **{"is": "PASS"})
    add(4, **{"is": "KNOWN", "kind": "precision", "known": "asinh: loses | digits"})
    add(5, **{"is": "INCONCLUSIVE", "reason": "range", "message": ""})
    add(6, **{"is": "INCONCLUSIVE", "reason": "subject", "message": "torch lacks it"})
    (row,) = tally.rows.values()
    assert (row.judged, row.open, row.cannot, row.share, row.rate) == (6, 1, 1, 1 / 6, 2.0)
    assert tally.ok
    page = markdown(tally, "gradverify campaign")
    assert "1 (16.67%)" in page
    assert "| 1 | torch | asinh: loses \\| digits |" in page
    assert "| 1 | torch | torch lacks it |" in page
    assert "at most 0.4 of such graphs" in page  # 3 / 7
    add(7, **{"is": "crash", "message": "", "text": "", "spec": ""})
    assert not tally.ok
    assert "crash" in plain(tally)[0]


def test_what_was_mended_on_the_way_bounds_nothing() -> None:
    c = Campaign(range(10), (Combo("torch", "float16"),))
    tally = Tally(c)
    for i in range(2):
        for line in (
            {**logs.head(c), "code": f"state {i}"},
            {"i": i, "subject": "torch", "dtype": "float16", "s": 0.5, "is": "PASS"},
        ):
            tally(logs.to_event(line, c.seed, c.policy))
    page = markdown(tally, "gradverify campaign")
    assert "confidence" not in page
    assert "bounds nothing" in page
    assert "2 states of gradverify's code (state 0, state 1)" in page


def test_a_campaign_of_second_order(tmp_path: Path) -> None:
    """The gradients of gradients, on the engine; its log says so, and is none of first order."""
    log = tmp_path / "log.jsonl"
    args = ("--subjects", "engine", "--dtypes", "float64", "--graphs", "12", "--seed", "9", "--log", str(log))
    first = call(*args, "--order", "2")
    assert first.exit_code == Exit.OK, first.output
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[0]["order"] == 2
    assert sum(e["is"] == "PASS" for e in lines[1:]) >= 8
    other = call(*args)
    assert other.exit_code == Exit.USAGE
    assert "a log of another order (2, not 1)" in other.output


def failed(i: int, subject: str = "torch", **more: Any) -> Event:
    entry = {
        "i": i,
        "subject": subject,
        "dtype": "float16",
        "s": 0.5,
        "is": "FAIL",
        "kind": "wrong",
        "message": f"m{i}",
    }
    return logs.to_event({**entry, **more}, 0, GatePolicy())


def test_findings_of_one_fault_are_told_once() -> None:
    c = Campaign(range(10), (Combo("torch", "float16"), Combo("jax", "float16")))
    tally, screen = Tally(c), Console(file=io.StringIO(), width=200)
    shown = CampaignProgress(screen, tally)
    same = {"culprit": "softmax, argument 0, of [n, n]"}
    events = [
        replace(logs.to_event(logs.head(c), 0, c.policy), total=7), *(failed(i, **same) for i in (1, 2, 3)),
        failed(4, culprit="softmax, argument 0, of [n]"), failed(5, "jax", **same), failed(6), failed(7),
    ]  # fmt: skip
    for event in events:
        tally(event)
        shown(event)
    assert [len(f) for f in findings(tally.bad)] == [3, 1, 1, 1, 1]
    text = screen.file.getvalue()
    assert text.count("again: gradverify campaign") == 5
    assert text.count("again, softmax, argument 0, of [n, n]: graph") == 2
    (line,) = [line for line in plain(tally) if "the same" in line]
    assert line.strip() == "the same softmax, argument 0, of [n, n]: 2 more, graphs 2 (float16), 3 (float16)"
    assert markdown(tally, "gradverify campaign").count("### FAIL") == 5


def test_a_culprit_s_shapes_are_sorts() -> None:
    spec = "gradverify: 1\ncases:\n  - {name: a, expr: x @ y, inputs: {x: {shape: [7, 1]}, y: {shape: [1, 3]}}}\n"
    assert logs._describe(Culprit(0, "matmul", 1, "", spec=spec)) == "matmul, argument 1, of [n, 1], [1, n]"
    assert logs._describe(Culprit(0, "matmul", 1, "")) == "matmul, argument 1"


def test_on_a_terminal_the_table_is_live() -> None:
    c = Campaign(range(10), (Combo("torch", "float16"),))
    tally, screen = Tally(c), Console(file=io.StringIO(), width=100, force_terminal=True)
    shown = CampaignProgress(screen, tally)
    for event in (replace(logs.to_event(logs.head(c), 0, c.policy), total=9), failed(1), failed(2)):
        tally(event)
        shown.said = 0.0
        shown(event)
    shown(RunFinished(1.0))
    text = screen.file.getvalue()
    assert "verdicts/s" in text
    assert "2 of 10 verdicts, 2 FAIL" in text
