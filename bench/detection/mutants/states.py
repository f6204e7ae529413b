# ruff: noqa: E501 - one entry, one line: a table
"""Classes 5, 6, 17 and 20 again: what is kept from one call to the next; and 14: lengths that one call does not have.

Every call by itself is right. What shows the mistake is a second call between forward and backward pass, a result that is
looked at again after one, a second recorded backward pass over one graph, or another length of one axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..catalogue import Table

T5, T6, T14, T17, T20 = Table(5), Table(6), Table(14), Table(17), Table(20)
SECOND_CALL = "another call in between"
OTHER_LENGTH = "another length of one axis"

Rule = Callable[..., Any]


def custom(forward: Rule, backward: Rule) -> Rule:
    """An autograd.Function of `forward(ctx, *args)` and `backward(ctx, g)`."""
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    made: Any = type("Kept", (torch.autograd.Function,), members)
    return made.apply


def _buffers() -> Callable[[Any], Any]:
    """The memory of one call for a tensor like x, kept for the next one."""
    kept: dict[Any, Any] = {}

    def of(x: Any) -> Any:
        return kept.setdefault((x.shape, x.dtype), torch.empty_like(x, memory_format=torch.contiguous_format))

    return of


# ---- results that the next call writes over -------------------------------------------------------------------------


def _gradient_buffer(kept: bool) -> Callable[[], Rule]:
    def make() -> Rule:
        buffer = _buffers()

        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return torch.mul(3 * g, x * x, out=buffer(x)) if kept and not torch.is_grad_enabled() else 3 * g * x * x

        return custom(forward, backward)

    return make


def _output_buffer(kept: bool) -> Callable[[], Rule]:
    def make() -> Rule:
        buffer = _buffers()

        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(x, w)
            return buffer(x).copy_(x * w).view(x.shape) if kept else x * w

        def backward(ctx: Any, g: Any) -> Any:
            x, w = ctx.saved_tensors
            return g * w, (g * x).sum(0)

        return custom(forward, backward)

    return make


def _ring(length: int) -> Callable[[], Rule]:
    """Gradients in `length` buffers that take turns; 0: in new memory."""

    def make() -> Rule:
        rings, calls = [_buffers() for _ in range(length)], [0]

        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.cosh()

        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            calls[0] += 1
            d = g * x.sinh()
            return rings[calls[0] % length](x).copy_(d.detach()) if length and not torch.is_grad_enabled() else d

        return custom(forward, backward)

    return make


def _positive(r: Any) -> tuple[Any, ...]:
    return (r.pos(5),)


T5.add("state-gradient-buffer", "x³: one buffer for the gradients of all calls", _gradient_buffer(True), lambda r: (r(2, 5),), _gradient_buffer(False), elsewhere=SECOND_CALL, quick=True)  # fmt: skip
T5.add("state-output-buffer", "x·w: one buffer for the outputs of all calls", _output_buffer(True), lambda r: (r(4, 3), r(3)), _output_buffer(False), elsewhere=SECOND_CALL, quick=True)  # fmt: skip
T5.add("state-ring-of-two", "cosh: two buffers take turns", _ring(2), _positive, _ring(0), elsewhere=SECOND_CALL)

# ---- what is saved is that of the last call ----------------------------------------------------------------------------


def _kept_value(save: Rule, forward: Rule, backward: Rule, kept: bool) -> Callable[[], Rule]:
    """`backward(g, saved, *tensors)`, with `saved` that of the last call where it is kept."""

    def make() -> Rule:
        last: list[Any] = [None]

        def forwards(ctx: Any, *tensors: Any) -> Any:
            ctx.save_for_backward(*tensors)
            last[0] = ctx.mine = save(*tensors)
            return forward(*tensors)

        def backwards(ctx: Any, g: Any) -> Any:
            return backward(g, last[0] if kept else ctx.mine, *ctx.saved_tensors)

        return custom(forwards, backwards)

    return make


def _scratch(kept: bool) -> Callable[[], Rule]:
    """Softmax whose probabilities are saved in memory that all calls share."""

    def make() -> Rule:
        buffer = _buffers()

        def forward(ctx: Any, x: Any) -> Any:
            p = x.softmax(-1)
            ctx.p = buffer(x).copy_(p) if kept else p.clone()
            ctx.save_for_backward(x)
            return p

        def backward(ctx: Any, g: Any) -> Any:
            p = ctx.saved_tensors[0].softmax(-1) if torch.is_grad_enabled() else ctx.p
            return p * (g - (g * p).sum(-1, keepdim=True))

        return custom(forward, backward)

    return make


def _counted(kept: bool) -> Callable[[], Rule]:
    """A backward pass that belongs to an older forward pass takes itself for one that is run again."""

    def make() -> Rule:
        calls = [0]

        def forward(ctx: Any, x: Any) -> Any:
            calls[0] += 1
            ctx.call = calls[0]
            ctx.save_for_backward(x)
            return x * x.exp()

        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * x.exp() * (1 + x) * (0.5 if kept and calls[0] != ctx.call else 1.0)

        return custom(forward, backward)

    return make


def kept(name: str, about: str, save: Rule, forward: Rule, backward: Rule, args: Rule, **more: Any) -> None:
    T6.add(name, about, _kept_value(save, forward, backward, True), args, _kept_value(save, forward, backward, False),
           elsewhere=SECOND_CALL, **more)  # fmt: skip


kept("state-last-norm", "x / |x|: the norm is that of the last call", lambda x: x.detach().norm(dim=-1, keepdim=True), lambda x: x / x.norm(dim=-1, keepdim=True), lambda g, n, x: _unit(g, x if torch.is_grad_enabled() else x.detach(), n), lambda r: (r.pos(3, 4),), quick=True)  # fmt: skip
kept("state-last-weights", "x @ w: the weights are those of the last call", lambda x, w: w.detach().clone(), lambda x, w: x @ w, lambda g, k, x, w: (g @ (w if torch.is_grad_enabled() else k).T, x.T @ g), lambda r: (r(3, 2), r(2, 4)))  # fmt: skip
T6.add("state-shared-probabilities", "softmax: what is saved lies in memory that all calls share", _scratch(True), lambda r: (r(2, 4),), _scratch(False), elsewhere=SECOND_CALL)  # fmt: skip
T6.add("state-call-counter", "x·exp x: half the gradient where a newer call has run", _counted(True), lambda r: (r(4),), _counted(False), elsewhere=SECOND_CALL)  # fmt: skip


def _unit(g: Any, x: Any, n: Any) -> Any:
    n = x.norm(dim=-1, keepdim=True) if torch.is_grad_enabled() else n
    return (g - x * (g * x).sum(-1, keepdim=True) / (n * n)) / n


# ---- what is made of a parameter is kept -----------------------------------------------------------------------------


class _Cached(torch.nn.Module):
    """x times what `derive` makes of the parameter, made once, or in each call."""

    def __init__(self, derive: Rule, kept: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.4, -0.8, 1.3], dtype=torch.float64))
        self.derive, self.kept = derive, kept
        self.cache: dict[str, Any] = {}

    def forward(self, x: Any) -> Any:
        if not self.kept:
            return x * self.derive(self.weight)
        if "scale" not in self.cache:
            self.cache["scale"] = self.derive(self.weight)
        return x * self.cache["scale"]


def cached(name: str, about: str, derive: Rule, **more: Any) -> None:
    T20.add(f"state-{name}", about, lambda: _Cached(derive, True), lambda r: (r(4, 3),), lambda: _Cached(derive, False),
            elsewhere=SECOND_CALL, **more)  # fmt: skip


cached("cached-softmax", "a gate made of the weights in the first call", lambda w: w.softmax(-1), quick=True)
cached("cached-norm", "normalised weights of the first call", lambda w: w / w.norm())
cached("cached-square", "squares of the weights in the first call", lambda w: w * w + 1)


def _closure(kept: bool) -> Callable[[], Rule]:
    """Frequencies made of an argument, kept by its shape."""

    def make() -> Rule:
        tables: dict[Any, Any] = {}

        def rotate(x: Any, theta: Any) -> Any:
            table = tables.setdefault(theta.shape, theta.cos()) if kept else theta.cos()
            return x * table

        return rotate

    return make


T20.add("state-table-by-shape", "cosines of an argument are kept by its shape", _closure(True), lambda r: (r(4, 3), r(3)), _closure(False), elsewhere=SECOND_CALL)  # fmt: skip

# ---- a second recorded backward pass ----------------------------------------------------------------------------------


def _second_pass(forward: Rule, backward: Rule, forgets: bool) -> Callable[[], Rule]:
    """The second backward pass over a graph takes what is saved without its history."""

    def make() -> Rule:
        def forwards(ctx: Any, x: Any) -> Any:
            ctx.used = False
            ctx.save_for_backward(x)
            return forward(x)

        def backwards(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            x = x.detach() if forgets and ctx.used else x
            ctx.used = True
            return backward(g, x)

        return custom(forwards, backwards)

    return make


def forgetful(name: str, about: str, forward: Rule, backward: Rule, **more: Any) -> None:
    T17.add(f"state-{name}", about, _second_pass(forward, backward, True), lambda r: (r.pos(4),),
            _second_pass(forward, backward, False), elsewhere="a second double backward", **more)  # fmt: skip


forgetful("forgets-log", "x·log x: saved without history the second time", lambda x: x * x.log(), lambda g, x: g * (x.log() + 1), quick=True)  # fmt: skip
forgetful("forgets-tanh", "tanh: the second pass is no function of x", torch.tanh, lambda g, x: g / x.cosh() ** 2)

# ---- lengths ----------------------------------------------------------------------------------------------------------


def _attend(q: Any, k: Any, v: Any) -> Any:
    return (q @ k.T).sin() @ v


def _attention_rule(spoil: Rule) -> Rule:
    def backward(g: Any, o: Any, q: Any, k: Any, v: Any) -> Any:
        s = q @ k.T
        d = (g @ v.T) * s.cos()
        return d @ k, spoil(d.T @ q, q, k), s.sin().T @ g

    return backward


def lengths(name: str, about: str, forward: Rule, wrong: Rule, right: Rule, args: Rule, **more: Any) -> None:
    T14.pair(f"length-{name}", about, forward, wrong, right, args, elsewhere=OTHER_LENGTH, **more)


_UNSPOILT = _attention_rule(lambda dk, q, k: dk)
lengths("keys-by-queries", "as many rows of dk are written as there are queries", _attend, _attention_rule(lambda dk, q, k: dk * (torch.arange(len(k)) < len(q))[:, None]), _UNSPOILT, lambda r: (r(4, 3), r(4, 3), r(4, 2)), quick=True)  # fmt: skip
lengths("keys-in-fours", "dk of the last, incomplete tile of four keys is not written", _attend, _attention_rule(lambda dk, q, k: dk * (torch.arange(len(k)) < len(k) // 4 * 4)[:, None]), _UNSPOILT, lambda r: (r(5, 3), r(8, 3), r(8, 2)))  # fmt: skip
lengths("beyond-one-tile", "sin of rows: the second tile of eight columns takes the first one's cotangent", torch.sin, lambda g, o, x: g[..., torch.arange(x.shape[-1]) % 8] * x.cos(), lambda g, o, x: g * x.cos(), lambda r: (r(2, 8),))  # fmt: skip
lengths("odd-width", "a mean over columns divides by twice half their number", lambda x: x.square().mean(-1), lambda g, o, x: 2 * g[:, None] * x / (x.shape[-1] // 2 * 2), lambda g, o, x: 2 * g[:, None] * x / x.shape[-1], lambda r: (r(3, 6),), quick=True)  # fmt: skip
lengths("square-by-chance", "x @ w: dw is transposed, which shows where there are as many rows as columns", lambda x, w: x @ w, lambda g, o, x, w: (g @ w.T, (x.T @ g) if x.shape[0] == w.shape[1] else (x.T @ g) * 2), lambda g, o, x, w: (g @ w.T, x.T @ g), lambda r: (r(3, 4), r(4, 3)))  # fmt: skip
lengths("prime", "products of neighbours: the last one's is left out where the length is no multiple of three", lambda x: x * x.roll(1, -1), lambda g, o, x: (g * x.roll(1, -1) + (g * x).roll(-1, -1)) * (torch.arange(x.shape[-1]) < x.shape[-1] // 3 * 3), lambda g, o, x: g * x.roll(1, -1) + (g * x).roll(-1, -1), lambda r: (r(2, 3),))  # fmt: skip

ENTRIES = [*T5, *T6, *T14, *T17, *T20]
