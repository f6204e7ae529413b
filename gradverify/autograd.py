"""`autograd.test_util.check_grads` with gradverify behind it: change the import, keep the suite.

    from gradverify.autograd import check_grads, combo_check

Signatures and behaviour are those of HIPS autograd (1.9.1, autograd/test_util.py): None where all is right, an
AssertionError where something is not. What differs is in docs/migration.md: there is no tolerance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from .api import WrongGradient
from .checker.compositions import Judgement, judge_orders
from .checker.orders import Mode
from .checker.question import Effort, Question
from .core.errors import JUDGED, BadInput, Unsupported
from .core.outcome import FailKind
from .frameworks.autograd.arguments import run_once, unary
from .run.config import as_effort, default_effort
from .run.gate import tell_check

__all__ = ["Undecided", "check_grads", "combo_check"]


class Undecided(WrongGradient):
    """The verdict is INCONCLUSIVE: nothing was shown to be wrong, and nothing to be right. `verdict` says why."""


def check_grads(
    f: Callable[..., Any],
    argnum: int | Sequence[int] = 0,
    modes: Sequence[str] | None = None,
    order: int = 2,
    *,
    effort: Effort | None = None,
    stop_gradients: bool = False,
) -> Callable[..., None]:
    """Return the check of `f`'s derivatives with respect to `argnum`, a function of the arguments of `f`.

    As in HIPS autograd: `check_grads(f, modes=["rev"])(x, y)`. `modes` are "fwd" and "rev", by default both; at order 2
    that is all four compositions. `effort="quick"` stays at the given point, in the given layouts in memory.

    The check raises AssertionError where a derivative is wrong, Undecided (an AssertionError) where that cannot be told,
    what `f` itself raises, and Unsupported for what cannot be honoured. A wrong derivative is told before an undecided one.
    """
    wanted = ("fwd", "rev") if modes is None else tuple(modes)
    assert all(m in ("fwd", "rev") for m in wanted), f"modes are 'fwd' and 'rev', got {modes!r}"

    def check(*args: Any, **kwargs: Any) -> None:
        fn, given = unary(f, argnum, args, kwargs)
        fn(*given)  # what f raises is the caller's to see
        chosen = default_effort() if effort is None else as_effort(effort)
        relaid = 0 if chosen == "quick" else None
        question = Question(fn, given, framework="autograd", stop_gradients=stop_gradients, relaid=relaid)
        asked: list[Mode] = [m for m in ("rev", "fwd") if m in wanted]
        lacking: list[Judgement] = []
        for judgement in judge_orders(question, order, asked, chosen, above="quick"):
            if judgement.verdict is not None and judgement.verdict.kind is FailKind.RAISED:
                run_once(fn, given, judgement.modes)  # what autograd, or a rule, raises is the caller's as well
            if not _holds(judgement):
                lacking.append(judgement)
        if lacking:
            _raise_undecided(lacking[0])

    return check


def combo_check(f: Callable[..., Any], *check_args: Any, **check_options: Any) -> Callable[..., None]:
    """Return `check_grads` over all combinations of the values that each argument is given."""
    check = check_grads(f, *check_args, **check_options)

    def over(*args: Any, **kwargs: Any) -> None:
        choices = [[(name, value) for value in values] for name, values in kwargs.items()]
        for chosen in itertools.product(*args):
            for named in itertools.product(*choices):
                check(*chosen, **dict(named))

    return over


def _holds(judgement: Judgement) -> bool:
    """Is the derivative right? False where that cannot be told; raises AssertionError where it is wrong."""
    verdict = judgement.verdict
    if verdict is None:
        if judgement.lack:
            return False
        if isinstance(judgement.error, BadInput):
            if judgement.order > 1 and isinstance(judgement.error.__cause__, JUDGED):
                raise judgement.error.__cause__  # of a derivative, what autograd raises is the caller's too
            raise AssertionError(f"{judgement.name}: {judgement.error}") from judgement.error
        return False
    verdict = tell_check(verdict.case, verdict)
    if verdict:
        return True
    if verdict.reason is None:
        raise WrongGradient(verdict, f"{judgement.name}: {verdict.text()}")
    return False


def _raise_undecided(judgement: Judgement) -> None:
    verdict = judgement.verdict
    if verdict is None:
        raise Unsupported(f"{judgement.name}: {judgement.error}") from judgement.error
    assert verdict.reason is not None
    if verdict.reason.is_unsupported:
        raise Unsupported(f"{judgement.name}: {verdict.message}")
    raise Undecided(verdict, f"{judgement.name}: {verdict.text()}")
