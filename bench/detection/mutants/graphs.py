# ruff: noqa: E501 - one entry, one line: a table
"""Classes 7, 18, 19, 20, 23 and 24: complex numbers, compiled graphs, control flow, the graph itself, dtypes, shapes."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from ..catalogue import Table, function

T7, T18, T19, T20, T23, T24 = (Table(k) for k in (7, 18, 19, 20, 23, 24))


def _x(r):
    return (r(3, 4),)


# --- 7. Real in, real out: (…, 2) is (real, imaginary).


def _c(t):
    return torch.view_as_complex(t.contiguous())


def _r(t):
    return torch.view_as_real(t.resolve_conj()).contiguous()


def cx(name, about, forward, wrong, right, args=lambda r: (r(3, 2), r(3, 2)), **more):
    T7.pair(name, about, forward, wrong, right, args, **more)


cx("complex-mul-no-conj", "x·y: g·y for g·conj(y)", lambda x, y: _r(_c(x) * _c(y)), lambda g, o, x, y: (_r(_c(g) * _c(y)), _r(_c(g) * _c(x))),
   lambda g, o, x, y: (_r(_c(g) * _c(y).conj()), _r(_c(g) * _c(x).conj())), source="mlx PR3433", quick=True)  # fmt: skip
cx("complex-exp-no-conj", "exp: g·out", lambda x: _r(_c(x).exp()), lambda g, o, x: _r(_c(g) * _c(o)), lambda g, o, x: _r(_c(g) * _c(o).conj()), lambda r: (r(3, 2),), source="autograd#360")  # fmt: skip
cx("complex-abs-conj", "|x|: g·conj(x)/|x|", lambda x: _c(x).abs(), lambda g, o, x: _r(g * _c(x).conj() / o), lambda g, o, x: _r(g * _c(x) / o), lambda r: (r(3, 2),), source="pytorch#80926")  # fmt: skip
cx("complex-dot-wrong-side", "vdot: conj on the wrong factor", lambda x, y: _r(torch.vdot(_c(x), _c(y))[None]), lambda g, o, x, y: (_r(_c(g)[0] * _c(y)), _r(_c(g)[0] * _c(x))),
   lambda g, o, x, y: (_r(_c(g)[0].conj() * _c(y)), _r(_c(g)[0] * _c(x))))  # fmt: skip
cx("fft-not-adjoint", "fft: the inverse for the adjoint (a factor n short)", lambda x: _r(torch.fft.fft(_c(x))), lambda g, o, x: _r(torch.fft.ifft(_c(g))), lambda g, o, x: _r(torch.fft.ifft(_c(g)) * x.shape[0]), lambda r: (r(3, 2),))  # fmt: skip

# --- 18


def _compiling():
    return torch.compiler.is_compiling()


T18.pair("compiled-doubles", "right in eager mode, doubled under torch.compile", torch.sin, lambda g, o, x: g * x.cos() * (2 if _compiling() else 1), None, _x, source="pytorch#180164", elsewhere="torch.compile")  # fmt: skip
T18.pair("anomaly-mode", "right unless create_graph: another formula where a double backward is wanted", torch.sin, lambda g, o, x: g * x.cos() * (1.01 if torch.is_grad_enabled() else 1.0), lambda g, o, x: g * x.cos(), _x, elsewhere="create_graph=True")  # fmt: skip
T18.pair("fused-formula-wrong", "two or more rows take a fused kernel with the wrong sign, one row does not", torch.cos, lambda g, o, x: g * x.sin() * (1.0 if x.shape[0] > 1 else -1.0), None, lambda r: (r(1, 4),), source="pytorch#182012", elsewhere="a batch of two")  # fmt: skip
T18.pair("vectorised-path", "a path for sizes that are a multiple of 8 forgets a factor", torch.tanh, lambda g, o, x: g * ((1 - o) if x.numel() % 8 == 0 else 1 / x.cosh() ** 2), None, lambda r: (r(16),), source="pytorch#185509")  # fmt: skip

# --- 19


def _branchy(x):
    return x.sin() if float(x.detach().sum()) > 0 else x.exp()


T19.pair("other-branch", "the backward pass takes the other branch", _branchy, lambda g, o, x: g * (x.exp() if float(x.sum()) > 0 else x.cos()), lambda g, o, x: g * (x.cos() if float(x.sum()) > 0 else x.exp()), _x, source="jax#753", quick=True)  # fmt: skip
T19.pair("branch-by-output", "the backward pass decides by the output's sum", _branchy, lambda g, o, x: g * (x.cos() if float(o.sum()) > 0 else x.exp()), None, lambda r: (r.of([-0.5, -0.25]),))  # fmt: skip
T19.pair("branch-by-cotangent", "the backward pass decides by the cotangent's sign", _branchy, lambda g, o, x: g * (x.cos() if float(g.sum()) > 0 else x.exp()), None, lambda r: (r.of([0.5, 0.25]),), elsewhere="a cotangent of the other sign")  # fmt: skip
T19.pair("branch-not-taken-here", "one branch is wrong, the point given takes the other", _branchy, lambda g, o, x: g * (x.cos() if float(x.sum()) > 0 else 2 * x.exp()), None, lambda r: (r.of([0.5, 0.25]),), elsewhere="the other branch", quick=True)  # fmt: skip


def _loop(x, n=3):
    for _ in range(n):
        x = x.sin() + 0.5 * x
    return x


def _loop_grad(g, x, n=3, keep=lambda k: k):
    xs = [x]
    for _ in range(n - 1):
        xs.append(xs[-1].sin() + 0.5 * xs[-1])
    for k in reversed(range(n)):
        g = g * (xs[keep(k)].cos() + 0.5)
    return g


T19.pair(
    "loop-one-short",
    "a loop of three steps, differentiated for two",
    _loop,
    lambda g, o, x: _loop_grad(g, x, 2),
    lambda g, o, x: _loop_grad(g, x),
    _x,
)
T19.pair(
    "loop-last-iterate",
    "a loop: every step uses the last iterate",
    _loop,
    lambda g, o, x: _loop_grad(g, x, 3, lambda k: 2),
    None,
    _x,
    source="jax#5900",
)


def _newton(a):
    y = a.clone()
    for _ in range(30):
        y = 0.5 * (y + a / y)
    return y


T19.pair("fixed-point-no-implicit", "a fixed point (√a by Newton): the derivative of the last step only", _newton, lambda g, o, a: g * 0.5 / o * 1.1, lambda g, o, a: g * 0.5 / o, lambda r: (r.pos(4),))  # fmt: skip


def _dropout(same):
    seen = []

    def forward(x):
        m = torch.rand_like(x) < 0.5
        seen[:] = [m]
        return x * m * 2

    return function(forward, lambda g, o, x: g * 2 * (seen[0] if same else torch.rand_like(x) < 0.5), once=True)()


T19.add(
    "checkpoint-other-mask",
    "a recomputed dropout draws another mask",
    lambda: _dropout(False),
    lambda r: (r(5, 5),),
    lambda: _dropout(True),
    quick=True,
)
T19.pair("early-exit-missed", "stops once x > 2; the backward pass does not", lambda x: x.exp() if bool((x > 2).any()) else x.exp().exp(), lambda g, o, x: g * x.exp() * x.exp().exp(), lambda g, o, x: g * (x.exp() if bool((x > 2).any()) else x.exp() * x.exp().exp()), lambda r: (r.of([1.0, 2.5]),))  # fmt: skip

# --- 20


def _hooked(hook):
    def call(x):
        y = x.sin()
        if y.requires_grad:
            y.register_hook(hook)
        return y * y

    return call


T20.add(
    "hook-scales", "a hook left in the graph doubles the gradient", lambda: _hooked(lambda g: 2 * g), _x, quick=True
)
T20.add("hook-clips", "a hook left in the graph clips it", lambda: _hooked(lambda g: g.clamp(-0.1, 0.1)), _x)
T20.add(
    "hook-edits-in-place",
    "a hook changes the gradient in place",
    lambda: _hooked(lambda g: g.mul_(0.5)),
    _x,
    source="pytorch#100528",
)
T20.fn(
    "detach-in-the-middle",
    "a factor is detached by mistake",
    lambda x: x.sin() * x.detach().exp(),
    _x,
    source="pytorch#79708",
)
T20.fn("data-in-the-middle", "x.data in the middle", lambda x: x.sin() + x.data**2, _x)


def _no_grad_part(x):
    with torch.no_grad():
        s = x.exp().sum()
    return x.exp() / s


T20.fn("no-grad-normaliser", "softmax whose normaliser is computed under no_grad", _no_grad_part, _x)
T20.fn("item-in-the-middle", "the mean goes through .item()", lambda x: x - x.mean().item(), _x)
T20.fn("numpy-round-trip", "a factor goes through NumPy", lambda x: x * torch.from_numpy(x.detach().numpy() ** 2), _x)


def _dirty(mark):
    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x.clone())
            x.data.sin_() if not mark else x.sin_()
            if mark:
                ctx.mark_dirty(x)
            return x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            return g * ctx.saved_tensors[0].cos()

    return F.apply


T20.add("dirty-not-marked", "an in-place Function that does not mark its input dirty: an earlier use of it is stale", lambda: _uses_twice(_dirty(False)), _x, lambda: _uses_twice(_dirty(True)), source="pytorch#14707")  # fmt: skip


def _uses_twice(f):
    def call(x):
        y = x * 1.0
        a = y * 2.0
        return a + f(y) * y.exp()

    return call


T20.pair("view-written-through", "a view of the output is written: the base's gradient does not know", lambda x: x * 1.0, lambda g, o, x: torch.cat([g[:1], 0 * g[1:]]), lambda g, o, x: g * 1.0, _x, source="pytorch#8874")  # fmt: skip

# --- 23

N = torch.tensor([0, 1, 2, 3])
T23.pair("integer-exponent-zero", "z ** n, n integer with a 0: n·z^(n-1) is 0·inf at z = 0", lambda z, n: z**n, lambda g, o, z, n: g * n * z ** (n - 1).to(z.dtype), lambda g, o, z, n: g * n * z ** (n - 1).clamp(min=0), lambda r: (r.of([0.0, 1.5, -0.5, 2.0]), N), source="jax#17995", quick=True)  # fmt: skip
T23.pair(
    "integer-exponent-halved",
    "z ** n: n // 2 · 2 for n, by integer arithmetic",
    lambda z, n: z**n,
    lambda g, o, z, n: g * (n // 2 * 2) * z ** (n - 1).clamp(min=0),
    None,
    lambda r: (r(4), N),
)
T23.pair(
    "gradient-in-float32",
    "the gradient of a float64 input comes back in float32's precision",
    torch.exp,
    lambda g, o, x: (g * o).float(),
    lambda g, o, x: g * o,
    _x,
)
T23.pair("bool-mask-inverted", "a mask as bool: ~m for m", lambda x, m: x * m, lambda g, o, x, m: g * ~m, lambda g, o, x, m: g * m, lambda r: (r(4), torch.tensor([True, False, True, True])))  # fmt: skip
T23.pair("int-division-of-scale", "x / k with an integer tensor k: g // k", lambda x, k: x / k, lambda g, o, x, k: g * (1 // k), lambda g, o, x, k: g / k, lambda r: (r(4), torch.tensor([1, 2, 3, 4])))  # fmt: skip
T23.pair("index-as-float", "a float copy of the index rounds: index 2 becomes 1", lambda x, i: x[i], lambda g, o, x, i: torch.zeros_like(x).index_add(0, (i.double() * 0.999).long(), g), lambda g, o, x, i: torch.zeros_like(x).index_add(0, i, g), lambda r: (r(4), torch.tensor([0, 2, 3])))  # fmt: skip

# --- 24

T24.pair("zero-d-becomes-one-d", "a 0-d input: the gradient has shape (1,) before it is squeezed by a mean over 2", torch.sin, lambda g, o, x: (g * x.cos())[None].sum() / (2 if x.dim() == 0 else 1), lambda g, o, x: g * x.cos(), lambda r: (r(),), source="pytorch#82644", quick=True)  # fmt: skip
T24.pair(
    "zero-d-elsewhere",
    "wrong for 0-d inputs, given one of shape (3,)",
    torch.sin,
    lambda g, o, x: g * x.cos() / (2 if x.dim() == 0 else 1),
    lambda g, o, x: g * x.cos(),
    lambda r: (r(3),),
    elsewhere="a 0-d input",
)
T24.pair("empty-raises", "an empty batch: max of nothing raises in the backward pass", torch.sin, lambda g, o, x: g * x.cos() + 0 * g.max(), lambda g, o, x: g * x.cos(), lambda r: (r(0, 3),), source="pytorch#31515")  # fmt: skip
T24.pair(
    "empty-raises-elsewhere",
    "the same, given three rows",
    torch.sin,
    lambda g, o, x: g * x.cos() + 0 * g.max(),
    lambda g, o, x: g * x.cos(),
    _x,
    elsewhere="an empty batch",
    quick=True,
)
T24.pair(
    "empty-sum-nan",
    "bias of an empty batch: the mean of nothing times its length",
    lambda x, b: x + b,
    lambda g, o, x, b: (g, g.mean(0) * g.shape[0]),
    lambda g, o, x, b: (g, g.sum(0)),
    lambda r: (r(0, 3), r(3)),
)
T24.pair("one-entry-standardised", "a single entry: (n - 1) is 0 in a factor n/(n - 1) of the backward pass", lambda x: x - x.mean(0), lambda g, o, x: (g - g.mean(0)) * (x.shape[0] - 1) / (x.shape[0] - 1), lambda g, o, x: g - g.mean(0), lambda r: (r(4),), elsewhere="one entry")  # fmt: skip

ENTRIES = [*T7, *T18, *T19, *T20, *T23, *T24]
