"""Right custom Functions that do what makes checkers stumble."""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..catalogue import Table, function

ENTRIES = T = Table()


def _x(r):
    return (r(3, 4),)


def _fn(forward, backward, **how):
    class F(torch.autograd.Function):
        pass

    F.forward, F.backward = staticmethod(forward), staticmethod(backward)
    return F.apply


T.add(
    "once-differentiable",
    "a backward pass that says that it cannot be differentiated",
    function(torch.sin, lambda g, o, x: g * x.cos(), once=True),
    _x,
    quick=True,
)
T.add(
    "numpy-once",
    "forward in PyTorch, backward in NumPy, marked once_differentiable",
    function(torch.sin, lambda g, o, x: g * torch.from_numpy(np.cos(x.detach().numpy())), once=True),
    _x,
)
T.add(
    "needs-input-grad",
    "computes only what is needed",
    function(lambda x, y: x * y.sin(), lambda g, o, x, y: (g * y.sin(), g * x * y.cos())),
    lambda r: (r(4).detach(), r(4)),
)
T.add(
    "none-for-int",
    "None for an integer argument",
    function(lambda x, i: x[i], lambda g, o, x, i: (torch.zeros_like(x).index_add(0, i, g), None)),
    lambda r: (r(4), torch.tensor([0, 2, 2])),
)
T.add(
    "non-contiguous-gradient",
    "returns a transposed gradient",
    function(lambda x: x.T.contiguous(), lambda g, o, x: g.T),
    _x,
    quick=True,
)
T.add(
    "expanded-gradient",
    "returns an expanded gradient",
    function(lambda x: x.sum(), lambda g, o, x: g.expand_as(x)),
    _x,
    quick=True,
)
T.add(
    "returns-g-itself",
    "returns the cotangent itself, for two inputs",
    function(lambda x, y: x + y, lambda g, o, x, y: (g, g)),
    lambda r: (r(4), r(4)),
)
T.add(
    "view-of-g",
    "returns views of the cotangent",
    function(lambda x, y: torch.cat([x, y]), lambda g, o, x, y: (g[: len(x)], g[len(x) :])),
    lambda r: (r(3), r(2)),
)
T.add(
    "saved-twice",
    "the saved input is used twice",
    function(lambda x: x * x.sin(), lambda g, o, x: g * (x.sin() + x * x.cos())),
    _x,
)
T.add(
    "from-output",
    "tanh from its output, moderate",
    function(torch.tanh, lambda g, o, x: g * (1 - o * o)),
    lambda r: (r.unit(4),),
    quick=True,
)
T.add(
    "sigmoid-from-output",
    "sigmoid from its output, moderate",
    function(torch.sigmoid, lambda g, o, x: g * o * (1 - o)),
    lambda r: (r.unit(4),),
)
T.add(
    "another-order",
    "a different but equal formula: cos(x) as sin(x + π/2) in two parts",
    function(torch.sin, lambda g, o, x: g * (1 - 2 * (x / 2).sin() ** 2)),
    lambda r: (r.unit(4),),
)
T.add(
    "reduces-in-blocks",
    "a sum in blocks of 4",
    function(lambda x: (x * x).sum(), lambda g, o, x: g * 2 * x),
    lambda r: (r(40),),
)
T.add(
    "scratch-buffer-fresh",
    "a scratch buffer that is made anew each time",
    function(torch.exp, lambda g, o, x: torch.mul(g, o, out=torch.empty_like(o)), once=True),
    _x,
)
T.add(
    "clone-then-in-place",
    "works in place on its own copy of g",
    function(torch.exp, lambda g, o, x: g.clone().mul_(o), once=True),
    _x,
    quick=True,
)


def _two_forward(ctx, x):
    ctx.save_for_backward(x)
    ctx.set_materialize_grads(False)
    return x.sin(), x.exp()


def _two_backward(ctx, g, h):
    (x,) = ctx.saved_tensors
    d = torch.zeros_like(x)
    if g is not None:
        d = d + g * x.cos()
    if h is not None:
        d = d + h * x.exp()
    return d


T.add(
    "undefined-cotangents",
    "two outputs, undefined cotangents handled",
    lambda: _fn(_two_forward, _two_backward),
    _x,
    quick=True,
)
T.add(
    "one-of-two-outputs",
    "the second of two outputs, the first's cotangent undefined",
    lambda: (lambda f: lambda x: f(x)[1])(_fn(_two_forward, _two_backward)),
    _x,
)


def _nondiff_forward(ctx, x):
    v, i = x.sort(-1)
    ctx.mark_non_differentiable(i)
    ctx.save_for_backward(i)
    return v, i


T.add(
    "non-differentiable-output",
    "an index as second output, marked",
    lambda: _fn(_nondiff_forward, lambda ctx, g, _: torch.zeros_like(g).scatter(-1, ctx.saved_tensors[0], g)),
    _x,
)


def _dirty_forward(ctx, x):
    ctx.save_for_backward(x.clone())
    x.sin_()
    ctx.mark_dirty(x)
    return x


T.add(
    "in-place-marked-dirty",
    "an in-place Function on a private tensor",
    lambda: (lambda f: lambda x: f(x * 1.0))(
        _fn(_dirty_forward, once_differentiable(lambda ctx, g: g * ctx.saved_tensors[0].cos()))
    ),
    _x,
)
T.add("edit-after-copy", "ctx keeps a copy; the original is edited in place", lambda: _edited(), _x)


def _edited():
    def forward(ctx, x):
        ctx.x = x.clone()
        return x.sin()

    # The copy has no graph: what would be differentiated a second time says so.
    f = _fn(forward, once_differentiable(lambda ctx, g: g * ctx.x.cos()))

    def call(x):
        y = x * 1.0
        z = f(y)
        y.mul_(2.0)
        return z + y

    return call


def _double(good=True):
    grad = function(lambda g, x: g * x.cos(), lambda h, o, g, x: (h * x.cos(), -h * g * x.sin()))()
    return function(torch.sin, lambda g, o, x: grad(g, x))()


T.add("double-backward-by-hand", "a hand-written double backward", _double, _x, quick=True)
T.add("counts-its-calls", "keeps a counter that changes nothing", lambda: _counting(), _x)
T.add("caches-by-identity-checked", "a cache of the derivative that checks the values", lambda: _cached(), _x)
T.add(
    "float32-function",
    "a custom Function in float32",
    function(torch.sin, lambda g, o, x: g * x.cos()),
    lambda r: (r(3, 4, dtype=torch.float32),),
    quick=True,
)
T.add(
    "float32-norm",
    "a custom layer norm in float32",
    function(
        lambda x: x / (x * x).sum(-1, keepdim=True).sqrt(),
        lambda g, o, x: (g - o * (g * o).sum(-1, keepdim=True)) / (x * x).sum(-1, keepdim=True).sqrt(),
    ),
    lambda r: (r(3, 4, dtype=torch.float32),),
)
T.add("module-with-parameters", "a module: two layers", lambda: _module(), lambda r: (r(3, 4),))
T.add(
    "dict-argument",
    "a dict of arrays and a tuple of outputs",
    lambda: lambda p: (p["a"].sin() * p["b"], p["b"].exp()),
    lambda r: ({"a": r(3), "b": r(3)},),
)
T.add(
    "python-numbers",
    "a Python number among the arguments",
    function(lambda x, k: x * k, lambda g, o, x, k: g * k),
    lambda r: (r(4), 2.5),
)


def _counting():
    calls = [0]

    def backward(g, o, x):
        calls[0] += 1
        return g * x.cos()

    return function(torch.sin, backward)()


def _cached():
    kept = []

    def backward(g, o, x):
        if not kept or not torch.equal(kept[0], x):
            kept[:] = [x.detach().clone(), x.detach().cos()]
        return g * kept[1]

    return function(torch.sin, backward, once=True)()


def _module():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).double()
