"""Liger-Kernel and other fused losses: gradients that are computed early, and buffers that are used twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..catalogue import Reports

REPORTS = T = Reports()
L = "linkedin/Liger-Kernel#"
TARGET = torch.tensor([1, 0, 4, 2])


def _rows(x: Any, w: Any) -> Any:
    return F.cross_entropy(x @ w.T, TARGET, reduction="none")


def _rows_gradient(g: Any, x: Any, w: Any) -> Any:
    d = ((x @ w.T).softmax(-1) - F.one_hot(TARGET, len(w))) * g
    return d @ w, d.T @ x


T.pair(
    L + "968",
    3,
    "fused linear cross entropy with reduction='none': every row is scaled by the first row's cotangent",
    _rows,
    lambda g, o, x, w: _rows_gradient(g[0], x, w),
    lambda g, o, x, w: _rows_gradient(g[:, None], x, w),
    lambda r: (r(4, 3), r(5, 3)),
)


def _write(into: Any, values: Any) -> None:
    """Writes as a kernel does: outside the framework's sight."""
    into.detach().numpy()[...] = values.detach().numpy()


def _cross_entropy(in_place: bool) -> Callable[..., Any]:
    """The gradient is computed in the forward pass, and stored where the logits were."""

    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Any) -> Any:
            loss = F.cross_entropy(z, TARGET, reduction="sum")
            d = z.softmax(-1) - F.one_hot(TARGET, z.shape[-1])
            if in_place:
                _write(z, d)
                d = z
            ctx.save_for_backward(d)
            return loss

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0]

    return lambda x: CrossEntropy.apply(x.softmax(-1))


T.add(
    L + "272",
    6,
    "cross_entropy stores its gradient in its input, which the softmax before it had saved",
    lambda: _cross_entropy(True),
    lambda: _cross_entropy(False),
    lambda r: (r(4, 5),),
)


def _swiglu(in_place: bool) -> Callable[..., Any]:
    """The backward pass stores its gradients where its inputs were."""

    class SwiGLU(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            ctx.save_for_backward(a, b)
            return F.silu(a) * b

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            a, b = ctx.saved_tensors
            p = torch.sigmoid(a)
            da, db = g * b * p * (1 + a * (1 - p)), g * a * p
            if in_place:
                _write(a, da)
                _write(b, db)
                return a, b
            return da, db

    return lambda x: SwiGLU.apply(x.exp(), x.sigmoid())


T.add(
    L + "254",
    5,
    "swiglu's backward pass stores gradients in its inputs, which the operations before it had saved as outputs",
    lambda: _swiglu(True),
    lambda: _swiglu(False),
    lambda r: (r(3, 4),),
)


def _loss(x: Any) -> Any:
    return F.cross_entropy(x, TARGET, reduction="sum")


def _loss_gradient(g: Any, x: Any) -> Any:
    return g * (x.softmax(-1) - F.one_hot(TARGET, x.shape[-1]))


T.pair(
    "paiml/aprender#2182",
    2,
    "cross entropy with reduction='sum': the backward pass divides by the batch as for 'mean'",
    _loss,
    lambda g, o, x: _loss_gradient(g, x) / len(x),
    lambda g, o, x: _loss_gradient(g, x),
    lambda r: (r(4, 5),),
)
T.pair(
    "sherjilozair/ctc#2",
    3,
    "the loss's gradient ignores the cotangent: twice the loss has the same gradient",
    _loss,
    lambda g, o, x: _loss_gradient(torch.ones_like(g), x),
    lambda g, o, x: _loss_gradient(g, x),
    lambda r: (r(4, 5),),
)
LENGTHS = torch.tensor([2, 3])


def _frames(x: Any, padded: bool) -> Any:
    """Which frames count, of x: (sequence, frame, class)."""
    return torch.ones(2, 3, dtype=x.dtype) if padded else (torch.arange(3) < LENGTHS[:, None]).to(x.dtype)


T.pair(
    "tensorflow/tensorflow#41280",
    14,
    "ctc_loss with lengths: frames behind a sequence's end get gradients",
    lambda x: (torch.logsumexp(x, -1) * _frames(x, False)).sum(-1),
    lambda g, o, x: (g[:, None] * _frames(x, True))[..., None] * x.softmax(-1),
    lambda g, o, x: (g[:, None] * _frames(x, False))[..., None] * x.softmax(-1),
    lambda r: (r(2, 3, 4),),
)


def _sharded(a: Any, b: Any, joined: bool) -> Any:
    """The log-probability of class 1, the classes in two shards; the sum over shards passes no gradient, or does."""
    total = a.exp().sum(-1) + (b if joined else b.detach()).exp().sum(-1)
    return a[:, 1] - total.log()


T.fn(
    "modelscope/ms-swift#9947",
    20,
    "log-probabilities over a sharded vocabulary: the all-reduce passes no gradient to the other shard",
    lambda a, b: _sharded(a, b, False),
    lambda a, b: _sharded(a, b, True),
    lambda r: (r(3, 4), r(3, 4)),
)


def _smoothed(x: Any, classes: int) -> Any:
    logp = x.log_softmax(-1)
    return -0.9 * logp[:, 1] - 0.1 * logp[:, :classes].mean(-1)


T.fn(
    "NVIDIA/Megatron-LM#7464",
    2,
    "label smoothing over a sharded vocabulary: the mean is taken over the shard",
    lambda x: _smoothed(x, x.shape[-1] // 2),
    lambda x: _smoothed(x, x.shape[-1]),
    lambda r: (r(3, 8),),
    options={"reference": lambda x: _smoothed(x, x.shape[-1])},
    value=True,
)
