"""A question: the function to judge and the options; and the points at which it is judged."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .. import frameworks
from ..core.case import Case
from ..core.errors import BadInput
from ..core.limits import TimeLimit, time_limit
from ..frameworks.base import Programs
from ..judge.laws import Extent
from ..judge.orders import Below
from ..trace.callee import name_of, qualified_name_of
from .calls import Calls

Effort = Literal["quick", "normal", "thorough"]

TRIALS: Mapping[str, int] = {"quick": 0, "normal": 1, "thorough": 4}
"""How many times each way of moving away from the given point is tried."""

PASSES = "the function, or its backward pass,"
"""What hangs, in messages about the time limit of a VJP."""

TIME_LIMIT = 120.0
"""Seconds for a run of the function, where the caller sets no other limit."""


@dataclass(frozen=True, eq=False)
class Question:
    """A function, its arguments, and the options of its judgement.

    fn, args, kwargs  the function and the call at the given point
    wrt        arguments to differentiate, by name; None: those that require grad, or all
    cotangent  of the outputs at the given point; None: drawn
    reference  a definition over the same arguments, in place of the function's own forward
    surrogate  the function whose gradient is meant, where it is not that of the forward pass
    seed       of everything that is drawn
    device     "cpu", "cuda"; None: the framework's default
    time_limit  seconds for each run of the function; None: no limit
    stop_gradients  is it meant that what the function detaches passes no gradient? Then the definition holds that fixed
               where it matters; else a gradient that is right with that alone fails. What the framework documents to
               pass none is held fixed in either case
    second     is the second order asked as well, where the backward pass is custom?
    above      is any order above this one asked?
    derived    the function is a derivative of somebody's function, not a function that somebody wrote
    below      with `derived`: the function that it is the derivative of, as a case
    framework  whose function it is, where the caller says so
    bounds     (smallest, largest) of each array among the arguments, in order, that the function is about; None, or none at
               all, where nobody says
    dtype      what the arguments were converted to, where that was asked for: no other dtype is tried then
    keep       (given, changed) -> the changed array with what must be kept of the given one, where a probe changes values
    relaid     how many arrays, the last ones among the arguments, laws may lay out otherwise in memory; None: all of them
    calls      the forward calls that may be made where the function has no definition; None: those of the effort
    sized      does the function read further arrays, of sizes that belong to those of the arguments? Then no size and no
               dtype is changed
    programs   what stands for the function's own calls, within one walk around its given point
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrt: tuple[str, ...] | None = None
    cotangent: tuple[np.ndarray, ...] | None = None
    reference: Callable[..., Any] | None = None
    surrogate: Callable[..., Any] | None = None
    seed: int = 0
    device: str | None = None
    time_limit: float | None = TIME_LIMIT
    stop_gradients: bool = False
    second: bool = False
    above: bool = False
    derived: bool = False
    below: Below | None = None
    framework: str | None = None
    bounds: tuple[tuple[float, float] | None, ...] = ()
    dtype: str | None = None
    keep: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    relaid: int | None = None
    sized: bool = False
    calls: Calls | None = None
    programs: Programs = field(default_factory=Programs)

    @property
    def name(self) -> str:
        """The function's name, as verdicts use it."""
        return name_of(self.fn)

    @property
    def given(self) -> Point:
        """The point of the caller's own arguments."""
        return Point(self.args, cotangent=self.cotangent)

    def title(self, point: Point) -> str:
        """The name of the case at a point."""
        return f"{self.name}, {point.name}"

    @contextmanager
    def limit_time(self, what: str) -> Iterator[None]:
        """Raise BadInput where the block runs into the time limit: "`what` hangs" where the function was running then."""
        block = None
        try:
            with time_limit(self.time_limit) as block:
                yield
        except TimeLimit as e:
            if e.block is not block:
                raise  # the limit of a caller of ours
            if not _was_called(e):
                raise BadInput(f"judging it takes too long: {e}, with the function not called. {LONGER}") from None
            raise BadInput(f"{what} hangs: {e}") from e


LONGER = 'A larger time_limit= lets it go on; effort="quick", or fewer entries, ask for less'

ADAPTERS = os.path.dirname(os.path.abspath(frameworks.__file__))
"""The only code that calls a judged function."""


def _was_called(e: BaseException | None) -> bool:
    """Was the judged function, or its framework, running when this was raised?"""
    while e is not None:
        frames = traceback.walk_tb(e.__traceback__)
        if any(frame.f_code.co_filename.startswith(ADAPTERS) for frame, _ in frames):
            return True
        e = e.__cause__
    return False


@dataclass(frozen=True, eq=False)
class Point:
    """A point at which a function is judged.

    args       the arguments
    name       what verdicts call the point
    cotangent  of the outputs; None: drawn
    most       array entries, over all nodes of the graph, that its judgement may take; None: no limit
    salt       text that the drawn cotangent depends on, besides the question's seed
    extent     which laws are asked
    earlier    a case that the function was asked before, at another point
    """

    args: tuple[Any, ...]
    name: str = "as given"
    cotangent: tuple[np.ndarray, ...] | None = None
    most: int | None = None
    salt: str = "as given"
    extent: Extent = Extent.ALL
    earlier: Case | None = None


def describe_function(fn: Callable[..., Any]) -> str:
    """The function, as messages about a call name it."""
    return f"the function {qualified_name_of(fn)}"
