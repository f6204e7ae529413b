"""PyTorch: derivative formulas, double backward, layouts, hooks, and what its compilers made of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from ..catalogue import Reports

REPORTS = T = Reports()
P = "pytorch/pytorch#"


T.pair(
    P + "13669",
    1,
    "traced exp(z) + zeros(n) beside exp(z): both cotangents are broadcast and summed together",
    lambda z: torch.cat([z.exp().reshape(1), z.exp() + torch.zeros(5, dtype=z.dtype)]),
    lambda g, o, z: z.exp() * (g[:1] + g[1:]).sum(),
    lambda g, o, z: z.exp() * g.sum(),
    lambda r: (r(),),
)
T.pair(
    P + "51408",
    2,
    "hardsigmoid: 1/6 outside (-3, 3) too",
    lambda x: torch.clamp(x / 6 + 0.5, 0, 1),
    lambda g, o, x: g / 6,
    lambda g, o, x: torch.where((x > -3) & (x < 3), g / 6, 0.0 * g),
    lambda r: (r.of([[-4.6332, -3.3716], [-3.8981, -2.9715]]),),
)


def _exponential(good: bool) -> Callable[..., Any]:
    """The saved output is connected to the input for the first double backward only."""

    class Exponential(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.exp()
            ctx.save_for_backward(y)
            ctx.used = False
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (y,) = ctx.saved_tensors
            if ctx.used and not good:
                y = y.detach()
            ctx.used = True
            return g * y

    return Exponential.apply


T.add(
    P + "18619",
    17,
    "a second double backward over one graph finds the saved output without its history",
    lambda: _exponential(False),
    lambda: _exponential(True),
    lambda r: (r(2, 3),),
    options={"order": 2},
)
T.fn(
    P + "195530",
    11,
    "logsigmoid: the second derivative is 0 on the positive tail",
    F.logsigmoid,
    lambda x: -torch.log1p(torch.exp(-x)),
    lambda r: (r.of([40.0, 1.0, -3.0]),),
    options={"order": 2},
    live=True,
)


def _angle(good: bool) -> Callable[..., Any]:
    class Angle(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Any) -> Any:
            ctx.save_for_backward(z)
            ctx.save_for_forward(z)
            return z.angle()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (z,) = ctx.saved_tensors
            return g * 1j * z / z.abs() ** 2

        @staticmethod
        def jvp(ctx: Any, t: Any) -> Any:
            (z,) = ctx.saved_tensors
            return ((t.conj() if good else t) * 1j * z / z.abs() ** 2).real

    return Angle.apply


T.add(
    P + "77246",
    7,
    "angle of complex numbers in forward mode: the tangent is not conjugated",
    lambda: _angle(False),
    lambda: _angle(True),
    lambda r: (torch.complex(r.pos(3).detach(), r.pos(3).detach()).requires_grad_(),),
    options={"modes": ("fwd",)},
)
IDS = torch.tensor([[0, 2, 2], [1, 0, 3]])
T.pair(
    P + "26302",
    2,
    "embedding on the GPU: the row of padding_idx gets a gradient",
    lambda w: w[IDS],
    lambda g, o, w: torch.zeros_like(w).index_add(0, IDS.flatten(), g.flatten(0, 1)),
    lambda g, o, w: torch.zeros_like(w).index_add(0, IDS.flatten(), (g * (IDS != 0)[..., None]).flatten(0, 1)),
    lambda r: (r(4, 3),),
    options={"reference": lambda w: F.embedding(IDS, w, padding_idx=0)},
)


def _sample(v: Any, t: Any) -> Any:
    """Linear interpolation of v at t, the border repeated outside."""
    last = len(v) - 1
    t = t.clamp(0, last)
    i = t.floor().long()
    w = t - i
    return v[i] * (1 - w) + v[(i + 1).clamp(max=last)] * w


def _sample_gradient(g: Any, v: Any, t: Any, outside: float) -> Any:
    last = len(v) - 1
    at = t.clamp(0, last)
    i = at.floor().long()
    j = (i + 1).clamp(max=last)
    w = at - i
    dv = torch.zeros_like(v).index_add(0, i, g * (1 - w)).index_add(0, j, g * w)
    slope = torch.where(i < last, v[j] - v[i], outside * v[i])
    return dv, torch.where((t >= 0) & (t <= last), g * slope, 0.0 * g)


T.pair(
    P + "23925",
    8,
    "grid_sample with border padding, exactly on the border: the slope is that of an image padded with zeros",
    _sample,
    lambda g, o, v, t: _sample_gradient(g, v, t, -1.0),
    lambda g, o, v, t: _sample_gradient(g, v, t, 0.0),
    lambda r: (r(5), r.of([0.5, 1.25, 4.0, 2.75])),
)
LABELS = torch.tensor([0, -100, 2, 1])


def _smoothed(x: Any, ignoring: bool) -> Any:
    logp = x.log_softmax(-1)
    keep = (LABELS >= 0)[:, None]
    hot = -(logp * F.one_hot(LABELS.clamp(min=0), x.shape[-1]) * keep).sum()
    return 0.8 * hot - 0.2 * (logp * keep if ignoring else logp).sum() / x.shape[-1]


T.fn(
    P + "73205",
    2,
    "cross_entropy with label smoothing: the uniform part counts rows that are ignored",
    lambda x: _smoothed(x, False),
    lambda x: _smoothed(x, True),
    lambda r: (r(4, 3),),
    options={"reference": lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.2, reduction="sum")},
    value=True,
)


def _into_column(scale: float) -> Callable[..., Any]:
    return lambda g, o, x: F.pad((scale * g * x[:, 2].sign())[:, None], (2, x.shape[1] - 3))


T.pair(
    P + "136662",
    4,
    "y[:, 0] += |x[:, 2]| twice, compiled: one of the two contributions is lost",
    lambda x: x[:, 2].abs() + x[:, 2].abs(),
    _into_column(1.0),
    _into_column(2.0),
    lambda r: (r(2, 3),),
)


def _modulated(x: Any, table: Any) -> Any:
    """Two modulated layers; their scales and shifts are chunks of one parameter."""
    return (x * (1 + table[0]) + table[1]) * (1 + table[2]) + table[3]


def _modulated_gradient(g: Any, x: Any, table: Any, chunks: int) -> Any:
    y = x * (1 + table[0]) + table[1]
    h = g * (1 + table[2])
    found = torch.empty_like(table)
    for k, d in list(enumerate((h * x, h, g * y, g)))[:chunks]:
        found[k] = d.sum(0)
    return h * (1 + table[0]), found


T.pair(
    P + "193061",
    14,
    "modulated norms in a chain, compiled: the second one's slices of the shared parameter's gradient are never written",
    _modulated,
    lambda g, o, x, t: _modulated_gradient(g, x, t, 2),
    lambda g, o, x, t: _modulated_gradient(g, x, t, 4),
    lambda r: (r(3, 4), r(4, 4)),
)


def _graphed(good: bool) -> Callable[..., Any]:
    """Every backward pass writes its gradient into one buffer, and returns that."""
    kept: dict[Any, Any] = {}

    class Graphed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            if good:
                return g * x.cos()
            buffer = kept.setdefault((x.shape, x.dtype), torch.empty_like(x, memory_format=torch.contiguous_format))
            return torch.mul(g, x.cos(), out=buffer)

    return Graphed.apply


T.add(
    P + "181723",
    5,
    "make_graphed_callables returns its static gradient buffer, which the next replay overwrites",
    lambda: _graphed(False),
    lambda: _graphed(True),
    lambda r: (r(3, 4),),
)


def _pool(g: Any, x: Any, raw: bool) -> Any:
    i = x.max(-1)[1]
    if raw and not x.is_contiguous():  # the indices are laid out as the input is, and read as if contiguous
        i = i.t().contiguous().t()
        i = torch.as_strided(i, i.shape, (i.shape[1], 1))
    return torch.zeros(x.shape, dtype=x.dtype).scatter(-1, i[..., None], g[..., None])


T.pair(
    P + "197888",
    12,
    "adaptive max pooling's backward pass reads indices that are not contiguous as if they were",
    lambda x: x.max(-1)[0],
    lambda g, o, x: _pool(g, x, True),
    lambda g, o, x: _pool(g, x, False),
    lambda r: (r(3, 2, 4).detach().transpose(0, 1).requires_grad_(),),
)


def _unpool(g: Any, x: Any, clipped: bool) -> Any:
    n = x.shape[-1]
    d = torch.zeros_like(x)
    for k in range(g.shape[-1]):
        size = min(2 * k + 3, n) - 2 * k if clipped else 3
        d[:, 2 * k : 2 * k + 3] += g[:, k : k + 1] / size
    return d


T.pair(
    P + "198119",
    14,
    "avg_pool1d with ceil_mode, compiled: the last window, which hangs over, is divided by the whole kernel",
    lambda x: F.avg_pool1d(x, 3, 2, ceil_mode=True),
    lambda g, o, x: _unpool(g, x, False),
    lambda g, o, x: _unpool(g, x, True),
    lambda r: (r(2, 6),),
)


def _unselect(g: Any, x: Any, mask: Any, in_memory: bool) -> Any:
    flat = torch.zeros(x.numel(), dtype=x.dtype)
    flat[mask.reshape(-1)] = g
    return torch.as_strided(flat, x.shape, x.stride()) if in_memory else flat.view(x.shape)


T.pair(
    P + "99638",
    12,
    "masked_select of an input that is not contiguous: the gradient is written in the order of memory",
    torch.masked_select,
    lambda g, o, x, m: _unselect(g, x, m, True),
    lambda g, o, x, m: _unselect(g, x, m, False),
    lambda r: (r(4, 3).detach().t().requires_grad_(), torch.tensor([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]]) > 0),
)


def _raw_cotangent(g: Any) -> Any:
    """An expanded cotangent, read as memory of its full size: what lies behind its one number is taken for zeros."""
    return torch.cat([g[:1], torch.zeros_like(g[1:])]) if g.stride() == (0,) and len(g) > 1 else g


T.pair(
    P + "102493",
    12,
    "sparse.mm of two sparse matrices: of the expanded cotangent of a sum only the first entry is read",
    lambda a, b: a * b,
    lambda g, o, a, b: (_raw_cotangent(g) * b, _raw_cotangent(g) * a),
    lambda g, o, a, b: (g * b, g * a),
    lambda r: (r(3), r(3)),
)


def _rrelu(x: Any, hooked: bool) -> Any:
    torch.manual_seed(0)
    if not hooked:
        return F.rrelu(x, 0.1, 0.9, training=True)
    with saved_tensors_hooks(torch.clone, lambda t: t):
        return F.rrelu(x, 0.1, 0.9, training=True)


T.fn(
    P + "193671",
    6,
    "rrelu under hooks that copy what is saved (checkpointing): the noise is copied before it is drawn",
    lambda x: _rrelu(x, True),
    lambda x: _rrelu(x, False),
    lambda r: (r.of([-1.0, -2.0, 3.0, -0.5]),),
    live=True,
)


def _one_number_norm(x: Any, w: Any, b: Any) -> Any:
    h = x - x.mean(-1, keepdim=True)
    return h * torch.rsqrt((h * h).mean(-1, keepdim=True) + 1e-5) * w + b


T.fn(
    P + "188372",
    15,
    "layer_norm over one number: the weight, which the output does not depend on, gets a gradient of 7",
    lambda x, w, b: F.layer_norm(x, (1,), w, b),
    _one_number_norm,
    lambda r: (r.of([1e6], torch.float32), r.of([2.0], torch.float32), r.of([3.0], torch.float32)),
    live=True,
)
T.fn(
    P + "195678",
    11,
    "cross_entropy: the gradient of the label's own logit is 0 on the tail",
    lambda z: F.cross_entropy(z, torch.tensor([0])),
    lambda z: F.softplus(z[:, 1] - z[:, 0]).mean(),
    lambda r: (r.of([[37.42994775023705, 0.0]]),),
    live=True,
)


def _power_log_prob(p: Any, z: Any, cached: bool) -> Any:
    """log_prob of z = x**p, x log-normal."""
    x = z ** (1 / p)
    if cached:
        x = x.detach()
    return -x.log() - x.log() ** 2 / 2 - 0.9189385332046727 - (p * z / x).abs().log()


T.fn(
    P + "59822",
    20,
    "TransformedDistribution with a cache: log_prob takes the inverse from the cache, and that without its graph",
    lambda p, z: _power_log_prob(p, z, True),
    lambda p, z: _power_log_prob(p, z, False),
    lambda r: (r.of([2.0]), torch.tensor([1.5, 0.7, 2.2], dtype=torch.float64)),
)


def _rounded(x: Any, s: Any) -> Any:
    return torch.clamp(torch.round(x / s), -8, 7) * s


def _straight_through(x: Any, s: Any) -> Any:
    return torch.clamp(x / s + (torch.round(x / s) - x / s).detach(), -8, 7) * s


def _quantizer_gradient(g: Any, x: Any, s: Any, masked: bool) -> Any:
    q = torch.round(x / s)
    inside = (q >= -8) & (q <= 7)
    ds = torch.where(inside, q - x / s, q.clamp(-8, 7))
    return g * inside if masked else g, (g * ds).sum()


T.pair(
    P + "41968",
    2,
    "learnable fake quantisation: dx is the cotangent itself, also where the value was clipped",
    _rounded,
    lambda g, o, x, s: _quantizer_gradient(g, x, s, False),
    lambda g, o, x, s: _quantizer_gradient(g, x, s, True),
    lambda r: (r.of([0.31, -2.7, 1.93, 0.58, -0.12, 3.3]), r.of(0.2)),
    once=True,
    options={"surrogate_of": _straight_through},
)
PATHS = torch.tensor([[0, 1], [1, 0], [1, 1]])


def _alignments(lp: Any) -> Any:
    """CTC of one label over two frames: the sum over its three alignments."""
    return -torch.logsumexp(lp[0, PATHS[:, 0]] + lp[1, PATHS[:, 1]], 0)


def _alignment_gradient(g: Any, lp: Any, late: Any) -> Any:
    p = (lp[0, PATHS[:, 0]] + lp[1, PATHS[:, 1]]).softmax(0)
    rows = [torch.zeros_like(lp[t]).index_add(0, PATHS[:, t], p) for t in (0, 1)]
    return -torch.stack([rows[0] * g, rows[1] * late])


T.pair(
    P + "11750",
    3,
    "ctc_loss: parts of the gradient are not multiplied by the cotangent",
    _alignments,
    lambda g, o, lp: _alignment_gradient(g, lp, torch.ones_like(g)),
    lambda g, o, lp: _alignment_gradient(g, lp, g),
    lambda r: (r(2, 3),),
)
TARGET = torch.tensor([1, 2, 1])


def _ctc(lp: Any) -> Any:
    """The forward algorithm in probabilities, for short inputs."""
    label = [0, 1, 0, 2, 0, 1, 0]
    p = lp.exp()
    zero = p[0, 0] * 0
    a = [p[0, 0], p[0, 1]] + [zero] * 5
    for t in range(1, len(lp)):
        a = [
            (a[s] + (a[s - 1] if s else zero) + (a[s - 2] if s > 1 and label[s] and label[s] != label[s - 2] else zero))
            * p[t, label[s]]
            for s in range(7)
        ]
    return -(a[5] + a[6]).log()


T.fn(
    P + "82545",
    2,
    "ctc_loss: its gradient is that of the logits behind log_softmax, not that of its argument",
    lambda lp: F.ctc_loss(lp, TARGET, torch.tensor(len(lp)), torch.tensor(3), reduction="sum"),
    _ctc,
    lambda r: (r(5, 3).detach().log_softmax(-1).requires_grad_(),),
    live=True,
)


def _segment_products(g: Any, o: Any, x: Any, good: bool) -> Any:
    if not good:
        seg = torch.tensor([0, 0, 1, 1, 1])
        return (g[seg] * o[seg] / x).masked_fill(x == 0, 0)
    others = [x[[j for j in s if j != i]].prod() * g[k] for k, s in enumerate(((0, 1), (2, 3, 4))) for i in s]
    return torch.stack(others)


T.pair(
    P + "77382",
    9,
    "index_reduce with prod: the gradient at a zero is set to zero",
    lambda x: torch.stack([x[:2].prod(), x[2:5].prod()]),
    lambda g, o, x: _segment_products(g, o, x, False),
    lambda g, o, x: _segment_products(g, o, x, True),
    lambda r: (r.of([2.0, 0.0, 3.0, 1.5, -1.0]),),
)


def _roi(x: Any, start: Any, end: Any, smallest: float) -> Any:
    """A one-dimensional RoIAlign: the weights of two samples, one in each of two bins."""
    width = (end - start).clamp(min=smallest)
    at = start + (torch.arange(2, dtype=x.dtype) + 0.5) * width / 2
    i = at.floor().long()
    w = at - i
    return i, w


T.pair(
    "pytorch/vision#2438",
    2,
    "roi_align with aligned=True: the backward pass still widens small boxes to 1",
    lambda x, a, b: (
        x[_roi(x, a, b, 0)[0]] * (1 - _roi(x, a, b, 0)[1]) + x[_roi(x, a, b, 0)[0] + 1] * _roi(x, a, b, 0)[1]
    ),
    lambda g, o, x, a, b: _roi_gradient(g, x, *_roi(x, a, b, 1)),
    lambda g, o, x, a, b: _roi_gradient(g, x, *_roi(x, a, b, 0)),
    lambda r: (r(6), torch.tensor(1.3, dtype=torch.float64), torch.tensor(1.9, dtype=torch.float64)),
)


def _roi_gradient(g: Any, x: Any, i: Any, w: Any) -> Any:
    return torch.zeros_like(x).index_add(0, i, g * (1 - w)).index_add(0, i + 1, g * w)


def _transducer(good: bool) -> Callable[..., Any]:
    """The gradient is computed in the forward pass; the backward pass scales it in place."""

    class Transducer(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.grads = x.softmax(-1)
            return torch.logsumexp(x, -1)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return ctx.grads * g[:, None] if good else ctx.grads.mul_(g[:, None])

    return Transducer.apply


T.add(
    "pytorch/audio#1532",
    6,
    "warp-transducer scales its saved gradients in place: a second backward pass scales them again",
    lambda: _transducer(False),
    lambda: _transducer(True),
    lambda r: (r(3, 4),),
)
