"""`torch.autograd.gradcheck` and `gradgradcheck` with gradverify behind them: change the import, keep the suite.

    from gradverify.torch import gradcheck, gradgradcheck

Signatures, return values and exceptions are PyTorch's (torch 2.13, torch/autograd/gradcheck.py). What differs is in
docs/migration.md: there is no tolerance, and float32 inputs can be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.autograd.gradcheck import GradcheckError

from .api import note_ignored
from .checker.driver import Effort, Question, answer, case_of
from .checker.forward_mode import answer_forward
from .checker.sparse import Call, is_sparse, over_values
from .core.errors import BadInput, Unsupported
from .core.outcome import ASSERTION
from .core.verdict import Verdict
from .run.gate import tell_check

__all__ = ["GradcheckError", "Undecided", "gradcheck", "gradgradcheck"]

Tensors = torch.Tensor | Sequence[torch.Tensor]
Function = Callable[..., Tensors]


class Undecided(GradcheckError):
    """The verdict is INCONCLUSIVE: nothing was shown to be wrong, and nothing to be right. `verdict` says why."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(verdict.text())


def gradcheck(
    func: Function,
    inputs: Tensors,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
    stop_gradients: bool = False,
) -> bool:
    """Are the gradients of `func` at `inputs`, with respect to the tensors that require grad, right?

    `eps`, `atol`, `rtol` and `fast_mode` mean nothing: the truth has no step, the budget is worked out, and there is one
    mode. Dtypes of gradients are always checked (`check_grad_dtypes`). `nondet_tol` and the rest mean what they mean in
    PyTorch. `stop_gradients` says that what `func` detaches is meant to pass no gradient: it is held fixed then, where
    PyTorch's differences would follow it (and where `func` is wrong without).

    Returns True, or False with `raise_exception=False`. Raises GradcheckError where a gradient is wrong, Undecided (a
    GradcheckError) where that cannot be told, ValueError where no input requires grad, what `func` itself raises, and
    Unsupported, whatever `raise_exception` says, for what cannot be honoured: operations that cannot be traced, and sparse
    tensors without `masked=True`, which asks for the gradient at entries that are not stored.
    """
    _asked(check_forward_ad or check_backward_ad, "neither check_forward_ad nor check_backward_ad is True")
    _asked(
        check_backward_ad or not check_batched_grad,
        "check_batched_grad is about backward mode: it needs check_backward_ad",
    )
    _asked(
        check_forward_ad or not check_batched_forward_grad,
        "check_batched_forward_grad is about forward mode: it needs check_forward_ad",
    )
    note_ignored("gradcheck", eps=eps != 1e-6, atol=atol != 1e-5, rtol=rtol != 1e-3, fast_mode=fast_mode)
    given = _tupled(inputs)
    _admit(given)
    try:
        _check(
            func,
            given,
            nondet_tol=nondet_tol,
            undefined=check_undefined_grad,
            batched=check_batched_grad,
            batched_forward=check_batched_forward_grad,
            forward=check_forward_ad,
            backward=check_backward_ad,
            masked=bool(masked),
            stops=stop_gradients,
        )
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Function,
    inputs: Tensors,
    grad_outputs: Tensors | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
    stop_gradients: bool = False,
) -> bool:
    """Are the gradients of the gradients of `func` right, with respect to `inputs` and to `grad_outputs`?

    The definition that they are held against is `func`'s own backward, traced: call `gradcheck` for that one. Options,
    return value and exceptions as in `gradcheck`; cotangents that are not contiguous are always tried
    (`gen_non_contig_grad_outputs`).
    """
    _asked(check_fwd_over_rev or check_rev_over_rev, "neither check_fwd_over_rev nor check_rev_over_rev is True")
    _asked(
        check_rev_over_rev or not (check_undefined_grad or check_batched_grad),
        "check_undefined_grad and check_batched_grad need check_rev_over_rev",
    )
    given = _tupled(inputs)
    _admit(given)
    if any(is_sparse(t) for t in given):
        raise Unsupported(
            "functions of sparse tensors are judged at the first order alone: ask torch.autograd.gradgradcheck"
        )
    cotangents = _cotangents(func, given) if grad_outputs is None else _tupled(grad_outputs)
    return gradcheck(
        _backward_of(func, given, cotangents),
        (*given, *cotangents),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
        fast_mode=fast_mode,
        masked=masked,
        stop_gradients=stop_gradients,
    )


def _check(
    func: Function,
    given: tuple[Any, ...],
    *,
    nondet_tol: float,
    undefined: bool,
    batched: bool,
    batched_forward: bool,
    forward: bool,
    backward: bool,
    masked: bool,
    stops: bool,
) -> None:
    """Raise GradcheckError where something of what is asked for is not right."""
    func, given, reference = _strided(func, given, masked)
    outputs = _differentiable(func(*given))  # what func raises here is the caller's to see
    if not outputs:
        _constant(func, given)
        return
    if backward:
        _judged(func, given, "normal", reference=reference, stops=stops)
        _reproducible(func, given, nondet_tol)
        if undefined:
            _undefined(func, given, len(outputs), stops)
        if batched:
            _judged(partial(_Batched.apply, func), given, stops=stops)
    if forward:
        _raise(answer_forward(Question(func, given, reference=reference, stops=stops)))
    if batched_forward:
        _raise(answer_forward(Question(func, given, reference=reference, stops=stops), batched=True))


def _strided(
    func: Function, given: tuple[Any, ...], masked: bool
) -> tuple[Function, tuple[Any, ...], Callable[..., Any] | None]:
    """The function over the stored values of sparse inputs; and the same of dense ones as its definition, where there is
    such a thing."""
    over = over_values(Call(func, given, {}))
    if over is None:
        return func, given, None
    if not masked:
        raise Unsupported(
            "an input is sparse: gradverify judges the gradient at the entries that are stored (masked=True); for the "
            "others ask torch.autograd.gradcheck"
        )
    func(*given)
    call, dense = over
    try:
        case_of(Question(call.fn, call.args, reference=dense))
    except (BadInput, Unsupported):
        return call.fn, call.args, None
    return call.fn, call.args, dense


def _judged(func: Function, given: tuple[Any, ...], effort: Effort = "quick", **asked: Any) -> None:
    try:
        _raise(answer(Question(func, given, **asked), effort))
    except BadInput as e:
        # func has run: what is left to say of the call is a GradcheckError of PyTorch's too.
        raise GradcheckError(str(e)) from e


def _constant(func: Function, given: tuple[Any, ...]) -> None:
    """No output requires grad: right where none depends on the inputs, a detached result where one does."""
    try:
        case_of(Question(func, given))
    except BadInput as e:
        raise GradcheckError(str(e)) from e


def _raise(verdict: Verdict) -> None:
    """GradcheckError, Undecided or Unsupported; nothing for an outcome that is true."""
    tell_check(verdict.case, verdict)
    if not ASSERTION.gate(verdict.outcome, verdict.kind):
        return
    if verdict.reason is None:
        raise GradcheckError(verdict.text())
    if verdict.reason.is_unsupported:
        raise Unsupported(verdict.message)
    raise Undecided(verdict)


def _reproducible(func: Function, given: tuple[Any, ...], nondet_tol: float) -> None:
    """Two backward passes for one cotangent are within `nondet_tol` of each other."""
    leaves = _wanted(given)

    def gradients() -> tuple[Any, ...]:
        outputs = _differentiable(func(*given))
        if not outputs:
            return ()
        seeds = [torch.ones_like(o) for o in outputs]
        return torch.autograd.grad(outputs, leaves, seeds, allow_unused=True)

    for i, (a, b) in enumerate(zip(gradients(), gradients())):
        if a is None or b is None:
            same = a is b
        else:
            off = (a - b).abs()
            same = bool(((off <= nondet_tol) | (a == b) | (a.isnan() & b.isnan())).all())
        if not same:
            raise GradcheckError(
                f"backward is not reproducible: two runs differ in the gradient of input {i} by more than {nondet_tol=}"
            )


def _undefined(func: Function, given: tuple[Any, ...], count: int, stops: bool) -> None:
    """Undefined cotangents stand for zeros: of all outputs at once, and of all but one."""
    leaves = _wanted(given)
    outputs = _differentiable(func(*given))
    if outputs:
        undefine: Any = torch._C._functions.UndefinedGrad()
        nothing = [undefine(o) for o in outputs]
        try:
            found = torch.autograd.grad(nothing, leaves, [torch.zeros_like(o) for o in outputs], allow_unused=True)
        except Exception as e:
            raise GradcheckError(f"backward raises where the cotangents are undefined: {e}") from e
        if any(g is not None and bool((g != 0).any()) for g in found):
            raise GradcheckError("undefined cotangents must give undefined or zero gradients; they do not")
    for i in range(count if count > 1 else 0):
        _judged(lambda *args, i=i: _differentiable(func(*args))[i], given, stops=stops)


class _Batched(torch.autograd.Function):
    """A function whose backward pass runs under vmap, over a batch of which the given cotangent is the first."""

    @staticmethod
    def forward(ctx: Any, func: Function, *args: Any) -> Any:
        with torch.enable_grad():
            ctx.args = [a.detach().requires_grad_(a.requires_grad) if isinstance(a, torch.Tensor) else a for a in args]
            ctx.outputs = _differentiable(func(*ctx.args))
        return tuple(o.detach().clone() for o in ctx.outputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        batch = [torch.stack([g, -g, 2 * g]) for g in cotangents]
        found = torch.autograd.grad(
            ctx.outputs, _wanted(ctx.args), batch, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
        gradients = iter(found)
        first = lambda g: None if g is None else g[0]
        return None, *(first(next(gradients)) if _requires(a) else None for a in ctx.args)


def _backward_of(func: Function, given: tuple[Any, ...], cotangents: tuple[Any, ...]) -> Function:
    """(inputs, cotangents) -> the gradients of the inputs that require grad: differentiable once more."""
    split = len(given)

    def backward(*args: Any) -> tuple[torch.Tensor, ...]:
        # Leaves that are differentiated there and frozen here would stop the first derivative.
        inputs = [a if _requires(a) or not _requires(b) else a.requires_grad_() for a, b in zip(args[:split], given)]
        with torch.enable_grad():
            outputs = _differentiable(func(*inputs))
            leaves = [a for a, b in zip(inputs, given) if _requires(b)]
            found = torch.autograd.grad(outputs, leaves, args[split:], create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return backward


def _cotangents(func: Function, given: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
    """One random cotangent per differentiable output, of the output's dtype and device; each requires grad."""
    generator = torch.Generator().manual_seed(0)
    wide = lambda o: torch.complex128 if o.is_complex() else torch.float64
    return tuple(
        torch.randn(o.shape, generator=generator, dtype=wide(o)).to(o).requires_grad_()
        for o in _differentiable(func(*given))
    )


def _differentiable(result: Any) -> tuple[torch.Tensor, ...]:
    return tuple(o for o in _tupled(result) if _requires(o))


def _wanted(given: Sequence[Any]) -> list[torch.Tensor]:
    return [t for t in given if _requires(t)]


def _requires(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.requires_grad


def _tupled(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def _asked(sensible: bool, message: str) -> None:
    """An AssertionError for options that contradict each other, as PyTorch raises it."""
    if not sensible:
        raise AssertionError(message)


def _admit(given: tuple[Any, ...]) -> None:
    if not _wanted(given):
        raise ValueError("no input requires grad: there is nothing to check")
