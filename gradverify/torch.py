"""`torch.autograd.gradcheck` and `gradgradcheck` with gradverify behind them: change the import, keep the suite.

    from gradverify.torch import gradcheck, gradgradcheck

Signatures, return values and exceptions are PyTorch's (torch 2.13, torch/autograd/gradcheck.py). What differs is in
docs/migration.md: there is no tolerance, and float32 inputs can be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad
from torch.autograd.gradcheck import GradcheckError

from .api import note_ignored
from .checker.complex_adapter import to_native
from .checker.compositions import judge_orders
from .checker.forward_mode import judge_jvp
from .checker.orders import Mode
from .checker.question import Effort, Question
from .checker.trace_case import trace_case
from .core.errors import BadInput, Unsupported
from .core.outcome import FailKind, Outcome
from .core.verdict import Verdict
from .frameworks.base import Call
from .frameworks.registry import of_functions
from .frameworks.torch.sparse import is_sparse, over_entries, over_mkldnn, over_values
from .judge.reference import reference
from .run.config import as_effort, default_effort
from .run.gate import tell_check

__all__ = ["GradcheckError", "Undecided", "gradcheck", "gradgradcheck"]

Tensors = torch.Tensor | Sequence[torch.Tensor]
Function = Callable[..., Tensors]


class Wrong(GradcheckError):
    """The verdict is FAIL; `verdict` holds the evidence."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(verdict.text())


class Undecided(Wrong):
    """The verdict is INCONCLUSIVE: nothing was shown to be wrong, and nothing to be right. `verdict` says why."""


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
    effort: Effort | None = None,
) -> bool:
    """Are the gradients of `func` at `inputs`, with respect to the tensors that require grad, right?

    `eps`, `atol`, `rtol` and `fast_mode` mean nothing to a gradient: the truth has no step, the budget is worked out, and
    there is one mode (outputs keep their shape and dtype where inputs move by `eps`). Dtypes of gradients are always checked
    (`check_grad_dtypes`). `nondet_tol` and the rest mean what they mean in PyTorch. `stop_gradients` says that what `func`
    detaches is meant to pass no gradient: it is held fixed then, where PyTorch's differences would follow it (and where
    `func` is wrong without). `effort="quick"` stays at the given point, and keeps inputs in the given layouts in memory
    (cotangents are laid out otherwise at any effort: no caller of a backward pass chooses their layout).

    Returns True, or False with `raise_exception=False`. Raises GradcheckError where a gradient is wrong, Undecided (a
    GradcheckError) where that cannot be told, and Unsupported for what cannot be honoured: operations that cannot be
    traced, batches of compressed sparse tensors. As in PyTorch, ValueError where no input requires grad, RuntimeError
    for an input with stride 0, and what `func`, its backward or its forward mode raise, are passed on, whatever
    `raise_exception` says.
    """
    _require(check_forward_ad or check_backward_ad, "neither check_forward_ad nor check_backward_ad is True")
    _require(
        check_backward_ad or not check_batched_grad,
        "check_batched_grad is about backward mode: it needs check_backward_ad",
    )
    _require(
        check_forward_ad or not check_batched_forward_grad,
        "check_batched_forward_grad is about forward mode: it needs check_forward_ad",
    )
    wanted = _Wanted(
        eps=eps,
        nondet_tol=nondet_tol,
        undefined=check_undefined_grad,
        batched=check_batched_grad,
        batched_forward=check_batched_forward_grad,
        forward=check_forward_ad,
        backward=check_backward_ad,
        masked=bool(masked),
        stop_gradients=stop_gradients,
        effort=default_effort() if effort is None else as_effort(effort),
    )
    note_ignored("gradcheck", eps=eps != 1e-6, atol=atol != 1e-5, rtol=rtol != 1e-3, fast_mode=fast_mode)
    return _answer(func, _tupled(inputs), wanted, raise_exception)


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
    effort: Effort | None = None,
) -> bool:
    """Are the gradients of the gradients of `func` right, with respect to `inputs` and to `grad_outputs`?

    The definition that they are held against is `func`'s own backward, traced: call `gradcheck` for that one. Options,
    return value and exceptions as in `gradcheck`; cotangents that are not contiguous are always tried
    (`gen_non_contig_grad_outputs`).
    """
    _require(check_fwd_over_rev or check_rev_over_rev, "neither check_fwd_over_rev nor check_rev_over_rev is True")
    _require(
        check_rev_over_rev or not (check_undefined_grad or check_batched_grad),
        "check_undefined_grad and check_batched_grad need check_rev_over_rev",
    )
    given = _tupled(inputs)
    _require_input_with_grad(given)
    if any(is_sparse(t) for t in given):
        if not raise_exception:
            return False
        raise Unsupported(
            "functions of sparse tensors are judged at the first order alone: ask torch.autograd.gradgradcheck"
        )
    cotangents = _cotangents(func, given) if grad_outputs is None else _tupled(grad_outputs)
    wanted = _Wanted(
        eps=eps,
        nondet_tol=nondet_tol,
        undefined=check_undefined_grad,
        batched=check_batched_grad,
        forward=check_fwd_over_rev,
        backward=check_rev_over_rev,
        masked=masked,
        stop_gradients=stop_gradients,
        effort=default_effort() if effort is None else as_effort(effort),
        cotangents=len(cotangents),
    )
    note_ignored("gradgradcheck", eps=eps != 1e-6, atol=atol != 1e-5, rtol=rtol != 1e-3, fast_mode=fast_mode)
    return _answer(_backward_of(func, given, cotangents), (*given, *cotangents), wanted, raise_exception)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """The options of a call of `gradcheck`; the last `cotangents` of its inputs are those of `gradgradcheck`."""

    eps: float
    nondet_tol: float
    undefined: bool
    batched: bool
    batched_forward: bool = False
    forward: bool
    backward: bool
    masked: bool
    stop_gradients: bool
    effort: Effort
    cotangents: int = 0


def _answer(func: Function, given: tuple[Any, ...], wanted: _Wanted, raise_exception: bool) -> bool:
    """True, or what a check raises; False in place of GradcheckError and Unsupported without `raise_exception`."""
    _require_input_with_grad(given)
    _require_strides(given)
    try:
        _check(func, given, wanted)
    except (GradcheckError, Unsupported):
        if raise_exception:
            raise
        return False
    return True


def _check(func: Function, given: tuple[Any, ...], wanted: _Wanted) -> None:
    """Raise GradcheckError where a requested gradient is not right."""
    if wanted.forward and any(isinstance(x, torch.Tensor) and x.layout is torch._mkldnn for x in given):  # type: ignore[attr-defined]
        raise ValueError("MKLDNN inputs are not supported for forward AD gradcheck.")
    # Entries that are not stored at the given point are stored at another one.
    effort: Effort = "quick" if any(map(is_sparse, given)) and not wanted.masked else wanted.effort
    func, given, definition = _over_stored_values(func, given, wanted.masked)
    result = func(*given)  # what func raises here is the caller's to see
    outputs = _differentiable(result)
    _require_layouts(outputs)
    _require_steady_outputs(func, given, result, wanted.eps)
    if not outputs:
        _require_constant(func, given, result)
        return
    relaid = wanted.cotangents if wanted.effort == "quick" else None
    question = Question(func, given, reference=definition, stop_gradients=wanted.stop_gradients, relaid=relaid)
    if wanted.backward:
        _require_sound_backward(func, given)
        _judge(question, "rev", effort, wanted.nondet_tol)
        _require_reproducible(func, given, wanted.nondet_tol)
        if wanted.undefined:
            _judge_undefined(question, wanted.nondet_tol)
        if wanted.batched:
            _judge(replace(question, fn=partial(_Batched.apply, func), reference=None), nondet_tol=wanted.nondet_tol)
    if wanted.forward:
        _judge(question, "fwd", again=partial(_run_forward_mode, func, given))
        _run_forward_mode(func, given)
    if wanted.batched_forward:
        _raise(judge_jvp(question, batched=True))


def _over_stored_values(
    func: Function, given: tuple[Any, ...], masked: bool
) -> tuple[Function, tuple[Any, ...], Callable[..., Any] | None]:
    """The function over the stored values of sparse inputs, its inputs, and a dense definition if there is one.

    Without `masked` it is over all entries, stored or not, and needs a dense definition: raises Unsupported without.
    """
    dense_call = over_mkldnn(Call(func, given, {}))
    if dense_call is not None:
        return dense_call.fn, dense_call.args, None
    over = over_values(Call(func, given, {}))
    if over is None:
        return func, given, None
    func(*given)
    call, dense = over if masked else over_entries(Call(func, given, {}))
    try:
        trace_case(Question(call.fn, call.args, reference=dense))
    except (BadInput, Unsupported) as e:
        if not masked:
            raise Unsupported(
                "an input is sparse, and the function takes no dense one to compare with: masked=True asks for the gradient "
                f"at the entries that are stored alone ({e})"
            ) from e
        return call.fn, call.args, None
    return call.fn, call.args, dense


def _judge(
    question: Question, mode: Mode = "rev", effort: Effort = "quick", nondet_tol: float = 0.0,
    again: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Raise as `_raise` does, for the first order in one mode. `again` runs it once more where it raised, to raise that."""
    for judgement in judge_orders(question, 1, (mode,), effort):
        if judgement.lack:
            raise judgement.lack from judgement.error
        if judgement.verdict is None:
            # func has run: what is left to say of the call is a GradcheckError of PyTorch's too.
            raise GradcheckError(str(judgement.error)) from judgement.error
        excused = nondet_tol > 0 and judgement.verdict.outcome is Outcome.FAIL and mode == "rev"
        if not (excused and _is_within(question, nondet_tol)):
            if judgement.verdict.kind is FailKind.RAISED:
                again()
            _raise(judgement.verdict)


def _is_within(question: Question, nondet_tol: float) -> bool:
    """Are the gradients at the given point right to `nondet_tol`, on top of what rounding excuses?

    Two runs of a backward pass may differ by that much, so each may be off by as much.
    """
    try:
        case, own = trace_case(question)
        of = reference(case, seed=question.seed)
    except (BadInput, Unsupported):
        return False
    subject, function = to_native(of_functions(own.framework, question.device), own)
    seen = subject.run_vjp(function, case.values, case.wrt, case.cotangent)
    if seen.raised is not None:
        return False
    for name in case.wrt:
        got, want = seen.gradients.get(name), of.truth.gradients[name]
        allowed = of.budget.gradients[name] + want.bound + nondet_tol
        if not (np.abs((np.zeros(want.shape) if got is None else got.astype(np.float64)) - want.hi) <= allowed).all():
            return False
    return True


def _require_constant(func: Function, given: tuple[Any, ...], result: Any) -> None:
    """Raise GradcheckError where an output depends on the inputs, and yet none requires grad.

    Integers are constant almost everywhere, and so is a function that returns nothing.
    """
    if not any(isinstance(o, torch.Tensor) and (o.is_floating_point() or o.is_complex()) for o in _tupled(result)):
        return
    try:
        trace_case(Question(func, given))
    except BadInput as e:
        raise GradcheckError(str(e)) from e
    except Unsupported as e:
        moved = func(
            *(a.detach() * (1 + 2.0**-12) + 2.0**-12 if _requires(a) and not is_sparse(a) else a for a in given)
        )
        pairs = zip(_tupled(result), _tupled(moved))
        if any(isinstance(a, torch.Tensor) and not torch.equal(a, b) for a, b in pairs):
            raise GradcheckError("Numerical gradient for function expected to be zero: no output requires grad") from e
        raise


def _require_steady_outputs(func: Function, given: tuple[Any, ...], result: Any, eps: float) -> None:
    """Raise AssertionError where an output has another shape or dtype once the inputs have moved by `eps`."""
    before = [o for o in _tupled(result) if isinstance(o, torch.Tensor)]
    for step in (eps, -eps):
        try:
            with torch.no_grad():
                moved = func(*(a.detach() + step if _requires(a) and not is_sparse(a) else a for a in given))
        except Exception:
            continue  # beyond the edge of a domain, or a function that wants a graph
        after = [o for o in _tupled(moved) if isinstance(o, torch.Tensor)]
        if len(before) != len(after):
            continue
        for one, other in zip(before, after):
            for what in ("shape", "dtype"):
                if getattr(one, what) != getattr(other, what):
                    raise AssertionError(
                        f"Expected `func` to return outputs with the same {what} when inputs are perturbed by {step}, "
                        f"but got: {what}s {getattr(one, what)} and {getattr(other, what)}."
                    )


def _require_layouts(outputs: Sequence[torch.Tensor]) -> None:
    if any(o.layout is torch._mkldnn for o in outputs):  # type: ignore[attr-defined]
        raise ValueError("MKLDNN output is not supported: call to_dense() on the output of func")


def _require_sound_backward(func: Function, given: tuple[Any, ...]) -> None:
    """Run the backward pass once; raise what it raises, and GradcheckError for a gradient in a layout of its own."""
    leaves = _leaves(given)
    outputs = _differentiable(func(*given))
    found = torch.autograd.grad(outputs, leaves, [torch.zeros_like(o) for o in outputs], allow_unused=True)
    for gradient, leaf in zip(found, leaves):
        if gradient is None or gradient.layout is torch.strided:
            continue
        if gradient.layout != leaf.layout:
            raise GradcheckError(f"grad is incorrect layout ({gradient.layout} is not {leaf.layout})")
        for dims in ("sparse_dim", "dense_dim"):
            got, want = getattr(gradient, dims)(), getattr(leaf, dims)()
            if got != want:
                raise GradcheckError(f"grad is a sparse tensor, but has incorrect {dims} {got}, expected {want}")


def _run_forward_mode(func: Function, given: tuple[Any, ...]) -> None:
    """Push a tangent of each input by itself, as PyTorch does, and raise what the function's JVP rules raise."""
    for k, leaf in enumerate(given):
        if not _requires(leaf):
            continue
        with forward_ad.dual_level():
            inputs = [a.detach() if isinstance(a, torch.Tensor) else a for a in given]
            inputs[k] = forward_ad.make_dual(inputs[k], torch.ones_like(inputs[k]))
            for out in _tupled(func(*inputs)):
                if isinstance(out, torch.Tensor):
                    forward_ad.unpack_dual(out)


def _raise(verdict: Verdict) -> None:
    """Raise GradcheckError, Undecided or Unsupported for an outcome that is not true."""
    verdict = tell_check(verdict.case, verdict)
    if verdict:
        return
    if verdict.reason is None:
        raise Wrong(verdict)
    if verdict.reason.is_unsupported:
        raise Unsupported(verdict.message)
    raise Undecided(verdict)


def _require_reproducible(func: Function, given: tuple[Any, ...], nondet_tol: float) -> None:
    """Raise GradcheckError where two backward passes for one cotangent differ by more than `nondet_tol`."""
    leaves = _leaves(given)

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
            a, b = (g.to_dense() if is_sparse(g) else g for g in (a, b))
            off = (a - b).abs()
            same = bool(((off <= nondet_tol) | (a == b) | (a.isnan() & b.isnan())).all())
        if not same:
            raise GradcheckError(
                "Backward is not reentrant, i.e., not reproducible: two runs differ in the gradient of input "
                f"{i} by more than {nondet_tol=}"
            )


def _judge_undefined(question: Question, nondet_tol: float) -> None:
    """Judge undefined cotangents, which stand for zeros: of all outputs at once, and of all but one."""
    func, given = question.fn, question.args
    leaves = _leaves(given)
    outputs = _differentiable(func(*given))
    if outputs:
        undefine: Any = torch._C._functions.UndefinedGrad()
        nothing = [undefine(o) for o in outputs]
        try:
            found = torch.autograd.grad(nothing, leaves, [torch.zeros_like(o) for o in outputs], allow_unused=True)
        except RuntimeError as e:
            raise GradcheckError(
                f"Expected backward function to handle undefined output grads. Where they are undefined, it raises: {e}"
            ) from e
        if any(g is not None and bool((g != 0).any()) for g in found):
            raise GradcheckError(
                "Expected all input grads to be undefined or zero when all output grads are undefined or zero."
            )
    # Of other tensors than the given ones, which is what is judged: func may go back to those on its own.
    others = [a.detach().clone().requires_grad_(a.requires_grad) if isinstance(a, torch.Tensor) else a for a in given]
    own = [i for i, o in enumerate(_tupled(func(*others))) if _requires(o)]
    for i in own if len(own) > 1 else ():
        one = lambda *args, i=i: _tupled(func(*args))[i]
        _judge(replace(question, fn=one, reference=None), nondet_tol=nondet_tol)


class _Batched(torch.autograd.Function):
    """A function whose backward pass runs under vmap, over a batch that begins with the given cotangent."""

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
            ctx.outputs, _leaves(ctx.args), batch, retain_graph=True, allow_unused=True, is_grads_batched=True
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


def _leaves(given: Sequence[Any]) -> list[torch.Tensor]:
    return [t for t in given if _requires(t)]


def _requires(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.requires_grad


def _tupled(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def _require(sensible: bool, message: str) -> None:
    """Raise AssertionError for options that contradict each other, as PyTorch does."""
    if not sensible:
        raise AssertionError(message)


def _require_input_with_grad(given: tuple[Any, ...]) -> None:
    if not _leaves(given):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )


def _require_strides(given: tuple[Any, ...]) -> None:
    """Raise RuntimeError, as PyTorch does, for an input whose entries lie over one another."""
    for i, x in enumerate(given):
        if not _requires(x) or is_sparse(x):
            continue
        if any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are non-overlapping. "
                "You should call .contiguous on the input before passing it to gradcheck."
            )
