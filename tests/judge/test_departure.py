"""The wrong step of a backward pass is named, with its line and its repair; where no single step is wrong, nothing is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from gradverify import FailKind, Outcome
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")
F = torch.nn.functional


def line_of(fn: Any, text: str) -> int:
    source, first = inspect.getsourcelines(fn)
    return first + next(k for k, line in enumerate(source) if text in line)


def found(run: Callable[..., Any], back: Callable[..., Any], *args: Any) -> dict[str, Any]:
    fn = custom(run, back)
    verdict = judge((lambda x: fn(x)) if len(args) == 1 else (lambda x, w: fn(x, w)), *args)
    assert verdict.kind is FailKind.WRONG, verdict.text()
    assert "departure" in verdict.facts, verdict.text()
    assert "The first wrong step of the backward pass is" in verdict.message
    return dict(verdict.facts["departure"])


def at(dtype: str = "float32") -> Any:
    return torch.tensor([0.3, -0.7, 1.1, 1.9], dtype=getattr(torch, dtype), requires_grad=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_a_wrong_literal(dtype: str) -> None:
    def back(g: Any, x: Any) -> Any:
        s = torch.sigmoid(x)
        slope = s * (1 - s) * 0.5
        return g * slope

    departure = found(torch.sigmoid, back, at(dtype))
    assert departure["repair"] == "with 1 for 0.5"
    assert departure["site"] == (__file__, line_of(back, "0.5"))


def test_a_wrong_sign() -> None:
    def back(g: Any, x: Any) -> Any:
        s = torch.sigmoid(x)
        t = s + x * s * (1 + s)
        return g * t

    departure = found(F.silu, back, at())
    assert departure["repair"] == "with 1.0 - sigmoid(x) in its place"
    assert departure["site"] == (__file__, line_of(back, "1 + s"))


def test_a_square_that_is_missing() -> None:
    def back(g: Any, x: Any) -> Any:
        y = torch.tanh(x)
        return g * (1 - y)

    departure = found(torch.tanh, back, at())
    assert departure["repair"] == "with the square of tanh(x) for tanh(x)"


def test_another_variable() -> None:
    """LayerNorm's weight: x for its normalised value."""

    def run(x: Any, w: Any) -> Any:
        return (x - x.mean()) * torch.rsqrt(x.var(correction=0) + 1e-5) * w

    def back(g: Any, x: Any, w: Any) -> Any:
        r = torch.rsqrt(x.var(correction=0) + 1e-5)
        h = (x - x.mean()) * r
        gw = g * w
        dw = g * x
        return r * (gw - gw.mean() - h * (gw * h).mean()), dw

    w = torch.tensor([1.0, 0.5, 2.0, 1.5], requires_grad=True)
    departure = found(run, back, at(), w)
    assert departure["site"] == (__file__, line_of(back, "dw = g * x"))
    assert departure["repair"].endswith(" for x")


def test_a_mean_for_a_sum() -> None:
    def back(g: Any, x: Any) -> Any:
        p = torch.softmax(x, -1)
        inner = (g * p).mean(-1, keepdim=True)
        return p * (g - inner)

    departure = found(lambda x: torch.softmax(x, -1), back, at())
    assert departure["site"] == (__file__, line_of(back, "inner ="))
    assert departure["repair"] == "with 4 times its value"


def test_a_term_that_is_missing() -> None:
    """The cotangent of a node of the definition is not what stands in its place."""

    def run(x: Any) -> Any:
        y = torch.exp(x)
        return y * torch.sin(y)

    def back(g: Any, x: Any) -> Any:
        y = torch.exp(x)
        dy = g * y * torch.cos(y)
        return dy * y

    departure = found(run, back, at())
    assert departure["site"] == (__file__, line_of(back, "dy ="))
    assert "the cotangent of exp(x)" in departure["repair"]


def test_a_mask_on_the_wrong_side() -> None:
    def back(g: Any, x: Any) -> Any:
        mask = x < 0
        return torch.where(mask, g, 0.1 * g)

    departure = found(lambda x: F.leaky_relu(x, 0.1), back, at())
    assert departure["site"][1] in (line_of(back, "mask ="), line_of(back, "where"))


def test_a_matrix_that_is_not_transposed() -> None:
    def back(g: Any, x: Any, w: Any) -> Any:
        dx = g @ w
        return dx, x.T @ g

    x, w = (torch.randn(3, 3, generator=torch.Generator().manual_seed(k)).requires_grad_() for k in (0, 1))
    departure = found(torch.matmul, back, x, w)
    assert departure["repair"] == "with w transposed"
    assert departure["site"] == (__file__, line_of(back, "dx ="))


def test_the_line_is_that_of_the_wrong_step_and_not_of_what_hands_it_on() -> None:
    def back(g: Any, x: Any) -> Any:
        c = torch.cos(x) * 2
        d = g * c
        e = d * torch.exp(torch.sin(x))
        return e + 0 * x

    departure = found(lambda x: torch.exp(torch.sin(x)), back, at())
    assert departure["site"] == (__file__, line_of(back, "c ="))


def test_silent_where_two_steps_are_wrong() -> None:
    def run(x: Any, y: Any) -> Any:
        return torch.sin(x) * torch.cos(y)

    def back(g: Any, x: Any, y: Any) -> Any:
        return g * torch.cos(x) * torch.cos(y * 1.1), -g * torch.sin(x) * torch.sin(y) * torch.exp(y)

    verdict = judge(custom(run, back), at(), torch.tensor([0.2, 0.5, 0.9, -0.4], requires_grad=True))
    assert verdict.kind is FailKind.WRONG
    assert "departure" not in verdict.facts


def test_silent_where_the_formula_is_right() -> None:
    """Digits are lost, and no step is wrong."""
    x = torch.full((3,), 7.0, requires_grad=True)
    verdict = judge(custom(torch.tanh, lambda g, x: g * (1 - torch.tanh(x) ** 2)), x)
    assert verdict.outcome is Outcome.FAIL
    assert "departure" not in verdict.facts


def test_silent_where_the_formula_cannot_be_traced() -> None:
    back = lambda g, x: g * torch.from_numpy(2 * x.detach().numpy())
    verdict = judge(custom(torch.exp, back), at())
    assert verdict.outcome is Outcome.FAIL
    assert "departure" not in verdict.facts


def test_numpy_by_hand() -> None:
    import numpy as np

    vjp = lambda g, x: g * np.cos(x) * 3
    verdict = judge(np.sin, np.linspace(-1, 1, 6), vjp=vjp)
    assert verdict.facts["departure"]["repair"] == "with 1 for 3"
