"""The limits of the judges' experiments count work: what is said does not depend on the machine's load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradverify.core.graph import Apply, Graph, Input
from gradverify.judge.hypotheses.evidence import ENTRIES_PER_NODE, Purse, Spent, cost

GRAPH = Graph((Input("x", (3,)), Apply("sin", (0,), (), (3,)), Apply("exp", (1,), (), (3,))), (2,))


def test_a_walk_costs_its_nodes_and_inputs_are_free() -> None:
    assert cost(GRAPH.nodes) == 2 * ENTRIES_PER_NODE


def test_what_is_beyond_the_work_is_not_done() -> None:
    purse = Purse(5 * ENTRIES_PER_NODE)
    purse.pay(GRAPH)
    purse.pay(GRAPH)
    with pytest.raises(Spent):
        purse.pay(GRAPH)


def test_no_judge_looks_at_a_clock_but_for_the_seconds_of_the_verdict() -> None:
    folder = Path(__file__).parents[2] / "gradverify" / "judge"
    users = [p.name for p in folder.rglob("*.py") if re.search(r"\btime\.|perf_counter", p.read_text())]
    assert users == ["decide.py"]
