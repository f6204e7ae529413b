"""Kernels and layers of other projects: norms, activations, gathers, loops, and their memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..catalogue import Reports

REPORTS = T = Reports()


def _tied(x: Any, w: Any) -> Any:
    return (x @ w.T) @ w.T


def _tied_gradient(g: Any, x: Any, w: Any, both: bool) -> Any:
    first = (g @ w).T @ x
    return (g @ w) @ w, first + g.T @ (x @ w.T) if both else first


T.pair(
    "NVIDIA/TransformerEngine#3437",
    4,
    "delayed weight gradients of tied layers: the later one replaces the earlier",
    _tied,
    lambda g, o, x, w: _tied_gradient(g, x, w, False),
    lambda g, o, x, w: _tied_gradient(g, x, w, True),
    lambda r: (r(2, 4), r(4, 4)),
)


def _rms(x: Any) -> Any:
    return torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)


def _rms_norm(x: Any, w: Any) -> Any:
    return x * _rms(x) * w


def _rms_gradient(g: Any, x: Any, w: Any) -> Any:
    h = x * _rms(x)
    d = g * w
    return _rms(x) * (d - h * (d * h).mean(-1, keepdim=True)), (g * h).sum(0)


T.pair(
    "unslothai/unsloth#4533",
    21,
    "rms_norm returns None for the weight",
    _rms_norm,
    lambda g, o, x, w: _rms_gradient(g, x, w)[0],
    lambda g, o, x, w: _rms_gradient(g, x, w),
    lambda r: (r(3, 4), r.pos(4)),
)
T.pair(
    "karpathy/llm.c#763",
    2,
    "rms_norm: dx without the weight",
    _rms_norm,
    lambda g, o, x, w: (_rms_gradient(g, x, torch.ones_like(w))[0], _rms_gradient(g, x, w)[1]),
    lambda g, o, x, w: _rms_gradient(g, x, w),
    lambda r: (r(3, 4), r.pos(4)),
)


def _raw(g: Any, like: Any) -> Any:
    """The cotangent's memory from its first number on, read with the strides of a contiguous one."""
    memory = torch.zeros(like.numel(), dtype=g.dtype)
    seen = torch.as_strided(
        g, (min(g.untyped_storage().nbytes() // g.element_size() - g.storage_offset(), len(memory)),), (1,)
    )
    return torch.cat([seen, memory[len(seen) :]]).view(like.shape)


T.pair(
    "flagos-ai/FlagGems#1084",
    12,
    "rms_norm reads a cotangent that is not contiguous with the strides of x",
    _rms_norm,
    lambda g, o, x, w: _rms_gradient(_raw(g, x), x, w),
    lambda g, o, x, w: _rms_gradient(g, x, w),
    lambda r: (r(3, 4), r.pos(4)),
    once=True,
)  # fmt: skip


def _stretch(x: Any) -> Any:
    """Linear resizing to 10, corners aligned: (row, position)."""
    return F.interpolate(x[:, None], size=10, mode="linear", align_corners=True)[:, 0]


def _stretch_gradient(g: Any, x: Any, window: float) -> Any:
    n = x.shape[-1]
    at = torch.arange(10, dtype=x.dtype) * (n - 1) / 9
    away = (at[None] - torch.arange(n, dtype=x.dtype)[:, None]).abs()
    centre = torch.arange(n, dtype=x.dtype)[:, None] * 9 / max(n - 1, 1)
    near = (torch.arange(10)[None] - centre).abs() <= window
    return g @ ((1 - away).clamp(min=0) * near).T


T.pair(
    "flagos-ai/FlagGems#5218",
    14,
    "linear resizing with aligned corners: outputs beyond a window made for the other mode are dropped",
    _stretch,
    lambda g, o, x: _stretch_gradient(g, x, 10 / x.shape[-1]),
    lambda g, o, x: _stretch_gradient(g, x, 10),
    lambda r: (r(2, 2),),
)


def _sparsemax(x: Any) -> Any:
    s = x.sort(-1, descending=True)[0]
    c = s.cumsum(-1) - 1
    k = (s * torch.arange(1, x.shape[-1] + 1, dtype=x.dtype) > c).sum(-1, keepdim=True)
    return (x - c.gather(-1, k - 1) / k).clamp(min=0)


def _sparsemax_gradient(g: Any, o: Any, squeezed: bool) -> Any:
    support = o > 0
    size = support.sum(-1)
    total = (g * support).sum(-1)
    mean = total / (size.squeeze() if squeezed else size)
    return torch.where(support, g - mean.unsqueeze(-1), 0.0 * g)


T.pair(
    "deep-spin/entmax#13",
    1,
    "sparsemax of three dimensions, the middle one of size 1: a squeezed divisor is broadcast across the batch",
    _sparsemax,
    lambda g, o, x: _sparsemax_gradient(g, o, True),
    lambda g, o, x: _sparsemax_gradient(g, o, False),
    lambda r: (r.of([[[-2.0, 0.0, 0.5]], [[0.1, 2.0, -0.4]]]),),
)
T.pair(
    "huggingface/candle#3735",
    12,
    "convolution's backward pass reads a kernel that is not contiguous as if it were",
    lambda x, w: x @ w,
    lambda g, o, x, w: (g @ torch.as_strided(w, w.shape, (w.shape[1], 1)).T, x.T @ g),
    lambda g, o, x, w: (g @ w.T, x.T @ g),
    lambda r: (r(2, 3), r(4, 3).detach().t().requires_grad_()),
)


def _from_right(t: Any) -> Any:
    return t.flip(0).cumsum(0).flip(0)


def _cumprod_gradient(g: Any, x: Any) -> Any:
    found = []
    for i in range(len(x)):
        rest = torch.cat([x[:i], torch.ones_like(x[:1]), x[i + 1 :]]).cumprod(0)
        found.append((g[i:] * rest[i:]).sum())
    return torch.stack(found) if found else x * g


T.pair(
    "tracel-ai/burn#3864",
    9,
    "cumprod: sums of g·out divided by x, NaN from the first zero on",
    lambda x: x.cumprod(0),
    lambda g, o, x: _from_right(g * o) / x,
    lambda g, o, x: _cumprod_gradient(g, x),
    lambda r: (r.of([2.0, 0.0, 3.0, 4.0]),),
)
INDEX = torch.tensor([1, 1, 0])
T.pair(
    "ooples/AiDotNet.Tensors#894",
    16,
    "gather's backward pass gathers: each row of the table takes the cotangent at its own number",
    lambda t: t[INDEX],
    lambda g, o, t: g[INDEX[torch.arange(len(t)) % 3]],
    lambda g, o, t: torch.zeros_like(t).index_add(0, INDEX, g),
    lambda r: (r(4, 2),),
)
T.pair(
    "pjreddie/darknet#96",
    2,
    "softmax layer: the cotangent is copied",
    lambda x: x.softmax(-1),
    lambda g, o, x: g.clone(),
    lambda g, o, x: o * (g - (g * o).sum(-1, keepdim=True)),
    lambda r: (r(3, 4),),
)


def _swiglu(x: Any) -> Any:
    a, b = x.chunk(2, -1)
    return F.silu(a) * b


def _swiglu_gradient(g: Any, x: Any) -> Any:
    a, b = x.chunk(2, -1)
    p = torch.sigmoid(a)
    return torch.cat([g * b * p * (1 + a * (1 - p)), g * a * p], -1)


def _first_row(d: Any) -> Any:
    """Every row is stored in row 0; the last one stays, and the others are never written."""
    return torch.cat([d[-1:], torch.empty_like(d[1:])])


T.pair(
    "ByteDance-Seed/Triton-distributed#180",
    14,
    "swiglu: every row's gradient is stored in row 0",
    _swiglu,
    lambda g, o, x: _first_row(_swiglu_gradient(g, x)),
    lambda g, o, x: _swiglu_gradient(g, x),
    lambda r: (r(3, 4),),
)


def _nested(x: Any, y: Any) -> Any:
    """Two loops, the inner one's number of steps depends on the outer's."""
    total = x[0] * 0
    for i in range(len(x)):
        for j in range(i, len(y)):
            total = total + torch.sin(x[i]) * y[j]
    return total


def _nested_gradient(g: Any, x: Any, y: Any, times: float) -> Any:
    tails = torch.stack([y[i:].sum() for i in range(len(x))])
    heads = torch.stack([x.sin()[: j + 1].sum() for j in range(len(y))])
    return times * g * x.cos() * tails, g * heads


T.pair(
    "NVIDIA/warp#1293",
    19,
    "two nested loops of dynamic range: the outer variable's adjoint is added twice",
    _nested,
    lambda g, o, x, y: _nested_gradient(g, x, y, 2.0),
    lambda g, o, x, y: _nested_gradient(g, x, y, 1.0),
    lambda r: (r(3), r(4)),
)


def _composite(a: Any, c: Any) -> Any:
    """Alpha compositing along the last axis, one pixel a row."""
    left = torch.cat([torch.ones_like(a[:, :1]), (1 - a).cumprod(-1)[:, :-1]], -1)
    return (left * a * c).sum(-1)


def _composite_gradient(g: Any, o: Any, a: Any, c: Any) -> Any:
    left = torch.cat([torch.ones_like(a[:, :1]), (1 - a).cumprod(-1)[:, :-1]], -1)
    behind = o[:, None] - (left * a * c).cumsum(-1)
    return g[:, None] * (left * c - behind / (1 - a)), g[:, None] * left * a


T.pair(
    "nerfstudio-project/gsplat#623",
    2,
    "rasteriser: the backward pass reads the first camera's colours for every camera",
    _composite,
    lambda g, o, a, c: _composite_gradient(g, o[:1].expand(len(o)), a, c),
    lambda g, o, a, c: _composite_gradient(g, o, a, c),
    lambda r: (r.of(r.rng.uniform(0.1, 0.8, (3, 4))), r(3, 4)),
)


def _mask(like: Any, draw: int) -> Any:
    """The draw-th dropout mask of a generator with a fixed seed."""
    noise = torch.Generator().manual_seed(7)
    for _ in range(draw):
        drawn = torch.rand(like.shape, generator=noise)
    return (drawn > 0.5).to(like.dtype) * 2


def _checkpointed(good: bool) -> Callable[..., Any]:
    """Dropout and sine, computed again in the backward pass."""

    class Checkpointed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.sin(x * _mask(x, 1))

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            mask = _mask(x, 1 if good else 2)
            return g * mask * torch.cos(x * mask)

    return Checkpointed.apply


T.add(
    "openai/guided-diffusion#167",
    6,
    "checkpointing runs dropout again without restoring the generator: another mask in the backward pass",
    lambda: _checkpointed(False),
    lambda: _checkpointed(True),
    lambda r: (r(3, 5),),
)
