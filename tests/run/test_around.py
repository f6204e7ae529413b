"""A spec's own function (`call:`): the probes of check, and the ends of a stated domain."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gradverify.core.errors import SpecError
from gradverify.core.outcome import Outcome, Reason
from gradverify.core.verdict import Verdict
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.judge.decide import decide
from gradverify.run.config import EFFORT
from gradverify.run.plan import spec_jobs
from gradverify.run.runner import Runner, Settings
from gradverify.spec.document import loads
from gradverify.spec.from_expression import expression_case
from tests.helpers import custom

torch = pytest.importorskip("torch")


def _series(x: Any) -> Any:
    return x - x**3 / 6 + x**5 / 120 - x**7 / 5040 + x**9 / 362880 - x**11 / 39916800 + x**13 / 6227020800


FUNCTIONS = {
    "right": custom(torch.sin, lambda g, x: g * x.cos()),
    "large": custom(torch.sin, lambda g, x: g * x.cos() * (2 if len(x) > 100 else 1)),
    "softplus": custom(torch.nn.functional.softplus, lambda g, x: g * x.exp() / (1 + x.exp())),
    "ends": custom(torch.log1p, lambda g, x: g * torch.where(x < -0.99, 2.0, 1 / (1 + x))),
    "series": custom(_series, lambda g, x: g * x.cos()),
}


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(EFFORT, raising=False)
    theirs = ModuleType("their_functions")
    for name, function in FUNCTIONS.items():
        setattr(theirs, name, function)
    sys.modules["their_functions"] = theirs
    yield
    del sys.modules["their_functions"]


def judged(expr: str, call: str, x: str, dtype: str = "float64") -> Verdict:
    text = f"""
gradverify: 1
cases:
  - {{name: c, expr: {expr}, call: "their_functions:{call}", inputs: {{x: {x}}}, subjects: [torch], dtypes: [{dtype}]}}
"""
    settings = Settings()
    (job,) = spec_jobs(loads(text), settings, "s.grad.yaml")
    return Runner(settings).judge_job(job).verdict


def test_the_probes_are_those_of_check() -> None:
    verdict = judged("sin(x)", "right", "{shape: [4]}")
    assert verdict.outcome is Outcome.PASS
    assert {"other values", "a larger batch", "float32", "as given, once more"} <= set(verdict.facts["tried"])
    assert "a batch of 273" in judged("sin(x)", "large", "{shape: [4]}").message


def test_effort_quick_stays_at_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EFFORT, "quick")
    assert judged("sin(x)", "large", "{shape: [4]}").outcome is Outcome.PASS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stated_domain_is_asked_at_its_ends(dtype: str) -> None:
    verdict = judged("log1p(x)", "ends", "{shape: [3], domain: [-0.999, 3]}", dtype)
    assert verdict.outcome is Outcome.FAIL
    assert "the ends of the stated domain" in verdict.message
    assert judged("log1p(x)", "ends", "{shape: [3], domain: [-0.5, 3]}", dtype).outcome is Outcome.PASS


def test_nothing_is_asked_outside_of_a_stated_domain() -> None:
    assert judged("softplus(x)", "softplus", "{shape: [8]}").outcome is Outcome.FAIL  # where exp overflows
    verdict = judged("softplus(x)", "softplus", "{shape: [8], domain: [-20, 20]}")
    assert verdict.outcome is Outcome.PASS, verdict.text()


def test_a_function_with_a_series_of_its_own_has_the_definition_of_the_spec() -> None:
    verdict = judged("sin(x)", "series", "{shape: [3], domain: [-0.25, 0.25]}")
    assert verdict.outcome is Outcome.PASS, verdict.text()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_ends_lie_within_the_domain_in_every_dtype(dtype: str) -> None:
    text = """
gradverify: 1
cases:
  - {name: c, expr: x * y, inputs: {x: {shape: [3], domain: [-0.1, 0.7]}, y: {shape: [3]}}}
"""
    (spec,) = loads(text).cases
    first, second = spec.at_ends(dtype)
    for case in (first, second):
        x = case.values["x"].astype(np.float64)
        assert set(np.round(x, 2)) == {-0.1, 0.7}
        assert x.min() >= -0.1
        assert x.max() <= 0.7
        np.testing.assert_array_equal(case.values["y"], spec.case(dtype).values["y"])  # its domain is derived
    assert not np.array_equal(first.values["x"], second.values["x"])


@pytest.mark.parametrize(
    ("expr", "inputs"),
    [
        ("where(m, 1.0, 2.0)", "{m: [true, false]}"),
        ("take([1.0, 2.0], n, axis=0)", "{n: {values: [0, 1], dtype: int64}}"),
    ],
)
def test_a_spec_without_anything_to_differentiate_is_refused(expr: str, inputs: str) -> None:
    with pytest.raises(SpecError, match="no input is floating-point: there is no gradient to judge"):
        loads(f"gradverify: 1\ncases:\n  - {{name: c, expr: '{expr}', inputs: {inputs}}}\n")


def test_a_case_without_anything_to_differentiate_is_undecided() -> None:
    case = replace(expression_case("x * x", {"x": [1.0, 2.0]}), wrt=())
    verdict = decide(case, EngineFramework())
    assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, Reason.SUBJECT)
