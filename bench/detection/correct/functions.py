# ruff: noqa: E501 - one entry, one line: a table
"""Right, and hard to see as right: PyTorch's own operations at kinks, in tails, at size, over views, in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from ..catalogue import Rand, Table

ENTRIES = T = Table()
F32 = torch.float32


def ok(name, about, call, args=lambda r: (r(3, 4),), **more):
    T.fn(name, about, call, args, **more)


# --- kinks and ties
ok("relu-away", "relu away from 0", torch.relu, lambda r: (r.of([-1.0, 2.0, 0.5]),))
ok("relu-at-zero", "relu at exactly 0", torch.relu, lambda r: (r.of([-1.0, 0.0, 2.0]),), quick=True)
ok(
    "relu-near-zero",
    "relu at ±1e-9: any finite step straddles the kink",
    torch.relu,
    lambda r: (r.of([-1e-9, 1e-9, 2.0]),),
    quick=True,
)
ok("abs-at-zero", "abs at ±0", torch.abs, lambda r: (r.of([-1.5, 0.0, -0.0, 2.0]),))
ok("abs-near-zero", "abs at 1e-8", torch.abs, lambda r: (r.of([-1e-8, 1e-8]),))
ok("max-tie", "amax of a tie: shared", lambda x: x.amax(-1), lambda r: (r.of([[1.0, 3.0, 3.0]]),))
ok(
    "max-index-tie",
    "max with an index: the tie goes to one",
    lambda x: x.max(-1)[0],
    lambda r: (r.of([[1.0, 3.0, 3.0]]),),
)
ok("maximum-tie", "maximum of equal entries", torch.maximum, lambda r: (r.of([1.0, 2.0]), r.of([1.0, 3.0])), quick=True)
ok("clamp-at-bound", "clamp exactly at a bound", lambda x: x.clamp(-1, 1), lambda r: (r.of([-1.0, 0.5, 1.0, 2.0]),))
ok("hardtanh-at-bound", "hardtanh exactly at a bound", F.hardtanh, lambda r: (r.of([-1.0, 0.5, 1.0, 2.0]),))
ok("leaky-at-zero", "leaky relu at 0", F.leaky_relu, lambda r: (r.of([-1.0, 0.0, 2.0]),))
ok("sort-distinct", "sort of distinct entries", lambda x: x.sort(-1)[0])
ok("median", "median of five", lambda x: x.median(), lambda r: (r(5),))
ok("topk", "top 2 of each row", lambda x: x.topk(2, -1)[0])
ok("max-pool", "overlapping max-pooling", lambda x: F.max_pool1d(x[None], 3, 1)[0], lambda r: (r(2, 6),))
ok("floor-times-x", "x·floor(x) away from integers", lambda x: x * x.floor(), lambda r: (r.of([0.3, 1.7, -2.4]),))
ok("sign-times-x", "x·sign(x)", lambda x: x * x.sign(), lambda r: (r.of([0.3, 1.7, -2.4]),))
ok(
    "huber-at-delta",
    "huber exactly at delta",
    lambda x: F.huber_loss(x, torch.zeros(3, dtype=x.dtype), reduction="none"),
    lambda r: (r.of([-1.0, 0.2, 1.0]),),
)
ok("where-on-condition", "where with both branches defined", lambda x: torch.where(x > 0, x.sin(), x.tanh()))
ok(
    "where-double-safe",
    "where(x > 0, √(where(x > 0, x, 1)), 0): the double where",
    lambda x: torch.where(x > 0, torch.where(x > 0, x, 1.0).sqrt(), 0.0),
    lambda r: (r.of([-1.0, 2.0]),),
    quick=True,
)
ok("relu-of-difference-small", "relu(x - y) with x and y one ulp apart", lambda x, y: F.relu(x - y), lambda r: (r.of([1.0, 1.0 + 2**-52]), r.of([1.0 + 2**-52, 1.0])))  # fmt: skip
# --- tails, poles, cancellation
ok(
    "sigmoid-tail",
    "sigmoid·sigmoid(-x) stable in the tail",
    lambda x: torch.sigmoid(-x),
    lambda r: (r.of([1.0, -2.0]),),
)
ok("softplus-tail", "softplus at ±30", F.softplus, lambda r: (r.of([-30.0, 0.5, 15.0]),), quick=True)
ok("logsigmoid-tail", "logsigmoid at ±40", F.logsigmoid, lambda r: (r.of([-40.0, 0.5, 40.0]),))
ok("exp-minus-700", "exp at -700: 1e-304", torch.exp, lambda r: (r.of([-700.0, 1.0]),))
ok("tanh-of-small", "tanh at 1e-12", torch.tanh, lambda r: (r.of([1e-12, 1e-3]),))
ok("erfc-tail", "erfc at 10", torch.special.erfc, lambda r: (r.of([0.5, 10.0]),))
ok("log1p-small", "log1p at 1e-15", torch.log1p, lambda r: (r.of([1e-15, 1.0]),))
ok("expm1-small", "expm1 at 1e-15", torch.expm1, lambda r: (r.of([1e-15, 1.0]),))
ok("logsumexp-large", "logsumexp at 1000", lambda x: x.logsumexp(-1), lambda r: (r.of([[1000.0, 999.0, 0.0]]),))
ok(
    "softmax-one-hot",
    "softmax that is one-hot to the last digit",
    lambda x: x.softmax(-1),
    lambda r: (r.of([[50.0, 1.0, 0.0]]),),
    quick=True,
)
ok(
    "log-softmax-confident",
    "log softmax of a confident row",
    lambda x: x.log_softmax(-1),
    lambda r: (r.of([[40.0, 1.0, 0.0]]),),
)
ok(
    "difference-cancels",
    "exp(x) - exp(y) of near arguments",
    lambda x, y: x.exp() - y.exp(),
    lambda r: (r.of([1.0, 2.0]), r.of([1.0 + 1e-12, 2.0])),
)
ok(
    "x-minus-tanh",
    "x - tanh(x) at 1e-3: the gradient tanh² cancels in 1 - (1 - tanh²)",
    lambda x: x - x.tanh(),
    lambda r: (r.of([0.1, 0.5]),),
)
ok("sin-large", "sin at 1e6", torch.sin, lambda r: (r.of([1e6, 3.0]),))
ok("sin-1e15", "sin at 1e15", torch.sin, lambda r: (r.of([1e15]),))
ok("reciprocal-small", "1/x at 1e-100", torch.reciprocal, lambda r: (r.of([1e-100, 2.0]),))
ok("log-small", "log at 1e-300", torch.log, lambda r: (r.of([1e-300, 2.0]),))
ok("tan-near-pole", "tan at 1.57", torch.tan, lambda r: (r.of([1.57, 0.5]),))
ok("tiny-output", "1e-200·sin(x)", lambda x: 1e-200 * x.sin())
ok("huge-output", "1e200·sin(x)", lambda x: 1e200 * x.sin())
ok(
    "scales-mixed",
    "entries of very different size in one sum",
    lambda x: (x * torch.tensor([1e12, 1.0, 1e-12], dtype=x.dtype)).sum().sin(),
    lambda r: (r.of([1e-12, 0.5, 3.0]),),
)
ok(
    "variance-shifted",
    "variance at mean 1e6",
    lambda x: x.var(-1),
    lambda r: (r.of(Rand("v")(2, 5).detach().numpy() + 1e6),),
    quick=True,
)
ok("norm-small", "norm of a vector of 1e-150", lambda x: x.norm(), lambda r: (r.of([1e-150, 2e-150]),))
ok("pow-negative", "x^-3", lambda x: x**-3, lambda r: (r.pos(4),))
ok("pow-negative-base", "x^3 at negative x", lambda x: x**3, lambda r: (r.of([-1.5, -0.5, 2.0]),))
ok("prod-with-zero", "prod with one zero", lambda x: x.prod(-1), lambda r: (r.of([[2.0, 0.0, 3.0]]),), quick=True)
ok("prod-with-two-zeros", "prod with two zeros", lambda x: x.prod(-1), lambda r: (r.of([[0.0, 0.0, 3.0]]),))
ok("cumprod-with-zero", "cumprod through a zero", lambda x: x.cumprod(-1), lambda r: (r.of([[2.0, 0.0, 3.0]]),))
ok(
    "xlogy-zero",
    "xlogy with x = 0",
    lambda y: torch.xlogy(torch.tensor([0.0, 2.0], dtype=torch.float64), y),
    lambda r: (r.of([1.0, 3.0]),),
)
ok("sinc-at-zero", "sinc at 0", torch.sinc, lambda r: (r.of([0.0, 0.7]),))
ok("sqrt-plus-eps", "√(x² + 1e-12) at 0", lambda x: (x * x + 1e-12).sqrt(), lambda r: (r.of([0.0, 1.0]),))
ok("hypot-large", "hypot at 1e200", torch.hypot, lambda r: (r.of([3e200]), r.of([4e200])))
ok("atan2-axes", "atan2 on the axes", torch.atan2, lambda r: (r.of([0.0, 1.0]), r.of([1.0, 0.0])))
ok(
    "masked-fill-inf-softmax",
    "softmax with masked -inf entries",
    lambda x: x.masked_fill(torch.tensor([False, True, False]), -torch.inf).softmax(-1),
    lambda r: (r(2, 3),),
    quick=True,
)
ok(
    "inverse-ill-conditioned",
    "inverse at condition 1e6",
    torch.linalg.inv,
    lambda r: (r.of([[1.0, 1.0], [1.0, 1.000002]]),),
)
ok(
    "solve",
    "solve",
    torch.linalg.solve,
    lambda r: (r.of(Rand("s")(3, 3).detach().numpy() + 3 * torch.eye(3).numpy()), r(3)),
)
ok(
    "cholesky",
    "Cholesky of x·xᵀ + I",
    lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(3, dtype=x.dtype)),
    lambda r: (r(3, 3),),
)
ok(
    "logdet",
    "slogdet of a positive matrix",
    lambda x: torch.linalg.slogdet(x @ x.T + torch.eye(3, dtype=x.dtype))[1],
    lambda r: (r(3, 3),),
)
# --- size, reductions
ok("sum-of-3000", "sum of 3000 exponentials", lambda x: x.exp().sum(), lambda r: (r(3000),), quick=True)
ok("mean-float32-2000", "mean of 2000 in float32", lambda x: (x * x).mean(), lambda r: (r(2000, dtype=F32),))
ok("cumsum-float32", "cumsum of 500 in float32", lambda x: x.cumsum(0).sin(), lambda r: (r(500, dtype=F32),))
ok("matmul-float32-100", "a 60×60 product in float32", lambda x: (x @ x).tanh(), lambda r: (r(60, 60, dtype=F32),))
ok("chain-of-30", "thirty layers of sin", lambda x: _iterate(torch.sin, x, 30))
ok(
    "logistic-map",
    "the logistic map, five steps: growing condition",
    lambda x: _iterate(lambda y: 3.9 * y * (1 - y), x, 5),
    lambda r: (r.of([0.2, 0.3]),),
)
ok(
    "rnn",
    "a recurrent net, six steps, shared weights",
    lambda x, w: _iterate(lambda h: torch.tanh(h @ w + x), torch.zeros_like(x), 6),
    lambda r: (r(2, 3), r(3, 3)),
)
# --- float32
for _n, _f, _a in (
    ("sin", torch.sin, lambda r: (r(3, 4, dtype=F32),)), ("softmax", lambda x: x.softmax(-1), lambda r: (r(3, 4, dtype=F32),)),
    ("layer-norm", lambda x: F.layer_norm(x, x.shape[-1:]), lambda r: (r(3, 4, dtype=F32),)), ("gelu", F.gelu, lambda r: (r(3, 4, dtype=F32),)),
    ("exp-log", lambda x: x.exp().log(), lambda r: (r(3, 4, dtype=F32),)), ("matmul", torch.matmul, lambda r: (r(3, 4, dtype=F32), r(4, 2, dtype=F32))),
    ("logsumexp", lambda x: x.logsumexp(-1), lambda r: (r(3, 4, dtype=F32),)), ("pow", lambda x: x**2.5, lambda r: (r.pos(4, dtype=F32),)),
    ("variance", lambda x: x.var(-1), lambda r: (r(3, 4, dtype=F32),)), ("cosine", lambda x, y: F.cosine_similarity(x, y), lambda r: (r(3, 4, dtype=F32), r(3, 4, dtype=F32))),
):  # fmt: skip
    ok(f"float32-{_n}", f"{_n} in float32", _f, _a, quick=_n in ("sin", "layer-norm"))


def _iterate(f, x, n):
    for _ in range(n):
        x = f(x)
    return x


# --- views, in place, memory
def _inplace_private(x):
    y = torch.zeros(3, 4, dtype=x.dtype)
    y[0] += x[0].sin()
    y[1:].copy_(x[1:]).mul_(2.0)
    return y.exp()


def _gather_loop(x):
    y = x.clone()
    for i in range(1, y.shape[0]):
        y[i] = y[i] + y[i - 1].clone().sin()
    return y


ok("in-place-private", "writes into a private buffer through views", lambda x: _inplace_private(x))
ok("in-place-recurrence", "y[i] += sin(y[i - 1]) in place", _gather_loop)
ok("output-transposed", "a transposed (not contiguous) output", lambda x: x.sin().T)
ok("output-slice", "a strided slice as output", lambda x: x.exp()[:, ::2], quick=True)
ok("output-expanded", "an expanded output", lambda x: x.sin()[:, None].expand(3, 2, 4))
ok("output-is-input-view", "a view of the input as output", lambda x: x.T)
ok("output-is-input", "the input itself", lambda x: x)
ok("output-twice", "the same tensor twice in the output", lambda x: (y := x.sin(), y))
ok("as-strided-windows", "overlapping windows by unfold", lambda x: x.unfold(0, 2, 1).prod(-1), lambda r: (r(6),))
ok("input-sliced-inside", "slices of one input, overlapping", lambda x: x[:2] * x[1:], quick=True)
ok("chunk-and-cat", "chunks in another order", lambda x: torch.cat([x.chunk(2, 1)[1].exp(), x.chunk(2, 1)[0]], 1))
ok("index-repeats", "x[index] with repeats", lambda x: x[torch.tensor([0, 2, 2, 1])])
ok(
    "index-put-accumulate",
    "index_put with accumulate over repeats",
    lambda x: torch.zeros(3, dtype=x.dtype).index_put((torch.tensor([0, 2, 2, 1]),), x, accumulate=True),
    lambda r: (r(4),),
)
ok(
    "scatter-add",
    "scatter_add over repeats",
    lambda x: torch.zeros(3, 4, dtype=x.dtype).scatter_add(0, torch.zeros(3, 4, dtype=torch.long), x),
)
ok("embedding", "embedding with repeated rows", lambda w: F.embedding(torch.tensor([0, 2, 2]), w))
ok(
    "input-transposed",
    "an input that is a transposed view",
    torch.sin,
    lambda r: (r(4, 3).detach().T.requires_grad_(),),
)
ok(
    "input-expanded",
    "an input that is expanded",
    torch.sin,
    lambda r: (r(1, 3).detach().expand(4, 3).requires_grad_(),),
)
ok("where-broadcast", "where with a scalar branch", lambda x, s: torch.where(x > 0, x, s), lambda r: (r(3, 4), r()))
ok(
    "einsum",
    "an einsum over three",
    lambda x, y, z: torch.einsum("ij,jk,ik->i", x, y, z),
    lambda r: (r(2, 3), r(3, 2), r(2, 2)),
)
ok(
    "conv1d",
    "a strided, padded convolution",
    lambda x, w: F.conv1d(x, w, stride=2, padding=1),
    lambda r: (r(1, 2, 5), r(2, 2, 3)),
)
ok(
    "conv2d-groups",
    "a grouped 2-d convolution",
    lambda x, w: F.conv2d(x, w, groups=2),
    lambda r: (r(1, 2, 4, 4), r(2, 1, 2, 2)),
)
ok(
    "batch-norm-train",
    "batch norm in training",
    lambda x: F.batch_norm(x, None, None, training=True),
    lambda r: (r(5, 3),),
)
ok(
    "attention-causal",
    "scaled dot-product attention, causal",
    lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    lambda r: (r(1, 4, 2), r(1, 4, 2), r(1, 4, 2)),
)


# --- stochastic, control flow, graph
def _seeded_noise(x):
    torch.manual_seed(7)
    return x * torch.rand_like(x)


ok("dropout", "dropout without a seed of its own", lambda x: F.dropout(x, 0.5), quick=True)
ok("dropout-seeded", "noise from a seed set inside", _seeded_noise)
ok(
    "checkpointed",
    "recomputed in the backward pass",
    lambda x: checkpoint(lambda y: y.sin().exp(), x, use_reentrant=False),
)
ok("branch-on-value", "a branch on the values", lambda x: x.sin() if float(x.detach().sum()) > 0 else x.exp())
ok("while-loop", "a loop whose length depends on the values", lambda x: _until(x))
ok("argmax-selects", "the row's largest entry by argmax", lambda x: x.gather(1, x.argmax(1, keepdim=True)))
ok("gradient-inside", "a gradient penalty", lambda x: _penalty(x), quick=True)
ok(
    "constant-output",
    "one output that does not depend on the input",
    lambda x: (x.sin(), torch.ones(2, dtype=torch.float64)),
)
ok("unused-input", "an input that is not used", lambda x, y: x.sin(), lambda r: (r(3), r(3)))
ok("scale-by-hook", "a hook that returns the gradient as it is", lambda x: _hooked(x))
ok(
    "stop-gradient-shift",
    "softmax with the detached maximum subtracted: the shift cancels",
    lambda x: (e := (x - x.detach().amax(-1, keepdim=True)).exp()) / e.sum(-1, keepdim=True),
    quick=True,
)


def _until(x):
    while float(x.detach().abs().max()) > 0.1:
        x = x * 0.5
    return x.sin()


def _penalty(x):
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().requires_grad_()
        (d,) = torch.autograd.grad((y**3).sum(), y, create_graph=True)
    return d.sin()


def _hooked(x):
    y = x.sin()
    if y.requires_grad:
        y.register_hook(lambda g: g)
    return y * 2


# --- 0-d and empty
ok("zero-d", "a 0-d input", torch.sin, lambda r: (r(),), quick=True)
ok("empty", "an empty input", torch.sin, lambda r: (r(0, 3),))
ok("one-by-one", "a 1×1 matrix", lambda x: torch.linalg.inv(x), lambda r: (r.of([[2.0]]),))
ok(
    "sum-of-empty-axis",
    "a sum over an axis of length 0, with a bias",
    lambda x, b: x.sum(0) + b,
    lambda r: (r(0, 3), r(3)),
)
ok(
    "tensor-of-five-axes",
    "five axes, three of them 1",
    lambda x, y: (x * y).sum((1, 3)),
    lambda r: (r(2, 1, 2, 1, 2), r(1, 3, 1, 2, 1)),
)
