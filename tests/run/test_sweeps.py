"""Sweeps, kill matrix and suites on a scheduler: each item once, whatever ended the run before; what is lost is a row."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")

from bench.detection import run as matrix
from bench.detection.work import Item, Matrix, entries
from bench.suites.work import Suites
from bench.sweep import run as sweep
from bench.sweep.work import Sweep
from gradverify.core.errors import GradverifyError
from gradverify.run.cluster import _halved
from gradverify.run.crew import Lost
from gradverify.run.lines import Lines
from gradverify.run.scheduling import Entry, Scheduler, Task, Work, local, scheduler

DEAD = Lost("crash", "the process ended with SIGSEGV")


def here(done: list[Any], die: Callable[[Any], bool] = lambda item: False, until: int = 99) -> Scheduler:
    """Works in this process, and notes the items; loses those that `die`, and is killed `until` so many are done."""

    def do_all(work: Work, tasks: Iterator[Task]) -> Iterator[Entry]:
        for task in tasks:
            for item in task:
                if len(done) == until:
                    raise KeyboardInterrupt
                done.append(item)
                yield work.lost(item, DEAD, 1.0) if die(item) else work.do(item)

    return do_all


# The file.


def test_a_torn_line_is_dropped_and_the_others_stay(tmp_path: Path) -> None:
    with Lines(tmp_path / "a") as lines:
        lines.append({"a": 1})
        lines.append({"a": "ü"})
    with (tmp_path / "a").open("ab") as file:
        file.write(b'{"a": 3')
    with Lines(tmp_path / "a") as lines:
        assert list(lines) == [{"a": 1}, {"a": "ü"}]
        lines.append({"a": 4})
        assert [line["a"] for line in lines] == [1, "ü", 4]


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    with Lines(tmp_path / "a"), pytest.raises(GradverifyError, match="another run writes to this log"):
        Lines(tmp_path / "a")
    Lines(tmp_path / "a").close()


@pytest.mark.parametrize("text", ["no JSON\n", "[1]\n", "\xff\n"])
def test_a_line_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(text, encoding="latin-1")
    with Lines(tmp_path / "a") as lines, pytest.raises(GradverifyError, match="a:1: not the log of a run"):
        list(lines)


# Schedulers.


def test_the_schedulers_have_names() -> None:
    assert callable(scheduler("local", 2))
    with pytest.raises(GradverifyError, match="'slurm' is neither local nor dask"):
        scheduler("slurm", 1)


def test_a_range_is_halved_down_to_one_item() -> None:
    assert _halved([[1], [2], [3]]) == [[[1]], [[2], [3]]]
    assert _halved([[1, 2, 3]]) == [[[1]], [[2, 3]]]
    assert _halved([[1]]) == []


# The sweep.


def run_sweep(where: Scheduler, rows: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sweep, "scheduler", lambda *_: where)
    words = ["run.py", "torch", "--only", "torch.square, ", "--effort", "quick", "--rows", str(rows)]
    monkeypatch.setattr(sys, "argv", words)
    return sweep.main()


def test_a_sweep_that_was_killed_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, first, rest, more = tmp_path / "rows.jsonl", list[int](), list[int](), list[int]()
    with pytest.raises(KeyboardInterrupt):
        run_sweep(here(first, until=2), rows, monkeypatch)
    whole = rows.read_bytes()
    assert whole.count(b"\n") == 2
    rows.write_bytes(whole[:-9])  # killed within a line
    assert run_sweep(here(rest), rows, monkeypatch) == 0
    assert first[1] == rest[0]
    assert len({*first, *rest}) == len(first) + len(rest) - 1 > 3
    assert run_sweep(here(more), rows, monkeypatch) == 0
    assert more == []
    assert "| **all** | 1 |" in capsys.readouterr().out


def test_a_point_that_ends_its_process_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, done = tmp_path / "rows.jsonl", list[int]()
    assert run_sweep(here(done, lambda place: len(done) == 2), rows, monkeypatch) == 1
    crashed = [r for r in map(json.loads, rows.read_text().splitlines()) if r["outcome"] == "CRASH"]
    assert [(r["what"], r["message"]) for r in crashed] == [("process", DEAD.message)]


# The kill matrix.


def test_the_kill_matrix_goes_on_from_its_rows(tmp_path: Path) -> None:
    names = [name for name in entries() if name.startswith("sin-1e")][:3]
    items = [Item("gradverify.check", name, "float32") for name in names] + [Item("gradverify.check", names[0])]
    kept, done = tmp_path / "rows.jsonl", list[Item]()
    old = {"dtype": "float32", "name": names[0], "outcome": "caught", "message": "of an earlier run", "seconds": 1.0}
    kept.write_text(json.dumps(old) + "\n")
    found = matrix.measured(items, Matrix(("gradverify.check",), 30.0), here(done, lambda i: i == items[2]), kept)
    assert done == items[1:]
    assert list(found) == items
    assert found[items[0]].message == "of an earlier run"
    assert (found[items[2]].outcome, DEAD.message in found[items[2]].message) == ("undecided", True)
    again = list[Item]()
    assert matrix.measured(items, Matrix(("gradverify.check",), 30.0), here(again), kept) == found
    assert again == []


def test_each_entry_of_the_catalogue_has_a_name_of_its_own() -> None:
    from bench.detection.catalogue import correct, mutants

    assert len(entries()) == len(mutants()) + len(correct())


# All of them.


@pytest.mark.parametrize(
    ("work", "item", "says"),
    [
        (Sweep("torch", 1.0, "quick"), 0, "message"),
        (Matrix(("gradverify.check",), 1.0), Item("gradverify.check", "sin-1e-03"), "message"),
        (Suites(Path("/nowhere"), 1.0, 1.0, 1, 1.0), "entmax", "error"),
    ],
)
def test_work_travels_and_says_what_was_lost(work: Work, item: Any, says: str) -> None:
    import pickle

    assert pickle.loads(pickle.dumps(work)) == work
    assert DEAD.message in work.lost(item, DEAD, 0.5)[says]
    assert "state of gradverify's code" in work.state()
    assert work.limit > 1.0


@pytest.mark.slow
def test_a_sweep_in_processes() -> None:
    table = sweep.table_of("torch")
    places = [k for k, p in enumerate(table.POINTS) if p.name.startswith("torch.square, ")]
    rows = list(sweep.swept(Sweep("torch", 60.0, "quick"), places, local(2)))
    assert sorted(r.edge for r in rows) == sorted(table.POINTS[k].edge for k in places)
    assert {r.outcome for r in rows} == {"PASS"}
