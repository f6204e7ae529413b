"""`gradverify.check(fn, *args)`: is the gradient of this function right?"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .checker.casting import Call, context, dtype_name, in_dtype
from .checker.compositions import MODES, Judgement, judge_orders
from .checker.driver import after_first_order
from .checker.orders import Mode
from .checker.question import TIME_LIMIT, Effort, Question
from .checker.sparse import judge_sparse
from .core.errors import BadInput, GradverifyNote, Unsupported
from .core.outcome import ASSERTION, Outcome, Reason, reason_of
from .core.verdict import Verdict
from .frameworks.numpy.handwritten import HandWritten
from .frameworks.recognise import framework_of, owner
from .run.config import as_effort, default_effort
from .run.gate import tell_check
from .trace.call_site import is_thrown_away


class WrongGradient(AssertionError):
    """Raised by `assert_gradients` and the drop-ins; `verdict` holds the evidence."""

    def __init__(self, verdict: Verdict, message: str = "") -> None:
        self.verdict = verdict
        super().__init__(message or verdict.text())


def check(
    fn: Callable[..., Any],
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    wrt: str | Sequence[str] | None = None,
    cotangent: Any = None,
    reference: Callable[..., Any] | None = None,
    surrogate_of: Callable[..., Any] | None = None,
    stop_gradients: bool = False,
    order: int | None = None,
    modes: Sequence[Mode] | Mode = ("rev",),
    effort: Effort | None = None,
    seed: int = 0,
    device: str | None = None,
    time_limit: float | None = TIME_LIMIT,
    vjp: Callable[..., Any] | None = None,
    residuals: bool = False,
    framework: str | None = None,
    dtype: Any = None,
) -> Verdict:
    """Judge the gradient of `fn` at `args`; the verdict says whether it is right, with evidence.

    `fn` is a function, a module, an `autograd.Function.apply`, a `custom_vjp` function … of PyTorch, JAX, HIPS autograd,
    tinygrad, MLX or the engine, or a function of NumPy or CuPy with a backward pass written by hand. The framework is
    recognised from the arguments. Its own forward, traced to a graph, is the definition that its backward is compared with.

    fn          any shapes; float16, bfloat16, float32, float64 (where they are mixed, rounding is that of the narrowest);
                complex64 or complex128 of the same precision. A complex array is judged as its real and imaginary
                parts, `z.real` and `z.imag`, and each framework's gradient is read in its own convention:
                dL/d(Re z) + i dL/d(Im z) in PyTorch, with -i in JAX
    wrt         names of the arguments to differentiate, as the verdict names them (`x`, `params['w']`,
                `layers.0.weight`). Default: the tensors that require grad; where none does, or the framework has no
                such flag, every floating-point argument
    cotangent   array, or one per output, a complex one for a complex output in the framework's convention; default:
                random, signed, of order one
    reference   a definition over the same arguments to hold `fn` against, instead of its own forward: needed where that
                cannot be traced, wanted where it might be wrong. For a module: a module with the same parameters, or a
                function with an argument `parameters`, which gets them in a dictionary by their names
    surrogate_of  the function whose gradient the backward pass is meant to give, for straight-through estimators and
                surrogate gradients: the value is held against `fn`'s own forward (or `reference`), the gradient against
                the VJP of this one at the same point
    stop_gradients  it is meant that what `fn` detaches (`detach`, `no_grad`, `stop_gradient`) passes no gradient: the
                definition holds it fixed. Without this, a gradient that is right with that alone is a FAIL of the kind
                *detached*, and what is right when it is followed through (the maximum in a softmax) passes. What the
                framework documents to pass no gradient is held fixed in either case
    order       derivatives up to this order: the VJP of the VJP at order 2, and so on. Each order is held against the
                trace of the one below. Default: the first, and where the backward pass is custom (an
                `autograd.Function`, a custom operator, a `custom_vjp`) the second too, if it can be differentiated
    modes       "rev" judges VJPs, "fwd" JVPs (along one random direction), in the order given. At order 2 all
                compositions of the modes given: both give reverse over reverse, forward over reverse, reverse over
                forward and forward over forward
    effort      "quick" judges the given point; "normal" also other values, other batch sizes and float32 where the arguments
                allow; "thorough" more of them. The laws (repeated calls, scaled and signed cotangents, strided memory,
                purity) are asked one by one at the given point, with "thorough" at each. What cannot be traced is asked by
                at most 600, 2,400 and 9,600 forward calls (docs/usage.md). Default: what the environment
                variable GRADVERIFY_EFFORT says, or `effort` in `[tool.gradverify]` of pyproject.toml, or "normal". JAX's
                function is called as it is at the given point, and again; all else is asked of one program for each
                shape, where that agrees with those calls
    time_limit  seconds for each run of the function, not counting what JAX compiles; None for no limit
    vjp         the backward pass of a function of NumPy or CuPy: `vjp(cotangent, *args)` returns the gradient, or one per
                argument. Cotangents have the structure of what `fn` returns
    residuals   `fn` returns `(out, residuals)`, and the backward pass is `vjp(residuals, cotangent)`
    framework   whose function it is, where the arguments do not tell: NumPy arrays may be meant for "autograd" or "jax"
    dtype       judge in this dtype ("float16", "bfloat16", "float32", "float64", or a framework's own name of it): the
                floating-point arguments are converted first, and a module's parameters (a copy of it)

    Raises WrongGradient for a FAIL that is thrown away, that is, where the call is a statement of its own. Raises BadInput
    where the call itself cannot be judged: no array among the arguments, integers only, a function that
    raises, returns no array or a detached one, or hangs. What cannot be traced is INCONCLUSIVE, with the operation.
    """
    effort = default_effort() if effort is None else as_effort(effort)
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if not modes or not set(modes) <= set(MODES):
        raise BadInput(f"modes must be some of {', '.join(MODES)}, got {modes!r}")
    if order is not None and order < 1:
        raise BadInput(f"order counts from 1, got {order!r}")
    if not callable(fn):
        raise BadInput(f"the first argument must be a function, got {type(fn).__name__}")
    if vjp is not None:
        fn = HandWritten(fn, vjp, residuals)
    call = Call(fn, args, dict(kwargs or {}))
    if dtype is not None:
        dtype = dtype_name(dtype)
        framework = framework_of(fn, args, call.kwargs, framework)
        converted = partial(in_dtype, framework=framework, dtype=dtype)
        try:
            call = converted(call)
            reference, surrogate_of = (f and converted(Call(f, (), {})).fn for f in (reference, surrogate_of))
        except Unsupported as e:
            raise BadInput(f"dtype: {e}") from None
    question = Question(
        call.fn,
        call.args,
        kwargs=call.kwargs,
        wrt=(wrt,) if isinstance(wrt, str) else None if wrt is None else tuple(wrt),
        cotangent=_arrays(cotangent),
        reference=reference,
        surrogate=surrogate_of,
        stop_gradients=stop_gradients,
        seed=seed,
        device=device,
        time_limit=time_limit,
        framework=framework,
        second=order is None and "rev" in modes,
        above=order != 1,
        dtype=dtype,
    )
    try:
        with context(framework, dtype):
            verdict = judge_sparse(question, lambda q: _judge_up_to(q, order or 1, modes, effort), order or 1)
    except Unsupported as e:
        verdict = Verdict(
            Outcome.INCONCLUSIVE, question.name, "", "", reason=reason_of(e, Reason.UNTRACED), message=str(e)
        )
    verdict = tell_check(question.name, verdict)
    if not verdict and is_thrown_away(sys._getframe(1)):
        _insist(verdict)
    return verdict


def _insist(verdict: Verdict) -> None:
    """Raise, or warn of, a verdict that is not true and that the caller throws away."""
    __tracebackhide__ = True
    if verdict.outcome is Outcome.FAIL:
        raise WrongGradient(verdict)
    text = f"{verdict.text()}\n(nobody looks at this verdict: write `assert check(...)`, or call assert_gradients)"
    warnings.warn(text, GradverifyNote, stacklevel=3)


def _judge_up_to(q: Question, order: int, modes: Sequence[Mode], effort: Effort) -> Verdict:
    """One verdict for all orders and modes: the first that is not true, else the first but PASS, else the first.

    The latter two name the others. Where one of them cannot be had it is INCONCLUSIVE, and says what was judged; over
    forward mode, which few frameworks differentiate, a note is enough. Raises BadInput, and Unsupported where nothing was
    judged.
    """
    judged: list[Judgement] = []
    lacking: list[Judgement] = []
    for judgement in judge_orders(q, order, modes, effort):
        if isinstance(judgement.error, BadInput):
            raise judgement.error
        if judgement.verdict is None:
            lacking.append(judgement)
        elif ASSERTION.gate(judgement.verdict.outcome, judgement.verdict.kind):
            first = judged[0].verdict if judged and judgement.order > 1 else None
            return after_first_order(first, judgement.verdict, judgement.order) if first else judgement.verdict
        else:
            judged.append(judgement)
    if not judged:
        raise next(lack.error for lack in lacking if lack.error is not None)
    told = next((j for j in judged if j.verdict and j.verdict.outcome is not Outcome.PASS), judged[0])
    first = told.verdict
    assert first is not None
    assert judged[0].verdict is not None
    if told.order > 1:
        first = after_first_order(judged[0].verdict, first, told.order)
    names = [judgement.name for judgement in judged]
    notes = tuple(f"{lack.name} is not judged: {lack.error}" for lack in lacking)
    facts = {**first.facts, "judged": names} if len(names) > 1 or lacking else first.facts
    first = replace(first, notes=(*first.notes, *notes), facts=facts)
    wanted = [lack for lack in lacking if "fwd" not in lack.modes[1:]]
    if not wanted:
        return first
    error = wanted[0].error
    reason = reason_of(error, Reason.UNTRACED) if isinstance(error, Unsupported) else Reason.UNTRACED
    return replace(
        first, outcome=Outcome.INCONCLUSIVE, kind=None, known="", reason=reason,
        message=f"{wanted[0].name} cannot be judged: {wanted[0].error}", notes=(*first.notes, f"judged: {', '.join(names)}"),
    )  # fmt: skip


def assert_gradients(fn: Callable[..., Any], *args: Any, **options: Any) -> Verdict:
    """`check` for a test: returns a true verdict, raises WrongGradient with the evidence for others.

    True are PASS, KNOWN (a declared weakness of the framework's own formulas explains it), WEAK and SURROGATE.
    """
    __tracebackhide__ = True
    verdict = check(fn, *args, **options)
    if not verdict:
        raise WrongGradient(verdict)
    return verdict


def _arrays(cotangent: Any) -> tuple[np.ndarray, ...] | None:
    if cotangent is None:
        return None
    several = cotangent if isinstance(cotangent, tuple | list) else (cotangent,)
    return tuple(map(_host, several))


def _host(g: Any) -> np.ndarray:
    """A framework's array as a NumPy array; bfloat16 as float32, which represents it exactly."""
    framework = owner(g)
    array = np.asarray(g) if framework is None else framework.get(g)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


_SAID: set[tuple[str, ...]] = set()


def note_ignored(caller: str, **given: Any) -> None:
    """Warn, once in a process, of given options that mean nothing here."""
    names = tuple(n for n, is_given in given.items() if is_given)
    if names and (caller, *names) not in _SAID:
        _SAID.add((caller, *names))
        text = f"{caller}: ignored, since gradverify works out what rounding excuses: {', '.join(names)}"
        warnings.warn(text, GradverifyNote, stacklevel=3)
