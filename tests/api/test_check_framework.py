"""check_framework lets sound adapters pass, and finds each way of being unsound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradverify.core.errors import Unsupported
from gradverify.core.graph import Graph
from gradverify.frameworks.base import Observation
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.testing import UnsoundFramework, check_framework


class Small(EngineFramework):
    """The engine in one dtype and few ops, so that the tests are quick; each test spoils it."""

    name = "small"
    dtypes = ("float64",)
    has = frozenset("add subtract multiply divide negative sum matmul relu sin exp".split())

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        for node in graph.nodes:
            op = getattr(node, "op", "add")
            if op not in self.has:
                raise Unsupported(f"small has no {op}")
        return super().function(graph, dtype)


class Changed(Small):
    """Small, with its observations or its arguments passed through a change."""

    def __init__(self, after: Any = None, before: Any = None) -> None:
        self.after, self.before = after, before

    def run_vjp(
        self, function: Any, values: Mapping[str, np.ndarray], wrt: tuple[str, ...], cotangent: tuple[np.ndarray, ...]
    ) -> Observation:
        if self.before:
            function, values, wrt, cotangent = self.before(function, values, wrt, cotangent)
        seen = super().run_vjp(function, values, wrt, cotangent)
        return self.after(seen, values, cotangent) if self.after and seen.raised is None else seen


def gradients(change: Callable[[np.ndarray], Any]) -> Any:
    return lambda seen, *_: replace(
        seen, gradients={n: None if g is None else change(g) for n, g in seen.gradients.items()}
    )


def test_a_sound_adapter_is_reported_on() -> None:
    report = check_framework(Small(), graphs=10)
    assert set(report.ops) == Small.has
    assert report.lacks["cos"] == "small has no cos"
    assert report.judged["PASS"] >= 30
    assert "FAIL" not in report.judged
    assert {"flipped sign", "one entry off by 1e-10", "ignored cotangent", "written-to input"} <= set(report.faults)
    assert str(report).startswith("small (float64): right about 10 of 10 ops that it runs, lacks ")


class Slips(Small):
    """Small, whose gradients are off for graphs with sin or with matmul."""

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        self.is_off = {getattr(node, "op", "") for node in graph.nodes} & {"sin", "matmul"}
        return super().function(graph, dtype)

    def run_vjp(self, *args: Any) -> Observation:
        seen = super().run_vjp(*args)
        if not self.is_off or seen.raised:
            return seen
        return replace(seen, gradients={n: g if g is None else g * 1.5 for n, g in seen.gradients.items()})


def test_all_failures_are_reported_with_a_score_and_a_table() -> None:
    with pytest.raises(UnsoundFramework) as raised:
        check_framework(Slips(), graphs=10)
    report = raised.value.report
    assert set(report.broken) == {"sin", "matmul"}
    assert set(report.ops) == Small.has - {"sin", "matmul"}
    assert report.score == 8 / 10
    assert report.lacks["cos"] == "small has no cos"
    assert report.table["sin"]["FAIL"] >= 1
    assert report.table["exp"].keys() == {"PASS"}
    assert report.table["cos"].keys() == {"lacks"}
    # Fixed cases with these ops, and the ops alone. Random graphs are of the others, and pass.
    assert {f.where for f in report.failures} == {"sin(x) * exp(y)", "matmul(M, x)", "sin", "matmul"}
    text = str(raised.value)
    assert "right about 8 of 10 ops that it runs" in text
    for where in {f.where for f in report.failures}:
        first, *others = [f for f in report.failures if f.where == where]
        assert str(first) in text
        assert (f"and {len(others)} more of {where}" in text) == bool(others)
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "FAIL" in rows["op"]
    assert "cos " not in text.partition("more ops only pass")[0]


def test_each_fault_of_an_adapter_is_a_failure_of_its_own() -> None:
    class Two(Small):
        def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
            try:
                seen = super().run_vjp(function, values, wrt, cotangent)
            except Unsupported:
                return Observation(raised=RuntimeError("lost"), stage="forward")
            if isinstance(seen.raised, ZeroDivisionError):
                return replace(seen, stage="backward")
            return seen

    with pytest.raises(UnsoundFramework) as raised:
        check_framework(Two(), graphs=0)
    said = [f.message for f in raised.value.report.failures if f.where == "adapter"]
    assert any("is 'forward', not 'backward'" in m for m in said)
    assert any("Unsupported is lost" in m for m in said)


@pytest.mark.parametrize("method", ["function", "run_vjp"])
def test_what_an_adapter_raises_of_its_own_is_a_failure_of_that_op(method: str) -> None:
    class Raises(Small):
        def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
            self.is_off = any(getattr(node, "op", "") == "matmul" for node in graph.nodes)
            if self.is_off and method == "function":
                raise KeyError("a mistake of its author's")
            return super().function(graph, dtype)

        def run_vjp(self, *args: Any) -> Observation:
            if self.is_off and method == "run_vjp":
                raise ValueError("a mistake of its author's")
            return super().run_vjp(*args)

    with pytest.raises(UnsoundFramework, match="a mistake of") as raised:
        check_framework(Raises(), graphs=5)
    report = raised.value.report
    assert report.broken == ("matmul",)
    assert set(report.ops) == Small.has - {"matmul"}
    assert {f.where for f in report.failures} == {"matmul(M, x)", "matmul"}


def test_an_op_is_judged_in_each_dtype() -> None:
    class Narrow(Small):
        dtypes = ("float32", "float64")

        def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
            self.is_off = dtype == "float32" and any(getattr(node, "op", "") == "exp" for node in graph.nodes)
            return super().function(graph, dtype)

        def run_vjp(self, *args: Any) -> Observation:
            seen = super().run_vjp(*args)
            return replace(seen, outputs=tuple(o + o.dtype.type(1) for o in seen.outputs)) if self.is_off else seen

    with pytest.raises(UnsoundFramework) as raised:
        check_framework(Narrow(), graphs=0)
    assert raised.value.report.broken == ("exp",)
    assert {f.dtype for f in raised.value.report.failures} == {"float32"}


def test_a_list_that_outlived_a_repair_is_found_beside_other_failures() -> None:
    with pytest.raises(UnsoundFramework) as raised:
        check_framework(Slips(), graphs=0, wrong={"sin": "off by a half", "exp": "for no reason"})
    report = raised.value.report
    assert report.weak == {"sin": "off by a half"}
    assert {f.where for f in report.failures} == {"sin(x) * exp(y)", "matmul(M, x)", "matmul", "exp"}


def _kept() -> Any:
    """Keeps the first function of each signature: what a cache with too small a key does."""
    first: dict[Any, Any] = {}

    def before(function: Any, values: Any, wrt: Any, cotangent: Any) -> Any:
        key = tuple((n, v.shape) for n, v in values.items())
        return first.setdefault(key, function), values, wrt, cotangent

    return before


def _written(seen: Observation, values: Any, cotangent: Any) -> Observation:
    """The gradient of x in x's own memory."""
    g = seen.gradients.get("x")
    if g is None or g.shape != values["x"].shape or not values["x"].flags.writeable:
        return seen
    values["x"][...] = g
    return replace(seen, gradients={**seen.gradients, "x": values["x"]})


def _doubled(function: Any, values: Any, wrt: Any, cotangent: Any) -> Any:
    return function, values, wrt, tuple(np.abs(g) for g in cotangent)


UNSOUND = {
    "flips the sign": (gradients(np.negative), None, "FAIL"),
    "off by a billionth": (gradients(lambda g: g * (1 + 1e-9)), None, "FAIL"),
    "another dtype": (gradients(lambda g: g.astype(np.float32)), None, "has dtype float32"),
    "takes |cotangent|": (None, _doubled, "FAIL"),
    "keeps the first function": (None, _kept(), "FAIL|does not run the function"),
    "gradients in the inputs' memory": (_written, None, "FAIL|shares memory|wrote into"),
    "no gradient of y": (
        lambda seen, *_: replace(seen, gradients={n: g for n, g in seen.gradients.items() if n != "y"}),
        None,
        "no gradient for y",
    ),
    "gradients that were not asked for": (
        lambda seen, values, _: replace(seen, gradients={**seen.gradients, "z": np.zeros(())}),
        None,
        "were asked for",
    ),
}


@pytest.mark.parametrize("how", UNSOUND)
def test_an_unsound_adapter_is_found_out(how: str) -> None:
    after, before, message = UNSOUND[how]
    with pytest.raises(AssertionError, match=message):
        check_framework(Changed(after, before), graphs=10)


def test_shared_memory_between_calls_is_found() -> None:
    room: dict[Any, np.ndarray] = {}

    def shared(seen: Observation, *_: Any) -> Observation:
        def kept(label: str, g: Any) -> Any:
            out = room.setdefault((label, g.shape), np.array(g))
            if not np.array_equal(out, np.full_like(out, 7.0)):
                out[...] = g
            return out

        return replace(seen, gradients={n: g if g is None else kept(n, g) for n, g in seen.gradients.items()})

    with pytest.raises(AssertionError, match=r"second call|FAIL"):
        check_framework(Changed(shared), graphs=0)


def test_a_swallowed_exception_is_found() -> None:
    class Swallows(Small):
        def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
            seen = super().run_vjp(function, values, wrt, cotangent)
            return replace(seen, raised=None) if isinstance(seen.raised, ZeroDivisionError) else seen

    with pytest.raises(AssertionError, match=r"put into Observation\.raised"):
        check_framework(Swallows(), graphs=0)


def test_a_wrong_stage_is_found() -> None:
    class Late(Small):
        def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
            seen = super().run_vjp(function, values, wrt, cotangent)
            return replace(seen, stage="backward") if seen.raised else seen

    with pytest.raises(AssertionError, match="is 'forward', not 'backward'"):
        check_framework(Late(), graphs=0)


def test_no_subject_at_all() -> None:
    class Half:
        name = "half"

    with pytest.raises(AssertionError, match="is no Framework"):
        check_framework(Half())  # type: ignore[arg-type]


def test_unknown_dtypes() -> None:
    class Odd(Small):
        dtypes = ("float65",)

    with pytest.raises(AssertionError, match="unknown dtypes: float65"):
        check_framework(Odd())


def test_an_unavailable_subject_is_no_failure() -> None:
    class Absent(Small):
        def unavailable(self) -> str:
            return "small is not installed"

    with pytest.raises(Unsupported, match="not installed"):
        check_framework(Absent())


def test_a_subject_that_runs_nothing() -> None:
    class Nothing(Small):
        has = frozenset()

    with pytest.raises(
        AssertionError, match="runs none of the fixed cases in float64 rightly; the first reason: small has no"
    ):
        check_framework(Nothing())


def test_what_is_said_to_be_wrong_must_be() -> None:
    with pytest.raises(AssertionError, match=r"sin is said to be wrong \(for no reason\), and is found right"):
        check_framework(Small(), graphs=0, wrong={"sin": "for no reason"})
