"""The examples' adapters, each proved sound by `check_framework`, and what that finds in their frameworks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradverify.core.verdict import FailKind, Outcome
from gradverify.frameworks.base import Framework
from gradverify.judge.decide import decide
from gradverify.spec.from_expression import expression_case
from gradverify.testing import check_framework

FOLDER = Path(__file__).parents[2] / "examples" / "adapters"


def adapter(module: str) -> Any:
    """The example's Framework; skipped where its framework is not installed."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install gradverify[dev]")
    spec = importlib.util.spec_from_file_location(f"adapter_of_{module}", FOLDER / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, module.capitalize())()


@pytest.mark.parametrize("module", ["micrograd", "tinygrad", "autograd"])
def test_an_adapter_is_a_subject_of_less_than_50_lines(module: str) -> None:
    assert len((FOLDER / f"{module}.py").read_text().splitlines()) < 50
    assert isinstance(adapter(module), Framework)


def test_micrograd() -> None:
    report = check_framework(adapter("micrograd"), graphs=20)
    assert {"add", "multiply", "pow", "relu", "matmul", "sum"} <= set(report.ops)
    assert report.lacks["exp"] == "no counterpart of the op 'exp'"
    assert "flipped sign" in report.faults


def test_autograd() -> None:
    """where() hands back gradients in the broadcast shape."""
    wrong = {"where": "the gradient is not summed over the axes that broadcasting added"}
    report = check_framework(adapter("autograd"), graphs=20, wrong=wrong)
    assert {"logsumexp", "erf", "matmul", "var"} <= set(report.ops)
    assert len(report.ops) >= 60


SINGLE = "an approximation by a polynomial with the digits of float32"
TINYGRAD = {
    "asin": "its gradient is 0 at 0, where it is 1 (sign(0) is a factor); " + SINGLE,
    "acos": "as asin",
    "atan": SINGLE,
    "erf": SINGLE,
    "tanh": "1 - tanh(x)**2 loses the digits of the tails",
    "sigmoid": "s * (1 - s) loses the digits of the tails",
}


def test_tinygrad() -> None:
    others = {"asinh": "a difference of near numbers", "mish": "by tanh"}
    subject = adapter("tinygrad")
    subject.dtypes = ("float64",)  # each kernel is compiled, and then emulated in Python: seconds count
    report = check_framework(subject, graphs=4, wrong=TINYGRAD | others)
    assert {"add", "matmul", "exp", "max", "getitem"} <= set(report.ops)
    assert report.weak.keys() == (TINYGRAD | others).keys()


def test_tinygrads_asin_has_no_slope_at_zero() -> None:
    verdict = decide(expression_case("asin(x)", {"x": np.array([0.0, 0.5])}, "float32"), adapter("tinygrad"))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.kind is FailKind.WRONG
    bad = next(c.worst for c in verdict.comparisons if c.of == "dx")
    assert bad is not None
    assert bad.index == (0,)
    assert float(bad.got) == 0.0


def test_autograds_where_forgets_to_sum() -> None:
    inputs = {"m": np.array([True, False]), "x": np.ones(2), "y": np.ones((3, 2))}
    verdict = decide(expression_case("where(m, x, y)", inputs), adapter("autograd"))
    assert verdict.kind is FailKind.RAISED  # its own bookkeeping trips over the shape (3, 2) of the gradient of x


def test_autograds_var_does_not_know_the_standards_correction() -> None:
    """Its forward hands `correction` on to NumPy, its gradient ignores it: no error, and a wrong answer."""
    subject = adapter("autograd")
    import autograd.numpy as anp

    case = expression_case("var(x, correction=1)", {"x": np.array([1.0, 2.0, 4.0])})
    assert decide(case, subject, function=lambda x: anp.var(x, ddof=1)).outcome is Outcome.PASS
    assert decide(case, subject, function=lambda x: anp.var(x, correction=1)).kind is FailKind.WRONG
