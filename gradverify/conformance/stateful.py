"""The machine driven by Hypothesis: a rule per move, so that Hypothesis chooses, remembers failures and shrinks them.

TestTorch = state_machine(find("torch"), find("engine")).TestCase
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from .engines import Engine
from .machine import Divergence, Pair, Step, propose
from .moves import MOVES

_choice = st.integers(0, 2**12)


class Diverged(AssertionError):
    """Subject and reference differ; the message is what they differ in and the script in the subject's code."""

    def __init__(self, found: Divergence) -> None:
        self.found = found
        super().__init__("\n".join([str(found), "", *found.script]))


def state_machine(
    subject: Engine, reference: Engine, moves: Iterable[str] = tuple(MOVES)
) -> type[RuleBasedStateMachine]:
    """A state machine class that drives both engines through the same program; raises Diverged where they differ.

    moves  names of the moves that programs are made of; fewer are searched faster and shrunk further
    """

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair(subject, reference)

        @initialize(option=st.integers(0, len(MOVES["tensor"].options) - 1))
        def leaf(self, option: int) -> None:
            self._do(Step(0, "tensor", (), option))

        @rule()
        def end_block(self) -> None:
            self._do(Step(len(self.pair.steps), "end"))

        def _draw(self, name: str, *choices: int) -> None:
            left = list(choices)
            step = None if self.pair.over else propose(self.pair, lambda n: left.pop(0) % n if left else 0, name)
            if step is not None:
                self._do(step)

        def _do(self, step: Step) -> None:
            if self.pair.over:
                return
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = self.pair.step(step)
            if found is not None:
                raise Diverged(found)

        def teardown(self) -> None:
            self.pair.close()

    for name in moves:
        setattr(Machine, f"move_{name}", rule(a=_choice, b=_choice, c=_choice)(_mover(name)))
    Machine.__name__ = Machine.__qualname__ = f"{subject.name.title()}Machine"
    return Machine


def _mover(name: str) -> Callable[..., Any]:
    def move(self: Any, a: int, b: int, c: int) -> None:
        self._draw(name, a, b, c)

    move.__name__ = f"move_{name}"
    return move
