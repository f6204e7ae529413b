"""Corpora: which graphs are kept, that campaigns start from them, and that nothing of it is judged twice."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis.database import DirectoryBasedExampleDatabase, InMemoryExampleDatabase, choices_to_bytes

from gradverify.cli import Exit, main
from gradverify.core.case import Case
from gradverify.core.errors import GradverifyError
from gradverify.core.graph import Apply
from gradverify.generate.campaign import seeded_case
from gradverify.generate.structure import limits
from gradverify.judge import compare
from gradverify.ops.build import GraphBuilder
from gradverify.run.campaign import corpus as corpora
from gradverify.run.campaign import coverage
from gradverify.run.campaign.corpus import Corpus, Example, database, key
from gradverify.run.campaign.model import Campaign, Combo, Verdicting
from gradverify.run.campaign.workers import Judging
from gradverify.run.scheduling import Entry, Task

A, B, C = Example(0, 1, "float32"), Example(0, 2, "float64"), Example(3, 4, "float64")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge in this process, which has told nothing yet."""

    def do_all(work: Judging, tasks: Iterator[Task]) -> Iterator[Entry]:
        monkeypatch.setattr(coverage, "_told", set())
        for task in tasks:
            yield from map(work.do, task)

    monkeypatch.setattr("gradverify.cli.campaign.named", lambda where, jobs: do_all)


def call(*args: object) -> Result:
    words = ["campaign", "--subjects", "engine", *map(str, args)]
    return CliRunner().invoke(main, words, env={"COLUMNS": "120"})


def entries(log: Path) -> list[dict[str, Any]]:
    return [e for e in map(json.loads, log.read_text().splitlines()) if "i" in e]


def verdicts(log: Path) -> list[tuple[Any, ...]]:
    return [(e.get("seed"), e["i"], e["dtype"]) for e in entries(log)]


# Which are kept.


def test_what_takes_nothing_new_is_not_kept() -> None:
    corpus = Corpus(InMemoryExampleDatabase())
    assert corpus.learn(A, ["op exp", "size exp [n]"])
    assert not corpus.learn(B, ["op exp"])
    assert not corpus.learn(B, [])
    assert corpus.learn(C, ["op exp", "op log"])
    assert set(corpus.kept) == {A, C}


def test_a_corpus_is_read_again_from_its_database(tmp_path: Path) -> None:
    first = Corpus(database([str(tmp_path)]))
    first.learn(A, ["a", "b"])
    first.learn(C, ["c"])
    again = Corpus(database([str(tmp_path)]))
    assert again.kept == {A: {"a", "b"}, C: {"c"}}
    assert not again.learn(B, ["a", "c"])
    assert Corpus(database([str(tmp_path)]), order=2).kept == {}


def test_the_examples_cover_everything_and_what_takes_most_comes_first() -> None:
    corpus = Corpus(InMemoryExampleDatabase())
    corpus.learn(A, ["a"])
    corpus.learn(B, ["a", "b"])
    corpus.learn(C, ["a", "b", "c", "d"])
    assert corpus.examples() == (C,)
    corpus.learn(Example(9, 9, "float64"), ["d", "e"])
    assert corpus.examples() == (C, Example(9, 9, "float64"))


def test_a_value_that_is_no_example_is_passed_over() -> None:
    db = InMemoryExampleDatabase()
    for value in (b"", b"\xff\xff", choices_to_bytes((1, 2)), choices_to_bytes(("a", 0, -1, "float64"))):
        db.save(key(), value)
    Corpus(db).learn(A, ["a"])
    assert set(Corpus(db).kept) == {A}


def test_another_op_table_has_another_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(corpora, "limits", lambda _: limits(("exp", "log")))
    assert key() != before


# Where they are.


def test_two_places_are_read_and_written_both(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    Corpus(database([str(mine)])).learn(A, ["a"])
    Corpus(database([str(theirs)])).learn(B, ["b"])
    both = Corpus(database([str(mine), str(theirs)]))
    assert set(both.kept) == {A, B}
    both.learn(C, ["c"])
    for place in (mine, theirs):
        assert C in Corpus(DirectoryBasedExampleDatabase(place)).kept


def test_a_place_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GradverifyError, match="no directory for a corpus"):
        database([str(tmp_path / "file")])
    says = "does not answer" if importlib.util.find_spec("redis") else r"needs Redis's client: pip install redis"
    with pytest.raises(GradverifyError, match=says):
        database(["redis://127.0.0.1:9"])


def test_machines_share_a_corpus_in_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    fakeredis, redis = pytest.importorskip("fakeredis"), pytest.importorskip("redis")
    server = fakeredis.FakeServer()
    monkeypatch.setattr(redis.Redis, "from_url", lambda url: fakeredis.FakeRedis(server=server))
    one = Corpus(database(["redis://somewhere:6379"]))
    one.learn(A, ["a"])
    two = Corpus(database(["redis://somewhere:6379"]))
    assert two.kept == {A: {"a"}}
    assert not two.learn(B, ["a"])


# What a case takes.


def case_of(dtype: str = "float64", transposed: bool = False) -> Case:
    b = GraphBuilder()
    x = b.input("x", (2, 3))
    y = b.apply("exp", x)
    total = b.apply("sum", b.apply("multiply", y, y), axis=0)
    value = np.ones((3, 2)).T if transposed else np.ones((2, 3))
    return Case("a", b.graph(total), {"x": value}, (np.ones(3),), dtype, ("x",))


def test_features_of_a_case() -> None:
    found = coverage.of_case(case_of(), "engine")
    assert {
        "op exp float64 engine", "pair float row-major exp 0", "pair exp multiply 0", "pair exp multiply 1",
        "pair multiply sum 0", "twice multiply", "size sum [n, n]", "parameter sum axis int", "cotangent row-major [n]",
    } <= found  # fmt: skip


@pytest.mark.parametrize(
    ("other", "new"),
    [
        (case_of("float32"), "op exp float32 engine"),
        (case_of(transposed=True), "pair float column-major exp 0"),
    ],
)
def test_another_dtype_or_layout_is_new(other: Case, new: str) -> None:
    assert new in coverage.of_case(other, "engine") - coverage.of_case(case_of(), "engine")


def test_every_op_of_a_drawn_graph_is_a_feature() -> None:
    for i in range(20):
        for dtype in ("float64", "complex64"):
            case = seeded_case(1, i, dtype, limits(None))
            found = coverage.of_case(case, "engine")
            for node in case.graph.nodes:
                assert not isinstance(node, Apply) or f"op {node.op} {case.dtype} engine" in found


def test_what_a_process_has_told_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "_told", set())
    assert coverage.told({"b", "a"}) == ["a", "b"]
    assert coverage.told({"a"}) == []
    assert coverage.told({"a", "c"}) == ["a", "c"]  # whole, for what each example takes decides which are needed


@pytest.mark.skipif(not hasattr(sys, "monitoring"), reason="Python 3.12")
def test_lines_are_told_once() -> None:
    run = lambda x: compare.__dict__  # not of our rooms
    with coverage.lines() as first:
        run(1)
        limits(("exp",))
        GraphBuilder().input("x", (2,))
    assert any("ops/build.py GraphBuilder.input" in line for line in first)
    assert not any("test_corpus" in line or "generate/" in line for line in first)
    with coverage.lines() as second:
        GraphBuilder().input("x", (2,))
    assert not any("GraphBuilder.input" in line for line in second)
    assert sys.monitoring.get_events(coverage.TOOL) == 0


@pytest.mark.skipif(hasattr(sys, "monitoring"), reason="before Python 3.12")
def test_no_lines_where_a_trace_would_change_the_engine() -> None:
    with coverage.lines() as found:
        GraphBuilder().input("x", (2,))
    assert found == set()
    assert sys.gettrace() is None or "coverage" in repr(sys.gettrace())


# Campaigns.


def test_a_campaign_starts_from_its_corpus(here: None, tmp_path: Path) -> None:
    corpus, log = tmp_path / "corpus", tmp_path / "a.jsonl"
    learn = ("--graphs", 8, "--dtypes", "float32,float64", "--spread", "dtypes", "--corpus", corpus)
    assert call(*learn, "--seed", 3, "--log", tmp_path / "learned.jsonl").exit_code == Exit.OK
    kept = Corpus(database([str(corpus)])).examples()
    assert 1 <= len(kept) <= 8
    assert {e.seed for e in kept} == {3}
    assert not any("took" in e for e in entries(tmp_path / "learned.jsonl"))
    result = call("--graphs", 2, "--dtypes", "float64", "--corpus", corpus, "--log", log)
    assert result.exit_code == Exit.OK, result.output
    first = [(3, e.graph, e.dtype) for e in kept if e.dtype == "float64"]
    assert verdicts(log) == [*first, (None, 0, "float64"), (None, 1, "float64")]
    assert f"{len(first) + 2} random graphs" in result.output


def test_a_campaign_with_a_corpus_resumes(here: None, tmp_path: Path) -> None:
    """Its own graphs are in the corpus by then: none is judged twice, and the others are still judged."""
    log = tmp_path / "a.jsonl"
    args = ("--dtypes", "float64", "--corpus", tmp_path / "corpus", "--log", log)
    assert call("--graphs", 2, "--seed", 7, *args[:4]).exit_code == Exit.OK
    assert call("--graphs", 3, *args).exit_code == Exit.OK
    before = verdicts(log)
    assert call("--graphs", 3, *args).exit_code == Exit.OK
    assert verdicts(log) == before
    assert call("--graphs", 5, *args).exit_code == Exit.OK
    assert verdicts(log) == [*before, (None, 3, "float64"), (None, 4, "float64")]
    assert len(set(before)) == len(before)


def test_a_finding_on_a_graph_of_the_corpus_says_its_seed(here: None, tmp_path: Path) -> None:
    Corpus(database([str(tmp_path)])).learn(Example(11, 2, "float64"), ["a"])
    import gradverify.run.campaign.workers as workers

    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_verdict", broken)
        result = call("--graphs", 1, "--dtypes", "float64", "--corpus", tmp_path)
    assert result.exit_code == Exit.FAIL
    assert "again: gradverify campaign --seed 11 --only 2 --subjects engine --dtypes float64" in result.output


def test_only_and_corpus_exclude_each_other(tmp_path: Path) -> None:
    result = call("--only", 1, "--corpus", tmp_path)
    assert (result.exit_code, "give it without --corpus" in result.output) == (Exit.USAGE, True)


def test_each_verdict_is_asked_for_once() -> None:
    """A graph of the corpus that the campaign draws as well is judged where it stands first."""
    combos = (Combo("engine", "float32"), Combo("engine", "float64"), Combo("torch", "float64"))
    c = Campaign(range(4), combos, corpus=(B, C, A))
    asked = [v for task in c.tasks(()) for v in task]
    assert len(set(asked)) == len(asked) == c.verdicts == 4 * 3 + 2
    assert asked[:2] == [Verdicting(0, 2, combos[1]), Verdicting(0, 2, combos[2])]
    done = asked[:7]
    assert [v for task in c.tasks(done) for v in task] == asked[7:]
    assert Judging.of(c) == Judging.of(Campaign(range(9), combos, corpus=()))  # the graphs go with the tasks


def test_the_command_says_what_came_of_the_corpus(tmp_path: Path) -> None:
    def last(*options: str) -> str:
        words = ["campaign", "--graphs", "3", "--subjects", "engine", "--corpus", str(tmp_path / "c"), *options]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return done.output.splitlines()[-1]

    said = last("--dtypes", "float64")
    assert re.fullmatch(r"corpus: 0 graphs of it were judged first, [1-3] are new in it", said), said
    kept = re.findall(r"\d+", said)[1]
    assert last("--dtypes", "float64") == f"corpus: {kept} graphs of it were judged first, 0 are new in it"
    assert last("--dtypes", "float32").startswith("corpus: 0 graphs of it")  # they took something new in another dtype
