"""`jax.test_util.check_grads` with gradverify behind it: change the import, keep the suite.

    from gradverify.jax import check_grads

The signature and the behaviour are JAX's (0.10.2, jax/_src/public_test_util.py): None where all is right, an
AssertionError where something is not. What differs is in docs/migration.md: there is no tolerance.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from .api import GradverifyNote, WrongGradient, note_ignored
from .checker.compositions import Judgement, judge_orders
from .checker.orders import Mode
from .checker.question import Effort, Question
from .core.errors import Unsupported
from .core.verdict import Verdict
from .frameworks.jax.domain import inside, is_finite
from .run.config import as_effort, default_effort
from .run.gate import tell_check

__all__ = ["Undecided", "check_grads"]


class Undecided(WrongGradient):
    """The verdict is INCONCLUSIVE: nothing was shown to be wrong, and nothing to be right. `verdict` says why."""


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
    *,
    stop_gradients: bool = False,
    effort: Effort | None = None,
) -> None:
    """Are the derivatives of `f` at `f(*args)` right, up to `order`, in the given modes?

    `atol`, `rtol` and `eps` mean nothing: the truth has no step, and the budget is worked out. Each order is held against
    the trace of the one below it; at order 2 `("fwd", "rev")` means all four: forward over forward, reverse over forward,
    forward over reverse and reverse over reverse, as in JAX. `stop_gradients` says that `lax.stop_gradient` is meant: what
    it is given is held fixed then, where JAX's differences would follow it (and where the function is wrong without).

    Where outputs are NaN their derivatives have to be: JAX finds NaN equal to NaN. The other outputs are judged, the entries
    that NaN comes of moved to the value of another one, at that point alone; a GradverifyNote says so. Where no output is
    left, NaN and infinite arguments ask for nothing else, and the check passes. Finite ones lie outside of the domain:
    Undecided, where JAX passes.

    Raises AssertionError where a derivative is wrong, Undecided (an AssertionError) where that cannot be told, what `f`
    itself raises, and Unsupported for what cannot be honoured: the mode "lin", primitives that cannot
    be traced.
    """
    note_ignored("check_grads", atol=atol is not None, rtol=rtol is not None, eps=eps is not None)
    unknown = set(modes) - {"fwd", "rev"}
    if unknown:
        raise Unsupported(f"check_grads: gradverify has no mode {', '.join(sorted(unknown))}")
    args = tuple(
        jax.tree_util.tree_map(jax.numpy.asarray, list(args))
    )  # NumPy arrays and numbers are welcome, as in JAX
    given: tuple[Any, ...] = tuple(args)
    out = f(*given)  # what f raises is the caller's to see
    wanted: list[Mode] = [m for m in ("fwd", "rev") if m in modes]
    first = Question(f, given, stop_gradients=stop_gradients)
    chosen = default_effort() if effort is None else as_effort(effort)
    try:
        left = inside(f, given, out, wanted)
    except Unsupported:
        left = None  # the judge says what it finds there
    if left is not None and (left.fn is not None or not is_finite(given)):
        text = f"check_grads: {left.left[0]} of {left.left[1]} outputs are NaN, and their derivatives with them"
        warnings.warn(f"{text}; what is judged is the others", GradverifyNote, stacklevel=2)
        if left.fn is None:
            return
        first, chosen = replace(first, fn=left.fn, args=left.args), "quick"  # what is left elsewhere, nobody knows
    for judgement in judge_orders(first, order, wanted, chosen, derive=_derive, above="quick"):
        _raise(judgement)


def _derive(q: Question, mode: str, below: Verdict) -> Question:
    """The derivative that JAX's own check takes next: along the arguments themselves, of the result itself."""
    f = q.fn

    def pull(*primals: Any) -> Any:
        out, vjp_fn = jax.vjp(f, *primals)
        return vjp_fn(out)

    if mode == "fwd":
        return replace(q, fn=partial(jax.jvp, f), args=(q.args, q.args), derived=True)
    return replace(q, fn=pull, derived=True)


def _raise(judgement: Judgement) -> None:
    """AssertionError, Undecided or Unsupported; nothing for an outcome that is true."""
    what = " of ".join({"fwd": "JVP", "rev": "VJP"}[m] for m in judgement.modes)
    verdict = judgement.verdict
    if judgement.lack:
        raise judgement.lack from judgement.error
    if verdict is None:
        raise AssertionError(f"{what}: {judgement.error}") from judgement.error
    verdict = tell_check(verdict.case, verdict)
    if verdict:
        return
    if verdict.reason is None:
        raise WrongGradient(verdict, f"{what}: {verdict.text()}")
    if verdict.reason.is_unsupported:
        raise Unsupported(f"{what}: {verdict.message}")
    raise Undecided(verdict, f"{what}: {verdict.text()}")
