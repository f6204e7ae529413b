"""Campaigns on a cluster of Dask, and campaigns that are killed: nothing is lost, nothing is judged twice."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.kills import disagreement, disturb, outcomes
from gradverify.core.errors import GradverifyError
from gradverify.run import cluster, scheduling
from gradverify.run.campaign.model import Campaign, Combo, Verdicting
from gradverify.run.campaign.workers import Judging
from gradverify.run.crew import Submitted
from gradverify.run.scheduling import Entry, Task, local

COMMAND = (sys.executable, "-m", "gradverify", "campaign", "--subjects", "engine", "--graphs", "30")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
@pytest.mark.parametrize(("kills", "is_local"), [(2, True), (36, True), (4, False), (24, False)])
def test_kill_9_loses_nothing(kills: int, is_local: bool, tmp_path: Path) -> None:
    if not is_local:
        pytest.importorskip("distributed")
    assert disturb(kills, 60, 0, is_local, tmp_path).total() == kills


def write(log: Path, *found: tuple[int, str]) -> Path:
    lines = [{"campaign": 2}, *({"i": i, "subject": "engine", "dtype": "float64", "is": is_} for i, is_ in found)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return log


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([(0, "PASS"), (1, "PASS")], ""),
        ([(0, "crash"), (1, "PASS")], ""),
        ([(0, "crash"), (1, "crash")], "2 crashes after 1 kills"),
        ([(0, "PASS")], "1 verdicts lost, 0 too many"),
        ([(0, "PASS"), (1, "PASS"), (2, "PASS")], "0 verdicts lost, 1 too many"),
        ([(0, "PASS"), (1, "FAIL")], "other outcomes: "),
    ],
)
def test_what_a_killed_log_is_held_against(found: list[tuple[int, str]], says: str, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", (0, "PASS"), (1, "PASS"))
    wrong = disagreement(write(tmp_path / "killed", *found), whole, 1)
    assert wrong.startswith(says)
    assert bool(wrong) == bool(says)


def test_a_verdict_that_stands_twice_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="judged twice"):
        outcomes(write(tmp_path / "a", (0, "PASS"), (0, "PASS")))


# A scheduler that runs in this process: what `cluster` makes of its answers.


class Future:
    def __init__(self, client: Client, args: tuple[Any, ...]) -> None:
        self.client, self.args = client, args

    def result(self) -> tuple[list[Entry], float]:
        return self.client.answer(*self.args)

    def release(self) -> None:
        pass


class Client:
    """Answers with PASS for each verdict; dies of the graphs in `deadly` as Dask does, and has so many threads."""

    def __init__(self, deadly: Sequence[tuple[int, str]] = (), threads: int = 3) -> None:
        self.deadly, self.threads = set(deadly), threads
        self.ranges: list[list[Task]] = []

    def nthreads(self) -> dict[str, int]:
        return {"tcp://a": self.threads}

    def submit(self, function: Any, work: Judging, tasks: list[Task], own: Any, pure: bool) -> Future:
        assert function is cluster.do_range
        self.ranges.append(tasks)
        return Future(self, (tasks,))

    def answer(self, tasks: list[Task]) -> tuple[list[Entry], float]:
        distributed = pytest.importorskip("distributed")
        if any((v.graph, v.combo.dtype) in self.deadly for task in tasks for v in task):
            raise distributed.KilledWorker("do_range-1", SimpleNamespace(address="tcp://a"), 4)
        found = [{"i": v.graph, **v.combo._asdict(), "is": "PASS", "s": 2.0} for task in tasks for v in task]
        return found, 2.0 * len(found)


class Coming(list[Future]):
    """What `as_completed` is: the last first, since no order may be relied on."""

    add = list.append

    def __next__(self) -> Future:
        return self.pop()


def on(client: Client, c: Campaign, monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    distributed = pytest.importorskip("distributed")

    monkeypatch.setattr(distributed, "as_completed", Coming)
    return list(cluster._do_all(client, Judging(c), c.tasks(())))


CAMPAIGN = Campaign(range(50), (Combo("engine", "float32"), Combo("engine", "float64")))


def test_a_verdict_that_ends_its_workers_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client([(17, "float32"), (18, "float64"), (49, "float64")])
    found = on(client, CAMPAIGN, monkeypatch)
    assert len(found) == 100
    assert len({(e["i"], e["dtype"]) for e in found}) == 100
    assert {(e["i"], e["dtype"]) for e in found if e["is"] == "crash"} == client.deadly


def test_tasks_grow_to_what_takes_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    on(client, CAMPAIGN, monkeypatch)
    assert {len(r) for r in client.ranges[:6]} == {cluster.FIRST}
    assert {len(r) for r in client.ranges[6:-2]} == {2}  # of 4 s each
    assert sorted(task[0].graph for r in client.ranges for task in r) == list(range(50))


def test_a_worker_of_another_code_is_refused() -> None:
    with pytest.raises(GradverifyError, match="another state of gradverify's code"):
        cluster.do_range(Judging(CAMPAIGN), [], Judging(CAMPAIGN).state() | {"state of gradverify's code": "0123"})


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "WAIT", 0.2)
    with pytest.raises(GradverifyError, match=r"the scheduler 127\.0\.0\.1:9 does not answer"):
        next(cluster.dask("127.0.0.1:9", 1)(Judging(CAMPAIGN), CAMPAIGN.tasks(())))


def test_a_scheduler_that_goes_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")

    class Gone(Client):
        register_plugin = unregister_worker_plugin = lambda self, *_, **__: None

        def __enter__(self) -> Gone:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def answer(self, tasks: list[Task]) -> tuple[list[Entry], float]:
            raise distributed.client.FutureCancelledError("do_range-1", "scheduler-connection-lost")

    monkeypatch.setattr(distributed, "Client", lambda **_: Gone())
    monkeypatch.setattr(distributed, "as_completed", Coming)
    judge = cluster.dask("10.0.0.1:8786", 1)
    with pytest.raises(GradverifyError, match=r"the scheduler 10.0.0.1:8786 is gone: FutureCancelledError\. What was"):
        list(judge(Judging(CAMPAIGN), CAMPAIGN.tasks(())))


def test_a_scheduler_of_a_name_that_nobody_knows() -> None:
    ended = subprocess.run([*COMMAND, "--scheduler", "slurm"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "'slurm' is neither local nor dask://" in ended.stderr


class Endless:
    """A process that never answers."""

    def __init__(self, *_: object) -> None:
        self.given = threading.Event()

    def submit(self, *_: object) -> Submitted:
        self.given.set()
        return Submitted(concurrent.futures.Future(), 0)

    def end(self) -> None:
        pass


def test_a_worker_whose_process_is_ended_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what a client left behind, that was killed, would hold the worker for ever."""
    monkeypatch.setattr(scheduling, "Process", Endless)
    found: list[BaseException] = []

    def work() -> None:
        try:
            cluster.do_range(Judging(SMALL), [[Verdicting(5, 0, SMALL.combos[0])]], Judging(SMALL).state())
        except GradverifyError as e:
            found.append(e)

    thread = threading.Thread(target=work, daemon=True)
    before = list(cluster._open)
    thread.start()
    while cluster._open == before:
        time.sleep(0.001)
    (worker,) = (w for w in cluster._open if w not in before)
    assert worker.process.given.wait(10)
    cluster.end_processes()
    thread.join(10)
    assert not thread.is_alive()
    assert [str(e) for e in found] == ["the process was ended: nobody waits for what it was at"]


SMALL = Campaign(range(3), (Combo("engine", "float64"),), seed=5)


@pytest.mark.slow
def test_two_workers_of_dask_say_what_this_machine_says() -> None:
    pytest.importorskip("distributed")
    of = lambda found: {(e["i"], e["dtype"]): e["is"] for e in found}
    assert of(cluster.dask("", 2)(Judging(SMALL), SMALL.tasks(()))) == of(local()(Judging(SMALL), SMALL.tasks(())))
