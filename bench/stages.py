"""Where the time of a verdict goes: CPU seconds by stage, measured at the seams between the rooms.

A stage is the time within its functions less that within the stages below them, so that the stages and the rest add up to
the whole. The functions are replaced wherever a module of gradverify holds them, for as long as `measuring` runs.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from importlib import import_module
from typing import Any
from unittest.mock import patch

STAGES: dict[str, tuple[str, ...]] = {
    "trace": ("frameworks.recognise:trace_call",),
    "confirm": ("trace.confirm:disagreement", "trace.confirm:unread_but_used", "frameworks.torch.tracer:_confirmed"),
    "backward": ("judge.exact:trace_backward",),
    "exact": ("judge.exact:evaluate_backward",),
    "oracle": ("oracle.truth:truth", "oracle.truth:with_literals"),
    "second": ("oracle.second:dissent",),
    "budget": ("judge.budget:budget",),
    "subject": (),  # every framework's run_vjp and run_vjp_by
    "laws": ("judge.laws.registry:find_broken",),
    "compare": ("judge.decide:_compare_all",),
    "evidence": ("judge.narrow:find_narrow", "judge.departure:find_departure", "judge.hypotheses.explain:explain"),
    "stability": ("judge.stability:find_unstable",),
}  # fmt: skip
"""Stage -> the functions that do its work, `module:name` within gradverify.

backward is the trace of the backward pass and exact its value in balls; subject counts all calls of the judged function,
those that laws ask for too; evidence is what a FAIL, or digits that are lost, are looked into with."""

CALLS = ("run_vjp", "run_vjp_by")


class Clock:
    """CPU seconds by stage, and how often each was entered."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.times: Counter[str] = Counter()
        self.open: list[str] = []
        self.since = 0.0

    def turn(self) -> None:
        """Book the time since the last turn to the stage that is open."""
        now = time.process_time()
        self.seconds[self.open[-1] if self.open else "rest"] += now - self.since
        self.since = now

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.turn()
            self.open.append(stage)
            self.times[stage] += 1
            try:
                return function(*args, **kwargs)
            finally:
                self.turn()
                self.open.pop()

        return call


@contextmanager
def measuring() -> Iterator[Clock]:
    """A clock that runs within the block. What is not imported yet is not measured: call the function once before."""
    clock = Clock()
    with ExitStack() as stack:
        for stage, functions in STAGES.items():
            for where in functions:
                module, _, name = where.partition(":")
                try:
                    function = getattr(import_module(f"gradverify.{module}"), name)
                except ImportError:  # a framework that is not installed
                    continue
                for holder in _holders(name, function):
                    stack.enter_context(patch.object(holder, name, clock.timed(stage, function)))
        for framework in _frameworks():
            for name in CALLS:
                if name in vars(framework):
                    stack.enter_context(patch.object(framework, name, clock.timed("subject", vars(framework)[name])))
        clock.since = time.process_time()
        yield clock
        clock.turn()


def _holders(name: str, function: Any) -> list[Any]:
    """The modules of gradverify that know the function by its name."""
    modules = [m for n, m in sys.modules.items() if n.startswith("gradverify") and m is not None]
    return [m for m in modules if vars(m).get(name) is function]


def _frameworks() -> list[type]:
    """The classes of frameworks that are in use, without those that wrap another."""
    from gradverify.frameworks.base import Framework
    from gradverify.frameworks.wrapped import Wrapped

    found: list[type] = []
    left = list(Framework.__subclasses__())
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if not issubclass(kind, Wrapped):
            found.append(kind)
    return found
