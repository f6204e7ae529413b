"""`torch.nn.utils`: clipping gradients, parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..api.joining import cat
from ..api.shape import reshape
from ..tensor import Tensor, wrap


def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Scales all gradients so that their norm, taken together, is at most `max_norm`; returns the norm before."""
    grads = [p._grad for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p._grad is not None]
    if not grads:
        return wrap(np.float32(0.0))
    norms = np.array([np.linalg.norm(g._data.ravel(), norm_type) for g in grads])
    total = float(np.linalg.norm(norms, norm_type))
    scale = min(max_norm / (total + 1e-6), 1.0)
    for g in grads:
        g.mul_(scale)
    return wrap(grads[0]._data.dtype.type(total))


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    for p in [parameters] if isinstance(parameters, Tensor) else parameters:
        if p._grad is not None:
            p._grad.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    return cat([reshape(p, -1) for p in parameters])
