# ruff: noqa: E501 - one entry, one line: a table
"""Classes 4, 5 and 6: accumulation, aliased buffers, saved tensors that are no longer what they were."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from ..catalogue import Table, function

T4, T5, T6 = Table(4), Table(5), Table(6)


def _x(r):
    return (r(3, 4),)


# --- 4: overwrites, merges

T4.pair("two-uses-last-wins", "x used twice inside a Function: the second use's gradient overwrites the first's", lambda x: x.sin() * x.exp(),
        lambda g, o, x: g * x.sin() * x.exp(), lambda g, o, x: g * (x.sin() + x.cos()) * x.exp(), _x, source="candle PR3507", quick=True)  # fmt: skip
T4.pair("equal-leaves-merged", "x and y of equal values are taken for one leaf: each gets the sum", lambda x, y: x * y.sin(),
        lambda g, o, x, y: (g * (y.sin() + x * y.cos()),) * 2 if torch.equal(x, y) else (g * y.sin(), g * x * y.cos()),
        lambda g, o, x, y: (g * y.sin(), g * x * y.cos()), lambda r: (r.of([0.3, -0.7]), r.of([0.3, -0.7])), source="tinygrad#9597")  # fmt: skip
T4.pair("equal-leaves-elsewhere", "the same, at different values: needs the point where they are equal", lambda x, y: x * y.sin(),
        lambda g, o, x, y: (g * (y.sin() + x * y.cos()),) * 2 if torch.equal(x, y) else (g * y.sin(), g * x * y.cos()),
        lambda g, o, x, y: (g * y.sin(), g * x * y.cos()), lambda r: (r(3), r(3)), elsewhere="equal arguments")  # fmt: skip
T4.pair("same-tensor-twice", "f(x, x): by identity of the arguments, the second gets nothing", lambda x, y: x.sin() * y,
        lambda g, o, x, y: (g * x.cos() * y, None if x.data_ptr() == y.data_ptr() else g * x.sin()), None, lambda r: (r(3), r(3)),
        source="tensorflow#36999", elsewhere="the same tensor as both arguments")  # fmt: skip


def _same_twice():
    f = function(
        lambda x, y: x.sin() * y,
        lambda g, o, x, y: (g * x.cos() * y, None if x.data_ptr() == y.data_ptr() else g * x.sin()),
    )()
    return lambda x: f(x, x)


T4.add("same-tensor-inside", "f(x, x) inside the function: the second use gets nothing", _same_twice, lambda r: (r(3),), source="tensorflow#36999", quick=True)  # fmt: skip
T4.pair("unfold-overwrites", "overlapping windows: the backward pass writes where it should add", lambda x: x.unfold(0, 3, 1).clone(),
        lambda g, o, x: torch.zeros_like(x).index_put((torch.arange(4)[:, None] + torch.arange(3),), g),
        lambda g, o, x: torch.zeros_like(x).index_put((torch.arange(4)[:, None] + torch.arange(3),), g, accumulate=True), lambda r: (r(6),), quick=True)  # fmt: skip
T4.pair("repeat-last-copy", "repeat: only the last copy's gradient", lambda x: x.repeat(3), lambda g, o, x: g[-4:].clone(), lambda g, o, x: g.reshape(3, 4).sum(0), lambda r: (r(4),))  # fmt: skip
T4.pair("tied-weights-one-layer", "w used in two layers: only the last layer's gradient", lambda x, w: torch.tanh(x @ w) @ w,
        lambda g, o, x, w: (None, torch.tanh(x @ w).T @ g),
        lambda g, o, x, w: (None, torch.tanh(x @ w).T @ g + x.T @ (g @ w.T / torch.cosh(x @ w) ** 2)), lambda r: (r(3, 4).detach(), r(4, 4)))  # fmt: skip
T4.pair("residual-forgotten", "x + f(x): the skip connection's gradient is overwritten", lambda x: x + x.sin(), lambda g, o, x: g * x.cos(), lambda g, o, x: g * (1 + x.cos()), _x)  # fmt: skip

# --- 5: buffers


def _inplace(change, forward=torch.exp):
    return function(forward, change, once=True)


T5.add("scales-g-in-place", "the cotangent is scaled in place and returned", lambda: _inplace(lambda g, o, x: g.mul_(o))(), _x, function(torch.exp, lambda g, o, x: g * o),
       source="ChainRules#512", quick=True)  # fmt: skip
T5.add("scales-g-in-place-data", "the same through .data", lambda: _inplace(lambda g, o, x: g.data.mul_(o))(), _x)
T5.add("overwrites-saved-output", "the saved output's memory is reused: the second backward sees the first's gradient", lambda: _inplace(lambda g, o, x: o.data.mul_(g))(), _x, source="oneflow#8248")  # fmt: skip
T5.add("overwrites-input", "the input's memory is reused for the gradient", lambda: _inplace(lambda g, o, x: x.data.copy_(g * o))(), _x, source="pytorch#34082", quick=True)  # fmt: skip


def _cached(per_shape):
    buffers = {}

    def backward(g, o, x):
        key = tuple(x.shape) if per_shape else 0
        if key not in buffers or buffers[key].shape != x.shape:
            buffers[key] = torch.zeros_like(x)
        return buffers[key].add_(g * o)

    return function(torch.exp, backward, once=True)()


T5.add(
    "scratch-not-cleared",
    "a scratch buffer per shape is added to, never cleared: wrong from the second call",
    lambda: _cached(True),
    _x,
    quick=True,
)


def _scratch():
    buffers = {}

    def backward(g, o, x):
        buffer = buffers.setdefault((x.shape, x.dtype), torch.empty_like(x))
        return torch.mul(g, o, out=buffer)

    f = function(torch.exp, backward, once=True)()
    return lambda x, y: f(x) * f(y) + f(y)


T5.add("one-scratch-for-all", "every gradient of one shape lies in one buffer: the second overwrites the first before it is used", _scratch, lambda r: (r(3), r(3)))  # fmt: skip


def _in_forward(change):
    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            out = x.exp()
            ctx.save_for_backward(out)
            change(x)
            return out

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    return F.apply


T5.add(
    "forward-normalises-input",
    "the forward pass leaves its input changed (.data, not marked dirty)",
    lambda: _in_forward(lambda x: x.data.mul_(0.5)),
    _x,
)
T5.add(
    "returns-view-of-g-then-scales",
    "x + y: both get g's own memory, and a hook on one scales it in place",
    lambda: _shared_g(),
    lambda r: (r(3), r(3)),
)


def _shared_g():
    f = function(lambda x, y: x + y, lambda g, o, x, y: (g, g))()

    def call(x, y):
        a, b = x * 1.5, y * 1.5
        if b.requires_grad:  # the backward pass reaches b first
            b.register_hook(lambda g: g.mul_(3.0) / 3.0)
        return f(a, b).sin()

    return call


# --- 6: stale


def _raw(save, forward=torch.sin, differentiated=lambda backward: backward):
    """Keeps its input outside save_for_backward, so that no version is checked."""

    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            save(ctx, x)
            return forward(x)

        @staticmethod
        @differentiated
        def backward(ctx, g):
            return g * ctx.x.cos()

    return F.apply


def _edited(f):
    def call(x):
        y = x * 1.0
        z = f(y)
        y.mul_(2.0)
        return z + y

    return call


def _save(ctx, x):
    ctx.x = x


def _save_copy(ctx, x):
    ctx.x = x.clone()


T6.add("ctx-attribute-then-edit", "ctx.x = x, and x is edited in place afterwards", lambda: _edited(_raw(_save)), _x, lambda: _edited(_raw(_save_copy, differentiated=once_differentiable)), source="pytorch#197887", quick=True)  # fmt: skip
T6.add("ctx-attribute-elsewhere", "ctx.x = x: wrong once the caller edits its input in place between forward and backward", lambda: _raw(_save), _x, lambda: _raw(_save_copy, differentiated=once_differentiable),
       source="burn#1224", elsewhere="an in-place edit between forward and backward", quick=True)  # fmt: skip
T6.add(
    "saved-detached-alias",
    "save_for_backward(x.detach()): shares memory, and an edit of x in place is not seen",
    lambda: _edited(_detached_save()),
    _x,
)


def _detached_save():
    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x.data)
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0].cos()

    return F.apply


def _slot(check_shape):
    class F(torch.autograd.Function):
        slot = None

        @staticmethod
        def forward(ctx, x):
            F.slot = x.clone()
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            return g * F.slot.cos()

    return lambda x: F.apply(x) + F.apply(x * 0.5)


T6.add(
    "one-slot-for-all-calls",
    "saved on the class: two calls in one graph share the last one's input",
    lambda: _slot(False),
    _x,
    quick=True,
)


def _first_call(key):
    kept = {}

    def backward(g, o, x):
        return g * kept.setdefault(key(x), x.detach().cos())

    return function(torch.sin, backward, once=True)()


T6.add("derivative-kept-per-shape", "the derivative of the first call of each shape is kept: wrong at other values", lambda: _first_call(lambda x: (x.shape, x.dtype)), _x,
       elsewhere="a second point of the same shape", quick=True)  # fmt: skip
T6.add(
    "mask-kept-from-first-call",
    "relu's mask is that of the first call of its shape",
    lambda: _mask_kept(),
    lambda r: (r(4, 4),),
    elsewhere="a second point of the same shape",
)


def _mask_kept():
    masks = {}

    def backward(g, o, x):
        return g * masks.setdefault((x.shape, x.dtype), (x > 0).to(x.dtype))

    return function(torch.relu, backward, once=True)()


def _counting(after, wrong):
    calls = [0]

    def backward(g, o, x):
        calls[0] += 1
        d = g / x.cosh() ** 2
        return d if calls[0] <= after else wrong(d)

    return function(torch.tanh, backward, once=True)()


T6.add(
    "second-call-doubled",
    "right the first time, doubled ever after (a cache that is added to)",
    lambda: _counting(1, lambda d: 2 * d),
    _x,
    quick=True,
)
T6.add("third-call-zero", "right twice, zero from the third call on", lambda: _counting(2, torch.zeros_like), _x)
T6.add(
    "running-mean-leaks",
    "a running mean, updated by the forward pass, is used by the backward pass of x - mean",
    lambda: _running(),
    lambda r: (r(4, 3),),
)


def _running():
    mean = {}

    def forward(x):
        m = x.detach().mean(0)
        mean[x.shape] = 0.9 * mean.get(x.shape, torch.zeros_like(m)) + 0.1 * m
        return x * x - x.mean(0)

    return function(forward, lambda g, o, x: g * 2 * x - g.mean(0) + 1e-3 * mean[x.shape], once=True)()


ENTRIES = [*T4, *T5, *T6]
