# ruff: noqa: E501 - one entry, one line: a table
"""Class 17: the gradient is right and its own gradient is not."""

from __future__ import annotations

import torch

from ..catalogue import Table, function

ENTRIES = T = Table(17)
ELSEWHERE = "second order"


def _x(r):
    return (r(3, 4),)


def second(name, about, forward, wrong, right, args=_x, **more):
    T.pair(name, about, forward, wrong, right, args, elsewhere=ELSEWHERE, **more)


second("derivative-detached", "sin: cos(x) without a graph", torch.sin, lambda g, o, x: g * x.detach().cos(), lambda g, o, x: g * x.cos(), source="pytorch#106789", quick=True)  # fmt: skip
second(
    "cotangent-detached",
    "x²: g without a graph",
    lambda x: x * x,
    lambda g, o, x: 2 * g.detach() * x,
    lambda g, o, x: 2 * g * x,
)
second("square-of-detached-factor", "x³: one of the two factors without a graph", lambda x: x**3, lambda g, o, x: 3 * g * x * x.detach(), lambda g, o, x: 3 * g * x * x, source="pytorch#79609")  # fmt: skip
second("softmax-inner-sum-detached", "softmax: Σg·out without a graph", lambda x: x.softmax(-1), lambda g, o, x: o * (g - (g * o).sum(-1, keepdim=True).detach()), lambda g, o, x: o * (g - (g * o).sum(-1, keepdim=True)), source="pytorch#196701")  # fmt: skip
second(
    "no-grad-block",
    "exp: computed under no_grad",
    torch.exp,
    lambda g, o, x: _quietly(lambda: g * o),
    lambda g, o, x: g * o,
)
second("weight-detached", "x @ w: w without a graph in the gradient of x", torch.matmul, lambda g, o, x, w: (g @ w.detach().T, x.T @ g), lambda g, o, x, w: (g @ w.T, x.T @ g), lambda r: (r(3, 4), r(4, 2)), source="pytorch#192540")  # fmt: skip
second("layer-norm-scale-detached", "normalisation: 1/σ without a graph", lambda x: _norm(x)[0], lambda g, o, x: _norm_grad(g, *_norm(x)[:1], _norm(x)[1].detach()), lambda g, o, x: _norm_grad(g, *_norm(x)), source="pytorch#198017")  # fmt: skip


def _quietly(f):
    with torch.no_grad():
        return f()


def _norm(x):
    m = x.mean(-1, keepdim=True)
    s = torch.rsqrt(((x - m) ** 2).mean(-1, keepdim=True) + 1e-5)
    return (x - m) * s, s


def _norm_grad(g, h, s):
    return s * (g - g.mean(-1, keepdim=True) - h * (g * h).mean(-1, keepdim=True))


def _saved_intermediate(good):
    """pytorch#76185: an intermediate of the forward pass is saved; the double backward does not know how it depends on x."""

    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            e = x.exp()
            ctx.e = e
            ctx.save_for_backward(x)
            return e.log1p()

        @staticmethod
        def backward(ctx, g):
            e = ctx.saved_tensors[0].exp() if good else ctx.e
            return g * e / (1 + e)

    return F.apply


T.add("saved-intermediate", "an intermediate kept in ctx: the double backward takes it for a constant", lambda: _saved_intermediate(False), _x, lambda: _saved_intermediate(True), source="pytorch#76185", elsewhere=ELSEWHERE, quick=True)  # fmt: skip


def _nested(double):
    """A backward pass that is itself a Function with a backward of its own: double(h, g, x) -> (d for g, d for x)."""
    grad = function(lambda g, x: g * x.cos(), lambda h, o, g, x: double(h, g, x))()
    return function(torch.sin, lambda g, o, x: grad(g, x))()


def _nested_right(h, g, x):
    return h * x.cos(), -h * g * x.sin()


T.add("double-sign", "a hand-written double backward with +sin", lambda: _nested(lambda h, g, x: (h * x.cos(), h * g * x.sin())), _x, lambda: _nested(_nested_right), elsewhere=ELSEWHERE, quick=True)  # fmt: skip
T.add(
    "double-x-missing",
    "a hand-written double backward without the term of x",
    lambda: _nested(lambda h, g, x: (h * x.cos(), None)),
    _x,
    elsewhere=ELSEWHERE,
)
T.add(
    "double-g-missing",
    "a hand-written double backward without the term of g",
    lambda: _nested(lambda h, g, x: (None, -h * g * x.sin())),
    _x,
    elsewhere=ELSEWHERE,
)
T.add(
    "double-scaled",
    "a hand-written double backward, 1e-5 too large",
    lambda: _nested(lambda h, g, x: (h * x.cos(), -h * g * x.sin() * (1 + 1e-5))),
    _x,
    elsewhere=ELSEWHERE,
)
T.add(
    "double-cotangent-abs",
    "a hand-written double backward with |h|",
    lambda: _nested(lambda h, g, x: _nested_right(h.abs(), g, x)),
    _x,
    elsewhere=ELSEWHERE,
)


def _via_numpy(good):
    """The derivative leaves PyTorch: right once, and a constant to the double backward unless once_differentiable says so."""
    return function(
        torch.sin, lambda g, o, x: g * torch.from_numpy(__import__("numpy").cos(x.detach().numpy())), once=good
    )()


T.add("numpy-in-backward", "the derivative is computed by NumPy: the double backward takes it for a constant", lambda: _via_numpy(False), _x, lambda: _via_numpy(True), elsewhere=ELSEWHERE)  # fmt: skip
