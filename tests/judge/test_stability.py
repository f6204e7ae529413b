"""Definitions that lose the digits of their problem, and sound ones that are called nothing."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import Outcome
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")
F = torch.nn.functional


def at(*values: float, dtype: str = "float32") -> Any:
    return torch.tensor(values, dtype=getattr(torch, dtype), requires_grad=True)


UNSTABLE = {
    "the variance as E[x²] - E[x]²": (lambda x: ((x * x).mean() - x.mean() ** 2).sqrt(), at(1000, 1001, 1002.5, 1003)),
    "expm1(x) / x, by the quotient rule": (lambda x: torch.expm1(x) / x, at(1e-4, 2e-5)),
    "exp(x) - 1 over x": (lambda x: (torch.exp(x) - 1) / x, at(1e-4, 2e-5)),
    "sin(x) / x near 0, in doubles": (lambda x: torch.sin(x) / x, at(1e-9, 3e-9, dtype="float64")),
    "a logit from a probability that is nearly 1": (lambda x: torch.log(1 - torch.sigmoid(x)), at(10.0, 9.0)),
    "a root that the quadratic formula cancels": (lambda b: -b + torch.sqrt(b * b - 1), at(2e3, 3e3)),
}


@pytest.mark.parametrize("name", UNSTABLE)
def test_a_definition_that_cancels_is_weak(name: str) -> None:
    fn, x = UNSTABLE[name]
    verdict = judge(fn, x)
    assert verdict.outcome is Outcome.WEAK, verdict.text()
    assert "unstable: " in verdict.message
    assert verdict.formula is not None
    assert verdict.formula.right


def test_the_node_that_cancels_is_named() -> None:
    name = "the variance as E[x²] - E[x]²"
    fn, x = UNSTABLE[name]
    message = judge(fn, x).message
    assert "unstable: mean(multiply(…)) - square(mean(…)) at " in message
    assert f"test_stability.py:{fn.__code__.co_firstlineno} loses" in message


SOUND = {
    "the variance of a large mean": (lambda x: x.var(), at(1000, 1001, 1002.5, 1003)),
    "a difference of inputs that are nearly equal": (lambda x: torch.exp((x[0] - x[1]) * 1e3), at(1.0001, 1.0)),
    "a sine of a large number": (lambda x: torch.sin(100 * x), at(3.0, 5.0)),
    "a sum that nearly cancels": (lambda x: x.sum().tanh(), at(1e3, -1e3, 0.5)),
    "the log of a softmax": (lambda x: F.log_softmax(x, -1), at(0.0, 20.0, -10.0)),
    "a sound root of a quadratic": (lambda b: 1 / (-b - torch.sqrt(b * b - 1)), at(2e3, 3e3)),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_definition_is_called_nothing(name: str) -> None:
    fn, x = SOUND[name]
    verdict = judge(fn, x)
    assert verdict.outcome is Outcome.PASS, verdict.text()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_depth_alone_is_no_instability(dtype: str) -> None:
    torch.manual_seed(1)
    layers = [m for _ in range(8) for m in (torch.nn.Linear(6, 6), torch.nn.Tanh())]
    net = torch.nn.Sequential(*layers).to(getattr(torch, dtype))
    verdict = judge(net, torch.randn(3, 6).to(getattr(torch, dtype)))
    assert verdict.outcome is Outcome.PASS, verdict.text()


# ---- functions that are stepwise at their own precision ----------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-2, 1e-3, 2e-4])
def test_coarse_functions_are_traced(size: float) -> None:
    """In float32 cos(x) moves in steps of 6e-8, and 1 - cos(x) is that coarse."""
    for fn in (lambda x: 1 - torch.cos(x), lambda x: torch.cosh(x) - 1, lambda x: torch.sqrt(1 + x) - 1):
        verdict = judge(fn, at(size, 2 * size))
        assert verdict, verdict.text()


def test_a_wrong_gradient_of_a_coarse_function_fails() -> None:
    wrong = custom(lambda x: 1 - torch.cos(x), lambda g, x: g * torch.sin(x) * 1.01)
    assert judge(wrong, at(1e-3, 2e-3)).outcome is Outcome.FAIL


def test_a_coarse_function_that_leaves_sight_is_no_graph() -> None:
    """x·c(x), the c over NumPy: as a graph, c would be a constant."""

    def fn(x: Any) -> Any:
        return 1 - x * torch.from_numpy(1e-3 * x.detach().numpy())

    verdict = judge(fn, at(1e-3, 2e-3))
    assert verdict.outcome is not Outcome.PASS, verdict.text()


VALUES = {
    "one minus cosine": (lambda x: 1 - torch.cos(x), at(1e-6, 2e-6, dtype="float64")),
    "a power minus one": (lambda x: (1 + x) ** 12 - 1, at(1e-12, 3e-13, dtype="float64")),
    "a mean of squares": (lambda x: (x * x).mean() - x.mean() ** 2, at(1000.0, 1001.0, 1002.5)),
    "a log of a sum near one": (lambda x: torch.log(1 + torch.exp(x)), at(-14.0, -15.0)),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_cancels_while_its_gradient_does_not(name: str) -> None:
    f, x = VALUES[name]
    verdict = judge(f, x, order=1)
    assert verdict.outcome is Outcome.WEAK, verdict.text()
    assert "digits of out, which the problem has; the gradient is right" in verdict.message


SOUND_VALUES = {
    "a root of the cosine": (torch.cos, at(1.5707963, 2.0, dtype="float64")),
    "centred": (lambda x: x - x.mean(), at(1000.0, 1001.0, 1002.0)),
    "many turns": (lambda x: torch.sin(1e8 * x), at(0.3, 2.0, dtype="float64")),
    "a sum that is one": (lambda x: x.softmax(0).sum() - 1, at(1.0, 2.0, 3.0)),
    "a loss near its least value": (lambda x: ((x - 1) ** 2).mean(), at(1 + 1e-5, 1 - 2e-5)),
}


@pytest.mark.parametrize("name", SOUND_VALUES)
def test_a_value_that_is_as_good_as_its_problem(name: str) -> None:
    f, x = SOUND_VALUES[name]
    assert judge(f, x, order=1).outcome is Outcome.PASS


@pytest.mark.parametrize("size", [1e200, 1e-200, 1e300])
def test_digits_are_counted_at_the_ends_of_the_range(size: float) -> None:
    """The squares of a scatter leave the doubles there: a FAIL, whose graph is drawn, ended in an error of ours."""
    squares = lambda g, x, y: (g * x / torch.sqrt(x * x + y * y), g * y / torch.sqrt(x * x + y * y))
    x, y = at(size, 3.0, dtype="float64"), at(size / 2, 4.0, dtype="float64")
    verdict = judge(custom(torch.hypot, squares), x, y, order=1)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
