"""Functions that call an iterative solver are as precise as it is: a rule that is off by that is nobody's fault."""

from __future__ import annotations

import cProfile
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradverify import Outcome, check
from gradverify.checker.solvers import DEFAULT, Solver, find_solver
from tests.helpers import custom

optimize = pytest.importorskip("scipy.optimize")
integrate = pytest.importorskip("scipy.integrate")


def test_the_tolerance_that_is_given_and_the_one_that_is_not() -> None:
    line = lambda y, t: -y
    assert find_solver(lambda: integrate.odeint(line, 1.0, [0.0, 1.0])) == Solver("scipy.integrate.odeint", DEFAULT)
    found = find_solver(lambda: integrate.solve_ivp(lambda t, y: -y, (0.0, 1.0), [1.0], rtol=1e-6, atol=1e-9))
    assert found is not None
    assert found == Solver("scipy.integrate.solve_ivp", 1e-6)
    found = find_solver(lambda: optimize.brentq(lambda x: x - 0.3, 0.0, 1.0, xtol=1e-5))
    assert found == Solver("scipy.optimize.brentq", 1e-5)


def test_none_is_called() -> None:
    assert find_solver(lambda: np.linalg.solve(np.eye(2), np.ones(2))) is None


def test_an_exception_is_passed_on_and_the_profile_is_put_back() -> None:
    import sys

    before = sys.getprofile()
    with pytest.raises(ZeroDivisionError):
        find_solver(lambda: 1 // 0)
    assert sys.getprofile() is before


def test_what_the_steps_add_up_to() -> None:
    assert Solver("odeint", DEFAULT).precision == pytest.approx(7.45e-6, rel=1e-2)


def root(tolerance: float) -> Callable[[Any], Any]:
    """The function of x that solves y³ + y = x for y, to this tolerance."""
    torch = pytest.importorskip("torch")

    def forward(x: Any) -> Any:
        ys = [optimize.ridder(lambda y, v=float(v): y**3 + y - v, -9.0, 9.0, xtol=tolerance) for v in x.detach()]
        return torch.tensor(ys, dtype=x.dtype)

    return forward


def off_by(factor: float, forward: Callable[[Any], Any]) -> Callable[..., Any]:
    return custom(forward, lambda g, x: factor * g / (3 * forward(x) ** 2 + 1))


@pytest.mark.slow
def test_a_rule_that_is_right_to_the_tolerance_is_not_wrong() -> None:
    """ridder ends anywhere within its tolerance: the slope has an error of its own."""
    torch = pytest.importorskip("torch")
    x = torch.tensor([1.0, 2.5], dtype=torch.float64, requires_grad=True)
    forward = root(1e-7)
    assert check(off_by(1 + 1e-5, forward), x, effort="quick").outcome is not Outcome.FAIL
    assert check(off_by(1.01, forward), x, effort="quick").outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE)


@pytest.mark.slow
@pytest.mark.parametrize("xtol", [1e-7, 1e-9])
def test_an_error_beyond_what_the_solver_resolves_is_wrong(xtol: float) -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor([1.0, 2.5], dtype=torch.float64, requires_grad=True)
    assert check(off_by(1.01, root(xtol)), x, effort="quick").outcome is not Outcome.PASS


@pytest.mark.slow
def test_an_adjoint_that_differs_from_the_solver_by_its_tolerance() -> None:
    autograd = pytest.importorskip("autograd")
    anp = autograd.numpy
    solve = pytest.importorskip("autograd.scipy.integrate").odeint
    t, y0 = np.linspace(0.1, 0.2, 4), np.array([1.6243, -0.6118, -0.5282])

    def slope(y: Any, t: Any, a: Any, b: Any) -> Any:
        return -anp.sqrt(t) - y + a - anp.mean((y + b) ** 2)

    a, b = np.array([-1.073, 0.8654, -2.3015]), np.array([1.7448, -0.7612, 0.319])
    verdict = check(lambda y: solve(slope, y, t, (a, b)), y0, effort="quick", order=1)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert all(c.power < 1e-3 for c in verdict.comparisons)
    wrong = autograd.extend.primitive(lambda y: solve(slope, y, t, (a, b)))
    right = autograd.make_vjp(lambda y: solve(slope, y, t, (a, b)))
    autograd.extend.defvjp(wrong, lambda out, y: lambda g: 1.001 * right(y)[0](g))
    assert check(wrong, y0, effort="quick", order=1).outcome is Outcome.FAIL


def test_a_profiler_in_c_is_put_back() -> None:
    """cProfile's is no function, and `sys.setprofile` takes nothing else."""
    profile = cProfile.Profile()
    profile.enable()
    try:
        assert find_solver(lambda: None) is None
        assert sys.getprofile() is profile
    finally:
        profile.disable()
    assert sys.getprofile() is None
