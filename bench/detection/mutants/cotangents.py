# ruff: noqa: E501 - one entry, one line: a table
"""Classes 3, 21 and 22: what is done with the cotangent, with one that is not there, and with inputs that want none."""

from __future__ import annotations

import torch

from ..catalogue import Table

T3, T21, T22 = Table(3), Table(21), Table(22)


def misuse(name, about, change, **more):
    T3.pair(name, about, torch.sin, lambda g, o, x: change(g) * x.cos(), None, lambda r: (r(3, 4),), **more)


misuse("g-abs", "|g|", torch.abs, source="nx PR1779", quick=True)
misuse("g-squared", "g²", lambda g: g * g)
misuse("g-clipped-1", "g clipped to ±1", lambda g: g.clamp(-1, 1))
misuse(
    "g-clipped-10",
    "g clipped to ±10: shows for large cotangents only",
    lambda g: g.clamp(-10, 10),
    elsewhere="a large cotangent",
)
misuse("g-clipped-1e4", "g clipped to ±1e4", lambda g: g.clamp(-1e4, 1e4), elsewhere="a large cotangent")
misuse("g-ignored", "ones for g: `.sum()` tests do not see it", torch.ones_like, source="nx PR1779", quick=True)
misuse("g-sign", "sign(g)", torch.sign)
misuse("g-relu", "negative cotangents are dropped", torch.relu)
misuse("g-first-only", "the first entry of g for all", lambda g: g.flatten()[0].expand_as(g))
misuse("g-mean", "the mean of g for all", lambda g: g.mean().expand_as(g))
misuse("g-tiny-dropped", "entries of g below 1e-6 are flushed to zero", lambda g: torch.where(g.abs() < 1e-6, torch.zeros_like(g), g), elsewhere="a tiny cotangent", quick=True)  # fmt: skip
misuse(
    "g-norm-clipped",
    "g clipped to a norm of 100",
    lambda g: g * torch.clamp(100.0 / g.norm(), max=1.0),
    elsewhere="a large cotangent",
)
misuse("g-through-half", "g goes through float16", lambda g: g.half().to(g.dtype))
misuse("g-half-overflow", "g in float16 where that loses nothing (scaled), and inf above 65504", lambda g: torch.where(g.abs() > 65504, g * torch.inf, g), elsewhere="a large cotangent")  # fmt: skip
misuse("g-offset", "g + 1e-3", lambda g: g + 1e-3)
misuse(
    "g-offset-nan-free",
    "(g·h)/h with h = g: NaN where g is zero",
    lambda g: g * g / g,
    elsewhere="a zero cotangent",
    quick=True,
)
misuse("g-divided-by-itself", "g·|g|/|g| written as g²/|g|·sign(g): NaN at zero, underflow for tiny", lambda g: g**2 / g.abs() * g.sign(), elsewhere="a zero cotangent")  # fmt: skip
misuse("g-normalised", "g / max|g|", lambda g: g / g.abs().max())
misuse("g-one-hot-only", "the gradient of the largest entry of g only", lambda g: g * (g.abs() == g.abs().max()))
misuse("g-skips-zero-rows", "stops at the first row of zeros in g", lambda g: g * (g != 0).any(-1, keepdim=True).cumprod(0), elsewhere="a masked cotangent", quick=True)  # fmt: skip
misuse("g-shortcut-when-equal", "where all entries of g are equal it is taken for the cotangent of a mean", lambda g: g / g.numel() if bool((g == g.flatten()[0]).all()) else g, elsewhere="a constant cotangent", quick=True)  # fmt: skip
misuse("g-shortcut-ones", "where g is all ones a precomputed (wrong) gradient is used", lambda g: 2 * g if bool((g == 1).all()) else g, elsewhere="a cotangent of ones")  # fmt: skip


def two(backward, materialise=True):
    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            ctx.set_materialize_grads(materialise)
            return x.sin(), x.exp()

        @staticmethod
        def backward(ctx, g, h):
            (x,) = ctx.saved_tensors
            return backward(g, h, x)

    return Two.apply


def _right(g, h, x):
    return (0 if g is None else g * x.cos()) + (0 if h is None else h * x.exp())


def _x(r):
    return (r(4),)


T3.add("second-output-ignored", "two outputs: the second's cotangent is ignored", lambda: two(lambda g, h, x: g * x.cos()), _x, lambda: two(_right), quick=True)  # fmt: skip
T3.add(
    "outputs-swapped",
    "two outputs: the cotangents are swapped",
    lambda: two(lambda g, h, x: h * x.cos() + g * x.exp()),
    _x,
)
T3.add("cross-talk", "two outputs: the second's cotangent is scaled by the first's size", lambda: two(lambda g, h, x: g * x.cos() + h * x.exp() * g.abs().max().clamp(min=2.5) / 2.5), _x, elsewhere="a large cotangent")  # fmt: skip

T21.add("none-as-one", "an undefined cotangent counts as ones", lambda: _first(two(lambda g, h, x: g * x.cos() + (x.exp() if h is None else h * x.exp()), False)), _x,
        lambda: _first(two(_right, False)), source="pytorch#33138", quick=True)  # fmt: skip
T21.add("none-raises", "an undefined cotangent is multiplied: TypeError", lambda: _first(two(lambda g, h, x: g * x.cos() + h * x.exp(), False)), _x,
        lambda: _first(two(lambda g, h, x: g * x.cos() + h * x.exp())), source="pytorch#100248")  # fmt: skip
T21.add("none-returns-none", "no gradient at all if any cotangent is undefined", lambda: _first(two(lambda g, h, x: None if g is None or h is None else _right(g, h, x), False)), _x)  # fmt: skip
T21.add("none-other-output", "both outputs returned; wrong only when the first is undefined", lambda: two(lambda g, h, x: 2 * h * x.exp() if g is None else _right(g, h, x), False), _x,
        lambda: two(_right, False), elsewhere="an undefined cotangent", quick=True)  # fmt: skip
T21.add("none-raises-elsewhere", "both outputs returned; raises when the second is undefined", lambda: two(lambda g, h, x: g * x.cos() + h * x.exp(), False), _x,
        elsewhere="an undefined cotangent")  # fmt: skip
T21.add("zeros-skipped", "a cotangent of zeros is taken for undefined, and the other is dropped with it", lambda: two(lambda g, h, x: torch.zeros_like(x) if bool((h == 0).all()) else _right(g, h, x)), _x,
        elsewhere="a zero cotangent for one output")  # fmt: skip


def _first(f):
    return lambda x: f(x)[0]


def needs(backward):
    class Needs(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x * y.sin()

        @staticmethod
        def backward(ctx, g):
            return backward(ctx.needs_input_grad, g, *ctx.saved_tensors)

    return Needs.apply


def _needs_right(need, g, x, y):
    return g * y.sin() if need[0] else None, g * x * y.cos() if need[1] else None


def _both(r):
    return r(4), r(4)


def _only_y(r):
    return r(4).detach(), r(4)


T22.add("packed-to-the-front", "the needed gradients are packed: that of y goes to x", lambda: needs(lambda n, g, x, y: (g * y.sin(), g * x * y.cos()) if n[0] else (None, g * y.sin())), _only_y,
        lambda: needs(_needs_right), source="pytorch#183825", quick=True)  # fmt: skip
T22.add("packed-elsewhere", "the same, given a call in which both are needed", lambda: needs(lambda n, g, x, y: (g * y.sin(), g * x * y.cos()) if n[0] else (None, g * y.sin())), _both,
        elsewhere="only y requires grad", quick=True)  # fmt: skip
T22.add(
    "none-unless-first",
    "no gradient of y unless x wants one",
    lambda: needs(lambda n, g, x, y: _needs_right(n, g, x, y) if n[0] else (None, None)),
    _only_y,
)
T22.add("none-unless-first-elsewhere", "the same, given a call in which both are needed", lambda: needs(lambda n, g, x, y: _needs_right(n, g, x, y) if n[0] else (None, None)), _both,
        elsewhere="only y requires grad")  # fmt: skip
T22.add("scale-if-alone", "the gradient of x is doubled where y wants none", lambda: needs(lambda n, g, x, y: (g * y.sin() * (1 if n[1] else 2), g * x * y.cos())), _both,
        elsewhere="only x requires grad")  # fmt: skip
T22.add("reuses-first", "the gradient of y reuses what was computed for x, uninitialised without it", lambda: needs(lambda n, g, x, y: (g * y.sin(), (g * y.sin() if n[0] else torch.zeros_like(g)) / y.sin() * x * y.cos())), _both,
        elsewhere="only y requires grad")  # fmt: skip

ENTRIES = [*T3, *T21, *T22]
