# ruff: noqa: E501 - one entry, one line: a table
"""Class 2: the formula itself, a sign, a constant."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..catalogue import Table

ENTRIES = T = Table(2)
SQRT2, SQRTPI = math.sqrt(2.0), math.sqrt(math.pi)


def one(name, about, forward, wrong, right, args=lambda r: (r(3, 4),), **more):
    T.pair(name, about, forward, wrong, right, args, **more)


one("cos-sign", "cos: +sin", torch.cos, lambda g, o, x: g * x.sin(), lambda g, o, x: -g * x.sin(), quick=True)
one("tanh-not-squared", "tanh: 1 - o", torch.tanh, lambda g, o, x: g * (1 - o), lambda g, o, x: g / x.cosh() ** 2)
one("sigmoid-of-input", "sigmoid: o·(1 - x)", torch.sigmoid, lambda g, o, x: g * o * (1 - x), lambda g, o, x: g * o * torch.sigmoid(-x))  # fmt: skip
one("log-epsilon", "log: g / (x + 1e-7)", torch.log, lambda g, o, x: g / (x + 1e-7), lambda g, o, x: g / x, lambda r: (r.pos(3, 4),), quick=True)  # fmt: skip
one(
    "sqrt-no-half", "sqrt: g / o", torch.sqrt, lambda g, o, x: g / o, lambda g, o, x: g / (2 * o), lambda r: (r.pos(4),)
)
one("rsqrt-power", "rsqrt: -½·x⁻² for -½·x^-1.5", torch.rsqrt, lambda g, o, x: -0.5 * g / x**2, lambda g, o, x: -0.5 * g * o**3, lambda r: (r.pos(4),))  # fmt: skip
one("softmax-no-projection", "softmax: out·(g - Σg) for out·(g - Σg·out)", lambda x: torch.softmax(x, -1),
    lambda g, o, x: o * (g - g.sum(-1, keepdim=True)), lambda g, o, x: o * (g - (g * o).sum(-1, keepdim=True)), quick=True)  # fmt: skip
one("log-softmax-other-axis", "log_softmax of a square matrix: the sum is over the other axis", lambda x: torch.log_softmax(x, -1),
    lambda g, o, x: g - o.exp() * g.sum(0, keepdim=True), lambda g, o, x: g - o.exp() * g.sum(-1, keepdim=True), lambda r: (r(3, 3),))  # fmt: skip
one("gelu-tanh-for-erf", "gelu (erf) with the derivative of its tanh approximation: 1e-4 off", lambda x: F.gelu(x),
    lambda g, o, x: g * _gelu_tanh(x), lambda g, o, x: g * (0.5 * torch.special.erfc(-x / SQRT2) + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)), quick=True)  # fmt: skip
one("silu-missing-term", "silu: sigmoid(x) only", F.silu, lambda g, o, x: g * x.sigmoid(), lambda g, o, x: g * (x.sigmoid() + x * x.sigmoid() * (-x).sigmoid()))  # fmt: skip
one("elu-alpha", "elu with alpha 1.3: alpha is left out", lambda x: F.elu(x, 1.3),
    lambda g, o, x: g * torch.where(x > 0, 1.0, x.exp()), lambda g, o, x: g * torch.where(x > 0, 1.0, 1.3 * x.exp()), source="autograd#401")  # fmt: skip
one("softplus-beta", "softplus with beta 2: sigmoid(x) for sigmoid(2x)", lambda x: F.softplus(x, 2.0),
    lambda g, o, x: g * x.sigmoid(), lambda g, o, x: g * (2 * x).sigmoid())  # fmt: skip
one("pow-exponent", "x³: 3·x³", lambda x: x**3, lambda g, o, x: 3 * g * x**3, lambda g, o, x: 3 * g * x**2)
one("atan2-swapped", "atan2: x and y swapped", torch.atan2, lambda g, o, y, x: (-g * y / (x * x + y * y), g * x / (x * x + y * y)),
    lambda g, o, y, x: (g * x / (x * x + y * y), -g * y / (x * x + y * y)), lambda r: (r.pos(4), r.pos(4)))  # fmt: skip
one("logsumexp-exp-only", "logsumexp: exp(x) without the normaliser", lambda x: torch.logsumexp(x, -1),
    lambda g, o, x: g[:, None] * x.exp(), lambda g, o, x: g[:, None] * torch.softmax(x, -1))  # fmt: skip
one("matmul-square-transposed", "x @ y, square: g @ y for g @ yᵀ", torch.matmul, lambda g, o, x, y: (g @ y, x.T @ g),
    lambda g, o, x, y: (g @ y.T, x.T @ g), lambda r: (r(3, 3), r(3, 3)), source="burn#4063")  # fmt: skip
one("var-n", "variance: 2/n for 2/(n-1)", lambda x: x.var(-1), lambda g, o, x: 2 * g[:, None] * (x - x.mean(-1, keepdim=True)) / x.shape[-1],
    lambda g, o, x: 2 * g[:, None] * (x - x.mean(-1, keepdim=True)) / (x.shape[-1] - 1))  # fmt: skip


def _norm_parts(x, eps=1e-5):
    m = x.mean(-1, keepdim=True)
    s = torch.rsqrt(((x - m) ** 2).mean(-1, keepdim=True) + eps)
    return (x - m) * s, s


def _layer_norm(x):
    return _norm_parts(x)[0]


def _layer_norm_right(g, o, x):
    h, s = _norm_parts(x)
    return s * (g - g.mean(-1, keepdim=True) - h * (g * h).mean(-1, keepdim=True))


def _gelu_tanh(x):
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        return torch.autograd.grad(F.gelu(y, approximate="tanh").sum(), y)[0]


one("layer-norm-no-mean", "layer norm: the mean's term is missing", _layer_norm,
    lambda g, o, x: _norm_parts(x)[1] * (g - _norm_parts(x)[0] * (g * _norm_parts(x)[0]).mean(-1, keepdim=True)), _layer_norm_right)  # fmt: skip
one("layer-norm-no-variance", "layer norm: the variance's term is missing", _layer_norm,
    lambda g, o, x: _norm_parts(x)[1] * (g - g.mean(-1, keepdim=True)), _layer_norm_right)  # fmt: skip
one("layer-norm-no-eps", "layer norm: eps is left out of the backward pass", _layer_norm,
    lambda g, o, x: _norm_parts(x, 0.0)[1] * (g - g.mean(-1, keepdim=True) - _norm_parts(x, 0.0)[0] * (g * _norm_parts(x, 0.0)[0]).mean(-1, keepdim=True)), None, quick=True)  # fmt: skip


def _rms(x):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)


def _rms_right(g, o, x, n=None):
    s = torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)
    return s * g - s**3 * x * (g * x).sum(-1, keepdim=True) / (n or x.shape[-1])


one(
    "rms-norm-n-1",
    "RMS norm: n - 1 in the second term",
    _rms,
    lambda g, o, x: _rms_right(g, o, x, x.shape[-1] - 1),
    _rms_right,
)
one("cross-entropy-no-n", "cross entropy of class 1: not divided by the batch", lambda x: F.cross_entropy(x, torch.ones(3, dtype=torch.long)),
    lambda g, o, x: g * (torch.softmax(x, -1) - _onehot(x)), lambda g, o, x: g * (torch.softmax(x, -1) - _onehot(x)) / 3)  # fmt: skip


def _onehot(x):
    return F.one_hot(torch.ones(x.shape[0], dtype=torch.long), x.shape[1]).to(x.dtype)


one("mse-no-two", "mean squared error: (x - y)/n", lambda x, y: ((x - y) ** 2).mean(), lambda g, o, x, y: (g * (x - y) / 12, -g * (x - y) / 12),
    lambda g, o, x, y: (2 * g * (x - y) / x.numel(), -2 * g * (x - y) / x.numel()), lambda r: (r(3, 4), r(3, 4)))  # fmt: skip
one("normalize-no-projection", "x / ‖x‖: g / ‖x‖", lambda x: x / x.norm(), lambda g, o, x: g / x.norm(),
    lambda g, o, x: (g - o * (g * o).sum()) / x.norm(), lambda r: (r(4),))  # fmt: skip
one("cumsum-forward", "cumsum: a cumsum from the front", lambda x: x.cumsum(0), lambda g, o, x: g.cumsum(0),
    lambda g, o, x: g.flip(0).cumsum(0).flip(0), lambda r: (r(5),))  # fmt: skip
one("acos-sign", "acos: the sign of asin", torch.acos, lambda g, o, x: g / (1 - x * x).sqrt(), lambda g, o, x: -g * torch.rsqrt((1 - x) * (1 + x)), lambda r: (r.unit(4),))  # fmt: skip
one("inverse-sign", "inverse: +AᵀgAᵀ", torch.linalg.inv, lambda g, o, a: o.T @ g @ o.T, lambda g, o, a: -o.T @ g @ o.T, lambda r: (r(3, 3),))  # fmt: skip
one("det-no-factor", "det: inv(A)ᵀ without det(A)", torch.linalg.det, lambda g, o, a: g * torch.linalg.inv(a).T, lambda g, o, a: g * o * torch.linalg.inv(a).T, lambda r: (r(3, 3),))  # fmt: skip
one("solve-a-transposed", "solve(A, b): the gradient of A transposed", lambda a, b: torch.linalg.solve(a, b),
    lambda g, o, a, b: (-torch.outer(o, torch.linalg.solve(a.T, g)), torch.linalg.solve(a.T, g)),
    lambda g, o, a, b: (-torch.outer(torch.linalg.solve(a.T, g), o), torch.linalg.solve(a.T, g)), lambda r: (r(3, 3), r(3)))  # fmt: skip
one("erf-constant", "erf: 1.12838 for 2/√π, 1e-6 off", torch.erf, lambda g, o, x: 1.12838 * g * (-x * x).exp(), lambda g, o, x: 2 / SQRTPI * g * (-x * x).exp())  # fmt: skip
one("gaussian-pi", "a Gaussian density with 3.14159 for π", lambda x: (-x * x / 2).exp() / math.sqrt(2 * math.pi),
    lambda g, o, x: -g * x * (-x * x / 2).exp() / math.sqrt(2 * 3.14159), lambda g, o, x: -g * x * o)  # fmt: skip
for _k in (3, 4, 6, 8, 10, 12):
    one(f"sin-1e-{_k:02d}", f"sin: 1e-{_k} too large", torch.sin, lambda g, o, x, e=10.0**-_k: g * x.cos() * (1 + e),
        lambda g, o, x: g * x.cos(), quick=_k in (3, 12))  # fmt: skip
one("one-entry-1e-4", "exp of 64 entries: one is 1e-4 too large", torch.exp, lambda g, o, x: g * o * (1 + 1e-4 * (torch.arange(64) == 17)),
    lambda g, o, x: g * o, lambda r: (r(64),))  # fmt: skip
one("one-entry-negated", "sin of 300 entries: one has the wrong sign", torch.sin, lambda g, o, x: g * x.cos() * (1.0 - 2.0 * (torch.arange(300) == 123)),
    lambda g, o, x: g * x.cos(), lambda r: (r(300),))  # fmt: skip
one("tiny-scale-sign", "1e-7·sin(x): the wrong sign", lambda x: 1e-7 * x.sin(), lambda g, o, x: -1e-7 * g * x.cos(),
    lambda g, o, x: 1e-7 * g * x.cos(), quick=True)  # fmt: skip
one("tiny-term-missing", "x² + 1e-6·sin(x): the small term is forgotten", lambda x: x * x + 1e-6 * x.sin(), lambda g, o, x: 2 * g * x,
    lambda g, o, x: g * (2 * x + 1e-6 * x.cos()))  # fmt: skip
one(
    "offset-1e-9",
    "exp: 1e-9 is added to every gradient",
    torch.exp,
    lambda g, o, x: g * o + 1e-9 * g,
    lambda g, o, x: g * o,
)
one("huber-delta", "huber with delta 0.5: 1 for delta on the linear part", lambda x: F.huber_loss(x, torch.zeros_like(x), delta=0.5, reduction="none"),
    lambda g, o, x: g * torch.where(x.abs() < 0.5, x, x.sign()), lambda g, o, x: g * torch.where(x.abs() < 0.5, x, 0.5 * x.sign()))  # fmt: skip
one("mish-approximate", "mish: the softplus factor's derivative is left out", F.mish, lambda g, o, x: g * F.softplus(x).tanh(),
    lambda g, o, x: g * (F.softplus(x).tanh() + x * x.sigmoid() / F.softplus(x).cosh() ** 2))  # fmt: skip
one("swiglu-gate", "a·silu(b): the gate's gradient uses silu(b), not its derivative", lambda a, b: a * F.silu(b),
    lambda g, o, a, b: (g * F.silu(b), g * a * F.silu(b)), lambda g, o, a, b: (g * F.silu(b), g * a * (b.sigmoid() + b * b.sigmoid() * (-b).sigmoid())),
    lambda r: (r(4), r(4)))  # fmt: skip
one("rotary-not-inverted", "rotary embedding: the backward pass rotates forward", lambda x: _rotate(x, 1.0), lambda g, o, x: _rotate(g, 1.0),
    lambda g, o, x: _rotate(g, -1.0), lambda r: (r(3, 4),))  # fmt: skip


def _rotate(x, sign):
    t = torch.arange(x.shape[0], dtype=x.dtype)[:, None]
    a, b = x[:, ::2], x[:, 1::2]
    return (
        torch.cat([a * t.cos() - sign * b * t.sin(), sign * a * t.sin() + b * t.cos()], 1)
        if sign > 0
        else _unrotate(x, t)
    )


def _unrotate(g, t):
    u, v = g.chunk(2, 1)
    return torch.stack([u * t.cos() + v * t.sin(), v * t.cos() - u * t.sin()], -1).flatten(1)


one("conv-not-flipped", "1-d convolution: the kernel is not flipped in the input's gradient", lambda x, w: F.conv1d(x[None, None], w[None, None], padding=1)[0, 0],
    lambda g, o, x, w: (F.conv1d(g[None, None], w[None, None], padding=1)[0, 0],), lambda g, o, x, w: (F.conv1d(g[None, None], w.flip(0)[None, None], padding=1)[0, 0],),
    lambda r: (r(6), r(3).detach()))  # fmt: skip
one("lerp-ends-swapped", "lerp: the weights of the ends are swapped", lambda x, y: torch.lerp(x, y, 0.3), lambda g, o, x, y: (0.3 * g, 0.7 * g),
    lambda g, o, x, y: (0.7 * g, 0.3 * g), lambda r: (r(4), r(4)))  # fmt: skip
one("kl-sign", "KL of two softmaxes: the sign of the second's gradient", lambda p, q: (p * (p / q).log()).sum(),
    lambda g, o, p, q: (g * ((p / q).log() + 1), g * p / q), lambda g, o, p, q: (g * ((p / q).log() + 1), -g * p / q), lambda r: (r.pos(4), r.pos(4)))  # fmt: skip
one("mean-counts-batch-only", "mean of (3,4): divided by 3", lambda x: x.mean(), lambda g, o, x: g * torch.ones_like(x) / 3, lambda g, o, x: g * torch.ones_like(x) / x.numel())  # fmt: skip
one(
    "identity-for-tanh",
    "a straight copy of g where tanh's derivative belongs",
    torch.tanh,
    lambda g, o, x: g.clone(),
    lambda g, o, x: g / x.cosh() ** 2,
)
one(
    "zero-gradient",
    "no gradient at all: zeros",
    torch.sin,
    lambda g, o, x: torch.zeros_like(g),
    lambda g, o, x: g * x.cos(),
)
one("transpose-not-undone", "a square transpose: g comes back as it went", lambda x: x.T.clone(), lambda g, o, x: g.clone(), lambda g, o, x: g.T, lambda r: (r(3, 3),))  # fmt: skip
one(
    "flip-not-undone",
    "flip: g comes back as it went",
    lambda x: x.flip(0),
    lambda g, o, x: g.clone(),
    lambda g, o, x: g.flip(0),
    lambda r: (r(5),),
)
one(
    "roll-same-way",
    "roll: rolled the same way again",
    lambda x: x.roll(1, 0),
    lambda g, o, x: g.roll(1, 0),
    lambda g, o, x: g.roll(-1, 0),
    lambda r: (r(5),),
)
one(
    "norm-halved",
    "2-norm: x / (2‖x‖)",
    lambda x: x.norm(),
    lambda g, o, x: g * x / (2 * o),
    lambda g, o, x: g * x / o,
    lambda r: (r(5),),
)
