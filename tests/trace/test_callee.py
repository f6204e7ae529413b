"""Names come from the author: those of `forward`, not `args[0]`, and the class, not `apply`."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import gradverify.engine as engine
from gradverify import check
from gradverify.core.verdict import Outcome
from gradverify.trace.callee import name_of, positional, qualified_name_of, rule_of


class Scaled(engine.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Any, factor: float, *more: Any) -> Any:
        ctx.factor = factor
        return rows * factor

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 2.0 * ctx.factor, None


class Apart(engine.autograd.Function):
    @staticmethod
    def forward(weight: Any, bias: Any) -> Any:
        return weight + bias

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, g


class Below(Apart):
    """Inherits a `setup_context`."""


@pytest.mark.parametrize(
    ("rule", "names"), [(Scaled, ["rows", "factor", "more[0]"]), (Apart, ["weight", "bias"]), (Below, ["weight"])]
)
def test_a_rule_is_called_by_its_class_and_its_arguments_as_forward_has_them(rule: Any, names: list[str]) -> None:
    assert rule_of(rule.apply) is rule
    assert name_of(rule.apply) == rule.__name__
    assert qualified_name_of(rule.apply) == f"{rule.__name__}.apply"
    assert [positional(rule.apply, k) for k in range(len(names))] == names


class Layer:
    """Has `apply`, and is no rule."""

    @classmethod
    def apply(cls, x: Any) -> Any:
        return x


def test_other_callables_keep_their_own_names() -> None:
    assert rule_of(Layer.apply) is None
    assert name_of(Layer.apply) == "apply"
    assert positional(Layer.apply, 0) == "x"
    assert positional(functools.partial(lambda a, b: a, 1), 0) == "b"
    assert positional(max, 0) == "args[0]"
    assert name_of(functools.partial(max)) == "partial"


def test_a_verdict_and_wrt_use_the_names_of_forward() -> None:
    x = engine.tensor(np.array([1.0, 2.0]))
    verdict = check(Scaled.apply, x, 3.0, wrt="rows", effort="quick")
    assert verdict.outcome is Outcome.FAIL
    assert "drows" in verdict.message
    assert verdict.case.startswith("Scaled, ")


def test_torch_rules_are_named_alike() -> None:
    torch = pytest.importorskip("torch")

    class Tripled(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, hidden: Any) -> Any:
            return 3.0 * hidden

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 2.0 * g

    verdict = check(Tripled.apply, torch.tensor([1.0, 2.0], dtype=torch.float64), effort="quick")
    assert "dhidden[0]" in verdict.message
    assert verdict.case.startswith("Tripled, ")
