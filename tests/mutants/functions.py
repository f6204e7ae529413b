"""Mutants as torch.autograd.Function subclasses, for the torch subject: what only real memory and a real tape show
(aliasing, layout, stale buffers), and the mistakes that people make in hand-written backward passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .mutant import Mutant

Backward = Callable[..., Any]


def function(forward: Callable[..., Any], backward: Backward) -> Callable[[], Callable[..., Any]]:
    """A maker of fresh Functions: backward(g, out, *args, **params) gives one gradient, or a tuple of them."""

    def make() -> Callable[..., Any]:
        import torch

        class Mutated(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, params: dict[str, Any], *args: Any) -> Any:
                out = forward(*args, **params)
                ctx.params = params
                ctx.save_for_backward(out, *args)
                return out

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                out, *args = ctx.saved_tensors
                d = backward(g, out, *args, **ctx.params)
                return (None, *(d if isinstance(d, tuple) else (d,)))

        return lambda *args, **params: Mutated.apply(params, *args)

    return make


def _torch(name: str) -> Callable[..., Any]:
    """torch.<name>, looked up when it is called."""

    def call(*args: Any, **params: Any) -> Any:
        import torch

        return getattr(torch, name)(*args, **params)

    return call


def mutant_function(
    name: str, bug: int, op: str, backward: Backward, description: str,
    forward: Callable[..., Any] | None = None, size: float | None = None,
) -> Mutant:  # fmt: skip
    """A mutant that runs PyTorch's own forward pass (or `forward`) and the wrong `backward`."""
    make = function(forward or _torch(op), backward)
    return Mutant(name=f"torch-{name}", bug=bug, op=op, function=make, description=description, size=size)


# --- Class 1


def _mul_other_axis(g: Any, out: Any, x: Any, y: Any) -> Any:
    """PyTorch sums a gradient that is too large by itself; whoever reduces by hand can still take the wrong axis."""

    def reduce(d: Any, to: Any) -> Any:
        if d.shape == to.shape:
            return d
        if d.ndim == 2 and to.ndim == 2 and d.shape[0] == d.shape[1]:
            return d.sum(0 if to.shape[1] == 1 else 1).reshape(to.shape)
        return d.sum_to_size(to.shape)

    return reduce(g * y, x), reduce(g * x, y)


# --- Class 3 and 12 work on g itself


def _as_if_contiguous(g: Any) -> Any:
    """The entries of g in the order in which they lie in memory: what a kernel sees that ignores strides."""
    import torch

    strides, step = [], 1
    for n in reversed(g.shape):
        strides.insert(0, step)
        step *= n
    if step * g.element_size() > g.untyped_storage().nbytes():  # an expanded g: such a kernel reads what lies behind
        return torch.full(g.shape, math.nan, dtype=g.dtype)
    return torch.as_strided(g, g.shape, strides, 0)


# --- Class 5: memory


def _scaled_in_place(g: Any, out: Any, x: Any) -> Any:
    return g.mul_(out)


def _through_saved_output(g: Any, out: Any, x: Any) -> Any:
    """Reuses the saved output's memory; `.data` hides it from the version counter."""
    return out.data.mul_(g)


def _scratch(derivative: Callable[[Any, Any], Any]) -> Backward:
    """Returns one buffer per shape, again and again: an earlier gradient changes under its owner's feet."""
    buffers: dict[Any, Any] = {}

    def backward(g: Any, out: Any, x: Any) -> Any:
        import torch

        buffer = buffers.setdefault((tuple(x.shape), x.dtype), torch.empty_like(x))
        return torch.mul(g, derivative(x, out), out=buffer)

    return backward


# --- Class 6: one slot for all


def _one_slot() -> Callable[..., Any]:
    """Saves on the class instead of in ctx: the last forward's input serves every backward."""
    import torch

    class Mutated(torch.autograd.Function):
        slot: Any = None

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            Mutated.slot = x
            return torch.sin(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x = Mutated.slot
            return g * torch.cos(x) if x.shape == g.shape else g

    return Mutated.apply


def _from_second_call(right: Backward, factor: float) -> Callable[[], Callable[..., Any]]:
    def make() -> Callable[..., Any]:
        calls = 0

        def backward(g: Any, out: Any, *args: Any, **params: Any) -> Any:
            nonlocal calls
            calls += 1
            return right(g, out, *args, **params) * (1.0 if calls == 1 else factor)

        return function(_torch("tanh"), backward)()

    return make


# --- the rules themselves


def _softmax(g: Any, out: Any, x: Any, axis: Any = -1) -> Any:
    return out * (g - g.sum(axis, keepdim=True))


def _log_softmax(g: Any, out: Any, x: Any, axis: Any = -1) -> Any:
    return g - out * g.sum(axis, keepdim=True)


def _logsumexp(g: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    import torch

    e = torch.exp(x)
    total = e.sum(_axes(axis, x), keepdim=True) if _axes(axis, x) else e
    return g.reshape(total.shape) * e / total


def _gelu_tanh(g: Any, out: Any, x: Any, **_: Any) -> Any:
    """The derivative of the tanh approximation, for the exact function."""
    import torch

    with torch.enable_grad():
        z = x.detach().requires_grad_()
        y = torch.nn.functional.gelu(z, approximate="tanh")
    return torch.autograd.grad(y, z, g)[0]


def _matmul_one_batch(g: Any, out: Any, a: Any, b: Any) -> Any:
    import torch

    with torch.enable_grad():
        x, y = a.detach().requires_grad_(), b.detach().requires_grad_()
        da, db = torch.autograd.grad(torch.matmul(x, y), (x, y), g)
    return da, db * (1 + 1e-12)


def _max_all_ties(g: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    kept = _kept(x, axis)
    return (x == out.reshape(kept)) * g.reshape(kept)


def _max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return x.amax(_axes(axis, x), keepdim=keepdims) if _axes(axis, x) else x.clone()


def _prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    out = x.clone()
    for a in sorted(_axes(axis, x), reverse=True):
        out = out.prod(a, keepdim=keepdims)
    return out


def _prod_divides(g: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return (g * out).reshape(_kept(x, axis)) / x


def _take(x: Any, i: Any, axis: int) -> Any:
    import torch

    a = axis % x.ndim
    return torch.index_select(x, a, i.reshape(-1)).reshape((*x.shape[:a], *i.shape, *x.shape[a + 1 :]))


def _take_overwrites(g: Any, out: Any, x: Any, i: Any, axis: int) -> Any:
    import torch

    a = axis % x.ndim
    g = g.reshape((*x.shape[:a], i.numel(), *x.shape[a + 1 :]))
    d = torch.zeros_like(x)
    d[(slice(None),) * a + (i.reshape(-1),)] = g
    return d, None


def _sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return x.sum(_axes(axis, x), keepdim=keepdims) if _axes(axis, x) else x.clone()


def _sum_other_axis(g: Any, out: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Expands g along the wrong axis of a square matrix."""
    if x.ndim == 2 and x.shape[0] == x.shape[1] and isinstance(axis, int):
        return g.reshape(-1, 1).expand(x.shape) if axis % 2 == 0 else g.reshape(1, -1).expand(x.shape)
    return g.reshape(_kept(x, axis)).expand(x.shape)


def _axes(axis: Any, x: Any) -> tuple[int, ...]:
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(a % x.ndim for a in axes)


def _kept(x: Any, axis: Any) -> list[int]:
    """The shape of a reduction that keeps its axes."""
    return [1 if i in _axes(axis, x) else n for i, n in enumerate(x.shape)]


def _softplus_overflows(g: Any, out: Any, x: Any, **_: Any) -> Any:
    import torch

    return g * torch.exp(x) / (1 + torch.exp(x))


def _softplus(x: Any, **_: Any) -> Any:
    import torch

    return torch.nn.functional.softplus(x)


def _gelu(x: Any, **_: Any) -> Any:
    import torch

    return torch.nn.functional.gelu(x)


def _softmax_forward(x: Any, axis: Any = -1) -> Any:
    return x.softmax(axis)


def _log_softmax_forward(x: Any, axis: Any = -1) -> Any:
    return x.log_softmax(axis)


def _logsumexp_forward(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return x.logsumexp(_axes(axis, x), keepdim=keepdims) if _axes(axis, x) else x.clone()


def _first(factor: float) -> Backward:
    """exp's rule, with one entry scaled."""

    def backward(g: Any, out: Any, x: Any) -> Any:
        d = (g * out).contiguous()
        if d.numel():
            d.view(-1)[0] *= factor
        return d

    return backward


_mutant = mutant_function

FUNCTIONS: tuple[Mutant, ...] = (
    _mutant("multiply-other-axis", 1, "multiply", _mul_other_axis, "reduces a square over the wrong axis"),
    _mutant("sum-other-axis", 1, "sum", _sum_other_axis, "expands along the wrong axis of a square", _sum),
    _mutant("exp-1e-12", 2, "exp", lambda g, out, x: g * out * (1 + 1e-12), "off by 1e-12", size=1e-12),
    _mutant("exp-1e-12-one-entry", 2, "exp", _first(1 + 1e-12), "the first entry is off by 1e-12", size=1e-12),
    _mutant("sin-sign", 2, "sin", lambda g, out, x: -g * x.cos(), "-cos"),
    _mutant("softmax-sums-g", 2, "softmax", _softmax, "sum(g) for sum(g * out)", _softmax_forward),
    _mutant("log_softmax-not-exp", 2, "log_softmax", _log_softmax, "out for exp(out)", _log_softmax_forward),
    _mutant("gelu-tanh", 2, "gelu", _gelu_tanh, "the tanh approximation's derivative", _gelu),
    _mutant("matmul-1e-12", 2, "matmul", _matmul_one_batch, "second argument off by 1e-12", size=1e-12),
    _mutant("exp-squares-g", 3, "exp", lambda g, out, x: g * g * out, "g**2 for g"),
    _mutant("tanh-abs-g", 3, "tanh", lambda g, out, x: g.abs() / x.cosh() ** 2, "|g| for g"),
    _mutant("sin-clips-g", 3, "sin", lambda g, out, x: g.clamp(-1, 1) * x.cos(), "g clipped to [-1, 1]"),
    _mutant("log-ignores-g", 3, "log", lambda g, out, x: 1 / x, "1 for g"),
    _mutant("take-overwrites", 4, "take", _take_overwrites, "of duplicate indices one wins", _take),
    _mutant("exp-mutates-g", 5, "exp", _scaled_in_place, "multiplies into the cotangent's memory"),
    _mutant("exp-mutates-out", 5, "exp", _through_saved_output, "multiplies into the saved output's memory"),
    Mutant(name="torch-sin-scratch", bug=5, op="sin", description="returns the same buffer again and again",
           function=lambda: function(_torch("sin"), _scratch(lambda x, out: x.cos()))()),
    Mutant(name="torch-sin-one-slot", bug=6, op="sin", description="the last forward's input serves every backward",
           function=_one_slot),
    Mutant(name="torch-tanh-from-second-call", bug=6, op="tanh", description="1e-10 off from the second call on",
           function=_from_second_call(lambda g, out, x: g / x.cosh() ** 2, 1 + 1e-10), size=1e-10),
    _mutant("max-all-ties", 8, "max", _max_all_ties, "every tied entry gets all of g", _max),
    _mutant("prod-divides", 9, "prod", _prod_divides, "g * out / x", _prod),
    _mutant("softplus-overflows", 10, "softplus", _softplus_overflows, "inf / inf where exp overflows", _softplus),
    _mutant("logsumexp-overflows", 10, "logsumexp", _logsumexp, "inf / inf where exp overflows", _logsumexp_forward),
    _mutant("tanh-cancels", 11, "tanh", lambda g, out, x: g * (1 - out * out), "1 - out**2 at 15"),
    _mutant("expm1-cancels", 11, "expm1", lambda g, out, x: g * (out + 1), "out + 1 at -40"),
    # Beyond class 11: layout (12) and precision (15).
    _mutant("exp-assumes-contiguous", 12, "exp", lambda g, out, x: _as_if_contiguous(g) * out, "ignores g's strides"),
    _mutant("sin-strided-1e-10", 12, "sin",
            lambda g, out, x: g * x.cos() * (1.0 if g.is_contiguous() else 1 + 1e-10),
            "off by 1e-10 where g is not contiguous", size=1e-10),
    _mutant("exp-in-float32", 15, "exp", lambda g, out, x: (g.float() * out.float()).to(x.dtype),
            "computed in float32"),
)  # fmt: skip
