"""One recursion over orders and modes: each order is a question about the derivative that the order below it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from ..core.errors import BadInput, Unsupported
from ..core.limits import TimeLimit
from ..core.verdict import Verdict
from .driver import judge_question
from .forward_mode import judge_jvp
from .opaque_orders import derive_opaque
from .orders import Mode, next_order
from .question import Effort, Question
from .trace_case import trace_case

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, eq=False)
class Judgement:
    """The verdict on one derivative, or the error that prevented it.

    modes    how it is composed, the outermost derivative first: ("fwd", "rev") is forward over reverse
    verdict  None where there is none
    error    why not: BadInput for the call itself, Unsupported for what cannot be had
    """

    modes: tuple[Mode, ...]
    verdict: Verdict | None = None
    error: BadInput | Unsupported | None = None

    @property
    def order(self) -> int:
        return len(self.modes)

    @property
    def name(self) -> str:
        """For example "order 2, fwd over rev"."""
        return f"order {self.order}, {' over '.join(self.modes)}"

    @property
    def lack(self) -> Unsupported | None:
        """The error where it says nothing of the call: what cannot be had, or not in time."""
        if isinstance(self.error, BadInput):
            return Unsupported(str(self.error)) if isinstance(self.error.__cause__, TimeLimit) else None
        return self.error


def derive(q: Question, mode: Mode, below: Verdict) -> Question:
    """The question about the derivative of `q`'s function, at the same point. Raises BadInput and Unsupported."""
    try:
        case, traced = trace_case(q)
    except Unsupported as e:
        return derive_opaque(q, mode, e)
    return next_order(q, traced, case, mode, stop_gradients=bool(below.facts.get("held")))


def judge_orders(
    q: Question,
    order: int,
    modes: Sequence[Mode],
    effort: Effort,
    *,
    derive: Callable[[Question, Mode, Verdict], Question] = derive,
    above: Effort | None = None,
) -> Iterator[Judgement]:
    """One judgement per composition of `modes`, order by order up to `order`.

    `effort` is that of the first order, `above` of those above it (None: the same). `derive` makes the question of the
    next order from one that had a verdict.
    """
    questions: list[tuple[Question, tuple[Mode, ...]]] = [(q, ())]
    for k in range(1, order + 1):
        derived = []
        for question, below in questions:
            for mode in modes:
                composition = (mode, *below)
                try:
                    verdict = _judge(question, mode, effort if k == 1 else above or effort)
                except (BadInput, Unsupported) as e:
                    yield Judgement(composition, error=e)
                    continue
                yield Judgement(composition, verdict)
                if k == order:
                    continue
                try:
                    derived.append((derive(question, mode, verdict), composition))
                except (BadInput, Unsupported) as e:
                    yield from (Judgement((m, *composition), error=e) for m in modes)
        questions = derived


def _judge(q: Question, mode: Mode, effort: Effort) -> Verdict:
    return judge_question(q, effort) if mode == "rev" else judge_jvp(q)
