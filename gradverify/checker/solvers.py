"""Which of SciPy's iterative solvers a function calls, and at what tolerance each stops.

Such a function is no more precise than its solver, and nor are its differences, however smooth they look: between two
changes of its steps a solver errs by a smooth function of its own. A rule is that of what is solved for, and differs from
the differences by that much.
"""

from __future__ import annotations

import cProfile
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

PACKAGES = ("scipy.integrate", "scipy.optimize", "scipy.sparse.linalg")

NAMES = ("rtol", "atol", "tol", "xtol", "ftol", "gtol", "epsabs", "epsrel")
"""What SciPy calls a tolerance."""

DEFAULT = 1.49012e-8
"""The root of the unit roundoff of doubles: what odeint, quad and leastsq take where None is given."""

STEPS = 500
"""The steps that LSODA makes between two points unless it is told otherwise (odeint's mxstep): each may err by the
tolerance, so that what it ends with may by as many times that."""


@dataclass(frozen=True)
class Solver:
    """A solver that was called. Its tolerance is the largest that it was given, or that a solver within it was."""

    name: str
    tolerance: float

    @property
    def precision(self) -> float:
        """The relative error that may come of where the solver stops."""
        return STEPS * self.tolerance

    def __str__(self) -> str:
        return f"{self.name} stops at a tolerance of {self.tolerance:.1e}: an error of {self.precision:.1e} is not seen"


def find_solver(run: Callable[[], Any]) -> Solver | None:
    """The solver that `run` calls, the one of the largest tolerance if several; None where it calls none.

    Exceptions of `run` are passed on.
    """
    found: list[tuple[str, float]] = []

    def watch(frame: FrameType, event: str, arg: Any) -> None:
        module = str(frame.f_globals.get("__name__", ""))
        if event == "call" and module.startswith(PACKAGES):
            found.extend((_public(frame), t) for t in _tolerances(frame))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        run()
    finally:
        _put_back(before)
    return Solver(*max(found, key=lambda of: of[1])) if found else None


def _put_back(profiler: Any) -> None:
    """Make `profiler` the profiler of this thread again. cProfile's is written in C, and is no function."""
    if isinstance(profiler, cProfile.Profile):
        profiler.enable()
    else:
        sys.setprofile(profiler)


def _tolerances(frame: FrameType) -> list[float]:
    """The tolerances among the arguments of a call."""
    code = frame.f_code
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = [frame.f_locals.get(n) for n in NAMES if n in arguments]
    return [float(t) if isinstance(t, int | float) and t > 0 else DEFAULT for t in given]


def _public(frame: FrameType) -> str:
    """The outermost function of the solvers' packages on the way to a frame: the one that the user called."""
    name, at = "", frame
    while at is not None:
        module = str(at.f_globals.get("__name__", ""))
        if module.startswith(PACKAGES):
            package = next(p for p in PACKAGES if module.startswith(p))
            name = f"{package}.{at.f_code.co_name}"
        at = at.f_back  # type: ignore[assignment]
    return name
