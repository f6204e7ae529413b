"""Several cotangents at one point: the definition is walked once, and each truth is confirmed all the same."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.core.graph import Graph
from gradverify.generate.campaign import seeded_case
from gradverify.generate.structure import limits
from gradverify.oracle import truth as module
from gradverify.oracle.truth import truth

from .test_truth import chain


def _anew(graph: Graph) -> Graph:
    """The graph, without what was found out about it."""
    return Graph(graph.nodes, graph.outputs)


@pytest.mark.parametrize("i", range(12))
def test_a_second_cotangent_has_the_truth_that_it_has_by_itself(i: int) -> None:
    case = seeded_case(5, i, "float64", limits(None))
    rng = np.random.default_rng(i)
    other = tuple(rng.normal(size=g.shape) * (rng.random(g.shape) > 0.3) for g in case.cotangent)
    truth(case.graph, case.values, case.cotangent, case.wrt, "float64")
    shared = truth(case.graph, case.values, other, case.wrt, "float64")
    alone = truth(_anew(case.graph), case.values, other, case.wrt, "float64")
    assert (shared.method, shared.kinks, shared.idle) == (alone.method, alone.kinks, alone.idle)
    assert shared.unresolved <= 1e-18 or alone.unresolved > 1e-18
    for name, a in alone.gradients.items():
        b = shared.gradients[name]
        np.testing.assert_array_equal(a.hi, b.hi)
        assert (np.abs(a.lo - b.lo) <= a.bound + b.bound).all()


def test_the_definition_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, values = chain()
    walks: list[int] = []
    forward = module.forward
    monkeypatch.setattr(module, "forward", lambda *args, **kwargs: walks.append(1) or forward(*args, **kwargs))
    truth(graph, values, (np.ones((3, 4)),), ("x", "y"), "float64")
    assert len(walks) == 5
    truth(graph, values, (np.eye(3, 4),), ("x", "y"), "float64")
    assert len(walks) == 5
    for other in ({"x": values["x"] + 1, "y": values["y"]}, {"x": values["x"].astype(np.float32), "y": values["y"]}):
        before = len(walks)
        truth(graph, other, (np.ones((3, 4)),), ("x", "y"), "float64")
        assert len(walks) == before + 5, "another point is another point"


def test_an_entry_that_the_first_cotangent_ignores_is_confirmed_for_the_second() -> None:
    """The first gradient is 0 or tiny where the second is not: the direction that it chose has to resolve that."""
    graph, values = chain()
    first, second = np.zeros((3, 4)), np.zeros((3, 4))
    first[0, 0], first[2, 1], second[1, 2] = 1e-200, 1e200, 1.0
    truth(graph, values, (first,), ("x", "y"), "float64")
    found = truth(graph, values, (second,), ("x", "y"), "float64")
    assert found.method == "confirmed"
    assert found.unresolved <= 1e-18


@pytest.mark.parametrize("entry", [(0, 0), (2, 3)])
def test_a_wrong_rule_is_seen_for_the_second_cotangent_too(
    entry: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that is wrong where the first cotangent is 0."""
    graph, values = chain()
    first, second = np.ones((3, 4)), np.ones((3, 4))
    first[entry] = 0.0
    reverse = module.reverse

    def wrong(*args: object, **kwargs: object) -> dict[int, object]:
        adjoint = reverse(*args, **kwargs)
        k = graph.inputs["x"]
        adjoint[k] = adjoint[k].copy()
        if args[3][0][entry] != 0:
            adjoint[k][entry] = adjoint[k][entry] * (1 + 2.0**-50)
        return adjoint

    monkeypatch.setattr(module, "reverse", wrong)
    assert truth(graph, values, (first,), ("x", "y"), "float64").method == "confirmed"
    found = truth(graph, values, (second,), ("x", "y"), "float64")
    assert found.suspects
    assert found.method == "differences"
