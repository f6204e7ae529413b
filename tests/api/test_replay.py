"""A trace serves again at other values; what it does not hold for is traced anew, and found as before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradverify import Outcome, check
from gradverify.checker import driver
from gradverify.checker.replay import is_final
from gradverify.core.case import Source
from gradverify.core.verdict import FailKind
from gradverify.frameworks.base import Observation
from gradverify.frameworks.torch import tracer
from gradverify.frameworks.torch.arrays import tensor
from gradverify.judge.laws.registry import Extent, Trial, default_names, names_for

from ..helpers import case_of, custom

torch = pytest.importorskip("torch")

X = torch.tensor([0.4, -1.1, 0.7, 2.0], dtype=torch.float64)
Y = torch.tensor([1.4, 0.6, -0.7, 0.3], dtype=torch.float64)


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each trace of PyTorch."""
    made: list[int] = []
    real = tracer.trace

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(tracer, "trace", counted)
    return made


def test_other_values_are_judged_by_the_trace_that_is_there(traces: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    f = lambda x, y: (x * y).sin()
    found = check(f, X, Y, order=1)
    few = len(traces)
    traces.clear()
    monkeypatch.setattr(driver, "replay", lambda given, point: None)
    anew = check(f, X, Y, order=1)
    assert len(traces) >= few + 6  # other values, zeros, negated ones and more: each traced forward and backward
    assert (found.outcome, found.power, found.facts["tried"]) == (anew.outcome, anew.power, anew.facts["tried"])


def branches(x: Any) -> Any:
    return x.sin() if x.sum() > 1.9 else x.cos()


def detour(x: Any) -> Any:
    return x * torch.from_numpy(np.sign(x.detach().numpy()))


def largest(x: Any) -> Any:
    return x[x.argmax()] * x


@pytest.mark.parametrize("f", [branches, detour, largest])
def test_what_depends_on_the_values_is_traced_anew(f: Callable[..., Any]) -> None:
    assert check(f, X, order=1).outcome is Outcome.PASS


REMEMBERED: dict[str, Any] = {}


def remembers(g: Any, x: Any) -> Any:
    """The backward pass keeps the first cosine that it meets of a shape and dtype."""
    return g * REMEMBERED.setdefault(f"{x.dtype}{list(x.shape)}", x.cos())


WRONG: dict[str, Callable[[Any, Any], Any]] = {
    "at zero alone": lambda g, x: torch.where(x == 0, 2 * g, g * x.cos()),
    "beyond a threshold": lambda g, x: torch.where(x < -1.5, g, g * x.cos()),
    "decided in Python": lambda g, x: g if bool((x == 0).any()) else g * x.cos(),
    "kept from the first call": remembers,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_at_other_values_is_found(name: str) -> None:
    REMEMBERED.clear()
    verdict = check(custom(torch.sin, WRONG[name]), X, order=1)
    assert verdict.outcome is Outcome.FAIL
    assert "found with" in verdict.message


def test_nothing_but_a_pass_rests_on_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Outcome] = []
    real = is_final

    def final(verdict: Any) -> bool:
        seen.append(verdict.outcome)
        assert real(verdict) is (verdict.outcome is Outcome.PASS)
        return real(verdict)

    monkeypatch.setattr(driver, "is_final", final)
    assert not check(custom(torch.sin, WRONG["at zero alone"]), X, order=1)
    assert {Outcome.PASS, Outcome.FAIL} <= set(seen)


# ---- in float32 -----------------------------------------------------------------------------------------------------


@pytest.fixture
def narrowed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each probe of float32, whether the trace of float64 served."""
    found: list[bool] = []
    real = driver.replay

    def noted(given: Any, point: Any) -> Any:
        there = real(given, point)
        if point.name == "float32":
            found.append(there is not None)
        return there

    monkeypatch.setattr(driver, "replay", noted)
    return found


def plain(x: Any, y: Any) -> Any:
    return torch.tanh(x * y) + 0.1 * x


def test_float32_is_judged_by_the_trace_of_float64(narrowed: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    for f in (plain, custom(torch.sin, lambda g, x: g * x.cos()), lambda x: torch.softmax(x, 0)[:2]):
        args = (X, Y) if f is plain else (X,)
        found = check(f, *args, order=1)
        monkeypatch.setattr(driver, "replay", lambda given, point: None)
        anew = check(f, *args, order=1)
        monkeypatch.undo()
        assert (found.outcome, found.power, found.facts["tried"]) == (anew.outcome, anew.power, anew.facts["tried"])
        assert "float32" in found.facts["tried"]


def test_the_trace_of_float64_serves(narrowed: list[bool]) -> None:
    assert check(plain, X, Y, order=1)
    assert check(custom(torch.sin, lambda g, x: g * x.cos()), X, order=1)
    assert narrowed == [True, True]


def swallows(x: Any) -> Any:
    try:
        y = x.to(torch.float32).double() if x.dtype is torch.float32 else x
    except Exception:
        y = x
    return (y * x).to(x.dtype)


OTHERS: dict[str, Callable[[Any], Any]] = {
    "a number of the dtype": lambda x: (x * x + torch.finfo(x.dtype).eps).sqrt(),
    "another operation": lambda x: x.exp() - 1 if x.dtype is torch.float64 else x.expm1(),
    "another operand": lambda x: (lambda y: y * x if x.dtype is torch.float64 else y * y / x.exp())(x.exp()),
    "another number of operations": lambda x: x * 4 if x.dtype is torch.float64 else x * 2 * 2,
    "a cast in between": lambda x: x.double().sin().to(x.dtype),
    "a cast that is caught": swallows,
    "a closed-over array": lambda x: x * Y.to(x.dtype),
    "an array of the dtype": lambda x: x * torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=x.dtype),
    "out of sight": lambda x: x * torch.from_numpy(np.ones(4, str(x.dtype).removeprefix("torch."))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_function_that_may_be_another_one_in_float32_is_traced_there(name: str, narrowed: list[bool]) -> None:
    assert check(OTHERS[name], X, order=1)
    assert narrowed == [False]


SLIGHTLY: dict[str, Callable[[Any, Any], Any]] = {
    "a factor": lambda g, x: g * x.cos() * (1 if x.dtype is torch.float64 else 1 + 1e-5),
    "another number": lambda g, x: g * x.cos() * (1.0 if x.dtype is torch.float64 else 1.00001),
    "an operand": lambda g, x: g * x.cos() if x.dtype is torch.float64 else x * x.cos(),
    "below its rounding": lambda g, x: g * x.cos() * (1.0 if x.dtype is torch.float64 else 1 + 2**-26),
}


@pytest.mark.parametrize("name", SLIGHTLY)
def test_what_is_wrong_in_float32_alone_is_found_there(name: str, narrowed: list[bool]) -> None:
    verdict = check(custom(torch.sin, SLIGHTLY[name]), X, order=1)
    assert narrowed == [False]
    if name != "below its rounding":  # WEAK at a point that we chose is nobody's
        assert verdict.outcome is Outcome.FAIL
        assert "float32" in verdict.message


# ---- laws around the point ------------------------------------------------------------------------------------------


def misreads(applies: Callable[[Any], bool]) -> Callable[[Any, Any], Any]:
    """Takes strided memory for contiguous, where `applies`."""

    def backward(g: Any, x: Any) -> Any:
        if applies(g) and not x.is_contiguous():
            x = torch.as_strided(x, x.shape, torch.empty(x.shape).stride(), 0).nan_to_num()
        return g * x.cos()

    return backward


LAID = torch.arange(12, dtype=torch.float64).reshape(3, 4) / 7 - 0.8


@pytest.mark.parametrize(
    ("applies", "where"),
    [(lambda g: g.dtype == torch.float32, "float32"), (lambda g: len(g) > 200, "batch"), (lambda g: True, "")],
    ids=["in float32", "in large batches", "everywhere"],
)
def test_strided_memory_is_misread_at_other_dtypes_and_sizes_too(applies: Callable[[Any], bool], where: str) -> None:
    verdict = check(custom(torch.sin, misreads(applies)), LAID, order=1)
    assert verdict.kind is FailKind.LAW
    assert where in verdict.message.partition("found with")[2]


def test_each_law_is_asked_at_the_given_point_and_a_glance_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Extent] = []
    real = driver.decide

    def noted(*args: Any, extent: Extent, **kwargs: Any) -> Any:
        asked.append(extent)
        return real(*args, extent=extent, **kwargs)

    monkeypatch.setattr(driver, "decide", noted)
    check(torch.sin, X, order=1)
    assert asked[0] is Extent.ALL
    assert set(asked[1:]) == {Extent.GLANCE, Extent.NONE}
    asked.clear()
    check(torch.sin, X, order=1, effort="thorough")
    assert set(asked) == {Extent.ALL}


def test_random_graphs_take_turns_with_the_laws() -> None:
    case = case_of("sin(x)", "float64", "{x: {shape: [3]}}")

    class Agrees(Trial):
        """Whose glances are always fine."""

        def ask(self, *given: Any) -> Any:
            return self.first

        def differs(self, *given: Any, **options: Any) -> str:
            return ""

    trials = [
        Agrees(None, None, replace(case, source=Source("generated", seed=k)), Observation(), {})  # type: ignore[arg-type]
        for k in range(40)
    ]
    named = [names_for(t, Extent.TURN) for t in trials]
    assert all(len(names) == 1 for names in named)
    assert {names[0] for names in named} == set(default_names())
    assert names_for(trials[0], Extent.NONE) == ()
    assert names_for(trials[0], Extent.ALL) == default_names()


def test_tensors_of_arrays_without_dimensions_and_of_parts() -> None:
    base = np.arange(6.0)
    for value in (np.float64(1.5), np.array(2.5), base, base[2:], base[::2], base.reshape(2, 3), base.reshape(2, 3).T):
        made = tensor(value)  # type: ignore[arg-type]
        np.testing.assert_array_equal(made.numpy(), value)
        assert made.storage_offset() == (2 if np.shape(value) == (4,) else 0)
    made = tensor(base)
    made += 1
    assert base[0] == 0.0
